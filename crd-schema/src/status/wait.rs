//! What a service waits for, as one word of a closed list.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WaitReason {
    /// Its catalog entry is held: the text says why.
    #[default]
    Held,
    /// Its next step is under way.
    Step,
    /// The service is paused.
    Paused,
    /// Its document is missing; the service is removed unless it returns.
    MissingDocument,
    /// Only a changed document or a command goes on.
    ChangedDocument,
    /// A network or volume of the project is not there yet.
    ProjectObject,
    /// A network or volume that is external is not there.
    ExternalObject,
    /// A dependency is not ready.
    Dependency,
    /// As many services as are allowed roll out already.
    RolloutLimit,
    /// An image is being pulled, or cannot be.
    Image,
    /// The back-off after failures in a row.
    Backoff,
    /// A hook runs, or is to be removed.
    Hook,
    /// A replica is not available yet.
    Replica,
    /// A container of another service, or somebody else's, has a host port that a replica needs.
    HostPort,
    /// A replica cannot start before another one has gone.
    Place,
    /// A proxy has to begin, or to stop, routing to a replica.
    Proxy,
    /// Requests are in flight on a replica that is being replaced.
    Requests,
    /// A replica is stopping.
    Stop,
    /// A container is being removed.
    Removal,
    /// Another service shares namespaces of a replica.
    Namespace,
    /// A canary is on trial.
    Canary,
    /// Another tool changes the containers.
    ExternalChange,
    /// The state directory was lost: stops may be under way that nobody remembers.
    LostMemory,
    /// The engine does not show yet what was done.
    Observation,
}

impl WaitReason {
    /// Whether the progress deadline of a rollout ends such a wait: it is for no person, and for no other service.
    pub fn is_part_of_a_rollout(self) -> bool {
        match self {
            Self::Step
            | Self::ProjectObject
            | Self::Image
            | Self::Backoff
            | Self::Hook
            | Self::Replica
            | Self::Place
            | Self::Proxy
            | Self::Requests
            | Self::Stop
            | Self::Removal
            | Self::Observation => true,
            Self::Held
            | Self::Paused
            | Self::MissingDocument
            | Self::ChangedDocument
            | Self::ExternalObject
            | Self::Dependency
            | Self::HostPort
            | Self::RolloutLimit
            | Self::Namespace
            | Self::Canary
            | Self::ExternalChange
            | Self::LostMemory => false,
        }
    }
}

impl fmt::Display for WaitReason {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
