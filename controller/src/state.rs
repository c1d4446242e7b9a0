//! The state directory: what is remembered of each service, one JSON file each. Losing it makes the controller slower,
//! never unsafe; a file that cannot be read is as good as lost, and said so once.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::model::{Memory, ServiceName};

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

    /// What is remembered of `service`.
    pub fn load(&self, service: &ServiceName) -> Memory {
        let Some(path) = self.path(service) else {
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

    /// Remembers `memory`: whole or not at all, whatever happens meanwhile.
    pub fn save(&self, service: &ServiceName, memory: &Memory) -> std::io::Result<()> {
        let Some(path) = self.path(service) else {
            return Ok(());
        };
        self.write(&path, &serde_json::to_vec(memory)?)
    }

    /// Forgets `service`.
    pub fn forget(&self, service: &ServiceName) {
        if let Some(path) = self.path(service) {
            // Not there is as good as removed; anything else is met again at the next save.
            drop(std::fs::remove_file(path));
        }
    }

    /// Writes a file of the directory atomically.
    pub fn write(&self, path: &Path, text: &[u8]) -> std::io::Result<()> {
        let parent = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent)?;
        // Mode 0600 is tempfile's own.
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(text)?;
        file.as_file().sync_data()?;
        file.persist(path)?;
        Ok(())
    }

    // Names cannot hold a slash or begin with a dot: crd-schema sees to it.
    fn path(&self, service: &ServiceName) -> Option<PathBuf> {
        let root = self.root.as_ref()?;
        Some(root.join("services").join(&service.project).join(format!("{}.json", service.name)))
    }
}
