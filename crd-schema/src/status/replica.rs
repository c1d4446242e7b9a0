//! One replica, as it is shown.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ContainerId, NetworkName, Revision};

/// Where a replica stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReplicaPhase {
    /// It is not available yet.
    #[default]
    Pending,
    /// It is ready, and not all that send requests know it yet.
    Joining,
    /// It is ready, and those that send requests know it.
    Available,
    /// A one-shot that ended well.
    Completed,
    /// It runs, and will not become available by waiting.
    Failed,
    /// It is out of traffic, and is being removed.
    Draining,
    /// It does not run.
    Exited,
    /// The last failed replica, stopped and retained for inspection.
    #[serde(alias = "Kept")]
    Retained,
}

impl ReplicaPhase {
    /// Whether requests may be sent to a replica in it.
    pub fn serves(self) -> bool {
        matches!(self, Self::Joining | Self::Available)
    }
}

impl fmt::Display for ReplicaPhase {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaStatus {
    /// The container's name.
    pub name: String,
    /// The container's id.
    pub id: ContainerId,
    /// Its revision.
    pub revision: Revision,
    /// Its phase.
    pub phase: ReplicaPhase,
    /// Since when it is in that phase.
    pub since: Timestamp,
    /// Where it listens, as `ip:port`.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// Its address on each network.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<NetworkName, String>,
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
    pub shares: Vec<ContainerId>,
}

impl ReplicaStatus {
    /// Whether requests may be sent to it.
    pub fn serves(&self) -> bool {
        self.phase.serves()
    }
}
