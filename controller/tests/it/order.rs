//! Several services that change at once: in which order, how many at a time, and what people outside are told.

mod failing;
mod held;
mod ports;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::controller::Controller;
use composed::state::StateDir;
use composed_core::engine::Engine;
use composed_core::model::ServiceName;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Fault, Sim};
use composed_source::files::Reading;
use composed_status::notifications::{Failure, Message, NotificationTarget, Notifier, Send};
use composed_status::store::StatusStore;
use composed_traffic::TrafficMonitor;
use crd_schema::ImageRef;
use crd_schema::settings::NotifySettings;
use crd_schema::status::{RevisionOutcome, ServiceStatus};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, watch};

use crate::undo::engine;

/// A document each: name, image, and more keys.
fn reading(services: &[(&str, &str, &str)]) -> Reading {
    let files = services.iter().map(|(name, image, more)| {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: {image}\n{more}"
        );
        (format!("{name}.yaml"), Ok(text.into_bytes().into()))
    });
    Reading { files: files.collect(), ..Reading::default() }
}

struct Running {
    statuses: Arc<StatusStore>,
    readings: mpsc::Sender<Reading>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn on(sim: &Arc<Sim>, clock: Clock, state: StateDir, limit: Option<u32>, notifier: Option<Arc<Notifier>>) -> Self {
        let statuses = Arc::new(StatusStore::default());
        let controller = Controller {
            engine: Arc::clone(sim) as Arc<dyn Engine>,
            monitor: Arc::clone(sim) as Arc<dyn TrafficMonitor>,
            clock,
            state,
            statuses: Arc::clone(&statuses),
            images: None,
            notifier,
            max_rollouts: limit,
            confirm_deletion: false,
        };
        let (readings, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(controller.run(received, stopped));
        Self { statuses, readings, stop, task }
    }

    async fn wants(&self, services: &[(&str, &str, &str)]) {
        self.readings.send(reading(services)).await.unwrap();
    }

    async fn until(&self, name: &str, done: impl Fn(&ServiceStatus) -> bool) -> Arc<ServiceStatus> {
        let name = ServiceName::new("shop", name);
        let mut version = self.statuses.version();
        let wait = tokio::time::timeout(Duration::from_mins(20), async {
            loop {
                if let Some(status) = self.statuses.status(&name).filter(|status| done(status)) {
                    return status;
                }
                version.changed().await.unwrap();
            }
        });
        wait.await.unwrap_or_else(|_| panic!("{:#?}", self.statuses.status(&name)))
    }

    async fn all_converged(&self, services: &[(&str, &str, &str)]) {
        for (name, image, _) in services {
            let there = |status: &ServiceStatus| {
                status.history.first().is_some_and(|record| record.image == *image)
                    && convergence(status) == Convergence::Converged
            };
            self.until(name, there).await;
        }
    }

    async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// Where the first call that says this is among those since `from`.
fn place(sim: &Arc<Sim>, from: usize, what: &str) -> usize {
    let log = sim.with(|world, _| world.log.clone());
    let found = log.iter().skip(from).position(|line| line.contains(what));
    found.unwrap_or_else(|| panic!("{what}: {log:#?}"))
}

fn so_far(sim: &Arc<Sim>) -> usize {
    sim.with(|world, _| world.log.len())
}

const ON_DB: &str = "  depends_on: [db]\n";
const ON_API: &str = "  depends_on: {api: {condition: service_healthy}}\n";

#[tokio::test(start_paused = true)]
async fn a_dependant_rolls_after_what_it_depends_on_and_others_beside_them() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    let of = |version: &str| {
        [("db", "db"), ("api", "api"), ("web", "web"), ("other", "other")].map(|(name, image)| {
            let more = match name {
                "api" => ON_DB,
                "web" => ON_API,
                _ => "",
            };
            (name, format!("{image}:{version}"), more)
        })
    };
    let (one, two) = (of("1"), of("2"));
    let one: Vec<_> = one.iter().map(|(name, image, more)| (*name, image.as_str(), *more)).collect();
    let two: Vec<_> = two.iter().map(|(name, image, more)| (*name, image.as_str(), *more)).collect();
    running.wants(&one).await;
    running.all_converged(&one).await;
    let from = so_far(&sim);
    running.wants(&two).await;
    let waits = running.until("web", |status| !status.waiting.is_empty()).await;
    assert!(waits.waiting.iter().any(|wait| wait.on == "api: its change is not rolled out yet"), "{waits:#?}");
    // An old one that dies meanwhile is healed.
    sim.with(|world, now| {
        let id = world.containers.named("shop-web-1").unwrap().replica.id.clone();
        world.kill(&id, 137, now);
    });
    running.all_converged(&two).await;
    let at = |what: &str| place(&sim, from, what);
    let order = ["start shop-db-2", "create shop-api-2", "start shop-api-2"].map(at);
    assert!(order.is_sorted(), "{:#?}", sim.with(|world, _| world.log.clone()));
    let web = running.statuses.status(&ServiceName::new("shop", "web")).unwrap().revision.clone();
    assert!(at("start shop-api-2") < at(&format!("(revision {web})")), "{:#?}", sim.with(|world, _| world.log.clone()));
    assert!(at("create shop-other-2") < at("create shop-api-2"), "others go beside them");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_fails_holds_its_dependants_and_they_go_on() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    let one = [("db", "db:1", ""), ("web", "web:1", ON_DB)];
    running.wants(&one).await;
    running.all_converged(&one).await;
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("db:2"), broken));
    running.wants(&[("db", "db:2", ""), ("web", "web:2", ON_DB)]).await;
    running.until("db", |status| convergence(status) == Convergence::Failed).await;
    let says = |status: &ServiceStatus| status.waiting.iter().any(|wait| wait.on == "db: its change has failed");
    let status = running.until("web", says).await;
    tokio::time::sleep(Duration::from_mins(30)).await;
    assert_eq!(status.available, 1);
    assert!(sim.with(|world, _| world.containers.named("shop-web-2").is_none()));
    // The next version of it lets both go on.
    let three = [("db", "db:3", ""), ("web", "web:2", ON_DB)];
    running.wants(&three).await;
    running.all_converged(&three).await;
    running.end().await;
}

