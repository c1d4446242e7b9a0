//! A look at those files alone that notifications name: one saved file is one file read, however many there are beside it. It
//! is made only where nothing else can have changed with them; in any other case there is none, and all files are looked at.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::budget::Budget;
use super::files::{Found, is_document, looked};
use super::known::ReadMode;
use super::reading::Reading;
use super::text::Content;

/// More names than these are not kept: all files are looked at then.
const MAX_NAMES: usize = 64;

/// The paths that notifications have named since this was last taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<Named>>);

/// What has changed, as far as notifications tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Named {
    paths: BTreeSet<PathBuf>,
    /// Something that has no name, or too much.
    anything: bool,
}

impl Names {
    /// Takes note of paths that have changed; `None`: nobody can tell which.
    pub(super) fn note(&self, paths: Option<Vec<PathBuf>>) {
        let mut named = self.0.lock();
        match paths {
            Some(paths) => named.paths.extend(paths),
            None => named.anything = true,
        }
        if named.anything || named.paths.len() > MAX_NAMES {
            *named = Named { paths: BTreeSet::new(), anything: true };
        }
    }

    /// What has been named.
    pub(super) fn take(&self) -> Named {
        std::mem::take(&mut self.0.lock())
    }
}

/// What was found before, with what the named files hold now; `None`: more may have changed than these.
pub(super) fn look(last: &Found, named: &Named, how: &ReadMode) -> Option<Found> {
    let Found { reading, dirs, links } = last;
    let compose = !reading.compose.requests.is_empty() || !reading.compose.nested.is_empty();
    let odd = *links || compose || reading.single || reading.broken.is_some() || !reading.passed_by.is_empty();
    if odd || named.anything || named.paths.is_empty() {
        return None;
    }
    let mut read = reading.clone();
    for path in &named.paths {
        match place(reading, path) {
            Some(at) => {
                let (_, content) = read.files.get_mut(at)?;
                let now = looked(path, how);
                if env_files(content) != env_files(&now) {
                    return None;
                }
                *content = now;
            }
            None if reading.env_files.is_empty() && is_nothing(path, dirs) => {}
            None => return None,
        }
    }
    // What is too much is said by a look at everything.
    let mut budget = Budget::default();
    let contents =
        read.files.iter().map(|(_, content)| Some(content)).chain(read.env_files.values().map(Option::as_ref));
    for content in contents {
        budget.take(content).ok()?;
    }
    Some(Found { reading: read, dirs: Arc::clone(dirs), links: false })
}

/// Where a document that was read before stands in the reading, if it is still a file.
fn place(reading: &Reading, path: &Path) -> Option<usize> {
    let shown = path.strip_prefix(&reading.root).ok()?.to_str()?;
    let at = reading.files.binary_search_by(|(file, _)| file.as_str().cmp(shown)).ok()?;
    path.symlink_metadata().is_ok_and(|about| about.is_file()).then_some(at)
}

