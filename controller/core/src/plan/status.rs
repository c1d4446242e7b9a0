//! What people may read of a service: derived from the same facts as the plan, with Kubernetes' conditions.

mod progressing;
mod replicas;

use std::collections::BTreeSet;

use crd_schema::status::{
    Condition, ConditionType, FaultStatus, HookOutcome, HookStatus, Reason, ReplicaPhase, RevisionOutcome,
    RevisionStatus, ServiceStatus, UndoneStatus, WaitReason, Waiting,
};
use crd_schema::{ContainerId, Revision};
use jiff::Timestamp;

use self::progressing::{Finding, progressing, spent};
use self::replicas::{reason_of, replicas};
use super::action::{Plan, WaitingOn, describe_hook_result};
use super::admission;
use super::canary;
use super::gate;
use super::host_ports;
use super::phase::Phase;
use super::policy::{Policy, unknown_volumes};
use super::replica_sets::ReplicaSets;
use super::scene::Scene;
use super::target::{failed, goal, paused};
use crate::model::{
    DesiredService, HookKind, HookRecord, HookState, Observed, Outcome, RevisionRecord, ServiceName, ServiceRecord,
};

/// The status of a service that shall run. `before` is its last one: what stays keeps its time.
pub fn status(scene: &Scene<'_>, plan: &Plan, before: Option<&ServiceStatus>) -> ServiceStatus {
    let Scene { desired, observed, memory, policy: whole, now } = *scene;
    let whole_scene = scene;
    let policy = &scene.policy_of(&desired.revision);
    let scene = &Scene { policy, ..*scene };
    let sets = ReplicaSets::of(scene, &desired.revision);
    // They have done their work, and their containers are gone.
    let gone = whole.replicas - policy.replicas;
    let mut status = ServiceStatus {
        project: desired.name.project.clone(),
        name: desired.name.name.clone(),
        generation: memory.generation,
        observed_generation: memory.generation,
        revision: desired.revision.clone(),
        digest: desired.document_revision().1.clone(),
        current_revision: current(memory),
        replicas: whole.replicas,
        live: count(observed.replicas.iter().filter(|r| r.state.is_live()).count()),
        updated: count(sets.current.iter().filter(|m| m.started()).count()),
        available: count(sets.available()) + gone,
        completed: count(sets.current.iter().filter(|m| m.phase == Phase::Completed).count()) + gone,
        strategy: strategy(
            &host_ports::with_port_order(policy.clone(), scene, &desired.revision, &sets),
            desired,
            observed,
        ),
        source: Some(desired.source.clone()),
        commit: desired.commit.clone(),
        history: memory.revisions.history.iter().rev().map(|record| revision(record, observed)).collect(),
        error: desired.error.clone(),
        requests_cut: memory.replicas.requests_cut,
        ..replicas(scene, before, &staying(scene))
    };
    let deadline = goal(scene).ok().and_then(|goal| gate::check_failure(scene, &goal, &sets).ok().flatten());
    status.waiting = waiting(plan, deadline);
    status.canary = goal(scene).ok().and_then(|goal| canary::status(scene, &goal, &sets));
    let available = available(&status, whole);
    let progressing = progressing(scene, whole_scene, &sets, plan, before);
    let failure = replica_failure(scene, &sets);
    let paused = paused(desired, memory).map(|why| (ConditionType::Paused, true, Reason::Paused, why));
    let contended = memory.contended(now).map(|(what, until)| {
        let message = format!("others keep changing it, so nothing is begun until {until}: {what}");
        (ConditionType::Contended, true, Reason::Contended, message)
    });
    status.conditions = [available, progressing, failure]
        .into_iter()
        .chain(paused)
        .chain(contended)
        .chain(foreign(observed))
        .chain(post_deploy(desired, memory))
        .map(|(kind, holds, reason, message)| Condition {
            kind,
            status: holds,
            reason,
            message,
            last_transition: transition(before, kind, holds, now),
        })
        .collect();
    status
}

/// The order of its rollouts and the reason, with what may still change it.
fn strategy(policy: &Policy, desired: &DesiredService, observed: &Observed) -> String {
    let open = (!policy.stop_first).then(|| unknown_volumes(&desired.spec, observed)).flatten();
    policy.strategy.clone() + open.unwrap_or_default()
}

