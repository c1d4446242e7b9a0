//! The proxies that people have, in front of a replica that dies at once at SIGTERM, and of three.

use std::time::Instant;

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::load::Load;
use e2e::long::{GRPC, HTTP, Kind, Long, websocket};
use e2e::proxy::{HOST, Proxy, Way, labels};
use e2e::stage::{say, scenario, scenario_alone};
use e2e::traffic::RATE;
use e2e::world::World;
use e2e::{let_load_go_on, secs, that, within};

/// With many requests a second a replica is never idle, and that alone keeps it alive: with few, only the wait until the
/// proxy has let go of it does.
const FEW: u32 = 2;
const MANY: u32 = RATE;

/// Plays behind a proxy of this kind, or says why not.
fn behind(way: Way, what: &str, limit: u64, play: impl FnOnce(&World, Proxy)) {
    let name = format!("15 {}, {what}", way.name());
    let play = |world: &World| match Proxy::new(way, world) {
        Ok(proxy) => play(world, proxy),
        Err(why) => {
            assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "{why}");
            say(&format!("  SKIPPED: {why}"));
        }
    };
    // A Traefik takes everybody's containers in.
    if way.name().starts_with("Traefik") {
        scenario_alone(&name, secs(limit), play);
    } else {
        scenario(&name, secs(limit), play);
    }
}

/// An application that dies at once at SIGTERM and answers after 100 ms.
fn application(replicas: u32) -> Service {
    let web = Service::new("web", replicas).key("ports", "[]").key("expose", r#"["8080"]"#);
    // A proxy on a machine that is busy with other things may take seconds to let go.
    web.key("drain_timeout", "20s").env("ON_TERM", "die").env("LATENCY_MS", "100")
}

/// Starts controller and proxy; the first revision.
fn started(world: &World, proxy: &mut Proxy, web: &Service) -> (Controller, String) {
    world.write(web);
    let controller = Controller::start_with(world, &proxy.options);
    let revision = controller.converged("web", "", secs(60));
    proxy.start();
    within(secs(20), "an answer through the proxy", || {
        Load::try_once(proxy.address, HOST).map_err(|why| format!("{why}\n{}", proxy.said()))
    });
    (controller, revision)
}

fn no_request_is_lost(way: Way, replicas: u32, rate: u32) {
    behind(way, &format!("{replicas} replicas, {rate} requests a second"), 240, |world, mut proxy| {
        let mut web = proxy.labelled(application(replicas));
        let mut last = 3;
        if replicas == 1 {
            // A name that one container has at a time moves in each rollout.
            web = web.key("container_name", &format!("{}-fixed", world.project));
            last = 6;
        }
        let (controller, mut revision) = started(world, &mut proxy, &web);
        let load = Load::start(proxy.address, HOST, rate, proxy.mix());
        let_load_go_on(secs(1));
        for change in 2..=last {
            let began = Instant::now();
            world.write(&web.clone().env("VERSION", &change.to_string()));
            revision = controller.converged("web", &revision, secs(120));
            say(&format!("  rollout {change}: {:.1?}", began.elapsed()));
            within(secs(10), "requests are served by the new version", || {
                let counts = load.so_far();
                that(counts.served.contains_key(&change.to_string()), || format!("{:?}", counts.served))
            });
        }
        let_load_go_on(secs(2));
        let counts = load.stop();
        say(&format!(
            "  {} sent, {} FAILED, served {:?}, slowest {:.1?}",
            counts.sent, counts.failed, counts.served, counts.slowest
        ));
        assert!(counts.sent > u64::from(rate) * 5, "{} sent", counts.sent);
        assert_eq!(counts.failed, 0, "{:#?}\n{}", counts.errors, proxy.said());
    });
}

/// A rollout while others are waited for, streamed to and talked to: each of them comes to its own end.
fn what_lasts_is_whole(way: Way, kinds: &'static [Kind]) {
    behind(way, &format!("{kinds:?}"), 180, |world, mut proxy| {
        let mut web = proxy.labelled(application(1)).key("drain_timeout", "30s");
        if kinds == GRPC && way == Way::TraefikView {
            web = web.key("labels", &labels(&[("traefik.http.services.web.loadbalancer.server.scheme", "h2c")]));
        }
        let (controller, revision) = started(world, &mut proxy, &web);
        let long = Long::start(proxy.address, HOST, kinds);
        // Some of each kind are under way, in different states.
        let_load_go_on(secs(7));
        let began = Instant::now();
        world.write(&web.env("VERSION", "2"));
        controller.converged("web", &revision, secs(90));
        let took = began.elapsed();
        let_load_go_on(secs(2));
        let lasted = long.stop();
        let status = controller.status("web").unwrap();
        say(&format!("  rollout in {took:.1?}: {lasted}; counted as cut: {}", status["requestsCut"]));
        assert!(lasted.begun() > 10 * kinds.len() as u64, "{lasted}");
        assert_eq!(lasted.cut(), 0, "{:#?}\n{}\n{}", lasted.errors, proxy.said(), controller.events());
        assert!(status["requestsCut"].is_null(), "{status}");
    });
}

/// A websocket that nobody ends: it has until `drain_timeout`, then it is cut, and counted.
fn what_does_not_end_is_cut_and_counted(way: Way, more: &str) {
    behind(way, "cut at drain_timeout", 120, |world, mut proxy| {
        let (drain, mut web) = (secs(6), proxy.labelled(application(1)).key("drain_timeout", "6s"));
        if !more.is_empty() {
            web = web.key("traffic", more);
        }
        let (controller, revision) = started(world, &mut proxy, &web);
        let (address, began) = (proxy.address, Instant::now());
        let held = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            (runtime.block_on(websocket(address, HOST, secs(60))), began.elapsed())
        });
        let_load_go_on(secs(2));
        world.write(&web.env("VERSION", "2"));
        let mut withdrawn = None;
        controller.meets("web", secs(60), "the old one drains", |status| {
            let drains = status["instances"].as_array().is_some_and(|all| all.iter().any(|i| i["phase"] == "Draining"));
            withdrawn = drains.then(|| began.elapsed());
            drains
        });
        controller.converged("web", &revision, secs(60));
        let (end, at) = held.join().unwrap();
        let given = at.saturating_sub(withdrawn.unwrap());
        let status = controller.status("web").unwrap();
        say(&format!("  ended {given:.1?} after the withdrawal: {end:?}; counted as cut: {}", status["requestsCut"]));
        assert!(
            end.is_err() && given + secs(2) > drain && given < drain + secs(5),
            "{end:?}, {given:?}\n{}",
            controller.events()
        );
        // With every connection that the proxy keeps, where they count.
        assert!(status["requestsCut"].as_u64().is_some_and(|cut| (1..=3).contains(&cut)), "{status}");
    });
}

