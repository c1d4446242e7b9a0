//! `composed apply` and its exit codes.

use std::process::Command;

use e2e::controller::{Controller, apply, apply_to, condition, verb};
use e2e::document::Service;
use e2e::program::{compose, image};
use e2e::secs;
use e2e::stage::{say, scenario};
use e2e::world::replace;

#[test]
fn s03_apply_says_with_its_exit_code_how_it_went() {
    scenario("3 apply", secs(180), |world| {
        let web = Service::new("web", 2);
        let file = world.write(&web);
        let first = apply(world, &world.desired(), &[]);
        assert_eq!(first.code, 0, "{}", first.text);
        world.only("web", 2, &image("1"));
        let before = world.ids("web");

        // Again: nothing to do, by composed's own word and by Docker's.
        let record = world.record();
        let again = apply(world, &world.desired(), &[]);
        assert_eq!(again.code, 0, "{}", again.text);
        assert_eq!(record.all(), []);
        drop(record);
        assert_eq!(world.ids("web"), before);
        say(&format!("  first apply {:.1?}, a second one {:.1?}", first.took, again.took));

        // Invalid: said with its place, nothing stopped.
        let good = std::fs::read_to_string(&file).unwrap();
        let bad = good.replace("  image:", "  imge: x\n  image:");
        let line = 1 + bad.lines().position(|line| line.contains("imge")).unwrap();
        replace(&file, &bad);
        let invalid = apply(world, &world.desired(), &[]);
        assert_eq!(invalid.code, 2, "{}", invalid.text);
        assert!(invalid.text.contains(&format!("web.yaml:{line}:3")), "{}", invalid.text);
        assert_eq!(world.ids("web"), before);
        replace(&file, &good);

        // No engine.
        let nowhere = format!("unix://{}", world.path("no-engine.sock").display());
        let none = apply_to(world, &world.desired(), &nowhere);
        assert_eq!(none.code, 3, "{}", none.text);
        assert!(none.text.contains("no-engine.sock"), "{}", none.text);
        assert!(none.took < secs(60), "{:?}", none.took);
        assert_eq!(world.ids("web"), before);

        // A change is complete when apply says so: the last old replica is not left draining.
        world.write(&web.version("2"));
        let changed = apply(world, &world.desired(), &[]);
        assert_eq!(changed.code, 0, "{}", changed.text);
        world.only("web", 2, &image("2"));
    });
}

#[test]
fn s03_apply_wait_follows_the_controller_to_the_end() {
    scenario("3 apply --wait", secs(180), |world| {
        let web = Service::new("web", 1);
        world.write(&web);
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        // Nothing of this makes another revision.
        for (replicas, surge) in [(3, "1"), (1, "2"), (2, "1")] {
            world.write(&web.clone().replicas(replicas).rollout("max_surge", surge));
            let done = apply(world, &world.desired(), &["--wait"]);
            assert_eq!(done.code, 0, "{}", done.text);
            world.only("web", replicas as usize, &image("1"));
        }
    });
}

#[test]
fn s03_apply_of_one_file_finds_its_dependencies_and_its_directories() {
    scenario("3 apply of one file", secs(180), |world| {
        world.write(&Service::new("db", 1));
        assert_eq!(apply(world, &world.desired(), &[]).code, 0);
        let on = "{db: {condition: service_healthy}}";
        let web = Service::new("web", 1).key("depends_on", on).key("volumes", "[\"./data:/data:ro\"]");
        let file = world.write(&web);
        let host_dir = world.path("elsewhere");
        let done = apply(world, &file, &["--host-dir", &host_dir.display().to_string()]);
        assert_eq!(done.code, 0, "{}", done.text);
        assert!(done.took < secs(60), "{:?}", done.took);
        let id = world.ids("web").into_iter().next().expect("one replica");
        let source = world.docker.run(&["inspect", "--format", "{{(index .Mounts 0).Source}}", &id]);
        assert_eq!(source.trim(), host_dir.join("data").display().to_string());
    });
}

#[test]
fn s03_apply_ends_when_what_is_unwanted_is_gone() {
    scenario("3 apply removes", secs(180), |world| {
        for name in ["a", "b", "c"] {
            world.write(&Service::new(name, 1));
        }
        assert_eq!(apply(world, &world.desired(), &[]).code, 0);
        std::fs::remove_file(world.file("a")).unwrap();
        let fewer = apply(world, &world.desired(), &[]);
        assert_eq!(fewer.code, 0, "{}", fewer.text);
        assert_eq!(world.ids("a").len(), 0, "{}", fewer.text);
        std::fs::remove_file(world.file("b")).unwrap();
        std::fs::remove_file(world.file("c")).unwrap();
        let none = apply(world, &world.desired(), &["--confirm-deletion"]);
        assert_eq!(none.code, 0, "{}", none.text);
        assert_eq!(world.containers().len(), 0, "{}", none.text);
        let label = format!("label=com.docker.compose.project={}", world.project);
        assert_eq!(world.docker.run(&["network", "ls", "-q", "--filter", &label]).trim(), "", "{}", none.text);
    });
}

