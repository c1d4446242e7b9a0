//! What is slow or does not answer holds up nobody else: one call of the engine hangs, and an unrelated change goes on as if it
//! were alone. On the simulated engine, its time stopped.

mod hanging;
mod readings;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_simulator::{Fault, Sim};
use composed_source::files::{Reading, Source};
use composed_status::store::StatusStore;
use crd_schema::ImageRef;
use crd_schema::status::ConditionType;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pause::pause;
use crate::undo::{Running, engine, web};

/// The simulated engine, of which some calls are held until they are let go, and all are counted.
pub(crate) struct Slow {
    sim: Arc<Sim>,
    /// What is held: calls whose words hold this.
    held: watch::Sender<Option<&'static str>>,
    /// What takes so long.
    takes: Mutex<Option<(&'static str, Duration)>>,
    calls: Mutex<Vec<(Instant, String)>>,
}

impl Slow {
    pub(crate) fn new(sim: &Arc<Sim>) -> Arc<Self> {
        Arc::new(Self {
            sim: Arc::clone(sim),
            held: watch::Sender::default(),
            takes: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    /// Notes a call; comes back when it is not held.
    async fn call(&self, words: String) {
        self.calls.lock().unwrap().push((Instant::now(), words.clone()));
        let takes = *self.takes.lock().unwrap();
        if let Some((_, time)) = takes.filter(|(what, _)| words.contains(what)) {
            tokio::time::sleep(time).await; // The call takes so long.
        }
        drop(self.held.subscribe().wait_for(|held| held.is_none_or(|held| !words.contains(held))).await);
    }

    fn hold(&self, what: Option<&'static str>) {
        self.held.send_replace(what);
    }

    /// The calls since this was last asked.
    pub(crate) fn take(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// When the last call with these words was made.
    fn when(&self, words: &str) -> Option<Instant> {
        self.calls.lock().unwrap().iter().rev().find(|(_, call)| call.contains(words)).map(|(at, _)| *at)
    }
}

impl Engine for Slow {
    fn describe(&self) -> String {
        self.sim.describe()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.sim.watch()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        async move {
            self.call("list".to_owned()).await;
            self.sim.list(compose).await
        }
        .boxed()
    }

    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        async move {
            self.call(format!("list {service}.")).await;
            self.sim.list_service(service, compose).await
        }
        .boxed()
    }

    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        async move {
            self.call("list networks".to_owned()).await;
            self.sim.list_objects().await
        }
        .boxed()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        async move {
            for service in scope.services.iter().flatten() {
                self.call(format!("observe {service}.")).await;
            }
            self.sim.observe(scope, listing).await
        }
        .boxed()
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            self.call(verb.to_string()).await;
            self.sim.apply(verb, context).await
        }
        .boxed()
    }

    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        self.sim.claim()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.sim.release()
    }
}

/// Services of these names, each with the number of its version.
fn reading<'a>(services: impl IntoIterator<Item = (&'a str, u32)>) -> Reading {
    let one = |(name, version): (&str, u32)| {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  \
             image: \"app:1\"\n  environment: {{V: '{version}'}}\n  replicas: 2\n"
        );
        (format!("{name}.yaml"), Ok(text.into_bytes().into()))
    };
    Reading { files: services.into_iter().map(one).collect(), ..Reading::default() }
}

/// A Compose project of these services.
fn compose(dir: &tempfile::TempDir, services: &str) -> Reading {
    std::fs::write(dir.path().join("compose.yaml"), format!("name: shop\nservices:\n{services}")).unwrap();
    Source::from(dir.path()).read()
}

fn name(service: &str) -> ServiceName {
    ServiceName::new("shop", service)
}

async fn until(running: &Running, what: &str, done: impl Fn(&StatusStore) -> bool) {
    let mut version = running.statuses.version();
    let wait = async {
        while !done(&running.statuses) {
            version.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits for a call with these words that was made after `since`.
async fn called(slow: &Slow, words: &str, since: Instant) {
    let wait = async {
        while slow.when(words).is_none_or(|at| at < since) {
            tokio::time::sleep(Duration::from_millis(10)).await; // The pace of looking.
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.unwrap_or_else(|_| panic!("not called: {words}"));
}

fn is_at(statuses: &StatusStore, service: &str, generation: u64) -> bool {
    statuses
        .status(&name(service))
        .is_some_and(|status| status.generation == generation && convergence(&status) == Convergence::Converged)
}
