//! One repository, as it is asked for.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use composed_core::hex;
use crd_schema::status::CommitStatus;
use sha2::{Digest as _, Sha256};

use super::access::Access;
use super::address::Address;
use super::refs::Follow;
use super::verify::Signed;
use super::write_back::WriteBack;
use crate::compose::{ComposeOptions, is_filled};
use crate::files::content;
use crate::host::HostName;
use crate::path::absolute;
use crate::text::Content;

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
    pub compose: ComposeOptions,
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
            _ => self.access.check(&self.address).and_then(|()| self.signed.check(self.follow.of_tags())).and_then(
                |()| {
                    self.write_back
                        .as_ref()
                        .map_or(Ok(()), |back| back.check(&self.follow, &self.signed, &self.address))
                },
            ),
        };
        checked.map_err(|why| format!("{name} ({}): {why}", self.address))
    }

    /// The files of variables of this host that its Compose projects are asked with, in full.
    pub(super) fn variables(&self) -> impl Iterator<Item = PathBuf> {
        self.compose.env_files.iter().map(|path| absolute(path))
    }

    /// Those of them that hold any.
    pub(super) fn filled(&self) -> BTreeSet<PathBuf> {
        self.variables().filter(|file| matches!(of_host(file), Some(Ok(content)) if is_filled(&content))).collect()
    }

    /// The directory for its copy: another address, ref or path has another one.
    pub(super) fn room(&self) -> String {
        let what = format!("{}\n{:?}\n{}", self.address, self.follow, self.path);
        let digest = hex::encode(Sha256::digest(what.as_bytes()));
        format!("{}-{}", self.name, digest.get(..8).unwrap_or_default())
    }

    /// A problem as it is shown: of a commit, or of the repository.
    pub(super) fn problem(&self, why: &str, commit: Option<&CommitStatus>) -> String {
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

/// A file of this host; `None` if there is none.
pub(super) fn of_host(path: &Path) -> Option<Content> {
    path.symlink_metadata().is_ok().then(|| content(path))
}
