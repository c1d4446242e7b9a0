//! The one line that would make a service's rollouts quicker or surer: what people can add for the way by which its
//! requests come.

use crd_schema::status::{Proof, TrafficPath};
use crd_schema::{MountKind, ServiceSpec};

use super::policy::Policy;

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
}
