//! Outcomes that people outside are told: made by the loop together with what they tell of, so that none is lost, and known
//! by a name of their own, so that none is told twice.

use std::fmt;

use crd_schema::status::CommitStatus;
use crd_schema::{ImageRef, Revision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::ServiceName;

/// One outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Its name: the same outcome has the same.
    pub id: String,
    /// What it is.
    pub event: NotificationKind,
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// The revision that it is about.
    pub revision: Revision,
    /// The generation that asked for it.
    pub generation: u64,
    /// The image, as the document names it.
    pub image: ImageRef,
    /// The commit that asked for it, if it came from git.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// The revision that runs instead, after a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goes_on: Option<Revision>,
    /// Why, in words; empty after a success.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long it took, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// When.
    pub at: Timestamp,
}

/// What an outcome is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotificationKind {
    /// A rollout has succeeded.
    Deployed,
    /// A rollout has failed.
    Failed,
    /// A post-deploy hook has failed.
    HookFailed,
    /// Others keep changing the service, and it is left alone.
    Contended,
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deployed => "deployed",
            Self::Failed => "failed",
            Self::HookFailed => "hook_failed",
            Self::Contended => "contended",
        })
    }
}

impl Notification {
    /// It, of this service.
    #[must_use]
    pub fn of(mut self, service: &ServiceName) -> Self {
        self.project.clone_from(&service.project);
        self.service.clone_from(&service.name);
        let Self { event, revision, generation, at, .. } = &self;
        self.id = match event {
            // Each time is another.
            NotificationKind::Contended => format!("{service} {event} {at}"),
            _ => format!("{service} {generation} {revision} {event}"),
        };
        self
    }
}
