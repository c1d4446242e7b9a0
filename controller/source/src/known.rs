//! What files held when they were last read. Where a notification asks for a look, a file that is the same by its stat is not
//! read again. A stat is believed only if the file was already at rest when it was read: what is written within one tick of
//! a clock, before and after, has the same times. Whatever a stat does not tell is found by the next look in full.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use composed_platform::clock::Clock;
use parking_lot::Mutex;

use super::disk::text;
use super::text::{Content, Text};

/// A file that was changed so shortly before it was read, or later, is read again: clocks of file systems are coarse, those
/// of other machines are late.
const AT_REST: i128 = 3_000_000_000;

/// The files as they were read, by path.
#[derive(Debug, Default)]
pub(super) struct FileCache(Mutex<HashMap<OsString, CachedFile>>);

#[derive(Debug)]
struct CachedFile {
    /// `None`: it is to be read again.
    stamp: Option<Stamp>,
    text: Text,
    /// The last look that met it.
    look: u64,
}

/// What a stat tells of a file. Nobody can set the time of the last change back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    written: i128,
    changed: i128,
}

impl Stamp {
    fn of(about: &Metadata) -> Option<Self> {
        const SECOND: i128 = 1_000_000_000;
        about.is_file().then(|| Self {
            device: about.dev(),
            inode: about.ino(),
            bytes: about.size(),
            written: i128::from(about.mtime()) * SECOND + i128::from(about.mtime_nsec()),
            changed: i128::from(about.ctime()) * SECOND + i128::from(about.ctime_nsec()),
        })
    }

    /// Whether it had been at rest for a while at a moment of the system's clock.
    fn rests(&self, now: i128) -> bool {
        self.written.max(self.changed).saturating_add(AT_REST) < now
    }
}

/// How one look reads files.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadMode {
    known: Option<Arc<FileCache>>,
    /// Stats are not believed.
    in_full: bool,
    number: u64,
}

impl ReadMode {
    /// The look of this number; `in_full` believes no stat.
    pub(super) fn new(known: &Arc<FileCache>, number: u64, in_full: bool) -> Self {
        Self { known: Some(Arc::clone(known)), in_full, number }
    }

    /// The content of a file that has not changed since it was read, as far as its stat tells.
    pub(super) fn unchanged(&self, path: &Path, about: impl FnOnce() -> io::Result<Metadata>) -> Option<Text> {
        let known = self.known.as_ref().filter(|_| !self.in_full)?;
        let stamp = Stamp::of(&about().ok()?)?;
        let mut all = known.0.lock();
        let kept = all.get_mut(path.as_os_str()).filter(|kept| kept.stamp == Some(stamp))?;
        kept.look = self.number;
        Some(kept.text.clone())
    }

    /// Reads an open file, and keeps it for the looks after this one.
    pub(super) fn read(&self, path: &Path, file: &File) -> Content {
        let Some(known) = &self.known else { return text(file) };
        let stamp = || file.metadata().ok().as_ref().and_then(Stamp::of);
        // The system's clock as it is now: the times of files are its, too.
        let (now, before) = (Clock::system().now().as_nanosecond(), stamp());
        let mut text = text(file)?;
        let stamp = before.filter(|before| stamp() == Some(*before) && before.rests(now));
        let mut all = known.0.lock();
        // What has not changed stays the same in all hands.
        if let Some(kept) = all.get(path.as_os_str()).filter(|kept| kept.text == text) {
            text = kept.text.clone();
        }
        all.insert(path.as_os_str().to_owned(), CachedFile { stamp, text: text.clone(), look: self.number });
        Ok(text)
    }

