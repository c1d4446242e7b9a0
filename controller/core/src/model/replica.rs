//! A replica as the engine and the controller's own monitor show it. Facts only; what they mean is decided in `plan`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crd_schema::{ContainerId, ImageId, ImageRef, NetworkName, Revision, ServiceSpec, VolumeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ServiceName;

/// One container of a service: it carries this controller's labels, or Docker Compose made it for that service.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of the engine's answer")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// The engine's full id: every call that changes something names a container by it.
    pub id: ContainerId,
    /// The container's name, without the slash.
    pub name: String,
    /// Compose's container-number.
    pub number: u32,
    /// The service it belongs to.
    pub service: ServiceName,
    /// The revision it was created from; of one that Compose made, the revision that it stands for.
    pub revision: Revision,
    /// The generation it was created for.
    pub generation: u64,
    /// The engine's id of the image it was made of; empty where that is not known.
    #[serde(default)]
    pub image: ImageId,
    /// The name of that image, or its id, as its creator wrote it.
    #[serde(default)]
    pub image_name: ImageRef,
    /// When the engine created it.
    pub created_at: Timestamp,
    /// What the engine says it is doing.
    pub state: State,
    /// When its present run began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// How often the engine restarted it by its restart policy.
    #[serde(default)]
    pub restart_count: u32,
    /// Whether its restart policy would bring it back after a stop.
    #[serde(default)]
    pub restarts: bool,
    /// Docker's own healthcheck.
    #[serde(default)]
    pub health: Health,
    /// The last run of that, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_check: Option<FailedCheck>,
    /// The last lines that it has written, where it has ended by itself or is not well. Whole lines, with whatever secrets are in
    /// them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// Memory has run out in its last run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
    /// The controller's own readiness probe.
    #[serde(default)]
    pub probe: Probe,
    /// Requests in flight; looked for only while it is leaving.
    #[serde(default)]
    pub in_flight: InFlight,
    /// Whether those who send requests know what is shown of it: that it serves, or that it has left.
    #[serde(default)]
    pub propagation: Propagation,
    /// A stop or a pre-stop hook that this controller began and that has not ended yet.
    #[serde(default)]
    pub busy_with: Option<RunningOperation>,
    /// When that ends at the latest.
    #[serde(default)]
    pub busy_until: Option<Timestamp>,
    /// Whether its pre-stop hooks have run.
    #[serde(default)]
    pub pre_stop_done: bool,
    /// The first of them that did not end well.
    #[serde(default)]
    pub pre_stop_failure: Option<HookFailure>,
    /// How its post-start hooks ended, if this process ran them.
    #[serde(default)]
    pub post_start: Option<HookEnd>,
    /// Its address on each network.
    #[serde(default)]
    pub addresses: BTreeMap<NetworkName, String>,
    /// The container ports it listens on, as `spec` and image declare them (`8080/tcp`), with the published host
    /// addresses.
    #[serde(default)]
    pub ports: BTreeMap<String, Vec<String>>,
    /// The host's process id of its main process; 0 when it is not running.
    #[serde(default)]
    pub pid: u32,
    /// Its anonymous volumes, by where they are mounted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, VolumeName>,
    /// Where its image says that it keeps data.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub data: BTreeSet<String>,
    /// The containers whose namespaces it has joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub joined: Vec<JoinedNamespace>,
    /// Somebody else has told it to stop.
    #[serde(default)]
    pub stopped_externally: bool,
    /// Who made it, if this controller did not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// Docker Compose made it: how it compares with what is asked for now. `None`: this controller made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<Comparison>,
    /// Of one that Docker Compose made and that differs: of what another one can be made, where the engine tells all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specification: Option<Arc<ServiceSpec>>,
}

/// A container whose namespaces another one has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedNamespace {
    /// Its id, or what the engine was told in its place.
    pub id: ContainerId,
    /// Its service, where it is of the same project; else empty.
    pub service: String,
    /// When its present run began, if it runs; between two runs of its restart policy, when the last one ended.
    #[serde(default)]
    pub since: Option<Timestamp>,
}

impl Replica {
    /// Whether a namespace that it has joined has ended: with the owner, or with the run of the owner in which it joined.
    pub fn lost_namespace(&self) -> bool {
        self.joined.iter().any(|owner| owner.since.is_none_or(|since| self.started_at.is_some_and(|at| at < since)))
    }
}

/// How a container that Docker Compose made compares with what is asked for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Nothing is asked for, or not known.
    Unknown,
    /// It is what would be made.
    Same,
    /// It differs in these keys; for people, and without values that may be secret.
    Differs(Vec<String>),
}

/// The engine's word for what a container is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Created and never started.
    Created,
    /// Running.
    Running,
    /// Frozen by hand.
    Paused,
    /// Between two runs of its restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Ended, with its exit code.
    Exited(i64),
    /// A removal that the engine could not finish.
    Dead,
}

impl State {
    /// Whether a process of it lives, or is about to live again without our doing.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// Docker's healthcheck. Read it only together with `State::Running`: the engine says `unhealthy` of a paused or
/// stopping container too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has none.
    #[default]
    None,
    /// No verdict yet.
    Starting,
    /// The last look succeeded.
    Healthy,
    /// `retries` looks in a row failed.
    Unhealthy,
}

/// The last run of a healthcheck, which failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCheck {
    /// Its exit code; below 0: it took longer than its timeout.
    pub code: i64,
    /// What it wrote, line by line.
    pub output: Vec<String>,
}

/// The controller's own readiness probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// None was asked for.
    #[default]
    None,
    /// Not asked yet, or not answered yet, in this run and by this process.
    Unasked,
    /// Answered wrong, or not at all; the text says what was seen last.
    Failing(String),
    /// The last answer was right.
    Passing,
}

/// Requests in flight on a replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InFlight {
    /// Not looked for, or the look failed this time.
    #[default]
    Unknown,
    /// Cannot be counted on this host; only `drain_timeout` bounds the drain.
    Uncountable,
    /// So many.
    Count(u32),
}

/// Whether those who send requests have taken in what is shown of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Propagation {
    /// Nobody is known to need telling.
    #[default]
    Unfollowed,
    /// Everybody known has.
    Settled,
    /// Not yet.
    Pending {
        /// Who, for people.
        who: String,
        /// They have by then, at the latest.
        until: Timestamp,
    },
}

impl Propagation {
    /// Who has not taken it in at `now`, and until when.
    pub fn pending(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        match self {
            Self::Pending { who, until } if now < *until => Some((who, *until)),
            _ => None,
        }
    }
}

/// Work that the engine does in its own time after it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunningOperation {
    /// A stop signal was sent and the grace period runs.
    Stop,
    /// The pre-stop hooks run.
    PreStop,
    /// The post-start hooks run.
    PostStart,
}

/// How hooks ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookEnd {
    /// All of them well.
    Done,
    /// One of them failed, and this is what became of it.
    Failed(HookFailure),
}

/// A hook in a container that did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookFailure {
    /// `` `sh` exited with code 3``: without its arguments, which may be secret.
    pub why: String,
    /// The last lines that it wrote, as they are.
    pub output: Vec<String>,
}
