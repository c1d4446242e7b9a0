//! Services that share namespaces: whose replicas may be joined, and who has joined one's own. As the status store shows them.

use std::collections::BTreeMap;

use crd_schema::ContainerId;
use serde::{Deserialize, Serialize};

/// What is seen of the services around one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceNeighbours {
    /// The services whose namespaces its replicas join, by name.
    pub hosts: BTreeMap<String, NamespaceOwners>,
    /// The replicas of others in its own replicas' namespaces, by container id.
    pub guests: BTreeMap<ContainerId, Vec<NamespaceMember>>,
    /// Services that join its replicas' namespaces, and of which nothing is known yet.
    pub unseen: Vec<String>,
}

/// A service whose namespaces may be joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NamespaceOwners {
    /// How many replicas it shall have.
    pub replicas: u32,
    /// Those that it has.
    pub of: Vec<NamespaceOwner>,
}

/// A replica whose namespaces may be joined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, each of its own")]
pub struct NamespaceOwner {
    /// The container's id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// It is to stay: none takes its place.
    pub stays: bool,
    /// It runs, and may be joined.
    pub open: bool,
    /// It is available, too.
    pub available: bool,
    /// It is on its way out: who is in its namespaces goes with it.
    pub parting: bool,
}

/// A replica of another service in one's own namespaces, which runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceMember {
    /// The container's name.
    pub name: String,
    /// It is in traffic: it has no successor elsewhere yet.
    pub stays: bool,
    /// Why it will not be moved, if it will not.
    #[serde(default)]
    pub held: Option<String>,
}
