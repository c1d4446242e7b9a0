//! Files that hold what is expected. `UPDATE_GOLDEN=1` rewrites them.

use std::{env, fs, path::Path};

/// Panics when `path` (under the crate) does not hold `actual`.
pub(crate) fn check(path: &Path, actual: &str) {
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, actual).unwrap();
        return;
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(expected, actual, "{} is stale: look at it, then UPDATE_GOLDEN=1", path.display());
}
