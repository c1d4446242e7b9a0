//! The simulated engine behind a bad line. What happens to a call follows from the seed, its words, and how often they were said:
//! whatever else has changed, the same call meets the same fault.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_simulator::Sim;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::judge::Judge;

/// What has to be met in a run.
pub(super) const KINDS: [&str; 17] = [
    "slow",
    "hangs",
    "lost",
    "answer lost",
    "refused",
    "no effect",
    "not inspected",
    "list fails",
    "event lost",
    "crash at a call",
    "crash after an answer",
    "crash",
    "full disk",
    "killed",
    "edit",
    "bad image",
    "command",
];

/// Of this service no call fails: it is what nobody else may hold up.
pub(super) const BYSTANDER: &str = "blog-bystander-";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Slow(Duration),
    Hangs(Duration),
    Lost,
    AnswerLost,
    Refused,
    NoEffect,
    Crash,
}

pub(super) struct BadLine {
    sim: Arc<Sim>,
    seed: u64,
    /// How bad it is.
    rate: f64,
    events_lost: f64,
    judge: Arc<Judge>,
    said: Mutex<BTreeMap<String, u64>>,
    left: Mutex<Left>,
    /// The process is to end now.
    pub(super) crash: Notify,
}

/// Faults that are still to come: one refusal of a service is borne, three are a failure of its revision.
struct Left {
    ended: bool,
    crashes: u32,
    refused: BTreeSet<String>,
    /// What the engine says yes to until then, and does not do.
    blind_to: Option<String>,
}

/// The service of a call, as its containers' names begin.
pub(super) fn service_of(call: &str) -> Option<&str> {
    call.split_whitespace().find_map(|word| {
        let (name, _) = word.rsplit_once('-').filter(|(_, number)| number.parse::<u32>().is_ok())?;
        word.get(..=name.len())
    })
}

impl BadLine {
    pub(super) fn new(sim: &Arc<Sim>, seed: u64, judge: &Arc<Judge>) -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        Arc::new(Self {
            sim: Arc::clone(sim),
            seed,
            rate: [0.0, 0.03, 0.15][rng.usize(..3)],
            events_lost: [0.0, 0.0, 0.3, 1.0][rng.usize(..4)],
            judge: Arc::clone(judge),
            said: Mutex::default(),
            left: Mutex::new(Left { ended: false, crashes: rng.u32(..3), refused: BTreeSet::new(), blind_to: None }),
            crash: Notify::new(),
        })
    }

    /// From now on everything works.
    pub(super) fn end(&self) {
        self.left.lock().ended = true;
    }

    fn rng(&self, call: &str) -> fastrand::Rng {
        let mut said = self.said.lock();
        let times = said.entry(call.to_owned()).or_default();
        *times += 1;
        let mut hasher = DefaultHasher::new();
        (self.seed, call, *times).hash(&mut hasher);
        fastrand::Rng::with_seed(hasher.finish())
    }

    fn fault(&self, call: &str) -> Option<Fault> {
        let mut rng = self.rng(call);
        let mut left = self.left.lock();
        // Nor of what its project needs.
        if left.ended || call.contains(BYSTANDER) || call.contains(" blog_") {
            return None;
        }
        if service_of(call).is_some() && left.crashes > 0 && rng.f64() < 0.04 {
            left.crashes -= 1;
            return Some(Fault::Crash);
        }
        if left.blind_to.as_deref() == Some(call) {
            return Some(Fault::NoEffect);
        }
        if rng.f64() >= self.rate {
            return None;
        }
        let whole = service_of(call).is_none();
        match rng.u8(..8) {
            0 | 1 => Some(Fault::Slow(Duration::from_millis(rng.u64(50..5000)))),
            2 if call != "list" => Some(Fault::Hangs(Duration::from_secs(rng.u64(20..40)))),
            3 | 4 => Some(Fault::Lost),
            5 => Some(Fault::AnswerLost),
            6 if !whole && left.refused.insert(service_of(call).unwrap_or_default().to_owned()) => Some(Fault::Refused),
            7 if !whole => {
                if !call.starts_with("observe") {
                    left.blind_to.get_or_insert_with(|| call.to_owned());
                }
                Some(Fault::NoEffect)
            }
            _ => None,
        }
    }

    /// What a call meets before it reaches the engine, and whether it does.
    async fn before(&self, call: &str) -> Result<Option<Fault>, EngineError> {
        let fault = self.fault(call);
        match fault {
            Some(Fault::Slow(time)) => {
                self.judge.met("slow");
                tokio::time::sleep(time).await; // The fault is that it takes so long.
            }
            Some(Fault::Hangs(time)) => {
                self.judge.met("hangs");
                tokio::time::sleep(time).await; // The fault is that it takes so long.
            }
            Some(Fault::Lost) => {
                self.judge.met(if call == "list" { "list fails" } else { "lost" });
                return Err(EngineError::Unavailable("the call was lost".to_owned()));
            }
            Some(Fault::Refused) => {
                self.judge.met("refused");
                let message = "refused for no good reason".to_owned();
                return Err(EngineError::Rejected { message, name_taken: false });
            }
            _ => {}
        }
        Ok(fault)
    }

    /// A list of everything or of one service: nobody knows more than what it says, however long that takes.
    async fn listing<T>(&self, list: impl Future<Output = Result<T, EngineError>>) -> Result<T, EngineError> {
        let begun = Instant::now();
        let fault = self.before("list").await.inspect_err(|_| self.judge.disturbed(Duration::from_secs(5)))?;
        let listing = list.await;
        self.judge.disturbed(begun.elapsed());
        match fault {
            Some(Fault::AnswerLost) => self.judge.disturbed(Duration::from_secs(5)),
            Some(Fault::Crash) => return listing,
            _ => {}
        }
        self.after(fault).await.and(listing)
    }

    async fn after(&self, fault: Option<Fault>) -> Result<(), EngineError> {
        match fault {
            Some(Fault::AnswerLost) => {
                self.judge.met("answer lost");
                Err(EngineError::Unavailable("the answer was lost".to_owned()))
            }
            Some(Fault::Crash) => {
                self.judge.met("crash at a call");
                self.crash.notify_one();
                std::future::pending().await
            }
            _ => Ok(()),
        }
    }
}