/// The containers that are not what their labels say.
fn foreign(observed: &Observed) -> Option<Finding> {
    const SHOWN: usize = 3;
    let mut each: Vec<_> = observed.foreign.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = observed.foreign.len().saturating_sub(SHOWN);
    if more > 0 {
        each.push(format!("and {more} more"));
    }
    let message = format!("{}; remove what is not needed with `docker rm`", each.join("; "));
    (!observed.foreign.is_empty()).then_some((
        ConditionType::ForeignContainers,
        true,
        Reason::OwnershipUnproven,
        message,
    ))
}

fn revision(record: &RevisionRecord, observed: &Observed) -> RevisionStatus {
    RevisionStatus {
        revision: record.revision.clone(),
        generation: record.generation,
        image: record.spec.image.clone(),
        image_id: record.image.clone(),
        document: record.document.clone(),
        commit: record.commit.clone(),
        outcome: match record.outcome {
            Outcome::Pending => RevisionOutcome::Pending,
            Outcome::Superseded => RevisionOutcome::Superseded,
            Outcome::Available => RevisionOutcome::Available,
            Outcome::Failed => RevisionOutcome::Failed,
        },
        since: record.begun.unwrap_or(record.since),
        ended: record.ended,
        undone: record.undone.as_ref().map(|undone| UndoneStatus {
            to: undone.to.clone(),
            at: undone.at,
            by: undone.by.clone(),
        }),
        fault: record.fault.as_ref().map(|fault| FaultStatus {
            message: fault.message.clone(),
            output: fault.output.clone(),
            // The one that is kept for looking at, else one that is still there.
            container: {
                let of_it = || observed.replicas.iter().filter(|replica| replica.revision == record.revision);
                let kept = of_it().find(|replica| replica.name == replica.service.kept_container());
                kept.or_else(|| of_it().next()).map(|replica| replica.name.clone())
            },
        }),
        pre_deploy: record.pre_deploy.as_ref().and_then(hook),
        post_deploy: record.post_deploy.as_ref().and_then(hook),
    }
}

/// What became of a hook that was begun.
fn hook(record: &HookRecord) -> Option<HookStatus> {
    let outcome = match record.state {
        HookState::Due => return None,
        HookState::Begun => HookOutcome::Running,
        HookState::Done => HookOutcome::Succeeded,
        HookState::Failed => HookOutcome::Failed,
        HookState::TimedOut => HookOutcome::TimedOut,
        HookState::Interrupted => HookOutcome::Interrupted,
    };
    Some(HookStatus {
        outcome,
        exit_code: record.code,
        attempts: record.attempts,
        since: record.running_since.unwrap_or(record.since),
        ended: record.ended,
        output: record.output.clone(),
    })
}

/// What became of the post-deploy hook of what is wanted.
fn post_deploy(desired: &DesiredService, memory: &ServiceRecord) -> Option<Finding> {
    let record = memory.record(&desired.revision)?.post_deploy.as_ref()?;
    let kind = HookKind::PostDeploy;
    let message = format!("{kind} of revision {} {}", desired.revision, describe_hook_result(record));
    match record.state {
        HookState::Due | HookState::Begun => None,
        HookState::Done => Some((ConditionType::PostDeploy, true, Reason::Complete, message)),
        _ => Some((ConditionType::PostDeploy, false, Reason::PostDeployFailed, message)),
    }
}

/// The status of a service whose containers are there while nothing, or nothing credible, is wanted of it. With
/// `held`, nothing is done, for that reason.
pub fn unwanted(
    name: &ServiceName,
    observed: &Observed,
    memory: &ServiceRecord,
    plan: &Plan,
    held: Option<&str>,
    before: Option<&ServiceStatus>,
    now: Timestamp,
) -> ServiceStatus {
    // Those that depend on it go by what is seen of it: what its document asks for is not known.
    let min_ready = Some(crd_schema::ComposeDuration::from_secs(0));
    let rollout = Some(crd_schema::Rollout { min_ready, ..crd_schema::Rollout::default() });
    let spec = crd_schema::ServiceSpec { rollout, ..crd_schema::ServiceSpec::default() };
    let nothing = DesiredService { one_shot: true, ..DesiredService::new(name.clone(), spec, String::new()) };
    let scene = Scene { desired: &nothing, observed, memory, policy: &Policy::from_spec(&nothing.spec), now };
    // Of one that is left as it is all stay.
    let staying = held.map(|_| observed.replicas.iter().map(|replica| &replica.id).collect());
    let mut status = replicas(&scene, before, &staying.unwrap_or_default());
    status.project.clone_from(&name.project);
    status.name.clone_from(&name.name);
    status.generation = memory.generation;
    status.observed_generation = memory.generation;
    status.current_revision = current(memory);
    status.requests_cut = memory.replicas.requests_cut;
    status.live = count(observed.replicas.iter().filter(|r| r.state.is_live()).count());
    status.available = count(status.instances.iter().filter(|i| i.phase == ReplicaPhase::Available).count());
    status.waiting = waiting(plan, None);
    let (holds, reason, message) = match held {
        Some(why) => (false, Reason::DeletionHeld, why.to_owned()),
        None => (true, Reason::ScalingOnly, "its document is gone: it is drained and removed".to_owned()),
    };
    status.conditions = vec![Condition {
        kind: ConditionType::Progressing,
        status: holds,
        reason,
        message,
        last_transition: transition(before, ConditionType::Progressing, holds, now),
    }];
    status
}

