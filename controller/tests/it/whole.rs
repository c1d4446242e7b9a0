//! The whole controller on the simulated engine, its time stopped: what the verbs build upon.

use std::sync::Arc;
use std::time::Duration;

use composed::cli::plan::{Intent, intents};
use composed::cli::progress::{Convergence, convergence};
use composed::cli::session::{Session, images, simulated};
use composed::controller::Controller;
use composed::state::StateDir;
use composed_core::model::ServiceName;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Sim, World};
use composed_source::catalog::Catalog;
use composed_source::files::{Content, Reading};
use composed_status::store::StatusStore;
use crd_schema::NetworkName;
use crd_schema::status::ConditionType;
use tokio::sync::{mpsc, watch};

use crate::pause::pause;
use crate::undo::Running;

fn document(name: &str, more: &str) -> (String, Content) {
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: {name}:1\n{more}"
    );
    (format!("{name}.yaml"), Ok(text.into_bytes().into()))
}

fn reading(files: &[(&str, &str)]) -> Reading {
    Reading { files: files.iter().map(|(name, more)| document(name, more)).collect(), ..Reading::default() }
}

/// An engine that has every image.
fn engine() -> (Arc<Sim>, Clock) {
    let clock = Clock::system();
    let mut world = World::default();
    world.anything = Some(Behaviour::default());
    (simulated(world, clock), clock)
}

/// A controller that was given one reading, until `done` says so or 10 minutes have passed.
async fn run(sim: &Arc<Sim>, clock: Clock, reading: Reading, done: impl Fn(&StatusStore) -> bool) -> Arc<StatusStore> {
    let statuses = Arc::new(StatusStore::default());
    let controller = Controller {
        engine: Arc::clone(sim) as Arc<dyn composed_core::engine::Engine>,
        monitor: Arc::clone(sim) as Arc<dyn composed_traffic::TrafficMonitor>,
        clock,
        state: StateDir::default(),
        statuses: Arc::clone(&statuses),
        images: None,
        notifier: None,
        max_rollouts: None,
        confirm_deletion: false,
    };
    let (readings, received) = mpsc::channel(1);
    let (stop, stopped) = watch::channel(false);
    readings.send(reading).await.unwrap();
    let controller = tokio::spawn(controller.run(received, stopped));
    let mut version = statuses.version();
    let ended = tokio::time::timeout(Duration::from_mins(10), async {
        // After every change, so that no moment is missed.
        while !done(&statuses) {
            version.changed().await.unwrap();
        }
    });
    let ended = ended.await;
    stop.send_replace(true);
    controller.await.unwrap();
    assert!(ended.is_ok(), "{:#?}\n{:#?}", statuses.all(), statuses.events());
    statuses
}

fn converged(statuses: &StatusStore, name: &str) -> bool {
    statuses
        .status(&ServiceName::new("shop", name))
        .is_some_and(|status| convergence(&status) == Convergence::Converged)
}

#[tokio::test(start_paused = true)]
async fn a_dependency_outside_the_applied_file_counts_by_what_is_seen() {
    let (sim, clock) = engine();
    run(&sim, clock, reading(&[("db", "")]), |statuses| converged(statuses, "db")).await;
    for condition in ["service_started", "service_healthy"] {
        let web = format!("  depends_on: {{db: {{condition: {condition}}}}}\n  labels: {{c: {condition}}}\n");
        let one = Reading { single: true, ..reading(&[("web", &web)]) };
        run(&sim, clock, one, |statuses| converged(statuses, "web")).await;
    }
    let web = "  depends_on: {db: {condition: service_healthy}}\n";
    let single = Reading { single: true, ..reading(&[("web", web)]) };
    let all = plan(&sim, clock, &single).await;
    assert_eq!(all.iter().map(|intent| intent.name.as_str()).collect::<Vec<_>>(), ["shop/web"]);
    assert!(all[0].waiting.iter().all(|waiting| !waiting.contains("db")), "{all:?}");
}

