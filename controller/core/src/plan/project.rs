//! The networks and volumes of a project: made when a service needs them, networks removed when none does. Volumes are
//! never removed.

use std::collections::BTreeMap;

use crd_schema::status::WaitReason;
use crd_schema::{MountKind, ServiceSpec};

use super::action::{Plan, Verb};
use crate::model::{DesiredProject, Listing};

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

/// What a service still lacks, for people: `network shop_default`.
pub fn missing(project: &str, desired: &DesiredProject, spec: &ServiceSpec, listing: &Listing) -> Vec<String> {
    let (networks, volumes) = uses(spec);
    let networks = networks.iter().map(|key| desired.network_name(project, key));
    let volumes = volumes.iter().map(|key| desired.volume_name(project, key));
    let networks =
        networks.filter(|name| !listing.objects.networks.contains_key(name)).map(|name| format!("network {name}"));
    let volumes =
        volumes.filter(|name| !listing.objects.volumes.contains_key(name)).map(|name| format!("volume {name}"));
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