/// What cannot be started while a rollout waits says nothing against the revision that waits.
#[tokio::test(start_paused = true)]
async fn a_refused_start_of_an_old_one_is_not_the_new_revisions() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    let one = [("db", "db:1", ""), ("web", "web:1", ON_DB)];
    running.wants(&one).await;
    running.all_converged(&one).await;
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("db:2"), broken));
    running.wants(&[("db", "db:2", ""), ("web", "web:2", ON_DB)]).await;
    running.until("web", |status| status.waiting.iter().any(|wait| wait.on == "db: its change has failed")).await;
    // An old one dies, and those that are made in its place cannot be started.
    let refuse = |call: &str| call.starts_with("start shop-web").then_some(Fault::Refused);
    sim.break_with(Some(Box::new(refuse)));
    sim.with(|world, now| {
        let id = world.containers.named("shop-web-1").unwrap().replica.id.clone();
        world.kill(&id, 137, now);
    });
    tokio::time::sleep(Duration::from_mins(15)).await;
    let status = running.statuses.status(&ServiceName::new("shop", "web")).unwrap();
    let outcomes: Vec<_> = status.history.iter().map(|record| (record.image.as_str(), record.outcome)).collect();
    let open = [("web:2", RevisionOutcome::Pending), ("web:1", RevisionOutcome::Available)];
    assert_eq!(outcomes, open, "{status:#?}");
    sim.break_with(None);
    let three = [("db", "db:3", ""), ("web", "web:2", ON_DB)];
    running.wants(&three).await;
    running.all_converged(&three).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn so_many_roll_out_at_once_also_after_a_restart() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone(), None, None);
    let names = ["a", "b", "c", "d", "e"];
    let of = |version: &str| names.map(|name| (name, format!("{name}:{version}")));
    let (one, two) = (of("1"), of("2"));
    let one: Vec<_> = one.iter().map(|(name, image)| (*name, image.as_str(), "")).collect();
    let two: Vec<_> = two.iter().map(|(name, image)| (*name, image.as_str(), "")).collect();
    running.wants(&one).await;
    running.all_converged(&one).await;
    running.end().await;
    let rolling = || {
        let new = |name: &&&str| {
            // Available 10 s after its start.
            sim.with(|world, now| {
                let mut new = world.containers.values().filter(|one| one.spec.image.as_str() == format!("{name}:2"));
                new.any(|one| one.replica.started_at.is_none_or(|at| now < at + Duration::from_secs(10)))
            })
        };
        names.iter().filter(new).count()
    };
    let mut running = Running::on(&sim, clock, state.clone(), Some(2), None);
    running.wants(&two).await;
    let (mut most, mut restarted) = (0, false);
    loop {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = rolling();
        most = most.max(now);
        assert!(now <= 2, "{now} at once");
        if now == 2 && !restarted {
            restarted = true;
            running.end().await;
            running = Running::on(&sim, clock, state.clone(), Some(2), None);
            running.wants(&two).await;
        }
        let status = |name: &str| running.statuses.status(&ServiceName::new("shop", name));
        if names.iter().all(|name| status(name).is_some_and(|status| convergence(&status) == Convergence::Converged)) {
            break;
        }
    }
    assert_eq!(most, 2, "two at once are allowed");
    running.all_converged(&two).await;
    running.end().await;
}

