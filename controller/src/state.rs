//! The state directory: what is remembered of each service and what was last shown of it, one JSON file each. Losing it
//! makes the controller slower, never unsafe; a file that cannot be read is as good as lost, and said so once.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crd_schema::status::ServiceStatus;

use crate::model::{Memory, ServiceName};
use crate::source::made_of::Remembered;

/// The file of what Compose projects were made of.
const MADE_OF: &str = "compose.json";

/// Where memories are kept; without a directory they live as long as the process.
#[derive(Clone, Debug, Default)]
pub struct StateDir {
    root: Option<PathBuf>,
}

impl StateDir {
    /// Keeps memories under `root`, which is made if it is not there (mode 0700: specifications may hold secrets).
    pub fn open(root: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root)?;
        Ok(Self { root: Some(root.to_owned()) })
    }

    /// As [`Self::open`], and an error if nothing can be written there.
    pub fn open_writable(root: &Path) -> std::io::Result<Self> {
        let dir = Self::open(root)?;
        drop(tempfile::NamedTempFile::new_in(root)?);
        Ok(dir)
    }

    /// Memories under `root`, to be read: nothing is made.
    pub fn existing(root: &Path) -> Self {
        Self { root: Some(root.to_owned()) }
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
        let Ok(text) = std::fs::read(&path) else {
            return Memory::default();
        };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            tracing::warn!(%service, path = %path.display(), %error, "the memory cannot be read and is begun anew");
            Memory::default()
        })
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

    // Names cannot hold a slash or begin with a dot: crd-schema sees to it.
    fn path(&self, kind: &str, service: &ServiceName) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        Some(root.join(kind).join(&service.project).join(format!("{}.json", service.name)))
    }
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
