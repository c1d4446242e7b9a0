//! Containers that run once around a rollout: what is seen of them, and what is remembered.

use std::fmt;

use crd_schema::{ContainerId, DeployHook, Revision, ServiceSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ServiceName, State};

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookKind {
    /// Before the first replica of a revision is made.
    PreDeploy,
    /// After a rollout has succeeded.
    PostDeploy,
}

impl HookKind {
    /// The name of its container: one for each service.
    pub fn container(self, service: &ServiceName) -> String {
        let end = match self {
            Self::PreDeploy => "pre-deploy",
            Self::PostDeploy => "post-deploy",
        };
        format!("{}-{}-{end}", service.project, service.name)
    }

    /// What a specification says of it.
    pub fn spec_in(self, spec: &ServiceSpec) -> Option<&DeployHook> {
        let hooks = spec.hooks.as_ref()?;
        match self {
            Self::PreDeploy => hooks.pre_deploy.as_ref(),
            Self::PostDeploy => hooks.post_deploy.as_ref(),
        }
    }
}

impl fmt::Display for HookKind {
    /// Its key in a document.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PreDeploy => "pre_deploy",
            Self::PostDeploy => "post_deploy",
        })
    }
}

/// A hook's container, as the engine shows it. Facts only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookRun {
    /// The engine's full id.
    pub id: ContainerId,
    /// The container's name.
    pub name: String,
    /// Which hook.
    pub kind: HookKind,
    /// The revision that it was made for.
    pub revision: Revision,
    /// The generation that it was made for.
    pub generation: u64,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// What the engine says it is doing.
    pub state: State,
    /// When it began to run.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The kernel ended it because memory ran out.
    #[serde(default)]
    pub out_of_memory: bool,
    /// It was told to stop by this process.
    #[serde(default)]
    pub stopping: bool,
    /// It was told to stop by somebody else.
    #[serde(default)]
    pub stopped_externally: bool,
    /// The last lines of what it said, once it has ended.
    #[serde(default)]
    pub output: Vec<String>,
}

/// What is remembered of a hook of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HookRecord {
    /// Where it stands.
    pub state: HookState,
    /// How often it was begun.
    #[serde(default)]
    pub attempts: u32,
    /// When its container was first seen; of one that is due, since when.
    pub since: Timestamp,
    /// When it was first seen to run.
    #[serde(default)]
    pub running_since: Option<Timestamp>,
    /// When its end was seen.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// Its exit code.
    #[serde(default)]
    pub code: Option<i64>,
    /// Why the engine would not make or start its container: then nothing of it ran.
    #[serde(default)]
    pub refused: Option<String>,
    /// The last lines of what it said, without values of its environment.
    #[serde(default)]
    pub output: Vec<String>,
}

/// Where a hook stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookState {
    /// It is to be run.
    Due,
    /// Its container was made.
    Begun,
    /// It has ended with code 0.
    Done,
    /// It has ended with another code.
    Failed,
    /// It has taken longer than its timeout.
    TimedOut,
    /// Something else has ended it, or its container is gone: nobody knows how far it came.
    Interrupted,
}

impl HookRecord {
    /// One that is to be run.
    pub fn due(now: Timestamp) -> Self {
        Self {
            state: HookState::Due,
            attempts: 0,
            since: now,
            running_since: None,
            ended: None,
            code: None,
            refused: None,
            output: Vec::new(),
        }
    }

    /// One that the engine would not run.
    pub fn refused(why: String, now: Timestamp) -> Self {
        Self { state: HookState::Failed, refused: Some(why), ..Self::due(now) }
    }
}

impl HookRun {
    /// Whether it is the hook of its revision in this generation: one that failed for an earlier one is not, nor is one that
    /// was never started.
    pub(super) fn counts(&self, generation: u64) -> bool {
        self.generation == generation || self.state.is_live() || self.state == State::Exited(0)
    }
}