fn available(status: &ServiceStatus, policy: &Policy) -> Finding {
    let floor = policy.floor().max(usize::from(policy.replicas > 0));
    let holds = status.available as usize >= floor;
    let reason = if holds { Reason::MinimumReplicasAvailable } else { Reason::MinimumReplicasUnavailable };
    let message = format!("{} of {} replicas are available", status.available, policy.replicas);
    (ConditionType::Available, holds, reason, message)
}

fn replica_failure(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Finding {
    let Scene { desired, memory, .. } = *scene;
    let kind = ConditionType::ReplicaFailure;
    if let Some(failure) = failed(desired, memory) {
        return (kind, true, failure.reason, failure.message.clone());
    }
    if let Some(why) = spent(scene, sets) {
        return (kind, true, Reason::Exited, why);
    }
    if let Some(member) = sets.to_replace.iter().find(|m| matches!(m.phase, Phase::Failed(_))) {
        let message =
            format!("{} {}", member.replica.name, reason_of(scene, member.replica, &member.phase).unwrap_or_default());
        return (kind, true, Reason::Unhealthy, message);
    }
    match &memory.revisions.streak {
        Some(trouble)
            if !sets.current.iter().all(super::replica_sets::ClassifiedReplica::available)
                || sets.current.is_empty() =>
        {
            (kind, true, trouble.reason, trouble.message.clone())
        }
        _ => (kind, false, Reason::Complete, String::new()),
    }
}

/// Those that are to stay: all but those that were withdrawn where nothing is begun; while a change is held, those of before it.
fn staying<'a>(scene: &Scene<'a>) -> BTreeSet<&'a ContainerId> {
    let all = || scene.observed.replicas.iter();
    let contended = || scene.memory.contended(scene.now).is_some();
    match goal(scene) {
        Ok(goal) if paused(scene.desired, scene.memory).is_none() && !contended() => {
            admission::staying(scene, &goal).into_iter().map(|replica| &replica.id).collect()
        }
        _ => all().map(|replica| &replica.id).filter(|id| !scene.memory.replicas.draining.contains_key(*id)).collect(),
    }
}

/// What it waits for; what is about to be done is not done yet, so a status at rest has neither.
/// What is waited for, and until when. What has no time of its own is a rollout's: without progress it fails at `deadline`.
fn waiting(plan: &Plan, deadline: Option<Timestamp>) -> Vec<Waiting> {
    let until = |wait: &WaitingOn| wait.until.or(deadline.filter(|_| wait.reason.is_part_of_a_rollout()));
    let waits = plan.waiting.iter().map(|w| Waiting { reason: w.reason, on: w.on.clone(), until: until(w) });
    let deeds = plan.actions.iter().map(|action| Waiting {
        reason: WaitReason::Step,
        on: format!("its next step: {}", action.verb),
        until: deadline,
    });
    waits.chain(deeds).collect()
}

fn current(memory: &ServiceRecord) -> Option<Revision> {
    if let Some(record) = memory.undone_to() {
        return Some(record.revision.clone());
    }
    let mut available = memory.revisions.history.iter().rev().filter(|record| record.outcome == Outcome::Available);
    available.next().map(|record| record.revision.clone())
}

fn transition(before: Option<&ServiceStatus>, kind: ConditionType, holds: bool, now: Timestamp) -> Timestamp {
    let same = before.and_then(|before| before.condition(kind)).filter(|condition| condition.status == holds);
    same.map_or(now, |condition| condition.last_transition)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
