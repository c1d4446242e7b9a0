//! Containers that run once around a rollout: what is seen of them, and what is remembered.

use std::fmt;

use crd_schema::{DeployHook, ServiceSpec};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{DesiredService, Memory, Observed, Outcome, RevisionRecord, ServiceName, State};

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
    pub fn of(self, spec: &ServiceSpec) -> Option<&DeployHook> {
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
    pub id: String,
    /// The container's name.
    pub name: String,
    /// Which hook.
    pub kind: HookKind,
    /// The revision that it was made for.
    pub revision: String,
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
    pub by_hand: bool,
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

impl RevisionRecord {
    /// What is remembered of a hook of it.
    pub fn hook(&self, kind: HookKind) -> Option<&HookRecord> {
        match kind {
            HookKind::PreDeploy => self.pre_deploy.as_ref(),
            HookKind::PostDeploy => self.post_deploy.as_ref(),
        }
    }

    fn hook_mut(&mut self, kind: HookKind) -> &mut Option<HookRecord> {
        match kind {
            HookKind::PreDeploy => &mut self.pre_deploy,
            HookKind::PostDeploy => &mut self.post_deploy,
        }
    }

    /// Takes over what was known of the same revision when its document changes. What ran well is not run again; what did
    /// not is tried once more.
    pub(super) fn take_hooks(&mut self, old: &Self, goes_on: bool) {
        self.pre_deploy = old.pre_deploy.clone().filter(|hook| goes_on || hook.state == HookState::Done);
        self.post_deploy = old.post_deploy.clone().filter(|_| goes_on);
    }
}

impl HookRun {
    /// Whether it is the hook of its revision in this generation: one that failed for an earlier one is not, nor is one that
    /// was never started.
    fn counts(&self, generation: u64) -> bool {
        self.generation == generation || self.state.is_live() || self.state == State::Exited(0)
    }
}

impl Memory {
    /// Takes in what is seen of hooks. That one was begun is known from its container on, which is made before it is
    /// started; one whose container is gone before its end was noted has been interrupted.
    pub(super) fn notice_hooks(&mut self, observed: &Observed, believed: bool, now: Timestamp) {
        let generation = self.generation;
        for run in &observed.hooks {
            let Some(record) = self.history.iter_mut().rev().find(|record| record.revision == run.revision) else {
                continue;
            };
            let slot = record.hook_mut(run.kind);
            let begins = match slot {
                None if run.kind == HookKind::PreDeploy => run.counts(generation),
                None | Some(HookRecord { state: HookState::Due, .. }) => run.generation == generation,
                Some(HookRecord { state: HookState::Interrupted, attempts, .. }) => run.attempt > *attempts,
                Some(_) => false,
            };
            if begins {
                let begun = HookRecord { state: HookState::Begun, attempts: run.attempt, ..HookRecord::due(now) };
                *slot = Some(begun);
            }
            let begun = slot.as_mut().filter(|slot| slot.state == HookState::Begun && run.state != State::Created);
            if let Some(slot) = begun.filter(|slot| slot.running_since.is_none()) {
                let started = run.started_at.filter(|_| believed).map_or(now, |started| started.min(now));
                slot.running_since = Some(started);
            }
        }
        for record in &mut self.history {
            for kind in [HookKind::PreDeploy, HookKind::PostDeploy] {
                let there = observed.hooks.iter().any(|run| run.kind == kind && run.revision == record.revision);
                if let Some(slot) =
                    record.hook_mut(kind).as_mut().filter(|slot| slot.state == HookState::Begun && !there)
                {
                    slot.state = HookState::Interrupted;
                    slot.ended = Some(now);
                }
            }
        }
    }

    /// Whether the revision waits for something that is no progress of its own, and no lack of it.
    pub(super) fn is_held(desired: &DesiredService, observed: &Observed) -> bool {
        let begun = observed.replicas.iter().any(|replica| replica.revision == desired.revision);
        !begun && observed.holds()
    }

    /// Writes down how a hook ended.
    pub fn end_hook(&mut self, kind: HookKind, revision: &str, end: &HookRecord, now: Timestamp) {
        let Some(record) = self.history.iter_mut().rev().find(|record| record.revision == revision) else { return };
        if let Some(slot) = record.hook_mut(kind) {
            (slot.state, slot.code, slot.ended) = (end.state, end.code, Some(now));
            slot.refused.clone_from(&end.refused);
            slot.output.clone_from(&end.output);
        }
        self.progress_since = Some(now);
    }

    /// After a rollout its post-deploy hook is due.
    pub(super) fn after_rollout(record: &mut RevisionRecord, now: Timestamp) {
        // One that this rollout has had is known by its container, if by nothing else.
        let has = HookKind::PostDeploy.of(&record.spec).is_some() && record.post_deploy.is_none();
        if record.outcome == Outcome::Available && record.fresh && has {
            record.post_deploy = Some(HookRecord::due(now));
        }
    }
}
