//! Rules about networks and ports.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use crate::ServiceSpec;

/// How many ports a service may expose, ranges written out: the engine is told each.
const MAX_PORTS: usize = 20_000;

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    if let Some(mode) = &spec.network_mode {
        network_mode(mode, spec, findings);
    }
    let exposed: usize = spec.expose.iter().map(|entry| crate::types::behind_front::ports_of(entry)).sum();
    if exposed > MAX_PORTS {
        let help = "expose only the ports that others use";
        findings.add(&["spec", "expose"], format!("{exposed} ports, and at most {MAX_PORTS} are possible"), help);
    }
    // The addresses that each host port is published on before; `None` is all of them.
    let mut published: BTreeMap<(u16, &str), BTreeSet<Option<&str>>> = BTreeMap::new();
    for port in &spec.ports {
        if let Some(number) = port.published {
            let addresses = published.entry((number, port.protocol.as_str())).or_default();
            let ip = port.host_ip.as_deref();
            let twice = addresses.contains(&ip) || addresses.contains(&None) || (ip.is_none() && !addresses.is_empty());
            addresses.insert(ip);
            if twice {
                let help = "publish each host port once, or on different addresses";
                findings.add(&["spec", "ports"], format!("host port {number} is published twice"), help);
            }
        }
        if port.host_ip.as_deref().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_err()) {
            let help = "write an address of this host, such as `127.0.0.1`";
            findings.add(&["spec", "ports"], "host_ip is not an IP address", help);
        }
    }
    for (key, mode) in [("pid", &spec.pid), ("ipc", &spec.ipc)] {
        if let Some(mode) = mode {
            of_another(&["spec", key], mode, findings);
        }
    }
    if spec.shares_network() {
        of_its_own(spec, findings);
    }
}

/// A namespace of another container.
fn of_another(path: &[&str], mode: &str, findings: &mut Findings) {
    if mode.starts_with("container:") {
        let help = "write `service:NAME` of a service of this project: composed sees when a replica of that is replaced, and \
                    moves this one with it; of other containers it does not";
        findings.add(path, format!("`{mode}` is not supported"), help);
    } else if mode.strip_prefix("service:").is_some_and(str::is_empty) {
        findings.add(path, "`service:` names no service", "write `service:NAME`");
    }
}

/// What belongs to the network that it joins, and so to that network's service. The engine refuses it, too.
fn of_its_own(spec: &ServiceSpec, findings: &mut Findings) {
    let mode = spec.network_mode.as_deref().unwrap_or_default();
    let of = mode.trim_start_matches("service:");
    let keys = [
        ("ports", !spec.ports.is_empty()),
        ("expose", !spec.expose.is_empty()),
        ("hostname", spec.hostname.is_some()),
        ("dns", !spec.dns.is_empty()),
        ("dns_opt", !spec.dns_opt.is_empty()),
        ("dns_search", !spec.dns_search.is_empty()),
        ("extra_hosts", !spec.extra_hosts.is_empty()),
        ("mac_address", spec.mac_address.is_some()),
    ];
    for (key, _) in keys.into_iter().filter(|(_, given)| *given) {
        let help = format!("write it at `{of}`, whose network this is");
        findings.add(&["spec", key], format!("{key} with network_mode `{mode}`"), help);
    }
}

fn network_mode(mode: &str, spec: &ServiceSpec, findings: &mut Findings) {
    let path = ["spec", "network_mode"];
    match mode {
        "none" | "host" | "bridge" => {}
        _ if mode.starts_with("service:") || mode.starts_with("container:") => of_another(&path, mode, findings),
        _ => {
            let help = "write `none`, `host`, `bridge` or `service:NAME`, or name networks in `networks: [...]`";
            findings.add(&path, format!("network_mode `{mode}` is not supported"), help);
        }
    }
    if spec.networks.is_some() {
        let help = "keep one of the two: network_mode takes the place of networks";
        findings.add(&path, "network_mode together with networks", help);
    }
    if matches!(mode, "host" | "none") && !spec.ports.is_empty() {
        let help = if mode == "host" {
            "remove `ports`: with the host's network every port of the container is the host's"
        } else {
            "remove `ports`: a container without a network has none"
        };
        findings.add(&["spec", "ports"], format!("ports with network_mode `{mode}`"), help);
    }
}
