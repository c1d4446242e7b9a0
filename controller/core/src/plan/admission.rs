//! Whether anything of a changed revision may be made yet: after the rollouts that it depends on, in its turn, after its
//! pre-deploy hook, and when its image and networks are here. Until then what runs is kept as it is: healed and scaled.

use crd_schema::status::WaitReason;

use crd_schema::Revision;

use super::action::Plan;
use super::gate;
use super::hook;
use super::owners;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::rollout::Step;
use super::scene::Scene;
use super::target::{Goal, GoalKind, last_available_goal};
use crate::model::{DesiredService, Observed, Outcome, Replica, ServiceRecord};

/// What may be made.
#[derive(Debug)]
pub enum Admission<'a> {
    /// Replicas of the goal.
    Open,
    /// None of it; of the revision before it, if there is one.
    Held(Option<Goal<'a>>),
}

/// How far a service is with its wanted revision, for whoever counts rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// It is there, or has failed, or waits for something else.
    Idle,
    /// It would begin.
    Waiting,
    /// It has begun.
    Rolling,
}

impl Admission<'_> {
    /// What of a step may be done. While the goal is held, whatever serves is as good as any other: nothing is replaced but
    /// what shares namespaces with one that will not stay.
    ///
    /// ```text
    /// 2 replicas, surge 1, held with one revision before as the goal:
    ///   goal 2 available                        -> nothing
    ///   goal 1 available, another 1 available   -> nothing    (a rollout that was broken off)
    ///   goal 1 available, another 1 unhealthy   -> create 1, and then the unhealthy one goes
    ///   goal 3 available                        -> withdraw 1
    ///   goal 2 available, the host of 1 leaves  -> create 1 beside another, and then that one goes
    /// ```
    pub fn within(&self, step: Step, sets: &ReplicaSets<'_>, scene: &Scene<'_>) -> Step {
        let Self::Held(before) = self else { return step };
        let wanted = scene.policy.replicas as usize;
        let good = sets.current.len() + self.kept_while_held(sets, scene).count();
        let create = if before.is_some() { step.create.min(wanted.saturating_sub(good)) } else { 0 };
        // Who goes without a successor is more than are wanted: the step sees to that.
        Step { create, ..step }
    }

    /// Those that leave and are kept while the goal is held, but for those that are more than are wanted. Where no other can
    /// be made, that is all.
    fn kept_while_held<'c, 'a>(
        &self,
        sets: &'c ReplicaSets<'a>,
        scene: &Scene<'a>,
    ) -> impl DoubleEndedIterator<Item = &'c ClassifiedReplica<'a>> {
        let (held, none) = (matches!(self, Self::Held(_)), matches!(self, Self::Held(None)));
        let good = move |member: &&ClassifiedReplica<'_>| held && (none || member.available());
        sets.to_replace.iter().filter(good).filter(|member| !owners::owner_is_replaced(scene, member.replica))
    }
}

/// The replicas that are to stay, and serve, as far as is known: until the goal may begin, those that are kept.
pub fn staying<'a>(scene: &Scene<'a>, goal: &Goal<'a>) -> Vec<&'a Replica> {
    // What it would plan is the plan's.
    let begin = admission(&mut Plan::default(), scene, goal);
    let revision = match &begin {
        Admission::Held(Some(before)) => before.revision,
        _ => goal.revision,
    };
    let sets = ReplicaSets::of(scene, revision);
    let rest = (scene.policy.replicas as usize).saturating_sub(sets.current.len());
    // Those whose loss costs least are the first to go.
    let spared = begin.kept_while_held(&sets, scene).rev().take(rest);
    sets.current.iter().chain(&sets.completed).chain(spared).map(|member| member.replica).collect()
}

/// Whether the goal may begin. What it waits for, and the next step towards it, is added to `plan`.
pub fn admission<'a>(plan: &mut Plan, scene: &Scene<'a>, goal: &Goal<'a>) -> Admission<'a> {
    let Scene { observed, policy, .. } = *scene;
    if matches!(goal.kind, GoalKind::GivenUp | GoalKind::Rollback | GoalKind::Undone)
        || policy.replicas == 0
        || has_begun(goal.revision, observed, scene.memory)
    {
        return Admission::Open;
    }
    let hook = hook::due(scene, goal);
    let before = last_available_goal(scene);
    let waits = !observed.unmet.is_empty() || observed.rollout_limit.is_some();
    // Where nothing of another revision could be made meanwhile, what this one lacks is said where it is to be made.
    if hook.is_none() && !waits && before.is_none() {
        return Admission::Open;
    }
    let mut open = gate::may_create(plan, scene, goal);
    if let Some(turn) = &observed.rollout_limit {
        plan.wait(WaitReason::RolloutLimit, format!("its turn: {turn}"), None);
        open = false;
    }
    match hook {
        Some(hook) => hook::plan_pre_deploy(plan, scene, goal, hook, open),
        None if open => return Admission::Open,
        None => {}
    }
    Admission::Held(before)
}

/// Whether something of a revision was made, or it was available: then it has begun.
fn has_begun(revision: &Revision, observed: &Observed, memory: &ServiceRecord) -> bool {
    let proven = memory.record(revision).is_some_and(|record| record.outcome == Outcome::Available);
    proven || observed.replicas.iter().any(|replica| replica.revision == *revision)
}

/// How far a service is.
pub fn rollout_state(desired: &DesiredService, observed: &Observed, memory: &ServiceRecord) -> RolloutState {
    let open = memory.record(&desired.revision).is_none_or(|record| record.outcome == Outcome::Pending);
    let idle = desired.spec.paused
        || memory.control.paused.is_some()
        || memory.revisions.failure.is_some()
        || memory.revisions.undone.is_some()
        || desired.replicas() == 0;
    if !open || idle {
        return RolloutState::Idle;
    }
    // A front that waits for its ports waits for those who have them to roll.
    let waits = desired.spec.generated.is_some() && !observed.unmet.is_empty();
    let hook = observed.hooks.iter().any(|run| run.revision == desired.revision);
    if hook && !waits || has_begun(&desired.revision, observed, memory) {
        return RolloutState::Rolling;
    }
    // What waits for others asks for no turn: it would keep that from services that could roll out.
    let missing_mount = memory.revisions.streak.as_ref().is_some_and(|streak| {
        streak.revision == desired.revision && streak.reason == crd_schema::status::Reason::MountMissing
    });
    let held = !observed.unmet.is_empty() || !observed.missing_external.is_empty() || missing_mount;
    if held { RolloutState::Idle } else { RolloutState::Waiting }
}
