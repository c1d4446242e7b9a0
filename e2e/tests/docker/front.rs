//! Fronts: a published port and a name that stay while everything behind them changes.

use std::net::SocketAddr;
use std::time::Instant;

use e2e::clients::{Load, Use};
use e2e::controller::Controller;
use e2e::document::Service;
use e2e::haproxy::haproxy_or_skip;
use e2e::program::image;
use e2e::stage::{say, scenario, scenario_alone};
use e2e::traffic::Report;
use e2e::world::World;
use e2e::{millis, secs, that, within};

const RATE: u32 = 300;
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
        std::thread::sleep(millis(300));
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
    assert!(report.sent > 500, "{what}: {report}");
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
        std::thread::sleep(millis(500));
        let victim = world.ids("web").pop_first().unwrap();
        world.docker.run(&["kill", &victim]);
        controller_whole(&controller, 3);
        std::thread::sleep(secs(1));
        let report = load.stop();
        say(&format!("  kill -9 of one of three: {report}\n  {:#?}", report.errors));
        // What was in flight on it: a third of what is in flight at a time, which is rate times latency.
        assert!(report.failed <= 30, "{report}: {:#?}", report.errors);

        // The controller dies while a replica drains, and another one goes on.
        let slow = web.clone().env("LATENCY_MS", "1500");
        world.write(&slow);
        let last = controller.converged("web", &last, secs(90));
        let load = Load::start(at, "/", 100, Use::Mixed);
        std::thread::sleep(secs(2));
        world.write(&slow.clone().version("2"));
        controller.meets("web", secs(30), "a replica drains", |status| {
            status["instances"].as_array().is_some_and(|all| all.iter().any(|i| i["phase"] == "Draining"))
        });
        controller.kill();
        drop(std::fs::remove_file(world.socket()));
        std::thread::sleep(secs(1));
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

/// The first replica of a revision on trial has its share of the requests, and is gone at once when it is called off.
#[test]
fn s22_a_canary_behind_a_front() {
    scenario("22 canary behind a front", secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip("22 canary behind a front") else { return };
        let (controller, at, web, revision) = started(world, "http", 3, &haproxy);
        let canary = |web: Service| web.rollout("canary", "{weight: 10, hold: 8s}");
        let load = Load::start(at, "/", RATE, Use::Mixed);
        world.write(&canary(web.clone().version("2")));
        controller.meets("web", secs(60), "the canary is held", |status| !status["canary"]["until"].is_null());
        let share = |load: &Load, version: &str| {
            let count = |report: &Report| report.served.get(version).copied().unwrap_or_default();
            let before = load.so_far();
            std::thread::sleep(secs(5));
            let after = load.so_far();
            let all = |report: &Report| report.served.values().sum::<u64>();
            (count(&after) - count(&before)) * 100 / (all(&after) - all(&before)).max(1)
        };
        let (during, began) = (share(&load, "2"), Instant::now());
        let revision = controller.converged("web", &revision, secs(90));
        say(&format!("  {during} % by the canary, and everything {:.1?} later", began.elapsed()));
        assert!((8..=12).contains(&during), "{during} % of the requests");
        only(world, 3, "2");

        // Called off while it is held.
        world.write(&canary(web.clone().version("3")));
        controller.meets("web", secs(60), "the canary is held", |status| !status["canary"]["until"].is_null());
        let began = Instant::now();
        world.write(&canary(web.version("2")));
        let by_three = || load.so_far().served.get("3").copied();
        within(secs(10), "nobody is served by it any more", || {
            let before = by_three();
            std::thread::sleep(millis(500));
            that(before == by_three(), || format!("{before:?}, then {:?}", by_three()))
        });
        say(&format!("  called off within {:.1?}", began.elapsed()));
        controller.scaled("web", 3, &revision, secs(60));
        only(world, 3, "2");
        none_failed("a canary, and one that is called off", &load.stop());
    });
}

