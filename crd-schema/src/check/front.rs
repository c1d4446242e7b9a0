//! Rules about fronts and about proxies that people run themselves.

use super::findings::Findings;
use super::image;
use crate::{FrontMode, HaproxyDriver, Protocol, ServiceSpec, Traffic};

/// The ports that composed itself uses in a front: HAProxy's runtime API, and the way to it.
const OWN: [u16; 2] = [19998, 19999];
/// A front listens on each of its ports with a section of its own.
const MOST_PORTS: usize = 100;

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    if spec.generated.is_some() {
        let help = "remove it: composed writes it itself, into services that it makes up";
        findings.add(&["spec", "generated"], "`generated` is not for documents", help);
    }
    front(spec, findings);
    match &spec.traffic {
        Some(Traffic { haproxy: Some(driver), .. }) => haproxy(driver, spec, findings),
        Some(Traffic { haproxy: None, drain: None }) => findings.add(
            &["spec", "traffic"],
            "traffic says nothing",
            "write `traffic: {haproxy: {socket: ..., backend: ..., server_port: ...}}` or `traffic: {drain: connections}`, \
             or remove it",
        ),
        Some(Traffic { haproxy: None, drain: Some(_) }) | None => {}
    }
}

fn front(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(front) = &spec.front else { return };
    for port in front.ports.keys().filter(|port| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
        findings.add(
            &["spec", "front", "ports", port],
            format!("`{port}` is not a port"),
            "write a number such as `8080`",
        );
    }
    if let Some(mode) = &spec.network_mode {
        let help = "use `networks`: the front finds the replicas there";
        findings.add(&["spec", "front"], format!("a front with network_mode `{mode}`"), help);
    }
    if let Some(port) = spec.ports.iter().find(|port| port.protocol != Protocol::Tcp) {
        let message = format!("port {}/{} cannot go by the front", port.target, port.protocol.as_str());
        findings.add(&["spec", "ports"], message, "remove it or the front: it speaks TCP only");
    }
    let ports = spec.front_ports();
    if ports.is_empty() {
        let help = "name the ports of the container in `ports`, in `expose` or as `front: {mode: http, ports: {\"8080\": {}}}`";
        findings.add(&["spec", "front"], "the front has no port to listen on", help);
    } else if ports.len() > MOST_PORTS {
        let message = format!("a front of {} ports, and at most {MOST_PORTS} are possible", ports.len());
        findings.add(&["spec", "front"], message, "expose only the ports that others use");
    }
    if let Some(port) = OWN.into_iter().find(|port| ports.contains_key(port)) {
        let help = format!("let the container listen elsewhere: {} and {} are used by composed itself", OWN[0], OWN[1]);
        findings.add(&["spec", "front"], format!("port {port} with a front"), help);
    }
    if let Some((message, _)) = front.image.as_ref().and_then(|image| image::wrong(image.as_str())) {
        findings.add(&["spec", "front", "image"], message, "write it as `haproxy:3.0-alpine`");
    }
    if front.max_connections.is_some_and(|most| most == 0 || most > 1_000_000) {
        let help = "write a number from 1 to 1000000";
        findings.add(&["spec", "front", "max_connections"], "max_connections is out of range", help);
    }
    let timeouts = front.timeouts.clone().unwrap_or_default();
    let all = [
        ("connect", timeouts.connect),
        ("client", timeouts.client),
        ("server", timeouts.server),
        ("queue", timeouts.queue),
        ("http_keep_alive", timeouts.http_keep_alive),
    ];
    for (key, _) in all.iter().filter(|(_, time)| time.is_some_and(|time| !(1..=DAY).contains(&time.get().as_millis())))
    {
        let message = format!("{key} is not between 1ms and 24h");
        findings.add(&["spec", "front", "timeouts", key], message, "write a time, such as `30s`");
    }
    if let Some(sticky) = &front.sticky {
        let path = ["spec", "front", "sticky"];
        if !is_word(&sticky.cookie) {
            findings.add(&path, "not a name of a cookie", "use letters, digits, `_` and `-`");
        }
        if !ports.values().any(|mode| *mode == FrontMode::Http) {
            findings.add(&path, "a cookie without a port of mode http", "remove `sticky`, or write `mode: http`");
        }
    }
}

/// In milliseconds.
const DAY: u128 = 24 * 3600 * 1000;

fn haproxy(driver: &HaproxyDriver, spec: &ServiceSpec, findings: &mut Findings) {
    let path = |key| ["spec", "traffic", "haproxy", key];
    let at = driver.socket.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    if !driver.socket.starts_with('/') && !at {
        let help = "write the absolute path of its `stats socket`, or `host:port`";
        findings.add(&path("socket"), format!("`{}` is not an address", driver.socket), help);
    }
    // It becomes part of a command line.
    let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | ':');
    if driver.backend.is_empty() || !driver.backend.chars().all(known) {
        let help = "write the name that follows `backend` in its configuration";
        findings.add(&path("backend"), format!("`{}` is not the name of a backend", driver.backend), help);
    }
    if driver.server_port == 0 {
        findings.add(&path("server_port"), "port 0 is not a port", "write the port the container listens on");
    }
    if spec.front.is_some() {
        let help = "keep one of the two: your HAProxy may send to the front by its name";
        findings.add(&["spec", "traffic"], "a front and a HAProxy of your own", help);
    }
    if matches!(spec.network_mode.as_deref(), Some("host" | "none")) {
        let help = "use `networks`: a HAProxy finds each replica by an address of its own";
        findings.add(&["spec", "traffic"], "replicas without addresses of their own", help);
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}
