//! `composed rollout`, in docker-rollout's place.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::check::Watcher;
use e2e::controller::{Controller, Done, plan, rollout, rollout_begun};
use e2e::program::{compose, composed, image, image_with_shell};
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

/// Runs docker's own program, with this one as a plugin of it under both names.
fn by_docker(world: &World, words: &[&str], environment: &[(&str, &str)]) -> Done {
    let config = world.path("docker-config");
    let plugins = config.join("cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    for name in ["docker-rollout", "docker-composed"].map(|name| plugins.join(name)) {
        if !name.exists() {
            std::os::unix::fs::symlink(composed(), name).unwrap();
        }
    }
    let mut command = Command::new("docker");
    command.env("DOCKER_CONFIG", &config).env("COMPOSED_INSTANCE", &world.project);
    command.env("COMPOSED_STATE_DIR", world.state_dir()).env("COMPOSED_SOCKET", world.socket());
    let began = std::time::Instant::now();
    let output = command.envs(environment.iter().copied()).args(words).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    Done { code: output.status.code().unwrap_or(-1), text, took: began.elapsed() }
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
        assert!(
            done.text.contains("warning: ") && done.text.contains("pre-stop-hook: touch"),
            "it is said before: {}",
            done.text
        );
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
        let host: Vec<_> = world.docker.host().into_iter().flat_map(|host| ["--host", host]).collect();
        let docker = |words: &[&str]| by_docker(world, &[&host, words].concat(), &[]);
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

/// docker-rollout's documented recipe for draining: a label with a command that makes the healthcheck fail and waits for the
/// proxy to notice. Nobody but the hook takes the old container out of traffic, so nothing else is waited for.
#[test]
fn s79_the_drain_recipe_of_docker_rollout_takes_as_long_as_its_hook() {
    scenario("79 docker-rollout's drain recipe", secs(240), |world| {
        let compose = match compose() {
            Ok(compose) => compose,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let marks = world.path("marks");
        std::fs::create_dir_all(&marks).unwrap();
        let text = format!(
            "name: {}
services:
  web:
    image: {}
    labels:
      traefik.enable: \"true\"
      docker-rollout.pre-stop-hook: cat /proc/sys/kernel/hostname >> /marks/drained && touch /tmp/drain && sleep 5
    environment: {{ON_TERM: die}}
    volumes: [\"{}:/marks\"]
    healthcheck:
      test: test ! -f /tmp/drain && /composed demo-app check
      interval: 500ms
      retries: 1
",
            world.project,
            image_with_shell(),
            marks.display()
        );
        let file = world.desired().join("compose.yaml");
        replace(&file, &text);
        let up = Command::new(&compose).arg("-f").arg(&file).args(["up", "--detach", "--wait"]).output().unwrap();
        assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
        let before = world.ids("web");
        let path = file.to_str().unwrap();
        // A context is as good as an address, and goes before one in the environment.
        let host = world.docker.host().unwrap_or("unix:///var/run/docker.sock");
        let make = ["context", "create", "near", "--docker", &format!("host={host}")];
        assert_eq!(by_docker(world, &make, &[]).code, 0);
        let second = std::thread::scope(|threads| {
            let nowhere = [("DOCKER_HOST", "unix:///nowhere.sock")];
            let words = ["--context", "near", "rollout", "-f", path, "--wait-after-healthy", "0", "web"];
            let first = threads.spawn(move || by_docker(world, &words, &nowhere));
            let drained = || std::fs::read_to_string(marks.join("drained")).map_err(|error| error.to_string());
            within(secs(60), "the hook is at work", drained);
            let second = rollout(world, &["-f", path, "web"]);
            let first = first.join().unwrap();
            assert_eq!(first.code, 0, "{}", first.text);
            assert!(
                !first.text.contains("memory was lost") && !first.text.contains("drain_timeout has"),
                "{}",
                first.text
            );
            say(&format!("  a hook of 5 s: {:.1?}", first.took));
            second
        });
        // Its hook ran in the one that Compose had made, and in no other.
        let drained = std::fs::read_to_string(marks.join("drained")).unwrap();
        let drained: Vec<_> = drained.lines().collect();
        assert!(drained.len() == 1 && before.iter().all(|id| id.starts_with(drained[0])), "{drained:?} {before:?}");
        assert!(world.ids("web").is_disjoint(&before));
        assert_eq!(second.code, 3, "{}", second.text);
        assert!(second.text.contains("another `composed rollout` is at work"), "{}", second.text);
        assert!(second.text.contains("pid ") && second.text.contains("docker volume rm"), "{}", second.text);

        // What docker-rollout's users say, too.
        for flag in ["-v", "--version"] {
            let told = by_docker(world, &["rollout", flag], &[]);
            assert!(told.code == 0 && told.text.starts_with("composed-rollout "), "{}", told.text);
        }
        let far = ["context", "create", "far", "--docker", "host=ssh://nobody@far"];
        assert_eq!(by_docker(world, &far, &[]).code, 0);
        let lost = by_docker(world, &["--context", "far", "rollout", "-f", path, "web"], &[]);
        assert!(
            lost.code == 3 && lost.text.contains("ssh://nobody@far") && lost.text.contains("forward"),
            "{}",
            lost.text
        );
        let empty = world.path("empty");
        std::fs::create_dir_all(&empty).unwrap();
        replace(&empty.join("compose.yaml"), "services: {web: {image: \"${NOT_SET_ANYWHERE}\"}}\n");
        let unset = rollout(world, &["-f", empty.join("compose.yaml").to_str().unwrap(), "web"]);
        assert!(unset.code == 2 && unset.text.contains("image"), "{}", unset.text);
    });
}
