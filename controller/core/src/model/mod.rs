//! NOUNS. What the controller thinks in: keys, desired and observed state, replicas, and what is remembered of a
//! service. Pure: no I/O, no clock, no decisions.

mod adopt;
mod cause;
mod contention;
mod desired;
mod ending;
mod hook;
mod host_ports;
mod key;
mod manual_rollout;
mod namespaces;
mod notification;
mod observed;
mod others;
mod record;
mod replica;

pub use cause::{describe_exit, describe_hook_failure, describe_unhealthy, last_lines, meaning};
pub use contention::ExternalChange;
pub use desired::{Desired, DesiredProject, DesiredService, DocumentRevision, follows_image, image_revision};
pub use ending::{Ending, describe_spent, ending};
pub use hook::{HookKind, HookRecord, HookRun, HookState};
pub use host_ports::{PortConflict, PortHolder, PortWishes, collide};
pub use key::{Key, ServiceName};
pub use manual_rollout::{ManualRollout, RolloutOptions, base_digest, base_revision};
pub use namespaces::{NamespaceMember, NamespaceNeighbours, NamespaceOwner, NamespaceOwners};
pub use notification::{Notification, NotificationKind};
pub use observed::{
    ForeignContainer, ImageFacts, ImageState, ListedContainer, ListedObjects, ListedService, Listing, MAX_FOREIGN,
    NetworkTwin, Observed, PullProgress, RegistryAnswer, Snapshot,
};
pub use others::{OtherService, OtherServices};
pub use record::{
    Control, FailureStreak, Images, LastPull, MAX_REVISIONS, Outcome, PostStartState, ReplicaHookFailure,
    ReplicaObservation, Replicas, RevisionFailure, RevisionFault, RevisionRecord, Revisions, ServiceRecord,
    TagResolution, ThisProcess, UndoDecision, Undone,
};
pub use replica::{
    Comparison, FailedCheck, Health, HookEnd, HookFailure, InFlight, JoinedNamespace, Probe, Propagation, Replica,
    RunningOperation, State,
};