    /// Forgets the files that this look has not met.
    pub(super) fn end(&self) {
        if let Some(known) = &self.known {
            known.0.lock().retain(|_, kept| kept.look >= self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{FileTimes, write};
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    use super::*;

    struct Files {
        dir: tempfile::TempDir,
        known: Arc<FileCache>,
        number: u64,
    }

    impl Files {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().expect("a directory"), known: Arc::default(), number: 0 }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("a.yaml")
        }

        /// What a look finds, and whether it has read the file for that.
        fn look(&mut self, in_full: bool) -> (String, bool) {
            self.number += 1;
            let look = ReadMode::new(&self.known, self.number, in_full);
            let kept = look.unchanged(&self.path(), || self.path().metadata());
            let is_read = kept.is_none();
            let read = || look.read(&self.path(), &File::open(self.path()).expect("opened")).expect("read");
            let text = kept.unwrap_or_else(read);
            (String::from_utf8_lossy(&text).into_owned(), is_read)
        }

        /// As if it had been written long ago: the time of the last change cannot be set, so what is kept is made older.
        fn rest(&mut self) {
            let stamp = Stamp::of(&self.path().metadata().expect("a stat"));
            self.known.0.lock().values_mut().for_each(|kept| kept.stamp = stamp);
        }
    }

    fn told(text: &str, is_read: bool) -> (String, bool) {
        (text.to_owned(), is_read)
    }

    #[test]
    fn a_file_that_was_just_written_is_read_again_and_one_at_rest_is_not() {
        let mut files = Files::new();
        write(files.path(), "one").expect("written");
        assert_eq!(files.look(false), told("one", true));
        // Within the same tick, and as long: its stat may be the same.
        write(files.path(), "two").expect("written");
        assert_eq!(files.look(false), told("two", true));
        assert_eq!(files.look(false), told("two", true), "still fresh");
        files.rest();
        assert_eq!(files.look(false), told("two", false));
        assert_eq!(files.look(true), told("two", true), "in full");
    }

    #[test]
    fn a_rest_is_longer_than_the_tick_of_a_coarse_clock() {
        let stamp = Stamp { device: 1, inode: 1, bytes: 1, written: 5, changed: 7 };
        assert!(!stamp.rests(7 + AT_REST) && stamp.rests(8 + AT_REST));
        // The clock was set back since, so that it seems to be from the future.
        assert!(!stamp.rests(3));
    }

    #[test]
    fn whatever_changes_a_file_changes_its_stamp() {
        let mut files = Files::new();
        let path = files.path();
        let times = |text: &str, at: SystemTime| {
            let file = File::options().write(true).open(&path).expect("opened");
            write(&path, text).expect("written");
            file.set_times(FileTimes::new().set_modified(at)).expect("set");
        };
        let old = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
        write(&path, "one").expect("written");
        times("one", old);
        assert_eq!(files.look(false), told("one", true));
        files.rest();
        assert_eq!(files.look(false), told("one", false));
        // As `rsync --times` and `tar` do: as long as before, and as old as before.
        times("two", old);
        assert_eq!(files.look(false), told("two", true), "its time was restored");
        files.rest();
        let new = files.dir.path().join("new");
        write(&new, "six").expect("written");
        File::options()
            .write(true)
            .open(&new)
            .expect("opened")
            .set_times(FileTimes::new().set_modified(old))
            .expect("set");
        std::fs::rename(&new, &path).expect("renamed");
        assert_eq!(files.look(false), told("six", true), "another file has taken its name");
        files.rest();
        let other = files.dir.path().join("other");
        write(&other, "ten").expect("written");
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(&other, &path).expect("a link");
        assert_eq!(files.look(false), told("ten", true), "a link");
        files.rest();
        std::fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink(path.with_file_name("third"), &path).expect("a link");
        write(path.with_file_name("third"), "all").expect("written");
        assert_eq!(files.look(false), told("all", true), "its target is another one");
    }

    #[test]
    fn what_a_stat_does_not_tell_is_found_in_full() {
        let mut files = Files::new();
        write(files.path(), "one").expect("written");
        files.look(false);
        write(files.path(), "two").expect("written");
        // A file system whose stats tell nothing.
        files.rest();
        assert_eq!(files.look(false), told("one", false));
        assert_eq!(files.look(true), told("two", true));
    }

    #[test]
    fn what_is_the_same_stays_in_one_place_and_what_is_gone_is_forgotten() {
        let mut files = Files::new();
        write(files.path(), "one").expect("written");
        files.look(true);
        let first = files.known.0.lock().values().next().expect("kept").text.clone();
        files.look(true);
        assert!(files.known.0.lock().values().all(|kept| kept.text.is(&first)));
        ReadMode::new(&files.known, files.number, true).end();
        assert_eq!(files.known.0.lock().len(), 1);
        ReadMode::new(&files.known, files.number + 1, true).end();
        assert!(files.known.0.lock().is_empty());
    }
}
