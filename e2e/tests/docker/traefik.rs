//! The endpoint view with the real Traefik, its docker provider unchanged but for the socket: nobody who asks Traefik
//! notices a rollout, also of an application that dies at once at SIGTERM.

use std::time::Instant;

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::stage::{say, scenario_alone};
use e2e::traefik::{Lag, Traefik};
use e2e::traffic::{RATE, Traffic};
use e2e::world::World;
use e2e::{let_load_go_on, secs};
use serde_json::Value;

const HOST: &str = "web.example";

/// A service that Traefik finds by its labels, and that dies at once at SIGTERM.
fn web(replicas: u32, latency: &str) -> Service {
    let labels = r#"{traefik.enable: "true", traefik.http.routers.NAME.rule: "Host(`web.example`)", traefik.http.services.NAME.loadbalancer.server.port: "8080"}"#;
    let check = r#"{test: ["CMD", "/composed", "demo-app", "check"], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}"#;
    Service::new("web", replicas)
        .key("ports", "[]")
        .key("labels", &labels.replace("NAME", "web"))
        .key("healthcheck", check)
        .key("drain_timeout", "20s")
        .env("ON_TERM", "die")
        .env("LATENCY_MS", latency)
}

/// Three rollouts under so many requests a second through Traefik, with its throttle and what composed is told of it.
fn rollouts(world: &World, (replicas, latency, rate): (u32, &str, u32), throttle: &str, by_api: bool) {
    if let Err(why) = Traefik::program() {
        assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "{why}");
        return say(&format!("  SKIPPED: Traefik cannot be installed: {why}"));
    }
    let view = world.path("v.sock");
    let addresses = Traefik::addresses();
    let socket = view.display().to_string();
    let api = format!("http://{}", addresses[1]);
    let mut more = vec!["--view", &socket, "--traefik-throttle", throttle];
    if by_api {
        more.extend(["--traefik-api", &api]);
    }
    let web = web(replicas, latency);
    world.write(&web);
    let more: Vec<String> = more.into_iter().map(str::to_owned).collect();
    let controller = Controller::start_with(world, &more);
    let mut revision = controller.converged("web", "", secs(60));
    let traefik = Traefik::start(world, addresses, &view, throttle);
    traefik.serves(HOST);

    let lag = (throttle == "0s").then(|| Lag::start(&view, &traefik.api));
    let traffic = Traffic::through(world, &traefik.address, HOST, rate);
    let_load_go_on(secs(2));
    let mut took = Vec::new();
    for version in ["2", "3", "4"] {
        let began = Instant::now();
        world.write(&web.clone().version(version));
        revision = controller.converged("web", &revision, secs(120));
        took.push(began.elapsed().as_secs_f64());
        world.only("web", replicas as usize, &image(version));
        let_load_go_on(secs(3));
    }
    let report = traffic.stop();
    let each: Vec<_> = took.iter().map(|took| format!("{:.1} s", took / f64::from(replicas))).collect();
    say(&format!(
        "  Traefik, throttle {throttle}, {replicas} replicas{}: {report}; per replace {}",
        if by_api { ", by its API" } else { "" },
        each.join(", ")
    ));
    if let Some(lag) = lag {
        let lags = lag.stop();
        say(&format!("  from the event until Traefik's API shows it: {lags:?}"));
        assert!(lags.len() >= 4, "{lags:?}");
    }
    assert_eq!(report.failed, 0, "{:#?}", report.errors);
    assert!(report.sent > u64::from(rate) * 10 && report.served.contains_key("4"), "{report}");
    if replicas > 1 {
        let traffic = Traffic::through(world, &traefik.address, HOST, rate);
        let mut revision = revision;
        for replicas in [1, replicas] {
            world.write(&web.clone().version("4").replicas(replicas));
            revision = controller.scaled("web", replicas, &revision, secs(90));
        }
        world.write(&web.clone().version("2").env("HEALTH", "never"));
        controller.reason("web", "RolledBack", secs(90));
        world.write(&web.version("4"));
        controller.converged("web", "", secs(90));
        world.only("web", replicas as usize, &image("4"));
        let report = traffic.stop();
        say(&format!("  {replicas} to 1 to {replicas}, and a rollback: {report}"));
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert_eq!(report.served.keys().collect::<Vec<_>>(), ["4"], "the broken one has never served");
    }
}

