//! Rules about networks and ports.

use super::Findings;
use crate::ServiceSpec;

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    if let Some(mode) = &spec.network_mode {
        network_mode(mode, spec, findings);
    }
    for (index, port) in spec.ports.iter().enumerate() {
        let clash = spec.ports.iter().take(index).find(|other| {
            let same_ip = other.host_ip == port.host_ip || other.host_ip.is_none() || port.host_ip.is_none();
            same_ip && other.published.is_some() && other.published == port.published && other.protocol == port.protocol
        });
        if let Some(published) = clash.and(port.published) {
            let help = "publish each host port once, or on different addresses";
            findings.add(&["spec", "ports"], format!("host port {published} is published twice"), help);
        }
        if port.host_ip.as_deref().is_some_and(|ip| ip.parse::<std::net::IpAddr>().is_err()) {
            let help = "write an address of this host, such as `127.0.0.1`";
            findings.add(&["spec", "ports"], "host_ip is not an IP address", help);
        }
    }
    for (key, value) in [("pid", &spec.pid), ("ipc", &spec.ipc)] {
        if value.as_deref().is_some_and(|mode| mode.starts_with("service:") || mode.starts_with("container:")) {
            let help = "not yet supported: the other container's replacement would take this one with it; use `host` or remove it";
            findings.add(&["spec", key], format!("{key} of another container"), help);
        }
    }
}

fn network_mode(mode: &str, spec: &ServiceSpec, findings: &mut Findings) {
    let path = ["spec", "network_mode"];
    match mode {
        "none" | "host" | "bridge" => {}
        _ if mode.starts_with("service:") || mode.starts_with("container:") => findings.add(
            &path,
            format!("network_mode `{mode}` is not supported"),
            "not yet supported: the other container's replacement would take this one's network with it; use `networks`",
        ),
        _ => {
            let help = "write `none`, `host` or `bridge`, or name networks in `networks: [...]`";
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
