//! Notices changes of the desired-state directory. The system's notifications are a hint and only that: a rescan by
//! content is the truth, at the latest every `RESCAN`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::files::{Reading, Source};
use super::settle::{GONE, Settle};

/// Changes closer together than this are read as one.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// A directory that changes all the time is read after so long all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// Without any notification the files are read again after so long.
const RESCAN: Duration = Duration::from_secs(15);

/// Sends a reading now, and another whenever the content has changed. Ends when nobody listens any more.
pub async fn watch(source: impl Into<Source>, readings: mpsc::Sender<Reading>) {
    let source = source.into();
    let (hint, mut hints) = mpsc::channel(1);
    let mut watcher = Watched::new(source.root(), hint);
    let mut settle = Settle::knowing(source.known.clone());
    let mut rescan = Instant::now() + RESCAN;
    let mut said = BTreeSet::new();
    loop {
        let from = source.clone();
        let look = move || from.read_watched();
        let Ok((reading, dirs)) = tokio::task::spawn_blocking(look).await else {
            return;
        };
        watcher.follow(dirs);
        let reading = Reading { unnotified: watcher.fails.clone(), ..reading };
        if let Some(reading) = settle.believe(reading, Instant::now())
            && readings.send(reading).await.is_err()
        {
            return;
        }
        if let Some(missed) = settle.missed().filter(|missed| !said.contains(*missed)) {
            tracing::warn!(file = %missed.display(), "a Compose file is away: nothing new is taken in for {GONE:?}");
            said.insert(missed.to_owned());
        }
        let next = settle.next_at().map_or(rescan, |at| at.min(rescan));
        match tokio::time::timeout_at(next, hints.recv()).await {
            Ok(Some(())) => quiet(&mut hints).await,
            Ok(None) | Err(_) if Instant::now() < rescan => {}
            Ok(None) | Err(_) => {
                // The root may have been replaced, which its watch does not tell: begin anew.
                watcher.renew();
                rescan = Instant::now() + RESCAN;
            }
        }
    }
}

/// Waits until nothing has changed for `DEBOUNCE`, or for `PATIENCE` in all: a file that is being written is not read
/// half.
async fn quiet(hints: &mut mpsc::Receiver<()>) {
    let until_quiet =
        async { while tokio::time::timeout(DEBOUNCE, hints.recv()).await.is_ok_and(|hint| hint.is_some()) {} };
    // Too busy to wait for is no error: it is read as it is, and again after the next hint.
    drop(tokio::time::timeout(PATIENCE, until_quiet).await);
}

struct Watched {
    /// The directories, and what they are: another one may have taken the name.
    dirs: BTreeSet<(PathBuf, Option<u64>)>,
    hint: mpsc::Sender<()>,
    watcher: Option<notify::RecommendedWatcher>,
    /// Why nobody tells of changes, if nobody does.
    fails: Option<String>,
}

impl Watched {
    fn new(dirs: BTreeSet<PathBuf>, hint: mpsc::Sender<()>) -> Self {
        let mut watched = Self { dirs: known(dirs), hint, watcher: None, fails: None };
        watched.renew();
        watched
    }

    /// Watches these instead, and asks for another look: what changed before they were watched was not noticed.
    fn follow(&mut self, dirs: BTreeSet<PathBuf>) {
        let dirs = known(dirs);
        if self.dirs != dirs {
            self.dirs = dirs;
            self.renew();
            self.hint.try_send(()).ok();
        }
    }

    fn renew(&mut self) {
        let hint = self.hint.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too; it must not wake its own reader.
            if event.map_or(true, |event| !event.kind.is_access()) {
                // Full is as good as sent: one hint is enough.
                hint.try_send(()).ok();
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            for (dir, _) in &self.dirs {
                // One that has just gone is told by the one above it.
                match watcher.watch(dir, RecursiveMode::NonRecursive) {
                    Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
                    result => result?,
                }
            }
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => (self.watcher, self.fails) = (Some(watcher), None),
            Err(error) => {
                self.watcher = None;
                let dirs = self.dirs.len();
                self.fails = Some(format!(
                    "the system does not tell of changes in {dirs} directories ({error}), so the files are read every \
                     {RESCAN:?} only"
                ));
            }
        }
    }
}

fn known(dirs: BTreeSet<PathBuf>) -> BTreeSet<(PathBuf, Option<u64>)> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |dir: &PathBuf| std::fs::metadata(dir).ok().map(|about| about.ino());
    dirs.into_iter().map(|dir| (inode(&dir), dir)).map(|(inode, dir)| (dir, inode)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_nobody_tells_of_changes_is_known_from_the_start() {
        let (hint, _hints) = mpsc::channel(1);
        let mut watched = Watched::new([PathBuf::from("no\0path")].into(), hint);
        assert!(watched.fails.as_ref().is_some_and(|why| why.contains("every 15s")), "{:?}", watched.fails);
        let dir = tempfile::tempdir().expect("a directory");
        watched.follow([dir.path().to_owned()].into());
        assert_eq!(watched.fails, None);
    }
}
