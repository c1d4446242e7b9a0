//! What a decision may look at.

use crd_schema::{Revision, ServiceSpec};
use jiff::Timestamp;

use super::policy::Policy;
use crate::model::{DesiredService, Ending, Observed, Replica, ServiceName, ServiceRecord, ending};

/// What is seen and remembered.
pub(super) type ObservedRecord<'a> = (&'a Observed, &'a ServiceRecord);

/// Everything that a decision about a running service may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is wanted.
    pub desired: &'a DesiredService,
    /// What is seen.
    pub observed: &'a Observed,
    /// What is remembered.
    pub memory: &'a ServiceRecord,
    /// The rollout policy.
    pub policy: &'a Policy,
    /// The moment.
    pub now: Timestamp,
}

impl<'a> Scene<'a> {
    /// What is seen and remembered.
    pub(super) fn seen(&self) -> ObservedRecord<'a> {
        (self.observed, self.memory)
    }

    /// What a revision is made of; of one that is not remembered, the desired one's word is the best there is.
    pub(super) fn spec_of(&self, revision: &Revision) -> &'a ServiceSpec {
        self.memory.record(revision).map_or(&*self.desired.spec, |record| &*record.spec)
    }

    /// The policy for a revision of which some replicas have done their work and are gone, such as a job whose container was
    /// removed by `docker container prune`: so many fewer are wanted.
    pub(super) fn policy_of(&self, revision: &Revision) -> Policy {
        let done = self.memory.record(revision).map_or(0, |record| record.completed);
        let there =
            self.observed.replicas.iter().filter(|one| one.revision == *revision).filter(|one| self.completed(one));
        // Of more than are wanted by now those that are there are enough: else each that is removed made one more too many.
        let done = done.min(self.policy.replicas);
        let gone = (done as usize).saturating_sub(there.count());
        let gone = u32::try_from(gone).unwrap_or(u32::MAX);
        Policy { replicas: self.policy.replicas.saturating_sub(gone), ..self.policy.clone() }
    }

    fn completed(&self, replica: &Replica) -> bool {
        ending(replica, self.spec_of(&replica.revision), self.desired.one_shot) == Some(Ending::Completed)
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.desired.name
    }
}
