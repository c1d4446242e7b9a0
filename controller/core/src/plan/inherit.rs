//! Anonymous volumes outlive their container, as with Compose: the one that is made in its place has them. Not where both
//! run at once, since each would write into the other's data.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::{ContainerId, VolumeName};

use super::replica_sets::ReplicaSets;
use super::scene::Scene;
use crate::model::Replica;

/// The anonymous volumes that new replicas have from those whose place they take: one after the other, by their place in
/// the container.
pub fn volumes(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> impl Iterator<Item = BTreeMap<String, VolumeName>> {
    let kept: BTreeSet<&ContainerId> = sets.current.iter().map(|member| &member.replica.id).collect();
    // Another one may have had them in between, and run with them.
    let beside = |replica: &&Replica| !scene.policy.stop_first && replica.state.is_live();
    let beside = scene.observed.replicas.iter().filter(beside);
    let users = sets.current.iter().map(|member| member.replica).chain(beside);
    let used: BTreeSet<&VolumeName> = users.flat_map(|replica| replica.volumes.values()).collect();
    let leaves = |replica: &&Replica| {
        let free = scene.policy.stop_first || !replica.state.is_live();
        free && !kept.contains(&replica.id) && !replica.volumes.is_empty()
    };
    let unused = |replica: &&Replica| replica.volumes.values().all(|volume| !used.contains(volume));
    let mut from: Vec<&Replica> = scene.observed.replicas.iter().filter(leaves).filter(unused).collect();
    // One that ran last has what was written last; one that is kept for looking at had it before.
    from.sort_by_key(|replica| {
        (replica.name == replica.service.kept_container(), !replica.state.is_live(), replica.number)
    });
    let mut given = BTreeSet::new();
    from.retain(|replica| replica.volumes.values().all(|volume| given.insert(volume.clone())));
    from.into_iter().map(|replica| replica.volumes.clone()).collect::<Vec<_>>().into_iter()
}
