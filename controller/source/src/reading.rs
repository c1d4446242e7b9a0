//! What one look at the desired-state directory has found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use composed_core::model::ServiceName;
use crd_schema::status::CommitStatus;

use super::compose::asked::Projects;
use super::host::HostName;
use super::origin::RepositoryOrigin;
use super::path::absolute;
use super::text::Content;

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
    pub origins: BTreeMap<String, RepositoryOrigin>,
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
    /// They are brought about once, and nobody goes on trying.
    pub once: bool,
}

impl Reading {
    /// The directory of a document file.
    pub fn dir(&self, file: &str) -> PathBuf {
        let path = self.root.join(file);
        path.parent().map_or_else(|| self.root.clone(), Path::to_owned)
    }

    /// A document file in full: the same in the next process.
    pub(super) fn full(&self, file: &str) -> PathBuf {
        absolute(&self.root.join(file))
    }

    /// The Compose files in full: the main ones, and what is merged over them.
    pub(super) fn by_name(&self) -> BTreeSet<PathBuf> {
        let files = self.compose.requests.iter().flat_map(|(main, request)| {
            let dir = self.dir(main);
            request.files.iter().map(move |file| absolute(&dir.join(file)))
        });
        files.collect()
    }

    /// Where a file is from, and its path there, if it is from a repository.
    pub fn origin<'a>(&'a self, file: &'a str) -> Option<(&'a RepositoryOrigin, &'a str)> {
        let (name, path) = file.split_once('/')?;
        Some((self.origins.get(name)?, path))
    }

    /// The commit that asked for what is wanted of a service that `file` describes.
    pub(super) fn asked<'a>(&'a self, file: &'a str, service: &ServiceName) -> Option<&'a CommitStatus> {
        let (origin, _) = self.origin(file)?;
        Some(origin.asked.get(service).unwrap_or(&origin.commit))
    }

    /// A place (`file:line`) as it is shown: as it is, or as `repository@commit file:line`.
    pub(super) fn shown(&self, place: &str, commit: Option<&CommitStatus>) -> String {
        match (commit, self.origin(place)) {
            (Some(commit), Some((_, place))) => format!("{}@{} {place}", commit.repository, commit.short()),
            _ => place.to_owned(),
        }
    }

    /// The directory of a file as the engine's host sees it.
    pub(super) fn host_dir(&self, file: &str) -> Option<PathBuf> {
        let (root, file) = match self.origin(file) {
            Some((origin, path)) => (origin.host_root.as_ref()?, path),
            None => (self.host_root.as_ref()?, file),
        };
        Some(root.join(file).parent().map_or_else(|| root.clone(), Path::to_owned))
    }
}
