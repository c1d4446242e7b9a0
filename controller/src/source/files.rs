//! Reads the documents under a directory, or one file, and the environment files that they name. Only reads: what is in
//! them is judged in `judge`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crd_schema::Object;

use super::compose::{self, Asked, Projects};
use super::host::HostName;
use super::origin::Origin;

/// Directories deeper than this are not looked into.
pub(super) const MAX_DEPTH: usize = 16;

/// The content of a file, or why it could not be read.
pub type Content = Result<Vec<u8>, String>;

/// Where desired state is read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// A directory, or one file.
    pub path: PathBuf,
    /// What is asked of Compose projects there.
    pub compose: Asked,
    /// The directory as the engine's host sees it: relative bind mounts are resolved there.
    pub host: HostDir,
    /// Which services are for this host.
    pub name: HostName,
}

/// How the engine's host sees the directory of the documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HostDir {
    /// Under the same path as this process.
    #[default]
    Same,
    /// Under this path.
    At(PathBuf),
    /// Nobody has said: this process is in a container.
    Unknown,
}

/// One look at the desired-state directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Every document file, by path relative to the root, in order.
    pub files: Vec<(String, Content)>,
    /// Every further file that documents name, by path: environment files, and what Compose files are made of. `None` is
    /// one that is not there.
    pub env_files: BTreeMap<PathBuf, Option<Content>>,
    /// Directories below a Compose file that nobody but a container may look into, as far as one can tell.
    pub passed_by: Vec<String>,
    /// The Compose projects among the files.
    pub compose: Projects,
    /// The root itself cannot be read.
    pub broken: Option<String>,
    /// A single file was asked for: what it does not mention is none of its business.
    pub single: bool,
    /// Paths in documents are relative to the document's directory under this.
    pub root: PathBuf,
    /// The same root as the engine's host sees it, if that is known.
    pub host_root: Option<PathBuf>,
    /// The repositories that files are from, by the first part of their paths.
    pub origins: BTreeMap<String, Origin>,
    /// Which services are for this host.
    pub host_name: HostName,
    /// What is wrong with what was not taken in at all.
    pub refused: Vec<String>,
    /// Something has never been read, so that nobody can tell what is gone: what, in words.
    pub unread: Option<String>,
}

impl Reading {
    /// The directory of a document file.
    pub fn dir(&self, file: &str) -> PathBuf {
        let path = self.root.join(file);
        path.parent().map_or_else(|| self.root.clone(), Path::to_owned)
    }
}

impl<P: Into<PathBuf>> From<P> for Source {
    fn from(path: P) -> Self {
        Self { path: path.into(), compose: Asked::default(), host: HostDir::Same, name: HostName::Any }
    }
}

impl Source {
    /// Where changes are to be noticed: directories, and whether what is below them counts. Below a Compose file it does
    /// not: data may lie there, which changes all the time. The directories of the files that were read count.
    pub(super) fn watched(&self, read: &Reading) -> BTreeSet<(PathBuf, bool)> {
        let parent = |path: &PathBuf| match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut dirs: BTreeSet<PathBuf> = if self.path.is_dir() {
            if !compose::is_project(&self.path) {
                return [(self.path.clone(), true)].into();
            }
            [self.path.clone()].into()
        } else {
            self.compose.files.iter().chain([&self.path]).map(parent).collect()
        };
        dirs.extend(read.env_files.keys().map(parent).filter(|dir| dir.is_dir()));
        dirs.into_iter().map(|dir| (dir, false)).collect()
    }

    /// Reads it.
    pub fn read(&self) -> Reading {
        let mut reading = Reading { host_name: self.name.clone(), ..look(&self.path, &self.compose) };
        match &self.host {
            HostDir::Same => {}
            HostDir::At(dir) => reading.host_root = Some(dir.clone()),
            HostDir::Unknown => reading.host_root = None,
        }
        reading
    }
}

/// Reads all `.yaml` and `.yml` files under `path`, or the file `path` itself. Hidden files and directories are left
/// out, so editors' swap files and Kubernetes' `..data` do no harm; links are followed.
pub fn read(path: &Path) -> Reading {
    look(path, &Asked::default())
}

