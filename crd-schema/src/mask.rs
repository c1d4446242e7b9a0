//! Which parts of a file may be shown. The values under `environment:` may not, nor those of `content:` (of a config),
//! nor those under `x-...:`, where people keep what they alias into it; `x-composed:` is ours. Works on lines, not on the
//! tree: a file that is no YAML has secrets, too.

/// What of a line is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hidden {
    Nothing,
    From(usize),
    All,
}

/// Where a secret part goes on.
enum Region {
    /// Deeper than this column, or list items in it; keys at `child` may be shown.
    Block { column: usize, child: Option<usize> },
    /// Until so many brackets are closed.
    Flow { depth: usize },
}

/// The lines of a file, and what of each may be shown.
pub(crate) struct Lines<'t> {
    lines: Vec<(&'t str, Hidden)>,
}

impl<'t> Lines<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        let mut region = None;
        let lines = text.lines().map(|line| (line, hidden(line, &mut region))).collect();
        Self { lines }
    }

    /// The line (from 1) as it may be shown, and how many of its first characters are as written.
    pub(crate) fn show(&self, line: usize) -> Option<(String, usize)> {
        let (text, hidden) = self.lines.get(line.checked_sub(1)?)?;
        let kept = match hidden {
            Hidden::Nothing => return Some(((*text).to_owned(), usize::MAX)),
            Hidden::From(at) => text.get(..*at).unwrap_or_default(),
            Hidden::All => text.get(..text.len() - text.trim_start().len()).unwrap_or_default(),
        };
        Some((format!("{kept}***"), kept.chars().count()))
    }
}

fn hidden(line: &str, region: &mut Option<Region>) -> Hidden {
    let trimmed = line.trim_start();
    let indent = line.len() - trimmed.len();
    match region {
        Some(Region::Flow { depth }) => {
            *depth = brackets(line, *depth);
            if *depth == 0 {
                *region = None;
            }
            return Hidden::All;
        }
        Some(Region::Block { .. }) if trimmed.is_empty() => return Hidden::Nothing,
        Some(Region::Block { column, child }) => {
            let item = trimmed.starts_with('-') && !trimmed.starts_with("---");
            if indent > *column || (indent == *column && item) {
                let shown = *child.get_or_insert(indent) == indent && !trimmed.starts_with(['#', '?', '"', '\'']);
                return match line.find([':', '=']) {
                    Some(at) if shown => after_blanks(line, at + 1),
                    None if shown && item => Hidden::Nothing,
                    _ => Hidden::All,
                };
            }
            *region = None;
        }
        None => {}
    }
    let Some((column, value)) = secret_key(line) else {
        return Hidden::Nothing;
    };
    let rest = line.get(value..).unwrap_or_default().trim_start();
    if rest.starts_with(['{', '[']) || !line.get(..column).unwrap_or_default().trim_start_matches([' ', '-']).is_empty()
    {
        let depth = brackets(rest, 0);
        if depth > 0 {
            *region = Some(Region::Flow { depth });
        }
    } else {
        *region = Some(Region::Block { column, child: None });
    }
    after_blanks(line, value)
}

/// Hides what follows `at`, if anything does.
fn after_blanks(line: &str, at: usize) -> Hidden {
    let rest = line.get(at..).unwrap_or_default();
    let value = rest.trim_start();
    if value.is_empty() || value.starts_with('#') || (value.starts_with('*') && !value.contains(['{', '[', ' '])) {
        return Hidden::Nothing; // nothing there, a comment, an alias
    }
    Hidden::From(at + rest.len() - value.len())
}

/// The column of a key whose value is secret, and where the value starts.
fn secret_key(line: &str) -> Option<(usize, usize)> {
    let start = line.len() - line.trim_start_matches([' ', '-', '"', '\'']).len();
    if line.get(start..)?.starts_with("x-") && !line.get(start..)?.starts_with("x-composed") {
        let colon = line.get(start..)?.find(':')?;
        return Some((start, start + colon + 1));
    }
    for (at, word) in line.match_indices("environment").chain(line.match_indices("content")) {
        let before = line.get(..at)?.chars().next_back();
        let after = line.get(at + word.len()..)?;
        let key = after.trim_start_matches(['"', '\'']).trim_start();
        if before.is_none_or(|c| matches!(c, ' ' | '{' | ',' | '"' | '\'' | '\t')) && key.starts_with(':') {
            return Some((at, line.len() - key.len() + 1));
        }
    }
    None
}

/// How many brackets are open after the text, when `depth` were before it. Quoted text does not count.
fn brackets(text: &str, mut depth: usize) -> usize {
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return 0;
                }
            }
            _ => {}
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let lines = Lines::new(text);
        (1..=text.lines().count()).filter_map(|line| lines.show(line)).map(|(text, _)| text).collect()
    }

    #[test]
    fn values_are_hidden_and_keys_are_not() {
        let text = "spec:\n  environment:\n    A: one\n    # B: two\n    C: |\n      three\n    D:\n  image: x";
        let expected =
            ["spec:", "  environment:", "    A: ***", "    ***", "    C: ***", "      ***", "    D:", "  image: x"];
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn lists_flow_maps_quotes_and_extensions_are_hidden() {
        for text in [
            "environment:\n- A=hunter2\n- \"B=hunter2\"\nimage: x",
            "environment: {A: hunter2}\nimage: x",
            "environment: {A: '}',\n  B: hunter2,\n}\nimage: x",
            "environment: {A: a,\n  B: b,\n  C: hunter2}\nimage: x",
            "spec: {environment: {A: hunter2}, image: x}\nimage: x",
            "spec: {environment: {\n A: hunter2}}\nimage: x",
            "x-env: &env\n  A: hunter2\nimage: x",
            "x-env: &env {A: hunter2}\nimage: x",
            "- environment: [A=hunter2]\nimage: x",
            "\"environment\" : {A: hunter2}\nimage: x",
            "environment:\n  \"A\": hunter2\n  'hunter2': b\nimage: x",
            "configs: {a: {content: hunter2}}\nimage: x",
            "  content: |\n    hunter2\nimage: x",
        ] {
            let shown = shown(text);
            assert!(!shown.iter().any(|line| line.contains("hunter2")), "{text}\n{shown:?}");
            assert_eq!(shown.last().map(String::as_str), Some("image: x"), "{text}");
        }
    }
}