/// The controller before this one ended between the last replica's end and the network's.
#[tokio::test(start_paused = true)]
async fn a_network_that_was_left_goes_at_the_next_start() {
    let (sim, clock) = engine();
    let left = |name: &str, project: Option<&str>| {
        sim.with(|world, _| world.networks.insert(NetworkName::new(name), project.map(str::to_owned)));
    };
    left("old_default", Some("old"));
    left("theirs", None);
    let names = || sim.with(|world, _| world.networks.keys().cloned().collect::<Vec<_>>());
    // A file alone says nothing of other projects.
    let one = Reading { single: true, ..reading(&[("a", "")]) };
    run(&sim, clock, one, |statuses| converged(statuses, "a") && statuses.health().settled).await;
    assert_eq!(names(), ["old_default", "shop_default", "theirs"]);
    run(&sim, clock, reading(&[("a", "")]), |statuses| converged(statuses, "a") && statuses.health().settled).await;
    assert_eq!(names(), ["shop_default", "theirs"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_for_another_host_is_told_and_not_made() {
    use composed_source::host::HostName;
    let (sim, clock) = engine();
    let mut both = reading(&[("a", ""), ("b", "")]);
    let (_, text) = &mut both.files[1];
    *text = Ok(str::from_utf8(text.as_deref().unwrap())
        .unwrap()
        .replace("name:", "hosts: [db-*], name:")
        .into_bytes()
        .into());
    let here = |name: &str| Reading { host_name: HostName::Is(name.to_owned()), ..both.clone() };
    let all = plan(&sim, clock, &here("web-1")).await;
    let b = all.iter().find(|intent| intent.name == "shop/b").unwrap();
    assert_eq!((b.strategy.as_str(), b.actions.len()), ("is for db-*, and this host is web-1", 0));
    run(&sim, clock, here("db-1"), |statuses| converged(statuses, "a") && converged(statuses, "b")).await;
    let all = plan(&sim, clock, &here("web-1")).await;
    let b = all.iter().find(|intent| intent.name == "shop/b").unwrap();
    assert!(b.strategy.starts_with("removed: it is for db-*") && !b.actions.is_empty(), "{b:?}");
}

#[tokio::test(start_paused = true)]
async fn it_is_settled_when_what_was_found_is_gone_and_its_network_too() {
    let (sim, clock) = engine();
    let both = reading(&[("a", ""), ("b", "")]);
    run(&sim, clock, both.clone(), |statuses| converged(statuses, "a") && converged(statuses, "b")).await;
    let other =
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: other, name: c}\nspec:\n  image: c:1\n";
    let mut more = both.clone();
    more.files.push(("c.yaml".to_owned(), Ok(other.as_bytes().to_vec().into())));
    let is_there = |statuses: &StatusStore| {
        statuses.all().len() == 3 && statuses.all().iter().all(|s| convergence(s) == Convergence::Converged)
    };
    run(&sim, clock, more, is_there).await;
    // What `apply` takes for the end.
    let ended = |statuses: &StatusStore| {
        let health = statuses.health();
        health.ready && health.settled && statuses.all().iter().all(|status| convergence(status) != Convergence::Moving)
    };
    let statuses =
        run(&sim, clock, both, |statuses| ended(statuses) && converged(statuses, "a") && converged(statuses, "b"))
            .await;
    assert!(statuses.status(&ServiceName::new("other", "c")).is_none());
    sim.with(|world, _| {
        assert_eq!(world.containers.services().filter(|name| name.project == "other").count(), 0);
        assert_eq!(world.networks.keys().collect::<Vec<_>>(), ["shop_default"]);
    });
}

fn session(sim: &Arc<Sim>, clock: Clock, state: StateDir) -> Session {
    let statuses = Arc::default();
    Session {
        images: images(&statuses, clock, &state),
        engine: Arc::clone(sim) as Arc<dyn composed_core::engine::Engine>,
        monitor: Arc::clone(sim) as Arc<dyn composed_traffic::TrafficMonitor>,
        clock,
        state,
        statuses,
        view: None,
    }
}

async fn plan(sim: &Arc<Sim>, clock: Clock, reading: &Reading) -> Vec<Intent> {
    let session = session(sim, clock, StateDir::default());
    let catalog = Catalog::new(reading, &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    intents(&session, &catalog, reading.single).await.unwrap()
}

/// `plan` says what `run` does of a service that was paused by hand and whose document is gone.
#[tokio::test(start_paused = true)]
async fn a_plan_leaves_what_was_paused_by_hand_as_the_controller_does() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    pause(&running, true).await.unwrap();
    running.until(|status| status.condition(ConditionType::Paused).is_some()).await;
    running.end().await;

    // A confirmed deletion does not end a pause.
    let catalog = Catalog::new(&reading(&[("db", "")]), &Catalog::empty(true));
    let all = intents(&session(&sim, clock, state), &catalog, false).await.unwrap();
    let intent = all.iter().find(|intent| intent.name == "shop/web").expect("it has containers");
    assert!(intent.actions.is_empty(), "{intent:?}");
    assert_eq!(intent.strategy, "left as it is");
}

#[tokio::test(start_paused = true)]
async fn a_plan_waits_for_dependencies_as_the_controller_does() {
    let (sim, clock) = engine();
    let files = reading(&[("api", "  depends_on: [db]\n"), ("db", ""), ("web", "  depends_on: [api, db]\n")]);
    let find = |all: &[Intent], name: &str| {
        let intent = all.iter().find(|intent| intent.name == format!("shop/{name}")).unwrap();
        (intent.actions.len(), intent.waiting.join("; "))
    };
    let before = plan(&sim, clock, &files).await;
    for (name, on) in [("api", "db: it is not started"), ("web", "api: it is not started")] {
        let (_, waiting) = find(&before, name);
        assert!(waiting.contains(on), "{name}: {waiting}");
    }
    assert!(!find(&before, "db").1.contains("not started"));
    run(&sim, clock, files.clone(), |statuses| ["api", "db", "web"].iter().all(|name| converged(statuses, name))).await;
    let after = plan(&sim, clock, &files).await;
    for name in ["api", "db", "web"] {
        // Without the memory of the controller that made them they are concluded once more.
        assert_eq!(find(&after, name), (1, String::new()), "{after:?}");
    }
    // Each other's dependencies end, too.
    let circle = reading(&[("a", "  depends_on: [b]\n"), ("b", "  depends_on: [a]\n")]);
    assert!(plan(&sim, clock, &circle).await.len() >= 2);
}
