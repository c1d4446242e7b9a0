//! Compose projects among the files: which there are, what they are asked with, and which further files they are made
//! of. What is in them is judged in `judge`.

pub mod asked;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crd_schema::compose::{FILE_NAMES, Files, Loaded, OVERRIDE_NAMES, Request, load};

pub use self::asked::ComposeOptions;
use self::asked::Nested;
use super::budget::Budget;
use super::disk::open;
use super::hangs::unless_it_hangs;
use super::known::ReadMode;
use super::made_of::{ProjectInputs, digest};
use super::path::{absolute, real};
use super::reading::Reading;
use super::text::Content;

/// The Compose projects of a reading, by their main files; what is wrong with one, in words.
pub fn loaded(reading: &Reading) -> Vec<(String, Result<Loaded, String>)> {
    let each = reading.compose.requests.iter().map(|(main, request)| {
        let loaded = load(request, &mut RecordedFiles::new(reading, main)).map_err(|problems| {
            let each: Vec<_> = problems.iter().map(ToString::to_string).collect();
            each.join("\n")
        });
        (main.clone(), loaded)
    });
    each.collect()
}

pub use super::path::plain;

/// Whether a directory is that of a project.
pub(super) fn is_project(dir: &Path) -> bool {
    FILE_NAMES.iter().any(|name| dir.join(name).is_file())
}

/// Finds the projects of a reading, and reads the files that they are made of into it.
///
/// # Errors
/// Why the reading as a whole cannot be used, in words.
pub(super) fn find(
    reading: &mut Reading,
    asked: &ComposeOptions,
    how: &ReadMode,
    budget: &mut Budget,
) -> Result<(), String> {
    let (requests, nested) = requests(reading, asked)?;
    for (main, request) in requests {
        let dir = reading.dir(&main);
        let named = asked.files.iter().chain(&asked.env_files).map(|path| absolute(path)).collect();
        let within = AllowedFiles { named, ..AllowedFiles::directory(&dir, asked, how) };
        let found = {
            let mut disk = DiskFiles { reading, main: &main, dir, within, found: BTreeMap::new() };
            // Only for the files that it asks for: what is wrong is told when it is judged.
            drop(load(&request, &mut disk));
            disk.found
        };
        for content in found.values() {
            budget.take(content.as_ref())?;
        }
        reading.env_files.extend(found);
        reading.compose.requests.insert(main, request);
    }
    let root = |main: &String| !main.contains('/');
    reading.compose.alone = reading.compose.requests.keys().any(root);
    if reading.compose.alone && reading.single {
        // Of its own project it is all there is.
        reading.single = false;
    }
    reading.compose.orphans_go = asked.remove_orphans;
    set_apart(reading, nested);
    Ok(())
}

/// The projects that there are, with what each is asked with, and the Compose files below them that are nobody's.
pub(super) fn requests(reading: &Reading, asked: &ComposeOptions) -> Result<(Vec<(String, Request)>, Nested), String> {
    let (mains, nested) = if asked.files.is_empty() {
        by_name(reading)
    } else {
        (main_file(reading).into_iter().collect(), Nested::new())
    };
    let of_one = asked.name.is_some() || !asked.env_files.is_empty() || !asked.variables.is_empty();
    if mains.len() > 1 && of_one {
        let names = mains.iter().map(|(main, _)| main.as_str()).collect::<Vec<_>>().join(", ");
        return Err(format!("-p, --env-file and --env are for one Compose project, and here are several: {names}"));
    }
    let each = mains.into_iter().map(|(main, others)| {
        let request = request(reading, &main, others, asked);
        (main, request)
    });
    Ok((each.collect(), nested))
}

/// The files that a project asks for and that the reading does not hold yet. There may be more when it holds these.
pub(super) fn missing(reading: &Reading, main: &str, request: &Request) -> Vec<PathBuf> {
    let mut files = RecordedFiles::new(reading, main);
    drop(load(request, &mut files));
    let dir = reading.dir(main);
    let unknown = |path: &String| main_content(reading, main, path).is_none();
    let asked = files.asked.iter().filter(|path| unknown(path)).map(|path| dir.join(path));
    asked.filter(|path| !reading.env_files.contains_key(path)).collect()
}

/// What Compose files are made of is no document, and no project that is passed by.
pub(super) fn set_apart(reading: &mut Reading, mut nested: Nested) {
    let made_of: BTreeSet<PathBuf> = reading.env_files.keys().map(|path| plain(path)).collect();
    let (requests, dir) = (&reading.compose.requests, plain(&reading.root));
    if !made_of.is_empty() {
        nested.retain(|file, _| !made_of.contains(&dir.join(file)));
        reading.files.retain(|(file, _)| requests.contains_key(file) || !made_of.contains(&dir.join(file)));
    }
    reading.compose.nested = nested;
}

