//! DESIRED STATE FROM GIT: a commit is fetched into a copy of our own, read whole from it, checked, and taken in at once
//! or not at all.

mod access;
mod address;
mod command;
mod follow;
mod hint;
mod kept;
mod mirror;
mod objects;
mod read;
mod refs;
mod sources;
mod tree;
mod verdict;
mod verify;
mod write_back;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crd_schema::status::CommitStatus;
use sha2::{Digest as _, Sha256};

use self::read::of_host;
use crate::hex;
use crate::source::compose::{Asked, absolute, is_filled};
use crate::source::host::HostName;

pub use access::{Access, secret};
pub use address::{Address, Kind};
pub use refs::Follow;
pub use sources::watch;
pub use verify::{Signed, Verify};
pub use write_back::WriteBack;

/// One repository that documents come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// Its name in statuses and messages, and the first part of its files' paths.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// What is followed in it.
    pub follow: Follow,
    /// The directory in it with the documents; empty: all of it.
    pub path: String,
    /// How often it is asked for news; a bit more or less each time.
    pub interval: Duration,
    /// How to get in.
    pub access: Access,
    /// How versions that proved themselves are written back, if they are.
    pub write_back: Option<WriteBack>,
    /// Which signatures are wanted.
    pub signed: Signed,
    /// Whether a commit is taken that does not come after the last one.
    pub allow_rewrite: bool,
    /// The directory of the engine's host that stands for the root of the repository: relative bind mounts are resolved
    /// there.
    pub host_root: Option<PathBuf>,
    /// Which services are for this host.
    pub host_name: HostName,
    /// What is asked of Compose projects in it. Files of variables are this host's.
    pub compose: Asked,
}

impl GitSource {
    /// Whether its parts fit together.
    ///
    /// # Errors
    /// What does not, in words.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let checked = match self.path.split('/').find(|part| matches!(*part, "" | "." | "..")) {
            Some(_) if !self.path.is_empty() => {
                Err(format!("the path {} is to be that of a directory in the repository, like deploy/prod", self.path))
            }
            _ if !is_name(name) => Err("its name is to be of letters, digits, `.`, `_` and `-`".to_owned()),
            _ if self.interval.is_zero() => Err("its interval is to be longer than nothing".to_owned()),
            _ => self
                .access
                .check(&self.address)
                .and_then(|()| self.signed.check(self.follow.of_tags()))
                .and_then(|()| self.write_back.as_ref().map_or(Ok(()), |back| back.check(self))),
        };
        checked.map_err(|why| format!("{name} ({}): {why}", self.address))
    }

    /// The files of variables of this host that its Compose projects are asked with, in full.
    fn variables(&self) -> impl Iterator<Item = PathBuf> {
        self.compose.env_files.iter().map(|path| absolute(path))
    }

    /// Those of them that hold any.
    fn filled(&self) -> BTreeSet<PathBuf> {
        self.variables().filter(|file| matches!(of_host(file), Some(Ok(content)) if is_filled(&content))).collect()
    }

    /// The directory for its copy: another address, ref or path has another one.
    fn room(&self) -> String {
        let what = format!("{}\n{:?}\n{}", self.address, self.follow, self.path);
        let digest = hex::encode(Sha256::digest(what.as_bytes()));
        format!("{}-{}", self.name, digest.get(..8).unwrap_or_default())
    }

    /// A problem as it is shown: of a commit, or of the repository.
    fn problem(&self, why: &str, commit: Option<&CommitStatus>) -> String {
        match commit {
            Some(commit) => {
                let between = if why.contains('\n') { '\n' } else { ' ' };
                format!("error: {}: commit {commit} is not taken:{between}{why}", self.name)
            }
            None => format!("error: {} ({}): {why}", self.name, self.address),
        }
    }
}

fn is_name(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(known) && name.len() <= 64
}
