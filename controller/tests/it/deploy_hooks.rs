//! Containers that run once around a rollout, on the simulated engine, its time stopped: the real loop, restarts included.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::model::{RolloutOptions, State};
use composed_simulator::{Behaviour, Container, Fault, Sim};
use composed_status::commands::{RollOut, Undo};
use crd_schema::status::{ConditionType, HookOutcome, Reason, ReplicaPhase, RevisionOutcome, ServiceStatus};
use crd_schema::{ContainerId, ImageRef, Revision};
use tokio::sync::oneshot;

use crate::undo::{Running, engine, web};

const PRE: &str =
    "  environment: {PASSWORD: hunter22}\n  hooks: {pre_deploy: {command: [/app, migrate], timeout: 1m}}\n";

/// The calls that took effect and say this, in their order.
fn calls(sim: &Arc<Sim>, what: &str) -> Vec<String> {
    sim.with(|world, _| world.log.iter().filter(|line| line.contains(what)).cloned().collect())
}

fn starts(sim: &Arc<Sim>) -> usize {
    calls(sim, "start shop-web-pre-deploy").len()
}

fn behaves(sim: &Arc<Sim>, image: &str, takes: Duration, code: i64) {
    let behaviour = Behaviour { hook: (takes, code), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new(image), behaviour));
}

