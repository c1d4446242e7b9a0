//! Files that were cut short: whoever writes in place is seen in the middle of it, and half a file may be a valid one
//! that says less. What is a beginning of what was there is believed only if it stays. So is a Compose file that is away:
//! without it the others say something else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crd_schema::compose::FILE_NAMES;
use tokio::time::Instant;

use super::reading::Reading;
use super::text::{Content, Text};

/// A file that was cut short is taken as it is after so long.
pub const CUT_SHORT: Duration = Duration::from_secs(2);

/// A Compose file, or one that is merged over it, is missed for so long: as long as a document.
pub const GONE: Duration = composed_core::plan::MISSING_GRACE;

/// The last reading that was believed, and what is not believed yet.
#[derive(Debug, Default)]
pub struct PartialWriteFilter {
    last: Option<Reading>,
    cut: BTreeMap<PathBuf, (Text, Instant)>,
    /// The Compose files that are known by name.
    known: BTreeSet<PathBuf>,
    /// One of them that is away, and since when one is.
    missed: Option<(PathBuf, Instant)>,
}

impl PartialWriteFilter {
    /// One that knows of Compose files from before this process.
    pub fn knowing(known: BTreeSet<PathBuf>) -> Self {
        Self { known, ..Self::default() }
    }

    /// A Compose file that is away, while that is not believed.
    pub fn missed(&self) -> Option<&Path> {
        self.missed.as_ref().map(|(path, _)| path.as_path())
    }

    /// What may be believed of a reading, if it differs from what was believed before. Files that were just cut short
    /// are in it as they were.
    pub fn believe(&mut self, mut reading: Reading, now: Instant) -> Option<Reading> {
        if self.is_incomplete(&reading, now) {
            return None;
        }
        if self.cut.is_empty() && self.last.as_ref() == Some(&reading) {
            return None;
        }
        let mut cut = BTreeMap::new();
        if let Some(last) = &self.last {
            // Both are in order.
            let mut before = last.files.iter().peekable();
            for (file, content) in &mut reading.files {
                while before.next_if(|(old, _)| old < file).is_some() {}
                if let Some((_, old)) = before.next_if(|(old, _)| old == file) {
                    self.hold(Path::new(file), old, content, now, &mut cut);
                }
            }
            for (path, content) in &mut reading.env_files {
                match (last.env_files.get(path), content.as_mut()) {
                    (Some(Some(old)), Some(content)) => self.hold(path, old, content, now, &mut cut),
                    (Some(Some(Ok(old))), None) => {
                        // Gone, for the moment: as if it were empty.
                        let mut text = Ok(Text::default());
                        self.hold(path, &Ok(old.clone()), &mut text, now, &mut cut);
                        *content = text.ok().filter(|text| !text.is_empty()).map(Ok);
                    }
                    _ => {}
                }
            }
            if !cut.is_empty() {
                // A document as it was names the files that it named.
                for (path, content) in &last.env_files {
                    reading.env_files.entry(path.clone()).or_insert_with(|| content.clone());
                }
            }
        }
        self.cut = cut;
        if self.last.as_ref() == Some(&reading) {
            return None;
        }
        self.last = Some(reading.clone());
        Some(reading)
    }

    /// When a file that was cut short, or is away, will be believed to be so.
    pub fn next_at(&self) -> Option<Instant> {
        let cut = self.cut.values().map(|(_, since)| *since + CUT_SHORT);
        cut.chain(self.missed.as_ref().map(|(_, since)| *since + GONE)).min()
    }

    /// Whether a Compose file has just gone away.
    fn is_incomplete(&mut self, reading: &Reading, now: Instant) -> bool {
        // Then nothing is known of them; and where they are named, one that is not there is an error.
        let named = reading.compose.requests.values().any(|request| request.named);
        if reading.broken.is_some() || reading.single || named {
            return false;
        }
        let found = reading.by_name();
        let root = reading.full("");
        let away = self.known.iter().filter(|path| path.starts_with(&root) && !found.contains(*path));
        // Without the main file what is merged over it is not found either.
        let is_main = |path: &PathBuf| path.file_name().is_some_and(|name| FILE_NAMES.iter().any(|main| name == *main));
        let away = away.max_by_key(|path| is_main(path));
        let since = self.missed.take().map_or(now, |(_, since)| since);
        self.missed = away.map(|path| (path.clone(), since)).filter(|_| now < since + GONE);
        if self.missed.is_none() {
            self.known = found;
        }
        self.missed.is_some()
    }

