//! What is to run once: a job that has ended well, or has failed for good, is not run again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_simulator::{Behaviour, Sim};
use crd_schema::ImageRef;
use crd_schema::status::{ReplicaPhase, ServiceStatus};

use crate::undo::{Running, engine, web};

const JOB: &str = "  restart: \"no\"\n";

fn ends(sim: &Arc<Sim>, image: &str, after: Duration, code: i64) {
    let behaviour = Behaviour { exits_after: Some(after), exit_code: code, ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new(image), behaviour));
}

/// How many containers were started so far.
fn starts(sim: &Arc<Sim>) -> usize {
    sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("start ")).count())
}

fn done(status: &ServiceStatus) -> bool {
    convergence(status) == Convergence::Converged && status.completed == 2
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_ended_well_runs_once() {
    let (sim, clock) = engine();
    ends(&sim, "web:1", Duration::from_secs(2), 0);
    ends(&sim, "web:2", Duration::from_secs(40), 0);
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", JOB).await;
    let status = running.until(done).await;
    assert!(status.instances.iter().all(|one| one.phase == ReplicaPhase::Completed), "{status:#?}");
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 2);
    running.end().await;
    // Another process, and one that remembers nothing: the engine's word is enough.
    for state in [state.clone(), StateDir::default()] {
        let running = Running::on(&sim, clock, state);
        running.wants("web:1", JOB).await;
        running.until(done).await;
        tokio::time::sleep(Duration::from_hours(1)).await;
        running.end().await;
    }
    assert_eq!(starts(&sim), 2);
    // `docker container prune`, while nobody looks and while somebody does: what is remembered is enough.
    let prune = || {
        sim.with(|world, _| {
            let ids: Vec<_> = world.containers.values().map(|one| one.replica.id.clone()).collect();
            for id in ids {
                world.containers.remove(&id);
            }
        });
    };
    prune();
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", JOB).await;
    running.until(done).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 2);
    // A change that reaches no container is no reason; another revision is one.
    running.wants("web:1", &format!("{JOB}  drain_timeout: 1s\n")).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 2);
    running.wants("web:2", JOB).await;
    running.until(|status| done(status) && status.history[0].image == "web:2").await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 4);
    prune();
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(starts(&sim), 4);
    // And the first one again is another change.
    running.wants("web:1", JOB).await;
    running.until(|status| done(status) && status.history[0].image == "web:1").await;
    assert_eq!(starts(&sim), 6);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_has_failed_is_told_and_not_run_again() {
    for after in [Duration::from_secs(1), Duration::from_mins(1)] {
        let (sim, clock) = engine();
        ends(&sim, "web:1", after, 3);
        let running = Running::on(&sim, clock, StateDir::default());
        running.wants("web:1", JOB).await;
        let failed = |status: &ServiceStatus| convergence(status) == Convergence::Failed;
        let status = running.until(failed).await;
        let told = format!("{:?}", status.conditions);
        assert!(told.contains("exited with code 3"), "{told}");
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(starts(&sim), 2, "each of the two once");
        running.end().await;
        // Another process says the same, and runs nothing.
        let running = Running::on(&sim, clock, StateDir::default());
        running.wants("web:1", JOB).await;
        running.until(failed).await;
        tokio::time::sleep(Duration::from_hours(2)).await;
        assert_eq!(starts(&sim), 2);
        running.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_fails_leaves_the_one_before_as_it_is() {
    let (sim, clock) = engine();
    ends(&sim, "web:1", Duration::from_secs(2), 0);
    ends(&sim, "web:2", Duration::from_secs(2), 1);
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", JOB).await;
    running.until(done).await;
    running.wants("web:2", JOB).await;
    running.until(|status| convergence(status) == Convergence::Failed).await;
    tokio::time::sleep(Duration::from_hours(2)).await;
    let runs: BTreeSet<_> = running.statuses.status(&web()).unwrap().instances.iter().map(|one| one.phase).collect();
    assert_eq!(runs, BTreeSet::from([ReplicaPhase::Completed, ReplicaPhase::Retained]));
    assert_eq!(starts(&sim), 4, "none of the first is run again");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn on_failure_gives_a_job_as_many_runs_as_it_says() {
    let (sim, clock) = engine();
    ends(&sim, "web:1", Duration::from_secs(2), 1);
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "  restart: on-failure:5\n").await;
    running.until(|status| convergence(status) == Convergence::Failed).await;
    let counts =
        || sim.with(|world, _| world.containers.values().map(|one| one.replica.restart_count).collect::<Vec<_>>());
    assert!(counts().contains(&5), "{:?}", counts());
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(starts(&sim), 2);
    running.end().await;
}

/// `restart_policy` of Swarm: composed itself runs it again, after its delay, and so often.
#[tokio::test(start_paused = true)]
async fn restart_rules_space_and_count_the_runs() {
    let (sim, clock) = engine();
    ends(&sim, "web:1", Duration::from_secs(20), 1);
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let rules = "  restart: on-failure:3\n  restart_policy: {delay: 30s}\n";
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", rules).await;
    // Each of the two runs for 20 s and then waits for 30 s.
    tokio::time::sleep(Duration::from_secs(45)).await;
    assert_eq!(starts(&sim), 2, "the delay has not passed");
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(starts(&sim), 4);
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", rules).await;
    running.until(|status| convergence(status) == Convergence::Failed).await;
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(starts(&sim), 8, "each of the two once, and three times more");
    assert!(sim.with(|world, _| world.containers.values().all(|one| one.replica.restart_count == 0)));
    running.end().await;
}

/// `order: recreate`: never two revisions at once, also on the way back.
#[tokio::test(start_paused = true)]
async fn what_is_recreated_never_runs_in_two_revisions() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let recreate = "  rollout: {order: recreate}\n";
    running.wants("web:1", recreate).await;
    running.converged("web:1").await;
    ends(&sim, "web:3", Duration::from_secs(1), 1);
    for (image, there) in [("web:2", Convergence::Converged), ("web:3", Convergence::Failed)] {
        running.wants(image, recreate).await;
        let mut both = 0;
        loop {
            let images: BTreeSet<_> = sim.with(|world, _| {
                let live = world.containers.values().filter(|one| one.replica.state.is_live());
                live.map(|one| one.spec.image.clone()).collect()
            });
            both = both.max(images.len());
            let status = running.statuses.status(&web()).unwrap();
            if status.history[0].image == image && convergence(&status) == there {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(both, 1, "{image}");
    }
    assert_eq!(running.statuses.status(&web()).unwrap().available, 2, "the one before is back");
    running.end().await;
}

/// `max_failure_ratio` and `failure_action: continue`.
#[tokio::test(start_paused = true)]
async fn failures_are_tolerated_or_go_on_as_the_document_says() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let goes_on = "  rollout: {failure_action: continue}\n";
    running.wants("web:1", goes_on).await;
    let one = running.converged("web:1").await;
    ends(&sim, "web:2", Duration::from_secs(1), 1);
    running.wants("web:2", goes_on).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    let status = running.statuses.status(&web()).unwrap();
    let serves = |one: &&crd_schema::status::ReplicaStatus| one.phase == ReplicaPhase::Available;
    assert!(status.instances.iter().filter(serves).all(|replica| replica.revision == one), "{status:#?}");
    assert_eq!((status.available, convergence(&status)), (2, Convergence::Moving));
    let told = format!("{:?}", status.conditions);
    assert!(told.contains("the rollout goes on"), "{told}");
    // Mended by another hand: it goes on by itself.
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), Behaviour::default()));
    running.converged("web:2").await;
    running.end().await;
}
