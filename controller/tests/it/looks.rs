//! What is true is newer than a look that began before it: a service that is gone stays gone, and an image that a look was
//! not asked for is not missing. On the simulated engine, its time stopped.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::state::StateDir;
use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_simulator::{Behaviour, Fault, Sim};
use composed_source::files::Source;
use crd_schema::ImageRef;
use crd_schema::status::ConditionType;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;

use crate::pause::pause;
use crate::undo::{Running, engine};

#[tokio::test(start_paused = true)]
async fn a_service_that_left_a_compose_file_leaves_the_status_for_good() {
    let (sim, clock) = engine();
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = Running::on(&sim, clock, StateDir::open(kept.path()).unwrap());
    let compose = |services: &str| {
        std::fs::write(dir.path().join("compose.yaml"), format!("name: shop\nservices:\n{services}")).unwrap();
        Source::from(dir.path()).read()
    };
    let web = "  web: {image: \"web:1\", restart: unless-stopped}\n";
    let db = "  db: {image: \"db:1\", restart: unless-stopped}\n";
    let name = ServiceName::new("shop", "db");
    for _ in 0..3 {
        running.readings.send(compose(&format!("{web}{db}"))).await.unwrap();
        running.converged("web:1").await;
        let there = |statuses: &composed_status::store::StatusStore| {
            statuses.status(&name).is_some_and(|status| status.available == 1)
        };
        until(&running, there).await;

        running.readings.send(compose(web)).await.unwrap();
        until(&running, |statuses| statuses.status(&name).is_none()).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let status = running.statuses.status(&name);
            assert!(status.is_none(), "{status:#?}");
        }
        assert!(StateDir::existing(kept.path()).load_status(&name).is_none(), "nor is it kept");
    }
    running.end().await;
}

/// moby: "removal of container x is already in progress", for ever; a stop that ends with a server error.
#[tokio::test(start_paused = true)]
async fn a_container_that_the_engine_cannot_remove_holds_nobody_up() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    sim.break_with(Some(Box::new(|call: &str| call.starts_with("remove ").then_some(Fault::Failed))));
    let ids = sim.with(|world, _| world.containers.values().map(|one| one.replica.id.clone()).collect::<Vec<_>>());
    for id in ids.iter().take(2) {
        sim.with(|world, now| world.kill(id, 1, now));
    }
    running.until(|status| status.available < 2).await;
    let status = running.until(|status| status.available == 2).await;
    assert!(status.instances.len() > 2, "what cannot be removed is still there: {status:#?}");
    sim.break_with(None);
    running.until(|status| status.instances.len() == 2).await;
    running.end().await;
}

async fn until(running: &Running, done: impl Fn(&composed_status::store::StatusStore) -> bool) {
    let mut version = running.statuses.version();
    let wait = async {
        while !done(&running.statuses) {
            version.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.expect("in time");
}

/// The simulated engine, whose answer to one look comes late: what it says was true when it was asked. If it is to be blind,
/// it makes no volume, and says that it has.
struct Late {
    sim: Arc<Sim>,
    /// A container of this service does not answer.
    hangs: Mutex<Option<ServiceName>>,
    blind: AtomicUsize,
    hold: AtomicBool,
    arrived: Notify,
    release: Notify,
}

impl Late {
    fn new(sim: &Arc<Sim>) -> Self {
        let (hold, arrived, release) = (AtomicBool::new(false), Notify::new(), Notify::new());
        Self { sim: Arc::clone(sim), hangs: Mutex::default(), blind: AtomicUsize::new(0), hold, arrived, release }
    }
}

impl Engine for Late {
    fn describe(&self) -> String {
        self.sim.describe()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.sim.watch()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.sim.list(compose)
    }

    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        self.sim.list_service(service, compose)
    }

    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        self.sim.list_objects()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        Box::pin(async move {
            let mut seen = self.sim.observe(scope, listing).await;
            if let (Ok(seen), Some(name)) = (&mut seen, &*self.hangs.lock().unwrap())
                && seen.replicas.remove(name).is_some()
            {
                seen.unknown.insert(name.clone(), "the container shop-db-1 cannot be inspected: no answer".to_owned());
            }
            if self.hold.swap(false, Ordering::SeqCst) {
                self.arrived.notify_one();
                self.release.notified().await;
            }
            seen
        })
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        if matches!(verb, Verb::CreateVolume { .. }) && self.blind.load(Ordering::SeqCst) > 0 {
            self.blind.fetch_add(1, Ordering::SeqCst);
            return Box::pin(std::future::ready(Ok(())));
        }
        self.sim.apply(verb, context)
    }

    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        self.sim.claim()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.sim.release()
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_that_began_before_a_service_went_brings_nothing_of_it_back() {
    let (sim, clock) = engine();
    let late = Arc::new(Late::new(&sim));
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let engine = Arc::clone(&late) as Arc<dyn Engine>;
    let running = Running::behind(engine, &sim, clock, StateDir::open(kept.path()).unwrap());
    let compose = |services: &str| {
        std::fs::write(dir.path().join("compose.yaml"), format!("name: shop\nservices:\n{services}")).unwrap();
        Source::from(dir.path()).read()
    };
    let name = ServiceName::new("shop", "db");
    let (one, other) = ("  web: {image: \"web:1\"}\n", "  db: {image: \"db:1\"}\n");
    running.readings.send(compose(&format!("{one}{other}"))).await.unwrap();
    running.converged("web:1").await;
    until(&running, |statuses| statuses.status(&name).is_some_and(|status| status.available == 1)).await;

    // A look for the other service alone, which sees this one, too.
    late.hold.store(true, Ordering::SeqCst);
    pause(&running, true).await.unwrap();
    late.arrived.notified().await;
    running.readings.send(compose(one)).await.unwrap();
    until(&running, |statuses| statuses.status(&name).is_none()).await;
    late.release.notify_one();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(15)).await;
        let status = running.statuses.status(&name);
        assert!(status.is_none(), "{status:#?}");
    }
    running.end().await;
}

