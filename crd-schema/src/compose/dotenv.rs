//! Files of variables as Compose reads them: `.env`, `--env-file`, `label_file`, and `env_file` of Compose files and of
//! service files. Source: compose-spec 05-services, `env_file` format; compose-go `dotenv/parser.go`.

use std::collections::BTreeSet;

use super::interpolate::substitute;
pub use super::interpolate::{Variables, room};

const EXPECTED: &str = "expected NAME=value";

/// The line that cannot be read, and why. Values never appear in it.
pub type Unreadable = (usize, String);

/// How the lines of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// With quotes, comments and variables.
    Compose,
    /// As they are: no quotes, no variables.
    Raw,
}

/// What a name without a value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameAlone {
    /// The variable has the value from outside the file; without one it is not set.
    Inherits,
    /// It is an error.
    Refused,
}

/// Reads files of variables, one after the other.
pub struct Reader<'a> {
    /// The variables from outside the files: they win over those of the files where a value uses them.
    pub outer: &'a Variables,
    /// What a name without a value means.
    pub name_alone: NameAlone,
    /// How many bytes the values may still become.
    pub room: &'a mut usize,
}

impl Reader<'_> {
    /// Reads the `NAME=value` lines of one file into `variables`, and returns how many of them set one. A value may use
    /// the variables from outside and those before it.
    ///
    /// # Errors
    /// The first line that cannot be read. The variables before it are in `variables`.
    pub fn read(&mut self, text: &str, format: Format, variables: &mut Variables) -> Result<usize, Unreadable> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match format {
            Format::Compose => self.read_compose(text, variables),
            Format::Raw => self.read_raw(text, variables),
        }
    }

    fn read_compose(&mut self, text: &str, variables: &mut Variables) -> Result<usize, Unreadable> {
        let mut rest = text;
        // The line that `rest` begins on, counted up to this place of the text.
        let (mut line, mut counted, mut set) = (1, 0, 0);
        loop {
            rest = rest.trim_start();
            if rest.is_empty() {
                return Ok(set);
            }
            let at = text.len() - rest.len();
            line += text.get(counted..at).unwrap_or_default().matches('\n').count();
            counted = at;
            let fail = |why: &str| (line, why.to_owned());
            if rest.starts_with('#') {
                rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
                continue;
            }
            let (name, value) = name(rest).ok_or_else(|| fail(EXPECTED))?;
            let Some(value) = value else {
                set += self.inherit(name, variables).map_err(fail)?;
                rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
                continue;
            };
            let (value, literal, after) = extract(value).ok_or_else(|| fail("the quote is not closed"))?;
            let value = if literal {
                value
            } else {
                let known = |name: &str| self.outer.get(name).or_else(|| variables.get(name)).cloned();
                substitute(&value, &known, &mut BTreeSet::new(), *self.room)
                    .map_err(|wrong| fail(&format!("the value of `{name}` cannot be filled in: {}", wrong.message)))?
            };
            *self.room = self.room.saturating_sub(value.len());
            variables.insert(name.to_owned(), value);
            set += 1;
            rest = after;
        }
    }

    /// Source: moby `pkg/kvfile`, which `docker run --env-file` uses, too.
    fn read_raw(&mut self, text: &str, variables: &mut Variables) -> Result<usize, Unreadable> {
        let mut set = 0;
        for (at, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |why: &str| (at + 1, why.to_owned());
            let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value)));
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(fail(EXPECTED));
            }
            set += match value {
                Some(value) => {
                    variables.insert(name.to_owned(), value.to_owned());
                    1
                }
                None => self.inherit(name, variables).map_err(fail)?,
            };
        }
        Ok(set)
    }

    fn inherit(&self, name: &str, variables: &mut Variables) -> Result<usize, &'static str> {
        match (self.name_alone, self.outer.get(name)) {
            (NameAlone::Refused, _) => Err("expected NAME=value: composed never passes its own environment on"),
            (NameAlone::Inherits, None) => Ok(0),
            (NameAlone::Inherits, Some(value)) => {
                variables.insert(name.to_owned(), value.clone());
                Ok(1)
            }
        }
    }
}

/// The name at the start of a line, and what follows `=` or `:`; `None` when the name stands alone.
fn name(text: &str) -> Option<(&str, Option<&str>)> {
    let exported = text.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t']));
    let text = exported.map_or(text, |rest| rest.trim_start_matches([' ', '\t']));
    let end = text.find(['=', ':', '\n']).unwrap_or(text.len());
    let name = text.get(..end)?.trim();
    let known = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
    if name.is_empty() || !name.chars().all(known) {
        return None;
    }
    let assigned = text.get(end..).is_some_and(|rest| rest.starts_with(['=', ':']));
    Some((name, if assigned { text.get(end + 1..) } else { None }))
}

/// The value at the start of the text, whether it is taken as it is, and what follows.
fn extract(text: &str) -> Option<(String, bool, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\r']);
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let end = text.find('\n').unwrap_or(text.len());
        let (line, after) = text.split_at(end);
        let value = line.split(" #").next().unwrap_or_default();
        return Some((value.trim_end().to_owned(), false, after));
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match (c, escaped) {
            ('\\', false) => escaped = true,
            (c, true) => {
                if c != quote {
                    value.push('\\');
                }
                value.push(c);
                escaped = false;
            }
            (c, false) if c == quote => {
                let literal = quote == '\'';
                let value = if literal { value } else { unescape(&value) };
                return Some((value, literal, text.get(at + 1..).unwrap_or_default()));
            }
            (c, false) => value.push(c),
        }
    }
    None
}

