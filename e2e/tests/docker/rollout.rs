//! Changes under traffic.

use e2e::check::Watcher;
use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::secs;
use e2e::stage::{say, scenario};
use e2e::traffic::{RATE, Traffic};
use e2e::world::World;

/// A new image, then a changed environment: nobody notices.
fn changes(world: &World, replicas: u32, on_term: &str, latency: &str) {
    let wanted = replicas as usize;
    let web = Service::new("web", replicas).env("ON_TERM", on_term).env("LATENCY_MS", latency);
    world.write(&web);
    let controller = Controller::start(world);
    let first = controller.converged("web", "", secs(60));
    world.only("web", wanted, &image("1"));

    let traffic = Traffic::start(world, "web");
    let watcher = Watcher::start(world, "web");
    let before = world.ids("web");
    world.write(&web.clone().version("2"));
    let second = controller.converged("web", &first, secs(90));
    world.only("web", wanted, &image("2"));
    let between = world.ids("web");
    assert!(before.is_disjoint(&between), "a new image makes new containers");
    world.write(&web.version("2").env("COLOUR", "blue"));
    controller.converged("web", &second, secs(90));
    world.only("web", wanted, &image("2"));
    assert!(between.is_disjoint(&world.ids("web")), "a new environment makes new containers");

    let sights = watcher.stop();
    let report = traffic.stop();
    say(&format!(
        "  {replicas} replicas: {report}\n  {} looks: fewest {:?}, most {} (with draining {})",
        sights.looks, sights.fewest, sights.most, sights.most_running
    ));
    assert_eq!(report.failed, 0, "{:#?}", report.errors);
    assert!(report.sent > u64::from(RATE) * 5, "{report}");
    assert!(sights.fewest >= Some(wanted), "{}", sights.notes["fewest"]);
    assert!(sights.most <= wanted + 1, "{}", sights.notes["most"]);
}

#[test]
fn s01_a_change_of_three_replicas_under_traffic() {
    scenario("1 change of 3 replicas", secs(240), |world| changes(world, 3, "drain", "0"));
}

#[test]
fn s01_a_change_of_one_replica_under_traffic() {
    scenario("1 change of 1 replica", secs(240), |world| changes(world, 1, "drain", "0"));
}

/// An application that ends at SIGTERM whatever is in flight: that nothing is, is composed's doing alone. Each answer
/// takes longer than it takes composed to stop one without counting.
#[test]
fn s01_a_change_of_replicas_that_die_at_once() {
    scenario("1 change of 2 replicas that die at SIGTERM", secs(240), |world| changes(world, 2, "die", "1500"));
}
