//! What Docker Compose made and runs well is what is gone back to, on the simulated engine, its time stopped.

use std::sync::Arc;
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::model::State;
use composed_simulator::{Behaviour, Sim};
use crd_schema::status::{RevisionOutcome, ServiceStatus};
use crd_schema::{Healthcheck, ImageRef, ServiceSpec};

use crate::undo::{Running, engine, web};

const CHECK: &str = "  healthcheck: {test: [CMD, 'true'], interval: 1s, start_period: 5s, retries: 3}\n";

/// Two containers of web:1, an hour old, as Docker Compose makes them.
fn made_by_compose(sim: &Sim) {
    let check = Healthcheck { test: vec!["CMD".to_owned(), "true".to_owned()], ..Healthcheck::default() };
    let spec = ServiceSpec { image: ImageRef::new("web:1"), healthcheck: Some(check), ..ServiceSpec::default() };
    let an_hour = Duration::from_hours(1);
    sim.with(|world, now| {
        world.images.insert(ImageRef::new("web:1"), Behaviour::default());
        (1..=2).for_each(|number| world.add_compose(&web(), number, &spec, now - an_hour));
    });
}

fn behaves(sim: &Sim, image: &str, behaviour: Behaviour) {
    sim.with(|world, _| world.registry.insert(ImageRef::new(image), (Duration::ZERO, behaviour)));
}

/// The images of the containers that run.
fn running(sim: &Arc<Sim>) -> Vec<String> {
    sim.with(|world, _| {
        let live = world.containers.values().filter(|one| one.replica.state == State::Running);
        let mut images: Vec<String> = live.map(|one| one.spec.image.to_string()).collect();
        images.sort();
        images
    })
}

fn rests(status: &ServiceStatus) -> bool {
    convergence(status) == Convergence::Failed && status.waiting.is_empty()
}

#[tokio::test(start_paused = true)]
async fn a_failure_goes_back_to_what_compose_made_and_not_to_what_was_never_available() {
    let (sim, clock) = engine();
    made_by_compose(&sim);
    behaves(&sim, "web:2", Behaviour::default());
    behaves(&sim, "web:3", Behaviour { never_ready: true, ..Behaviour::default() });
    let dir = tempfile::tempdir().unwrap();
    let run = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    run.wants("web:2", CHECK).await;
    // As soon as the first new one serves, the next document comes.
    run.until(|status| status.updated >= 1 && status.available >= 2 && running(&sim).contains(&"web:2".to_owned()))
        .await;
    run.wants("web:3", CHECK).await;
    let status = run.until(rests).await;
    assert_eq!(running(&sim), ["web:1", "web:1"], "{status:#?}");
    let adopted = status.history.iter().find(|record| record.image == "web:1").expect("it is in the history");
    assert_eq!(adopted.outcome, RevisionOutcome::Available);
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_compose_made_is_made_again_after_a_failure_of_the_second_one() {
    let (sim, clock) = engine();
    made_by_compose(&sim);
    behaves(&sim, "web:2", Behaviour::default());
    let run = Running::on(&sim, clock, StateDir::default());
    run.wants("web:2", CHECK).await;
    // The second one is made when the first one serves: by then the image is bad.
    run.until(|_| running(&sim) == ["web:1", "web:1", "web:2"]).await;
    let bad = Behaviour { never_ready: true, ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), bad));
    let status = run.until(rests).await;
    assert_eq!(running(&sim), ["web:1", "web:1"], "{status:#?}");
    let made = sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("create shop-web")).count());
    assert_eq!(made, 3, "two of web:2, one of web:1");
    // By hand as well, and what dies is made again.
    behaves(&sim, "web:3", Behaviour::default());
    run.wants("web:3", CHECK).await;
    run.converged("web:3").await;
    run.undo(None).await.unwrap();
    run.until(|_| running(&sim) == ["web:1", "web:1"]).await;
    sim.with(|world, now| {
        let first = world.containers.values().find(|one| one.spec.image == "web:1").map(|one| one.replica.id.clone());
        world.kill(&first.expect("there is one"), 1, now);
    });
    run.until(|_| running(&sim) == ["web:1"]).await;
    run.until(|_| running(&sim) == ["web:1", "web:1"]).await;
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn where_it_cannot_be_told_all_old_ones_stay_until_all_new_ones_are_there() {
    let (sim, clock) = engine();
    made_by_compose(&sim);
    sim.with(|world, _| world.tells_no_specification = true);
    behaves(&sim, "web:2", Behaviour { ready_after: Duration::from_secs(3), ..Behaviour::default() });
    let run = Running::on(&sim, clock, StateDir::default());
    run.wants("web:2", CHECK).await;
    run.until(|_| running(&sim) == ["web:1", "web:1", "web:2", "web:2"]).await;
    run.converged("web:2").await;
    assert_eq!(running(&sim), ["web:2", "web:2"]);
    run.end().await;
}
