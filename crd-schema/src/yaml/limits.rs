//! What is refused before the YAML parser sees it, and where one document ends and the next begins.

use super::node::{Place, Problem};

/// Whether the text may be read at all.
///
/// # Errors
/// When it is larger than `max` bytes or holds a NUL.
pub(crate) fn precheck(text: &str, max: usize) -> Result<(), Problem> {
    if text.len() > max {
        return Err(too_large(text.len(), max));
    }
    let Some(before) = text.find('\0').and_then(|at| text.get(..at)) else {
        return Ok(());
    };
    let message = "the file holds a NUL byte, so it is not text".to_owned();
    Err(Problem::new(Place::after(before), message, Some("save it as UTF-8 text".into())))
}

/// What is said about a file of so many bytes.
pub(crate) fn too_large(bytes: usize, max: usize) -> Problem {
    let message = format!("the file has {bytes} bytes; at most {max} are read");
    Problem::new(Place::START, message, Some("split it: several files, or one file a service".into()))
}

/// Splits a stream at its document markers: the line number before each document, and its text.
///
/// A line that starts with `---` or `...` and a blank or nothing after it ends a document wherever it stands, even in
/// a quoted or block scalar (YAML 1.2.2, production 206), so lines are all that need looking at. Split up front, a
/// document that is no YAML does not hide the next one. `%` directives stay with the marker that follows them.
pub(crate) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let (mut start, mut start_line) = (0, 0);
    let (mut at, mut line) = (0, 0);
    let mut only_prefix = true; // nothing but comments, blanks and directives since `start`
    for row in text.split_inclusive('\n') {
        let marker = |mark: &str| {
            row.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\n']))
        };
        if marker("---") {
            if !only_prefix {
                found.push((start_line, text.get(start..at).unwrap_or_default()));
                (start, start_line) = (at, line);
            }
            only_prefix = false;
        } else if marker("...") {
            let end = at + row.len();
            found.push((start_line, text.get(start..end).unwrap_or_default()));
            (start, start_line) = (end, line + 1);
            only_prefix = true;
        } else if !row.trim().is_empty() && !row.starts_with(['#', '%']) {
            only_prefix = false;
        }
        at += row.len();
        line += 1;
    }
    found.push((start_line, text.get(start..).unwrap_or_default()));
    found
}
