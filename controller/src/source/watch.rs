//! Notices changes of the desired-state directory. The system's notifications are a hint and only that: a rescan by
//! content is the truth, at the latest every `RESCAN`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::files::{Reading, Source};
use super::settle::Settle;

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
    let mut watcher = Watched::new(source.watched(&Reading::default()), hint);
    let mut settle = Settle::default();
    let mut rescan = Instant::now() + RESCAN;
    loop {
        let from = source.clone();
        let look = move || {
            let reading = from.read();
            (from.watched(&reading), reading)
        };
        let Ok((dirs, reading)) = tokio::task::spawn_blocking(look).await else {
            return;
        };
        watcher.follow(dirs);
        if let Some(reading) = settle.believe(reading, Instant::now())
            && readings.send(reading).await.is_err()
        {
            return;
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
    /// Directories, and whether what is below them counts.
    paths: BTreeSet<(PathBuf, bool)>,
    hint: mpsc::Sender<()>,
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watched {
    fn new(paths: BTreeSet<(PathBuf, bool)>, hint: mpsc::Sender<()>) -> Self {
        let mut watched = Self { paths, hint, watcher: None };
        watched.renew();
        watched
    }

    fn follow(&mut self, paths: BTreeSet<(PathBuf, bool)>) {
        if self.paths != paths {
            self.paths = paths;
            self.renew();
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
            for (path, deep) in &self.paths {
                let mode = if *deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
                watcher.watch(path, mode)?;
            }
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                if self.watcher.take().is_some() {
                    tracing::warn!(paths = ?self.paths, %error, "changes are not notified; the files are read every {RESCAN:?}");
                }
            }
        }
    }
}
