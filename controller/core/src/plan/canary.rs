//! A revision on trial: its first replica takes its share of the requests for a while before the others follow. Derived
//! from what is seen, never stored.

use crd_schema::status::CanaryStatus;
use crd_schema::status::WaitReason;
use jiff::Timestamp;

use super::action::Plan;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::rollout::Step;
use super::scene::Scene;
use super::target::{Goal, GoalKind};
use crate::model::Outcome;

/// When the trial of the goal's revision ends, if it is on trial; `None` within: its first replica is not available yet.
pub fn ends(scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) -> Option<Option<Timestamp>> {
    let canary = scene.policy.canary?;
    let open = scene.memory.record(goal.revision).is_none_or(|record| record.outcome == Outcome::Pending);
    let others = sets.to_replace.iter().any(|m| m.available() && m.replica.revision != *goal.revision);
    // None at all is not on trial either.
    if goal.kind != GoalKind::Desired || !open || !others || scene.policy.replicas == 0 {
        return None;
    }
    let since = |member: &&ClassifiedReplica<'_>| {
        let ready = scene.memory.process.observations.get(&member.replica.id)?.ready_since?;
        Some(ready + scene.policy.min_ready)
    };
    let available = sets.current.iter().filter(|member| member.available());
    let first = available.filter_map(|member| since(&member)).min();
    Some(first.map(|first| first + canary.hold))
}

/// Keeps a step within the trial.
///
/// ```text
/// 3 replicas, surge 1:
///   old 3 available                  -> create 1, as ever
///   old 3 available, new 1 available -> nothing until the hold has passed; then withdraw 1, as ever
/// ```
pub fn within(plan: &mut Plan, step: Step, scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) -> Step {
    let held = match ends(scene, goal, sets) {
        None => return step,
        Some(Some(until)) if scene.now >= until => return step,
        Some(held) => held,
    };
    // Who serves nothing may go; where there is no room for one more, one has to make it.
    let idle = sets.to_replace.iter().filter(|member| !member.available()).count();
    if let Some(until) = held {
        plan.wait(WaitReason::Canary, "the canary to be held", Some(until));
        // Whoever dies meanwhile is replaced, up to what has to be available.
        let lack = scene.policy.floor().saturating_sub(sets.in_traffic());
        let standby = sets.current.iter().filter(|member| !member.started()).count();
        let create = step.create.min(lack.saturating_sub(standby));
        return Step { create, start: step.start.min(lack), drain: step.drain.min(idle), ..step };
    }
    let room = 1_usize.saturating_sub(sets.current.len());
    // More than are wanted: the first one of a trial that was broken off holds the place.
    let surplus = sets.to_replace.len().saturating_sub(scene.policy.replicas as usize);
    let place = if scene.policy.surge == 0 { 1 } else { idle.max(surplus) };
    Step { create: step.create.min(room), start: step.start.min(1), drain: step.drain.min(place), ..step }
}

/// What people and proxies are told of a trial that goes on.
pub fn status(scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) -> Option<CanaryStatus> {
    let until = ends(scene, goal, sets)?.filter(|until| scene.now < *until);
    // Before it is available it is shown already, and takes its share from then on.
    let joins = sets.current.iter().any(|member| matches!(member.phase, super::phase::Phase::Joining(_)));
    if until.is_none() && !joins {
        return None;
    }
    let weight = scene.policy.canary?.weight;
    Some(CanaryStatus { revision: goal.revision.clone(), weight, until })
}
