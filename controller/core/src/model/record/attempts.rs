//! How often the replicas of a revision have ended, where composed itself counts their runs (`restart_policy`).

use crd_schema::{Revision, ServiceSpec};
use jiff::Timestamp;

use super::{RevisionRecord, ServiceRecord};

/// So many ends of a revision are remembered.
const MAX_ENDS: usize = 1_000;

impl ServiceRecord {
    /// Notes that a replica of `revision` has ended by itself. The engine counts the runs of all others.
    pub(super) fn record_end(&mut self, revision: &Revision, now: Timestamp) {
        let counts = |record: &&mut RevisionRecord| record.revision == *revision && limit(&record.spec).is_some();
        for record in self.revisions.history.iter_mut().filter(counts) {
            record.ends.push(now);
            let over = record.ends.len().saturating_sub(MAX_ENDS);
            record.ends.drain(..over);
        }
    }

    /// Whether `replicas` of `revision` have had all the runs that its `restart_policy` has for them. As in Swarm, only the ends
    /// within `window` before the last one count.
    ///
    /// ```text
    /// max_attempts 3, 2 replicas: 2 first runs and 6 further ones, so the 7th end is the first without a next run
    /// ```
    pub fn has_no_run_left(&self, revision: &Revision, replicas: u32) -> bool {
        let Some(record) = self.record(revision) else { return false };
        let (Some(limit), Some(last)) = (limit(&record.spec), record.ends.last()) else { return false };
        let window = record.spec.restart_policy.and_then(|rules| rules.window).filter(|window| !window.get().is_zero());
        let counts = |end: &&Timestamp| window.is_none_or(|window| **end + window.get() >= *last);
        let ends = record.ends.iter().filter(counts).count();
        // The last end itself is no further run.
        ends.saturating_sub(1) >= ((limit * replicas.max(1)) as usize).min(MAX_ENDS - 1)
    }
}

/// The further runs of each replica, where composed counts them.
fn limit(spec: &ServiceSpec) -> Option<u32> {
    spec.restart_policy.and_then(|_| spec.max_restarts())
}