    fn hold(
        &self,
        path: &Path,
        old: &Content,
        new: &mut Content,
        now: Instant,
        cut: &mut BTreeMap<PathBuf, (Text, Instant)>,
    ) {
        let (Ok(old), Ok(text)) = (old, &mut *new) else { return };
        if text.len() >= old.len() || !old.starts_with(text) {
            return;
        }
        let since = match self.cut.get(path) {
            Some((same, since)) if same == text => *since,
            _ => now,
        };
        if now < since + CUT_SHORT {
            cut.insert(path.to_owned(), (std::mem::replace(text, old.clone()), since));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(files: &[(&str, &str)]) -> Reading {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), Ok(text.as_bytes().to_vec().into())));
        Reading { files: files.collect(), ..Reading::default() }
    }

    #[test]
    fn a_file_that_was_cut_short_is_believed_if_it_stays() {
        let now = Instant::now();
        let (whole, half) = (reading(&[("a", "one: 1\ntwo: 2\n")]), reading(&[("a", "one: 1\n")]));
        let mut settle = PartialWriteFilter::default();
        assert_eq!(settle.believe(whole.clone(), now), Some(whole.clone()));
        assert_eq!(settle.believe(half.clone(), now), None);
        assert_eq!(settle.next_at(), Some(now + CUT_SHORT));
        assert_eq!(settle.believe(half.clone(), now + CUT_SHORT / 2), None);
        assert_eq!(settle.next_at(), Some(now + CUT_SHORT), "its own time, not that of the last look");
        assert_eq!(settle.believe(half.clone(), now + CUT_SHORT), Some(half));
        assert_eq!(settle.next_at(), None);
    }

    #[test]
    fn a_file_of_variables_that_vanishes_is_missed_only_if_it_stays_away() {
        let now = Instant::now();
        let with = |content: Option<&str>| {
            let content = content.map(|text| Ok(text.as_bytes().to_vec().into()));
            Reading { env_files: [(PathBuf::from(".env"), content)].into(), ..Reading::default() }
        };
        let mut settle = PartialWriteFilter::default();
        settle.believe(with(Some("A=1\n")), now);
        assert_eq!(settle.believe(with(None), now), None);
        assert_eq!(settle.believe(with(Some("A=1\n")), now), None, "a writer that renames");
        assert_eq!(settle.believe(with(None), now), None);
        assert_eq!(settle.believe(with(None), now + CUT_SHORT), Some(with(None)));
        let there = with(Some("A=2\n"));
        assert_eq!(settle.believe(there.clone(), now + CUT_SHORT), Some(there));
    }

    #[test]
    fn a_file_that_grows_again_was_never_short_and_others_do_not_wait() {
        let now = Instant::now();
        let mut settle = PartialWriteFilter::default();
        settle.believe(reading(&[("a", "one: 1\ntwo: 2\n"), ("b", "1")]), now);
        let mixed = settle.believe(reading(&[("a", "one"), ("b", "2")]), now).unwrap();
        assert_eq!(mixed, reading(&[("a", "one: 1\ntwo: 2\n"), ("b", "2")]));
        let more = now + CUT_SHORT;
        assert_eq!(settle.believe(reading(&[("a", "one: 1\n"), ("b", "2")]), more), None, "another cut, another wait");
        assert_eq!(settle.believe(mixed, more), None);
        assert_eq!(settle.next_at(), None);
        let other = reading(&[("a", "one: 3\n"), ("b", "2")]);
        assert_eq!(settle.believe(other.clone(), more), Some(other), "shorter and another is an edit");
    }

    #[test]
    fn a_compose_file_that_is_away_is_missed_for_a_while_also_at_the_start() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).expect("written");
        let read = || crate::files::read(dir.path());
        write("compose.yaml", "services: {web: {image: x}}");
        write("compose.override.yaml", "services: {web: {tty: true}}");
        let (now, whole) = (Instant::now(), read());
        for gone in ["compose.override.yaml", "compose.yaml"] {
            let text = std::fs::read_to_string(path(gone)).expect("read");
            let known = whole.by_name();
            assert_eq!(known.len(), 2);
            let begun = || {
                let mut settle = PartialWriteFilter::default();
                settle.believe(whole.clone(), now);
                settle
            };
            for mut settle in [begun(), PartialWriteFilter::knowing(known)] {
                std::fs::remove_file(path(gone)).expect("removed");
                assert_eq!(settle.believe(read(), now), None, "{gone}");
                assert_eq!(settle.missed(), Some(path(gone).as_path()));
                assert_eq!(settle.next_at(), Some(now + GONE));
                assert_eq!(settle.believe(read(), now + GONE / 2), None);
                assert_eq!(settle.next_at(), Some(now + GONE), "its own time");
                let later = now + GONE;
                assert_eq!(settle.believe(read(), later), Some(read()), "a wish");
                assert_eq!((settle.missed(), settle.next_at()), (None, None));
                write(gone, &text);
                assert_eq!(settle.believe(read(), later), Some(whole.clone()), "and back at once");
            }
        }
        let elsewhere = [PathBuf::from("/srv/other/compose.yaml")].into();
        assert_eq!(
            PartialWriteFilter::knowing(elsewhere).believe(whole.clone(), now),
            Some(whole),
            "nobody's business"
        );
    }
}
