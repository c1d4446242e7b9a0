//! Replicas that have joined the namespaces of another service's (`network_mode: service:x`). A container cannot change its
//! namespaces: who is in those of one that goes gets a successor in those of one that stays, and goes before it.

use std::collections::BTreeMap;
use std::time::Duration;

use crd_schema::status::WaitReason;
use crd_schema::{ContainerId, Order};
use jiff::Timestamp;

use super::action::{Plan, Target};
use super::owners::{is_in, owners};
use super::policy::Policy;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::scene::Scene;
use crate::model::{NamespaceMember, NamespaceOwner, NamespaceOwners, Replica};

/// Beyond its own `drain_timeout` a replica waits so long for those in its namespaces to end.
const MEMBERS_STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// The policy for what is there now: within one network two copies would claim the same ports, so there the old one is
/// stopped first; into another network the new one comes first.
pub fn with_namespace_order(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Policy {
    let policy = scene.policy.clone();
    if !owner_is_elsewhere(scene) {
        return policy;
    }
    let going = sets.to_replace.iter().chain(&sets.terminating).chain(&sets.cancellable);
    let in_place = |member: &&ClassifiedReplica<'_>| {
        let replica = member.replica;
        replica.state.is_live() && !replica.lost_namespace() && owners(scene, replica).any(|host| host.stays)
    };
    if going.filter(in_place).count() == 0 { policy } else { policy.stopping_first() }
}

/// Whether its copies must each have a network of its own: they join others', and nobody said that two may share one.
fn owner_is_elsewhere(scene: &Scene<'_>) -> bool {
    let spec = &scene.desired.spec;
    let order = spec.rollout.as_ref().and_then(|rollout| rollout.order).unwrap_or_default();
    spec.shares_network() && order == Order::Auto
}

/// How many copies are in one host's namespaces where all are spread evenly.
fn fair_share(scene: &Scene<'_>, hosts: &NamespaceOwners) -> usize {
    scene.policy.replicas.div_ceil(hosts.replicas.max(1)).max(1) as usize
}

/// Whose namespaces a new replica joins, one of each service: the least crowded of those that stay. `None`: there is none
/// with room yet, which `plan` is told. `given` are those chosen in this pass.
pub fn join(
    plan: &mut Plan,
    scene: &Scene<'_>,
    sets: &ReplicaSets<'_>,
    spec: &crd_schema::ServiceSpec,
    given: &[BTreeMap<String, Target>],
) -> Option<BTreeMap<String, Target>> {
    let mut joins = BTreeMap::new();
    for (_, service) in spec.shares() {
        let none = NamespaceOwners::default();
        let hosts = scene.observed.neighbours.hosts.get(service).unwrap_or(&none);
        // Where nothing serves, nothing is lost: then one that has started is enough, as for Compose.
        let serves = sets.available() > 0;
        let in_it = |host: &NamespaceOwner| {
            let keepers = sets.current.iter().filter(|member| is_in(member.replica, &host.id)).count();
            keepers + given.iter().filter(|joins| joins.values().any(|target| target.id == host.id)).count()
        };
        let fit = hosts.of.iter().filter(|host| host.stays && host.open && (host.available || !serves));
        let roomy = fit.filter(|host| in_it(host) < fair_share(scene, hosts));
        let Some(host) = roomy.min_by_key(|host| in_it(host)) else {
            plan.wait(
                WaitReason::Namespace,
                format!("a replica of {service} to join: one that stays, is available and has room"),
                None,
            );
            return None;
        };
        joins.insert(service.to_owned(), Target { id: host.id.clone(), name: host.name.clone() });
    }
    Some(joins)
}

