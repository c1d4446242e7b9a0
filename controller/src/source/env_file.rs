//! Environment files as Compose writes them: `KEY=value` lines, comments, quotes. Nothing is looked up in the
//! controller's own environment.

use std::collections::BTreeMap;

/// The variables of an environment file, or the line that cannot be read and why. Values never appear in the error.
pub fn parse(text: &str, raw: bool) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut variables = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let fail = |why: &str| Err((at + 1, why.to_owned()));
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((key, value)) = line.split_once('=') else {
            return fail("expected KEY=value: composed never passes its own environment on");
        };
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return fail("expected KEY=value with a name before the equals sign");
        }
        let value = if raw { Ok(value.to_owned()) } else { unquote(value.trim()) };
        match value {
            Ok(value) => drop(variables.insert(key.to_owned(), value)),
            Err(why) => return fail(why),
        }
    }
    Ok(variables)
}

fn unquote(value: &str) -> Result<String, &'static str> {
    if let Some(rest) = value.strip_prefix('\'') {
        let (inside, after) = rest.split_once('\'').ok_or("the single quote is not closed")?;
        return after_quote(after).map(|()| inside.to_owned());
    }
    if let Some(rest) = value.strip_prefix('"') {
        return double_quoted(rest);
    }
    let value = value.split_once(" #").map_or(value, |(value, _)| value).trim_end();
    plain(value).map(str::to_owned)
}

fn double_quoted(rest: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                plain(&value)?;
                return after_quote(chars.as_str()).map(|()| value);
            }
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(other) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("the double quote is not closed (a value over several lines is not supported)")
}

fn after_quote(after: &str) -> Result<(), &'static str> {
    let after = after.trim();
    if after.is_empty() || after.starts_with('#') { Ok(()) } else { Err("there is text after the closing quote") }
}

fn plain(value: &str) -> Result<&str, &'static str> {
    if value.contains("${") {
        return Err("${...} is not supported in environment files yet: write the value, or put it in single quotes");
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_what_compose_reads() {
        let text =
            "# a comment\nA=1\n export B = two words # note\nC='sin#gle $X ${Y}'\nD=\"a\\nb\" # c\nE=\nF=a=b#c\n";
        let read = parse(text, false).unwrap();
        let get = |key: &str| read.get(key).map(String::as_str);
        assert_eq!(get("A"), Some("1"));
        assert_eq!(get("B"), Some("two words"));
        assert_eq!(get("C"), Some("sin#gle $X ${Y}"));
        assert_eq!(get("D"), Some("a\nb"));
        assert_eq!(get("E"), Some(""));
        assert_eq!(get("F"), Some("a=b#c"));
        assert_eq!(parse("A='1' # x", true).unwrap().get("A").map(String::as_str), Some("'1' # x"));
    }

    #[test]
    fn errors_name_the_line_and_never_the_value() {
        for (text, line) in [
            ("A=1\nSECRET\n", 2),
            ("A='hunter2", 1),
            ("A=\"hunter2", 1),
            ("=hunter2", 1),
            ("A='x'hunter2", 1),
            ("A=${hunter2}", 1),
        ] {
            let (at, why) = parse(text, false).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(!why.contains("hunter2"), "{why}");
        }
    }
}
