//! Files of variables as Compose reads them: `.env`, `--env-file`, `env_file`, `label_file`. Source: compose-spec
//! 05-services, `env_file` format; compose-go `dotenv/parser.go`.

use std::collections::BTreeSet;

use super::interpolate::{Variables, substitute};

/// Where a file cannot be read, and why. Values never appear in it.
pub(super) type Unreadable = (usize, String);

/// Reads `NAME=value` lines into `variables`. Values may use what `lookup` knows and the variables before them; a
/// name alone takes its value from `lookup`, and is left out without one. At most `room` bytes come of a value.
pub(super) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    variables: &mut Variables,
    room: &mut usize,
) -> Result<(), Unreadable> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    // The line that `rest` begins on, counted up to this place of the text.
    let (mut line, mut counted) = (1, 0);
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(());
        }
        let at = text.len() - rest.len();
        line += text.get(counted..at).unwrap_or_default().matches('\n').count();
        counted = at;
        let fail = |why: &str| (line, why.to_owned());
        if rest.starts_with('#') {
            rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
            continue;
        }
        let (name, value) = name(rest).ok_or_else(|| fail("expected NAME=value"))?;
        let Some(value) = value else {
            if let Some(value) = lookup(name) {
                variables.insert(name.to_owned(), value);
            }
            rest = rest.find('\n').and_then(|at| rest.get(at..)).unwrap_or_default();
            continue;
        };
        let (value, literal, after) = extract(value).ok_or_else(|| fail("the quote is not closed"))?;
        let value = if literal {
            value
        } else {
            let known = |name: &str| lookup(name).or_else(|| variables.get(name).cloned());
            substitute(&value, &known, &mut BTreeSet::new(), *room)
                .map_err(|wrong| fail(&format!("the value of `{name}` cannot be filled in: {}", wrong.message)))?
        };
        *room = room.saturating_sub(value.len());
        variables.insert(name.to_owned(), value);
        rest = after;
    }
}

/// Reads the lines as they are: no quotes, no variables.
pub(super) fn parse_raw(text: &str, variables: &mut Variables) -> Result<(), Unreadable> {
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').ok_or((at + 1, "expected NAME=value".to_owned()))?;
        variables.insert(name.trim().to_owned(), value.to_owned());
    }
    Ok(())
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

/// The escapes of a shell in double quotes; an escaped dollar sign stays one.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
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

    fn read(text: &str) -> Result<Variables, Unreadable> {
        let mut variables = Variables::new();
        let lookup = |name: &str| (name == "OUTER").then(|| "outer".to_owned());
        parse(text, &lookup, &mut variables, &mut 1000).map(|()| variables)
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
        let mut raw = Variables::new();
        parse_raw("# note\nA='$X' # y\n", &mut raw).unwrap();
        assert_eq!(raw.get("A").map(String::as_str), Some("'$X' # y"));
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
