//! What composed says about a service: Kubernetes' conditions in camelCase, written by the controller alone.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::UpdatePolicy;

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
    pub revision: String,
    /// Names the whole document, with what it draws from elsewhere: it changes with any key.
    #[serde(default)]
    pub digest: String,
    /// The revision that last became available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<String>,
    /// How many replicas are wanted.
    pub replicas: u32,
    /// How many exist and run, of any revision.
    pub live: u32,
    /// How many of them are of the wanted revision.
    pub updated: u32,
    /// How many are available, of any revision.
    pub available: u32,
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

impl ServiceStatus {
    /// The condition of a type, if it is known.
    pub fn condition(&self, kind: ConditionType) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }
}

/// A revision that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Its name.
    pub revision: String,
    /// The newest generation that asked for it.
    pub generation: u64,
    /// The image, as the document names it.
    pub image: String,
    /// The engine's id of the image that this name stood for when it was first here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The revision of the document alone, where its image has made another one of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// The commit that asked for it, if it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// What became of it.
    pub outcome: RevisionOutcome,
    /// When it was last begun.
    pub since: Timestamp,
    /// When it became what it is; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// What became of its pre-deploy hook, if that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<HookStatus>,
    /// What became of its last post-deploy hook, if that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<HookStatus>,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Where it stands.
    pub outcome: HookOutcome,
    /// Its exit code, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was last begun, as this controller saw it.
    pub since: Timestamp,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The last lines of what it said, without values of its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// Where a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookOutcome {
    /// It was begun.
    Running,
    /// It has ended with code 0.
    Succeeded,
    /// It has ended with another code.
    Failed,
    /// It has taken longer than its timeout.
    TimedOut,
    /// Something else has ended it, and nobody knows how far it came.
    Interrupted,
}

impl fmt::Display for HookOutcome {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionOutcome {
    /// Not known yet, or replaced before it was.
    Pending,
    /// All its replicas were available at once.
    Available,
    /// It was given up.
    Failed,
}

impl fmt::Display for RevisionOutcome {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A commit of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// The name that the settings give the repository.
    pub repository: String,
    /// The commit's full name, in hexadecimal digits.
    pub id: String,
    /// Who wrote it, as `name <address>`.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was committed.
    pub at: Timestamp,
}

impl CommitStatus {
    /// The first seven digits of its name.
    pub fn short(&self) -> &str {
        self.id.get(..7).unwrap_or(&self.id)
    }
}

impl fmt::Display for CommitStatus {
    /// Its short name, author and subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {} ({})", self.short(), self.author, self.subject)
    }
}

/// A revision on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Which.
    pub revision: String,
    /// Its share of the requests in percent.
    pub weight: u8,
    /// When the others follow; absent while it is not available yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What is known of new images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateStatus {
    /// What counts as a new image; `none` where images were followed before.
    pub policy: UpdatePolicy,
    /// The image, by name: what is followed.
    pub image: String,
    /// The image that the document names, where a higher version of it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_from: Option<String>,
    /// The engine's id of the image that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The revision of the document alone, whatever its image is.
    pub document: String,
    /// The engine's id of the image behind the name, where that is not the one that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer: Option<String>,
    /// Why it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
    /// When it will be, if time is all that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The digest that the registry says the name stands for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// When it last said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Timestamp>,
    /// When it is asked next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_check: Option<Timestamp>,
    /// Why nothing newer is known or here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// How far the pull of a newer one has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulling: Option<PullStatus>,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullStatus {
    /// Layers that are here.
    pub layers_done: u32,
    /// Layers that are known of.
    pub layers: u32,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the layers whose size is known.
    pub total: u64,
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

/// One thing that holds of a service, or does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: bool,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, as a sentence.
    pub message: String,
    /// Since when `status` is what it is.
    pub last_transition: Timestamp,
}

/// What a condition speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConditionType {
    /// Enough replicas are available.
    Available,
    /// The rollout moves, or is complete.
    Progressing,
    /// A replica could not be created or does not live.
    ReplicaFailure,
    /// Nothing is begun or changed, because somebody asked for that. Absent otherwise.
    Paused,
    /// Others keep changing what is put right, so it is left alone for a while. Absent otherwise.
    Contended,
    /// Containers claim by their labels to be replicas, and nothing proves it: they are not touched. Absent otherwise.
    ForeignContainers,
    /// A container cannot be inspected, so that nothing is begun or changed. Absent otherwise.
    Unknown,
    /// The post-deploy hook of the last rollout ended well. Absent where there is none, or none has ended.
    PostDeploy,
}

/// Why a condition is what it is: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// At least `replicas - max_unavailable` replicas are available.
    MinimumReplicasAvailable,
    /// Fewer than that.
    MinimumReplicasUnavailable,
    /// The wanted revision became available.
    NewRevisionAvailable,
    /// The rollout moves.
    RolloutInProgress,
    /// No progress within `progress_deadline`.
    ProgressDeadlineExceeded,
    /// The wanted revision failed.
    RevisionFailed,
    /// The pre-deploy hook of the wanted revision failed, so that none of it was made.
    PreDeployFailed,
    /// The post-deploy hook failed.
    PostDeployFailed,
    /// It was undone by hand.
    Undone,
    /// The revision before it runs again.
    RolledBack,
    /// There is no revision to go back to.
    RollbackImpossible,
    /// The rollout failed and `failure_action` is `pause`, or somebody asked for a pause.
    Paused,
    /// Others keep changing it.
    Contended,
    /// Only the number of replicas changes.
    ScalingOnly,
    /// A container could not be created.
    CreateFailed,
    /// A container could not be started.
    StartFailed,
    /// The image could not be pulled.
    PullFailed,
    /// A replica is unhealthy.
    Unhealthy,
    /// A replica ended by itself.
    Exited,
    /// A replica ends again and again.
    CrashLoop,
    /// A container of that name belongs to somebody else.
    NameConflict,
    /// The engine does not tell of a container what it is and does.
    InspectFailed,
    /// What a container is does not bear out what its labels say.
    OwnershipUnproven,
    /// A service it depends on is not ready.
    DependencyNotReady,
    /// A network or volume that it needs cannot be made.
    NetworkMissing,
    /// The spec cannot be read; the last good one stays in force.
    InvalidSpec,
    /// It is gone from the source, but its removal is held back.
    DeletionHeld,
    /// Everything is as the spec says.
    Complete,
}

impl fmt::Display for Reason {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Display for ConditionType {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Something the service waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// What, in words.
    pub on: String,
    /// When the wait ends by itself, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// The container's name.
    pub name: String,
    /// The container's id.
    pub id: String,
    /// Its revision.
    pub revision: String,
    /// Its phase: Pending, Joining, Available, Completed, Failed, Draining, Exited or Kept.
    pub phase: String,
    /// Since when it is in that phase.
    pub since: Timestamp,
    /// Where it listens, as `ip:port`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Its address on each network.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, String>,
    /// Why it is in that phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// It does not run.
    #[serde(default, skip_serializing_if = "crate::types::is_false")]
    pub idle: bool,
    /// It is not to stay: another takes its place, or it is one too many.
    #[serde(default, skip_serializing_if = "crate::types::is_false")]
    pub leaves: bool,
    /// The ids of the containers whose namespaces it has joined.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<String>,
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

impl ReplicaStatus {
    /// Whether requests may be sent to it.
    pub fn serves(&self) -> bool {
        matches!(self.phase.as_str(), "Joining" | "Available")
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
