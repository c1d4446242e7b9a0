//! Fronts that are added, replaced and taken away, and canaries behind one.

use super::*;

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
            let_load_go_on(secs(5));
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
            let_load_go_on(millis(500));
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
        let_load_go_on(millis(500));
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
        let_load_go_on(secs(1));
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
        let_load_go_on(millis(500));
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
            let_load_go_on(secs(1));
            let report = load.stop();
            say(&format!("  {what} in {took:.1?}: {report}"));
            assert!(report.failed < 600, "the gap is short: {report}");
        }
        assert_eq!(controller.converged("web", "", secs(60)), plain);
        assert!(world.all_of("web-front").is_empty());
    });
}
