//! Whether a service comes nearer to what is wanted, and of a failure or an undo, what is gone back to.

use crd_schema::Revision;
use crd_schema::status::{ConditionType, Reason, ServiceStatus, WaitReason};

use super::super::action::Plan;
use super::super::gate;
use super::super::hook;
use super::super::host_ports;
use super::super::replica_sets::ReplicaSets;
use super::super::scene::Scene;
use super::super::target::{GoalKind, failed, goal, paused, undone};
use crate::model::{Observed, Outcome, RevisionFailure, Undone, describe_spent};

/// A condition: its type, whether it holds, why, and that for people.
pub(super) type Finding = (ConditionType, bool, Reason, String);

/// The condition. `whole` is the scene with all replicas that are wanted, also those that have done their work and are gone.
pub(super) fn progressing(
    scene: &Scene<'_>,
    whole: &Scene<'_>,
    sets: &ReplicaSets<'_>,
    plan: &Plan,
    before: Option<&ServiceStatus>,
) -> Finding {
    let Scene { desired, observed, memory, policy, .. } = *scene;
    let kind = ConditionType::Progressing;
    if let Some(why) = paused(desired, memory).filter(|_| !sets.complete(policy)) {
        return (kind, false, Reason::Paused, why);
    }
    if let Some(undone) = undone(desired, memory) {
        return after_undo(whole, undone, plan);
    }
    if let Some(failure) = failed(desired, memory) {
        return after_failure(whole, failure, plan, before);
    }
    let tolerated = gate::rest_is_tolerated(scene, &desired.revision, sets);
    if let Some(why) = spent(scene, sets).filter(|_| was_available(scene) && !tolerated) {
        (kind, false, Reason::RevisionFailed, format!("{why}; {RUN_AGAIN}"))
    } else if let Some(error) = desired.error.as_ref().filter(|_| sets.complete(policy)) {
        (kind, false, Reason::InvalidSpec, format!("the last valid version stays in force: {error}"))
    } else if sets.complete(policy) {
        let message = format!("revision {} is available", desired.revision);
        (kind, true, Reason::NewRevisionAvailable, message)
    } else if tolerated && was_available(scene) {
        let (of, there) = (policy.replicas, sets.current.iter().filter(|one| one.available()).count());
        let message = format!(
            "revision {} is available: {there} of {of} replicas, the rest fails as far as max_failure_ratio tolerates it",
            desired.revision
        );
        (kind, true, Reason::FailuresTolerated, message)
    } else if let Some((reason, message)) = goes_on(scene, sets) {
        (kind, reason != Reason::ProgressDeadlineExceeded, reason, message)
    } else if let Some(why) = observed.refused.as_ref().filter(|_| !observed.missing.is_empty()) {
        (kind, true, Reason::NetworkMissing, format!("{} to be created: {why}", observed.missing.join(", ")))
    } else if let Some(why) = missing_external(observed, plan) {
        (kind, false, Reason::NetworkMissing, why)
    } else if let Some(why) = gate::missing_mount(scene, &desired.revision).filter(|_| sets.current.is_empty()) {
        (kind, false, Reason::MountMissing, format!("{why}: create it on the host; it is tried again by itself"))
    } else if let Some(why) = host_ports::in_vain(scene, &desired.revision, sets) {
        (kind, false, Reason::HostPortTaken, format!("waiting for {why}"))
    } else if let Some(why) = failed_dependencies(observed, plan) {
        (kind, false, Reason::DependencyFailed, why)
    } else if !observed.unmet.is_empty() && sets.current.is_empty() {
        (kind, true, Reason::DependencyNotReady, unmet(observed))
    } else {
        let what = plan.actions.first().map(|a| a.verb.to_string());
        let what = what.or_else(|| plan.waiting.first().map(|w| format!("waiting for {}", w.on)));
        (kind, true, Reason::RolloutInProgress, what.unwrap_or_default())
    }
}

fn given_up(failure: &RevisionFailure) -> Reason {
    match failure.reason {
        Reason::ProgressDeadlineExceeded => Reason::ProgressDeadlineExceeded,
        _ => Reason::RevisionFailed,
    }
}

/// How one that has failed for good is made to run again.
const RUN_AGAIN: &str = "change the document, or `composed rollout`, to have it run again";

/// Whether all replicas of a revision are there, and no others.
fn is_there(scene: &Scene<'_>, revision: &Revision) -> bool {
    let policy = &scene.policy_of(revision);
    ReplicaSets::of(&Scene { policy, ..*scene }, revision).complete(policy)
}

/// What is done now, or waited for.
fn next_step(plan: &Plan) -> String {
    let what = plan.actions.first().map(|action| action.verb.to_string());
    what.or_else(|| plan.waiting.first().map(|waiting| format!("waiting for {}", waiting.on))).unwrap_or_default()
}

/// After somebody has gone back by hand: that is as it shall be, unless what he went back to has failed since.
fn after_undo(scene: &Scene<'_>, undone: &Undone, plan: &Plan) -> Finding {
    let kind = ConditionType::Progressing;
    let Undone { from, at, by, .. } = undone;
    let to = match goal(scene) {
        Ok(goal) => goal.revision,
        Err(why) => return (kind, false, Reason::Paused, why),
    };
    let failure = failed(scene.desired, scene.memory).filter(|one| one.revision != *to && one.revision != *from);
    let failure = failure.map(|failure| format!("revision {} has failed: {}", failure.revision, failure.message));
    if !is_there(scene, to) {
        let why = failure.unwrap_or_else(|| format!("revision {from} was undone by hand"));
        let message = format!("{why}; going back to revision {to}: {}", next_step(plan));
        return (kind, true, Reason::RollingBack, message);
    }
    if let Some(why) = failure {
        return (kind, false, Reason::RolledBack, format!("{why}; rolled back to revision {to}"));
    }
    let by = by.as_ref().map_or_else(String::new, |by| format!(" by {by}"));
    let message = format!(
        "revision {from} was undone by hand at {at}{by}, and {to} runs in its place; {} still asks for {from}: its next \
         change rolls out, or `composed rollout --to-file`",
        scene.desired.source
    );
    (kind, true, Reason::Undone, message)
}

