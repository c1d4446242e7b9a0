//! What became of revisions and of their hooks.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ImageId, ImageRef, Revision};

/// A revision that was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionStatus {
    /// Its name.
    pub revision: Revision,
    /// The newest generation that asked for it.
    pub generation: u64,
    /// The image, as the document names it.
    pub image: ImageRef,
    /// The engine's id of the image that this name stood for when it was first here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<ImageId>,
    /// The revision of the document alone, where its image has made another one of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<Revision>,
    /// The commit that asked for it, if it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// What became of it.
    pub outcome: RevisionOutcome,
    /// When it was last begun.
    pub since: Timestamp,
    /// When it became what it is; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// That it was given up by hand, the last time that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<UndoneStatus>,
    /// Why it has failed, the last time that it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<FaultStatus>,
    /// What became of its pre-deploy hook, if that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<HookStatus>,
    /// What became of its last post-deploy hook, if that was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<HookStatus>,
}

/// A revision that was given up by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoneStatus {
    /// For this one.
    pub to: Revision,
    /// When.
    pub at: Timestamp,
    /// Who has asked for it, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Why a revision has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FaultStatus {
    /// For people.
    pub message: String,
    /// The last lines that the last replica to fail has written, without values of its environment and files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// The container whose logs say more, while it is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// What became of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Where it stands.
    pub outcome: HookOutcome,
    /// Its exit code, if it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// How often it was begun.
    pub attempts: u32,
    /// When it was last begun, as this controller saw it.
    pub since: Timestamp,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Timestamp>,
    /// The last lines of what it said, without values of its environment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// Where a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HookOutcome {
    /// It was begun.
    Running,
    /// It has ended with code 0.
    Succeeded,
    /// It has ended with another code.
    Failed,
    /// It has taken longer than its timeout.
    TimedOut,
    /// Something else has ended it, and nobody knows how far it came.
    Interrupted,
}

impl fmt::Display for HookOutcome {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionOutcome {
    /// Not known yet.
    Pending,
    /// Another one was asked for before that was known.
    Superseded,
    /// All its replicas were available at once.
    Available,
    /// It was given up.
    Failed,
}

impl fmt::Display for RevisionOutcome {
    /// The variant's name, as it is serialised.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A commit of a git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// The name that the settings give the repository.
    pub repository: String,
    /// The commit's full name, in hexadecimal digits.
    pub id: String,
    /// Who wrote it, as `name <address>`.
    pub author: String,
    /// The first line of its message.
    pub subject: String,
    /// When it was committed.
    pub at: Timestamp,
}

impl CommitStatus {
    /// The first seven digits of its name.
    pub fn short(&self) -> &str {
        self.id.get(..7).unwrap_or(&self.id)
    }
}

impl fmt::Display for CommitStatus {
    /// Its short name, author and subject.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {} ({})", self.short(), self.author, self.subject)
    }
}

/// A revision on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CanaryStatus {
    /// Which.
    pub revision: Revision,
    /// Its share of the requests in percent.
    pub weight: u8,
    /// When the others follow; absent while it is not available yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
