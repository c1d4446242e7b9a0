//! Reads the documents under a directory, or one file, and the environment files that they name. Only reads: what is in
//! them is judged in `judge`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crd_schema::Object;

use super::claims::says_ours;
use super::compose::{self, Asked, Projects};
use super::host::HostName;
use super::origin::Origin;
use crate::model::ServiceName;

/// Directories deeper than this are not looked into.
pub(super) const MAX_DEPTH: usize = 16;

/// So many documents, and so many further files, are read of a directory.
const MAX_FILES: usize = 20_000;
/// So many bytes are read of a directory, with all files that its documents name.
const MAX_BYTES: u64 = 64 << 20;

/// What may still be read.
pub(super) struct Budget {
    files: usize,
    bytes: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { files: MAX_FILES, bytes: MAX_BYTES }
    }
}

impl Budget {
    /// Counts a file that was read.
    ///
    /// # Errors
    /// Why no more are read, in words.
    pub(super) fn take(&mut self, content: Option<&Content>) -> Result<(), String> {
        let bytes = content.and_then(|content| content.as_ref().ok()).map_or(0, |bytes| bytes.len() as u64);
        let left = self.files.checked_sub(1).zip(self.bytes.checked_sub(bytes));
        let (files, bytes) = left.ok_or_else(|| {
            format!(
                "its documents and the files that they name are more than {MAX_FILES} files or {} MiB: none of it is \
                 read; name a directory that holds less",
                MAX_BYTES >> 20
            )
        })?;
        (self.files, self.bytes) = (files, bytes);
        Ok(())
    }
}

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
    /// Compose files that were read before this process began, in full: one that is away is missed for a while.
    pub known: BTreeSet<PathBuf>,
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
    /// Why changes are noticed late, in words.
    pub unnotified: Option<String>,
    /// The only service that may be changed; all the others are left alone.
    pub only: Option<ServiceName>,
}

impl Reading {
    /// The directory of a document file.
    pub fn dir(&self, file: &str) -> PathBuf {
        let path = self.root.join(file);
        path.parent().map_or_else(|| self.root.clone(), Path::to_owned)
    }

    /// A document file in full: the same in the next process.
    pub(super) fn full(&self, file: &str) -> PathBuf {
        compose::absolute(&self.root.join(file))
    }

    /// The Compose files in full: the main ones, and what is merged over them.
    pub(super) fn by_name(&self) -> BTreeSet<PathBuf> {
        let files = self.compose.requests.iter().flat_map(|(main, request)| {
            let dir = self.dir(main);
            request.files.iter().map(move |file| compose::absolute(&dir.join(file)))
        });
        files.collect()
    }
}

impl<P: Into<PathBuf>> From<P> for Source {
    fn from(path: P) -> Self {
        Self {
            path: path.into(),
            compose: Asked::default(),
            host: HostDir::Same,
            name: HostName::Any,
            known: BTreeSet::new(),
        }
    }
}

impl Source {
    /// Reads it.
    pub fn read(&self) -> Reading {
        self.read_watched().0
    }

    /// Reads it, and says in which directories changes are to be noticed: those that were looked into for documents, and
    /// those of all files that were read. Below a Compose file only these: data may lie there, which changes all the time.
    pub(super) fn read_watched(&self) -> (Reading, BTreeSet<PathBuf>) {
        let (mut reading, mut dirs) = look(&self.path, &self.compose);
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
        (reading, dirs)
    }

    /// Where changes are to be noticed before anything was read.
    pub(super) fn root(&self) -> BTreeSet<PathBuf> {
        [self.path.clone()].into()
    }
}

/// Reads all `.yaml` and `.yml` files under `path`, or the file `path` itself. Hidden files and directories are left
/// out, so editors' swap files and Kubernetes' `..data` do no harm; links are followed.
pub fn read(path: &Path) -> Reading {
    look(path, &Asked::default()).0
}

/// The reading, and the directories of documents.
fn look(path: &Path, asked: &Asked) -> (Reading, BTreeSet<PathBuf>) {
    let mut reading = Reading::default();
    let mut dirs = BTreeSet::new();
    let mut budget = Budget::default();
    if path.is_file() || !asked.files.is_empty() {
        reading.single = true;
        reading.root = path.parent().map(Path::to_owned).unwrap_or_default();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        reading.files.push((name, content(path)));
    } else {
        path.clone_into(&mut reading.root);
        dirs.insert(path.to_owned());
        let mut walk = Walk { budget, ..Walk::default() };
        let walked = walk.all(path);
        budget = std::mem::take(&mut walk.budget);
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
    let within = compose::Within::directory(root, asked);
    let read = read_env_files(&mut reading, &within, &mut budget)
        .and_then(|()| compose::find(&mut reading, asked, &mut budget));
    if let Err(why) = read {
        reading.broken = Some(why);
    }
    if reading.broken.is_some() {
        // Half of what there is must pass for nothing.
        (reading.files, reading.env_files) = (Vec::new(), BTreeMap::new());
    }
    (reading, dirs)
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
    budget: Budget,
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
            if kind.is_dir() {
                self.directory(&path, &format!("{shown}/"), depth + 1, below)?;
            } else if path.is_dir() {
                self.links.insert((shown, path));
            } else if is_document(&path) && (path.is_file() || !path.exists()) {
                let content = content(&path);
                self.budget.take(Some(&content)).map_err(std::io::Error::other)?;
                if content.as_ref().is_ok_and(|bytes| says_ours(&String::from_utf8_lossy(bytes))) {
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
    open(path).and_then(text)
}

/// A file of which it is certain that it is a regular one: what waits for its other end is not waited for.
pub(super) fn open(path: &Path) -> Result<File, String> {
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let opened = File::options().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| error.to_string())?;
    match file.metadata() {
        Ok(about) if about.is_file() => Ok(file),
        Ok(_) => Err("it is no regular file".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// The content of an open file, whatever becomes of it meanwhile.
pub(super) fn text(file: File) -> Content {
    const MOST: u64 = crd_schema::MAX_FILE_BYTES as u64;
    let bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut text = Vec::new();
    if bytes <= MOST {
        file.take(MOST + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    }
    match bytes.max(text.len() as u64) {
        bytes if bytes > MOST => Err(format!("the file has {bytes} bytes; at most {MOST} are read")),
        _ => Ok(text),
    }
}

/// They belong to the reading: a change in one is a change of the desired state.
fn read_env_files(reading: &mut Reading, within: &compose::Within, budget: &mut Budget) -> Result<(), String> {
    for (file, bytes) in &reading.files {
        let Ok(bytes) = bytes else { continue };
        for name in env_files(file, bytes) {
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
