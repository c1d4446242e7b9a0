//! Containers that run once around a rollout, and the order of what changes at once.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Child;
use std::sync::{Arc, Mutex};

use e2e::check::Container;
use e2e::controller::{Controller, brief, condition, verb};
use e2e::document::Service;
use e2e::git::git;
use e2e::program::image;
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::world::World;
use e2e::{millis, secs, stays, that, within};
use serde_json::Value;

/// What happened to the containers of a world, as the engine tells it: name, action and exit code, in order.
struct Events(Child, Arc<Mutex<Vec<(String, String, String)>>>);

impl Events {
    fn start(world: &World) -> Self {
        let label = format!("label=com.docker.compose.project={}", world.project);
        let words = ["events", "--filter", "type=container", "--filter", &label, "--format", "{{json .}}"];
        let mut child = world.docker.start(&words.map(str::to_owned));
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                let attributes = &event["Actor"]["Attributes"];
                let action = text(&event["Action"]);
                // Checks would bury the rest.
                if !action.starts_with("exec_") {
                    seen.lock().unwrap().push((text(&attributes["name"]), action, text(&attributes["exitCode"])));
                }
            }
        });
        // The engine does not say when it has begun to tell.
        std::thread::sleep(millis(300));
        Self(child, events)
    }

    fn all(&self) -> Vec<(String, String, String)> {
        self.1.lock().unwrap().clone()
    }

    fn count(&self, name: &str, action: &str) -> usize {
        self.all().iter().filter(|(of, what, _)| of == name && what == action).count()
    }

    /// The place of an event among all.
    fn place(&self, name: &str, action: &str) -> usize {
        let all = self.all();
        let found = all.iter().position(|(of, what, _)| of == name && what == action);
        found.unwrap_or_else(|| panic!("no {action} of {name}: {all:#?}"))
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A command that takes so long and ends with a code, in the application's own image.
fn hook(takes: u32, code: u8, more: &str) -> String {
    format!(
        "{{pre_deploy: {{command: [/composed, demo-app], entrypoint: [], environment: {{CRASH_AFTER_MS: {takes}, EXIT_CODE: {code}}}{more}}}}}"
    )
}

fn web() -> Service {
    Service::new("web", 2).env("TOKEN", "hunter22").key("labels", "{traefik.enable: \"true\"}")
}

fn pre_deploy(status: &Value) -> Value {
    status["history"][0]["preDeploy"].clone()
}

/// Takes notifications on loopback: the address, and what was told.
fn ear() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/hook", listener.local_addr().unwrap());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut text = Vec::new();
            let mut piece = [0; 4096];
            // The body is one object, and the last of it.
            while !text.ends_with(b"}") {
                match stream.read(&mut piece) {
                    Ok(length) if length > 0 => text.extend_from_slice(&piece[..length]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&text).into_owned();
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let body: Value = serde_json::from_str(body).unwrap_or_default();
            heard.lock().unwrap().push(body["event"].as_str().unwrap_or_default().to_owned());
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
        }
    });
    (address, told)
}

/// The running replicas; a hook's container may be there beside them.
fn replicas(world: &World) -> Vec<Container> {
    world.running("web").into_iter().filter(|one| !one.name.ends_with("-deploy")).collect()
}

/// Two of an image, and no other.
fn runs_only(world: &World, image: &str) {
    let running = replicas(world);
    assert!(running.len() == 2 && running.iter().all(|one| one.healthy && one.image == image), "{running:#?}");
}

fn name(world: &World, end: &str) -> String {
    format!("{}-{end}", world.project)
}

