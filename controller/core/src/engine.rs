//! THE DOOR OUT. One trait for everything the controller asks of a container engine; `composed-docker` is the real one and the
//! only user of bollard, `composed-simulator` an honest simulation that passes the same contract suite.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crd_schema::{ContainerFile, ImageRef, Network, NetworkName, Revision, ServiceSpec, Volume, VolumeName};
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use crate::plan::action::Verb;

/// What one look at the engine covers.
#[derive(Clone, Debug, Default)]
pub struct ObserveRequest {
    /// The services whose replicas are wanted in full; `None` for all of ours.
    pub services: Option<BTreeSet<ServiceName>>,
    /// The images whose state is wanted.
    pub images: BTreeSet<ImageRef>,
    /// The services whose containers count as ours if Docker Compose made them.
    pub compose: Arc<BTreeSet<ServiceName>>,
    /// What those are compared with.
    pub desired: BTreeMap<ServiceName, DesiredContainer>,
    /// Which containers have ports of the host, whoever made them, is wanted, too.
    pub host_ports: bool,
}

/// What is asked for of a service, as far as an engine can tell whether a container is it.
#[derive(Clone, Debug, Default)]
pub struct DesiredContainer {
    /// The specification.
    pub spec: Arc<ServiceSpec>,
    /// What it leans on.
    pub context: ActionContext,
}

/// What an action needs to know beyond itself: its project's networks and volumes.
#[derive(Clone, Debug, Default)]
pub struct ActionContext {
    /// The project.
    pub project: String,
    /// Networks by key, with their engine name.
    pub networks: BTreeMap<String, (NetworkName, Network)>,
    /// Volumes by key, with their engine name.
    pub volumes: BTreeMap<String, (VolumeName, Volume)>,
    /// The files that are put into containers before their first start, by revision.
    pub files: BTreeMap<Revision, Vec<ContainerFile>>,
}

/// Why the engine did not do it, as the three ways to go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EngineError {
    /// The world is not what the plan saw (gone, already there, being removed): look again at once.
    #[error("the engine's state has changed: {0}")]
    Stale(String),
    /// No answer: back off and try again. Whether it was done is unknown.
    #[error("the engine does not answer: {0}")]
    Unavailable(String),
    /// A server error about what was asked: back off and try again. Whether it was done is unknown, and of other objects it says
    /// nothing: one that cannot be removed is no engine that is away.
    #[error("the engine has failed at it: {0}")]
    ServerError(String),
    /// The engine refuses, and will again: report.
    #[error("{message}")]
    Rejected {
        /// The engine's words.
        message: String,
        /// Another's container has the name.
        name_taken: bool,
    },
}

impl EngineError {
    /// Whether a create was refused since a file or directory of the host is not there. Source: moby `volume/mounts`,
    /// `errBindSourceDoesNotExist`.
    pub fn is_missing_mount(&self) -> bool {
        matches!(self, Self::Rejected { message, .. } if message.contains("bind source path does not exist"))
    }
}

/// Who may act on this engine: one controller at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// We may.
    Held,
    /// Somebody else does.
    HeldBy(LeaseHolder),
}

/// Who acts on an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The verb that it carries out, if that is known.
    pub command: Option<String>,
    /// Which process, and how to end it if it is a leftover.
    pub text: String,
}

impl std::fmt::Display for LeaseHolder {
    /// `composed run`, pid 7 on web-1 since ...
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.command {
            Some(command) => write!(f, "`composed {command}`, {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// One look of one's own: lists, and asks for what `scope` names.
///
/// # Errors
/// The engine's.
pub async fn observe_once(engine: &dyn Engine, scope: &ObserveRequest) -> Result<Snapshot, EngineError> {
    let listing = Arc::new(engine.list(&scope.compose).await?);
    engine.observe(scope, &listing).await
}

/// A container engine.
pub trait Engine: Send + Sync {
    /// For people: `Docker 20.10.24 (API 1.41) at unix:///var/run/docker.sock`.
    fn describe(&self) -> String;

    /// Keys to look at again. Lossy by contract: events may be missed, repeated or reordered; after a gap an item
    /// `None` says that everything must be looked at. Ends only with the engine.
    fn watch(&self) -> BoxStream<'static, Option<Key>>;

    /// The index of the world: a few calls, however many containers there are. What Docker Compose made of the services
    /// `compose` counts as ours.
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>>;

    /// The part of the index that is about one service: a call whose cost does not grow with the number of the others.
    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>>;

    /// The part of the index that is about networks and volumes.
    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>>;

    /// What is to be known of a listing's services that `scope` names, and of images. A container that does not answer
    /// makes its own service unknown, and no other.
    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>>;

    /// Exactly one mutating call. Idempotent: doing it again when it is done is `Ok` or `Stale`. Returns promptly:
    /// pulls, stops and hooks are begun here and observed later; their end wakes the key through `watch`.
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>>;

    /// Takes or confirms the right to act, for as long as this process lives.
    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>>;

    /// Gives the right back.
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>>;
}