impl Engine for BadLine {
    fn describe(&self) -> String {
        self.sim.describe()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        let (lost, judge) = (self.events_lost, Arc::clone(&self.judge));
        let mut rng = fastrand::Rng::with_seed(self.seed);
        let heard = move |event: &Option<Key>| {
            let its = matches!(event, Some(Key::Service(name)) if !format!("{}-{}-", name.project, name.name).contains(BYSTANDER));
            let lost = its && rng.f64() < lost;
            if lost {
                judge.met("event lost");
            }
            std::future::ready(!lost)
        };
        self.sim.watch().filter(heard).boxed()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        async move { self.listing(async { self.sim.list(compose).await }).await }.boxed()
    }

    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        async move { self.listing(async { self.sim.list_service(service, compose).await }).await }.boxed()
    }

    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        async move { self.listing(async { self.sim.list_objects().await }).await }.boxed()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        async move {
            let name = scope.services.iter().flatten().next().cloned().unwrap_or_else(|| ServiceName::new("", ""));
            let call = format!("observe {}-{}-0", name.project, name.name);
            let fault = self.before(&call).await?;
            let mut seen = self.sim.observe(scope, listing).await;
            if let (Some(Fault::NoEffect | Fault::AnswerLost), Ok(seen)) = (fault, &mut seen)
                && let Some(first) = seen.replicas.get_mut(&name).and_then(Vec::pop)
            {
                self.judge.met("not inspected");
                seen.unknown.insert(name, format!("the container {} cannot be inspected: no answer", first.name));
                return Ok(std::mem::take(seen));
            }
            self.after(fault.filter(|fault| *fault == Fault::Crash)).await.and(seen)
        }
        .boxed()
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            let call = verb.to_string();
            self.judge.called(&call);
            let fault = self.before(&call).await?;
            if fault == Some(Fault::NoEffect) {
                self.judge.met("no effect");
                return Ok(());
            }
            self.judge.before(verb, &self.sim);
            let done = self.sim.apply(verb, context).await;
            let uncertain = matches!(fault, Some(Fault::AnswerLost | Fault::Crash));
            self.judge.after(&call, &done, uncertain);
            self.after(fault).await.and(done)
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
