//! What every engine adapter promises, as one list of cases that run on Docker and on the simulated engine alike. The
//! cases see an engine through its trait only; what happens behind its back goes through a `Stage`.

mod around;
mod containers;
mod deploy_hooks;
pub(crate) mod docker;
mod docker_only;
mod names;
mod ownership;
mod proxy;
mod registry;
mod sim;

use std::collections::BTreeMap;
use std::time::Duration;

use composed_core::engine::{ActionContext, Engine, EngineError, ObserveRequest, observe_once};
use composed_core::model::{Key, Replica, ServiceName, Snapshot};
use composed_core::plan::action::{Blueprint, Target, Verb};
use crd_schema::{ContainerId, ImageRef, NetworkName, Revision, ServiceSpec};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

/// The longest that a case waits for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a replica shall be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Serves at once, ends at once when it is told to. Has a healthcheck each 200 ms.
    Serves,
    /// Serves, but takes a second or two from the stop signal to its end.
    Lingers,
    /// Ends by itself with code 1, soon after its start.
    Crashes,
    /// Cannot be started at all.
    Unstartable,
}

/// One engine, and a way round the back of it. Each case has a stage and a project of its own.
pub(crate) trait Stage: Send + Sync {
    /// The engine.
    fn engine(&self) -> &dyn Engine;
    /// The project, of this case alone.
    fn project(&self) -> &str;
    /// A specification whose image is there.
    fn spec(&self, kind: Kind) -> ServiceSpec;
    /// An image that no registry has.
    fn no_image(&self) -> ImageRef;
    /// Ends a container's process, with code 137.
    fn kill<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()>;
    /// Removes a container by force.
    fn remove<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()>;
    /// Makes a running container of somebody else's; its id.
    fn add_foreign<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ContainerId>;
    /// The name and state (`running`, ...) of any container.
    fn peek<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<(String, String)>>;
    /// Makes a network of somebody else's.
    fn add_foreign_network<'a>(&'a self, name: &'a NetworkName) -> BoxFuture<'a, ()>;
    /// A claim by another controller of the same instance; true when it got it.
    fn rival_claims(&self) -> BoxFuture<'_, bool>;
    /// It gives back what it has.
    fn rival_releases(&self) -> BoxFuture<'_, ()>;
}

/// A case: a promise, and how to see it kept.
pub(crate) struct Case {
    /// The promise.
    pub(crate) name: &'static str,
    /// Panics when it is broken.
    pub(crate) run: for<'a> fn(&'a dyn Stage) -> BoxFuture<'a, ()>,
}

/// All cases.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = containers::cases();
    cases.extend(around::cases());
    cases.extend(deploy_hooks::cases());
    cases.extend(names::cases());
    cases
}

/// Lists async functions as cases, by their names.
macro_rules! promises {
    ($($name:ident),* $(,)?) => {
        vec![$(Case { name: stringify!($name), run: |stage| $name(stage).boxed() }),*]
    };
}
use promises;

/// The service that the cases make replicas of.
fn web(stage: &dyn Stage) -> ServiceName {
    ServiceName::new(stage.project(), "web")
}

/// The blueprint of one replica of it.
fn print(stage: &dyn Stage, kind: Kind, number: u32) -> Blueprint {
    let service = web(stage);
    Blueprint {
        name: service.container(number),
        service,
        hook: None,
        number,
        revision: Revision::new("r1"),
        generation: 7,
        spec: stage.spec(kind).into(),
        volumes: BTreeMap::new(),
        joins: BTreeMap::new(),
        image: None,
    }
}

/// No networks and volumes but the project's name.
fn context(stage: &dyn Stage) -> ActionContext {
    ActionContext { project: stage.project().to_owned(), ..ActionContext::default() }
}

async fn apply(stage: &dyn Stage, verb: Verb) -> Result<(), EngineError> {
    stage.engine().apply(&verb, &context(stage)).await
}

/// A created replica.
async fn created(stage: &dyn Stage, kind: Kind, number: u32) -> Target {
    let print = print(stage, kind, number);
    let name = print.name.clone();
    apply(stage, Verb::Create(Box::new(print))).await.expect("create");
    let id = replicas(stage).await.into_iter().find(|replica| replica.name == name).expect("the new replica").id;
    Target { id, name }
}