/// What it began and cannot end well is taken away before it ends; once more is another attempt.
#[test]
fn s78_a_failed_apply_leaves_nothing_half_done() {
    scenario("78 a failed apply", secs(240), |world| {
        let live = || world.all_of("web").into_iter().filter(|one| one.state != "exited").count();
        let web = Service::new("web", 2).rollout("max_surge", "100%");
        world.write(&web.clone().env("HEALTH", "never"));
        let first = apply(world, &world.desired(), &[]);
        assert_eq!(first.code, 1, "{}", first.text);
        assert!(first.text.contains("there is no earlier revision to go back to"), "{}", first.text);
        assert_eq!(live(), 0, "{:?}", world.all_of("web"));
        let kept = world.all_of("web");
        assert!(kept.len() == 1 && kept[0].name.ends_with("-web-failed"), "one is kept for looking at: {kept:?}");
        let again = apply(world, &world.desired(), &[]);
        assert_eq!((again.code, live()), (1, 0), "it is tried once more, and fails: {}", again.text);
        assert!(again.text.contains("create "), "{}", again.text);

        world.write(&web);
        let well = apply(world, &world.desired(), &[]);
        assert_eq!(well.code, 0, "{}", well.text);
        world.only("web", 2, &image("1"));
        let before = world.ids("web");

        // Beside what runs well nothing of a failure stays either.
        world.write(&web.env("HEALTH", "never").env("SECOND", "1"));
        let failed = apply(world, &world.desired(), &[]);
        assert_eq!(failed.code, 1, "{}", failed.text);
        assert_eq!(live(), 2, "{:?}", world.all_of("web"));
        let now = world.all_of("web").into_iter().filter(|one| one.state == "running").map(|one| one.id);
        assert!(now.clone().all(|id| before.contains(&id)), "the old ones were never touched");
    });
}

/// What only people can bring about is an error before anything begins, and a condition where a controller watches.
#[test]
fn s80_what_others_have_to_create_is_told_before_anything_begins() {
    scenario("80 what others have to create", secs(180), |world| {
        let (network, volume) = (format!("{}-outer", world.project), format!("{}-data", world.project));
        let project = format!(
            "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {{name: {}}}\nspec:\n  networks: {{outer: {{external: true, name: {network}}}}}\n  volumes: {{data: {{external: true, name: {volume}}}}}\n",
            world.project
        );
        replace(&world.desired().join("project.yaml"), &project);
        let secret = world.desired().join("token.txt");
        let mount = format!(
            "[\"data:/data:ro\", {{type: bind, source: {}, target: /run/secrets/token, read_only: true}}]",
            secret.display()
        );
        world.write(&Service::new("db", 1));
        let web = Service::new("web", 1).key("networks", "{outer: {}}").key("volumes", &mount);
        world.write(&web);
        let here = world.desired().display().to_string();
        for done in [
            apply(world, &world.desired(), &["--host-dir", &here]),
            verb(world, &["plan", &here, "--host-dir", &here]),
            verb(world, &["rollout", "web", &here, "--host-dir", &here]),
        ] {
            assert_eq!(done.code, 2, "{}", done.text);
            let mut lines = done.text.lines();
            let line = lines.find(|line| line.contains(&network) && line.contains("error")).unwrap_or_default();
            assert!(line.contains("web.yaml:") && line.contains("networks.outer"), "{}", done.text);
            assert!(line.contains(&format!("docker network create {network}")), "{}", done.text);
            assert!(done.text.contains(&format!("docker volume create {volume}")), "{}", done.text);
            assert!(done.text.contains("token.txt") && done.text.contains("create the file"), "{}", done.text);
        }
        assert_eq!(world.containers().len(), 0, "nothing has begun, neither of the other service");

        // A controller does what it can, says what is missing, and goes on by itself.
        let controller = Controller::start(world);
        controller.converged("db", "", secs(60));
        let status = controller.reason("web", "NetworkMissing", secs(30));
        let message = condition(&status, "Progressing")["message"].to_string();
        assert!(message.contains(&format!("docker network create {network}")), "{message}");
        world.docker.run(&["network", "create", &network]);
        world.docker.run(&["volume", "create", &volume]);
        let status = controller.reason("web", "MountMissing", secs(30));
        let message = condition(&status, "Progressing")["message"].to_string();
        assert!(message.contains("token.txt"), "{message}");
        std::fs::write(&secret, "s3cret").unwrap();
        controller.converged("web", "", secs(60));
        drop(controller);
        // The same, asked for once, is in order by now; one service that is replaced with nobody told is warned of before.
        world.write(&web.version("2").key("expose", "[\"8080\"]"));
        let changed = apply(world, &world.desired(), &["--host-dir", &here]);
        assert_eq!(changed.code, 0, "{}", changed.text);
        assert!(changed.text.contains("`front: http`") && !changed.text.contains("db: requests"), "{}", changed.text);
        world.docker.each(&["ps", "-aq", "--filter", &format!("network={network}")], &["rm", "-f"]);
        world.docker.run(&["network", "rm", &network]);
        world.docker.run(&["volume", "rm", &volume]);
    });
}

/// What `docker compose up` has created and not started, since it was ended in between, holds up nobody who asks now.
#[test]
fn s82_a_container_that_an_aborted_up_has_left_is_replaced_at_once() {
    scenario("82 an aborted up", secs(120), |world| {
        let compose = match compose() {
            Ok(compose) => compose,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let file = world.desired().join("compose.yaml");
        let text = format!(
            "name: {}\nservices:\n  web:\n    image: {}\n    x-composed: {{rollout: {{min_ready: 0s}}}}\n",
            world.project,
            image("1")
        );
        replace(&file, &text);
        let made = Command::new(&compose).arg("-f").arg(&file).arg("create").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let left = world.all_of("web");
        assert!(left.len() == 1 && left[0].state == "created", "{left:?}");
        let done = apply(world, &file, &[]);
        assert_eq!(done.code, 0, "{}", done.text);
        assert!(!done.text.contains("waits for docker compose"), "{}", done.text);
        let now = world.all_of("web");
        assert!(now.len() == 1 && now[0].state == "running" && now[0].id != left[0].id, "{now:?}");
        say(&format!("  {:.1?}", done.took));
    });
}
