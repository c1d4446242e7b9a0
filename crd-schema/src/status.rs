//! What composed says about a service: Kubernetes' conditions in camelCase, written by the controller alone.

mod condition;
mod replica;
mod revision;
mod update;
mod wait;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Revision, SpecDigest};

pub use condition::{Condition, ConditionType, Reason};
pub use replica::{ReplicaPhase, ReplicaStatus};
pub use revision::{
    CanaryStatus, CommitStatus, FaultStatus, HookOutcome, HookStatus, RevisionOutcome, RevisionStatus, UndoneStatus,
};
pub use update::{PullStatus, UpdateStatus};
pub use wait::WaitReason;

/// The state of one service as composed last saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// The project of the service.
    pub project: String,
    /// The service.
    pub name: String,
    /// Counts the changes of its spec.
    pub generation: u64,
    /// The generation this status speaks of.
    pub observed_generation: u64,
    /// The revision that is wanted.
    pub revision: Revision,
    /// Names the whole document, with what it draws from elsewhere: it changes with any key.
    #[serde(default)]
    pub digest: SpecDigest,
    /// The revision that last became available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<Revision>,
    /// How many replicas are wanted.
    pub replicas: u32,
    /// How many exist and run, of any revision.
    pub live: u32,
    /// How many of them are of the wanted revision.
    pub updated: u32,
    /// How many are available, of any revision.
    pub available: u32,
    /// How many replicas of the wanted revision have ended with their work done, also those whose containers are gone.
    #[serde(default, skip_serializing_if = "is_none")]
    pub completed: u32,
    /// What holds of the service.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Waiting>,
    /// How it is rolled out, in words: which order and why.
    #[serde(default)]
    pub strategy: String,
    /// The replicas.
    #[serde(default)]
    pub instances: Vec<ReplicaStatus>,
    /// Where ready replicas that are not draining listen, as `ip:port`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// By which ways requests come, as far as it is known, and what is known of those who send them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub traffic: Vec<TrafficPath>,
    /// How many requests or connections were ended because `drain_timeout` had passed, of all replicas that have left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub requests_cut: u64,
    /// The revision on trial, while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<CanaryStatus>,
    /// What is known of new images, where they are followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateStatus>,
    /// The one line that would make its rollouts quicker or surer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where its spec is written, as `file:line`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The commit that asked for what is wanted, if its spec comes from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// The revisions that were wanted and are remembered, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<RevisionStatus>,
    /// The last error, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

impl ServiceStatus {
    /// The condition of a type, if it is known.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// A way by which requests find the replicas of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficPath {
    /// Its name, such as `DNS names`.
    pub path: String,
    /// Whether it is seen that those who send requests know who has left, or only waited for so long that they must.
    pub proof: Proof,
    /// What is seen or waited for.
    pub detail: String,
}

/// What is known of those who send requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Proof {
    /// They were seen to know.
    Proven,
    /// They must know after a time.
    Bounded,
    /// They have not taken what they were given.
    NotApplied,
}

/// Something the service waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The kind of wait, as one word.
    #[serde(default)]
    pub reason: WaitReason,
    /// What, in words.
    pub on: String,
    /// When the wait ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proven => "proven",
            Self::Bounded => "bounded",
            Self::NotApplied => "not applied",
        })
    }
}

/// One thing composed did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The project.
    pub project: String,
    /// The service; empty for the project itself.
    pub service: String,
    /// What was done.
    pub action: String,
    /// Why.
    pub cause: String,
    /// How it ended; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}