/// A main file, with those that are merged over it.
type Main = (String, Vec<String>);

/// The first of the names that Compose looks for in each directory, with the file that is merged over it; then those in
/// directories below one that has one, with that one: what is there is included, or is not ours.
fn by_name(reading: &Reading) -> (Vec<Main>, Nested) {
    if let Some((file, Ok(bytes))) = reading.files.first().filter(|_| reading.single) {
        let compose = crd_schema::compose::is_compose(&String::from_utf8_lossy(bytes));
        return (compose.then(|| (file.clone(), Vec::new())).into_iter().collect(), Nested::new());
    }
    let mut by_dir: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, _) in &reading.files {
        let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
        by_dir.entry(dir).or_default().push(name);
    }
    let mut mains: Vec<Main> = Vec::new();
    let mut nested = Nested::new();
    let mut taken: Vec<(String, String)> = Vec::new();
    for (dir, names) in by_dir {
        let first = |known: &[&'static str]| known.iter().find(|name| names.contains(*name)).copied();
        let Some(main) = first(&FILE_NAMES) else { continue };
        let shown = if dir.is_empty() { main.to_owned() } else { format!("{dir}/{main}") };
        let below = |above: &str| above.is_empty() || dir.starts_with(&format!("{above}/"));
        if let Some((_, above)) = taken.iter().find(|(above, _)| below(above)) {
            nested.insert(shown, above.clone());
            continue;
        }
        mains.push((shown.clone(), first(&OVERRIDE_NAMES).into_iter().map(str::to_owned).collect()));
        taken.push((dir.to_owned(), shown));
    }
    (mains, nested)
}

fn main_file(reading: &Reading) -> Option<Main> {
    reading.files.first().map(|(file, _)| (file.clone(), Vec::new()))
}

fn request(reading: &Reading, main: &str, others: Vec<String>, asked: &ComposeOptions) -> Request {
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
        path: reading.host_dir(main).map(|dir| absolute(&dir).to_string_lossy().into_owned()),
        directory: dir.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
        home: asked.home.clone(),
        name: asked.name.clone(),
        profiles: asked.profiles.clone(),
        env_files: asked.env_files.iter().map(seen).collect(),
        variables: asked.variables.clone(),
    }
}

/// Files on the disk, within the directories that are allowed; each is read once.
struct DiskFiles<'a> {
    reading: &'a Reading,
    main: &'a str,
    dir: PathBuf,
    within: AllowedFiles,
    found: BTreeMap<PathBuf, Option<Content>>,
}

impl Files for DiskFiles<'_> {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        if let Some(main) = main_content(self.reading, self.main, path) {
            return owned(Some(main));
        }
        let full = self.dir.join(path);
        if !self.found.contains_key(&full) {
            let content = self.within.read(&full);
            self.found.insert(full.clone(), content);
        }
        owned(self.found.get(&full).and_then(Option::as_ref))
    }
}

/// A file that is replaced while it is read is read again, so often in all.
const ATTEMPTS: usize = 4;
const REPLACED: &str = "it was replaced while it was read";

/// Where files may be that documents name.
pub(super) struct AllowedFiles {
    /// Directories, without links.
    allowed: Vec<PathBuf>,
    /// Files that the command line names, wherever they are.
    named: BTreeSet<PathBuf>,
    look: ReadMode,
}

impl AllowedFiles {
    /// Below a directory, or below those that the command line allows.
    pub(super) fn directory(dir: &Path, asked: &ComposeOptions, how: &ReadMode) -> Self {
        let allowed = asked.allowed.iter().map(PathBuf::as_path).chain([dir]).filter_map(real).collect();
        Self { allowed, named: BTreeSet::new(), look: how.clone() }
    }

    /// The content of a file; `None` if there is none. Of what is elsewhere nothing is told, not even whether it is there.
    pub(super) fn read(&self, full: &Path) -> Option<Content> {
        // An editor replaces a file once, not at each attempt.
        let mut attempts = (0..ATTEMPTS).map(|_| self.attempt(full));
        let replaced = || Some(Err(REPLACED.to_owned()));
        attempts.find(|content| *content != replaced()).unwrap_or_else(replaced)
    }