fn after_failure(scene: &Scene<'_>, failure: &RevisionFailure, plan: &Plan, before: Option<&ServiceStatus>) -> Finding {
    let kind = ConditionType::Progressing;
    let why = format!("revision {} has failed: {}", failure.revision, failure.message);
    let goal = match goal(scene) {
        Ok(goal) => goal,
        Err(paused) => return (kind, false, Reason::Paused, paused),
    };
    let to = goal.revision;
    if goal.kind == GoalKind::GivenUp {
        let serves = ReplicaSets::of(scene, to).available() > 0;
        let left = if serves { "; what serves goes on" } else { "" };
        let message = format!("{why}; there is no earlier revision to go back to{left}");
        return (kind, false, given_up(failure), message);
    }
    if goal.spec.is_none() {
        let message = format!("{why}; what runs of revision {to} is kept, no history tells how to make more");
        return (kind, false, Reason::RollbackImpossible, message);
    }
    if failure.reason == Reason::PreDeployFailed {
        // None of it was made: what goes on was never replaced.
        if goal.kind == GoalKind::Rollback {
            return (kind, false, failure.reason, format!("{why}; revision {to} goes on"));
        }
        if hook::failure(scene, &goal).is_some() {
            let message = format!("{why}; change the document, or `composed rollout`, to have it run again");
            return (kind, false, failure.reason, message);
        }
    }
    if goal.kind != GoalKind::Rollback {
        let reason = given_up(failure);
        let next = match failure.reason {
            Reason::Exited => RUN_AGAIN,
            _ => "there is no earlier revision, so it is tried again ever more slowly",
        };
        return (kind, false, reason, format!("{why}; {next}"));
    }
    // Once it was back, what happens to a replica of it later is another story.
    let was_back =
        before.and_then(|before| before.condition(kind).filter(|_| before.generation == scene.memory.generation));
    let was_back = was_back.is_some_and(|condition| condition.reason == Reason::RolledBack);
    if was_back || is_there(scene, to) {
        return (kind, false, Reason::RolledBack, format!("{why}; rolled back to revision {to}"));
    }
    let streak = scene.memory.revisions.streak.as_ref().filter(|streak| streak.revision == *to);
    if let Some(streak) = streak.filter(|streak| streak.count >= gate::MAX_ATTEMPTS) {
        let message = format!("{why}; and revision {to}, which it is rolled back to, fails too: {}", streak.message);
        return (kind, false, Reason::RollbackImpossible, message);
    }
    let step = next_step(plan);
    if scene.now >= failure.at + scene.policy.progress_deadline {
        let message = format!("{why}; it is not back at revision {to} since {}: {step}", failure.at);
        return (kind, false, Reason::RollbackImpossible, message);
    }
    (kind, true, Reason::RollingBack, format!("{why}; rolling back to revision {to}: {step}"))
}

/// The first of those that have failed for good.
pub(super) fn spent(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Option<String> {
    let member = sets.spent.first()?;
    Some(describe_spent(member.replica, scene.spec_of(&member.replica.revision)))
}

fn was_available(scene: &Scene<'_>) -> bool {
    let record = scene.memory.record(&scene.desired.revision);
    record.is_some_and(|record| record.outcome == Outcome::Available)
}

/// What has failed of a rollout that goes on nevertheless.
fn goes_on(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Option<(Reason, String)> {
    let (reason, message) = gate::check_failure(scene, &goal(scene).ok()?, sets).err()?;
    let shown = match reason {
        Reason::ProgressDeadlineExceeded => reason,
        _ => Reason::RolloutInProgress,
    };
    gate::goes_on(scene, reason)
        .then(|| (shown, format!("{message}; the rollout goes on (failure_action is continue)")))
}

/// What others have to create before it can go on.
fn missing_external(observed: &Observed, plan: &Plan) -> Option<String> {
    let held = plan.waiting.iter().any(|wait| wait.reason == WaitReason::ExternalObject);
    let each = observed.missing_external.iter().filter(|_| held);
    let each: Vec<_> = each.map(|(what, command)| format!("{what} does not exist: `{command}`")).collect();
    (!each.is_empty()).then(|| format!("{}; it goes on as soon as it does", each.join("; ")))
}

/// The dependencies that hold it up and will not come by waiting.
fn failed_dependencies(observed: &Observed, plan: &Plan) -> Option<String> {
    let held = plan.waiting.iter().any(|wait| wait.reason == WaitReason::Dependency);
    let failed = observed.unmet.iter().filter(|(name, _)| held && observed.failed_dependencies.contains(*name));
    let each: Vec<_> = failed.map(|(name, why)| format!("{name}: {why}")).collect();
    (!each.is_empty()).then(|| each.join("; "))
}

fn unmet(observed: &Observed) -> String {
    let each: Vec<_> = observed.unmet.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    each.join("; ")
}