/// Whose namespaces the container of a hook joins: any that stays, however many are in them. `None` as in [`join`].
pub fn join_any(
    plan: &mut Plan,
    scene: &Scene<'_>,
    spec: &crd_schema::ServiceSpec,
) -> Option<BTreeMap<String, Target>> {
    let mut joins = BTreeMap::new();
    for (_, service) in spec.shares() {
        let hosts = scene.observed.neighbours.hosts.get(service);
        let Some(host) = hosts.and_then(|hosts| hosts.of.iter().find(|host| host.stays && host.open)) else {
            plan.wait(WaitReason::Namespace, format!("a replica of {service} to join: one that stays"), None);
            return None;
        };
        joins.insert(service.to_owned(), Target { id: host.id.clone(), name: host.name.clone() });
    }
    Some(joins)
}

/// Whether a created replica may be started beside those that run in the same network, and those of it that are `started` in this
/// pass.
pub fn has_room(scene: &Scene<'_>, member: &ClassifiedReplica<'_>, started: &[&ClassifiedReplica<'_>]) -> bool {
    if !owner_is_elsewhere(scene) {
        return true;
    }
    let hosts = |owner: &ContainerId| {
        let mut all = scene.observed.neighbours.hosts.values();
        all.find(|hosts| hosts.of.iter().any(|host| host.id == *owner))
    };
    member.replica.joined.iter().all(|owner| {
        let others = scene.observed.replicas.iter().filter(|other| other.id != member.replica.id);
        let there =
            others.filter(|other| other.state.is_live() && !other.lost_namespace() && is_in(other, &owner.id)).count();
        let more = started.iter().filter(|other| is_in(other.replica, &owner.id)).count();
        there + more < hosts(&owner.id).map_or(1, |hosts| fair_share(scene, hosts))
    })
}

fn members<'a>(scene: &Scene<'a>, replica: &Replica) -> &'a [NamespaceMember] {
    scene.observed.neighbours.guests.get(&replica.id).map_or(&[], Vec::as_slice)
}

/// Who keeps a replica from being taken out of traffic, if anybody does: those in its namespaces have no successors yet.
fn member_in_the_way(scene: &Scene<'_>, member: &ClassifiedReplica<'_>) -> Option<String> {
    if let Some(unseen) = scene.observed.neighbours.unseen.first() {
        return Some(format!("a look at {unseen}, which shares namespaces of its replicas"));
    }
    let guests = members(scene, member.replica);
    if let Some((guest, why)) = guests.iter().find_map(|guest| Some((guest, guest.held.as_ref()?))) {
        return Some(format!(
            "{}, which shares namespaces of {} and is not moved: {why}",
            guest.name, member.replica.name
        ));
    }
    // Without a successor of its own they have nowhere to go, and go with it.
    let moves = !scene.policy.stop_first && scene.policy.replicas > 0;
    let guest = guests.iter().find(|guest| guest.stays && moves)?;
    Some(format!("the successor of {}, which shares namespaces of {}", guest.name, member.replica.name))
}

/// The first `most` of those that leave, but for those that others keep. No available one goes in the place of one that is not.
pub fn to_drain<'c, 'a>(
    plan: &mut Plan,
    scene: &Scene<'a>,
    sets: &'c ReplicaSets<'a>,
    most: usize,
) -> Vec<&'c ClassifiedReplica<'a>> {
    let (available, other): (Vec<_>, Vec<_>) = sets.to_replace.iter().partition(|member| member.available());
    let rest = most.saturating_sub(other.len());
    let mut free = |from: Vec<&'c ClassifiedReplica<'a>>, most: usize| {
        let mut free = Vec::new();
        for member in from {
            match member_in_the_way(scene, member) {
                _ if free.len() >= most => break,
                Some(who) => plan.wait(WaitReason::Namespace, who, None),
                None => free.push(member),
            }
        }
        free
    };
    let mut all = free(other.into_iter().take(most).collect(), most);
    all.extend(free(available, rest));
    all
}

/// Who must have ended before a replica is stopped, and until when that is waited for.
pub fn last_member_end(
    guests: &[NamespaceMember],
    deadline: Timestamp,
    now: Timestamp,
) -> Option<(&NamespaceMember, Timestamp)> {
    let until = deadline + MEMBERS_STOP_TIMEOUT;
    guests.first().map(|guest| (guest, until)).filter(|_| now < until)
}
