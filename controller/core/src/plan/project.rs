//! The networks and volumes of a project: made when a service needs them, networks removed when none does. Volumes are
//! never removed.

use std::collections::BTreeMap;

use crd_schema::status::WaitReason;
use crd_schema::{MountKind, ServiceSpec};

use super::action::{Plan, Verb};
use crate::model::{DesiredProject, ListedObjects, Listing};

/// The networks and volumes that a specification uses, by key: `(networks, volumes)`.
pub fn uses(spec: &ServiceSpec) -> (Vec<String>, Vec<String>) {
    let networks = match (&spec.network_mode, &spec.networks) {
        (Some(_), _) => Vec::new(),
        (None, Some(networks)) => networks.keys().cloned().collect(),
        (None, None) => vec!["default".to_owned()],
    };
    let named = spec.volumes.iter().filter(|mount| mount.kind == MountKind::Volume);
    let volumes = named.filter_map(|mount| mount.source.clone()).collect();
    (networks, volumes)
}

/// A network or volume that a service needs and that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingObject {
    /// `network` or `volume`.
    pub kind: &'static str,
    /// Its key in the project's file.
    pub key: String,
    /// Its name on the engine.
    pub name: String,
    /// It is not this controller's to make.
    pub external: bool,
}

impl MissingObject {
    /// The command that makes it.
    pub fn command(&self) -> String {
        format!("docker {} create {}", self.kind, self.name)
    }
}

impl std::fmt::Display for MissingObject {
    /// `network shop_default`, or `external network proxy`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{} {}", if self.external { "external " } else { "" }, self.kind, self.name)
    }
}

/// What a service still lacks.
pub fn missing(
    project: &str,
    desired: &DesiredProject,
    spec: &ServiceSpec,
    objects: &ListedObjects,
) -> Vec<MissingObject> {
    let (networks, volumes) = uses(spec);
    let networks = networks.into_iter().filter_map(|key| {
        let name = desired.network_name(project, &key);
        let external = desired.networks.get(&key).is_some_and(|network| network.external);
        let there = objects.networks.contains_key(&name);
        (!there).then(|| MissingObject { kind: "network", key, name: name.to_string(), external })
    });
    let volumes = volumes.into_iter().filter_map(|key| {
        let name = desired.volume_name(project, &key);
        let external = desired.volumes.get(&key).is_some_and(|volume| volume.external);
        let there = objects.volumes.contains_key(&name);
        (!there).then(|| MissingObject { kind: "volume", key, name: name.to_string(), external })
    });
    networks.chain(volumes).collect()
}

/// The next step for a project whose running services have these specifications. With `empty`, no service of it is
/// wanted or left.
pub fn plan(project: &str, desired: &DesiredProject, specs: &[&ServiceSpec], listing: &Listing, empty: bool) -> Plan {
    let mut plan = Plan::default();
    let mut networks = BTreeMap::new();
    let mut volumes = BTreeMap::new();
    for spec in specs {
        let (of_networks, of_volumes) = uses(spec);
        networks.extend(of_networks.into_iter().map(|key| (desired.network_name(project, &key), key)));
        volumes.extend(of_volumes.into_iter().map(|key| (desired.volume_name(project, &key), key)));
    }
    for (name, key) in networks {
        if listing.objects.networks.contains_key(&name) {
            continue;
        }
        if desired.networks.get(&key).is_some_and(|network| network.external) {
            plan.wait(WaitReason::ExternalObject, format!("external network {name} to be created by its owner"), None);
        } else {
            plan.act(Verb::CreateNetwork { key, name }, "a service needs it");
        }
    }
    for (name, key) in volumes {
        if listing.objects.volumes.contains_key(&name) {
            continue;
        }
        if desired.volumes.get(&key).is_some_and(|volume| volume.external) {
            plan.wait(WaitReason::ExternalObject, format!("external volume {name} to be created by its owner"), None);
        } else {
            plan.act(Verb::CreateVolume { key, name }, "a service needs it");
        }
    }
    // An engine that was asked for a network again, since it had not answered, may have made several: none of them can be joined.
    for (id, twin) in listing.objects.network_twins.iter().filter(|(_, twin)| twin.project == project) {
        let remove = Verb::RemoveNetwork { name: twin.name.clone(), id: Some(id.clone()) };
        plan.act(remove, "the engine has made several of its name, and another one is older");
    }
    if empty {
        let ours = listing.objects.networks.iter().filter(|(_, owner)| owner.as_deref() == Some(project));
        for (name, _) in ours {
            plan.act(Verb::RemoveNetwork { name: name.clone(), id: None }, "no service of its project is left");
        }
    }
    plan
}
