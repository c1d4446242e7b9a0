//! What is remembered of revisions: which there were, what became of them, why one was given up.

use std::collections::BTreeSet;
use std::sync::Arc;

use crd_schema::status::{CommitStatus, Reason};
use crd_schema::{ImageId, Revision, ServiceSpec, SpecDigest};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::{DesiredService, HookRecord, Replica, follows_image};

/// The revisions of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Revisions {
    /// Those that were wanted, newest last.
    pub history: Vec<RevisionRecord>,
    /// Why the present generation was given up, if it was.
    pub failure: Option<RevisionFailure>,
    /// That the present generation was given up by hand, if it was.
    pub undone: Option<Undone>,
    /// Failures in a row.
    pub streak: Option<FailureStreak>,
    /// When the rollout last came nearer to its end.
    pub progress_since: Option<Timestamp>,
}

/// One revision of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// Its name, the hash of what reaches the container.
    pub revision: Revision,
    /// The newest generation that asked for it.
    pub generation: u64,
    /// What it was made of: needed to make more of it during a rollback.
    pub spec: Arc<ServiceSpec>,
    /// When it was first asked for.
    pub since: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// At least one replica of it was ready at some time.
    #[serde(default)]
    pub served: bool,
    /// The commit that asked for it, if it came from git.
    #[serde(default)]
    pub commit: Option<CommitStatus>,
    /// The engine's id of its image: the one that all its replicas are made of, where new images are followed; else the one
    /// that was first seen to be here.
    #[serde(default)]
    pub image: Option<ImageId>,
    /// What its document alone was called, where its image has made another revision of it.
    #[serde(default)]
    pub document: Option<Revision>,
    /// When it was last begun; of old memories, when it was first asked for.
    #[serde(default)]
    pub begun: Option<Timestamp>,
    /// When it became what it is.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// It was asked for when none of it ran, and is not there yet: its end is that of a rollout.
    #[serde(default)]
    pub fresh: bool,
    /// Docker Compose has made it: no document asks for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// That it was given up by hand, the last time that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<Undone>,
    /// Why it has failed, the last time that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<RevisionFault>,
    /// So many of its replicas have ended with their work done at one time: they are not run again, also when their containers are
    /// gone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub completed: u32,
    /// When its replicas ended by themselves, where composed counts their runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<Timestamp>,
    /// Its pre-deploy hook, from its container on.
    #[serde(default)]
    pub pre_deploy: Option<HookRecord>,
    /// The post-deploy hook of its last rollout.
    #[serde(default)]
    pub post_deploy: Option<HookRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde asks for it")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl RevisionRecord {
    /// The desired revision, asked for and begun now.
    pub(in super::super) fn begun(desired: &DesiredService, generation: u64, now: Timestamp) -> Self {
        Self {
            commit: desired.commit.clone(),
            image: desired.image.clone(),
            document: desired.document_names.as_ref().map(|own| own.revision.clone()),
            ..Self::new(desired.revision.clone(), generation, Arc::clone(&desired.spec), now)
        }
    }

    /// What Docker Compose has made, as `replica` shows it; not known yet to run well.
    pub(in super::super) fn adopted(replica: &Replica, spec: &Arc<ServiceSpec>) -> Self {
        Self {
            image: Some(replica.image.clone()).filter(|id| !id.is_empty()),
            adopted: true,
            ..Self::new(replica.revision.clone(), replica.generation, Arc::clone(spec), replica.created_at)
        }
    }

    fn new(revision: Revision, generation: u64, spec: Arc<ServiceSpec>, since: Timestamp) -> Self {
        Self {
            revision,
            generation,
            spec,
            since,
            outcome: Outcome::Pending,
            served: false,
            commit: None,
            image: None,
            document: None,
            begun: Some(since),
            ended: None,
            fresh: false,
            adopted: false,
            undone: None,
            fault: None,
            completed: 0,
            ends: Vec::new(),
            pre_deploy: None,
            post_deploy: None,
        }
    }

    /// The image that all its replicas are made of, whatever its name stands for by now; `None` where that goes by the name.
    pub fn fixed_image(&self) -> Option<&ImageId> {
        self.image.as_ref().filter(|_| self.adopted || follows_image(&self.spec))
    }
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not known yet.
    Pending,
    /// Another one was asked for before that was known.
    Superseded,
    /// All its replicas were available at once.
    Available,
    /// It was given up.
    Failed,
}

/// Why a revision has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevisionFault {
    /// For people.
    pub message: String,
    /// The last lines that the last replica to fail has written, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// Why a generation was given up. It is not tried again until its document changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionFailure {
    /// The document's digest.
    pub digest: SpecDigest,
    /// Its revision.
    pub revision: Revision,
    /// The kind of failure.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// When.
    pub at: Timestamp,
}

/// A revision that was given up for an earlier one, by hand. It lasts until the document changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// The digest of the document that asks for `from`.
    pub digest: SpecDigest,
    /// The revision that was given up.
    pub from: Revision,
    /// The one that runs in its place.
    pub to: Revision,
    /// When.
    pub at: Timestamp,
    /// Who has asked for it, for people, where that is known.
    #[serde(default)]
    pub by: Option<String>,
}

/// Failures in a row, for backoff and flap limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureStreak {
    /// The revision that failed.
    pub revision: Revision,
    /// How often.
    pub count: u32,
    /// When last.
    pub last_at: Timestamp,
    /// The kind of the last failure.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// The last lines that the replica has written, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// Ends already counted: container id and restart count.
    pub counted: BTreeSet<String>,
}