#[test]
fn s60_a_hook_comes_before_the_rollout_and_one_that_fails_costs_nothing() {
    scenario("60 pre_deploy", secs(300), |world| {
        world.write(&web().key("hooks", &hook(100, 0, "")));
        let (address, heard) = ear();
        let controller = Controller::start_with(world, &["--notify-url".to_owned(), address]);
        let first = controller.converged("web", "", secs(60));
        let traffic = Traffic::start(world, "web");
        let events = Events::start(world);
        world.write(&web().version("2").key("hooks", &hook(3000, 0, "")));
        let pre = name(world, "web-pre-deploy");
        // While it runs it is nobody that requests are sent to.
        let running = within(secs(30), "the hook runs", || {
            let seen = world.docker.run(&["ps", "-q", "--filter", &format!("name=^/{pre}$")]);
            that(!seen.is_empty(), || "not yet".to_owned())?;
            Ok(seen)
        });
        let seen = world.docker.run(&["inspect", "--format", "{{json .}}", &running]);
        let seen: Value = serde_json::from_str(&seen).unwrap();
        let labels = &seen["Config"]["Labels"];
        assert_eq!(
            (labels["com.docker.compose.oneoff"].as_str(), labels["dev.composed.hook"].as_str()),
            (Some("True"), Some("pre_deploy"))
        );
        assert!(labels["traefik.enable"].is_null(), "a proxy would take it for a replica: {labels}");
        let networks = seen["NetworkSettings"]["Networks"].as_object().unwrap();
        assert_eq!(networks.len(), 1);
        for network in networks.values() {
            let aliases = network["Aliases"].as_array().cloned().unwrap_or_default();
            assert!(!aliases.contains(&"web".into()), "it has the service's name: {network}");
        }
        assert!(seen["HostConfig"]["PortBindings"].as_object().is_none_or(serde_json::Map::is_empty), "{seen}");
        assert_eq!(replicas(world).len(), 2, "nothing of the new revision is made meanwhile");
        let second = controller.converged("web", &first, secs(90));
        assert_eq!(events.count(&pre, "start"), 1);
        assert!(events.place(&pre, "die") < events.place(&name(world, "web-3"), "create"), "{:#?}", events.all());
        let told = verb(world, &["history", "web"]).text;
        assert!(told.contains("pre_deploy") && told.contains("Succeeded"), "{told}");

        // One that fails.
        world.write(&web().version("3").key("hooks", &hook(500, 3, "")));
        let status = controller.reason("web", "PreDeployFailed", secs(60));
        assert_eq!(condition(&status, "ReplicaFailure")["reason"], "PreDeployFailed", "{status}");
        let ended = pre_deploy(&status);
        assert_eq!((ended["outcome"].as_str(), ended["exitCode"].as_i64()), (Some("Failed"), Some(3)), "{status}");
        assert_eq!(ended["output"][0], "version 3 ends with code 3", "{status}");
        runs_only(world, &image("2"));
        assert_eq!(events.count(&pre, "start"), 2);
        let told = verb(world, &["history", "web"]).text;
        assert!(told.contains("version 3 ends with code 3"), "{told}");

        // One that takes too long, and ends with 0 when it is told to stop.
        world.write(&web().version("4").key("hooks", &hook(600_000, 0, ", timeout: 3s")));
        let status = within(secs(60), "the hook is given up", || {
            let status = controller.status("web")?;
            let done = pre_deploy(&status)["outcome"] == "TimedOut" && status["history"][0]["outcome"] == "Failed";
            that(done, || brief(&status))?;
            Ok(status)
        });
        assert!(!status.to_string().contains("hunter22"), "a secret in the status");
        runs_only(world, &image("2"));
        stays(secs(3), "it is not run again", || {
            let now = (events.count(&pre, "start"), replicas(world).len());
            that(now == (3, 2), || format!("{now:?} {:#?}", events.all()))
        });
        assert_eq!(controller.status("web").unwrap()["currentRevision"], second.as_str());
        let report = traffic.stop();
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert!(!controller.said().contains("hunter22"), "a secret in the log");
        within(secs(10), "each outcome is told once", || {
            let told = heard.lock().unwrap().clone();
            that(told == ["deployed", "deployed", "failed", "failed"], || format!("{told:?}"))
        });
        say(&format!("  {report}"));
    });
}

#[test]
fn s61_a_hook_outlives_the_controller_and_one_that_was_interrupted_goes_by_its_policy() {
    scenario("61 pre_deploy and SIGKILL", secs(300), |world| {
        world.write(&web());
        let mut controller = Controller::start(world);
        let first = controller.converged("web", "", secs(60));
        let events = Events::start(world);
        let pre = name(world, "web-pre-deploy");
        let runs = |count: usize| {
            within(secs(60), "the hook runs", || {
                that(events.count(&pre, "start") == count, || format!("{:?}", events.all()))
            });
        };
        // The controller dies; the hook goes on, and is not run twice, not even when the memory is lost.
        world.write(&web().version("2").key("hooks", &hook(6000, 0, "")));
        runs(1);
        controller.kill();
        std::fs::remove_dir_all(world.state_dir().join("services")).unwrap();
        let mut controller = Controller::start(world);
        let second = controller.converged("web", &first, secs(90));
        assert_eq!(events.count(&pre, "start"), 1, "{:#?}", events.all());
        say("  the controller was killed while the hook ran: it ran once");

        // It is killed while nobody looks: by default that fails the revision.
        world.write(&web().version("3").key("hooks", &hook(60_000, 0, "")));
        runs(2);
        controller.kill();
        world.docker.run(&["kill", &pre]);
        let mut controller = Controller::start(world);
        let status = controller.reason("web", "PreDeployFailed", secs(60));
        assert_eq!(pre_deploy(&status)["outcome"], "Interrupted", "{status}");
        runs_only(world, &image("2"));

        // With the other policy it is run again.
        world.write(&web().version("4").key("hooks", &hook(4000, 0, ", on_interrupt: rerun")));
        runs(3);
        controller.kill();
        world.docker.run(&["kill", &pre]);
        let controller = Controller::start(world);
        controller.converged("web", &second, secs(90));
        runs(4);
        let status = controller.status("web").unwrap();
        assert_eq!(pre_deploy(&status)["attempts"], 2, "{status}");
        runs_only(world, &image("4"));
    });
}