/// Each takes 2 min and has 3 min: the third waits for 4.
#[tokio::test(start_paused = true)]
async fn waiting_for_a_turn_does_not_count_against_the_progress_deadline() {
    const SLOW: &str = "  rollout: {min_ready: 2m, progress_deadline: 3m}\n";
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone(), None, None);
    let one = [("a", "a:1", SLOW), ("b", "b:1", SLOW), ("c", "c:1", SLOW)];
    running.wants(&one).await;
    running.all_converged(&one).await;
    running.end().await;
    let running = Running::on(&sim, clock, state, Some(1), None);
    let two = [("a", "a:2", SLOW), ("b", "b:2", SLOW), ("c", "c:2", SLOW)];
    running.wants(&two).await;
    running.all_converged(&two).await;
    running.end().await;
}

const IN_VPN: &str = "  network_mode: service:vpn\n";

#[tokio::test(start_paused = true)]
async fn who_shares_a_network_moves_before_its_own_turn() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), Some(1), None);
    let one = [("app", "app:1", IN_VPN), ("vpn", "vpn:1", "")];
    running.wants(&one).await;
    running.all_converged(&one).await;
    let two = [("app", "app:2", IN_VPN), ("vpn", "vpn:2", "")];
    running.wants(&two).await;
    running.all_converged(&two).await;
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("db:1"), broken));
    let after_db = format!("{IN_VPN}  depends_on: {{db: {{condition: service_healthy}}}}\n");
    let three = [("app", "app:3", after_db.as_str()), ("db", "db:1", ""), ("vpn", "vpn:3", "")];
    running.wants(&three).await;
    running.until("vpn", |status| status.history[0].image == "vpn:3").await;
    let app = || running.statuses.status(&ServiceName::new("shop", "app")).unwrap();
    while running
        .statuses
        .status(&ServiceName::new("shop", "vpn"))
        .is_none_or(|one| convergence(&one) != Convergence::Converged)
    {
        assert!(app().available > 0, "{:#?}", app());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let images: Vec<_> = sim.with(|world, _| world.containers.values().map(|one| one.spec.image.clone()).collect());
    assert!(images.contains(&ImageRef::new("app:2")) && !images.contains(&ImageRef::new("app:3")), "{images:?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_network_is_healed_while_its_host_is_held() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    let one = [("app", "app:1", IN_VPN), ("vpn", "vpn:1", "")];
    running.wants(&one).await;
    running.all_converged(&one).await;
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("db:1"), broken));
    let after_db = "  depends_on: {db: {condition: service_healthy}}\n";
    running.wants(&[("app", "app:1", IN_VPN), ("db", "db:1", ""), ("vpn", "vpn:2", after_db)]).await;
    running.until("vpn", |status| status.waiting.iter().any(|wait| wait.on.starts_with("db: "))).await;
    running.until("db", |status| convergence(status) == Convergence::Failed).await;
    let status = running.until("app", |status| status.available == 1).await;
    let dead = status.instances[0].id.clone();
    sim.with(|world, now| world.kill(&dead, 137, now));
    let healed = |status: &ServiceStatus| status.available == 1 && status.instances.iter().all(|one| one.id != dead);
    running.until("app", healed).await;
    running.end().await;
}

