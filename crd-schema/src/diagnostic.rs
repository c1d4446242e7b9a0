//! What is wrong with a document, where, and what to do about it.

use std::fmt;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

/// One problem of a file. `Display` renders it as rustc would: the place, the line, the help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// The file as it was named to [`crate::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are underlined; at least 1.
    pub width: usize,
    /// What is wrong. Names keys, never a value of `environment`.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line itself, with the values of environment variables masked; absent when it is too long to show or says
    /// nothing about the problem.
    pub source_line: Option<String>,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(source) = &self.source_line else {
            write!(f, "error: {}\n --> {}:{}:{}", self.message, self.file, self.line, self.column)?;
            return self.help.iter().try_for_each(|help| write!(f, "\n  |\n  = help: {help}"));
        };
        let start = byte_of(source, self.column - 1);
        let end = byte_of(source, (self.column - 1).saturating_add(self.width)).max(start);
        let snippet = Snippet::source(source.as_str()).line_start(self.line).path(self.file.as_str());
        let title = Level::ERROR.primary_title(self.message.as_str());
        let mut group = title.element(snippet.annotation(AnnotationKind::Primary.span(start..end)));
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        f.write_str(&Renderer::plain().decor_style(DecorStyle::Ascii).render(&[group]))
    }
}

/// The byte at which the character number `column` starts, or the end.
fn byte_of(line: &str, column: usize) -> usize {
    line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_as_rustc_does() {
        let diagnostic = Diagnostic {
            file: "services/web.yaml".into(),
            line: 7,
            column: 3,
            width: 10,
            message: "unknown key `helthcheck` in spec".into(),
            help: Some("did you mean `healthcheck`?".into()),
            source_line: Some("  helthcheck: {test: [NONE]}".into()),
        };
        let expected = "\
error: unknown key `helthcheck` in spec
 --> services/web.yaml:7:3
  |
7 |   helthcheck: {test: [NONE]}
  |   ^^^^^^^^^^
  |
  = help: did you mean `healthcheck`?";
        assert_eq!(diagnostic.to_string(), expected);
    }

    #[test]
    fn without_a_line_there_is_still_a_place() {
        let diagnostic = Diagnostic {
            file: "big.yaml".into(),
            line: 1,
            column: 1,
            width: 1,
            message: "too large".into(),
            help: Some("split it".into()),
            source_line: None,
        };
        let expected = "error: too large\n --> big.yaml:1:1\n  |\n  = help: split it";
        assert_eq!(diagnostic.to_string(), expected);
    }
}
