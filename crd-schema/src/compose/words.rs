//! Texts as Compose reads them where our own documents read them otherwise: plain numbers that become text, and command
//! lines. A container that runs already was made of these. Source: go-yaml `resolve.go`, go-shellwords `shellwords.go`.

use super::tree::get_mut;
use crate::yaml::{Kind, Node, Problem};

/// A plain number, flag or date as text: `1.10` is `1.1`, `017` is `15`, `True` is `true`. `None` for other text, which
/// stays as it is.
pub(super) fn number(text: &str) -> Option<String> {
    match text {
        "true" | "True" | "TRUE" => return Some("true".to_owned()),
        "false" | "False" | "FALSE" => return Some("false".to_owned()),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return None;
    }
    if let Some(date) = date(text) {
        return Some(date);
    }
    let bare = text.replace('_', "");
    let (sign, digits) = bare.strip_prefix('-').map_or(("", bare.trim_start_matches('+')), |digits| ("-", digits));
    let radix =
        |prefix: &str, radix| digits.strip_prefix(prefix).and_then(|digits| u64::from_str_radix(digits, radix).ok());
    let whole = [("0x", 16), ("0X", 16), ("0b", 2), ("0B", 2), ("0o", 8), ("0O", 8)];
    let whole = whole.iter().find_map(|(prefix, base)| radix(prefix, *base));
    let octal = || radix("0", 8).filter(|_| digits.len() > 1);
    let decimal = || digits.parse().ok().filter(|_| digits == "0" || !digits.starts_with('0'));
    if let Some(whole) = whole.or_else(octal).or_else(decimal) {
        return Some(if whole == 0 { "0".to_owned() } else { format!("{sign}{whole}") });
    }
    let known = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let float = digits.chars().all(known) && digits.contains(|c: char| c.is_ascii_digit());
    let value: f64 = bare.parse().ok().filter(|_| float)?;
    Some(go_float(value))
}

/// As Go writes it: the shortest that says the same, with an exponent below 0.0001 and from a million on.
fn go_float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A day, as Go writes the moment at which it begins.
fn date(text: &str) -> Option<String> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |part: &str, most: usize| part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
    if parts.next().is_some() || year.len() != 4 || !digits(year, 4) || !digits(month, 2) || !digits(day, 2) {
        return None;
    }
    let date = jiff::civil::Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()?;
    Some(format!("{date} 00:00:00 +0000 UTC"))
}

/// Splits the command lines of a service.
pub(super) fn commands(service: &mut Node, shown: &str, problems: &mut Vec<Problem>) {
    for key in ["command", "entrypoint"] {
        if let Some(command) = get_mut(service, key) {
            split(command, &format!("{shown}.{key}"), problems);
        }
    }
    for key in ["post_start", "pre_stop"] {
        let Some(Kind::List(hooks)) = get_mut(service, key).map(|hooks| &mut hooks.kind) else { continue };
        for command in hooks.iter_mut().filter_map(|hook| get_mut(hook, "command")) {
            split(command, &format!("{shown}.{key}"), problems);
        }
    }
}

fn split(command: &mut Node, shown: &str, problems: &mut Vec<Problem>) {
    let Some(line) = command.text().filter(|_| !command.is_nothing()) else { return };
    let place = command.place;
    let Some(words) = words(line) else {
        let message = format!("{shown}: a quote or a bracket is not closed, or has no `$` before it");
        let help = "close it, put it in quotes, or write the command as a list";
        problems.push(Problem::new(place, message, Some(help.into())));
        return;
    };
    let words = words.into_iter().map(|word| Node::quoted(word, place)).collect();
    *command = Node::new(Kind::List(words), place);
}

/// The words of a line. What follows a `;`, `|`, `&`, `<` or `>` outside of quotes is not read: no shell runs it.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let (mut escaped, mut single, mut double, mut back, mut dollar) = (false, false, false, false, false);
    for c in line.chars() {
        if escaped {
            word.push(match c {
                't' => '\t',
                'n' => '\n',
                other => other,
            });
            (escaped, begun) = (false, true);
            continue;
        }
        let quoted = single || double || back || dollar;
        match c {
            '\\' if !single => {
                escaped = true;
                continue;
            }
            ' ' | '\t' | '\r' | '\n' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
                continue;
            }
            '"' if !single && !dollar => {
                double = !double;
                begun = true;
                continue;
            }
            '\'' if !double && !dollar => {
                single = !single;
                begun = true;
                continue;
            }
            '`' if !single && !double && !dollar => back = !back,
            ')' if !single && !double && !back => dollar = !dollar,
            '(' if !single && !double && !back => {
                if dollar || !word.ends_with('$') {
                    return None;
                }
                dollar = true;
            }
            ';' | '&' | '|' | '<' | '>' if !quoted => break,
            _ => {}
        }
        begun = true;
        word.push(c);
    }
    if escaped || single || double || back || dollar {
        return None;
    }
    words.extend(begun.then_some(word));
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `docker compose config` of Compose v5.6.1 makes of them.
    #[test]
    fn plain_numbers_are_written_as_go_writes_them() {
        for (text, expected) in [
            ("1.10", "1.1"),
            ("2.0", "2"),
            ("017", "15"),
            ("08", "8"),
            ("0", "0"),
            ("-0x1F", "-31"),
            ("1_000", "1000"),
            ("+5", "5"),
            (".5", "0.5"),
            ("1e3", "1000"),
            ("1e21", "1e+21"),
            ("1234567.0", "1.234567e+06"),
            ("123456.5", "123456.5"),
            ("0.00001", "1e-05"),
            ("12345678901234567890", "12345678901234567890"),
            ("TRUE", "true"),
            ("2024-2-29", "2024-02-29 00:00:00 +0000 UTC"),
        ] {
            assert_eq!(number(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["yes", "22:22", "1.2.3", "64m", "-", ".", "2024-13-01", "1e", "text", "", "0x", "--5"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn command_lines_are_split_as_compose_splits_them() {
        let split = |line: &str| words(line).map(|words| words.join("|"));
        for (line, expected) in [
            ("a 'b c' \"d e\" f\\ g", "a|b c|d e|f g"),
            ("  a   b  ", "a|b"),
            ("echo #hash", "echo|#hash"),
            ("echo '' \"\"", "echo||"),
            ("a b;c d", "a|b"),
            ("a \"b;c\" '|'", "a|b;c||"),
            ("echo $(a b) x", "echo|$(a b)|x"),
            ("", ""),
        ] {
            assert_eq!(split(line).as_deref(), Some(expected), "{line}");
        }
        for line in ["a 'b", "a \"b", "a\\", "a (b)", "a $(b"] {
            assert_eq!(split(line), None, "{line}");
        }
    }
}