/// Notes what is sent.
#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl Send for Ear {
    fn send<'a>(&'a self, _: &'a NotificationTarget, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>> {
        let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
        let word = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        self.0.lock().unwrap().push(format!("{} {} {}", word("event"), word("service"), word("image")));
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test(start_paused = true)]
async fn each_outcome_is_told_once_also_over_restarts() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let settings = NotifySettings { url: Some("http://127.0.0.1:1/".to_owned()), ..NotifySettings::default() };
    let ear = Arc::new(Ear::default());
    let begin = || {
        let target = NotificationTarget::of(&settings, std::path::Path::new("")).unwrap();
        let (statuses, file) = (Arc::default(), state.room("notify.json"));
        let sender = Arc::clone(&ear) as Arc<dyn Send>;
        let notifier = Notifier::new(vec![target], "host".to_owned(), sender, statuses, clock, file);
        let tells = tokio::spawn(Arc::clone(&notifier).run());
        (Running::on(&sim, clock, state.clone(), None, Some(notifier)), tells)
    };
    let (running, tells) = begin();
    let post = "  hooks: {post_deploy: {command: [/app, smoke]}}\n";
    let one = [("web", "web:1", post)];
    running.wants(&one).await;
    running.all_converged(&one).await;
    let broken = Behaviour { exits_after: Some(Duration::from_millis(100)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), broken));
    running.wants(&[("web", "web:2", post)]).await;
    running.until("web", |status| convergence(status) == Convergence::Failed && status.waiting.is_empty()).await;
    let silent = Behaviour { hook: (Duration::from_secs(1), 3), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:3"), silent));
    let three = [("web", "web:3", post)];
    running.wants(&three).await;
    running.all_converged(&three).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    let told = ["deployed web web:1", "failed web web:2", "deployed web web:3", "hook_failed web web:3"];
    assert_eq!(*ear.0.lock().unwrap(), told);
    // Scaling is no rollout, and a restart no news; nor is it when all memory of it is lost.
    let scaled = format!("{post}  replicas: 2\n");
    running.wants(&[("web", "web:3", &scaled)]).await;
    running.until("web", |status| status.available == 2).await;
    running.end().await;
    for lost in [false, true] {
        tells.abort();
        if lost {
            std::fs::remove_dir_all(dir.path().join("services")).unwrap();
            std::fs::remove_file(dir.path().join("notify.json")).unwrap();
        }
        let (running, _tells) = begin();
        running.wants(&[("web", "web:3", &scaled)]).await;
        running.all_converged(&three).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        running.end().await;
    }
    assert_eq!(*ear.0.lock().unwrap(), told);
    // One that the engine refuses is told of, too.
    let (running, _tells) = begin();
    sim.break_with(Some(Box::new(|call| call.starts_with("start shop-web-post-deploy").then_some(Fault::Refused))));
    let four = [("web", "web:4", scaled.as_str())];
    running.wants(&four).await;
    running.all_converged(&four).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    running.end().await;
    let more = ["deployed web web:4", "hook_failed web web:4"];
    assert_eq!(*ear.0.lock().unwrap(), [told.as_slice(), &more].concat());
}
