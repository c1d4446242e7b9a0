//! What is there: what the engine lists, what it tells of some services, and the part of it that one service needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HookKind, HookRun, Neighbours, Replica, ServiceName};

/// What an engine lists: the index of the world. Cheap to ask for, and shared by all who ask at the same time; what a
/// container is like, only an inspect tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Our containers, by service.
    pub containers: BTreeMap<ServiceName, Vec<Listed>>,
    /// All services that have a container of ours.
    pub owned: BTreeSet<ServiceName>,
    /// All networks by name; with their project where this controller made them.
    pub networks: BTreeMap<String, Option<String>>,
    /// All volumes by name; with their project where this controller made them.
    pub volumes: BTreeMap<String, Option<String>>,
    /// Containers whose labels say that they are of this instance, or of a service of it, without proof: the first 100.
    pub foreign: Vec<Foreign>,
}

/// A container of ours, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Docker Compose made it.
    pub compose: bool,
    /// It is of this hook, and no replica.
    pub hook: Option<HookKind>,
}

/// What is known of some services: the listing that it was begun with, and what was asked for of it in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The index.
    pub listing: Arc<Listing>,
    /// Our containers of the services asked for, by service.
    pub replicas: BTreeMap<ServiceName, Vec<Replica>>,
    /// The containers of their hooks, which are no replicas.
    pub hooks: BTreeMap<ServiceName, Vec<HookRun>>,
    /// The images asked for.
    pub images: BTreeMap<String, ImageState>,
    /// What more is known of those of them that are here or on their way.
    pub facts: BTreeMap<String, ImageFacts>,
    /// Services of which not everything could be asked for that was: which container does not answer. Nothing is known of
    /// what is missing, and nothing may be done for it.
    pub unknown: BTreeMap<ServiceName, String>,
}

impl Listing {
    /// The containers that claim to be of a service and are not.
    pub fn foreign_to(&self, service: &ServiceName) -> impl Iterator<Item = &Foreign> {
        self.foreign.iter().filter(move |one| one.service.as_ref() == Some(service))
    }
}

/// A container that claims to be of a service and is not: it is told of, and never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreign {
    /// The service that it names, if there can be one of that name.
    pub service: Option<ServiceName>,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it does not count, for people.
    pub why: String,
}

impl std::fmt::Display for Foreign {
    /// `the container NAME (ID) is not touched: WHY`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = self.id.get(..12).unwrap_or(&self.id);
        write!(f, "the container {} ({short}) is not touched: {}", self.name, self.why)
    }
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

/// What the engine tells of an image, beside whether it is here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageFacts {
    /// Where it came from, as `repository@digest`.
    #[serde(default)]
    pub digests: Vec<String>,
    /// What became of the last pull, where that failed and an older image is here.
    #[serde(default)]
    pub failure: Option<String>,
    /// How far a pull has come.
    #[serde(default)]
    pub progress: Option<PullProgress>,
    /// The ids of those that pulls of ours brought here under this name.
    #[serde(default)]
    pub brought: BTreeSet<String>,
}

/// How far a pull has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullProgress {
    /// Layers that are here.
    pub layers_done: u32,
    /// Layers that are known of.
    pub layers: u32,
    /// Bytes that are here.
    pub bytes: u64,
    /// Bytes of the layers whose size is known.
    pub total: u64,
}

/// What a registry said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remote {
    /// Its last answer: a digest, or a tag.
    #[serde(default)]
    pub answer: Option<String>,
    /// When that answer first came.
    #[serde(default)]
    pub moved_at: Option<Timestamp>,
    /// There was no answer before it.
    #[serde(default)]
    pub first: bool,
    /// When it last answered.
    #[serde(default)]
    pub checked_at: Option<Timestamp>,
    /// When it is asked next.
    #[serde(default)]
    pub next_at: Option<Timestamp>,
    /// Why the last question has no answer.
    #[serde(default)]
    pub problem: Option<String>,
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
    /// What more is known of the desired image; of its digests those of its own repository, without the name.
    #[serde(default)]
    pub facts: ImageFacts,
    /// The ids of images that other services have, or may go back to, and the names of those that their hooks run.
    #[serde(default)]
    pub spared: BTreeSet<String>,
    /// What the registry says of the desired image, if it is asked.
    #[serde(default)]
    pub remote: Option<Remote>,
    /// What it says of higher versions, if it is asked.
    #[serde(default)]
    pub versions: Option<Remote>,
    /// Networks and volumes that it needs and that do not exist yet, for people: `network shop_default`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Why some of that could not be made, for people.
    #[serde(default)]
    pub refused: Option<String>,
    /// Dependencies that are not met yet, with the reason.
    #[serde(default)]
    pub unmet: BTreeMap<String, String>,
    /// Those with whom it shares namespaces.
    #[serde(default)]
    pub neighbours: Neighbours,
    /// The services that it has to let roll out first, for people, if there are too many at once.
    #[serde(default)]
    pub turn: Option<String>,
    /// The containers of its hooks, in any state.
    #[serde(default)]
    pub hooks: Vec<HookRun>,
    /// Containers that claim to be of it and are not.
    #[serde(default)]
    pub foreign: Vec<Foreign>,
}

impl Observed {
    /// Whether a rollout waits for others: for a dependency, for its turn, for a hook to end.
    pub fn holds(&self) -> bool {
        !self.unmet.is_empty() || self.turn.is_some() || self.hooks.iter().any(|run| run.state.is_live())
    }
}
