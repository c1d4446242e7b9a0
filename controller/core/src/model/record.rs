//! What is remembered of a service between two passes: a fold over what was seen, persisted so that timers go on after
//! a restart. All of it may be lost: that makes the controller slower, never unsafe.

mod attempts;
mod external_changes;
mod hooks;
mod images;
mod manual_rollout;
mod observe;
mod outbox;
mod process;
mod replicas;
mod revisions;
mod stored;
mod undone;

use crd_schema::status::Reason;
use crd_schema::{ImageDigest, Revision, SpecDigest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Desired, ExternalChange, ManualRollout, Notification};

pub(super) use observe::is_ready;

pub use images::{Images, LastPull, TagResolution};
pub use process::{ReplicaHookFailure, ThisProcess};
pub use replicas::{PostStartState, ReplicaObservation, Replicas};
pub use revisions::{FailureStreak, Outcome, RevisionFailure, RevisionFault, RevisionRecord, Revisions, Undone};
pub use undone::UndoDecision;

/// How many revisions of a service are remembered (Kubernetes' `revisionHistoryLimit`).
pub const MAX_REVISIONS: usize = 10;

/// What is remembered of one service, in parts that change for different reasons.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "stored::Stored", into = "stored::Stored")]
pub struct ServiceRecord {
    /// Counts the meanings that the document has had; never decreases.
    pub generation: u64,
    /// The digest of the document that `generation` stands for.
    pub digest: SpecDigest,
    /// Its revisions.
    pub revisions: Revisions,
    /// Its replicas.
    pub replicas: Replicas,
    /// Its images.
    pub images: Images,
    /// What people have asked for by commands.
    pub control: Control,
    /// What other hands did to its replicas lately.
    pub external_changes: Vec<ExternalChange>,
    /// What people are to be told, until that was handed over.
    pub outbox: Vec<Notification>,
    /// What only this process has seen.
    pub process: ThisProcess,
}

/// What people have asked for by commands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// Since when it is paused by hand.
    pub paused: Option<Timestamp>,
    /// Which rollout of an unchanged document it is, if somebody asked for one.
    pub manual_rollout: Option<ManualRollout>,
    /// The last commands that were applied, by their ids: each is applied once.
    pub applied: Vec<u64>,
}

/// So many commands are known to have been applied.
const MAX_APPLIED: usize = 32;

impl ServiceRecord {
    /// Notes that an image is fetched because the registry has it.
    pub fn record_pull(&mut self, digest: &ImageDigest, now: Timestamp) {
        let before = self.images.last_pull.take().filter(|fetched| fetched.digest == *digest);
        let count = before.map_or(0, |fetched| fetched.count).saturating_add(1);
        self.images.last_pull = Some(LastPull { digest: digest.clone(), at: now, count });
    }

    /// What of it must last: what this process has seen is seen again after a restart.
    #[must_use]
    pub fn persistent_part(&self) -> Self {
        Self { process: ThisProcess::default(), ..self.clone() }
    }

    /// Whether the same of both must last. Asked in every pass, so nothing is copied for it.
    pub fn persists_as(&self, other: &Self) -> bool {
        self.persistent_fields() == other.persistent_fields()
    }

