//! Where files are from that do not lie in a directory: the repository, the commit, and what is known of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use composed_core::model::ServiceName;
use crd_schema::status::CommitStatus;

/// What is known of the files of one repository. Their paths begin with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepositoryOrigin {
    /// The commit that was read.
    pub commit: CommitStatus,
    /// For each service the commit that asked for what is wanted of it: an earlier one if this one changes nothing of it.
    pub asked: BTreeMap<ServiceName, CommitStatus>,
    /// The directory of the engine's host that stands for the root of the repository.
    pub host_root: Option<PathBuf>,
}
