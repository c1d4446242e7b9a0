//! Files that do not answer, as on a server that is away: who reads many gives up the one and goes on with the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::text::Content;

/// A file that has not been read after so long is given up: it is read anew when it has answered.
pub(super) const READ_TIMEOUT: Duration = Duration::from_millis(400);

/// What is being read by this process, since when.
static READ: Mutex<BTreeMap<PathBuf, Instant>> = Mutex::new(BTreeMap::new());

/// Reads a file, unless somebody else has tried to for too long and still does.
pub(super) fn unless_it_hangs(path: &Path, read: impl FnOnce() -> Content) -> Content {
    let now = Instant::now();
    let before = READ.lock().get(path).copied();
    match before {
        Some(since) if since + READ_TIMEOUT <= now => {
            // Always the same: the next reading is no news.
            return Err("it does not answer, like a file on a server that is away".to_owned());
        }
        Some(_) => return read(),
        None => drop(READ.lock().insert(path.to_owned(), now)),
    }
    let content = read();
    READ.lock().remove(path);
    content
}

/// Whether a file that was begun after `since` is to be given up.
pub(super) fn any_since(since: Instant) -> bool {
    let now = Instant::now();
    READ.lock().values().any(|begun| *begun >= since && *begun + READ_TIMEOUT <= now)
}
