//! Where files are from that do not lie in a directory: the repository, the commit, and what is known of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crd_schema::status::CommitStatus;

use super::files::Reading;
use crate::model::ServiceName;

/// What is known of the files of one repository. Their paths begin with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The commit that was read.
    pub commit: CommitStatus,
    /// For each service the commit that asked for what is wanted of it: an earlier one if this one changes nothing of it.
    pub asked: BTreeMap<ServiceName, CommitStatus>,
    /// The directory of the engine's host that stands for the root of the repository.
    pub host_root: Option<PathBuf>,
}

impl Reading {
    /// Where a file is from, and its path there, if it is from a repository.
    pub fn origin<'a>(&'a self, file: &'a str) -> Option<(&'a Origin, &'a str)> {
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
