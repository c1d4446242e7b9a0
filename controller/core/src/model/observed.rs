//! What is there: what the engine lists, what it tells of some services, and the part of it that one service needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crd_schema::{ContainerId, ImageDigest, ImageId, ImageRef, NetworkId, NetworkName, Revision, VolumeName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{HookKind, HookRun, NamespaceNeighbours, PortConflict, PortHolder, Replica, ServiceName};

/// So many containers are told of that claim to be ours.
pub const MAX_FOREIGN: usize = 100;

/// What an engine lists: the index of the world. Cheap to ask for, and shared by all who ask at the same time; what a
/// container is like, only an inspect tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Our containers, by service.
    pub containers: BTreeMap<ServiceName, Vec<ListedContainer>>,
    /// All services that have a container of ours.
    pub owned: BTreeSet<ServiceName>,
    /// Networks and volumes.
    pub objects: ListedObjects,
    /// Containers whose labels say that they are of this instance, or of a service of it, without proof: the first 100.
    pub foreign: Vec<ForeignContainer>,
}

/// A container of ours, as a list tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedContainer {
    /// Its id.
    pub id: ContainerId,
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
    pub images: BTreeMap<ImageRef, ImageState>,
    /// What more is known of those of them that are here or on their way.
    pub facts: BTreeMap<ImageRef, ImageFacts>,
    /// Which containers have ports of the host, if that was asked for.
    pub host_ports: Vec<PortHolder>,
    /// Services of which not everything could be asked for that was: which container does not answer. Nothing is known of
    /// what is missing, and nothing may be done for it.
    pub unknown: BTreeMap<ServiceName, String>,
}

/// A network that has the name of an older one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkTwin {
    /// Their name.
    pub name: NetworkName,
    /// The project that it was made for.
    pub project: String,
}

/// The part of a listing that is about one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedService {
    /// Our containers of it.
    pub containers: Vec<ListedContainer>,
    /// Containers that claim to be of it without proof: the first 100.
    pub foreign: Vec<ForeignContainer>,
}

/// The part of a listing that is about networks and volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedObjects {
    /// All networks by name; with their project where this controller made them.
    pub networks: BTreeMap<NetworkName, Option<String>>,
    /// Networks of ours of which there is an older one of the same name, by id.
    pub network_twins: BTreeMap<NetworkId, NetworkTwin>,
    /// All volumes by name; with their project where this controller made them.
    pub volumes: BTreeMap<VolumeName, Option<String>>,
}

impl Listing {
    /// Puts what is known of one service in the place of what was; tells whether it has come by its first container, or
    /// lost its last.
    pub fn put(&mut self, service: &ServiceName, listed: ListedService) -> bool {
        let ListedService { containers, foreign } = listed;
        self.foreign.retain(|one| one.service.as_ref() != Some(service));
        self.foreign.extend(foreign);
        self.foreign.truncate(MAX_FOREIGN);
        if containers.is_empty() {
            self.containers.remove(service);
            return self.owned.remove(service);
        }
        self.containers.insert(service.clone(), containers);
        !self.owned.contains(service) && self.owned.insert(service.clone())
    }

    /// The containers that claim to be of a service and are not.
    pub fn foreign_to(&self, service: &ServiceName) -> impl Iterator<Item = &ForeignContainer> {
        self.foreign.iter().filter(move |one| one.service.as_ref() == Some(service))
    }
}

/// A container that claims to be of a service and is not: it is told of, and never touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignContainer {
    /// The service that it names, if there can be one of that name.
    pub service: Option<ServiceName>,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Why it does not count, for people.
    pub why: String,
}

impl std::fmt::Display for ForeignContainer {
    /// `the container NAME (ID) is not touched: WHY`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let short = self.id.as_str().get(..12).unwrap_or(self.id.as_str());
        write!(f, "the container {} ({short}) is not touched: {}", self.name, self.why)
    }
}

/// An image on this host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Here, under this id.
    Present(ImageId),
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
        /// The registry has no such image, or not for us: asking again changes nothing.
        refused: bool,
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
    pub pulled_images: BTreeSet<ImageId>,
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
pub struct RegistryAnswer {
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
    pub images: BTreeMap<ImageRef, ImageState>,
    /// What more is known of the desired image.
    #[serde(default)]
    pub facts: ImageFacts,
    /// Its digests in its own repository.
    #[serde(default)]
    pub digests: Vec<ImageDigest>,
    /// The ids of images that other services have, or may go back to, and the names of those that their hooks run.
    #[serde(default)]
    pub images_in_use: BTreeSet<ImageRef>,
    /// What the registry says of the desired image, if it is asked.
    #[serde(default)]
    pub tag_answer: Option<RegistryAnswer>,
    /// What it says of higher versions, if it is asked.
    #[serde(default)]
    pub version_answer: Option<RegistryAnswer>,
    /// Networks and volumes that it needs and that do not exist yet, for people: `network shop_default`.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What others have to create of it: `external network proxy`, each with the command that does.
    #[serde(default)]
    pub missing_external: BTreeMap<String, String>,
    /// Networks and volumes that earlier revisions lack, which they may need to be healed.
    #[serde(default)]
    pub missing_earlier: BTreeMap<Revision, Vec<String>>,
    /// Why some of that could not be made, for people.
    #[serde(default)]
    pub refused: Option<String>,
    /// Dependencies that are not met yet, with the reason.
    #[serde(default)]
    pub unmet: BTreeMap<String, String>,
    /// Those of them that will not come by waiting.
    #[serde(default)]
    pub failed_dependencies: BTreeSet<String>,
    /// Those with whom it shares namespaces.
    #[serde(default)]
    pub neighbours: NamespaceNeighbours,
    /// The services that it has to let roll out first, for people, if there are too many at once.
    #[serde(default)]
    pub rollout_limit: Option<String>,
    /// The containers of its hooks, in any state.
    #[serde(default)]
    pub hooks: Vec<HookRun>,
    /// Host ports that it is to have, and others have.
    #[serde(default)]
    pub port_conflicts: Vec<PortConflict>,
    /// Containers that claim to be of it and are not.
    #[serde(default)]
    pub foreign: Vec<ForeignContainer>,
}

impl Observed {
    /// Whether a rollout waits for others: for a dependency, for what others have to create, for its turn, for a hook to end.
    pub fn waits_for_others(&self) -> bool {
        !self.unmet.is_empty()
            || !self.missing_external.is_empty()
            || self.rollout_limit.is_some()
            || self.hooks.iter().any(|run| run.state.is_live())
    }
}