#[test]
fn s20_traefik_through_the_view() {
    scenario_alone("20 Traefik, throttle 2 s", secs(300), |world| rollouts(world, (1, "0", RATE), "2s", false));
}

#[test]
fn s20_traefik_through_the_view_without_a_throttle() {
    scenario_alone("20 Traefik, throttle 0 s", secs(300), |world| rollouts(world, (1, "0", RATE), "0s", false));
}

#[test]
fn s20_traefik_through_the_view_to_three_replicas() {
    scenario_alone("20 Traefik, 3 replicas", secs(300), |world| rollouts(world, (3, "100", RATE), "0s", false));
}

/// Nothing is in flight between two requests: only what is known of Traefik keeps a replica from being stopped while it is
/// still in rotation.
#[test]
fn s20_traefik_through_the_view_with_few_requests() {
    scenario_alone("20 Traefik, 2 requests a second", secs(300), |world| rollouts(world, (1, "0", 2), "5s", false));
}

#[test]
fn s20_traefik_through_the_view_by_its_api() {
    scenario_alone("20 Traefik by its API, throttle 2 s", secs(300), |world| {
        rollouts(world, (1, "0", RATE), "2s", true);
    });
}

/// Ends the controller as soon as one of the new revision, or of the old one, is in one of `phases`, and starts another one 15 s later.
/// A phase may be over before anybody has seen it: those that follow it are named, too.
fn away(world: &World, new: bool, phases: &[&str], end: impl FnOnce(&mut Controller)) {
    if let Err(why) = Traefik::program() {
        assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "{why}");
        return say(&format!("  SKIPPED: Traefik cannot be installed: {why}"));
    }
    let view = world.path("v.sock");
    let socket = view.display().to_string();
    let more = ["--view", socket.as_str()].map(str::to_owned);
    let web = web(1, "0");
    world.write(&web);
    let mut controller = Controller::start_with(world, &more);
    let revision = controller.converged("web", "", secs(60));
    let traefik = Traefik::start(world, Traefik::addresses(), &view, "2s");
    traefik.serves(HOST);
    let traffic = Traffic::through(world, &traefik.address, HOST, RATE);
    let_load_go_on(secs(2));
    world.write(&web.version("2"));
    let reached =
        |one: &Value| (one["revision"] != revision.as_str()) == new && phases.iter().any(|p| one["phase"] == *p);
    controller.meets("web", secs(60), &format!("one is {}", phases[0]), |status| {
        status["instances"].as_array().is_some_and(|all| all.iter().any(reached))
    });
    end(&mut controller);
    // So long it is away: longer than anybody who reads from it waits.
    let_load_go_on(secs(15));
    let controller = Controller::start_with(world, &more);
    controller.converged("web", &revision, secs(120));
    world.only("web", 1, &image("2"));
    let_load_go_on(secs(3));
    let report = traffic.stop();
    say(&format!("  Traefik, controller and view away for 15 s while one is {}: {report}", phases[0]));
    assert_eq!(report.failed, 0, "{:#?}", report.errors);
    assert!(report.served.contains_key("2"), "{report}");
}

/// It is told to stop while Traefik reads: Traefik takes what it cannot inspect for gone, so composed lets it finish.
#[test]
fn s20_traefik_while_the_controller_is_away_before_a_withdrawal() {
    let stop = |controller: &mut Controller| {
        controller.stop();
    };
    scenario_alone("20 Traefik, away while one joins", secs(300), |world| {
        away(world, true, &["Joining", "Available"], stop);
    });
}

#[test]
fn s20_traefik_while_the_controller_is_away_after_a_withdrawal() {
    let kill = |controller: &mut Controller| {
        // In the middle of it.
        let_load_go_on(secs(1));
        controller.kill();
    };
    scenario_alone("20 Traefik, away while one drains", secs(300), |world| away(world, false, &["Draining"], kill));
}
