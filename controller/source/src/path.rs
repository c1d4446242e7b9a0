//! Paths as they are compared.

use std::path::{Component, Path, PathBuf};

/// A path without `.` and `..`, by its words alone: it may be another host's.
pub fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

/// A path in full.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Only the working directory could be missing, and then nothing else goes either.
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| plain(&path))
}

/// A path without links, if it is there.
pub(super) fn real(path: &Path) -> Option<PathBuf> {
    if path.as_os_str().is_empty() { Path::new(".").canonicalize().ok() } else { path.canonicalize().ok() }
}