/// `docker tag` and a changed file in one moment: the look that was under way knows nothing of the image, which says nothing
/// of the image.
#[tokio::test(start_paused = true)]
async fn an_image_that_a_look_was_not_asked_for_is_not_fetched() {
    let (sim, clock) = engine();
    let late = Arc::new(Late::new(&sim));
    let running = Running::behind(Arc::clone(&late) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), Behaviour::default()));
    late.hold.store(true, Ordering::SeqCst);
    running.wants("web:1", "  environment: {A: '1'}\n").await;
    late.arrived.notified().await;
    running.wants("web:2", "").await;
    // The loop has read it before the answer comes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    late.release.notify_one();
    running.converged("web:2").await;
    let pulled: Vec<_> = running.statuses.events().into_iter().filter(|event| event.action.contains("web:2")).collect();
    assert!(pulled.iter().all(|event| !event.action.starts_with("pull")), "{pulled:#?}");
    running.end().await;
}

/// An engine that says yes and does something else was asked 944 times in a minute.
#[tokio::test(start_paused = true)]
async fn what_succeeds_and_is_not_seen_is_repeated_ever_more_slowly_and_told() {
    let (sim, clock) = engine();
    let late = Arc::new(Late::new(&sim));
    late.blind.store(1, Ordering::SeqCst);
    let running = Running::behind(Arc::clone(&late) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let dir = tempfile::tempdir().unwrap();
    let text = "name: shop\nservices:\n  web: {image: \"web:1\", volumes: [\"data:/data\"]}\nvolumes: {data: {}}\n";
    std::fs::write(dir.path().join("compose.yaml"), text).unwrap();
    running.readings.send(Source::from(dir.path()).read()).await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Whatever wakes it.
        running.readings.send(Source::from(dir.path()).read()).await.unwrap();
    }
    let calls = late.blind.load(Ordering::SeqCst) - 1;
    assert!((4..=10).contains(&calls), "{calls} in a minute");
    let told = running.until(|status| format!("{status:?}").contains("does not show")).await;
    assert!(format!("{told:?}").contains("shop_data"), "{told:#?}");
    late.blind.store(0, Ordering::SeqCst);
    running.converged("web:1").await;
    running.end().await;
}

/// A hanging inspect is an old fault of engines: it costs its own service, which is told, and nothing is made in its place.
#[tokio::test(start_paused = true)]
async fn a_container_that_does_not_answer_holds_up_its_own_service_alone() {
    let (sim, clock) = engine();
    let late = Arc::new(Late::new(&sim));
    let dir = tempfile::tempdir().unwrap();
    let running = Running::behind(Arc::clone(&late) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let compose = |web: &str, db: &str| {
        let text = format!("name: shop\nservices:\n  web: {{image: \"{web}\"}}\n  db: {{image: \"{db}\"}}\n");
        std::fs::write(dir.path().join("compose.yaml"), text).unwrap();
        Source::from(dir.path()).read()
    };
    let db = ServiceName::new("shop", "db");
    running.readings.send(compose("web:1", "db:1")).await.unwrap();
    running.converged("web:1").await;
    until(&running, |statuses| statuses.status(&db).is_some_and(|status| status.available == 1)).await;
    let before = running.statuses.status(&db).unwrap();
    *late.hangs.lock().unwrap() = Some(db.clone());

    running.readings.send(compose("web:2", "db:2")).await.unwrap();
    running.converged("web:2").await;
    let is_told = |statuses: &composed_status::store::StatusStore| {
        let condition = statuses.status(&db).and_then(|status| status.condition(ConditionType::Unknown).cloned());
        condition
            .is_some_and(|condition| condition.message.contains("shop-db-1") && condition.message.contains("shop/db"))
    };
    until(&running, is_told).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    let held = running.statuses.status(&db).unwrap();
    assert_eq!(held.instances, before.instances, "nothing is begun");
    assert!(running.statuses.health().blocked.is_none(), "nor is the engine away");

    *late.hangs.lock().unwrap() = None;
    let rolled = |statuses: &composed_status::store::StatusStore| {
        let status = statuses.status(&db).unwrap();
        status.available == 1 && status.history.first().is_some_and(|record| record.image == "db:2")
    };
    until(&running, rolled).await;
    assert!(running.statuses.status(&db).unwrap().condition(ConditionType::Unknown).is_none());
    running.end().await;
}
