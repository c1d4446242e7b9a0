//! What people may read of a service: derived from the same facts as the plan, with Kubernetes' conditions.

use std::collections::BTreeSet;

use crd_schema::status::{
    Condition, ConditionType, HookOutcome, HookStatus, Reason, ReplicaStatus, RevisionOutcome, RevisionStatus,
    ServiceStatus, Waiting,
};
use jiff::Timestamp;

use crate::model::{
    DesiredService, HookKind, HookRecord, HookState, Memory, Observed, Outcome, Replica, RevisionRecord, ServiceName,
};

use super::Scene;
use super::action::{Plan, how};
use super::begin;
use super::canary;
use super::cast::Cast;
use super::phase::{Fault, Phase, phase};
use super::policy::Policy;
use super::target::{GoalKind, failed, goal, paused};

/// The status of a service that shall run. `before` is its last one: what stays keeps its time.
pub fn status(scene: &Scene<'_>, plan: &Plan, before: Option<&ServiceStatus>) -> ServiceStatus {
    let Scene { desired, observed, memory, policy, now } = *scene;
    let cast = Cast::of(scene, &desired.revision);
    let mut status = ServiceStatus {
        project: desired.name.project.clone(),
        name: desired.name.name.clone(),
        generation: memory.generation,
        observed_generation: memory.generation,
        revision: desired.revision.clone(),
        digest: desired.of_document().1.to_owned(),
        current_revision: current(memory),
        replicas: policy.replicas,
        live: count(observed.replicas.iter().filter(|r| r.state.is_live()).count()),
        updated: count(cast.keepers.iter().filter(|m| m.started()).count()),
        available: count(cast.available()),
        strategy: policy.strategy.clone(),
        source: Some(desired.source.clone()),
        commit: desired.commit.clone(),
        history: memory.history.iter().rev().map(revision).collect(),
        error: desired.error.clone(),
        requests_cut: memory.cut,
        ..replicas(scene, before, &staying(scene))
    };
    status.waiting = waiting(plan);
    status.canary = goal(scene).ok().and_then(|goal| canary::status(scene, &goal, &cast));
    let available = available(&status, policy);
    let progressing = progressing(scene, &cast, plan);
    let failure = replica_failure(desired, memory, &cast);
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

fn revision(record: &RevisionRecord) -> RevisionStatus {
    RevisionStatus {
        revision: record.revision.clone(),
        generation: record.generation,
        image: record.spec.image.clone(),
        image_id: record.image.clone(),
        document: record.document.clone(),
        commit: record.commit.clone(),
        outcome: match record.outcome {
            Outcome::Pending => RevisionOutcome::Pending,
            Outcome::Available => RevisionOutcome::Available,
            Outcome::Failed => RevisionOutcome::Failed,
        },
        since: record.begun.unwrap_or(record.since),
        ended: record.ended,
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
fn post_deploy(desired: &DesiredService, memory: &Memory) -> Option<Finding> {
    let record = memory.record(&desired.revision)?.post_deploy.as_ref()?;
    let kind = HookKind::PostDeploy;
    let message = format!("{kind} of revision {} {}", desired.revision, how(record));
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
    memory: &Memory,
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
    let scene = Scene { desired: &nothing, observed, memory, policy: &Policy::of(&nothing.spec), now };
    // Of one that is left as it is all stay.
    let staying = held.map(|_| observed.replicas.iter().map(|replica| replica.id.as_str()).collect());
    let mut status = replicas(&scene, before, &staying.unwrap_or_default());
    status.project.clone_from(&name.project);
    status.name.clone_from(&name.name);
    status.generation = memory.generation;
    status.observed_generation = memory.generation;
    status.current_revision = current(memory);
    status.requests_cut = memory.cut;
    status.live = count(observed.replicas.iter().filter(|r| r.state.is_live()).count());
    status.available = count(status.instances.iter().filter(|i| i.phase == "Available").count());
    status.waiting = waiting(plan);
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

type Finding = (ConditionType, bool, Reason, String);

fn available(status: &ServiceStatus, policy: &Policy) -> Finding {
    let floor = policy.floor().max(usize::from(policy.replicas > 0));
    let holds = status.available as usize >= floor;
    let reason = if holds { Reason::MinimumReplicasAvailable } else { Reason::MinimumReplicasUnavailable };
    let message = format!("{} of {} replicas are available", status.available, policy.replicas);
    (ConditionType::Available, holds, reason, message)
}

fn progressing(scene: &Scene<'_>, cast: &Cast<'_>, plan: &Plan) -> Finding {
    let Scene { desired, observed, memory, policy, .. } = *scene;
    let kind = ConditionType::Progressing;
    if let Some(why) = paused(desired, memory).filter(|_| !cast.complete(policy)) {
        return (kind, false, Reason::Paused, why);
    }
    let Some(failure) = failed(desired, memory) else {
        return if let Some(error) = desired.error.as_ref().filter(|_| cast.complete(policy)) {
            (kind, false, Reason::InvalidSpec, format!("the last valid version stays in force: {error}"))
        } else if cast.complete(policy) {
            let message = format!("revision {} is available", desired.revision);
            (kind, true, Reason::NewRevisionAvailable, message)
        } else if let Some(why) = observed.refused.as_ref().filter(|_| !observed.missing.is_empty()) {
            (kind, true, Reason::NetworkMissing, format!("{} to be created: {why}", observed.missing.join(", ")))
        } else if !observed.unmet.is_empty() && cast.keepers.is_empty() {
            (kind, true, Reason::DependencyNotReady, unmet(observed))
        } else {
            let what = plan.actions.first().map(|a| a.verb.to_string());
            let what = what.or_else(|| plan.waiting.first().map(|w| format!("waiting for {}", w.on)));
            (kind, true, Reason::RolloutInProgress, what.unwrap_or_default())
        };
    };
    let why = match failure.reason {
        Reason::Undone => format!(
            "revision {} was undone by hand, and {} differs from what runs until its next change",
            failure.revision, desired.source
        ),
        _ => format!("revision {} has failed: {}", failure.revision, failure.message),
    };
    match goal(scene) {
        Ok(goal) if goal.spec.is_none() => {
            let kept = goal.revision;
            let message = format!("{why}; what runs of revision {kept} is kept, no history tells how to make more");
            (kind, false, Reason::RollbackImpossible, message)
        }
        // None of it was made: what goes on was never replaced.
        Ok(goal) if goal.kind == GoalKind::Rollback && failure.reason == Reason::PreDeployFailed => {
            (kind, false, failure.reason, format!("{why}; revision {} goes on", goal.revision))
        }
        Ok(goal) if failure.reason == Reason::PreDeployFailed && super::hook::failure(scene, &goal).is_some() => {
            let message = format!("{why}; change the document, or `composed rollout`, to have it run again");
            (kind, false, failure.reason, message)
        }
        Ok(goal) if goal.kind == GoalKind::Rollback => {
            let message = format!("{why}; rolled back to revision {}", goal.revision);
            (kind, false, Reason::RolledBack, message)
        }
        Ok(_) => {
            let reason = match failure.reason {
                Reason::ProgressDeadlineExceeded => Reason::ProgressDeadlineExceeded,
                _ => Reason::RevisionFailed,
            };
            (kind, false, reason, format!("{why}; there is no earlier revision, so it is tried again ever more slowly"))
        }
        Err(paused) => (kind, false, Reason::Paused, paused),
    }
}

fn replica_failure(desired: &DesiredService, memory: &Memory, cast: &Cast<'_>) -> Finding {
    let kind = ConditionType::ReplicaFailure;
    if let Some(failure) = failed(desired, memory) {
        return (kind, true, failure.reason, failure.message.clone());
    }
    if let Some(member) = cast.leavers.iter().find(|m| matches!(m.phase, Phase::Failed(_))) {
        let message =
            format!("{} {}", member.replica.name, reason_of(member.replica, &member.phase).unwrap_or_default());
        return (kind, true, Reason::Unhealthy, message);
    }
    match &memory.trouble {
        Some(trouble) if !cast.keepers.iter().all(super::cast::Member::available) || cast.keepers.is_empty() => {
            (kind, true, trouble.reason, trouble.message.clone())
        }
        _ => (kind, false, Reason::Complete, String::new()),
    }
}

/// Those that are to stay: all but those that were withdrawn where nothing is begun; while a change is held, those of before it.
fn staying<'a>(scene: &Scene<'a>) -> BTreeSet<&'a str> {
    let all = || scene.observed.replicas.iter();
    let contended = || scene.memory.contended(scene.now).is_some();
    match goal(scene) {
        Ok(goal) if paused(scene.desired, scene.memory).is_none() && !contended() => {
            begin::staying(scene, &goal).into_iter().map(|replica| replica.id.as_str()).collect()
        }
        _ => all().map(|replica| replica.id.as_str()).filter(|id| !scene.memory.withdrawn.contains_key(*id)).collect(),
    }
}

fn replicas(scene: &Scene<'_>, before: Option<&ServiceStatus>, staying: &BTreeSet<&str>) -> ServiceStatus {
    let mut status = ServiceStatus::default();
    for replica in &scene.observed.replicas {
        let (phase, _) = phase(scene, replica);
        let name = phase_name(&phase);
        let known = before.and_then(|b| b.instances.iter().find(|i| i.id == replica.id && i.phase == name));
        let endpoints = endpoints(replica);
        if matches!(phase, Phase::Available | Phase::Joining(_)) {
            status.endpoints.extend(endpoints.iter().cloned());
        }
        status.instances.push(ReplicaStatus {
            name: replica.name.clone(),
            id: replica.id.clone(),
            revision: replica.revision.clone(),
            phase: name.to_owned(),
            since: known.map_or(scene.now, |instance| instance.since),
            endpoints,
            addresses: replica.addresses.clone(),
            reason: reason_of(replica, &phase),
            idle: !replica.state.is_live(),
            leaves: replica.state.is_live() && !staying.contains(replica.id.as_str()),
            shares: replica.shares.iter().map(|owner| owner.id.clone()).collect(),
        });
    }
    status.instances.sort_by(|a, b| a.name.cmp(&b.name));
    status.endpoints.sort();
    status
}

fn phase_name(phase: &Phase) -> &'static str {
    match phase {
        Phase::Pending(_) => "Pending",
        Phase::Joining(_) => "Joining",
        Phase::Available => "Available",
        Phase::Completed => "Completed",
        Phase::Failed(_) => "Failed",
        Phase::Draining => "Draining",
        Phase::Exited => "Exited",
        Phase::Kept => "Kept",
    }
}

fn reason_of(replica: &Replica, phase: &Phase) -> Option<String> {
    match phase {
        Phase::Pending(what) => Some(format!("waits {what}")),
        Phase::Joining(who) => Some(format!("waits for {who}")),
        Phase::Failed(Fault::Unhealthy) => Some("is unhealthy".to_owned()),
        Phase::Failed(Fault::Late) => Some("did not become healthy in time".to_owned()),
        Phase::Failed(Fault::PostStart) => Some("its post_start has failed, or was interrupted".to_owned()),
        Phase::Failed(Fault::Alone) => {
            Some("is cut off: whose namespaces it shares was replaced or started anew".to_owned())
        }
        Phase::Failed(Fault::Paused) => Some("was paused by hand".to_owned()),
        Phase::Exited | Phase::Kept => match replica.state {
            crate::model::State::Exited(code) => Some(format!("exited with code {code}")),
            _ => None,
        },
        Phase::Available | Phase::Completed | Phase::Draining => None,
    }
}

/// Where a running replica listens: its published host addresses, then each network address with each TCP port.
fn endpoints(replica: &Replica) -> Vec<String> {
    let tcp = || replica.ports.iter().filter_map(|(port, hosts)| Some((port.strip_suffix("/tcp")?, hosts)));
    let published = tcp().flat_map(|(_, hosts)| hosts.iter().cloned());
    let addresses = replica.addresses.values();
    let inside = addresses.flat_map(|address| tcp().map(move |(port, _)| format!("{address}:{port}")));
    published.chain(inside).collect()
}

/// What it waits for; what is about to be done is not done yet, so a status at rest has neither.
fn waiting(plan: &Plan) -> Vec<Waiting> {
    let waits = plan.waiting.iter().map(|w| Waiting { on: w.on.clone(), until: w.until });
    let deeds =
        plan.actions.iter().map(|action| Waiting { on: format!("its next step: {}", action.verb), until: None });
    waits.chain(deeds).collect()
}

fn current(memory: &Memory) -> Option<String> {
    let mut available = memory.history.iter().rev().filter(|record| record.outcome == Outcome::Available);
    available.next().map(|record| record.revision.clone())
}

fn unmet(observed: &Observed) -> String {
    let each: Vec<_> = observed.unmet.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    each.join("; ")
}

fn transition(before: Option<&ServiceStatus>, kind: ConditionType, holds: bool, now: Timestamp) -> Timestamp {
    let same = before.and_then(|before| before.condition(kind)).filter(|condition| condition.status == holds);
    same.map_or(now, |condition| condition.last_transition)
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
