//! The replicas of a service as people may read of them.

use std::collections::BTreeSet;

use crd_schema::ContainerId;
use crd_schema::status::{ReplicaPhase, ReplicaStatus, ServiceStatus};

use super::super::phase::{Phase, ReplicaFault, phase};
use super::super::scene::Scene;
use super::super::target::failed;
use crate::model::{Replica, State, describe_unhealthy, meaning};

/// Their part of a status. `staying` are those that are to stay.
pub(super) fn replicas(
    scene: &Scene<'_>,
    before: Option<&ServiceStatus>,
    staying: &BTreeSet<&ContainerId>,
) -> ServiceStatus {
    let mut status = ServiceStatus::default();
    for replica in &scene.observed.replicas {
        let (phase, _) = phase(scene, replica);
        let name = shown_phase(&phase);
        let known = before.and_then(|b| b.instances.iter().find(|i| i.id == replica.id && i.phase == name));
        let endpoints = endpoints(replica);
        if matches!(phase, Phase::Available | Phase::Joining(_)) {
            status.endpoints.extend(endpoints.iter().cloned());
        }
        status.instances.push(ReplicaStatus {
            name: replica.name.clone(),
            id: replica.id.clone(),
            revision: replica.revision.clone(),
            phase: name,
            since: known.map_or(scene.now, |instance| instance.since),
            endpoints,
            addresses: replica.addresses.clone(),
            reason: reason(scene, replica, &phase),
            idle: !replica.state.is_live(),
            leaves: replica.state.is_live() && !staying.contains(&replica.id),
            shares: replica.joined.iter().map(|owner| owner.id.clone()).collect(),
        });
    }
    status.instances.sort_by(|a, b| a.name.cmp(&b.name));
    status.endpoints.sort();
    status
}

/// Of one that is kept because its revision has failed, why that was: its own end is the stop that came later.
fn reason(scene: &Scene<'_>, replica: &Replica, phase: &Phase) -> Option<String> {
    let failure = failed(scene.desired, scene.memory).filter(|failure| failure.revision == replica.revision);
    let why = failure.map(|failure| failure.message.clone()).filter(|_| *phase == Phase::Retained);
    why.or_else(|| reason_of(scene, replica, phase))
}

fn shown_phase(phase: &Phase) -> ReplicaPhase {
    match phase {
        Phase::Pending(_) => ReplicaPhase::Pending,
        Phase::Joining(_) => ReplicaPhase::Joining,
        Phase::Available => ReplicaPhase::Available,
        Phase::Completed => ReplicaPhase::Completed,
        Phase::Failed(_) => ReplicaPhase::Failed,
        Phase::Draining => ReplicaPhase::Draining,
        Phase::Exited | Phase::Spent => ReplicaPhase::Exited,
        Phase::Retained => ReplicaPhase::Retained,
    }
}

/// Why one is in this phase, for people.
pub(super) fn reason_of(scene: &Scene<'_>, replica: &Replica, phase: &Phase) -> Option<String> {
    match phase {
        Phase::Pending(what) => Some(format!("waits {what}")),
        Phase::Joining(who) => Some(format!("waits for {who}")),
        Phase::Failed(ReplicaFault::Unhealthy) => {
            let spec = scene.memory.record(&replica.revision).map(|record| &*record.spec);
            Some(describe_unhealthy(replica, spec))
        }
        Phase::Failed(ReplicaFault::HealthTimeout) => Some("did not become healthy in time".to_owned()),
        Phase::Failed(ReplicaFault::PostStart) => Some("its post_start has failed, or was interrupted".to_owned()),
        Phase::Failed(ReplicaFault::LostNamespace) => {
            Some("is cut off: whose namespaces it shares was replaced or started anew".to_owned())
        }
        Phase::Failed(ReplicaFault::Paused) => Some("was paused by hand".to_owned()),
        Phase::Exited | Phase::Spent | Phase::Retained => match replica.state {
            State::Exited(code) => Some(format!("exited with code {code}{}", meaning(replica, code))),
            _ => None,
        },
        Phase::Available | Phase::Completed | Phase::Draining => None,
    }
}

/// Where a running replica listens: its published host addresses, then each network address with each TCP port.
fn endpoints(replica: &Replica) -> Vec<String> {
    let tcp = || replica.ports.iter().filter_map(|(port, hosts)| Some((port.strip_suffix("/tcp")?, hosts)));
    let published = tcp().flat_map(|(_, hosts)| hosts.iter().cloned());
    let addresses = replica.addresses.values();
    let inside = addresses.flat_map(|address| tcp().map(move |(port, _)| format!("{address}:{port}")));
    published.chain(inside).collect()
}
