//! The simulated engine: a `World` behind the `Engine` trait. Deterministic where its clock is; passes the contract
//! suite that Docker passes.

mod container;
mod crowd;
mod traffic;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{InFlight, Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use crd_schema::ContainerId;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::broadcast;

pub use container::{Behaviour, Container, Load};
pub use crowd::Crowd;
pub use world::World;

/// Tells the simulated engine the time.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a test makes of a call: let it be, or break it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call never reaches the engine.
    Lost,
    /// It is done, the answer is lost.
    AnswerLost,
    /// The engine refuses it.
    Refused,
    /// The engine fails at it.
    Failed,
}

/// Asked before every call, with its text.
pub type FaultHook = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

/// A simulated engine.
pub struct Sim {
    world: Mutex<World>,
    now: Now,
    who: String,
    keys: broadcast::Sender<Option<Key>>,
    fault: Mutex<Option<FaultHook>>,
}

impl Sim {
    /// An engine for `world`, which believes the time that `now` tells. `who` names this controller's claim.
    pub fn new(world: World, now: Now, who: &str) -> Self {
        Self {
            world: Mutex::new(world),
            now,
            who: who.to_owned(),
            keys: broadcast::Sender::new(4096),
            fault: Mutex::new(None),
        }
    }

    /// Asks `hook` before every call from now on.
    pub fn break_with(&self, hook: Option<FaultHook>) {
        *self.fault.lock() = hook;
    }

    /// Looks at or changes the world, brought to the present.
    pub fn with<T>(&self, f: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let now = (self.now)();
        let mut world = self.world.lock();
        let mut keys = world.advance(now);
        let value = f(&mut world, now);
        keys.extend(world.advance(now));
        let everybody = std::mem::take(&mut world.pull_ended);
        drop(world);
        for key in keys.into_iter().map(Some).chain(everybody.then_some(None)) {
            // Nobody listening is fine: events are hints.
            drop(self.keys.send(key));
        }
        value
    }

    /// Requests in flight on a replica that left traffic at `since`.
    pub fn in_flight(&self, id: &ContainerId, since: Timestamp) -> InFlight {
        self.with(|world, now| world.in_flight(id, since, now))
    }

    fn call<T>(
        &self,
        text: &str,
        f: impl FnOnce(&mut World, Timestamp) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let mut hook = self.fault.lock();
        let fault = hook.as_mut().and_then(|hook| hook(text));
        drop(hook);
        if fault == Some(Fault::Lost) {
            return Err(EngineError::Unavailable("the call was lost".to_owned()));
        }
        if fault == Some(Fault::Refused) {
            return Err(EngineError::Rejected { message: "refused for no good reason".to_owned(), name_taken: false });
        }
        if fault == Some(Fault::Failed) {
            return Err(EngineError::ServerError("device or resource busy".to_owned()));
        }
        let answer = self.with(f);
        if fault == Some(Fault::AnswerLost) {
            return Err(EngineError::Unavailable("the answer was lost".to_owned()));
        }
        answer
    }
}

impl Engine for Sim {
    fn describe(&self) -> String {
        "the simulated engine".to_owned()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        let receiver = self.keys.subscribe();
        let first = stream::once(async { None });
        let rest = stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(key) => Some((key, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((None, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        });
        first.chain(rest).boxed()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        let listing = self.call("list", |world, _| Ok(world.list(compose)));
        std::future::ready(listing).boxed()
    }

    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        let listed = self.call("list", |world, _| Ok(world.list_service(service, compose)));
        std::future::ready(listed).boxed()
    }

    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        let listed = self.call("list", |world, _| Ok(world.list_objects()));
        std::future::ready(listed).boxed()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        let seen = self.call("observe", |world, now| Ok(world.observe(scope, listing, now)));
        std::future::ready(seen).boxed()
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        let call = |verb: &Verb| self.call(&verb.to_string(), |world, now| world.apply(verb, context, now));
        let done = match verb {
            // Two calls, as on Docker: each can be the last.
            Verb::MoveName { name, from, spare, to } if self.with(|world, _| world.is_named(&from.id, name)) => {
                let away = Verb::Rename { target: from.clone(), to: spare.clone() };
                call(&away).and_then(|()| call(&Verb::Rename { target: to.clone(), to: name.clone() }))
            }
            verb => call(verb),
        };
        std::future::ready(done).boxed()
    }

    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        let claim = self.with(|world, _| world.claim(&self.who));
        std::future::ready(Ok(claim)).boxed()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.with(|world, _| {
            if world.holder.as_deref() == Some(self.who.as_str()) {
                world.holder = None;
            }
        });
        std::future::ready(Ok(())).boxed()
    }
}

/// Lets time pass: wakes whoever watches `sim` when its world changes by itself. Runs until it is dropped.
pub async fn tick(sim: Arc<Sim>) {
    loop {
        let wait = sim.with(|world, now| world.next_change(now).map(|at| at.duration_since(now)));
        let wait = wait.and_then(|wait| Duration::try_from(wait).ok()).unwrap_or(Duration::from_millis(100));
        tokio::time::sleep(wait.min(Duration::from_millis(100))).await;
    }
}