/// Whether a path is none of a document, nor of a directory of documents: what editors write beside a file and put in its
/// place, or what is no business of anybody here.
fn is_nothing(path: &Path, dirs: &BTreeSet<PathBuf>) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    if dirs.contains(path) || (is_document(path) && !hidden) {
        return false;
    }
    match path.symlink_metadata() {
        Ok(about) => about.is_file(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// The environment files that a document names: those are looked for when they change.
fn env_files(content: &Content) -> Option<&[String]> {
    content.as_ref().ok().map(|text| text.env_files(|bytes| super::files::env_files("", bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Source;
    use std::fs;

    fn document(version: u32) -> String {
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: p, name: s}}\nspec: {{image: 'x:{version}'}}\n"
        )
    }

    fn named(paths: &[&Path]) -> Named {
        Named { paths: paths.iter().map(|path| (*path).to_owned()).collect(), anything: false }
    }

    fn found(dir: &Path) -> Found {
        Source::from(dir).read_watched(&ReadMode::default())
    }

    fn text<'r>(reading: &'r Reading, name: &str) -> &'r [u8] {
        let (_, content) = reading.files.iter().find(|(file, _)| file == name).expect("it was read");
        content.as_deref().expect("it can be read")
    }

    /// What is saved as editors do, beside many others: nothing but that file is looked at.
    #[test]
    fn one_saved_file_is_one_file_looked_at() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["a.yaml", "b.yaml", "notes.txt"] {
            fs::write(at(name), document(1)).expect("written");
        }
        let before = found(dir.path());
        for name in ["a.yaml", "b.yaml"] {
            fs::write(at(name), document(22)).expect("written");
        }
        let paths = [at("a.yaml"), at(".a.yaml.swp"), at("4913"), at("a.yaml~"), at("notes.txt")];
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        let now = look(&before, &named(&paths), &ReadMode::default()).expect("nothing else was named");
        assert_eq!(text(&now.reading, "a.yaml"), document(22).as_bytes());
        assert_eq!(text(&now.reading, "b.yaml"), document(1).as_bytes(), "it was looked at");
        assert!(Arc::ptr_eq(&before.dirs, &now.dirs));
    }

    /// Where something else may have changed with it, there is no such look.
    #[test]
    fn all_is_looked_at_where_more_may_have_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("sub")).expect("a directory");
        for name in ["a.yaml", "gone.yaml", "sub/b.yaml"] {
            fs::write(at(name), document(1)).expect("written");
        }
        let plain = found(dir.path());
        let alone = |found: &Found, name: &str| look(found, &named(&[&at(name)]), &ReadMode::default()).is_some();
        assert!(alone(&plain, "a.yaml") && alone(&plain, "sub/b.yaml") && alone(&plain, ".new"));
        assert!(look(&plain, &Named::default(), &ReadMode::default()).is_none(), "who asks has a reason");
        fs::remove_file(at("gone.yaml")).expect("removed");
        fs::write(at("new.yaml"), document(1)).expect("written");
        for name in ["gone.yaml", "new.yaml", "sub", "", "b.yml", "elsewhere/../a.yaml"] {
            assert!(!alone(&plain, name), "{name}");
        }
        fs::create_dir(at(".data")).expect("a directory");
        assert!(!alone(&plain, ".data"), "a link may lead there");

        // It names another file now, which nobody has read.
        fs::write(at("a.yaml"), document(1).replace("spec: {", "spec: {env_file: .env, ")).expect("written");
        assert!(!alone(&plain, "a.yaml"));
        let with_variables = found(dir.path());
        assert!(alone(&with_variables, "a.yaml") && alone(&with_variables, "sub/b.yaml"));
        for name in [".env", ".other", "notes.txt"] {
            assert!(!alone(&with_variables, name), "{name}: an environment file may be a link to it");
        }
        fs::write(at("a.yaml"), document(1)).expect("written");

        std::os::unix::fs::symlink(at("a.yaml"), at("link.yaml")).expect("a link");
        assert!(!alone(&found(dir.path()), "a.yaml"));
        fs::remove_file(at("link.yaml")).expect("removed");
        assert!(alone(&found(dir.path()), "a.yaml"));
        fs::write(at("sub/compose.yaml"), "services: {}\n").expect("written");
        assert!(!alone(&found(dir.path()), "a.yaml"));
    }

    #[test]
    fn what_nobody_can_tell_and_too_many_name_everything() {
        let names = Names::default();
        let note = |path: String| names.note(Some(vec![path.into()]));
        note("a".to_owned());
        assert_eq!(names.take(), named(&[Path::new("a")]));
        assert_eq!(names.take(), Named::default());
        let anything = Named { anything: true, ..Named::default() };
        names.note(None);
        note("b".to_owned());
        assert_eq!(names.take(), anything);
        (0..=MAX_NAMES).for_each(|at| note(at.to_string()));
        assert_eq!(names.take(), anything);
    }
}
