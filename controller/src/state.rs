//! The state directory: what is remembered of each service and what was last shown of it, one JSON file each. Losing it
//! makes the controller slower, never unsafe. What another version has written differently costs no more than its own place,
//! and is kept beside.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use composed_core::model::{ServiceName, ServiceRecord};
use composed_platform::files::{self, LoadedFile, replace};
use composed_source::made_of::KnownProjects;
use crd_schema::status::ServiceStatus;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

/// How the names of files begin that are being written: tempfile's own word.
const TEMPORARY: &str = ".tmp";
/// The file of what Compose projects were made of.
const MADE_OF: &str = "compose.json";

/// Where memories are kept; without a directory they live as long as the process.
#[derive(Clone, Debug, Default)]
pub struct StateDir {
    root: Option<PathBuf>,
    /// What could not be read, in words.
    unreadable: Arc<Mutex<BTreeSet<String>>>,
    /// Another process keeps it: nothing is changed.
    is_anothers: bool,
}

impl StateDir {
    /// Keeps memories under `root`, which is made if it is not there (mode 0700: specifications may hold secrets).
    pub fn open(root: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(Self { root: Some(root.to_owned()), ..Self::default() })
    }

    /// As [`Self::open`], and an error if nothing can be written there.
    pub fn open_writable(root: &Path) -> std::io::Result<Self> {
        let dir = Self::open(root)?;
        drop(tempfile::NamedTempFile::new_in(root)?);
        Ok(dir)
    }

    /// Memories under `root`, to be read: nothing is made.
    pub fn existing(root: &Path) -> Self {
        Self { root: Some(root.to_owned()), is_anothers: true, ..Self::default() }
    }

    /// Whether there is a directory.
    pub fn is_kept(&self) -> bool {
        self.root.is_some()
    }

    /// A room for what others keep; none without a directory.
    pub fn room(&self, name: &str) -> Option<PathBuf> {
        self.root.as_ref().map(|root| root.join(name))
    }

    /// What is remembered of `service`.
    pub fn load(&self, service: &ServiceName) -> ServiceRecord {
        let Some(path) = self.path("services", service) else {
            return ServiceRecord::default();
        };
        self.read(&path, &format!("the memory of {service}"))
    }

    fn read<T: DeserializeOwned + Default>(&self, path: &Path, what: &str) -> T {
        let LoadedFile { value, told } = files::read(path, what, !self.is_anothers);
        self.unreadable.lock().extend(told);
        value
    }

    /// What others keep in the directory under this name.
    pub(crate) fn load_room<T: DeserializeOwned + Default>(&self, name: &str, what: &str) -> T {
        self.room(name).map_or_else(T::default, |path| self.read(&path, what))
    }

    /// What could not be read since this was opened, in words.
    pub fn unreadable(&self) -> Vec<String> {
        self.unreadable.lock().iter().cloned().collect()
    }

    /// The services with containers that Docker Compose made and that were adopted: their labels do not tell.
    pub fn adopted(&self) -> BTreeSet<ServiceName> {
        let Some(root) = self.root.as_ref().map(|root| root.join("services")) else {
            return BTreeSet::new();
        };
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten();
        let name = |entry: &std::fs::DirEntry| entry.file_name().into_string().ok();
        let projects = entries(&root).filter_map(|project| Some((name(&project)?, project.path())));
        let services = projects.flat_map(|(project, path)| {
            let files = entries(&path).filter_map(|file| Some(name(&file)?.strip_suffix(".json")?.to_owned()));
            files.map(move |service| ServiceName::new(&project, service)).collect::<Vec<_>>()
        });
        services.filter(|service| !self.load(service).replicas.adopted.is_empty()).collect()
    }

    /// Remembers `memory`: whole or not at all, whatever happens meanwhile.
    pub fn save(&self, service: &ServiceName, memory: &ServiceRecord) -> std::io::Result<()> {
        let Some(path) = self.path("services", service) else {
            return Ok(());
        };
        replace(&path, &serde_json::to_vec(memory)?, true)
    }

    /// The status that was last shown of `service`: its times outlive the process.
    pub fn load_status(&self, service: &ServiceName) -> Option<ServiceStatus> {
        files::read_dispensable(&self.path("status", service)?)
    }

    /// Writes down what is shown of `service`.
    pub fn save_status(&self, service: &ServiceName, status: &ServiceStatus) -> std::io::Result<()> {
        match self.path("status", service) {
            // Nothing depends on it: it need not outlive a crash of the machine.
            Some(path) => replace(&path, &serde_json::to_vec_pretty(status)?, false),
            None => Ok(()),
        }
    }

    /// What Compose projects were made of.
    pub fn load_made_of(&self) -> KnownProjects {
        self.load_room(MADE_OF, "what Compose projects were made of")
    }

    /// Remembers what Compose projects are made of, if it is something else than before.
    pub fn save_made_of(&self, made_of: &KnownProjects) -> std::io::Result<()> {
        let Some(path) = self.room(MADE_OF) else { return Ok(()) };
        let text = serde_json::to_vec(made_of)?;
        let same = std::fs::read(&path).map_or_else(|_| made_of.is_empty(), |before| before == text);
        if same { Ok(()) } else { replace(&path, &text, true) }
    }