/// Waits until the hook's container runs.
async fn runs(sim: &Arc<Sim>) -> ContainerId {
    let wait = tokio::time::timeout(Duration::from_mins(5), async {
        loop {
            let running = sim.with(|world, _| {
                let one =
                    world.containers.values().find(|one| one.hook.is_some() && one.replica.state == State::Running);
                one.map(|one| one.replica.id.clone())
            });
            if let Some(id) = running {
                return id;
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // The pace of looking.
        }
    });
    wait.await.expect("the hook runs")
}

fn serves(status: &ServiceStatus, revision: &Revision) -> bool {
    let serving: Vec<_> = status.instances.iter().filter(|one| one.phase == ReplicaPhase::Available).collect();
    serving.len() == 2 && serving.iter().all(|one| one.revision == *revision)
}

async fn failed(running: &Running, image: &str) -> Arc<ServiceStatus> {
    let is = |status: &ServiceStatus| {
        status.history[0].image == image && convergence(status) == Convergence::Failed && status.waiting.is_empty()
    };
    running.until(is).await
}

#[tokio::test(start_paused = true)]
async fn a_hook_runs_once_for_each_revision_and_before_its_first_replica() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", PRE).await;
    let one = running.converged("web:1").await;
    running.wants("web:2", PRE).await;
    running.converged("web:2").await;
    let log = sim.with(|world, _| world.log.clone());
    let at = |what: &str| log.iter().position(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {log:#?}"));
    let order = ["start shop-web-pre-deploy", "create shop-web-1", "start shop-web-1"].map(at);
    assert!(order.is_sorted(), "{log:#?}");
    assert_eq!(starts(&sim), 2);
    // Nothing of this is a rollout that has not had its hook.
    running.wants("web:2", &PRE.replace("1m", "2m")).await;
    tokio::time::sleep(Duration::from_mins(2)).await;
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(Undo { service: web(), to: None, by: None, answer });
    answered.await.unwrap().unwrap();
    running.until(|status| serves(status, &one) && convergence(status) == Convergence::Undone).await;
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", PRE).await;
    running.converged("web:1").await;
    assert_eq!(starts(&sim), 2, "{:#?}", calls(&sim, "deploy"));
    // What was asked for anew is a revision of its own: its image may be another one.
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(RollOut { service: web(), options: RolloutOptions::default(), answer });
    answered.await.unwrap().unwrap();
    running
        .until(|status| status.revision.as_str().ends_with("-1") && convergence(status) == Convergence::Converged)
        .await;
    assert_eq!(starts(&sim), 3);
    let left = sim.with(|world, _| world.containers.values().filter(|one| one.hook.is_some()).count());
    assert_eq!(left, 0, "its container goes when its revision is there");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_fails_the_revision_and_nothing_of_it_is_made() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", PRE).await;
    let one = running.converged("web:1").await;
    behaves(&sim, "web:2", Duration::from_secs(3), 3);
    running.wants("web:2", PRE).await;
    let status = failed(&running, "web:2").await;
    let progressing = status.condition(ConditionType::Progressing).unwrap();
    assert_eq!(progressing.reason, Reason::PreDeployFailed);
    assert!(progressing.message.contains("pre_deploy ended with code 3") && progressing.message.contains("goes on"));
    assert_eq!(status.condition(ConditionType::ReplicaFailure).unwrap().reason, Reason::PreDeployFailed);
    let record = &status.history[0];
    let hook = record.pre_deploy.clone().unwrap();
    assert_eq!((record.outcome, hook.outcome, hook.exit_code), (RevisionOutcome::Failed, HookOutcome::Failed, Some(3)));
    assert_eq!(hook.output, ["web:2 is done"]);
    assert!(composed::cli::table::history(&status).contains("web:2 is done"), "people can read why");
    assert!(serves(&status, &one) && calls(&sim, "create shop-web-3").is_empty(), "{status:#?}");
    // Not again, however long.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 2);
    // A changed document has it tried again.
    behaves(&sim, "web:2", Duration::from_secs(3), 0);
    running.wants("web:2", &PRE.replace("1m", "2m")).await;
    running.converged("web:2").await;
    assert_eq!(starts(&sim), 3);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_too_long_is_stopped_and_has_failed() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", PRE).await;
    let one = running.converged("web:1").await;
    behaves(&sim, "web:2", Duration::from_hours(1), 0);
    running.wants("web:2", PRE).await;
    let status = failed(&running, "web:2").await;
    assert_eq!(status.history[0].pre_deploy.as_ref().unwrap().outcome, HookOutcome::TimedOut);
    assert!(serves(&status, &one) && calls(&sim, "stop shop-web-pre-deploy").len() == 1, "{status:#?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_controller_is_none_of_the_hook() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let mut running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", PRE).await;
    running.converged("web:1").await;
    behaves(&sim, "web:2", Duration::from_secs(20), 0);
    running.wants("web:2", PRE).await;
    // The second time its memory is lost as well, the third time the hook ends meanwhile.
    for (lost, away) in [(false, 1), (true, 1), (true, 60)] {
        runs(&sim).await;
        running.crash().await;
        if lost {
            std::fs::remove_dir_all(dir.path().join("services")).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(away)).await;
        running = Running::on(&sim, clock, state.clone());
        running.wants("web:2", PRE).await;
        if away == 1 {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }
    running.until(|status| convergence(status) == Convergence::Converged && status.replicas == status.updated).await;
    assert_eq!(starts(&sim), 2, "{:#?}", calls(&sim, "deploy"));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_was_interrupted_goes_by_its_policy() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", PRE).await;
    let one = running.converged("web:1").await;
    behaves(&sim, "web:2", Duration::from_secs(20), 0);
    running.wants("web:2", PRE).await;
    let id = runs(&sim).await;
    sim.with(|world, now| world.kill(&id, 137, now));
    let status = failed(&running, "web:2").await;
    assert_eq!(status.history[0].pre_deploy.as_ref().unwrap().outcome, HookOutcome::Interrupted);
    assert!(serves(&status, &one) && starts(&sim) == 2, "{status:#?}");

    let rerun = PRE.replace("timeout: 1m", "timeout: 1m, on_interrupt: rerun");
    behaves(&sim, "web:3", Duration::from_secs(20), 0);
    running.wants("web:3", &rerun).await;
    let id = runs(&sim).await;
    sim.with(|world, now| world.kill(&id, 143, now));
    running.converged("web:3").await;
    let attempts = running.statuses.status(&web()).unwrap().history[0].pre_deploy.as_ref().unwrap().attempts;
    assert_eq!((starts(&sim), attempts), (4, 2));
    // Three times in all; one that somebody removes was interrupted, too.
    behaves(&sim, "web:4", Duration::from_secs(20), 0);
    running.wants("web:4", &rerun).await;
    for _ in 0..3 {
        let id = runs(&sim).await;
        sim.with(|world, _| world.containers.remove(&id));
    }
    let status = failed(&running, "web:4").await;
    assert_eq!((starts(&sim), status.history[0].outcome), (7, RevisionOutcome::Failed));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_a_rollout_only_tells() {
    const POST: &str = "  hooks: {post_deploy: {command: [/app, smoke]}}\n";
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", POST).await;
    running.converged("web:1").await;
    let post = || calls(&sim, "start shop-web-post-deploy").len();
    assert_eq!(post(), 1);
    behaves(&sim, "web:2", Duration::from_secs(3), 9);
    running.wants("web:2", POST).await;
    let two = running.converged("web:2").await;
    let status = running.statuses.status(&web()).unwrap();
    let told = status.condition(ConditionType::PostDeploy).unwrap();
    assert_eq!((told.status, told.reason), (false, Reason::PostDeployFailed));
    assert!(told.message.contains("ended with code 9") && serves(&status, &two), "{status:#?}");
    assert_eq!(status.history[0].outcome, RevisionOutcome::Available);
    let last = calls(&sim, "shop-web-");
    let place = |what: &str| last.iter().rposition(|line| line.contains(what)).unwrap();
    assert!(place("start shop-web-4") < place("start shop-web-post-deploy"), "{last:#?}");
    // A change that needs no rollout has none; going back is a rollout, and has one.
    running.wants("web:2", &format!("{POST}  drain_timeout: 3s\n")).await;
    tokio::time::sleep(Duration::from_mins(3)).await;
    assert_eq!(post(), 2);
    running.wants("web:1", POST).await;
    running.converged("web:1").await;
    assert_eq!(post(), 3);
    running.end().await;
}

/// Refuses every call that begins like this; says how many there were.
fn refuse(sim: &Arc<Sim>, what: &'static str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    sim.break_with(Some(Box::new(move |call| {
        let hit = call.starts_with(what);
        counted.fetch_add(usize::from(hit), Ordering::Relaxed);
        hit.then_some(Fault::Refused)
    })));
    count
}

