//! What holds of a service, and why.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

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
    /// The wanted revision became available, but for replicas whose failure `max_failure_ratio` tolerates.
    FailuresTolerated,
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
    /// The wanted revision was undone by hand, and the one that somebody went back to runs.
    Undone,
    /// The wanted revision failed or was undone, and the one before it does not run again yet.
    RollingBack,
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
    /// A service it depends on has failed, is paused or has no document: waiting does not help.
    DependencyFailed,
    /// Somebody else has a host port that it is to have, and it does not come free by waiting.
    HostPortTaken,
    /// A network or volume that it needs cannot be made, or is another's to make and does not exist.
    NetworkMissing,
    /// A file or directory of the host that it mounts does not exist.
    MountMissing,
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
