//! The one line that would make a service's rollouts quicker or surer: what people can add for the way by which its
//! requests come.

use crd_schema::status::{Proof, TrafficPath};
use crd_schema::{MountKind, ServiceSpec};

use super::policy::Policy;
use super::termination::PRE_STOP_LABEL;

/// The line, if there is one. `paths` are those by which requests come, as far as anybody knows.
pub fn hint(spec: &ServiceSpec, paths: &[TrafficPath]) -> Option<String> {
    // A front is what it would advise.
    if spec.generated.is_some() {
        return None;
    }
    let label = |prefix: &str| spec.labels.keys().any(|key| key.to_lowercase().starts_with(prefix));
    let told = paths.iter().any(|path| path.path != FOLLOWERS);
    if !told && label("traefik.") {
        return Some(
            "its labels are for Traefik, which does not know yet who leaves: let Traefik's Docker provider read composed's \
             view (run --view), or its file provider the file of --traefik-file"
                .to_owned(),
        );
    }
    if !told && (label("caddy") || spec.environment.iter().any(|(name, _)| name == "VIRTUAL_HOST")) {
        return Some(
            "its labels are for a proxy that does not know yet who leaves: let it read composed's view (run --view)"
                .to_owned(),
        );
    }
    let fixed = spec.ports.iter().find_map(|port| port.published);
    if let Some(port) = fixed.filter(|_| Policy::from_spec(spec).stop_first) {
        return Some(format!(
            "host port {port} belongs to one container at a time, so each rollout has a gap: `front: http` (or tcp) removes it"
        ));
    }
    let volume = spec.volumes.iter().any(|mount| mount.kind == MountKind::Volume);
    let serves = !spec.expose.is_empty() || !spec.ports.is_empty();
    if !told && serves && !volume && spec.replicas != Some(0) {
        return Some(
            "clients that use Docker's DNS are not told who leaves: `front: http` (or tcp) takes their name, or answer names by composed (run --dns)"
                .to_owned(),
        );
    }
    None
}

/// What a rollout costs where no proxy learns that a replica leaves and no hook takes it out of traffic. To be said before it
/// begins. With `hook`, the command line has one.
pub fn warning(spec: &ServiceSpec, paths: &[TrafficPath], hook: bool) -> Option<String> {
    let told = paths.iter().any(|path| path.path != FOLLOWERS);
    let hook = hook || !spec.pre_stop.is_empty() || spec.labels.contains_key(PRE_STOP_LABEL);
    if spec.generated.is_some() || told || hook || spec.replicas == Some(0) {
        return None;
    }
    let labels = has_proxy_labels(spec);
    if !labels && spec.expose.is_empty() && spec.ports.is_empty() {
        return None;
    }
    let front = "add `front: http` (in a Compose file `x-composed: {front: http}`)";
    let fixed = spec.ports.iter().find_map(|port| port.published);
    if let Some(port) = fixed.filter(|_| Policy::from_spec(spec).stop_first) {
        return Some(format!(
            "requests to host port {port} fail between the end of the old replica and the start of the new one: {front}"
        ));
    }
    let line = if labels {
        format!(
            "let its proxy read composed's view (`composed run --view`), or add the label `{PRE_STOP_LABEL}: touch /tmp/drain \
             && sleep 10` and a healthcheck that fails on that file"
        )
    } else {
        front.to_owned()
    };
    Some(format!(
        "requests that reach an old replica while it stops fail: neither a proxy nor a client learns that the replica leaves, \
         and waiting for drain_timeout does not change that: {line}"
    ))
}

fn has_proxy_labels(spec: &ServiceSpec) -> bool {
    let label = |key: &String| ["traefik.", "caddy"].iter().any(|prefix| key.to_lowercase().starts_with(prefix));
    spec.labels.keys().any(label) || spec.environment.iter().any(|(name, _)| name == "VIRTUAL_HOST")
}

/// The ways that its specification alone makes, with what is known of them.
pub fn ways(spec: &ServiceSpec) -> Vec<TrafficPath> {
    let driver = spec.traffic.as_ref().is_some_and(|traffic| traffic.haproxy.is_some());
    match (&spec.front, driver) {
        (Some(_), _) => vec![front()],
        (None, true) => vec![haproxy()],
        (None, false) => Vec::new(),
    }
}

/// A service's own front.
pub fn front() -> TrafficPath {
    proven("front", "its HAProxy confirms who serves")
}

/// A HAProxy that people run.
pub fn haproxy() -> TrafficPath {
    proven("HAProxy", "its runtime API confirms who serves")
}

fn proven(path: &str, detail: &str) -> TrafficPath {
    TrafficPath { path: path.to_owned(), proof: Proof::Proven, detail: detail.to_owned() }
}

/// The name of the path that everybody has.
pub const FOLLOWERS: &str = "status";

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ServiceSpec {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: a, name: b}}\nspec:\n  image: a\n{text}"
        );
        match crd_schema::parse("a.yaml", &text).unwrap().remove(0).object {
            crd_schema::Object::Service(service) => service.spec,
            crd_schema::Object::Project(_) => panic!("a service"),
        }
    }

    #[test]
    fn the_hint_is_about_the_way_that_requests_come() {
        let path = |name: &str| TrafficPath { path: name.to_owned(), proof: Proof::Bounded, detail: String::new() };
        let traefik = spec("  labels: {traefik.enable: \"true\"}\n");
        assert!(hint(&traefik, &[]).unwrap().contains("--view"));
        assert!(hint(&traefik, &[path(FOLLOWERS)]).unwrap().contains("--view"));
        assert_eq!(hint(&traefik, &[path("Traefik's file")]), None);
        assert!(hint(&spec("  ports: [\"80:80\"]\n"), &[]).unwrap().contains("host port 80"));
        assert!(hint(&spec("  expose: [\"80\"]\n"), &[]).unwrap().contains("--dns"));
        assert_eq!(hint(&spec("  expose: [\"80\"]\n"), &[path("DNS names")]), None);
        assert_eq!(hint(&spec(""), &[]), None, "a worker");
    }

    #[test]
    fn what_a_rollout_costs_is_said_where_nobody_is_told_of_it() {
        let path = |name: &str| TrafficPath { path: name.to_owned(), proof: Proof::Bounded, detail: String::new() };
        let traefik = "  labels: {traefik.enable: \"true\"}\n";
        let said = |text: &str, paths: &[TrafficPath]| warning(&spec(text), paths, false);
        let helps = [
            (traefik, PRE_STOP_LABEL),
            ("  expose: [\"80\"]\n", "`front: http`"),
            ("  ports: [\"80\"]\n", "`front: http`"),
        ];
        for (serves, line) in helps {
            let why = said(serves, &[path(FOLLOWERS)]).unwrap_or_default();
            assert!(why.contains(line) && why.contains("requests that reach an old replica"), "{serves}: {why}");
        }
        let gap = said("  ports: [\"80:80\"]\n", &[]).unwrap_or_default();
        assert!(gap.contains("host port 80") && gap.contains("`front: http`"), "{gap}");
        assert_eq!(said(traefik, &[path("the view")]), None, "it is told");
        assert_eq!(said("  labels: {traefik.enable: \"true\", docker-rollout.pre-stop-hook: x}\n", &[]), None);
        assert_eq!(said("  expose: [\"80\"]\n  pre_stop: [{command: [x]}]\n", &[]), None);
        assert_eq!(warning(&spec(traefik), &[], true), None, "a hook of this rollout");
        assert_eq!(said("", &[]), None, "a worker");
    }
}
