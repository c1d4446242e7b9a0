//! Many services that lose their documents at once are a wrong directory more often than a wish. One that is called something
//! else by now has not lost anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use composed_core::model::{DesiredService, ServiceName, collide};
use crd_schema::{MountKind, ServiceSpec};
use parking_lot::Mutex;

/// The services that lost their documents together with most others. They are not removed in this process until each
/// has its document back; documents of other services change nothing about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<Mutex<Losses>>);

#[derive(Debug, Default)]
struct Losses {
    held: BTreeSet<ServiceName>,
    /// Those that seem to be renamed, with their successors.
    renamed: BTreeMap<ServiceName, ServiceName>,
}

impl Guard {
    /// Takes note of the services that have containers, and of those among them that have no document. Returns how
    /// many are held.
    pub(super) fn note(&self, gone: &BTreeSet<ServiceName>, owned: usize) -> usize {
        let mut losses = self.0.lock();
        losses.renamed.retain(|name, _| gone.contains(name));
        let lost: BTreeSet<_> = gone.iter().filter(|name| !losses.renamed.contains_key(*name)).cloned().collect();
        losses.held.retain(|name| lost.contains(name));
        if lost.len() * 2 > owned {
            losses.held.extend(lost);
        }
        losses.held.len()
    }

    /// Takes note of a service that seems to be renamed. Tells whether that is news.
    pub(super) fn renamed(&self, name: &ServiceName, to: &ServiceName) -> bool {
        self.0.lock().renamed.insert(name.clone(), to.clone()).as_ref() != Some(to)
    }
}

/// What of a service that has no document any more another one of its project has, that only one of them can have: a host port, a
/// `container_name`, or, of one that is new, its data.
pub(super) fn succeeds(gone: &ServiceSpec, other: &DesiredService, is_new: bool) -> Option<String> {
    let (old, new) = (gone.of_replicas(), other.spec.of_replicas());
    let port = old.ports.iter().find(|port| new.ports.iter().any(|other| collide(port, other)));
    if let Some(port) = port.and_then(|port| port.published) {
        return Some(format!("the same host port {port}"));
    }
    if let Some(name) = old.container_name.as_ref().filter(|name| new.container_name.as_ref() == Some(name)) {
        return Some(format!("the same container_name {name}"));
    }
    let named = |spec: &ServiceSpec| -> BTreeSet<String> {
        let volumes = spec.volumes.iter().filter(|mount| mount.kind == MountKind::Volume && !mount.read_only);
        volumes.filter_map(|mount| mount.source.clone()).collect()
    };
    let volume = named(&old).intersection(&named(&new)).next().cloned().filter(|_| is_new)?;
    Some(format!("the same volume {volume}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ServiceSpec {
        serde_json::from_str(text).expect("a specification")
    }

    #[test]
    fn one_that_is_renamed_is_not_lost() {
        let name = |name: &str| ServiceName::new("shop", name);
        let (guard, gone) = (Guard::default(), BTreeSet::from([name("old")]));
        assert_eq!(guard.note(&gone, 1), 1, "all of them at once");
        assert!(guard.renamed(&name("old"), &name("new")) && !guard.renamed(&name("old"), &name("new")));
        assert_eq!(guard.note(&gone, 1), 0);
        let gone = [name("old"), name("a"), name("b")].into();
        assert_eq!(guard.note(&gone, 3), 2, "two of three are lost, and one is renamed");
        assert_eq!(guard.note(&BTreeSet::new(), 3), 0);
        assert_eq!(guard.note(&[name("old")].into(), 1), 1, "it had its document back meanwhile");
    }

    #[test]
    fn a_successor_has_what_only_one_can_have() {
        let old = spec(
            r#"{"image": "a", "ports": [{"target": 80, "published": 8080}], "container_name": "db",
                "volumes": [{"type": "volume", "source": "data", "target": "/data"}]}"#,
        );
        let other = |text: &str| DesiredService::new(ServiceName::new("shop", "new"), spec(text), "a.yaml:1");
        let port = other(r#"{"image": "b", "ports": [{"target": 81, "published": 8080}]}"#);
        assert_eq!(succeeds(&old, &port, false).as_deref(), Some("the same host port 8080"));
        let udp = other(r#"{"image": "b", "ports": [{"target": 81, "published": 8080, "protocol": "udp"}]}"#);
        assert_eq!(succeeds(&old, &udp, true), None);
        let named = other(r#"{"image": "b", "container_name": "db"}"#);
        assert_eq!(succeeds(&old, &named, false).as_deref(), Some("the same container_name db"));
        let data = other(r#"{"image": "b", "volumes": [{"type": "volume", "source": "data", "target": "/x"}]}"#);
        assert_eq!(succeeds(&old, &data, true).as_deref(), Some("the same volume data"));
        assert_eq!(succeeds(&old, &data, false), None, "it has had that volume before");
    }
}
