//! What is remembered of replicas, by container id.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::{ContainerId, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The replicas of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replicas {
    /// Those taken out of traffic, and since when.
    pub draining: BTreeMap<ContainerId, Timestamp>,
    /// Those that served at the last look, with the start of their run: after a restart of the controller they count as ready
    /// since then, as long as the same run goes on.
    pub serving: BTreeMap<ContainerId, Option<Timestamp>>,
    /// Those that Docker Compose made and that are this controller's since, with the revision that each stands for.
    pub adopted: BTreeMap<ContainerId, Revision>,
    /// How far the post-start hooks of each container are that this controller starts and that has some.
    pub post_start: BTreeMap<ContainerId, PostStartState>,
    /// Names of our pattern that containers of others have: another number is used instead.
    pub foreign_names: BTreeSet<String>,
    /// Until then no replica is taken out of traffic: the memory was lost, and what looks available may have been told to
    /// stop before that.
    pub cautious_until: Option<Timestamp>,
    /// How many requests were ended because `drain_timeout` had passed.
    pub requests_cut: u64,
}

/// How far the post-start hooks of a container are. Each step is written down before it is taken, so that they run once at
/// most, whatever happens to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostStartState {
    /// They will run when it runs.
    Due,
    /// They were begun.
    Begun,
    /// They have run.
    Done,
    /// One of them failed.
    Failed(String),
    /// The controller ended while they ran: nobody knows what they did.
    Interrupted,
}

/// What the controller saw of a replica's present run. Times are the controller's own, so that a jump of the engine's
/// clock cannot make a replica ready early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaObservation {
    /// The run that this is about: a restart begins another.
    pub started_at: Option<Timestamp>,
    /// The engine's restart count in that run.
    pub restart_count: u32,
    /// Running since.
    pub running_since: Timestamp,
    /// Running, healthy and ready without a break since.
    pub ready_since: Option<Timestamp>,
    /// Without a verdict of its healthcheck since.
    #[serde(default)]
    pub starting_since: Option<Timestamp>,
}