#[test]
fn s15_traefik_by_file() {
    no_request_is_lost(Way::TraefikFile, 1, FEW);
}

#[test]
fn s15_traefik_by_http() {
    no_request_is_lost(Way::TraefikHttp, 3, MANY);
}

#[test]
fn s15_caddy_by_names() {
    no_request_is_lost(Way::CaddyNames, 1, FEW);
}

#[test]
fn s15_nginx_by_names() {
    no_request_is_lost(Way::NginxNames, 3, MANY);
}

#[test]
fn s15_haproxy_by_names() {
    no_request_is_lost(Way::HaproxyNames, 1, FEW);
}

#[test]
fn s15_what_lasts_by_traefik() {
    what_lasts_is_whole(Way::TraefikView, HTTP);
}

#[test]
fn s15_what_lasts_by_traefik_grpc() {
    what_lasts_is_whole(Way::TraefikView, GRPC);
}

#[test]
fn s15_what_lasts_by_caddy() {
    what_lasts_is_whole(Way::CaddyNames, HTTP);
}

#[test]
fn s15_what_lasts_by_nginx() {
    what_lasts_is_whole(Way::NginxNames, HTTP);
}

#[test]
fn s15_what_lasts_by_haproxy() {
    what_lasts_is_whole(Way::Haproxy, HTTP);
}

#[test]
fn s15_what_lasts_by_a_front() {
    what_lasts_is_whole(Way::FrontHttp, HTTP);
}

#[test]
fn s15_what_lasts_by_a_front_grpc() {
    what_lasts_is_whole(Way::FrontTcp, GRPC);
}

#[test]
fn s15_a_websocket_by_a_front_has_its_time() {
    what_does_not_end_is_cut_and_counted(Way::FrontHttp, "");
}

#[test]
fn s15_a_websocket_by_traefik_has_its_time() {
    what_does_not_end_is_cut_and_counted(Way::TraefikView, "{drain: connections}");
}
