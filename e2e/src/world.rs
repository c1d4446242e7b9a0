//! A world for one scenario: a project, an instance and directories that nobody else has; gone when it is dropped.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::docker::Docker;
use crate::document::Service;
use crate::program::run_name;

/// A world.
#[derive(Debug)]
pub struct World {
    /// The project, which is the instance's name, too.
    pub project: String,
    /// Its engine.
    pub docker: Docker,
    dir: TempDir,
}

impl World {
    /// A new world on the default engine.
    pub fn new() -> Self {
        Self::on(Docker::default())
    }

    /// A new world on an engine.
    pub fn on(docker: Docker) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let project = format!("{}-{}", run_name(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = tempfile::Builder::new().prefix(&project).tempdir().expect("a temporary directory");
        let world = Self { project, docker, dir };
        std::fs::create_dir(world.desired()).expect("a directory for the documents");
        world
    }

    /// The directory with the desired-state files.
    pub fn desired(&self) -> PathBuf {
        self.dir.path().join("desired")
    }

    /// A path of this world that is not among the desired-state files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The controller's state directory.
    pub fn state_dir(&self) -> PathBuf {
        self.path("state")
    }

    /// The controller's socket.
    pub fn socket(&self) -> PathBuf {
        self.path("s.sock")
    }

    /// The path of a document's file.
    pub fn file(&self, name: &str) -> PathBuf {
        self.desired().join(format!("{name}.yaml"))
    }

    /// Writes the document of a service, as an editor does: all at once.
    pub fn write(&self, service: &Service) -> PathBuf {
        let file = self.file(&service.name);
        replace(&file, &service.yaml(&self.project));
        file
    }
}

/// Replaces a file at once.
pub fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).expect("a file of this world can be written");
    std::fs::rename(&new, file).expect("a file of this world can be replaced");
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let (docker, project) = (&self.docker, &self.project);
        let label = format!("label=com.docker.compose.project={project}");
        docker.each(&["ps", "-aq", "--filter", &label], &["rm", "-fv"]);
        docker.each(&["ps", "-aq", "--filter", &format!("name=^/{project}-")], &["rm", "-fv"]);
        docker.each(&["network", "ls", "-q", "--filter", &label], &["network", "rm"]);
        docker.each(&["volume", "ls", "-q", "--filter", &label], &["volume", "rm"]);
        let own = format!("name=^composed-(lock|key)-{project}$");
        docker.each(&["volume", "ls", "-q", "--filter", &own], &["volume", "rm"]);
    }
}
