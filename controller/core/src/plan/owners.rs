//! The replicas of other services whose namespaces one has joined: whether it can stay with them.

use crd_schema::ContainerId;

use super::scene::Scene;
use crate::model::{NamespaceOwner, Replica, State};

/// The replicas whose namespaces `replica` has joined, as far as they are known.
pub(super) fn owners<'a>(scene: &Scene<'a>, replica: &Replica) -> impl Iterator<Item = &'a NamespaceOwner> {
    let all = scene.observed.neighbours.hosts.values().flat_map(|hosts| &hosts.of);
    all.filter(|host| replica.joined.iter().any(|owner| owner.id == host.id))
}

/// Whether another of its kind must take its place, since one that it shares namespaces with will not stay. What has ended
/// needs them no more.
pub(super) fn owner_is_replaced(scene: &Scene<'_>, replica: &Replica) -> bool {
    let needs = replica.state.is_live() || replica.state == State::Created;
    needs && owners(scene, replica).any(|host| !host.stays)
}

/// Whether it goes now, since one that it shares namespaces with is on its way out.
pub(super) fn terminates_with_owner(scene: &Scene<'_>, replica: &Replica) -> bool {
    owners(scene, replica).any(|host| host.parting)
}

/// Whether one that never ran can be started no more: what it was to join does not run.
pub(super) fn owner_has_gone(replica: &Replica) -> bool {
    replica.state == State::Created && replica.joined.iter().any(|owner| owner.since.is_none())
}

/// Whether a replica is in the namespaces of this container.
pub(super) fn is_in(replica: &Replica, host: &ContainerId) -> bool {
    replica.joined.iter().any(|owner| owner.id == *host)
}
