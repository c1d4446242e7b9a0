//! Containers that Docker Compose made, and the revisions that they stand for.

use super::{Comparison, DesiredService, Memory, Replica};

impl Memory {
    /// Gives those of `replicas` that Compose made the revision that they stand for: the one that they were adopted with, as
    /// long as it is remembered; the desired one, if they are what it would make. Others keep a name of their own, which no
    /// document has.
    pub fn identify(&self, desired: Option<&DesiredService>, replicas: &mut [Replica]) {
        for replica in replicas {
            let Some(comparison) = &replica.compose else { continue };
            let known = self.adopted.get(&replica.id).filter(|revision| self.record(revision).is_some());
            // One that does not run is no replica to go on with, unless it was to run once.
            let goes_on = |desired: &&DesiredService| replica.state.is_live() || desired.one_shot;
            let same = desired.filter(|_| *comparison == Comparison::Same).filter(goes_on);
            if let Some(revision) = known.or(same.map(|desired| &desired.revision)) {
                replica.revision.clone_from(revision);
            }
        }
    }

    /// Whether it is written down that this container is ours to change, and what it stands for.
    pub fn has_adopted(&self, replica: &Replica) -> bool {
        replica.compose.is_none() || self.adopted.get(&replica.id) == Some(&replica.revision)
    }
}
