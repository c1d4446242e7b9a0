//! The state directory: what is remembered of each service and what was last shown of it, one JSON file each. Losing it
//! makes the controller slower, never unsafe. A memory that cannot be read is begun anew, and kept beside: it is told, and
//! never written over.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crd_schema::status::ServiceStatus;

use crate::model::{Memory, ServiceName};
use crate::source::made_of::Remembered;

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

/// What a file that cannot be read is kept as, beside its name.
const UNREADABLE: &str = "unreadable";

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
    pub fn load(&self, service: &ServiceName) -> Memory {
        let Some(path) = self.path("services", service) else {
            return Memory::default();
        };
        let why = match std::fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(memory) => return memory,
                Err(error) => error.to_string(),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Memory::default(),
            Err(error) => error.to_string(),
        };
        self.set_aside(service, &path, &why);
        Memory::default()
    }

    /// What could not be read since this was opened, in words.
    pub fn unreadable(&self) -> Vec<String> {
        lock(&self.unreadable).iter().cloned().collect()
    }

    /// Keeps a memory that cannot be read from being written over: a newer version may have written it, and its pause and
    /// history are in it.
    fn set_aside(&self, service: &ServiceName, path: &Path, why: &str) {
        if self.is_anothers {
            let told = format!("the memory of {service} cannot be read ({why}): {}", path.display());
            tracing::warn!("{told}");
            lock(&self.unreadable).insert(told);
            return;
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{UNREADABLE}"));
        let kept = match std::fs::rename(path, &beside) {
            Ok(()) => format!("it is kept as {}", Path::new(&beside).display()),
            Err(error) => format!("it could not be kept as {}: {error}", Path::new(&beside).display()),
        };
        let told = format!(
            "the memory of {service} cannot be read and is begun anew, without its history and without a pause by hand \
             ({why}); {kept}"
        );
        tracing::error!("{told}");
        lock(&self.unreadable).insert(told);
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
        services.filter(|service| !self.load(service).adopted.is_empty()).collect()
    }

    /// Remembers `memory`: whole or not at all, whatever happens meanwhile.
    pub fn save(&self, service: &ServiceName, memory: &Memory) -> std::io::Result<()> {
        let Some(path) = self.path("services", service) else {
            return Ok(());
        };
        replace(&path, &serde_json::to_vec(memory)?, true)
    }

    /// The status that was last shown of `service`: its times outlive the process.
    pub fn load_status(&self, service: &ServiceName) -> Option<ServiceStatus> {
        let text = std::fs::read(self.path("status", service)?).ok()?;
        serde_json::from_slice(&text).ok()
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
    pub fn load_made_of(&self) -> Remembered {
        let Some(Ok(text)) = self.room(MADE_OF).map(std::fs::read) else {
            return Remembered::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(%error, "what Compose projects were made of cannot be read and is begun anew");
            Remembered::default()
        })
    }

    /// Remembers what Compose projects are made of, if it is something else than before.
    pub fn save_made_of(&self, made_of: &Remembered) -> std::io::Result<()> {
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Replaces a file whole or not at all; with `lasting`, it outlives a crash of the machine.
pub(crate) fn replace(path: &Path, text: &[u8], lasting: bool) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    // Mode 0600 is tempfile's own.
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(text)?;
    if lasting {
        file.as_file().sync_data()?;
    }
    file.persist(path)?;
    Ok(())
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
        state.save(&wild, &Memory::default()).expect("nothing is written");
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
        assert_eq!(state.load(&web), Memory::default());
        assert_eq!(state.unreadable(), Vec::<String>::new(), "none is none");
        state.save(&web, &Memory { generation: 7, ..Memory::default() }).expect("saved");
        let newer =
            std::fs::read_to_string(&path).expect("a file").replace("\"generation\":7", "\"generation\":\"vii\"");
        std::fs::write(&path, &newer).expect("written");
        assert_eq!(state.load(&web), Memory::default());
        state.save(&web, &Memory::default()).expect("saved");
        let beside = dir.path().join("services/shop/web.json.unreadable");
        assert_eq!(std::fs::read_to_string(beside).expect("kept"), newer);
        assert!(state.unreadable().iter().all(|told| told.contains("shop/web") && told.contains(".unreadable")));
        assert_eq!(state.unreadable().len(), 1);
        assert!(state.adopted().is_empty(), "it is no service");
        // One that only looks, as `composed plan` does, leaves it where it is.
        std::fs::write(&path, &newer).expect("written");
        assert_eq!(StateDir::existing(dir.path()).load(&web), Memory::default());
        assert_eq!(std::fs::read_to_string(&path).expect("there"), newer);
    }

    #[test]
    fn leftovers_of_killed_processes_go_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("opened");
        state.save(&ServiceName::new("shop", "web"), &Memory::default()).expect("saved");
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
