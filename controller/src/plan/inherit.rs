//! Anonymous volumes outlive their container, as with Compose: the one that is made in its place has them. Not where both
//! run at once, since each would write into the other's data.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::Replica;

use super::Scene;
use super::cast::Cast;

/// The anonymous volumes that new replicas have from those whose place they take: one after the other, by their place in
/// the container.
pub fn volumes(scene: &Scene<'_>, cast: &Cast<'_>) -> impl Iterator<Item = BTreeMap<String, String>> {
    let kept: BTreeSet<&str> = cast.keepers.iter().map(|member| member.replica.id.as_str()).collect();
    let used: BTreeSet<&String> = cast.keepers.iter().flat_map(|member| member.replica.volumes.values()).collect();
    let leaves = |replica: &&Replica| {
        let free = scene.policy.stop_first || !replica.state.is_live();
        free && !kept.contains(replica.id.as_str()) && !replica.volumes.is_empty()
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
