//! A service's record as its file in the state directory has it. Words and fields of earlier versions stay as they were: a file
//! outlives the program that wrote it.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::status::Reason;
use crd_schema::{ContainerId, ImageId, Revision, SpecDigest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{ExternalChange, ManualRollout, Notification};
use super::{
    Control, FailureStreak, Images, LastPull, Outcome, PostStartState, Replicas, RevisionFailure, RevisionRecord,
    Revisions, ServiceRecord, TagResolution, ThisProcess, Undone,
};

/// The file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    generation: u64,
    digest: SpecDigest,
    history: Vec<RevisionRecord>,
    #[serde(default)]
    failure: Option<StoredFailure>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    undone: Option<Undone>,
    #[serde(default)]
    withdrawn: BTreeMap<ContainerId, Timestamp>,
    #[serde(default)]
    serving: BTreeMap<ContainerId, Option<Timestamp>>,
    #[serde(default)]
    trouble: Option<FailureStreak>,
    #[serde(default)]
    foreign_names: BTreeSet<String>,
    #[serde(default)]
    pulled: Option<Revision>,
    #[serde(default)]
    tag: Option<TagResolution>,
    #[serde(default)]
    fetched: Option<LastPull>,
    #[serde(default)]
    brought: BTreeSet<ImageId>,
    #[serde(default)]
    cautious_until: Option<Timestamp>,
    #[serde(default)]
    progress_since: Option<Timestamp>,
    #[serde(default)]
    post_start: BTreeMap<ContainerId, PostStartState>,
    #[serde(default)]
    deeds: Vec<ExternalChange>,
    #[serde(default)]
    paused: Option<Timestamp>,
    #[serde(default)]
    cut: u64,
    #[serde(default)]
    adopted: BTreeMap<ContainerId, Revision>,
    #[serde(default)]
    mark: Option<ManualRollout>,
    #[serde(default)]
    outbox: Vec<Notification>,
    #[serde(default)]
    applied: Vec<u64>,
    /// Of earlier versions, which kept what is of one process now.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "that it is known is all that is wanted of it")]
    sightings: Option<serde_json::Value>,
}

/// A failure. Of earlier versions, an undo by hand as well, which named the revision to go back to.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct StoredFailure {
    digest: SpecDigest,
    revision: Revision,
    reason: Reason,
    message: String,
    at: Timestamp,
    #[serde(default, skip_serializing)]
    to: Option<Revision>,
}

impl From<RevisionFailure> for StoredFailure {
    fn from(failure: RevisionFailure) -> Self {
        let RevisionFailure { digest, revision, reason, message, at } = failure;
        Self { digest, revision, reason, message, at, to: None }
    }
}

impl StoredFailure {
    fn or_undone(self, history: &[RevisionRecord]) -> (Option<RevisionFailure>, Option<Undone>) {
        let Self { digest, revision, reason, message, at, to } = self;
        if reason == Reason::Undone {
            let is_available =
                |record: &&RevisionRecord| record.outcome == Outcome::Available && record.revision != revision;
            let last = || history.iter().rev().find(is_available).map(|record| record.revision.clone());
            let undone = to.or_else(last).map(|to| Undone { digest, from: revision, to, at, by: None });
            return (None, undone);
        }
        (Some(RevisionFailure { digest, revision, reason, message, at }), None)
    }
}

// Each part is taken apart by name on both ways: a new field cannot be forgotten.
impl From<ServiceRecord> for Stored {
    fn from(record: ServiceRecord) -> Self {
        let ServiceRecord {
            generation,
            digest,
            revisions: Revisions { history, failure, undone, streak, progress_since },
            replicas: Replicas { draining, serving, adopted, post_start, foreign_names, cautious_until, requests_cut },
            images: Images { pulled_for, tag, last_pull, pulled },
            control: Control { paused, manual_rollout, applied },
            external_changes,
            outbox,
            process: _,
        } = record;
        Self {
            generation,
            digest,
            history,
            failure: failure.map(StoredFailure::from),
            undone,
            withdrawn: draining,
            serving,
            trouble: streak,
            foreign_names,
            pulled: pulled_for,
            tag,
            fetched: last_pull,
            brought: pulled,
            cautious_until,
            progress_since,
            post_start,
            deeds: external_changes,
            paused,
            cut: requests_cut,
            adopted,
            mark: manual_rollout,
            outbox,
            applied,
            sightings: None,
        }
    }
}

impl From<Stored> for ServiceRecord {
    fn from(stored: Stored) -> Self {
        let Stored {
            generation,
            digest,
            history,
            failure,
            undone,
            withdrawn: draining,
            serving,
            trouble: streak,
            foreign_names,
            pulled: pulled_for,
            tag,
            fetched: last_pull,
            brought: pulled,
            cautious_until,
            progress_since,
            post_start,
            deeds: external_changes,
            paused,
            cut: requests_cut,
            adopted,
            mark: manual_rollout,
            outbox,
            applied,
            sightings: _,
        } = stored;
        let (failure, earlier) = failure.map_or((None, None), |failure| failure.or_undone(&history));
        let undone = undone.or(earlier);
        Self {
            generation,
            digest,
            revisions: Revisions { history, failure, undone, streak, progress_since },
            replicas: Replicas { draining, serving, adopted, post_start, foreign_names, cautious_until, requests_cut },
            images: Images { pulled_for, tag, last_pull, pulled },
            control: Control { paused, manual_rollout, applied },
            external_changes,
            outbox,
            process: ThisProcess::default(),
        }
    }
}
