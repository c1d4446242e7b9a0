//! A service in the network of another one's replicas: it moves with them, and nobody else does.

use std::collections::BTreeMap;
use std::process::Command;

use e2e::check::{Container, Watcher};
use e2e::controller::{Controller, plan};
use e2e::program::{compose, image};
use e2e::proxy::free_port;
use e2e::stage::{say, scenario};
use e2e::world::{World, replace};
use e2e::{secs, that, within};

fn project(world: &World, vpn: u32, app: u32, ports: &str) -> String {
    let check = "{test: [CMD, /composed, demo-app, check], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}";
    format!(
        "name: {}
services:
  vpn: {{image: \"{image}\", environment: {{VERSION: \"{vpn}\"}}, healthcheck: {check}, ports: [{ports}], stop_grace_period: 2s, x-composed: {{drain_timeout: 3s, rollout: {{min_ready: 1s}}}}}}
  app:
    image: \"{image}\"
    environment: {{VERSION: \"{app}\", PORT: \"8081\"}}
    network_mode: service:vpn
    healthcheck: {check}
    stop_grace_period: 2s
    x-composed: {{drain_timeout: 3s, rollout: {{min_ready: 1s}}}}
  other: {{image: \"{image}\", stop_grace_period: 2s, x-composed: {{rollout: {{min_ready: 1s}}}}}}
",
        world.project,
        image = image("1"),
    )
}

#[test]
fn s39_a_service_moves_with_the_one_whose_network_it_has() {
    scenario("39 network_mode: service", secs(300), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let file = world.desired().join("compose.yaml");
        replace(&file, &project(world, 1, 1, ""));
        let compose = |args: &[&str]| {
            let output = Command::new(&program).arg("-f").arg(&file).args(args).output().unwrap();
            assert!(output.status.success(), "compose {args:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        compose(&["up", "--detach", "--wait"]);
        let one = |service: &str| -> Result<Container, String> {
            let mut all = world.running(service);
            that(all.len() == 1, || format!("{all:?}"))?;
            Ok(all.remove(0))
        };
        let names = ["vpn", "app", "other"];
        let ids = || -> BTreeMap<&str, String> { names.map(|name| (name, one(name).unwrap().id)).into() };
        // Nothing of one that has gone in the very moment.
        let network = |id: &str| {
            let told = world.docker.output(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", id]).stdout;
            String::from_utf8_lossy(&told).trim().to_owned()
        };
        let empty = |when: &str| {
            let told = plan(world, &world.desired());
            assert_eq!(told.text.matches("nothing to do").count(), 3, "{when}: {}", told.text);
        };
        let before = ids();
        let controller = Controller::start(world);
        for service in names {
            controller.reason(service, "NewRevisionAvailable", secs(60));
        }
        assert_eq!(ids(), before, "all were adopted as they are");
        empty("after the handover");
        // What follows ends with `app` in the network of the one `vpn`, and both as they should be.
        let settles = |what: &str, old: &BTreeMap<&str, String>, changed: &[&str]| -> BTreeMap<&str, String> {
            within(secs(90), what, || {
                let (vpn, app) = (one("vpn")?, one("app")?);
                let now: BTreeMap<&str, String> =
                    names.into_iter().map(|name| Ok((name, one(name)?.id))).collect::<Result<_, String>>()?;
                let moved = names.iter().all(|name| (now[name] != old[name]) == changed.contains(name));
                that(moved && network(&app.id) == format!("container:{}", vpn.id), || {
                    format!("{now:?} {}", network(&app.id))
                })?;
                that(plan(world, &world.desired()).text.matches("nothing to do").count() == 3, || {
                    plan(world, &world.desired()).text
                })
            });
            ids()
        };

        let watch = ["vpn", "app"].map(|service| Watcher::start(world, service));
        let record = world.record();
        replace(&file, &project(world, 2, 1, ""));
        let now = settles("vpn is replaced, and app moves with it", &before, &["vpn", "app"]);
        for watcher in watch {
            let sights = watcher.stop();
            assert!(sights.fewest >= Some(1), "start-first: one of each was there all the time: {sights:?}");
        }
        let ends: Vec<String> =
            record.all().into_iter().filter(|(event, _)| event == "die").map(|(_, name)| name).collect();
        assert_eq!(
            ends,
            [format!("{}-app-1", world.project), format!("{}-vpn-1", world.project)],
            "first the guest, then its host"
        );

        replace(&file, &project(world, 2, 2, ""));
        let now = settles("app is replaced where it is", &now, &["app"]);

        world.docker.run(&["restart", "--time", "1", &now["vpn"]]);
        let now = settles("vpn was started anew by hand", &now, &["app"]);

        world.docker.run(&["rm", "--force", &now["vpn"]]);
        settles("vpn was removed by hand", &now, &["vpn", "app"]);

        let shown = compose(&["ps", "--all", "--format", "{{.Name}}"]);
        let mut shown: Vec<&str> = shown.lines().collect();
        shown.sort_unstable();
        assert_eq!(shown, world.containers().iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
    });
}

/// With a host port of its own `vpn` is stopped first: `app` goes before it, and comes back after it.
#[test]
fn s43_a_service_goes_before_the_one_whose_network_it_has() {
    scenario("43 network_mode: service, stop-first", secs(240), |world| {
        let port = format!("\"127.0.0.1:{}:8080\"", free_port());
        let file = world.desired().join("compose.yaml");
        replace(&file, &project(world, 1, 1, &port));
        let controller = Controller::start(world);
        let ids = |service: &str| -> Vec<String> { world.all_of(service).into_iter().map(|one| one.id).collect() };
        for service in ["vpn", "app", "other"] {
            controller.reason(service, "NewRevisionAvailable", secs(60));
        }
        let before = ["vpn", "app", "other"].map(ids);
        let record = world.record();
        replace(&file, &project(world, 2, 1, &port));
        within(secs(90), "vpn is replaced, and app after it", || {
            let now = ["vpn", "app", "other"].map(ids);
            let new = now[0].len() == 1 && now[1].len() == 1 && now[0] != before[0] && now[1] != before[1];
            that(new && now[2] == before[2], || format!("{now:?}"))?;
            let network =
                world.docker.output(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", &now[1][0]]).stdout;
            let network = String::from_utf8_lossy(&network).trim().to_owned();
            that(network == format!("container:{}", now[0][0]), || network)
        });
        for service in ["vpn", "app", "other"] {
            controller.reason(service, "NewRevisionAvailable", secs(60));
        }
        let name = |service: &str, number: u32| format!("{}-{service}-{number}", world.project);
        let lives = record.all().into_iter().filter(|(event, _)| event == "die" || event == "start");
        let lives: Vec<_> = lives.map(|(event, name)| format!("{event} {name}")).collect();
        let started: Vec<&String> = lives.iter().filter(|line| line.starts_with("start ")).collect();
        assert_eq!(lives[..2], [format!("die {}", name("app", 1)), format!("die {}", name("vpn", 1))], "{lives:?}");
        assert!(lives.len() == 4 && started[0].contains("-vpn-") && started[1].contains("-app-"), "{lives:?}");
    });
}
