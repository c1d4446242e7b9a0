//! Post-start hooks, on the simulated engine, its time stopped: once for each container, before it serves.

use std::sync::Arc;
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_simulator::{Behaviour, Sim};
use crd_schema::ImageRef;
use crd_schema::status::{Reason, ReplicaPhase, RevisionOutcome};

use crate::undo::{Running, engine, web};

const HOOK: &str = "  post_start: [{command: [warm, up]}]\n";

/// The calls that took effect and say this.
fn calls(sim: &Arc<Sim>, what: &str) -> Vec<String> {
    sim.with(|world, _| world.log.iter().filter(|line| line.contains(what)).cloned().collect())
}

#[tokio::test(start_paused = true)]
async fn they_run_once_in_each_container_before_it_counts() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", HOOK).await;
    let waits = running
        .until(|status| {
            status.instances.iter().any(|i| i.reason.as_deref() == Some("waits to be done with its post_start"))
        })
        .await;
    assert_eq!(waits.available, 0);
    running.converged("web:1").await;
    let twice = ["run post_start in shop-web-1", "run post_start in shop-web-2"];
    let mut ran = calls(&sim, "post_start");
    ran.sort();
    assert_eq!(ran, twice);
    // A restart of the controller is none of the container.
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", HOOK).await;
    running.converged("web:1").await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert_eq!(calls(&sim, "post_start").len(), 2);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fails_the_revision_and_the_old_one_goes_on() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", HOOK).await;
    let one = running.converged("web:1").await;
    let broken = Behaviour { fails_post_start: true, ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), broken));
    running.wants("web:2", HOOK).await;
    let status = running.until(|status| status.history[0].outcome == RevisionOutcome::Failed).await;
    let failed = status.conditions.iter().find(|condition| condition.reason == Reason::StartFailed).unwrap();
    assert!(failed.message.contains("post_start of shop-web-3: `hook` exited with code 1"), "{failed:?}");
    let status = running.until(|status| convergence(status) == Convergence::Failed && status.waiting.is_empty()).await;
    let serving: Vec<_> =
        status.instances.iter().filter(|instance| instance.phase == ReplicaPhase::Available).collect();
    assert!(serving.len() == 2 && serving.iter().all(|instance| instance.revision == one), "{status:#?}");
    let told = failed_hooks(&running);
    assert_eq!(told, ["post_start of shop-web-3 `hook` exited with code 1: no route"]);
    running.end().await;
}

/// The events of hooks that failed.
fn failed_hooks(running: &Running) -> Vec<String> {
    let hooks = running.statuses.events().into_iter().filter(|event| event.action.contains(" of shop-web-"));
    hooks.filter_map(|event| Some(format!("{} {}", event.action, event.outcome?))).collect()
}

/// One that fails on the way out stops nothing, and is told once for each container.
#[tokio::test(start_paused = true)]
async fn a_pre_stop_that_fails_is_told() {
    let (sim, clock) = engine();
    let hook = "  pre_stop: [{command: [say, goodbye]}]\n";
    sim.with(|world, _| {
        world.images.insert(ImageRef::new("web:1"), Behaviour { fails_pre_stop: true, ..Behaviour::default() });
    });
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", hook).await;
    running.converged("web:1").await;
    running.wants("web:2", hook).await;
    running.converged("web:2").await;
    running.until(|status| status.instances.len() == 2).await;
    let mut told = failed_hooks(&running);
    told.sort();
    let each =
        ["shop-web-1", "shop-web-2"].map(|name| format!("pre_stop of {name} `hook` exited with code 1: no route"));
    assert_eq!(told, each);
    running.end().await;
}

/// Whoever finds hooks begun by another cannot tell what they did: they are not run again, another container is made.
#[tokio::test(start_paused = true)]
async fn interrupted_ones_are_not_run_again() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:0", HOOK).await;
    running.converged("web:0").await;
    running.wants("web:1", HOOK).await;
    loop {
        if calls(&sim, "post_start").len() > 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    running.end().await;
    let interrupted = state.load(&web()).replicas.post_start.len();
    assert!(interrupted > 0, "what was begun is written down");
    // The engine goes on with them; the next process does not know how they end.
    sim.with(|world, _| {
        let ids: Vec<_> = world.containers.values().map(|container| container.replica.id.clone()).collect();
        for id in ids {
            let container = world.containers.get_mut(&id).unwrap();
            (container.post_start_ends_at, container.replica.post_start) = (None, None);
        }
    });
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", HOOK).await;
    running.converged("web:1").await;
    let ran = calls(&sim, "post_start");
    let mut once = ran.clone();
    once.sort();
    once.dedup();
    let made = calls(&sim, "create shop-web").len();
    assert!(made > 4, "another is made: {made}");
    assert_eq!(ran.len(), made, "each container once: {ran:?}");
    running.end().await;
}
