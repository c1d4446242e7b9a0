//! What Compose projects were made of when they were last understood. It is kept over restarts, so that a file that is
//! away when the controller starts is missed like one that goes away while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use composed_core::hex;
use composed_core::model::ServiceName;
use crd_schema::compose::{FILE_NAMES, OVERRIDE_NAMES};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// What is remembered of each project, by the full path of its main file.
pub type KnownProjects = BTreeMap<PathBuf, ProjectInputs>;

/// What the last valid version of a project was made of. Paths are relative to the project directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectInputs {
    /// Names the content of each of its Compose files.
    pub(super) documents: BTreeMap<String, String>,
    /// The files of variables that held some.
    pub(super) filled: BTreeSet<String>,
    /// The services that it has asked for and that are not gone yet.
    pub(super) services: BTreeSet<ServiceName>,
}

impl ProjectInputs {
    /// A file of variables that is empty or gone now, although the Compose files are what they were `before`: cut short
    /// or not yet written, more likely than a wish. Which Compose files there are may have been its own word. What is
    /// not `asked` for any more is not missed.
    pub(super) fn emptied<'b>(&self, before: &'b Self, asked: &BTreeSet<String>) -> Option<&'b String> {
        let same =
            |(path, digest): (&String, &String)| before.documents.get(path).is_none_or(|before| before == digest);
        let missed = |path: &&String| !self.filled.contains(*path) && asked.contains(*path);
        before.filled.iter().find(missed).filter(|_| self.documents.iter().all(same))
    }
}

/// Names a content.
pub(super) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content).get(..16).unwrap_or_default())
}

/// The Compose files that were found by their names, in full: the main ones, and what was merged over them.
pub fn by_name(remembered: &KnownProjects) -> BTreeSet<PathBuf> {
    let known = |name: &str| FILE_NAMES.contains(&name) || OVERRIDE_NAMES.contains(&name);
    let files = remembered.iter().flat_map(|(main, made_of)| {
        let dir = main.parent().unwrap_or(Path::new("/"));
        made_of.documents.keys().filter(|path| known(path)).map(|path| dir.join(path))
    });
    files.collect()
}

/// The services that these files have asked for, each with the main Compose file that it came by: containers of others
/// are orphans, as Compose says.
#[derive(Clone, Debug, Default)]
pub(super) struct ServiceOrigins(Arc<Mutex<BTreeMap<ServiceName, PathBuf>>>);

impl ServiceOrigins {
    pub(super) fn add(&self, services: impl IntoIterator<Item = ServiceName>, main: &Path) {
        self.lock().extend(services.into_iter().map(|name| (name, main.to_owned())));
    }

    pub(super) fn knows(&self, name: &ServiceName) -> bool {
        self.lock().contains_key(name)
    }

    /// The main Compose file that it came by.
    pub(super) fn main(&self, name: &ServiceName) -> Option<PathBuf> {
        self.lock().get(name).cloned()
    }

    pub(super) fn forget(&self, name: &ServiceName) {
        self.lock().remove(name);
    }

    pub(super) fn by(&self, main: &Path) -> BTreeSet<ServiceName> {
        self.lock().iter().filter(|(_, by)| *by == main).map(|(name, _)| name.clone()).collect()
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, BTreeMap<ServiceName, PathBuf>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_of(documents: &[(&str, &str)], filled: &[&str]) -> ProjectInputs {
        ProjectInputs {
            documents: documents.iter().map(|(path, text)| ((*path).to_owned(), digest(text.as_bytes()))).collect(),
            filled: filled.iter().map(|path| (*path).to_owned()).collect(),
            services: BTreeSet::new(),
        }
    }

    #[test]
    fn variables_are_missed_while_the_compose_files_are_the_same_and_ask_for_them() {
        let before = made_of(&[("compose.yaml", "a"), ("compose.override.yml", "b")], &[".env"]);
        let asked: BTreeSet<String> = ["compose.yaml".to_owned(), ".env".to_owned()].into();
        let now = made_of(&[("compose.yaml", "a")], &[]);
        assert_eq!(now.emptied(&before, &asked).map(String::as_str), Some(".env"));
        assert_eq!(now.emptied(&before, &["compose.yaml".to_owned()].into()), None, "--env-file names another");
        assert_eq!(made_of(&[("compose.yaml", "c")], &[]).emptied(&before, &asked), None, "a wish");
        assert_eq!(made_of(&[("compose.yaml", "a")], &[".env"]).emptied(&before, &asked), None);
    }

    #[test]
    fn only_files_that_were_found_by_name_are_missed_by_name() {
        let remembered = [
            (PathBuf::from("/srv/shop/compose.yaml"), made_of(&[("compose.yaml", ""), ("part/compose.yaml", "")], &[])),
            (PathBuf::from("/srv/blog/base.yaml"), made_of(&[("base.yaml", ""), ("compose.override.yml", "")], &[])),
        ];
        let found = by_name(&remembered.into());
        let expected = ["/srv/blog/compose.override.yml", "/srv/shop/compose.yaml"];
        assert_eq!(found.iter().map(|path| path.to_str().unwrap_or_default()).collect::<Vec<_>>(), expected);
    }
}
