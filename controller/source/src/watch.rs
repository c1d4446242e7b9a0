//! Notices changes of the desired-state directory. The system's notifications are a hint and only that: they have the files
//! read that they name, where that is all that can have changed, and else those whose stats have. A rescan by content is the
//! truth, at the latest every `RESCAN`.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::files::{Found, Reading, Source};
use super::hangs;
use super::known::{FileCache, ReadMode};
use super::named::{self, Named, Names};
use super::settle::{GONE, PartialWriteFilter};

/// Changes closer together than this are read as one.
pub const DEBOUNCE: Duration = Duration::from_millis(100);
/// A directory that changes all the time is read after so long all the same.
const MAX_DEBOUNCE: Duration = Duration::from_secs(1);
/// All files are read again after so long, notified or not.
const RESCAN: Duration = Duration::from_secs(15);

/// Sends a reading now, and another whenever the content has changed. Ends when nobody listens any more.
pub async fn watch(source: impl Into<Source>, readings: mpsc::Sender<Reading>) {
    let source = source.into();
    let (hint, mut hints) = mpsc::channel(1);
    let names = Names::default();
    let mut watcher = Watched::new(&source.root(), hint, names.clone());
    let mut settle = PartialWriteFilter::knowing(source.known.clone());
    let mut rescan = Instant::now() + RESCAN;
    let mut said = BTreeSet::new();
    let (known, mut number, mut in_full) = (Arc::<FileCache>::default(), 0, true);
    let mut last: Option<Found> = None;
    loop {
        number += 1;
        let how = ReadMode::new(&known, number, in_full);
        let before = last.take().filter(|_| !in_full);
        let dirs = before.as_ref().map(|before| Arc::clone(&before.dirs));
        let Some(found) = look(&source, before, names.take(), &how).await else { return };
        // Those of before are said to be the same by a look at what was named, and by no other.
        if !dirs.is_some_and(|dirs| Arc::ptr_eq(&dirs, &found.dirs)) {
            how.end();
            watcher.follow(&found.dirs);
        }
        let reading = Reading { unnotified: watcher.fails.clone(), ..found.reading.clone() };
        last = Some(found);
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
        if let Ok(Some(())) = tokio::time::timeout_at(next, hints.recv()).await {
            quiet(&mut hints).await;
        }
        // Also where there is always a hint.
        in_full = Instant::now() >= rescan;
        if in_full {
            // The root may have been replaced, which its watch does not tell: begin anew.
            watcher.renew();
            rescan = Instant::now() + RESCAN;
        }
    }
}

/// Reads what is named, or all of it. A look that hangs at a file is left to itself, and another one passes that file by.
async fn look(source: &Source, last: Option<Found>, named: Named, how: &ReadMode) -> Option<Found> {
    let known = Arc::new((last, named));
    loop {
        let (from, known, how, began) = (source.clone(), Arc::clone(&known), how.clone(), Instant::now());
        let mut look = tokio::task::spawn_blocking(move || {
            let (last, named) = &*known;
            let found = last.as_ref().and_then(|last| named::look(last, named, &how));
            found.unwrap_or_else(|| from.read_watched(&how))
        });
        loop {
            match tokio::time::timeout(hangs::READ_TIMEOUT, &mut look).await {
                Ok(done) => return done.ok(),
                Err(_) if hangs::any_since(began) => break,
                Err(_) => {}
            }
        }
    }
}

/// Waits until nothing has changed for `DEBOUNCE`, or for `MAX_DEBOUNCE` in all: a file that is being written is not read
/// half.
async fn quiet(hints: &mut mpsc::Receiver<()>) {
    let until_quiet =
        async { while tokio::time::timeout(DEBOUNCE, hints.recv()).await.is_ok_and(|hint| hint.is_some()) {} };
    // Too busy to wait for is no error: it is read as it is, and again after the next hint.
    drop(tokio::time::timeout(MAX_DEBOUNCE, until_quiet).await);
}

struct Watched {
    /// The directories, and what they are: another one may have taken the name.
    dirs: BTreeSet<(PathBuf, Option<u64>)>,
    hint: mpsc::Sender<()>,
    names: Names,
    watcher: Option<notify::RecommendedWatcher>,
    /// Why nobody tells of changes, if nobody does.
    fails: Option<String>,
}

impl Watched {
    fn new(dirs: &BTreeSet<PathBuf>, hint: mpsc::Sender<()>, names: Names) -> Self {
        let mut watched = Self { dirs: known(dirs), hint, names, watcher: None, fails: None };
        watched.renew();
        watched
    }

    /// Watches these instead, and asks for another look: what changed before they were watched was not noticed.
    fn follow(&mut self, dirs: &BTreeSet<PathBuf>) {
        let dirs = known(dirs);
        if self.dirs != dirs {
            self.dirs = dirs;
            self.renew();
            self.names.note(None);
            self.hint.try_send(()).ok();
        }
    }

    fn renew(&mut self) {
        let (hint, names) = (self.hint.clone(), self.names.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too; it must not wake its own reader.
            let is_read = event.as_ref().is_ok_and(|event| event.kind.is_access() && !event.need_rescan());
            if !is_read {
                names.note(named_by(event));
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

/// The paths that a notification names; `None`: it, or one that was lost, may be about anything.
fn named_by(event: notify::Result<notify::Event>) -> Option<Vec<PathBuf>> {
    event.ok().filter(|event| !event.need_rescan() && !event.paths.is_empty()).map(|event| event.paths)
}

fn known(dirs: &BTreeSet<PathBuf>) -> BTreeSet<(PathBuf, Option<u64>)> {
    use std::os::unix::fs::MetadataExt as _;
    let inode = |dir: &PathBuf| std::fs::metadata(dir).ok().map(|about| about.ino());
    dirs.iter().map(|dir| (dir.clone(), inode(dir))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{Event, EventKind, Flag};

    #[test]
    fn a_lost_notification_is_about_anything() {
        let event = Event::new(EventKind::Any).add_path("a".into());
        assert_eq!(named_by(Ok(event.clone())), Some(vec!["a".into()]));
        assert_eq!(named_by(Ok(event.set_flag(Flag::Rescan))), None);
        assert_eq!(named_by(Ok(Event::new(EventKind::Any))), None);
        assert_eq!(named_by(Err(notify::Error::generic("lost"))), None);
    }

    #[test]
    fn that_nobody_tells_of_changes_is_known_from_the_start() {
        let (hint, _hints) = mpsc::channel(1);
        let mut watched = Watched::new(&[PathBuf::from("no\0path")].into(), hint, Names::default());
        assert!(watched.fails.as_ref().is_some_and(|why| why.contains("every 15s")), "{:?}", watched.fails);
        let dir = tempfile::tempdir().expect("a directory");
        watched.follow(&[dir.path().to_owned()].into());
        assert_eq!(watched.fails, None);
    }
}
