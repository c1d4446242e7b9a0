//! The edge to a terminal. Texts of engines, registries, containers and files go to it, and a terminal obeys what some of
//! them say: they are shown, not done.

/// Whether a terminal, or a reader's eye, would be led by it: control characters, and those that turn the direction of
/// writing.
fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
}

/// A text of several lines with everything else that is active written out, as `\u001b`: inside of JSON that is the same
/// text.
pub(super) fn text(text: &str) -> String {
    written_out(text, |c| is_active(c) && c != '\n' && c != '\t')
}

/// One line: ends of lines are written out as well, so that no text pretends to be the next line.
pub(super) fn line(text: &str) -> String {
    written_out(text, is_active)
}

fn written_out(text: &str, is_written_out: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_written_out(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            c => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_told_nothing_by_others() {
        let hostile = "a\u{1b}]0;title\u{7}\u{9b}31m\rb\u{202e}c\u{7f}\t\nFAILED";
        assert_eq!(text(hostile), "a\\u001b]0;title\\u0007\\u009b31m\\u000db\\u202ec\\u007f\t\nFAILED");
        assert_eq!(line("a\nb\u{1b}"), "a\\nb\\u001b");
        assert_eq!(text("é 😀 — ok"), "é 😀 — ok");
        let json = serde_json::to_string(&hostile).unwrap();
        assert_eq!(serde_json::from_str::<String>(&text(&json)).unwrap(), hostile, "data stays what it is");
    }
}
