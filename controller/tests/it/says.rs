//! `plan` says what `run` does first: in many scenes, in the middle of rollouts and at rest. `SCENES=n` plays more, `SCENE=n` one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use composed::cli::plan::intents;
use composed::cli::session::{Session, images};
use composed::state::StateDir;
use composed_core::engine::Engine;
use composed_simulator::Behaviour;
use composed_source::catalog::Catalog;
use composed_source::files::Reading;
use crd_schema::ImageRef;
use fastrand::Rng;

use crate::slow::Slow;
use crate::undo::{Running, engine};

const SERVICES: [&str; 3] = ["a", "b", "c"];
/// Records of the loop itself: no call of the engine.
const RECORDS: [&str; 6] = ["drain ", "undo the drain ", "adopt ", "record: ", "pre_deploy of", "post_deploy of"];

fn document(name: &str, rng: &mut Rng) -> String {
    let mut text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: \"app:{}\"\n  \
         replicas: {}\n  environment: {{V: '{}'}}\n  rollout: {{min_ready: {}s, max_surge: {}}}\n",
        rng.u8(1..4),
        rng.u8(0..4),
        rng.u8(..3),
        rng.u8(..3),
        rng.u8(1..3),
    );
    for (more, chance) in [
        ("  paused: true\n", 0.1),
        ("  restart: unless-stopped\n", 0.5),
        ("  healthcheck: {test: [CMD, check], interval: 1s, retries: 2}\n", 0.5),
        ("  hooks: {pre_deploy: {command: [migrate]}}\n", 0.1),
        ("  volumes: [\"data:/data\"]\n", 0.2),
        ("  ports: [\"80\"]\n", 0.1),
        ("  pull_policy: always\n", 0.1),
    ] {
        if rng.f64() < chance {
            text += more;
        }
    }
    if name == "c" && rng.bool() {
        text += "  depends_on: {a: {condition: service_healthy}}\n";
    }
    text
}

fn reading(documents: &BTreeMap<&str, String>) -> Reading {
    let named = documents.iter().map(|(name, text)| (format!("{name}.yaml"), Ok(text.clone().into_bytes().into())));
    let project = "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {volumes: {data: {}}}\n";
    let project = ("project.yaml".to_owned(), Ok(project.as_bytes().to_vec().into()));
    Reading { files: named.chain([project]).collect(), ..Reading::default() }
}

fn behaviour(rng: &mut Rng) -> Behaviour {
    let seconds = |rng: &mut Rng| Duration::from_secs(rng.u64(..4));
    let mut behaviour = Behaviour { ready_after: seconds(rng), stop_takes: seconds(rng), ..Behaviour::default() };
    behaviour.busy_for = seconds(rng);
    behaviour
}

/// The first calls for each service: those between two looks at it.
fn first_calls(calls: &[String]) -> BTreeMap<&'static str, Vec<String>> {
    let of = |name: &'static str| {
        let (looks, own) = (format!("observe shop/{name}."), format!("shop-{name}-"));
        let mut first = Vec::new();
        for call in calls {
            if *call == looks && !first.is_empty() {
                break;
            }
            if call.contains(&own) {
                first.push(call.clone());
            }
        }
        (name, first)
    };
    SERVICES.into_iter().map(of).filter(|(_, first)| !first.is_empty()).collect()
}

/// One scene; how many services were compared.
async fn play(seed: u64) -> usize {
    let mut rng = Rng::with_seed(seed);
    let (sim, clock) = engine();
    sim.with(|world, _| {
        for version in 1..4 {
            world.images.insert(ImageRef::new(format!("app:{version}")), behaviour(&mut rng));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let mut documents: BTreeMap<&str, String> = SERVICES.map(|name| (name, document(name, &mut rng))).into();
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    for _ in 0..rng.usize(1..4) {
        let name = SERVICES[rng.usize(..3)];
        documents.insert(name, document(name, &mut rng));
        running.readings.send(reading(&documents)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(rng.u64(..20_000))).await; // The next reading comes at any moment of what this one begins.
    }
    running.end().await;
    for name in SERVICES {
        if rng.f64() < 0.4 {
            documents.insert(name, document(name, &mut rng));
        }
    }
    if rng.f64() < 0.5 {
        tokio::time::sleep(Duration::from_millis(rng.u64(..60_000))).await; // It ends at any moment of that.
    }

    let statuses = Arc::default();
    let state = StateDir::existing(dir.path());
    let session = Session {
        engine: Arc::clone(&sim) as Arc<dyn Engine>,
        monitor: Arc::clone(&sim) as Arc<dyn composed_traffic::TrafficMonitor>,
        clock,
        images: images(&statuses, clock, &state),
        state,
        statuses,
        view: None,
    };
    let catalog = Catalog::new(&reading(&documents), &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new(), "seed {seed}");
    let said = intents(&session, &catalog, false).await.unwrap();
    if said.iter().any(|intent| intent.name.starts_with("project ")) {
        // What the project's pass makes changes what its services see.
        return 0;
    }

    let slow = Slow::new(&sim);
    let running =
        Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::open(dir.path()).unwrap());
    running.readings.send(reading(&documents)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await; // The first calls are made by then; time stands still but for this.
    let calls: Vec<String> = slow.take().into_iter().map(|(_, call)| call).collect();
    let did = first_calls(&calls);
    running.end().await;
    if calls.iter().any(|call| call.starts_with("pull ")) {
        // What one fetches changes what another sees.
        return 0;
    }
    let mut compared = 0;
    for name in SERVICES {
        let intent = said.iter().find(|intent| intent.name == format!("shop/{name}")).unwrap();
        let is_call = |action: &&String| !RECORDS.iter().any(|record| action.starts_with(record));
        let steps: Vec<&String> = intent.actions.iter().map(|step| &step.action).filter(is_call).collect();
        if steps.is_empty() && !(intent.actions.is_empty() && intent.waiting.is_empty()) {
            continue;
        }
        compared += 1;
        let did = did.get(name).map(|did| did.iter().collect::<Vec<_>>()).unwrap_or_default();
        assert_eq!(did, steps, "seed {seed}, {name}: {intent:#?}\n{calls:#?}\n{}", documents[name]);
    }
    compared
}

#[test]
fn plan_says_what_run_does_first() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SCENE") {
        runtime().block_on(play(seed));
        return;
    }
    let scenes = number("SCENES").unwrap_or(300);
    let compared: usize = (0..scenes).map(|seed| runtime().block_on(play(seed))).sum();
    assert!(compared as u64 > scenes, "{compared} services were compared in {scenes} scenes");
}
