//! Whether anything of a changed revision may be made yet: after the rollouts that it depends on, in its turn, and after
//! its pre-deploy hook. Until then what runs is kept as it is: healed, and scaled down.

use super::Scene;
use super::action::Plan;
use super::cast::{Cast, Member};
use super::gate;
use super::hook;
use super::rollout::Step;
use super::shared;
use super::target::{Goal, GoalKind, before};
use crate::model::{DesiredService, Memory, Observed, Outcome, Replica};

/// What may be made.
#[derive(Debug)]
pub enum Begin<'a> {
    /// Replicas of the goal.
    Open,
    /// None of it; of the revision before it, if there is one.
    Held(Option<Goal<'a>>),
}

/// How far a service is with its wanted revision, for whoever counts rollouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stand {
    /// It is there, or has failed, or waits for something else.
    Rests,
    /// It would begin.
    Asks,
    /// It has begun.
    Rolls,
}

impl Begin<'_> {
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
    pub fn within(&self, step: Step, cast: &Cast<'_>, scene: &Scene<'_>) -> Step {
        let Self::Held(before) = self else { return step };
        let wanted = scene.policy.replicas as usize;
        let good = cast.keepers.len() + self.as_good(cast, scene).count();
        let create = if before.is_some() { step.create.min(wanted.saturating_sub(good)) } else { 0 };
        // Who goes without a successor is more than are wanted: the step sees to that.
        Step { create, ..step }
    }

    /// Those that leave and are kept while the goal is held, but for those that are more than are wanted. Where no other can
    /// be made, that is all.
    fn as_good<'c, 'a>(
        &self,
        cast: &'c Cast<'a>,
        scene: &Scene<'a>,
    ) -> impl DoubleEndedIterator<Item = &'c Member<'a>> {
        let (held, none) = (matches!(self, Self::Held(_)), matches!(self, Self::Held(None)));
        let good = move |member: &&Member<'_>| held && (none || member.available());
        cast.leavers.iter().filter(good).filter(|member| !shared::outlives(scene, member.replica))
    }
}

/// The replicas that are to stay, and serve, as far as is known: until the goal may begin, those that are kept.
pub fn staying<'a>(scene: &Scene<'a>, goal: &Goal<'a>) -> Vec<&'a Replica> {
    // What it would plan is the plan's.
    let begin = begin(&mut Plan::default(), scene, goal);
    let revision = match &begin {
        Begin::Held(Some(before)) => before.revision,
        _ => goal.revision,
    };
    let cast = Cast::of(scene, revision);
    let rest = (scene.policy.replicas as usize).saturating_sub(cast.keepers.len());
    // Those whose loss costs least are the first to go.
    let spared = begin.as_good(&cast, scene).rev().take(rest);
    cast.keepers.iter().chain(&cast.finished).chain(spared).map(|member| member.replica).collect()
}

/// Whether the goal may begin. What it waits for, and the next step towards it, is added to `plan`.
pub fn begin<'a>(plan: &mut Plan, scene: &Scene<'a>, goal: &Goal<'a>) -> Begin<'a> {
    let Scene { observed, policy, .. } = *scene;
    if goal.kind == GoalKind::Rollback || policy.replicas == 0 || is_there(goal.revision, observed, scene.memory) {
        return Begin::Open;
    }
    let hook = hook::due(scene, goal);
    if hook.is_none() && observed.unmet.is_empty() && observed.turn.is_none() {
        return Begin::Open;
    }
    let mut open = gate::may_create(plan, scene, goal);
    if let Some(turn) = &observed.turn {
        plan.wait(format!("its turn: {turn}"), None);
        open = false;
    }
    match hook {
        Some(hook) => hook::before(plan, scene, goal, hook, open),
        None if open => return Begin::Open,
        None => {}
    }
    Begin::Held(before(scene))
}

/// Whether something of a revision was made, or it was available: then it has begun.
fn is_there(revision: &str, observed: &Observed, memory: &Memory) -> bool {
    let proven = memory.record(revision).is_some_and(|record| record.outcome == Outcome::Available);
    proven || observed.replicas.iter().any(|replica| replica.revision == revision)
}

/// How far a service is.
pub fn stand(desired: &DesiredService, observed: &Observed, memory: &Memory) -> Stand {
    let open = memory.record(&desired.revision).is_none_or(|record| record.outcome == Outcome::Pending);
    let idle = desired.spec.paused || memory.paused.is_some() || memory.failure.is_some() || desired.replicas() == 0;
    if !open || idle {
        return Stand::Rests;
    }
    // A front that waits for its ports waits for those who have them to roll.
    let waits = desired.spec.generated.is_some() && !observed.unmet.is_empty();
    let hook = observed.hooks.iter().any(|run| run.revision == desired.revision);
    if hook && !waits || is_there(&desired.revision, observed, memory) {
        return Stand::Rolls;
    }
    if observed.unmet.is_empty() { Stand::Asks } else { Stand::Rests }
}