#[test]
fn s62_changed_services_roll_in_the_order_of_depends_on() {
    scenario("62 order of rollouts", secs(240), |world| {
        let all = |version: &str| {
            [
                Service::new("db", 1).version(version),
                Service::new("web", 2).version(version).key("depends_on", "[db]"),
                Service::new("other", 1).version(version),
            ]
        };
        for service in all("1") {
            world.write(&service);
        }
        let controller = Controller::start(world);
        let first = controller.converged("web", "", secs(90));
        controller.converged("other", "", secs(60));
        let traffic = Traffic::start(world, "web");
        let events = Events::start(world);
        // The dependant first.
        for service in all("2").iter().rev() {
            world.write(service);
        }
        controller.meets("web", secs(60), "it waits for db", |status| {
            status["waiting"].to_string().contains("db: its change is not rolled out yet")
        });
        controller.converged("web", &first, secs(120));
        let of = |service: &str| name(world, service);
        let healthy = events.place(&of("db-2"), "health_status: healthy");
        assert!(healthy < events.place(&of("web-3"), "create"), "{:#?}", events.all());
        assert!(events.place(&of("other-2"), "create") < healthy, "others do not wait: {:#?}", events.all());
        let report = traffic.stop();
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        say(&format!("  {report}"));
    });
}

/// The last of what must be shown: four services, a migration, one push.
#[test]
fn s63_one_push_deploys_four_services_with_a_migration_under_traffic() {
    scenario("63 git push of four services", secs(300), |world| {
        let all = |version: &str| {
            let service = |name: &str, replicas| Service::new(name, replicas).version(version);
            [
                service("db", 1),
                service("api", 2).key("depends_on", "[db]").key("hooks", &hook(3000, 0, "")),
                service("web", 2).key("depends_on", "{api: {condition: service_healthy}}"),
                service("worker", 1).key("depends_on", "[db]"),
            ]
        };
        let (bare, work) = (world.path("deploy.git"), world.path("work"));
        git(&world.path(""), &["init", "--bare", "--quiet", "deploy.git"]);
        git(&world.path(""), &["clone", "--quiet", "deploy.git", "work"]);
        let push = |version: &str| {
            for service in all(version) {
                std::fs::write(work.join(format!("{}.yaml", service.name)), service.yaml(&world.project)).unwrap();
            }
            git(&work, &["add", "."]);
            git(&work, &["commit", "--quiet", "-m", &format!("version {version}")]);
            git(&work, &["push", "--quiet", "origin", "HEAD:main"]);
        };
        push("1");
        let controller = Controller::start_on_git(world, &bare);
        let names = ["db", "api", "web", "worker"];
        let firsts = names.map(|name| controller.converged(name, "", secs(90)));
        let traffic = [Traffic::at_rate(world, "web", 100), Traffic::at_rate(world, "api", 100)];
        let events = Events::start(world);
        let began = std::time::Instant::now();
        push("2");
        for (name, first) in names.iter().zip(&firsts) {
            controller.converged(name, first, secs(120));
        }
        let took = began.elapsed();
        let of = |end: &str| name(world, end);
        let pre = of("api-pre-deploy");
        let order = [
            events.place(&of("db-2"), "health_status: healthy"),
            events.place(&pre, "create"),
            events.place(&pre, "die"),
            events.place(&of("api-3"), "create"),
            events.place(&of("api-3"), "health_status: healthy"),
            events.place(&of("web-3"), "create"),
        ];
        assert!(order.is_sorted(), "{order:?} {:#?}", events.all());
        assert!(order[0] < events.place(&of("worker-2"), "create"), "{:#?}", events.all());
        assert_eq!(events.count(&pre, "start"), 1);
        for name in names {
            let status = controller.status(name).unwrap();
            assert_eq!(status["commit"]["subject"], "version 2", "{status}");
        }
        for traffic in traffic {
            let report = traffic.stop();
            assert_eq!(report.failed, 0, "{:#?}", report.errors);
            say(&format!("  {report}"));
        }
        say(&format!("  one push to four services as asked for: {took:.1?}"));
    });
}
