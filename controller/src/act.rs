//! Carries a plan out, action by action, and makes no choices: each is one call or one record, with its own span and
//! event. A refusal says nothing against the others, since any subset of a plan is safe; when the engine does not
//! answer, the rest is left.

use crd_schema::status::Reason;
use jiff::Timestamp;

use crate::engine::{Context, Engine, EngineError};
use crate::model::{HookKind, HookRecord, HookState, Memory, NoticeKind, Observed, Outcome};
use crate::plan::action::{Action, Plan, Target, Verb, how};

/// Tells the time: an action may take long, and what it records has its own moment.
pub type Now<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// One action that was carried out, or tried.
#[derive(Clone, Debug)]
pub struct Deed {
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
    (context, observed): (&Context, &Observed),
    memory: &mut Memory,
    now: Now<'_>,
) -> Vec<Deed> {
    let mut deeds = Vec::new();
    for action in &plan.actions {
        let error = one(engine, &action.verb, context, memory, now).await.err();
        let at = now();
        if let Some(error) = &error {
            note(&action.verb, error, observed, memory, at);
        }
        let away = matches!(error, Some(EngineError::Unavailable(_)));
        deeds.push(Deed { at, action: action.clone(), error });
        if away {
            break;
        }
    }
    deeds
}

async fn one(
    engine: &dyn Engine,
    verb: &Verb,
    context: &Context,
    memory: &mut Memory,
    now: Now<'_>,
) -> Result<(), EngineError> {
    match verb {
        Verb::Withdraw(target) => {
            memory.withdrawn.entry(target.id.clone()).or_insert_with(now);
            memory.revocable.insert(target.id.clone());
            Ok(())
        }
        Verb::Readmit(target) => {
            memory.withdrawn.remove(&target.id);
            memory.revocable.remove(&target.id);
            Ok(())
        }
        Verb::Adopt { target, revision } => {
            memory.adopted.insert(target.id.clone(), revision.clone());
            Ok(())
        }
        Verb::Conclude { revision, outcome, failure } => {
            let why = failure.as_ref().map(|(_, message)| message.as_str());
            memory.tell_outcome(revision, *outcome, why, now());
            match failure {
                Some((reason, message)) => memory.fail(revision, *reason, message.clone(), now()),
                None => memory.conclude(revision, *outcome),
            }
            if *outcome == Outcome::Available {
                memory.trouble = None;
            }
            Ok(())
        }
        Verb::EndHook { kind, revision, end } => {
            end_hook(*kind, revision, end, memory, now());
            Ok(())
        }
        engine_call => {
            // From the attempt on: an answer that is lost leaves open what it did.
            if let Verb::PreStop { target, .. } | Verb::DisableRestart(target) | Verb::Stop { target, .. } = engine_call
            {
                memory.revocable.remove(&target.id);
            }
            if let Verb::Remove(target) = engine_call {
                memory.parting.insert(target.id.clone());
            }
            if let Verb::RemoveImage { id } = engine_call {
                let gone = engine.apply(engine_call, context).await;
                memory.brought.remove(id);
                return gone;
            }
            if let Verb::Pull { digest: Some(digest), .. } = engine_call {
                memory.fetch(digest, now());
                return engine.apply(engine_call, context).await;
            }
            engine.apply(engine_call, context).await?;
            match engine_call {
                Verb::Pull { .. } => memory.pulling = memory.history.last().map(|record| record.revision.clone()),
                Verb::Stop { cut, .. } => memory.cut += u64::from(*cut),
                _ => {}
            }
            Ok(())
        }
    }
}

fn end_hook(kind: HookKind, revision: &str, end: &HookRecord, memory: &mut Memory, now: Timestamp) {
    memory.end_hook(kind, revision, end, now);
    // Of the other kind the revision's own failure tells.
    if kind == HookKind::PostDeploy && end.state != HookState::Done {
        memory.tell(NoticeKind::HookFailed, revision, format!("post_deploy {}", how(end)), now);
    }
}

/// A refusal counts against the revision that asked for it; what comes after its rollout has failed alone.
fn note(verb: &Verb, error: &EngineError, observed: &Observed, memory: &mut Memory, now: Timestamp) {
    let EngineError::Rejected { message, name_taken } = error else {
        return;
    };
    let Some(revision) = memory.history.last().map(|record| record.revision.clone()) else {
        return;
    };
    if let (Verb::Create(blueprint), true) = (verb, *name_taken) {
        // A name that was asked for by name cannot be another; of ours there are enough.
        let fixed = blueprint.hook.is_some() || blueprint.spec.container_name.as_ref() == Some(&blueprint.name);
        if !fixed {
            memory.foreign_names.insert(blueprint.name.clone());
            return;
        }
    }
    let hook = hook_of(verb, observed);
    if let Some((kind @ HookKind::PostDeploy, revision)) = hook {
        end_hook(kind, revision, &HookRecord::refused(message.clone(), now), memory, now);
        return;
    }
    let (revision, reason) = match verb {
        Verb::Create(blueprint) => (blueprint.revision.clone(), Reason::CreateFailed),
        Verb::Start(target) => match revision_of(target, observed) {
            Some(revision) => (revision.to_owned(), Reason::StartFailed),
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
    memory.notice_refusal(&revision, reason, format!("{verb}: {message}"), now);
}

/// The hook whose container is made or started, and its revision.
fn hook_of<'a>(verb: &'a Verb, observed: &'a Observed) -> Option<(HookKind, &'a str)> {
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
fn revision_of<'a>(target: &Target, observed: &'a Observed) -> Option<&'a str> {
    let hook = observed.hooks.iter().find(|run| run.id == target.id).map(|run| run.revision.as_str());
    let replica = || observed.replicas.iter().find(|replica| replica.id == target.id);
    hook.or_else(|| replica().map(|replica| replica.revision.as_str()))
}