    fn attempt(&self, full: &Path) -> Option<Content> {
        const OUTSIDE: &str =
            "it is outside the directory of the project or documents; allow its directory with --allow DIR";
        let named = self.named.contains(&absolute(full));
        let within = |path: &Path| named || self.allowed.iter().any(|dir| path.starts_with(dir));
        match full.canonicalize() {
            Ok(real) if within(&real) => {
                // What is kept under this path was within when it was read, and the stat is of the same file.
                let unchanged = self.look.unchanged(&real, || real.symlink_metadata());
                let from_disk = || {
                    let file = open(&real)?;
                    // A link may have been put in its place since: what counts is what was opened.
                    let is_there = real.canonicalize().is_ok_and(|now| within(&now) && is_at(&file, &now));
                    if is_there { self.look.read(&real, &file) } else { Err(REPLACED.to_owned()) }
                };
                Some(unchanged.map_or_else(|| unless_it_hangs(&real, from_disk), Ok))
            }
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

/// Whether an open file is the one at a path without links.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |a: &Metadata, b: &Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().is_ok_and(|opened| path.symlink_metadata().is_ok_and(|there| same(&opened, &there)))
}

/// Files as a reading holds them; what it does not hold is noted.
pub(super) struct RecordedFiles<'a> {
    reading: &'a Reading,
    /// The project's main file.
    main: &'a str,
    asked: BTreeSet<String>,
}

impl<'a> RecordedFiles<'a> {
    pub(super) fn new(reading: &'a Reading, main: &'a str) -> Self {
        Self { reading, main, asked: BTreeSet::new() }
    }

    /// What was asked for, after a project was read.
    pub(super) fn made_of(&self) -> ProjectInputs {
        let mut made_of = ProjectInputs::default();
        for path in &self.asked {
            let full = self.reading.dir(self.main).join(path);
            let recorded = || self.reading.env_files.get(&full).and_then(Option::as_ref);
            let Some(Ok(content)) = main_content(self.reading, self.main, path).or_else(recorded) else { continue };
            if [".yaml", ".yml", ".json"].iter().any(|end| path.ends_with(end)) {
                made_of.documents.insert(path.clone(), digest(content));
            } else if is_filled(content) {
                made_of.filled.insert(path.clone());
            }
        }
        made_of
    }

    /// The paths that were asked for.
    pub(super) fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }
}

/// Whether a file of variables holds any: a line that is neither blank nor a note.
pub(super) fn is_filled(content: &[u8]) -> bool {
    let mut lines = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| !line.is_empty() && !line.starts_with(b"#"))
}

impl Files for RecordedFiles<'_> {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.asked.insert(path.to_owned());
        if let Some(main) = main_content(self.reading, self.main, path) {
            return owned(Some(main));
        }
        match self.reading.env_files.get(&self.reading.dir(self.main).join(path)) {
            Some(content) => owned(content.as_ref()),
            None => Err("it has not been read yet".to_owned()),
        }
    }
}

/// A content as the reader of Compose files takes it.
fn owned(content: Option<&Content>) -> Result<Option<Vec<u8>>, String> {
    content.map(|content| content.as_deref().map(<[u8]>::to_vec).map_err(Clone::clone)).transpose()
}

fn main_content<'r>(reading: &'r Reading, main: &str, path: &str) -> Option<&'r Content> {
    let name = main.rsplit('/').next().unwrap_or_default();
    let of_main = || reading.files.iter().find(|(file, _)| file == main).map(|(_, content)| content);
    (path == name).then(of_main).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A link, and a directory above a file, that lead inside and outside by turns.
    #[test]
    fn a_link_that_is_exchanged_meanwhile_leads_nowhere_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let [inside, outside] = ["inside", "outside"].map(|name| dir.path().join(name));
        for (place, text) in [(&inside, "A=1"), (&outside, "SECRET=1")] {
            std::fs::create_dir_all(place.join("sub")).expect("a directory");
            for file in ["real", "sub/env"] {
                std::fs::write(place.join(file), text).expect("a file");
            }
        }
        let within = AllowedFiles::directory(&inside, &ComposeOptions::default(), &ReadMode::default());
        let done = AtomicBool::new(false);
        let (mut read, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for place in [&inside, &outside] {
                        for (target, link) in [("real", "env"), ("sub", "way")] {
                            let new = inside.join("new");
                            symlink(place.join(target), &new).expect("a link");
                            std::fs::rename(&new, inside.join(link)).expect("a link");
                        }
                    }
                }
            });
            for nth in 0..20_000 {
                let content = within.read(&inside.join(if nth % 2 == 0 { "env" } else { "way/env" }));
                match content {
                    Some(Ok(text)) => {
                        assert_eq!(String::from_utf8_lossy(&text), "A=1");
                        read += 1;
                    }
                    _ => refused += 1,
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(read > 0 && refused > 0, "{read} {refused}");
    }

    #[test]
    fn what_waits_for_its_other_end_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let within = AllowedFiles::directory(dir.path(), &ComposeOptions::default(), &ReadMode::default());
        assert_eq!(within.read(&pipe), Some(Err("it is not a regular file".to_owned())));
    }
}