    // Each part is named, so that a new one has to be put in its place here.
    fn persistent_fields(&self) -> impl PartialEq + '_ {
        let Self { generation, digest, revisions, replicas, images, control, external_changes, outbox, process: _ } =
            self;
        (generation, digest, revisions, replicas, images, control, external_changes, outbox)
    }

    /// The record of a revision.
    pub fn record(&self, revision: &Revision) -> Option<&RevisionRecord> {
        self.revisions.history.iter().rev().find(|record| record.revision == *revision)
    }

    fn record_mut(&mut self, revision: &Revision) -> Option<&mut RevisionRecord> {
        self.revisions.history.iter_mut().rev().find(|record| record.revision == *revision)
    }

    /// The revision to go back to from `except`: the newest that was available with all its replicas. What was replaced before
    /// that has proved nothing.
    pub fn last_available(&self, except: &Revision) -> Option<&RevisionRecord> {
        let mut others = self.revisions.history.iter().rev().filter(|record| record.revision != *except);
        others.find(|record| record.outcome == Outcome::Available)
    }

    /// Counts a failure that is no replica's end: a pull, create or start that the engine refused.
    pub fn record_refusal(&mut self, revision: &Revision, reason: Reason, message: String, now: Timestamp) {
        self.count_failure(revision, reason, message, now);
    }

    /// Writes down what became of a revision.
    pub fn record_outcome(&mut self, revision: &Revision, outcome: Outcome) {
        let now = self.process.observed_at;
        if let Some(record) = self.record_mut(revision) {
            if record.outcome != outcome {
                record.ended = now;
            }
            record.outcome = outcome;
            if let Some(now) = now {
                Self::schedule_post_deploy(record, now);
            }
            record.fresh &= outcome != Outcome::Available;
            record.fault = record.fault.take().filter(|_| outcome != Outcome::Available);
        }
        if outcome == Outcome::Available {
            self.revisions.failure = None;
        }
    }

    /// Writes down that the present generation has failed with this revision.
    pub fn record_failure(&mut self, revision: &Revision, reason: Reason, message: String, now: Timestamp) {
        let streak = self.revisions.streak.as_ref().filter(|streak| streak.revision == *revision);
        let output = streak.map_or_else(Vec::new, |streak| streak.output.clone());
        let fault = RevisionFault { message: message.clone(), output };
        self.revisions.failure =
            Some(RevisionFailure { digest: self.digest.clone(), revision: revision.clone(), reason, message, at: now });
        self.record_outcome(revision, Outcome::Failed);
        if let Some(record) = self.record_mut(revision) {
            record.fault = Some(fault);
        }
    }

    /// Somebody asks once more for what has failed, and there is nothing to go back to: it is tried again. A job and a hook that
    /// have failed are not: what they have done by then nobody knows.
    fn begin_anew(&mut self, desired: &Revision, now: Timestamp) {
        let kinds = [Reason::Exited, Reason::PreDeployFailed];
        let failure = self.revisions.failure.as_ref();
        let failed = failure.is_some_and(|one| one.digest == self.digest && !kinds.contains(&one.reason));
        if !failed || self.last_available(desired).is_some() {
            return;
        }
        // What is kept of the last time is of that time.
        self.generation += 1;
        (self.revisions.failure, self.revisions.streak) = (None, None);
        self.revisions.progress_since = Some(now);
        for record in self.revisions.history.iter_mut().filter(|record| record.revision == *desired) {
            record.generation = self.generation;
            (record.outcome, record.begun, record.ended) = (Outcome::Pending, Some(now), None);
        }
    }

    /// A service that was paused by hand stays when its document is gone, too.
    pub fn held_if_paused(&self, desired: Desired) -> Desired {
        match (desired, self.control.paused) {
            (Desired::Gone(_), Some(since)) => Desired::Held(format!(
                "its document is gone, but it was paused by hand at {since}: `composed resume` ends that"
            )),
            (desired, _) => desired,
        }
    }

    /// Whether a command was applied.
    pub fn has_applied(&self, command: u64) -> bool {
        self.control.applied.contains(&command)
    }

    /// Notes that a command was applied.
    pub fn record_applied(&mut self, command: u64) {
        self.control.applied.push(command);
        let over = self.control.applied.len().saturating_sub(MAX_APPLIED);
        self.control.applied.drain(..over);
    }

    /// Pauses it by hand, or ends that: then a rollout has the whole of its time again. Whether that changes anything.
    pub fn pause(&mut self, on: bool, now: Timestamp) -> bool {
        let changes = self.control.paused.is_some() != on;
        if !on {
            self.external_changes.clear();
        }
        if changes {
            self.control.paused = on.then_some(now);
            self.revisions.progress_since = self.revisions.progress_since.map(|since| since.max(now));
        }
        changes
    }
}
