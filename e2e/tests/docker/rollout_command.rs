//! `composed rollout`, in docker-rollout's place.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::check::Watcher;
use e2e::controller::{Controller, Done, plan, rollout, rollout_begun};
use e2e::program::{compose, composed, image};
use e2e::stage::{say, scenario};
use e2e::world::{World, replace};
use e2e::{secs, that, within};

/// A project as docker-rollout's users have it: one service behind a proxy by labels, one that is none of its business.
fn project(world: &World, image: &str) -> String {
    let check = "{test: [CMD, /composed, demo-app, check], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}";
    format!(
        "name: {}
services:
  web:
    image: {image}
    labels: {{traefik.enable: \"true\", traefik.http.routers.web.rule: Host(`web.test`)}}
    environment: {{ON_TERM: die}}
    healthcheck: {check}
    stop_grace_period: 3s
    depends_on: [db]
    deploy: {{replicas: 3}}
    x-composed: {{drain_timeout: 2s}}
  db:
    image: {image}
    healthcheck: {check}
",
        world.project
    )
}

/// Brings it up as Compose does; `None` where there is no Compose.
fn brought_up(world: &World, image: &str) -> Option<PathBuf> {
    let program = match compose() {
        Ok(program) => program,
        Err(why) => {
            say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}"));
            return None;
        }
    };
    let file = world.desired().join("compose.yaml");
    replace(&file, &project(world, image));
    let up = Command::new(&program).arg("-f").arg(&file).args(["up", "--detach", "--wait"]).output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    Some(file)
}

/// Runs `composed rollout web` and sees to it that there are never fewer than three.
fn watched(world: &World, act: impl FnOnce() -> Done) -> Done {
    let watcher = Watcher::start(world, "web");
    let done = act();
    let sights = watcher.stop();
    assert!(sights.fewest.is_some_and(|fewest| fewest >= 3), "{sights:#?} {}", done.text);
    done
}

/// Each of the three is another one than before, all of them are healthy, and nothing else is there.
fn all_new(world: &World, before: &std::collections::BTreeSet<String>) {
    let all = world.all_of("web");
    let well = |c: &e2e::check::Container| c.healthy && !before.contains(&c.id);
    assert!(all.len() == 3 && all.iter().all(well), "{all:#?}");
}

/// By a plan of the same file there is nothing to do for it.
fn is_at_rest(world: &World, file: &Path) {
    let told = plan(world, file);
    let web = told.text.split("/web  ").nth(1).unwrap_or_default();
    assert_eq!(web.lines().nth(1).map(str::trim), Some("nothing to do"), "{}", told.text);
}

#[test]
fn s27_a_service_is_rolled_out_though_nothing_has_changed() {
    scenario("27 composed rollout", secs(420), |world| {
        let Some(file) = brought_up(world, &image("1")) else { return };
        let path = file.to_str().unwrap();
        let (before, db) = (world.ids("web"), world.all_of("db"));
        let done = watched(world, || rollout(world, &["-f", path, "--wait-after-healthy", "1", "-t", "30", "web"]));
        assert_eq!(done.code, 0, "{}", done.text);
        assert!(done.text.contains("start-first"), "{}", done.text);
        all_new(world, &before);
        is_at_rest(world, &file);
        say(&format!("  three that Compose made, in {:.1?}", done.took));

        // One that is interrupted leaves nothing that the next one does not take away.
        let before = world.ids("web");
        let mut child = rollout_begun(world, &["-f", path, "web"]);
        within(secs(30), "a fourth one", || that(world.running("web").len() > 3, || "three".to_owned()));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(before.is_subset(&world.ids("web")), "nobody was stopped yet");
        // As a plugin of Docker's own program, under docker-rollout's name.
        let config = world.path("docker-config");
        let plugins = config.join("cli-plugins");
        std::fs::create_dir_all(&plugins).unwrap();
        for name in ["docker-rollout", "docker-composed"] {
            std::os::unix::fs::symlink(composed(), plugins.join(name)).unwrap();
        }
        let docker = |words: &[&str]| {
            let mut command = Command::new("docker");
            if let Some(host) = world.docker.host() {
                command.args(["--host", host]);
            }
            command.env("DOCKER_CONFIG", &config).env("COMPOSED_INSTANCE", &world.project);
            command.env("COMPOSED_STATE_DIR", world.state_dir()).env("COMPOSED_SOCKET", world.socket());
            let began = std::time::Instant::now();
            let output = command.args(words).output().unwrap();
            let text =
                [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            Done { code: output.status.code().unwrap_or(-1), text, took: began.elapsed() }
        };
        let help = docker(&["--help"]).text;
        assert!(help.contains("Replace the containers of a Compose service"), "{help}");
        let done = watched(world, || docker(&["rollout", "-f", path, "--wait-after-healthy", "1", "web"]));
        assert_eq!(done.code, 0, "{}", done.text);
        all_new(world, &before);
        let told = docker(&["composed", "plan", path]);
        assert!(told.code == 0 && told.text.contains("nothing to do"), "{}", told.text);

        // The marks are in the containers, too: a lost memory is no reason for another rollout.
        std::fs::remove_dir_all(world.state_dir()).unwrap();
        std::fs::create_dir(world.state_dir()).unwrap();
        let told = plan(world, &file).text;
        assert!(!told.contains("create "), "{told}");

        // Where a controller acts, it does it.
        let controller = Controller::start(world);
        controller.reason("web", "NewRevisionAvailable", secs(60));
        let before = world.ids("web");
        let done = watched(world, || rollout(world, &["-f", path, "--wait-after-healthy", "1", "web"]));
        assert_eq!(done.code, 0, "{}", done.text);
        within(secs(30), "the last old one is gone", || that(world.all_of("web").len() == 3, || "not yet".to_owned()));
        all_new(world, &before);
        assert_eq!(world.all_of("db"), db, "the other service");
    });
}

#[test]
fn s28_a_rollout_that_fails_costs_nobody() {
    scenario("28 composed rollout of what is broken", secs(420), |world| {
        let tag = format!("{}-web:latest", world.project);
        world.docker.run(&["tag", &image("1"), &tag]);
        let Some(file) = brought_up(world, &tag) else { return };
        let path = file.to_str().unwrap();
        let begun = rollout(world, &["-f", path, "--wait-after-healthy", "1", "web"]);
        assert_eq!(begun.code, 0, "{}", begun.text);
        let before = world.ids("web");
        let broken =
            [("unhealthy", "ENV HEALTH=never"), ("exits at once", "ENTRYPOINT [\"/composed\", \"--version\"]")];
        for (how, change) in broken {
            // What is behind the tag is newer, and broken.
            let one = world.ids("db").into_iter().next().unwrap();
            world.docker.run(&["commit", "--change", change, &one, &tag]);
            let done = watched(world, || rollout(world, &["-f", path, "-t", "20", "--wait-after-healthy", "1", "web"]));
            assert_eq!(done.code, 1, "{how}: {}", done.text);
            assert_eq!(world.ids("web"), before, "{how}");
            is_at_rest(world, &file);
            say(&format!("  {how}: given up after {:.1?}", done.took));
        }
        world.docker.run(&["tag", &image("1"), &tag]);
        let done = watched(world, || rollout(world, &["-f", path, "--wait-after-healthy", "1", "web"]));
        assert_eq!(done.code, 0, "{}", done.text);
        all_new(world, &before);
        assert_eq!(rollout(world, &["-f", path, "nobody"]).code, 2);
        world.docker.run(&["rmi", "--force", &tag]);
    });
}