#[tokio::test(start_paused = true)]
async fn one_that_the_engine_refuses_after_a_rollout_has_failed_and_holds_nothing() {
    const POST: &str = "  hooks: {post_deploy: {command: [/app, smoke]}}\n";
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    for (image, call) in [("web:1", "create shop-web-post-deploy"), ("web:2", "start shop-web-post-deploy")] {
        let refused = refuse(&sim, call);
        running.wants(image, POST).await;
        let revision = running.converged(image).await;
        let status = running.statuses.status(&web()).unwrap();
        let told = status.condition(ConditionType::PostDeploy).unwrap();
        assert_eq!((told.status, told.reason), (false, Reason::PostDeployFailed));
        assert!(told.message.ends_with("could not be run: refused for no good reason"), "{}", told.message);
        // One that has died has a successor at once: nothing of this counts against the revision.
        sim.with(|world, now| {
            let runs = |one: &&Container| one.hook.is_none() && one.replica.state == State::Running;
            let id = world.containers.values().find(runs).unwrap().replica.id.clone();
            world.kill(&id, 137, now);
        });
        let without = |status: &ServiceStatus| !serves(status, &revision);
        running.until(without).await;
        running.until(|status| serves(status, &revision)).await;
        tokio::time::sleep(Duration::from_mins(30)).await;
        let status = running.statuses.status(&web()).unwrap();
        assert_eq!(status.history[0].outcome, RevisionOutcome::Available, "{status:#?}");
        assert_eq!(refused.load(Ordering::Relaxed), 1, "it is not tried again");
        let left = sim.with(|world, _| world.containers.values().filter(|one| one.hook.is_some()).count());
        assert_eq!(left, 0, "there is nothing to look at");
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_whose_image_never_comes_after_a_rollout_is_given_up() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    sim.with(|world, _| world.anything = None);
    for (image, policy) in [("web:1", ""), ("web:2", "  pull_policy: never\n")] {
        behaves(&sim, image, Duration::from_secs(1), 0);
        let post = format!("{policy}  hooks: {{post_deploy: {{image: smoke, command: [/app, smoke]}}}}\n");
        running.wants(image, &post).await;
        running
            .until(|status| status.history[0].image == image && status.history[0].outcome == RevisionOutcome::Available)
            .await;
        tokio::time::sleep(Duration::from_mins(9)).await;
        let status = running.statuses.status(&web()).unwrap();
        assert!(status.condition(ConditionType::PostDeploy).is_none_or(|told| told.status), "{status:#?}");
        tokio::time::sleep(Duration::from_mins(2)).await;
        let status = running.statuses.status(&web()).unwrap();
        let told = status.condition(ConditionType::PostDeploy).unwrap();
        assert_eq!(
            (told.status, told.reason),
            (false, Reason::PostDeployFailed),
            "{image} {:?} {status:#?}",
            calls(&sim, "")
        );
        assert!(told.message.contains("could not be run: image smoke"), "{}", told.message);
        assert!(status.waiting.is_empty(), "{status:#?}");
        assert_eq!(status.history[0].outcome, RevisionOutcome::Available);
        // It is over, and what goes on is not disturbed.
        let before = calls(&sim, "").len();
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(calls(&sim, "").len(), before);
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_the_engine_refuses_before_a_rollout_fails_the_revision_after_some_tries() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", PRE).await;
    let one = running.converged("web:1").await;
    for (image, call) in [("web:2", "create shop-web-pre-deploy"), ("web:3", "start shop-web-pre-deploy")] {
        let refused = refuse(&sim, call);
        running.wants(image, PRE).await;
        let status = failed(&running, image).await;
        let progressing = status.condition(ConditionType::Progressing).unwrap();
        assert_eq!(progressing.reason, Reason::PreDeployFailed, "{progressing:?}");
        assert!(progressing.message.contains("refused for no good reason (3 failures in a row)"), "{progressing:?}");
        assert!(serves(&status, &one), "{status:#?}");
        tokio::time::sleep(Duration::from_mins(30)).await;
        assert_eq!(refused.load(Ordering::Relaxed), 3);
    }
    running.end().await;
    // With nothing to go back to it is tried ever more slowly, as replicas are.
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let _refused = refuse(&sim, "start shop-web-pre-deploy");
    running.wants("web:1", PRE).await;
    let says = |status: &ServiceStatus| {
        let progressing = status.condition(ConditionType::Progressing);
        progressing.is_some_and(|one| one.message.contains("it is tried again ever more slowly"))
    };
    running.until(says).await;
    sim.break_with(None);
    running.converged("web:1").await;
    running.end().await;
}
