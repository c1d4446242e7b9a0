//! What is known of a repository that is followed.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::kept::AcceptedCommit;
use super::mirror::Mirror;
use super::refs::{Follow, Offer};
use super::source::GitSource;
use crate::catalog::Catalog;
use crate::reading::Reading;

/// Where a repository stands.
#[derive(Clone, Debug, Default)]
pub(super) struct RepositoryState {
    /// What is in force of it.
    pub(super) good: Option<Arc<Reading>>,
    /// What is wrong with what is newer, or with the way there.
    pub(super) problem: Option<String>,
}

/// A repository that is followed.
pub(super) struct Follower {
    pub(super) source: GitSource,
    pub(super) room: PathBuf,
    pub(super) mirror: Mirror,
    /// The source's own, or the branch that its default one was found to be.
    pub(super) follow: Follow,
    pub(super) kept: Option<AcceptedCommit>,
    /// What is in force of it.
    pub(super) catalog: Catalog,
    /// What is in force, and its name.
    pub(super) in_force: Option<Offer>,
    pub(super) standing: watch::Sender<RepositoryState>,
}