fn look(path: &Path, asked: &Asked) -> Reading {
    let mut reading = Reading::default();
    if path.is_file() || !asked.files.is_empty() {
        reading.single = true;
        reading.root = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        reading.files.push((name, content(path)));
    } else {
        path.clone_into(&mut reading.root);
        let mut walk = Walk::default();
        match walk.all(path) {
            Ok(()) => (reading.files, reading.passed_by) = (walk.files, walk.passed_by),
            Err(error) => reading.broken = Some(format!("{}: {error}", path.display())),
        }
        reading.files.sort_by(|a, b| a.0.cmp(&b.0));
    }
    // An empty path is the working directory, which `absolute` refuses.
    let root = if reading.root.as_os_str().is_empty() { Path::new(".") } else { &reading.root };
    reading.host_root = std::path::absolute(root).ok();
    read_env_files(&mut reading);
    compose::find(&mut reading, asked);
    reading
}

#[derive(Default)]
struct Walk {
    files: Vec<(String, Content)>,
    passed_by: Vec<String>,
    // The real paths of the directories that were looked into: each once, however many links lead there.
    seen: BTreeSet<PathBuf>,
    links: BTreeSet<(String, PathBuf)>,
}

impl Walk {
    fn all(&mut self, root: &Path) -> std::io::Result<()> {
        self.directory(root, "", 0, false)?;
        // Links last: a directory that is really here goes by its own name.
        while let Some((shown, path)) = self.links.pop_first() {
            self.directory(&path, &format!("{shown}/"), shown.matches('/').count() + 1, false)?;
        }
        Ok(())
    }

    /// Below a Compose file, `data` may lie that only its container may read: that is passed by.
    fn directory(&mut self, dir: &Path, prefix: &str, depth: usize, data: bool) -> std::io::Result<()> {
        if data && std::fs::read_dir(dir).is_err() {
            self.passed_by.push(prefix.trim_end_matches('/').to_owned());
            return Ok(());
        }
        if depth > MAX_DEPTH || !self.seen.insert(dir.canonicalize()?) {
            return Ok(());
        }
        let data = data || compose::is_project(dir);
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            let shown = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() {
                self.directory(&path, &format!("{shown}/"), depth + 1, data)?;
            } else if path.is_dir() {
                self.links.insert((shown, path));
            } else if is_document(&path) && (path.is_file() || !path.exists()) {
                self.files.push((shown, content(&path)));
            }
        }
        Ok(())
    }
}

pub(super) fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

pub(super) fn content(path: &Path) -> Content {
    let about = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !about.is_file() {
        return Err("it is no regular file".to_owned());
    }
    if about.len() > crd_schema::MAX_FILE_BYTES as u64 {
        return Err(format!("the file has {} bytes; at most {} are read", about.len(), crd_schema::MAX_FILE_BYTES));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// They belong to the reading, wherever they are: a change in one is a change of what is wanted.
fn read_env_files(reading: &mut Reading) {
    for (file, bytes) in &reading.files {
        let Ok(bytes) = bytes else { continue };
        for name in env_files(file, bytes) {
            let path = reading.dir(file).join(name);
            let there = path.symlink_metadata().map(|_| content(&path));
            let text = match there {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                Err(error) => Some(Err(error.to_string())),
                Ok(text) => Some(text),
            };
            reading.env_files.insert(path, text);
        }
    }
}

/// The environment files that the documents of a file name. Few have any, so few are parsed for it.
pub(super) fn env_files(file: &str, bytes: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"env_file";
    if !bytes.windows(KEY.len()).any(|window| window == KEY) {
        return Vec::new();
    }
    let objects = crd_schema::parse_bytes(file, bytes).unwrap_or_default();
    let services = objects.into_iter().filter_map(|parsed| match parsed.object {
        Object::Service(service) => Some(service.spec.env_file),
        Object::Project(_) => None,
    });
    services.flatten().map(|env_file| env_file.path).collect()
}
