//! Carries a plan out, action by action, and makes no choices: each is one call or one record, with its own span and
//! event. A refusal says nothing against the others, since any subset of a plan is safe; of a container at which the engine has
//! failed the rest is left, and when the engine does not answer, all of it.

use std::collections::BTreeSet;

use composed_core::engine::{ActionContext, Engine, EngineError};
use composed_core::model::{HookKind, HookRecord, HookState, NotificationKind, Observed, Outcome, ServiceRecord};
use composed_core::plan::action::{Action, Plan, Target, Verb, describe_hook_result};
use crd_schema::Revision;
use crd_schema::status::Reason;
use jiff::Timestamp;

/// Tells the time: an action may take long, and what it records has its own moment.
pub type ActionClock<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// One action that was carried out, or tried.
#[derive(Clone, Debug)]
pub struct ActionResult {
    /// When it ended.
    pub at: Timestamp,
    /// What.
    pub action: Action,
    /// How it ended.
    pub error: Option<EngineError>,
}

/// Carries `plan` out, which was made of `observed`. What it records goes to `memory`; the deeds come back, those that
/// failed with their errors.
pub async fn act(
    engine: &dyn Engine,
    plan: &Plan,
    (context, observed): (&ActionContext, &Observed),
    memory: &mut ServiceRecord,
    now: ActionClock<'_>,
) -> Vec<ActionResult> {
    let mut results = Vec::new();
    let mut left = BTreeSet::new();
    for action in &plan.actions {
        let target = action.verb.target().map(|target| &target.id);
        if target.is_some_and(|id| left.contains(id)) {
            continue;
        }
        let error = apply_action(engine, &action.verb, context, memory, now).await.err();
        let at = now();
        if let Some(error) = &error {
            record_refusal(&action.verb, error, observed, memory, at);
        }
        let away = matches!(error, Some(EngineError::Unavailable(_)));
        if matches!(error, Some(EngineError::ServerError(_))) {
            left.extend(target);
        }
        results.push(ActionResult { at, action: action.clone(), error });
        if away {
            break;
        }
    }
    results
}

async fn apply_action(
    engine: &dyn Engine,
    verb: &Verb,
    context: &ActionContext,
    memory: &mut ServiceRecord,
    now: ActionClock<'_>,
) -> Result<(), EngineError> {
    match verb {
        Verb::Drain(target) => {
            memory.replicas.draining.entry(target.id.clone()).or_insert_with(now);
            memory.process.cancellable.insert(target.id.clone());
            Ok(())
        }
        Verb::UndoDrain(target) => {
            memory.replicas.draining.remove(&target.id);
            memory.process.cancellable.remove(&target.id);
            Ok(())
        }
        Verb::Adopt { target, revision } => {
            memory.replicas.adopted.insert(target.id.clone(), revision.clone());
            Ok(())
        }
        Verb::RecordOutcome { revision, outcome, failure } => {
            let why = failure.as_ref().map(|(_, message)| message.as_str());
            memory.queue_outcome(revision, *outcome, why, now());
            match failure {
                Some((reason, message)) => memory.record_failure(revision, *reason, message.clone(), now()),
                None => memory.record_outcome(revision, *outcome),
            }
            if *outcome == Outcome::Available {
                memory.revisions.streak = None;
            }
            Ok(())
        }
        Verb::RecordHookResult { kind, revision, end } => {
            end_hook(*kind, revision, end, memory, now());
            Ok(())
        }
        engine_call => {
            // From the attempt on: an answer that is lost leaves open what it did.
            if let Verb::PreStop { target, .. } | Verb::DisableRestart(target) | Verb::Stop { target, .. } = engine_call
            {
                memory.process.cancellable.remove(&target.id);
            }
            if let Verb::Remove(target) = engine_call {
                memory.process.removing.insert(target.id.clone());
            }
            if let Verb::RemoveImage { id } = engine_call {
                let gone = engine.apply(engine_call, context).await;
                memory.images.pulled.remove(id);
                return gone;
            }
            if let Verb::Pull { digest: Some(digest), .. } = engine_call {
                memory.record_pull(digest, now());
                return engine.apply(engine_call, context).await;
            }
            engine.apply(engine_call, context).await?;
            match engine_call {
                Verb::Pull { .. } => {
                    memory.process.pulling_for = memory.revisions.history.last().map(|record| record.revision.clone());
                }
                Verb::Stop { cut, .. } => memory.replicas.requests_cut += u64::from(*cut),
                _ => {}
            }
            Ok(())
        }
    }
}

