//! Compose files: what they come to, beside what `docker compose` makes of them, and what is said of wrong ones.

mod bad;
mod keys;
mod limits;
mod normal;
mod oracle;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crd_schema::compose::{FILE_NAMES, Files, Loaded, OVERRIDE_NAMES, Request, load};
use crd_schema::{Diagnostic, Service};

/// Whoever asks lives there.
const HOME: &str = "/nonexistent";

/// The folder of a kind of test files.
fn folder(kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose").join(kind)
}

/// Files of a directory on the disk, and of those around it.
struct Disk(PathBuf);

impl Files for Disk {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let path = self.0.join(path);
        if path.exists() { std::fs::read(path).map(Some).map_err(|error| error.to_string()) } else { Ok(None) }
    }
}

/// Files that only a test has.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, String>,
    read: BTreeSet<String>,
}

impl Memory {
    fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
        Self { files: files.collect(), ..Self::default() }
    }
}

impl Files for Memory {
    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.read.insert(path.to_owned());
        if path.starts_with("..") {
            return Err("it is outside the project directory".to_owned());
        }
        Ok(self.files.get(path).map(|text| text.clone().into_bytes()))
    }
}

fn request() -> Request {
    Request { files: vec!["compose.yaml".into()], directory: "shop".into(), ..Request::default() }
}

/// What a single file comes to.
fn one(text: &str) -> Result<Loaded, Vec<Diagnostic>> {
    load(&request(), &mut Memory::new(&[("compose.yaml", text)]))
}

fn services(loaded: &Loaded) -> BTreeMap<&str, &Service> {
    let services = loaded.objects.iter().filter_map(|located| match &located.object {
        crd_schema::Object::Service(service) => Some((service.metadata.name.as_str(), service)),
        crd_schema::Object::Project(_) => None,
    });
    services.collect()
}

fn said(problems: &[Diagnostic]) -> String {
    problems.iter().map(|problem| format!("{problem}\n\n")).collect()
}

/// The files of a directory as `docker compose` finds them, with the flags of its file `args`.
fn arguments(dir: &Path) -> Request {
    let name = dir.file_name().unwrap().to_string_lossy().into_owned();
    let path = dir.canonicalize().unwrap().to_string_lossy().into_owned();
    let home = Some(HOME.to_owned());
    let mut request = Request { directory: name, path: Some(path), home, ..Request::default() };
    let args = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
    let mut words = args.split_whitespace();
    while let Some(flag) = words.next() {
        let value = words.next().unwrap().to_owned();
        match flag {
            "-f" => {
                request.named = true;
                request.files.push(value);
            }
            "-p" => request.name = Some(value),
            "--profile" => request.profiles.push(value),
            "--env-file" => request.env_files.push(value),
            _ => panic!("{flag}"),
        }
    }
    if request.files.is_empty() {
        let there = |names: &[&str]| names.iter().find(|name| dir.join(name).exists()).map(|name| (*name).to_owned());
        request.files.extend(there(&FILE_NAMES));
        request.files.extend(there(&OVERRIDE_NAMES));
    }
    request
}
