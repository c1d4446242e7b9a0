//! Compose projects among the files: which there are, what they are asked with, and which further files they are made
//! of. What is in them is judged in `judge`.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use crd_schema::compose::{FILE_NAMES, Files, OVERRIDE_NAMES, Request, load};

use super::files::{Content, Reading, content};

/// What the command line says about Compose projects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// `-f`: the files of one project, each merged over those before it.
    pub files: Vec<PathBuf>,
    /// `-p`: the project's name.
    pub name: Option<String>,
    /// `--profile`: active profiles.
    pub profiles: Vec<String>,
    /// `--env-file`: files of variables in place of `.env`.
    pub env_files: Vec<PathBuf>,
    /// `--env`: variables that win over those of files.
    pub variables: BTreeMap<String, String>,
    /// `--allow`: directories outside the project's that its files may be in.
    pub allowed: Vec<PathBuf>,
}

/// The projects of a reading by their main files, and what else is to be known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Projects {
    /// What each is asked with.
    pub requests: BTreeMap<String, Request>,
    /// The path is that of one project: other projects are none of its business.
    pub alone: bool,
}

impl Projects {
    /// Whether a file stands in the directory of a project or below: then it is one of its own files more likely than
    /// one of our documents.
    pub(super) fn have(&self, file: &str) -> bool {
        let below = |main: &String| {
            main.rsplit_once('/')
                .is_none_or(|(dir, _)| file.strip_prefix(dir).is_some_and(|rest| rest.starts_with('/')))
        };
        self.requests.keys().any(below)
    }
}

/// Whether a directory is that of a project.
pub(super) fn is_project(dir: &Path) -> bool {
    FILE_NAMES.iter().any(|name| dir.join(name).is_file())
}

/// Finds the projects of a reading, and reads the files that they are made of into it.
pub(super) fn find(reading: &mut Reading, asked: &Asked) {
    let mains = if asked.files.is_empty() { by_name(reading) } else { main_file(reading).into_iter().collect() };
    let of_one = asked.name.is_some() || !asked.env_files.is_empty() || !asked.variables.is_empty();
    if mains.len() > 1 && of_one {
        let names = mains.iter().map(|(main, _)| main.as_str()).collect::<Vec<_>>().join(", ");
        let why = format!("-p, --env-file and --env are for one Compose project, and here are several: {names}");
        reading.broken = Some(why);
        return;
    }
    for (main, others) in mains {
        let request = request(reading, &main, others, asked);
        let dir = reading.dir(&main);
        let named = asked.files.iter().chain(&asked.env_files).map(|path| absolute(path)).collect();
        let allowed = asked.allowed.iter().chain([&dir]).filter_map(|dir| real(dir)).collect();
        let found = {
            let mut disk = Disk { reading, main: &main, dir, allowed, named, found: BTreeMap::new() };
            // Only for the files that it asks for: what is wrong is told when it is judged.
            drop(load(&request, &mut disk));
            disk.found
        };
        reading.env_files.extend(found);
        reading.compose.requests.insert(main, request);
    }
    let root = |main: &String| !main.contains('/');
    reading.compose.alone = reading.compose.requests.keys().any(root);
    if reading.compose.alone && reading.single {
        // Of its own project it is all there is.
        reading.single = false;
    }
    // What a Compose file is made of is no document.
    let made_of: BTreeSet<PathBuf> = reading.env_files.keys().map(|path| super::resolve::plain(path)).collect();
    let (requests, dir) = (&reading.compose.requests, super::resolve::plain(&reading.root));
    reading.files.retain(|(file, _)| requests.contains_key(file) || !made_of.contains(&dir.join(file)));
}

/// The first of the names that Compose looks for in each directory, but for directories below one that has one: what is
/// there is included, or is not ours. With it, the file that is merged over it.
fn by_name(reading: &Reading) -> Vec<(String, Vec<String>)> {
    if let Some((file, Ok(bytes))) = reading.files.first().filter(|_| reading.single) {
        let compose = crd_schema::compose::is_compose(&String::from_utf8_lossy(bytes));
        return compose.then(|| (file.clone(), Vec::new())).into_iter().collect();
    }
    let mut by_dir: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, _) in &reading.files {
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        by_dir.entry(dir).or_default().push(name);
    }
    let mut mains: Vec<(String, Vec<String>)> = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for (dir, names) in by_dir {
        let first = |known: &[&'static str]| known.iter().find(|name| names.contains(*name)).copied();
        let Some(main) = first(&FILE_NAMES) else { continue };
        if taken.iter().any(|above| above.is_empty() || dir.starts_with(&format!("{above}/"))) {
            continue;
        }
        let shown = if dir.is_empty() { main.to_owned() } else { format!("{dir}/{main}") };
        mains.push((shown, first(&OVERRIDE_NAMES).into_iter().map(str::to_owned).collect()));
        taken.push(dir.to_owned());
    }
    mains
}

fn main_file(reading: &Reading) -> Option<(String, Vec<String>)> {
    reading.files.first().map(|(file, _)| (file.clone(), Vec::new()))
}

