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
    /// The line itself, with the values of environment variables masked.
    pub source_line: Option<String>,
}

impl std::error::Error for Diagnostic {}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = self.source_line.as_deref().unwrap_or_default();
        let snippet = Snippet::source(source).line_start(self.line).path(self.file.as_str());
        let start = byte_of(source, self.column - 1);
        let end = byte_of(source, (self.column - 1).saturating_add(self.width)).max(start);
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
}