    /// Forgets `service`.
    pub fn forget(&self, service: &ServiceName) {
        for room in ["services", "status"] {
            if let Some(path) = self.path(room, service) {
                // Not there is as good as removed; anything else is met again at the next save.
                drop(std::fs::remove_file(path));
            }
        }
    }

    /// Whether files can be written, and how much of one: the error of the attempt. Blocks as long as the disk does.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn probe(&self) -> std::io::Result<()> {
        /// Large enough that the last free bytes of a full disk do not hide that it is full.
        static BYTES: [u8; 64 << 10] = [0; 64 << 10];
        let Some(root) = &self.root else { return Ok(()) };
        let mut file = tempfile::NamedTempFile::new_in(root)?;
        file.write_all(&BYTES)?;
        file.as_file().sync_data()
    }

    /// Removes what processes that were killed while they wrote have left behind: whole specifications, which may hold
    /// secrets. What is as young as `since` or younger may be another's that is still writing.
    pub fn sweep(&self, since: jiff::Timestamp) {
        let Some(root) = &self.root else { return };
        let entries = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let projects = ["services", "status"].into_iter().flat_map(|room| entries(&root.join(room)));
        for dir in projects.chain([root.clone()]) {
            for path in entries(&dir) {
                let is_temporary = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY));
                let about = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file);
                let written = about.and_then(|about| jiff::Timestamp::try_from(about.modified().ok()?).ok());
                if is_temporary && written.is_some_and(|written| written < since) {
                    match std::fs::remove_file(&path) {
                        Ok(()) => {
                            tracing::info!(path = %path.display(), "removed: a process that was killed had left it");
                        }
                        Err(error) => tracing::warn!(path = %path.display(), %error, "a leftover cannot be removed"),
                    }
                }
            }
        }
    }

    // Names cannot hold a slash or begin with a dot: crd-schema sees to it. What comes from elsewhere may, and has no file.
    fn path(&self, kind: &str, service: &ServiceName) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        ServiceName::checked(&service.project, &service.name)?;
        Some(root.join(kind).join(&service.project).join(format!("{}.json", service.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_document_can_have_lead_nowhere() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(&dir.path().join("state")).expect("opened");
        std::fs::create_dir_all(dir.path().join("victim")).expect("a directory");
        let victim = dir.path().join("victim/daemon.json");
        std::fs::write(&victim, "{}").expect("a file");
        let wild = ServiceName::new("../../victim", "daemon");
        state.save(&wild, &ServiceRecord::default()).expect("nothing is written");
        state.save_status(&wild, &ServiceStatus::default()).expect("nothing is written");
        state.forget(&wild);
        assert_eq!(std::fs::read_to_string(&victim).expect("it is there"), "{}");
        assert!(state.load_status(&wild).is_none());
    }

    #[test]
    fn a_memory_that_cannot_be_read_is_kept_beside_and_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("opened");
        let web = ServiceName::new("shop", "web");
        let path = dir.path().join("services/shop/web.json");
        assert_eq!(state.load(&web), ServiceRecord::default());
        assert_eq!(state.unreadable(), Vec::<String>::new(), "none is none");
        state.save(&web, &ServiceRecord { generation: 7, ..ServiceRecord::default() }).expect("saved");
        let newer =
            std::fs::read_to_string(&path).expect("a file").replace("\"generation\":7", "\"generation\":\"vii\"");
        std::fs::write(&path, &newer).expect("written");
        assert_eq!(state.load(&web), ServiceRecord::default());
        state.save(&web, &ServiceRecord::default()).expect("saved");
        let beside = dir.path().join("services/shop/web.json.unreadable");
        assert_eq!(std::fs::read_to_string(beside).expect("kept"), newer);
        assert!(state.unreadable().iter().all(|told| told.contains("shop/web") && told.contains(".unreadable")));
        assert_eq!(state.unreadable().len(), 1);
        assert!(state.adopted().is_empty(), "it is no service");
        // One that only looks, as `composed plan` does, leaves it where it is.
        std::fs::write(&path, &newer).expect("written");
        assert_eq!(StateDir::existing(dir.path()).load(&web), ServiceRecord::default());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), newer);
    }

    #[test]
    fn leftovers_of_killed_processes_go_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("opened");
        state.save(&ServiceName::new("shop", "web"), &ServiceRecord::default()).expect("saved");
        let lay = |name: &str| std::fs::write(dir.path().join(name), "secret").expect("a file");
        for name in [".tmpAbCdEf", "services/shop/.tmp123456", "images.json"] {
            lay(name);
        }
        let there = |name: &str| dir.path().join(name).exists();
        state.sweep(jiff::Timestamp::UNIX_EPOCH);
        assert!(there(".tmpAbCdEf"), "it is younger than that");
        state.sweep(jiff::Timestamp::MAX);
        assert!(!there(".tmpAbCdEf") && !there("services/shop/.tmp123456"));
        assert!(there("services/shop/web.json") && there("images.json"));
    }

    #[test]
    fn a_directory_that_takes_nothing_is_found_out() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("opened");
        assert!(state.probe().is_ok() && StateDir::default().probe().is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 0, "the attempt leaves nothing");
        drop(dir);
        assert!(state.probe().is_err());
    }
}