fn request(reading: &Reading, main: &str, others: Vec<String>, asked: &Asked) -> Request {
    let (shown, name) = main.rsplit_once('/').unwrap_or(("", main));
    let dir = absolute(&reading.dir(main));
    let seen = |path: &PathBuf| {
        let path = absolute(path);
        path.strip_prefix(&dir).unwrap_or(&path).to_string_lossy().into_owned()
    };
    let mut files = vec![name.to_owned()];
    files.extend(others);
    files.extend(asked.files.iter().skip(1).map(seen));
    Request {
        files,
        named: reading.single,
        shown: shown.to_owned(),
        directory: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        name: asked.name.clone(),
        profiles: asked.profiles.clone(),
        env_files: asked.env_files.iter().map(seen).collect(),
        variables: asked.variables.clone(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    // Only the working directory could be missing, and then nothing else goes either.
    std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| super::resolve::plain(&path))
}

fn real(path: &Path) -> Option<PathBuf> {
    if path.as_os_str().is_empty() { Path::new(".").canonicalize().ok() } else { path.canonicalize().ok() }
}

/// Files on the disk, within the directories that are allowed; each is read once.
struct Disk<'a> {
    reading: &'a Reading,
    main: &'a str,
    dir: PathBuf,
    /// Without links.
    allowed: Vec<PathBuf>,
    /// Those that the command line names, wherever they are.
    named: BTreeSet<PathBuf>,
    found: BTreeMap<PathBuf, Option<Content>>,
}

impl Files for Disk<'_> {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(main) = main_content(self.reading, self.main, path) {
            return main.clone().map(Some);
        }
        let full = self.dir.join(path);
        if !self.found.contains_key(&full) {
            let content = self.look(&full);
            self.found.insert(full.clone(), content);
        }
        self.found.get(&full).cloned().flatten().transpose()
    }
}

impl Disk<'_> {
    fn look(&self, full: &Path) -> Option<Content> {
        const OUTSIDE: &str = "it is outside the project directory; allow its directory with --allow DIR";
        let named = self.named.contains(&absolute(full));
        let within = |path: &Path| named || self.allowed.iter().any(|dir| path.starts_with(dir));
        match full.canonicalize() {
            Ok(real) if within(&real) => Some(content(full)),
            Ok(_) => Some(Err(OUTSIDE.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Whether there is anything outside is nobody's business.
                let above = full.ancestors().skip(1).find_map(real);
                let there = full.symlink_metadata().is_ok();
                match above.is_some_and(|above| within(&above)) {
                    true if there => Some(Err("it is a link to nothing".to_owned())),
                    true => None,
                    false => Some(Err(OUTSIDE.to_owned())),
                }
            }
            Err(error) => Some(Err(error.to_string())),
        }
    }
}

/// Files as a reading holds them.
pub(super) struct Recorded<'a> {
    reading: &'a Reading,
    /// The project's main file.
    main: &'a str,
    asked: BTreeSet<String>,
}

/// What the last valid version of a project was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MadeOf {
    /// Names the content of each of its Compose files.
    documents: BTreeMap<String, u64>,
    /// The files of variables that held some.
    filled: BTreeSet<PathBuf>,
}

impl<'a> Recorded<'a> {
    pub(super) fn new(reading: &'a Reading, main: &'a str) -> Self {
        Self { reading, main, asked: BTreeSet::new() }
    }

    /// What was asked for, after a project was read.
    pub(super) fn made_of(&self) -> MadeOf {
        let mut documents = BTreeMap::new();
        let mut filled = BTreeSet::new();
        for path in &self.asked {
            let full = self.reading.dir(self.main).join(path);
            let recorded = || self.reading.env_files.get(&full).and_then(Option::as_ref);
            let Some(Ok(content)) = main_content(self.reading, self.main, path).or_else(recorded) else { continue };
            if [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end)) {
                let mut digest = DefaultHasher::new();
                content.hash(&mut digest);
                documents.insert(path.clone(), digest.finish());
            } else if content.split(|byte| *byte == b'\n').any(says_something) {
                filled.insert(full);
            }
        }
        MadeOf { documents, filled }
    }
}

impl MadeOf {
    /// A file of variables that is empty or gone now, although the Compose files are what they were `before`: cut short
    /// or not yet written, more likely than a wish. Which Compose files there are may have been its own word.
    pub(super) fn emptied<'b>(&self, before: &'b Self) -> Option<&'b PathBuf> {
        let same = |(path, digest): (&String, &u64)| before.documents.get(path).is_none_or(|before| before == digest);
        before.filled.iter().find(|path| !self.filled.contains(*path) && self.documents.iter().all(same))
    }
}

/// Whether a line of a file of variables is neither blank nor a note.
fn says_something(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    !line.is_empty() && !line.starts_with(b"#")
}

impl Files for Recorded<'_> {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.asked.insert(path.to_owned());
        if let Some(main) = main_content(self.reading, self.main, path) {
            return main.clone().map(Some);
        }
        match self.reading.env_files.get(&self.reading.dir(self.main).join(path)) {
            Some(content) => content.clone().transpose(),
            None => Err("it has not been read yet".to_owned()),
        }
    }
}

fn main_content<'r>(reading: &'r Reading, main: &str, path: &str) -> Option<&'r Content> {
    let name = main.rsplit('/').next().unwrap_or_default();
    let of_main = || reading.files.iter().find(|(file, _)| file == main).map(|(_, content)| content);
    (path == name).then(of_main).flatten()
}