/// A started replica.
async fn started(stage: &dyn Stage, kind: Kind, number: u32) -> Target {
    let target = created(stage, kind, number).await;
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    target
}

/// The names of those networks or volumes that are ours.
fn ours<N: Clone>(all: &BTreeMap<N, Option<String>>) -> Vec<N> {
    all.iter().filter(|(_, project)| project.is_some()).map(|(name, _)| name.clone()).collect()
}

async fn observe(stage: &dyn Stage, scope: ObserveRequest) -> Snapshot {
    let engine = stage.engine();
    let before = engine.list(&scope.compose).await.expect("list");
    let mut parts = Vec::new();
    for service in &before.owned {
        parts.push((service, engine.list_service(service, &scope.compose).await.expect("list of a service")));
    }
    let objects = engine.list_objects().await.expect("list of networks and volumes");
    let seen = observe_once(engine, &scope).await.expect("observe");
    // What others change meanwhile, on an engine that is everybody's, is no matter.
    for (service, part) in parts {
        if let (Some(was), Some(is)) = (before.containers.get(service), seen.listing.containers.get(service))
            && was == is
        {
            assert_eq!(&part.containers, is, "a part of the list says what the whole does of {service}");
        }
    }
    assert_eq!(ours(&objects.networks), ours(&seen.listing.objects.networks));
    assert_eq!(ours(&objects.volumes), ours(&seen.listing.objects.volumes));
    seen
}

/// All replicas of the service, as they are now.
async fn replicas(stage: &dyn Stage) -> Vec<Replica> {
    let scope = ObserveRequest { services: Some([web(stage)].into()), ..ObserveRequest::default() };
    observe(stage, scope).await.replicas.remove(&web(stage)).unwrap_or_default()
}

/// One replica, as it is now.
async fn replica(stage: &dyn Stage, target: &Target) -> Option<Replica> {
    replicas(stage).await.into_iter().find(|replica| replica.id == target.id)
}

/// Looks until the replica is as wanted; panics after 30 s.
async fn until(stage: &dyn Stage, target: &Target, what: &str, wanted: impl Fn(&Replica) -> bool) -> Replica {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = replica(stage, target).await;
        if let Some(replica) = now.as_ref().filter(|replica| wanted(replica)) {
            return replica.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "{} is not {what}: {now:?}", target.name);
        tokio::time::sleep(Duration::from_millis(30)).await; // The pace of looking.
    }
}

/// The watch, read in the background.
struct Watched(tokio::sync::mpsc::UnboundedReceiver<Option<Key>>);

impl Watched {
    /// Begins to watch; returns when the first "look at everything" has come.
    async fn begin(stage: &dyn Stage) -> Self {
        let mut keys = stage.engine().watch();
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        drop(tokio::spawn(async move {
            while let Some(key) = keys.next().await {
                if sender.send(key).is_err() {
                    return;
                }
            }
        }));
        let mut watched = Self(receiver);
        watched.next("the first look at everything", Option::is_none).await;
        // The second one says that the subscription stands; an engine that says it once stands already.
        drop(tokio::time::timeout(Duration::from_millis(1500), watched.0.recv()).await);
        watched
    }

    /// Reads up to such a key; panics after 30 s.
    async fn next(&mut self, what: &str, wanted: impl Fn(&Option<Key>) -> bool) {
        let search = async {
            while let Some(key) = self.0.recv().await {
                if wanted(&key) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, search).await;
        assert!(found.unwrap_or(false), "the watch does not tell of {what}");
    }

    /// Forgets what has come until now.
    fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

fn rejected(result: &Result<(), EngineError>) -> bool {
    matches!(result, Err(EngineError::Rejected { .. }))
}

fn name_taken(result: &Result<(), EngineError>) -> bool {
    matches!(result, Err(EngineError::Rejected { name_taken: true, .. }))
}

fn stale(result: &Result<(), EngineError>) -> bool {
    matches!(result, Err(EngineError::Stale(_)))
}
