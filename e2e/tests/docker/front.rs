//! Fronts: a published port and a name that stay while everything behind them changes.

#[path = "front/changes.rs"]
mod changes;
#[path = "front/own.rs"]
mod own;

use std::net::SocketAddr;
use std::time::Instant;

use e2e::clients::{Load, Use};
use e2e::controller::Controller;
use e2e::document::Service;
use e2e::haproxy::haproxy_or_skip;
use e2e::program::image;
use e2e::stage::{say, scenario, scenario_alone};
use e2e::traffic::{RATE, Report};
use e2e::world::World;
use e2e::{let_load_go_on, millis, secs, that, within};

/// Each answer takes so long.
const LATENCY: &str = "100";

/// A port of this host that nobody listens on.
fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An application that dies at once at SIGTERM, behind a front that has the host port.
fn web(at: SocketAddr, replicas: u32, mode: &str, haproxy: &str) -> Service {
    Service::new("web", replicas)
        .key("ports", &format!("[\"{at}:8080\"]"))
        .key("front", &format!("{{mode: {mode}, image: \"{haproxy}\"}}"))
        .key("healthcheck", "{disable: true}")
        .key("readiness", "{http: {path: /healthz, port: 8080}, period: 100ms}")
        .rollout("min_ready", "0s")
        .env("ON_TERM", "die")
        .env("LATENCY_MS", LATENCY)
}

/// Waits until an answer comes through.
fn open(at: SocketAddr) {
    within(secs(30), "the front answers", || {
        let load = Load::start(at, "/", 20, Use::Close);
        let_load_go_on(millis(300));
        let report = load.stop();
        that(report.failed == 0 && report.sent > 0, || report.to_string())
    });
}

fn started(world: &World, mode: &str, replicas: u32, haproxy: &str) -> (Controller, SocketAddr, Service, String) {
    let at = free_port();
    let web = web(at, replicas, mode, haproxy);
    world.write(&web);
    let controller = Controller::start(world);
    let revision = controller.converged("web", "", secs(60));
    controller.converged("web-front", "", secs(60));
    open(at);
    (controller, at, web, revision)
}

/// So many replicas of a version, and no other.
fn only(world: &World, replicas: usize, version: &str) {
    let there = world.all_of("web");
    let as_wanted = there.iter().filter(|one| one.state == "running" && one.image == image(version)).count();
    assert!(as_wanted == replicas && there.len() == replicas, "{replicas} of version {version}, but: {there:?}");
}

/// Three rollouts; returns the last revision. Says how long each replace took, from the new document to rest.
fn rollouts(world: &World, controller: &Controller, web: &Service, replicas: usize, mut last: String) -> String {
    for version in ["2", "3", "1"] {
        let began = Instant::now();
        world.write(&web.clone().version(version));
        last = controller.converged("web", &last, secs(90));
        let took = began.elapsed();
        only(world, replicas, version);
        let each = took / u32::try_from(replicas).unwrap();
        say(&format!("  to version {version}: {took:.2?}, {each:.2?} a replica"));
    }
    last
}

fn none_failed(what: &str, report: &Report) {
    say(&format!("  {what}: {report}"));
    assert_eq!(report.failed, 0, "{what}: {:#?}", report.errors);
    assert!(report.sent > u64::from(RATE) * 2, "{what}: {report}");
}

fn front_of_one(mode: &str, used: Use) {
    let name = format!("20 front {mode}");
    scenario(&name, secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip(&name) else { return };
        let (controller, at, web, revision) = started(world, mode, 1, &haproxy);
        let load = Load::start(at, "/", RATE, used);
        rollouts(world, &controller, &web, 1, revision);
        none_failed("1 replica, 3 rollouts", &load.stop());
    });
}

#[test]
fn s20_a_front_of_one_replica_by_http() {
    front_of_one("http", Use::Mixed);
}

#[test]
fn s20_a_front_of_one_replica_by_tcp() {
    front_of_one("tcp", Use::Close);
}

