//! Replicas that have joined the namespaces of another service's (`network_mode: service:x`). A container cannot change its
//! namespaces: who is in those of one that goes gets a successor in those of one that stays, and goes before it.

use std::collections::BTreeMap;
use std::time::Duration;

use crd_schema::Order;
use jiff::Timestamp;

use crate::model::{Guest, Host, Hosts, Replica, State};

use super::Scene;
use super::action::{Plan, Target};
use super::cast::{Cast, Member};
use super::policy::Policy;

/// Beyond its own `drain_timeout` a replica waits so long for those in its namespaces to end.
const GUESTS_END: Duration = Duration::from_mins(1);

/// The replicas whose namespaces `replica` has joined, as far as they are known.
fn hosts<'a>(scene: &Scene<'a>, replica: &Replica) -> impl Iterator<Item = &'a Host> {
    let all = scene.observed.neighbours.hosts.values().flat_map(|hosts| &hosts.of);
    all.filter(|host| replica.shares.iter().any(|owner| owner.id == host.id))
}

/// Whether another of its kind must take its place, since one that it shares namespaces with will not stay. What has ended
/// needs them no more.
pub fn outlives(scene: &Scene<'_>, replica: &Replica) -> bool {
    let needs = replica.state.is_live() || replica.state == State::Created;
    needs && hosts(scene, replica).any(|host| !host.stays)
}

/// Whether it goes now, since one that it shares namespaces with is on its way out.
pub fn goes_along(scene: &Scene<'_>, replica: &Replica) -> bool {
    hosts(scene, replica).any(|host| host.parting)
}

/// Whether one that never ran can be started no more: what it was to join does not run.
pub fn cannot_start(replica: &Replica) -> bool {
    replica.state == State::Created && replica.shares.iter().any(|owner| owner.since.is_none())
}

/// The policy for what is there now: within one network two copies would claim the same ports, so there the old one is
/// stopped first; into another network the new one comes first.
pub fn ordered(scene: &Scene<'_>, cast: &Cast<'_>) -> Policy {
    let policy = scene.policy.clone();
    if !is_apart(scene) {
        return policy;
    }
    let going = cast.leavers.iter().chain(&cast.leaving).chain(&cast.revocable);
    let in_place = |member: &&Member<'_>| {
        let replica = member.replica;
        replica.state.is_live() && !replica.alone() && hosts(scene, replica).any(|host| host.stays)
    };
    if going.filter(in_place).count() == 0 { policy } else { policy.stopping_first() }
}

/// Whether its copies must each have a network of its own: they join others', and nobody said that two may share one.
fn is_apart(scene: &Scene<'_>) -> bool {
    let spec = &scene.desired.spec;
    let order = spec.rollout.as_ref().and_then(|rollout| rollout.order).unwrap_or_default();
    spec.shares_network() && order == Order::Auto
}

/// How many copies are in one host's namespaces where all are spread evenly.
fn share(scene: &Scene<'_>, hosts: &Hosts) -> usize {
    scene.policy.replicas.div_ceil(hosts.replicas.max(1)).max(1) as usize
}

/// Whose namespaces a new replica joins, one of each service: the least crowded of those that stay. `None`: there is none
/// with room yet, which `plan` is told. `given` are those chosen in this pass.
pub fn join(
    plan: &mut Plan,
    scene: &Scene<'_>,
    cast: &Cast<'_>,
    spec: &crd_schema::ServiceSpec,
    given: &[BTreeMap<String, Target>],
) -> Option<BTreeMap<String, Target>> {
    let mut joins = BTreeMap::new();
    for (_, service) in spec.shares() {
        let none = Hosts::default();
        let hosts = scene.observed.neighbours.hosts.get(service).unwrap_or(&none);
        // Where nothing serves, nothing is lost: then one that has started is enough, as for Compose.
        let serves = cast.available() > 0;
        let in_it = |host: &Host| {
            let keepers = cast.keepers.iter().filter(|member| is_in(member.replica, &host.id)).count();
            keepers + given.iter().filter(|joins| joins.values().any(|target| target.id == host.id)).count()
        };
        let fit = hosts.of.iter().filter(|host| host.stays && host.open && (host.available || !serves));
        let roomy = fit.filter(|host| in_it(host) < share(scene, hosts));
        let Some(host) = roomy.min_by_key(|host| in_it(host)) else {
            plan.wait(format!("a replica of {service} to join: one that stays, is available and has room"), None);
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
            plan.wait(format!("a replica of {service} to join: one that stays"), None);
            return None;
        };
        joins.insert(service.to_owned(), Target { id: host.id.clone(), name: host.name.clone() });
    }
    Some(joins)
}

fn is_in(replica: &Replica, host: &str) -> bool {
    replica.shares.iter().any(|owner| owner.id == host)
}

/// Whether a created replica may be started beside those that run in the same network.
pub fn has_room(scene: &Scene<'_>, member: &Member<'_>) -> bool {
    if !is_apart(scene) {
        return true;
    }
    let hosts = |owner: &str| {
        let mut all = scene.observed.neighbours.hosts.values();
        all.find(|hosts| hosts.of.iter().any(|host| host.id == owner))
    };
    member.replica.shares.iter().all(|owner| {
        let others = scene.observed.replicas.iter().filter(|other| other.id != member.replica.id);
        let there = others.filter(|other| other.state.is_live() && !other.alone() && is_in(other, &owner.id)).count();
        there < hosts(&owner.id).map_or(1, |hosts| share(scene, hosts))
    })
}

/// Whether the successor of `member` waits for its place.
pub fn is_awaited(cast: &Cast<'_>, member: &Member<'_>) -> bool {
    let owners = &member.replica.shares;
    let waits = |keeper: &Member<'_>| !keeper.started() && owners.iter().any(|owner| is_in(keeper.replica, &owner.id));
    cast.keepers.iter().any(waits)
}

fn guests<'a>(scene: &Scene<'a>, replica: &Replica) -> &'a [Guest] {
    scene.observed.neighbours.guests.get(&replica.id).map_or(&[], Vec::as_slice)
}

/// Who keeps a replica from being taken out of traffic, if anybody does: those in its namespaces have no successors yet.
fn kept_by(scene: &Scene<'_>, member: &Member<'_>) -> Option<String> {
    if let Some(unseen) = scene.observed.neighbours.unseen.first() {
        return Some(format!("a look at {unseen}, which shares namespaces of its replicas"));
    }
    let guests = guests(scene, member.replica);
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
pub fn farewells<'c, 'a>(plan: &mut Plan, scene: &Scene<'a>, cast: &'c Cast<'a>, most: usize) -> Vec<&'c Member<'a>> {
    let (available, other): (Vec<_>, Vec<_>) = cast.leavers.iter().partition(|member| member.available());
    let rest = most.saturating_sub(other.len());
    let mut free = |from: Vec<&'c Member<'a>>, most: usize| {
        let mut free = Vec::new();
        for member in from {
            match kept_by(scene, member) {
                _ if free.len() >= most => break,
                Some(who) => plan.wait(who, None),
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
pub fn ends_after(guests: &[Guest], deadline: Timestamp, now: Timestamp) -> Option<(&Guest, Timestamp)> {
    let until = deadline + GUESTS_END;
    guests.first().map(|guest| (guest, until)).filter(|_| now < until)
}
