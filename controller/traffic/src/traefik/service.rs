//! What Traefik is told of one service.

use crd_schema::NetworkName;
use std::collections::BTreeMap;

use composed_core::model::ServiceName;
use jiff::Timestamp;

/// The labels of a container.
pub(super) type Labels = BTreeMap<String, String>;

/// A service, as Traefik is to know it.
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) labels: Labels,
    /// Of each replica that serves its address on each network, and its endpoints.
    pub(super) replicas: Vec<(BTreeMap<NetworkName, String>, Vec<String>)>,
    /// While a revision is on trial, the weight of each replica.
    pub(super) weights: Option<Vec<u32>>,
    /// Since when its longest-serving replica serves.
    pub(super) since: Option<Timestamp>,
}