#[test]
fn s21_a_front_of_three() {
    scenario("21 front of three", secs(300), |world| {
        let Some(haproxy) = haproxy_or_skip("21 front of three") else { return };
        let (mut controller, at, web, revision) = started(world, "http", 3, &haproxy);
        let load = Load::start(at, "/", RATE, Use::Mixed);
        let last = rollouts(world, &controller, &web, 3, revision);
        none_failed("3 replicas, 3 rollouts", &load.stop());

        // By the address that a client in the network got once for the name, and keeps.
        let load = [Load::start(at, "/", RATE, Use::Mixed), Load::start(inside(world), "/", RATE / 2, Use::Mixed)];
        let mut last = last;
        for replicas in [1, 3] {
            world.write(&web.clone().replicas(replicas));
            last = controller.scaled("web", replicas, &last, secs(60));
        }
        let broken = web.clone().version("2").env("HEALTH", "never").rollout("progress_deadline", "5s");
        world.write(&broken);
        controller.reason("web", "RolledBack", secs(60));
        controller_whole(&controller, 3);
        world.write(&web);
        let last = controller.converged("web", "", secs(60));
        only(world, 3, "1");
        for (load, whose) in load.into_iter().zip(["by the host port", "by the name's address"]) {
            none_failed(&format!("3 to 1 to 3, and a rollback, {whose}"), &load.stop());
        }

        let load = Load::start(at, "/", RATE / 3, Use::Mixed);
        let_load_go_on(millis(500));
        let victim = world.ids("web").pop_first().unwrap();
        world.docker.run(&["kill", &victim]);
        controller_whole(&controller, 3);
        let_load_go_on(secs(1));
        let report = load.stop();
        say(&format!("  kill -9 of one of three: {report}\n  {:#?}", report.errors));
        // What was in flight on it: a third of what is in flight at a time, which is rate times latency.
        assert!(report.failed <= 30, "{report}: {:#?}", report.errors);

        // The controller dies while a replica drains, and another one goes on.
        let slow = web.clone().env("LATENCY_MS", "1500");
        world.write(&slow);
        let last = controller.converged("web", &last, secs(90));
        let load = Load::start(at, "/", 100, Use::Mixed);
        let_load_go_on(secs(2));
        world.write(&slow.clone().version("2"));
        controller.meets("web", secs(30), "a replica drains", |status| {
            status["instances"].as_array().is_some_and(|all| all.iter().any(|i| i["phase"] == "Draining"))
        });
        controller.kill();
        drop(std::fs::remove_file(world.socket()));
        let_load_go_on(secs(1));
        let controller = Controller::start(world);
        controller.converged("web", &last, secs(120));
        only(world, 3, "2");
        none_failed("controller killed in a drain", &load.stop());
    });
}

fn controller_whole(controller: &Controller, replicas: u32) {
    within(secs(30), "all replicas are available again", || {
        let status = controller.status("web")?;
        that(status["available"] == replicas && status["live"] == replicas, || e2e::controller::brief(&status))
    });
}

/// The address of the only front that runs, on the project's network.
pub(crate) fn inside(world: &World) -> SocketAddr {
    within(secs(30), "one front runs", || {
        let running = world.running("web-front");
        let [one] = running.as_slice() else { return Err(format!("{running:?}")) };
        Ok(address(world, &one.id))
    })
}

/// Port 8080 of a container by its address in its only network.
pub(crate) fn address(world: &World, container: &str) -> SocketAddr {
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = world.docker.run(&["inspect", "--format", format, container]);
    format!("{address}:8080").parse().expect("an address")
}

/// Figures: what a front costs beside a HAProxy with the same settings and its servers in its file. One after the other,
/// again and again, in one run.
#[test]
#[ignore = "figures, not promises"]
fn s24_what_a_front_costs() {
    scenario("24 what a front costs", secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip("24 what a front costs") else { return };
        let at = free_port();
        world.write(&web(at, 2, "http", &haproxy).env("LATENCY_MS", "0"));
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        controller.converged("web-front", "", secs(60));
        let front = inside(world);
        let text =
            world.docker.run(&["cp", &format!("{}:/etc/composed/front.cfg", world.running("web-front")[0].id), "-"]);
        let start = text.find("# Written").expect("a configuration");
        let config = text[start..].split('\0').next().unwrap_or_default();
        // The same file, without what waits for the first server, with the servers that the front was told of.
        let lines = config.lines().filter(|line| !line.contains("lua") && !line.contains("stats socket"));
        let mut alone: String = lines.map(|line| format!("{line}\n")).collect();
        for (nth, one) in world.running("web").iter().enumerate() {
            alone += &format!("    server s{nth} {}\n", address(world, &one.id));
        }
        let file = world.path("alone.cfg");
        std::fs::write(&file, alone).unwrap();
        // As far away as the front: the same image, in a container on the same network.
        let (network, file) = (format!("{}_default", world.project), format!("{}:/alone.cfg:ro", file.display()));
        let name = format!("{}-alone", world.project);
        let place = ["run", "--detach", "--name", &name, "--network", &network, "--volume", &file];
        world.docker.run(&[&place[..], &[&haproxy, "haproxy", "-db", "-f", "/alone.cfg"]].concat());
        let own = address(world, &name);
        let_load_go_on(secs(1));
        let mut ratios = Vec::new();
        for _ in 0..7 {
            let [by_front, by_own] = [front, own].map(|at| e2e::clients::most(at, "web", 16, secs(4)));
            say(&format!(
                "  front {by_front:.0} requests a second, HAProxy alone {by_own:.0}: {:.3}",
                by_front / by_own
            ));
            ratios.push(by_front / by_own);
        }
        ratios.sort_by(f64::total_cmp);
        say(&format!("  median {:.3} of HAProxy alone", ratios[3]));
    });
}