/// The escapes of a shell in double quotes; an escaped dollar sign stays one. Source: compose-go `dotenv/parser.go`,
/// `expandEscapes`.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('a') => plain.push('\u{7}'),
            Some('b') => plain.push('\u{8}'),
            Some('f') => plain.push('\u{c}'),
            Some('v') => plain.push('\u{b}'),
            Some('0') => {
                let digits: String = (0..3).map_while(|_| chars.next_if(char::is_ascii_digit)).collect();
                let code = u8::from_str_radix(&digits, 8).ok().filter(|_| digits.len() == 3);
                match code {
                    Some(code) => plain.push(char::from(code)),
                    None => plain.extend(["\\", &digits]),
                }
            }
            Some('$') => plain.push_str("$$"),
            Some('"') => plain.push('"'),
            Some('\\') | None => plain.push('\\'),
            Some(other) => plain.extend(['\\', other]),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str, format: Format, name_alone: NameAlone) -> Result<(Variables, usize), Unreadable> {
        let mut variables = Variables::new();
        let outer = Variables::from([("OUTER".to_owned(), "outer".to_owned())]);
        let set = Reader { outer: &outer, name_alone, room: &mut 1000 }.read(text, format, &mut variables)?;
        Ok((variables, set))
    }

    fn read(text: &str) -> Result<Variables, Unreadable> {
        read_as(text, Format::Compose, NameAlone::Inherits).map(|(variables, _)| variables)
    }

    /// What `docker compose config` of Compose v5.6.1 makes of the same lines.
    #[test]
    fn lines_mean_what_they_mean_in_compose() {
        for (line, expected) in [
            ("A=1", "1"),
            ("A = two words # note", "two words"),
            ("export A=1", "1"),
            ("A: yaml", "yaml"),
            ("A=x#y", "x#y"),
            ("A=", ""),
            ("A='sin#gle $X \"q\"'", "sin#gle $X \"q\""),
            ("A='it\\'s'", "it's"),
            ("A=\"a\\nb\\tc\" # note", "a\nb\tc"),
            ("A=\"\\a\\b\\f\\v\\0101\\012\"", "\u{7}\u{8}\u{c}\u{b}A\\12"),
            ("A=\"over\ntwo lines\"", "over\ntwo lines"),
            ("A=\"\\$OUTER $$OUTER $OUTER\"", "$OUTER $OUTER outer"),
            ("A=$OUTER/${OUTER}/${NONE:-d}", "outer/outer/d"),
            ("B=first\nA=${B}-second", "first-second"),
            ("A=1\nA=2", "2"),
            ("A=a=b", "a=b"),
            ("OUTER\nA=${OUTER}", "outer"),
            ("NONE\nA=1", "1"),
            ("\u{feff}# note\n\n  A=1  ", "1"),
            ("A=\r\nB=2", ""),
        ] {
            assert_eq!(read(line).unwrap().get("A").map(String::as_str), Some(expected), "{line}");
        }
        assert_eq!(read("NONE\nOUTER\n").unwrap(), Variables::from([("OUTER".to_owned(), "outer".to_owned())]));
    }

    /// What `docker run --env-file` makes of the same lines.
    #[test]
    fn raw_lines_are_taken_as_they_are() {
        let raw = |text: &str| read_as(text, Format::Raw, NameAlone::Inherits);
        for (line, expected) in [
            ("# note\nA='$X' # y\n", "'$X' # y"),
            ("\u{feff}A=1", "1"),
            ("  A= two words \r\n", " two words "),
            ("A=\"x\"", "\"x\""),
            ("A=a=b", "a=b"),
            ("A=", ""),
        ] {
            assert_eq!(raw(line).unwrap().0.get("A").map(String::as_str), Some(expected), "{line}");
        }
        assert_eq!(raw("OUTER\nNONE").unwrap(), (Variables::from([("OUTER".to_owned(), "outer".to_owned())]), 1));
        for line in ["=hunter2", "export A=hunter2", "A =hunter2", "hunter 2"] {
            assert_eq!(raw(line), Err((1, EXPECTED.to_owned())), "{line}");
        }
    }

    #[test]
    fn a_name_alone_is_refused_where_nothing_is_passed_on() {
        for format in [Format::Compose, Format::Raw] {
            let (line, why) = read_as("A=1\n\nOUTER\n", format, NameAlone::Refused).unwrap_err();
            assert_eq!((line, why.contains("never passes")), (3, true), "{why}");
            let (_, set) = read_as("A=1\n# note\nA=2\n", format, NameAlone::Refused).unwrap();
            assert_eq!(set, 2, "lines that set a variable");
            assert_eq!(read_as("# note\n\n", format, NameAlone::Refused), Ok((Variables::new(), 0)));
        }
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        for (text, line) in [
            ("A=1\nB='hunter2", 2),
            ("A=\"hunter2", 1),
            ("=hunter2", 1),
            ("A=1\n\nhunter 2=x", 3),
            ("A=${hunter2", 1),
            ("A=\"x\ny\"\nB=${", 3),
        ] {
            let (at, why) = read(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
