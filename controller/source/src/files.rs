//! Reads the documents under a directory, or one file, and the environment files that they name. Only reads: what is in
//! them is judged in `judge`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crd_schema::Object;

use super::budget::Budget;
use super::compose::{self, ComposeOptions};
use super::disk::open;
use super::hangs::unless_it_hangs;
use super::host::HostName;
use super::known::ReadMode;
pub use super::reading::Reading;
pub use super::text::Content;
use super::text::Text;

/// Directories deeper than this are not looked into.
pub(super) const MAX_DEPTH: usize = 16;

/// Where desired state is read from.
#[derive(Clone, Debug)]
pub struct Source {
    /// A directory, or one file.
    pub path: PathBuf,
    /// What is asked of Compose projects there.
    pub compose: ComposeOptions,
    /// The directory as the engine's host sees it: relative bind mounts are resolved there.
    pub host: HostDir,
    /// Which services are for this host.
    pub name: HostName,
    /// Compose files that were read before this process began, in full: one that is away is missed for a while.
    pub known: BTreeSet<PathBuf>,
}

/// What a look at the files has found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) reading: Reading,
    /// The directories in which changes are to be noticed.
    pub(super) dirs: Arc<BTreeSet<PathBuf>>,
    /// A document, or a directory of some, was come by through a link: it may change without a notice of its own.
    pub(super) links: bool,
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

impl<P: Into<PathBuf>> From<P> for Source {
    fn from(path: P) -> Self {
        Self {
            path: path.into(),
            compose: ComposeOptions::default(),
            host: HostDir::Same,
            name: HostName::Any,
            known: BTreeSet::new(),
        }
    }
}

impl Source {
    /// Reads it.
    pub fn read(&self) -> Reading {
        self.read_watched(&ReadMode::default()).reading
    }

    /// Reads it, and says in which directories changes are to be noticed: those that were looked into for documents, and
    /// those of all files that were read. Below a Compose file only these: data may lie there, which changes all the time.
    pub(super) fn read_watched(&self, how: &ReadMode) -> Found {
        let Found { mut reading, dirs, links } = look(&self.path, &self.compose, how);
        let mut dirs = Arc::unwrap_or_clone(dirs);
        reading.host_name = self.name.clone();
        match &self.host {
            HostDir::Same => {}
            HostDir::At(dir) => reading.host_root = Some(dir.clone()),
            HostDir::Unknown => reading.host_root = None,
        }
        let parent = |path: &Path| match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        };
        let named = self.compose.files.iter().chain(Some(&self.path).filter(|path| !path.is_dir()));
        dirs.extend(named.map(|path| parent(path)));
        dirs.extend(reading.env_files.keys().map(|path| parent(path)).filter(|dir| dir.is_dir()));
        Found { reading, dirs: Arc::new(dirs), links }
    }

    /// Where changes are to be noticed before anything was read.
    pub(super) fn root(&self) -> BTreeSet<PathBuf> {
        [self.path.clone()].into()
    }
}

/// Reads all `.yaml` and `.yml` files under `path`, or the file `path` itself. Hidden files and directories are left
/// out, so editors' swap files and Kubernetes' `..data` do no harm; links are followed.
pub fn read(path: &Path) -> Reading {
    look(path, &ComposeOptions::default(), &ReadMode::default()).reading
}

/// The reading, and the directories of documents.
fn look(path: &Path, asked: &ComposeOptions, how: &ReadMode) -> Found {
    let mut reading = Reading::default();
    let (mut dirs, mut links) = (BTreeSet::new(), false);
    let mut budget = Budget::default();
    if path.is_file() || !asked.files.is_empty() {
        reading.single = true;
        reading.root = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        reading.files.push((name, looked(path, how)));
    } else {
        path.clone_into(&mut reading.root);
        dirs.insert(path.to_owned());
        let mut walk = Walk { budget, look: how.clone(), ..Walk::default() };
        let walked = walk.all(path);
        budget = std::mem::take(&mut walk.budget);
        links = walk.linked;
        match walked {
            Ok(()) => {
                dirs.extend(walk.dirs);
                (reading.files, reading.passed_by) = (walk.files, walk.passed_by);
            }
            Err(error) => reading.broken = Some(format!("{}: {error}", path.display())),
        }
        reading.files.sort_by(|a, b| a.0.cmp(&b.0));
    }
    // An empty path is the working directory, which `absolute` refuses.
    let root = if reading.root.as_os_str().is_empty() { Path::new(".") } else { &reading.root };
    reading.host_root = std::path::absolute(root).ok();
    let within = compose::AllowedFiles::directory(root, asked, how);
    let read = read_env_files(&mut reading, &within, &mut budget)
        .and_then(|()| compose::find(&mut reading, asked, how, &mut budget));
    if let Err(why) = read {
        reading.broken = Some(why);
    }
    if reading.broken.is_some() {
        // Half of what there is must pass for nothing.
        (reading.files, reading.env_files) = (Vec::new(), BTreeMap::new());
    }
    Found { reading, dirs: Arc::new(dirs), links }
}

#[derive(Default)]
struct Walk {
    files: Vec<(String, Content)>,
    passed_by: Vec<String>,
    // Those that are looked into for documents; below a Compose file those that hold some.
    dirs: BTreeSet<PathBuf>,
    // The real paths of the directories that were looked into: each once, however many links lead there.
    seen: BTreeSet<PathBuf>,
    links: BTreeSet<(String, PathBuf)>,
    /// There are links to documents, or to directories.
    linked: bool,
    budget: Budget,
    look: ReadMode,
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
        if !data {
            self.dirs.insert(dir.to_owned());
        }
        let below = data || compose::is_project(dir);
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            let shown = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            self.linked |= kind.is_symlink();
            if kind.is_dir() {
                self.directory(&path, &format!("{shown}/"), depth + 1, below)?;
            } else if !kind.is_file() && path.is_dir() {
                self.links.insert((shown, path));
            } else if is_document(&path) && (kind.is_file() || path.is_file() || !path.exists()) {
                let content = looked(&path, &self.look);
                self.budget.take(Some(&content)).map_err(std::io::Error::other)?;
                if data && content.as_ref().is_ok_and(Text::says_ours) {
                    self.dirs.insert(dir.to_owned());
                }
                self.files.push((shown, content));
            }
        }
        Ok(())
    }
}

pub(super) fn is_document(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml")
}

pub(super) fn content(path: &Path) -> Content {
    looked(path, &ReadMode::default())
}

/// The content of a file, read if it may have changed since a look before this one.
pub(super) fn looked(path: &Path, how: &ReadMode) -> Content {
    let unchanged = how.unchanged(path, || path.metadata());
    unchanged.map_or_else(|| unless_it_hangs(path, || how.read(path, &open(path)?)), Ok)
}

/// They belong to the reading: a change in one is a change of the desired state.
fn read_env_files(reading: &mut Reading, within: &compose::AllowedFiles, budget: &mut Budget) -> Result<(), String> {
    for (file, bytes) in &reading.files {
        let Ok(bytes) = bytes else { continue };
        for name in bytes.env_files(|bytes| env_files(file, bytes)) {
            let path = reading.dir(file).join(name);
            if reading.env_files.contains_key(&path) {
                continue;
            }
            let text = within.read(&path);
            budget.take(text.as_ref())?;
            reading.env_files.insert(path, text);
        }
    }
    Ok(())
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
