//! A service is rolled out though its document has not changed, on the simulated engine, its time stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::model::RolloutOptions;
use composed_simulator::{Behaviour, Sim};
use composed_status::commands::{RollOut, Undo};
use crd_schema::status::ServiceStatus;
use crd_schema::{ContainerId, ImageRef, Revision};
use tokio::sync::oneshot;

use crate::undo::{Running, engine, web};

pub(crate) async fn roll_out(running: &Running, options: RolloutOptions) -> Result<String, String> {
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(RollOut { service: web(), options, answer });
    tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().unwrap()
}

/// As `composed rollout` does it: who asks before the files are read is heard before anything is looked at.
#[tokio::test(start_paused = true)]
async fn what_is_asked_before_the_first_look_is_known_to_it() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    running.wants("web:1", "").await;
    let before = running.converged("web:1").await;
    running.end().await;
    for _ in 0..20 {
        let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
        let before = running.statuses.status(&web()).map_or_else(|| before.clone(), |status| status.revision.clone());
        let (answer, answered) = oneshot::channel();
        running.statuses.commands.submit(RollOut { service: web(), options: RolloutOptions::default(), answer });
        running.wants("web:1", "").await;
        let first = running.until(|_| true).await;
        assert!(convergence(&first) == Convergence::Moving && first.revision != before, "{first:#?}");
        assert!(answered.await.unwrap().is_ok());
        running.until(|status| convergence(status) == Convergence::Converged).await;
        running.end().await;
    }
}

fn ids(status: &ServiceStatus) -> BTreeSet<ContainerId> {
    status.instances.iter().filter(|one| one.serves()).map(|one| one.id.clone()).collect()
}

/// The status at rest with another revision than `not`.
async fn rests(running: &Running, not: &Revision) -> Arc<ServiceStatus> {
    running.until(|status| status.revision != *not && convergence(status) != Convergence::Moving).await
}

async fn later(running: &Running) -> Arc<ServiceStatus> {
    tokio::time::sleep(Duration::from_mins(30)).await; // Time stands still but for this.
    running.statuses.status(&web()).unwrap()
}

fn behaves(sim: &Arc<Sim>, behaviour: Behaviour) {
    sim.with(|world, _| {
        world.images.insert(ImageRef::new("web:1"), behaviour);
    });
}

#[tokio::test(start_paused = true)]
async fn all_are_replaced_and_it_is_not_done_again() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    running.wants("web:1", "").await;
    let plain = running.converged("web:1").await;
    let before = ids(&running.statuses.status(&web()).unwrap());
    assert!(roll_out(&running, RolloutOptions::default()).await.unwrap().contains("rolled out anew"));
    let status = rests(&running, &plain).await;
    assert_eq!(
        (convergence(&status), status.revision.clone()),
        (Convergence::Converged, Revision::new(format!("{plain}-1")))
    );
    let status = later(&running).await;
    let after = ids(&status);
    assert!(after.len() == 2 && after.is_disjoint(&before), "{status:#?}");
    roll_out(&running, RolloutOptions::default()).await.unwrap();
    let status = rests(&running, &Revision::new(format!("{plain}-1"))).await;
    assert_eq!(status.revision, Revision::new(format!("{plain}-2")));
    let after = ids(&*later(&running).await);
    running.end().await;

    // Another process, with the memory and without it: nobody is replaced.
    let forgetful = tempfile::tempdir().unwrap();
    for state in [dir.path(), forgetful.path()] {
        let running = Running::on(&sim, clock, StateDir::open(state).unwrap());
        running.wants("web:1", "").await;
        running.until(|status| convergence(status) == Convergence::Converged).await;
        let status = later(&running).await;
        assert_eq!(
            (status.revision.clone(), &status.instances.len()),
            (Revision::new(format!("{plain}-2")), &2),
            "{state:?}"
        );
        assert_eq!(ids(&running.statuses.status(&web()).unwrap()), after, "{state:?}");
        running.end().await;
    }

    // A change of the document is a revision of its own, and what was before it can be named.
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    running.wants("web:2", "").await;
    let changed = running.converged("web:2").await;
    assert!(!changed.as_str().contains('-'), "{changed}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_costs_nobody_and_can_be_tried_again() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    let plain = running.converged("web:1").await;
    let before = ids(&running.statuses.status(&web()).unwrap());
    behaves(&sim, Behaviour { exits_after: Some(Duration::from_secs(1)), ..Behaviour::default() });
    roll_out(&running, RolloutOptions::default()).await.unwrap();
    let status = rests(&running, &plain).await;
    assert_eq!(convergence(&status), Convergence::Failed);
    assert_eq!(ids(&*later(&running).await), before);

    behaves(&sim, Behaviour::default());
    roll_out(&running, RolloutOptions::default()).await.unwrap();
    let status = rests(&running, &Revision::new(format!("{plain}-1"))).await;
    assert_eq!(convergence(&status), Convergence::Converged, "{status:#?}");
    let status = later(&running).await;
    assert!(status.instances.len() == 2 && ids(&status).is_disjoint(&before), "{status:#?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn waits_are_those_of_one_rollout() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    let plain = running.converged("web:1").await;
    let mut took = Vec::new();
    let mut last = plain;
    for wait in [Some(100), None] {
        let began = tokio::time::Instant::now();
        roll_out(&running, RolloutOptions { wait, ..RolloutOptions::default() }).await.unwrap();
        last = rests(&running, &last).await.revision.clone();
        took.push(began.elapsed().as_secs());
    }
    // Two replicas, one after the other; without a word of it 10 s for each.
    assert!(took[0] >= 200 && took[1] < 100, "{took:?}");
    running.end().await;
}

/// docker-rollout's `-t`: a container that its healthcheck calls unhealthy meanwhile has until then.
#[tokio::test(start_paused = true)]
async fn the_time_to_become_healthy_is_the_one_that_was_given() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let check = "  healthcheck: {test: [CMD, check], interval: 1s, retries: 2}\n  rollout: {min_ready: 0s}\n";
    running.wants("web:1", check).await;
    let mut last = running.converged("web:1").await;
    let mut before = ids(&running.statuses.status(&web()).unwrap());
    // Unhealthy after 2 s, well after 20 s.
    behaves(&sim, Behaviour { ready_after: Duration::from_secs(20), ..Behaviour::default() });
    for (timeout, least, ended) in
        [(None, 0, Convergence::Failed), (Some(10), 10, Convergence::Failed), (Some(30), 40, Convergence::Converged)]
    {
        let began = tokio::time::Instant::now();
        roll_out(&running, RolloutOptions { timeout, ..RolloutOptions::default() }).await.unwrap();
        let status = rests(&running, &last).await;
        assert_eq!(convergence(&status), ended, "{timeout:?}: {status:#?}");
        let took = began.elapsed().as_secs();
        assert!(took >= least && (timeout.is_some() || took < 10), "{timeout:?}: {took} s");
        last = status.revision.clone();
        let after = ids(&*later(&running).await);
        assert_eq!(after.is_disjoint(&before), ended == Convergence::Converged, "{timeout:?}");
        before = after;
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_or_unknown_is_not_rolled_out() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "  paused: true\n").await;
    let why = roll_out(&running, RolloutOptions::default()).await.unwrap_err();
    assert!(why.contains("remove `paused: true`"), "{why}");
    running.end().await;
}

