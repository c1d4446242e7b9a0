//! The proxies that people have, in front of a replica that dies at once at SIGTERM, and of three.

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::load::Load;
use e2e::proxy::{HOST, Proxy, Way};
use e2e::stage::{say, scenario};
use e2e::{secs, that, within};

/// With many requests a second a replica is never idle, and that alone keeps it alive: with few, only the wait until the
/// proxy has let go of it does.
const FEW: u32 = 2;
const MANY: u32 = 300;

fn no_request_is_lost(way: Way, replicas: u32, rate: u32) {
    scenario(&format!("15 {} with {replicas}, {rate}/s", way.name()), secs(240), |world| {
        let mut proxy = match Proxy::new(way, world) {
            Ok(proxy) => proxy,
            Err(why) => {
                assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "{why}");
                return say(&format!("  SKIPPED: {why}"));
            }
        };
        let web = Service::new("web", replicas).key("ports", "[]").key("expose", r#"["8080"]"#);
        let web = proxy.labelled(web.env("ON_TERM", "die").env("LATENCY_MS", "100"));
        world.write(&web);
        let controller = Controller::start_with(world, &proxy.options);
        let mut revision = controller.converged("web", "", secs(60));
        proxy.start();
        within(secs(20), "an answer through the proxy", || {
            Load::try_once(proxy.address, HOST).map_err(|why| format!("{why}\n{}", proxy.said()))
        });
        let load = Load::start(proxy.address, HOST, rate);
        std::thread::sleep(secs(1));
        for change in 2..=3 {
            let began = std::time::Instant::now();
            world.write(&web.clone().env("VERSION", &change.to_string()));
            revision = controller.converged("web", &revision, secs(120));
            say(&format!("  rollout {change}: {:.1?}", began.elapsed()));
            within(secs(10), "requests are served by the new version", || {
                let counts = load.so_far();
                that(counts.served.contains_key(&change.to_string()), || format!("{:?}", counts.served))
            });
        }
        std::thread::sleep(secs(2));
        let counts = load.stop();
        say(&format!(
            "  {} sent, {} FAILED, served {:?}, slowest {:.1?}",
            counts.sent, counts.failed, counts.served, counts.slowest
        ));
        assert!(counts.sent > u64::from(rate) * 5, "{} sent", counts.sent);
        assert_eq!(counts.failed, 0, "{:#?}\n{}", counts.errors, proxy.said());
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
