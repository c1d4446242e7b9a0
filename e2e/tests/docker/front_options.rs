//! What people ask of a front beside who serves: a client that stays where it was, and its own address told to the replicas.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::haproxy::haproxy_or_skip;
use e2e::stage::{say, scenario};
use e2e::world::World;
use e2e::{let_load_go_on, millis, secs};

use crate::front::inside;

/// One request over a connection of its own, with these lines before it and these headers; the whole answer.
fn ask(at: SocketAddr, before: &str, headers: &str) -> Result<String, String> {
    let words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(at).map_err(words)?;
    stream.set_read_timeout(Some(secs(5))).map_err(words)?;
    let text = format!("{before}GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(text.as_bytes()).map_err(words)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(words)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(format!("no good answer: {answer:?}")) }
}

/// The last line of an answer.
fn body(answer: &str) -> &str {
    answer.trim_end().lines().last().unwrap_or_default()
}

/// One client that asks again and again, until it is stopped: how often, and what failed.
struct Steady {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<(u64, Vec<String>)>,
}

impl Steady {
    fn start(mut one: impl FnMut() -> Result<(), String> + Send + 'static) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let (mut sent, mut failed) = (0, Vec::new());
            while !end.load(Ordering::SeqCst) {
                sent += 1;
                failed.extend(one().err());
                std::thread::sleep(millis(10)); // The client's own pace.
            }
            (sent, failed)
        });
        Self { ended, thread }
    }

    fn none_failed(self, what: &str) {
        self.ended.store(true, Ordering::SeqCst);
        let (sent, failed) = self.thread.join().unwrap();
        say(&format!("  {what}: {sent} requests sent, {} FAILED", failed.len()));
        assert_eq!(failed, Vec::<String>::new(), "{what}");
        assert!(sent > 100, "{what}: {sent}");
    }
}

#[test]
fn s30_a_client_stays_at_its_replica() {
    scenario("30 front, sticky", secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip("30 front, sticky") else { return };
        let web = Service::new("web", 2)
            .key("ports", "[]")
            .key("expose", r#"["8080"]"#)
            .key("front", &format!("{{mode: http, image: \"{haproxy}\", sticky: {{cookie: SRV}}}}"))
            .env("ON_TERM", "die");
        world.write(&web);
        let controller = Controller::start(world);
        let mut revision = controller.converged("web", "", secs(60));
        controller.converged("web-front", "", secs(60));
        let at = inside(world);

        let cookie_of = |answer: &str| {
            let set = |line: &str| line.strip_prefix("set-cookie: SRV=")?.split(';').next().map(str::to_owned);
            answer.lines().find_map(set)
        };
        let cookies: BTreeSet<_> = (0..8).filter_map(|_| cookie_of(&ask(at, "", "").unwrap())).collect();
        assert_eq!(cookies.len(), 2, "those who come without a cookie are spread, and each is given one");
        for cookie in &cookies {
            let answers: Vec<_> =
                (0..10).map(|_| ask(at, "", &format!("Cookie: other=1; SRV={cookie}\r\n")).unwrap()).collect();
            let hosts: BTreeSet<_> = answers.iter().map(|answer| body(answer)).collect();
            assert_eq!(hosts.len(), 1, "{cookie} is one replica");
            assert!(answers.iter().all(|answer| cookie_of(answer).is_none()), "it has its cookie already");
        }

        let seen = Arc::new(std::sync::Mutex::new(Vec::<(String, String)>::new()));
        let notes = Arc::clone(&seen);
        let mut cookie = cookies.first().unwrap().clone();
        let client = Steady::start(move || {
            let answer = ask(at, "", &format!("Cookie: SRV={cookie}\r\n"))?;
            cookie = cookie_of(&answer).unwrap_or_else(|| cookie.clone());
            let now = (body(&answer).to_owned(), cookie.clone());
            let mut seen = notes.lock().unwrap();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            Ok(())
        });
        for version in ["2", "3"] {
            world.write(&web.clone().version(version));
            revision = controller.converged("web", &revision, secs(90));
        }
        let_load_go_on(secs(1));
        client.none_failed("one client with its cookie, 2 replicas, 2 rollouts");
        let seen = seen.lock().unwrap().clone();
        say(&format!("  it was served by {seen:?}"));
        // At most by both old ones and one new one in each rollout, and each under its own cookie.
        assert!((3..=5).contains(&seen.len()), "{seen:?}");
        let (hosts, cookies): (BTreeSet<_>, BTreeSet<_>) = seen.iter().cloned().unzip();
        assert!(hosts.len() == seen.len() && cookies.len() == seen.len(), "{seen:?}");
    });
}

/// A HAProxy as the application: it insists on the PROXY protocol, and answers with the address that it was told and with
/// `X-Forwarded-For`.
fn teller(world: &World, name: &str, mode: &str, haproxy: &str) -> Service {
    let file = world.path("teller.cfg");
    let text = "defaults\n  mode http\n  timeout client 10s\n  timeout http-request 10s\nfrontend all\n  bind :8080 accept-proxy\n  \
                http-request return status 200 content-type text/plain lf-string \"%[src] for %[req.hdr(x-forwarded-for)]\"\n";
    std::fs::write(&file, text).unwrap();
    let front = format!("{{mode: {mode}, image: \"{haproxy}\", accept_proxy: true, proxy_protocol: v2}}");
    Service::new(name, 1)
        .key("image", haproxy)
        .key("command", r#"["/usr/sbin/haproxy", "-f", "/teller.cfg"]"#)
        .key("volumes", &format!("[\"{}:/teller.cfg:ro\"]", file.display()))
        .key("ports", "[]")
        .key("expose", r#"["8080"]"#)
        .key("front", &front)
        .key("healthcheck", "{disable: true}")
        .key("readiness", "{tcp: {port: 8080}, period: 100ms}")
}

#[test]
fn s31_replicas_are_told_the_address_of_the_client() {
    scenario("31 front, PROXY protocol", secs(240), |world| {
        let Some(haproxy) = haproxy_or_skip("31 front, PROXY protocol") else { return };
        let modes = ["tcp", "http"];
        for mode in modes {
            world.write(&teller(world, mode, mode, &haproxy));
        }
        let controller = Controller::start(world);
        for mode in modes {
            let revision = controller.converged(mode, "", secs(60));
            let front = format!("{mode}-front");
            controller.converged(&front, "", secs(60));
            let running = world.running(&front);
            let at = crate::front::address(world, &running.first().unwrap().id);
            let proxied = "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n";
            let expected = if mode == "tcp" { "192.0.2.7 for" } else { "192.0.2.7 for 192.0.2.7" };
            assert_eq!(body(&ask(at, proxied, "").unwrap()), expected, "{mode}");
            let refused = ask(at, "", "");
            assert!(refused.is_err(), "without the PROXY protocol nobody is let in: {refused:?}");

            let client = Steady::start(move || {
                let answer = ask(at, proxied, "")?;
                if body(&answer) == expected { Ok(()) } else { Err(answer) }
            });
            world.write(&teller(world, mode, mode, &haproxy).env("CHANGE", "1"));
            controller.converged(mode, &revision, secs(90));
            let_load_go_on(secs(1));
            client.none_failed(&format!("{mode}, PROXY protocol in and out, a rollout"));
        }
    });
}
