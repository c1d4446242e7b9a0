//! How much is read of one directory.

use super::text::Content;

/// So many documents, and so many further files, are read of a directory.
const MAX_FILES: usize = 20_000;
/// So many bytes are read of a directory, with all files that its documents name.
const MAX_BYTES: u64 = 64 << 20;

/// What may still be read.
pub(super) struct Budget {
    files: usize,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { files: MAX_FILES, bytes: MAX_BYTES }
    }
}

impl Budget {
    /// Counts a file that was read.
    ///
    /// # Errors
    /// Why no more are read, in words.
    pub(super) fn take(&mut self, content: Option<&Content>) -> Result<(), String> {
        let bytes = content.and_then(|content| content.as_ref().ok()).map_or(0, |bytes| bytes.len() as u64);
        let left = self.files.checked_sub(1).zip(self.bytes.checked_sub(bytes));
        let (files, bytes) = left.ok_or_else(|| {
            format!(
                "its documents and the files that they name are more than {MAX_FILES} files or {} MiB: none of it is \
                 read; name a directory that holds less",
                MAX_BYTES >> 20
            )
        })?;
        (self.files, self.bytes) = (files, bytes);
        Ok(())
    }
}
