//! What only this process has seen of a service: after a restart it is seen again.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::{ContainerId, Revision};
use jiff::Timestamp;

use super::ReplicaObservation;

/// What this process has seen and begun itself. Never written to disk.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ThisProcess {
    /// When it last looked.
    pub observed_at: Option<Timestamp>,
    /// Since when it has looked without a gap: what should have happened in a gap could not.
    pub resumed_at: Option<Timestamp>,
    /// What it saw of each running replica with its own clock.
    pub observations: BTreeMap<ContainerId, ReplicaObservation>,
    /// The draining replicas that it has taken out of traffic itself, with nothing further begun: their drain can be undone.
    /// After a restart nobody can tell whether a stop was begun.
    pub cancellable: BTreeSet<ContainerId>,
    /// The revision whose image it began to pull.
    pub pulling_for: Option<Revision>,
    /// At the last look the service waited for others: for its dependencies, its turn, a hook.
    pub was_waiting: bool,
    /// The containers whose post-start hooks are its own to run.
    pub own_post_start: BTreeSet<ContainerId>,
    /// Hooks in containers that have failed, and of which nobody was told yet.
    pub hook_failures: Vec<ReplicaHookFailure>,
    /// The containers whose failed pre-stop hook is among those, or was.
    pub told_pre_stop: BTreeSet<ContainerId>,
    /// The containers that were there at its last look.
    pub known: BTreeSet<ContainerId>,
    /// Those that it removes.
    pub removing: BTreeSet<ContainerId>,
    /// Those that another hand has stopped, and when that was noticed.
    pub stopped_externally: BTreeMap<ContainerId, Timestamp>,
}

/// A hook in a container that has failed, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaHookFailure {
    /// `post_start` or `pre_stop`.
    pub hook: &'static str,
    /// The container's name.
    pub replica: String,
    /// What became of it, with the last of what it wrote; secrets are hidden.
    pub why: String,
}
