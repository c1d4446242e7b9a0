//! Notices changes of the desired-state directory. The system's notifications are a hint and only that: a rescan by
//! content is the truth, at the latest every `RESCAN`.

use std::path::PathBuf;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::files::{Reading, read};

/// Changes closer together than this are read as one.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// A directory that changes all the time is read after so long all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// Without any notification the files are read again after so long.
const RESCAN: Duration = Duration::from_secs(15);

/// Sends a reading now, and another whenever the content has changed. Ends when nobody listens any more.
pub async fn watch(path: PathBuf, readings: mpsc::Sender<Reading>) {
    let (hint, mut hints) = mpsc::channel(1);
    let mut watcher = Watched::new(&path, hint);
    let mut last: Option<Reading> = None;
    loop {
        let from = path.clone();
        let Ok(reading) = tokio::task::spawn_blocking(move || read(&from)).await else {
            return;
        };
        if last.as_ref() != Some(&reading) {
            last = Some(reading.clone());
            if readings.send(reading).await.is_err() {
                return;
            }
        }
        match tokio::time::timeout(RESCAN, hints.recv()).await {
            Ok(Some(())) => settle(&mut hints).await,
            // The root may have been replaced, which its watch does not tell: begin anew.
            Ok(None) | Err(_) => watcher.renew(),
        }
    }
}

/// Waits until nothing has changed for `DEBOUNCE`, or for `PATIENCE` in all: a file that is being written is not read
/// half.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    let until_quiet =
        async { while tokio::time::timeout(DEBOUNCE, hints.recv()).await.is_ok_and(|hint| hint.is_some()) {} };
    // Too busy to wait for is no error: it is read as it is, and again after the next hint.
    drop(tokio::time::timeout(PATIENCE, until_quiet).await);
}

struct Watched {
    path: PathBuf,
    hint: mpsc::Sender<()>,
    watcher: Option<notify::RecommendedWatcher>,
}

impl Watched {
    fn new(path: &std::path::Path, hint: mpsc::Sender<()>) -> Self {
        let mut watched = Self { path: path.to_owned(), hint, watcher: None };
        watched.renew();
        watched
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
            watcher.watch(&self.path, RecursiveMode::Recursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                if self.watcher.take().is_some() {
                    tracing::warn!(path = %self.path.display(), %error, "changes are not notified; the files are read every {RESCAN:?}");
                }
            }
        }
    }
}
