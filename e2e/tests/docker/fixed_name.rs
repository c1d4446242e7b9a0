//! `container_name`: the successor runs beside the one that has the name, and gets it when it serves.

use std::process::Command;

use e2e::by_name::{ByName, Client};
use e2e::controller::{Controller, plan};
use e2e::program::{compose, image};
use e2e::stage::{say, scenario};
use e2e::world::{World, replace};
use e2e::{secs, that, within};

/// Requests a second of each client.
const RATE: u32 = 25;

fn project(world: &World, version: u32) -> String {
    let check = "{test: [CMD, /composed, demo-app, check], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}";
    format!(
        "name: {project}\nservices:\n  web:\n    image: {image}\n    container_name: {project}-fixed\n    \
         environment: {{VERSION: \"{version}\", START_DELAY_MS: \"500\"}}\n    healthcheck: {check}\n    stop_grace_period: 5s\n    \
         x-composed: {{rollout: {{min_ready: 1s}}}}\n",
        project = world.project,
        image = image("1"),
    )
}

#[test]
fn s85_a_container_name_moves_to_the_successor() {
    scenario("85 a container_name moves to the successor", secs(240), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let file = world.desired().join("compose.yaml");
        replace(&file, &project(world, 1));
        let compose = |args: &[&str]| {
            let output = Command::new(&program).arg("-f").arg(&file).args(args).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "compose {args:?}: {error}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        compose(&["up", "--detach", "--wait"]);
        let made = world.all_of("web").remove(0).id;
        let controller = Controller::start(world);
        let mut revision = controller.converged("web", "", secs(30));
        assert_eq!(world.all_of("web").remove(0).id, made, "what Compose made is kept");

        let (fixed, network) = (format!("{}-fixed", world.project), format!("{}_default", world.project));
        let client = format!("{}-client", world.project);
        world.docker.run(&["run", "--detach", "--name", &client, "--network", &network, &image("1")]);
        let names = [("web", Client::First), ("web", Client::Each), (&*fixed, Client::First), (&*fixed, Client::Each)];
        let loads = names.map(|(name, kind)| ByName::start(&world.docker, &client, name, kind, RATE));
        for version in 2..=6 {
            replace(&file, &project(world, version));
            revision = controller.converged("web", &revision, secs(60));
            within(secs(10), "one container, with the fixed name", || {
                let all = world.all_of("web");
                that(all.len() == 1 && all[0].name == fixed, || format!("{all:?}\n{}", controller.events()))
            });
            let shown = compose(&["ps", "--all", "--format", "{{.Name}}"]);
            assert_eq!(shown, fixed, "docker compose finds it");
        }
        for (load, (name, kind)) in loads.into_iter().zip(names) {
            let report = load.stop();
            say(&format!("  {name} ({kind:?}): {report}"));
            assert!(["2", "3", "4", "5", "6"].iter().all(|version| report.served.contains_key(*version)), "{report}");
            if name == fixed && kind == Client::Each {
                // The moment between two renames is nobody's, and what Compose made has the name as an alias, too, so that in the
                // first rollout the engine's DNS gives both addresses; whoever gets one gets a replica that serves.
                let gives_both = |words: &str| {
                    let given = words.split_once("of [").and_then(|(_, rest)| rest.split_once(']'));
                    given.is_some_and(|(addresses, _)| addresses.contains(','))
                };
                let other = |words: &&String| !words.contains("has no address") && !gives_both(words);
                let other: Vec<_> = report.errors.iter().filter(other).collect();
                assert!(other.is_empty(), "{other:#?}");
            }
        }
        let told = plan(world, &world.desired());
        assert!(told.text.contains("nothing to do"), "{}", told.text);
    });
}
