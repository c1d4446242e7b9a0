//! The controller dies in the middle, and another one goes on.

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::{let_load_go_on, millis, secs};

#[test]
fn s05_the_controller_is_killed_in_the_middle_of_a_rollout() {
    scenario("5 kill -9 in a rollout", secs(400), |world| {
        let web = Service::new("web", 3).env("ON_TERM", "drain");
        world.write(&web);
        let mut controller = Controller::start(world);
        let mut last = controller.converged("web", "", secs(60));
        let mut failures = Vec::new();
        for (round, forget) in [false, true, false, true].into_iter().enumerate() {
            let version = ["2", "3", "4", "1"][round];
            let traffic = Traffic::start(world, "web");
            world.write(&web.clone().version(version));
            let moment = millis(fastrand::u64(500..8000));
            std::thread::sleep(moment); // It is killed at this moment, and nothing is waited for.
            controller.kill();
            drop(std::fs::remove_file(world.socket()));
            let there: Vec<_> = world
                .all_of("web")
                .into_iter()
                .map(|c| {
                    format!(
                        "{}{}",
                        c.image.rsplit(':').next().unwrap_or(""),
                        if c.state == "running" { "" } else { "!" }
                    )
                })
                .collect();
            if forget {
                std::fs::remove_dir_all(world.state_dir()).unwrap();
            }
            // Nobody is there for a while.
            let_load_go_on(secs(1));
            controller = Controller::start(world);
            last = controller.converged("web", &last, secs(120));
            world.only("web", 3, &image(version));
            // Clients hear of the last change, too.
            let_load_go_on(millis(500));
            let report = traffic.stop();
            let state = if forget { "state deleted" } else { "state kept" };
            say(&format!("  killed after {moment:?} with {there:?}, {state}: {report}"));
            if report.failed > 0 {
                failures.push(format!("killed after {moment:?}, {state}: {} {:#?}", report.failed, report.errors));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    });
}
