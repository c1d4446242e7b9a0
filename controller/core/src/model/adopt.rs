//! Containers that Docker Compose made, and the revisions that they stand for.

use jiff::Timestamp;

use super::record::{Outcome, RevisionRecord, is_ready};
use super::{Comparison, DesiredService, Observed, Replica, ServiceRecord};

impl ServiceRecord {
    /// Gives those of `replicas` that Compose made the revision that they stand for: the one that they were adopted with, as
    /// long as it is remembered; the desired one, if they are what it would make. Others keep a name of their own, which no
    /// document has.
    pub fn identify(&self, desired: Option<&DesiredService>, replicas: &mut [Replica]) {
        for replica in replicas {
            let Some(comparison) = &replica.compose else { continue };
            let known = self.replicas.adopted.get(&replica.id).and_then(|revision| self.record(revision));
            // One that no document has asked for is the desired one as soon as a document does.
            let known = known.filter(|record| !record.adopted || *comparison != Comparison::Same);
            let known = known.map(|record| &record.revision);
            // One that does not run is no replica to go on with, unless it is a job.
            let goes_on = |desired: &&DesiredService| replica.state.is_live() || desired.is_job();
            let same = desired.filter(|_| *comparison == Comparison::Same).filter(goes_on);
            if let Some(revision) = known.or(same.map(|desired| &desired.revision)) {
                replica.revision.clone_from(revision);
            }
        }
    }

    /// Whether it is written down that this container is ours to change, and what it stands for.
    pub fn has_adopted(&self, replica: &Replica) -> bool {
        replica.compose.is_none() || self.replicas.adopted.get(&replica.id) == Some(&replica.revision)
    }

    /// Notes of what those are made that differ from what is asked for: a revision like any other, made before the desired
    /// one, and available as soon as one of them is seen to run well.
    pub(super) fn observe_adopted(&mut self, observed: &Observed, now: Timestamp) {
        for replica in observed.replicas.iter().filter(|replica| replica.state.is_live()) {
            let Some(spec) = &replica.specification else { continue };
            if self.record(&replica.revision).is_none() {
                let before = self.revisions.history.len().saturating_sub(1);
                self.revisions.history.insert(before, RevisionRecord::adopted(replica, spec));
                self.limit_history();
            }
        }
        let open = |record: &&mut RevisionRecord| record.adopted && record.outcome == Outcome::Pending;
        for record in self.revisions.history.iter_mut().filter(open) {
            let of_compose = |replica: &&Replica| replica.compose.is_some() && replica.revision == record.revision;
            if observed.replicas.iter().filter(of_compose).any(is_ready) {
                (record.outcome, record.served, record.ended) = (Outcome::Available, true, Some(now));
            }
        }
    }
}
