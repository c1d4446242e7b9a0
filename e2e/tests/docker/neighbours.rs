//! Others on the same engine: a second controller, people with their own containers, Compose.

use std::process::Command;

use e2e::check::Recorder;
use e2e::controller::{Controller, apply};
use e2e::document::Service;
use e2e::program::{compose, image};
use e2e::stage::{say, scenario};
use e2e::world::World;
use e2e::{secs, stays, that, within};

#[test]
fn s09_of_two_controllers_one_acts_and_one_waits() {
    scenario("9 two controllers", secs(180), |world| {
        let web = Service::new("web", 2);
        world.write(&web);
        let mut first = Controller::start(world);
        let revision = first.converged("web", "", secs(60));
        let second = Controller::start_at(world, &world.path("second.sock"));
        let pid = |text: &str| text.contains("another controller");
        let said = within(secs(15), "the second says that it waits", || {
            let overview = second.overview()?;
            let blocked = overview["health"]["blocked"].as_str().unwrap_or_default().to_owned();
            that(pid(&blocked), || overview.to_string())?;
            Ok(blocked)
        });
        say(&format!("  {said}"));
        // The first one goes on acting; the second one, which sees the same change, does not.
        let record = world.record();
        world.write(&web.clone().version("2"));
        first.converged("web", &revision, secs(90));
        world.only("web", 2, &image("2"));
        assert_eq!(record.seen("create").len(), 2, "each replica is made once");
        let waiting = apply(world, &world.desired(), &[]);
        assert_eq!(waiting.code, 3, "{}", waiting.text);

        assert!(first.stop().success());
        world.write(&web.version("3"));
        second.converged("web", &revision, secs(90));
        world.only("web", 2, &image("3"));
        let blocked = second.overview().unwrap()["health"]["blocked"].clone();
        assert!(blocked.is_null(), "{blocked}");
    });
}

#[test]
fn s10_containers_of_others_are_never_touched() {
    scenario("10 foreign containers", secs(180), |world| {
        let docker = &world.docker;
        let name = |number: u32| format!("{}-web-{number}", world.project);
        let running = docker.run(&["run", "-d", "--name", &name(2), &image("1")]);
        let stopped = docker.run(&["create", "--name", &name(3), &image("1")]);
        let filters = [&running, &stopped].map(|id| format!("container={id}"));
        let record = Recorder::start(docker, &filters.each_ref().map(String::as_str));
        world.write(&Service::new("web", 3));
        let controller = Controller::start(world);
        // Three under other numbers; or those whose names are free, and the conflict is said.
        let ours = within(secs(30), "three of ours, or one and the conflict is said", || {
            let ours = world.running("web");
            let status = controller.status("web")?;
            let said = status.to_string().contains("NameConflict");
            that(ours.len() == 3 || (ours.len() == 1 && said), || e2e::controller::brief(&status))?;
            Ok(ours)
        });
        say(&format!("  {ours:?}"));
        world.write(&Service::new("web", 1));
        let state = |id: &str| docker.run(&["inspect", "--format", "{{.Name}} {{.State.Status}}", id]);
        stays(secs(8), "others' are left alone", || {
            let now = [state(&running), state(&stopped)];
            that(now == [format!("/{} running", name(2)), format!("/{} created", name(3))], || format!("{now:?}"))
        });
        drop(controller);
        assert_eq!(record.all(), []);
    });
}

#[test]
fn s11_compose_sees_the_replicas() {
    scenario("11 Docker Compose", secs(240), |world: &World| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        world.write(&Service::new("web", 2).key("ports", r#"["127.0.0.1::8080"]"#));
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        let compose = |args: &[&str]| {
            let output = Command::new(&program).args(["-p", &world.project]).args(args).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "compose {args:?}: {error}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let version = compose(&["version", "--short"]);
        say(&format!("  Docker Compose {version}"));
        assert!(version.trim_start_matches('v').starts_with("5."), "{version}");
        // A machine that stands still for a moment makes a healthcheck fail.
        within(secs(60), "Compose shows both as healthy", || {
            let names = compose(&["ps", "--format", "{{.Name}} {{.Service}} {{.State}} {{.Health}}"]);
            let is_shown = |number: u32| {
                let line = format!("{}-web-{number} web running healthy", world.project);
                names.lines().any(|shown| shown == line)
            };
            that(is_shown(1) && is_shown(2), || names.clone())
        });
        let ids = compose(&["ps", "-q", "web"]);
        assert_eq!(ids.lines().count(), 2, "{ids}");
        // The application logs nothing by itself: what matters is that both are found.
        compose(&["logs", "web"]);
        let check = compose(&["exec", "-T", "--index", "2", "web", "/composed", "demo-app", "check"]);
        assert_eq!(check, "");
        // A healthcheck that runs at this moment is a process, too.
        let top = compose(&["top", "web"]);
        assert_eq!(top.lines().filter(|line| line.trim_end().ends_with("demo-app")).count(), 2, "{top}");
        let stats = compose(&["stats", "--no-stream", "--format", "{{.Name}}", "web"]);
        assert!(stats.contains(&format!("{}-web-", world.project)), "{stats}");
        let copy = world.path("hostname");
        compose(&["cp", "--index", "2", "web:/etc/hostname", copy.to_str().unwrap()]);
        let id = world.docker.run(&["inspect", "--format", "{{.Id}}", &format!("{}-web-2", world.project)]);
        assert_eq!(std::fs::read_to_string(copy).unwrap().trim(), &id[..12]);
        let ports = ["1", "2"].map(|index| compose(&["port", "--index", index, "web", "8080"]));
        assert!(ports.iter().all(|port| port.starts_with("127.0.0.1:")) && ports[0] != ports[1], "{ports:?}");
        let projects = compose(&["ls", "--format", "json"]);
        assert!(projects.contains(&world.project), "{projects}");
    });
}
