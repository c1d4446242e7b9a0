//! What is there: one look at the engine, and the part of it that one service needs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Replica, ServiceName};

/// One look at the engine, shared by all keys that were due when it began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Our containers of the services asked for, by service.
    pub replicas: BTreeMap<ServiceName, Vec<Replica>>,
    /// All services that have a container of ours, asked for or not.
    pub owned: BTreeSet<ServiceName>,
    /// The images asked for.
    pub images: BTreeMap<String, ImageState>,
    /// All networks by name; with their project where this controller made them.
    pub networks: BTreeMap<String, Option<String>>,
    /// All volumes by name; with their project where this controller made them.
    pub volumes: BTreeMap<String, Option<String>>,
}

/// An image on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Here, under this id.
    Present(String),
    /// Not here, and nobody fetches it.
    #[default]
    Absent,
    /// On its way, since.
    Pulling(Timestamp),
    /// The last pull failed.
    PullFailed {
        /// When it ended.
        at: Timestamp,
        /// The engine's words.
        message: String,
        /// How many have failed in a row.
        count: u32,
    },
}

/// What one service's plan looks at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Our containers of the service, in any state.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// The images that its revisions name.
    #[serde(default)]
    pub images: BTreeMap<String, ImageState>,
    /// Networks and volumes that it needs and that do not exist yet, for people: `network shop_default`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Why some of that could not be made, for people.
    #[serde(default)]
    pub refused: Option<String>,
    /// Dependencies that are not met yet, with the reason.
    #[serde(default)]
    pub unmet: BTreeMap<String, String>,
}
