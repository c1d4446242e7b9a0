//! The content of a file, shared by all who hold it, with what was once found out of it: a file that has not changed is
//! neither copied nor looked through again.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

/// The content of a file, or why it could not be read.
pub type Content = Result<Text, String>;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub struct Text(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    bytes: Box<[u8]>,
    env_files: OnceLock<Vec<String>>,
    ours: OnceLock<bool>,
}

impl Text {
    /// Whether these are the same bytes in the same place: then they are equal, and nobody has to compare them.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The environment files that its documents name, found once.
    pub(super) fn env_files(&self, find: impl FnOnce(&[u8]) -> Vec<String>) -> &[String] {
        self.0.env_files.get_or_init(|| find(self))
    }

    /// Whether one of its documents says that it is ours, found out once.
    pub(super) fn says_ours(&self) -> bool {
        *self.0.ours.get_or_init(|| says_ours(&String::from_utf8_lossy(self)))
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Inner { bytes: bytes.into_boxed_slice(), ..Inner::default() }))
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.is(other) || **self == **other
    }
}

impl Eq for Text {}

/// Whether one of the documents of a text says that it is ours, or has only begun to: it may be half-written.
fn says_ours(text: &str) -> bool {
    const KEY: &str = "apiVersion";
    const VALUE: &str = "composed.dev/";
    let whole = |line: &&str| !line.trim_start().starts_with('#') && !line.trim().is_empty();
    text.split("\n---").any(|document| {
        let mut lines = document.lines().filter(whole).map(|line| line.trim_start_matches("---").trim());
        let Some(first) = lines.next() else { return false };
        let value = |line: &str| {
            let value =
                line.trim_start_matches(['{', '"', '\'']).strip_prefix(KEY)?.trim_start_matches(['"', '\'', ' ']);
            Some(value.strip_prefix(':')?.trim_start_matches([' ', '"', '\'']).to_owned())
        };
        let ours = |value: String| value.starts_with("composed") || VALUE.starts_with(&value);
        (lines.next().is_none() && KEY.starts_with(first)) || document.lines().filter_map(value).any(ours)
    })
}

#[cfg(test)]
mod tests {
    use super::says_ours;

    #[test]
    fn what_has_begun_to_be_ours_is_told_from_what_is_somebody_elses() {
        for ours in [
            "apiVersion: composed.dev/v1\nkind: Service",
            "# a note\n---\nkind: Service\napiVersion: \"composed.dev/v1\"",
            "{apiVersion: composed.dev/v1, kind: Service}",
            "services: {}\n---\napiVersion: composed.dev/v1",
            "apiVersion: composed.de/v1\nkind: Service",
            "apiVersion: compo",
            "apiVersion:",
            "apiV",
        ] {
            assert!(says_ours(ours), "{ours}");
        }
        for other in
            ["", "# apiVersion: composed.dev/v1", "apiVersion: apps/v1\nkind: Deployment", "services: {}", "a: 1"]
        {
            assert!(!says_ours(other), "{other}");
        }
    }
}