fn end_hook(kind: HookKind, revision: &Revision, end: &HookRecord, memory: &mut ServiceRecord, now: Timestamp) {
    memory.record_hook_result(kind, revision, end, now);
    // Of the other kind the revision's own failure tells.
    if kind == HookKind::PostDeploy && end.state != HookState::Done {
        memory.queue_notification(
            NotificationKind::HookFailed,
            revision,
            format!("post_deploy {}", describe_hook_result(end)),
            now,
        );
    }
}

/// A refusal counts against the revision that asked for it; what comes after its rollout has failed alone.
fn record_refusal(verb: &Verb, error: &EngineError, observed: &Observed, memory: &mut ServiceRecord, now: Timestamp) {
    let EngineError::Rejected { message, name_taken } = error else {
        return;
    };
    let Some(revision) = memory.revisions.history.last().map(|record| record.revision.clone()) else {
        return;
    };
    if let (Verb::Create(blueprint), true) = (verb, *name_taken) {
        // A name that was asked for by name cannot be another; of ours there are enough.
        let fixed = blueprint.hook.is_some() || blueprint.spec.container_name.as_ref() == Some(&blueprint.name);
        if !fixed {
            memory.replicas.foreign_names.insert(blueprint.name.clone());
            return;
        }
    }
    if let (Verb::MoveName { spare, .. }, true) = (verb, *name_taken) {
        // One that gives its name away can have any other.
        memory.replicas.foreign_names.insert(spare.clone());
        return;
    }
    let hook = hook_of(verb, observed);
    if let Some((kind @ HookKind::PostDeploy, revision)) = hook {
        end_hook(kind, revision, &HookRecord::refused(message.clone(), now), memory, now);
        return;
    }
    let (revision, reason) = match verb {
        Verb::Create(blueprint) if error.is_missing_mount() => (blueprint.revision.clone(), Reason::MountMissing),
        Verb::Create(blueprint) => (blueprint.revision.clone(), Reason::CreateFailed),
        Verb::Start(target) => match revision_of(target, observed) {
            Some(revision) => (revision.clone(), Reason::StartFailed),
            None => return,
        },
        // What runs goes on without it.
        Verb::Pull { digest: Some(_), .. } => return,
        Verb::Pull { .. } => (revision, Reason::PullFailed),
        Verb::Rename { .. } => (revision, Reason::NameConflict),
        _ => return,
    };
    let reason = if hook.is_some() { Reason::PreDeployFailed } else { reason };
    let reason = if *name_taken { Reason::NameConflict } else { reason };
    memory.record_refusal(&revision, reason, format!("{verb}: {message}"), now);
}

/// The hook whose container is made or started, and its revision.
fn hook_of<'a>(verb: &'a Verb, observed: &'a Observed) -> Option<(HookKind, &'a Revision)> {
    match verb {
        Verb::Create(blueprint) => Some((blueprint.hook?, &blueprint.revision)),
        Verb::Start(target) => {
            let run = observed.hooks.iter().find(|run| run.id == target.id)?;
            Some((run.kind, &run.revision))
        }
        _ => None,
    }
}

/// The revision of a container: while a rollout waits, or after it has failed, an earlier one is started.
fn revision_of<'a>(target: &Target, observed: &'a Observed) -> Option<&'a Revision> {
    let hook = observed.hooks.iter().find(|run| run.id == target.id).map(|run| &run.revision);
    let replica = || observed.replicas.iter().find(|replica| replica.id == target.id);
    hook.or_else(|| replica().map(|replica| &replica.revision))
}