#[test]
fn s22_the_front_itself_is_replaced() {
    scenario("22 the front is replaced", secs(300), |world| {
        let Some(haproxy) = haproxy_or_skip("22 the front is replaced") else { return };
        let (controller, at, web, _) = started(world, "http", 2, &haproxy);
        let replicas = world.ids("web");
        let front = controller.status("web-front").unwrap()["revision"].as_str().unwrap().to_owned();
        let load = Load::start(at, "/", RATE, Use::Mixed);
        std::thread::sleep(millis(500));
        let loops: u32 = std::env::var("LOOPS").map_or(0, |n| n.parse().unwrap());
        let mut front = front;
        for n in 0..loops {
            let began = Instant::now();
            let more = format!("{{mode: http, image: \"{haproxy}\", max_connections: {}}}", 3000 + n);
            world.write(&web.clone().key("front", &more));
            front = controller.converged("web-front", &front, secs(60));
            say(&format!("  once more, for LOOPS: {:.2?}", began.elapsed()));
        }
        let began = Instant::now();
        world.write(&web.clone().key("front", &format!("{{mode: http, image: \"{haproxy}\", max_connections: 4000}}")));
        let front = controller.converged("web-front", &front, secs(60));
        let took = began.elapsed();
        std::thread::sleep(secs(1));
        let report = load.stop();
        say(&format!("  with a host port, in {took:.2?}: {report}"));
        let first = report.errors.first().cloned().unwrap_or_default();
        let last = report.errors.last().cloned().unwrap_or_default();
        say(&format!("  from {first} to {last}"));
        assert_eq!(world.ids("web"), replicas, "what is the front's alone replaces no replica");
        assert!(report.failed < 3 * u64::from(RATE * (loops + 1)), "{report}");

        // A front that HAProxy does not understand, or has no HAProxy, takes nobody's place.
        let (load, serving) = (Load::start(at, "/", RATE, Use::Mixed), world.ids("web-front"));
        let broken = web.clone().key("front", &format!("{{mode: http, image: \"{}\"}}", image("1")));
        world.write(&broken);
        controller.reason("web-front", "PreDeployFailed", secs(120));
        let report = load.stop();
        say(&format!("  a front that cannot be: {report}"));
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        controller_whole(&controller, 2);
        assert_eq!((world.ids("web"), world.ids("web-front")), (replicas, serving));

        // Without a host port: start-first.
        let bare = web.clone().key("ports", "[]").key("expose", "[\"8080\"]");
        world.write(&bare);
        let front = controller.converged("web-front", &front, secs(60));
        controller.converged("web", "", secs(60));
        let strategy = controller.status("web-front").unwrap()["strategy"].as_str().unwrap().to_owned();
        assert!(strategy.starts_with("start-first"), "{strategy}");
        let old = inside(world);
        let load = Load::start(old, "/", RATE, Use::Mixed);
        std::thread::sleep(millis(500));
        world.write(&bare.key("front", &format!("{{mode: http, image: \"{haproxy}\", max_connections: 5000}}")));
        within(secs(60), "another front", || that(inside(world) != old, || "the old one".to_owned()));
        open(inside(world));
        let report = load.stop();
        say(&format!("  without a host port, by the old one's address: {report}"));
        controller.converged("web-front", &front, secs(60));

        // Both go together, and count as one: two of three would be held back.
        world.write(&Service::new("other", 1));
        controller.converged("other", "", secs(60));
        std::fs::remove_file(world.file("web")).unwrap();
        within(secs(60), "service and front are gone", || {
            let left = world.all_of("web").len() + world.all_of("web-front").len();
            that(left == 0, || format!("{left} containers; {:?}", controller.overview()))
        });
    });
}

/// The host port changes hands: once nobody answers, and then somebody else does.
#[test]
fn s22_a_front_is_added_and_taken_away() {
    scenario_alone("22 front added and taken away", secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip("22 front added and taken away") else { return };
        let at = free_port();
        let with = web(at, 1, "http", &haproxy);
        let without = with.clone().without("front");
        world.write(&without);
        let controller = Controller::start(world);
        let plain = controller.converged("web", "", secs(60));
        open(at);
        for (what, document, fronts) in [("added", &with, 1), ("taken away", &without, 0)] {
            let load = Load::start(at, "/", 100, Use::Close);
            let began = Instant::now();
            world.write(document);
            within(secs(60), &format!("a front is {what}"), || {
                let there = (world.running("web-front").len(), world.running("web").len());
                let status = controller.status("web")?;
                let rests = status["available"] == 1 && status["live"] == 1;
                that(there == (fronts, 1) && rests, || format!("{there:?}, {}", e2e::controller::brief(&status)))
            });
            open(at);
            let took = began.elapsed();
            std::thread::sleep(secs(1));
            let report = load.stop();
            say(&format!("  {what} in {took:.1?}: {report}"));
            assert!(report.failed < 600, "the gap is short: {report}");
        }
        assert_eq!(controller.converged("web", "", secs(60)), plain);
        assert!(world.all_of("web-front").is_empty());
    });
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
        std::thread::sleep(secs(1));
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

/// A HAProxy of people's own on this host, ended when dropped.
struct Own(std::process::Child);

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn s23_a_haproxy_of_ones_own() {
    scenario("23 own HAProxy", secs(240), |world| {
        // The program of this host; the image is not used.
        if haproxy_or_skip("23 own HAProxy").is_none() {
            return;
        }
        let (at, socket, config) = (free_port(), world.path("admin.sock"), world.path("haproxy.cfg"));
        let text = format!(
            "global\n  stats socket {} level admin\n  stats timeout 1h\ndefaults\n  mode http\n  timeout connect 2s\n  \
             timeout client 1m\n  timeout server 1m\n  retries 3\n  option redispatch 1\nfrontend in\n  bind {at}\n  \
             default_backend web\nbackend web\n  balance leastconn\n  server theirs 127.0.0.1:9 disabled\n",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let child = std::process::Command::new("haproxy").arg("-db").arg("-f").arg(&config).spawn().unwrap();
        e2e::program::janitor(child.id());
        let own = Own(child);
        let web = web(at, 2, "http", "")
            .without("front")
            .key("ports", "[]")
            .key("expose", "[\"8080\"]")
            .key("traffic", &format!("{{haproxy: {{socket: {}, backend: web, server_port: 8080}}}}", socket.display()));
        world.write(&web);
        let controller = Controller::start(world);
        let revision = controller.converged("web", "", secs(60));
        let strategy = controller.status("web").unwrap()["strategy"].as_str().unwrap().to_owned();
        assert!(strategy.contains("HAProxy at"), "{strategy}");
        open(at);
        let load = Load::start(at, "/", RATE, Use::Mixed);
        rollouts(world, &controller, &web, 2, revision);
        none_failed("own HAProxy, 2 replicas, 3 rollouts", &load.stop());
        drop(own);
    });
}