/// How often a hook was run so far.
fn hooks(sim: &Arc<Sim>) -> usize {
    sim.with(|world, _| world.log.iter().filter(|done| done.contains("pre_stop")).count())
}

#[tokio::test(start_paused = true)]
async fn the_command_is_run_in_those_that_are_replaced_and_only_then() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    let mut last = running.converged("web:1").await;
    let command = Some("touch /tmp/drain".to_owned());
    for (pre_stop_hook, run) in [(None, 0), (command, 2), (None, 2)] {
        roll_out(&running, RolloutOptions { pre_stop_hook, ..RolloutOptions::default() }).await.unwrap();
        last = rests(&running, &last).await.revision.clone();
        later(&running).await;
        assert_eq!(hooks(&sim), run);
    }
    // As a label it counts whoever replaces them; `pre_stop` comes before it.
    let label = "  labels: {docker-rollout.pre-stop-hook: touch /tmp/drain}\n";
    running.wants("web:2", label).await;
    running.converged("web:2").await;
    running.wants("web:3", label).await;
    running.converged("web:3").await;
    later(&running).await;
    assert_eq!(hooks(&sim), 4);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_before_a_rollout_can_be_gone_back_to_by_its_name() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    let plain = running.converged("web:1").await;
    roll_out(&running, RolloutOptions::default()).await.unwrap();
    rests(&running, &plain).await;
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(Undo { service: web(), to: Some(plain.to_string()), by: None, answer });
    let told = answered.await.unwrap().unwrap();
    assert!(told.contains(&format!("from revision {plain}-1 to {plain} ")), "{told}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn also_where_new_images_are_followed() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let follows = "  update: {policy: digest}\n";
    running.wants("web:1", follows).await;
    let mut last = running.converged("web:1").await;
    for _ in 0..2 {
        let before = ids(&running.statuses.status(&web()).unwrap());
        roll_out(&running, RolloutOptions::default()).await.unwrap();
        let status = rests(&running, &last).await;
        assert_eq!(convergence(&status), Convergence::Converged, "{status:#?}");
        last = status.revision.clone();
        let status = later(&running).await;
        assert!(status.instances.len() == 2 && ids(&status).is_disjoint(&before), "{status:#?}");
        assert_eq!(status.revision, last, "once");
    }
    running.end().await;
}
