//! What Docker Compose made in a way that cannot be told from the engine's answer: nobody could make it again, so all of it
//! stays until all that is to replace it is available.

use super::policy::Policy;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::rollout::Step;
use super::scene::Scene;

/// The policy with room for all new replicas beside all old ones, if there are such.
pub(super) fn with_room(policy: Policy, scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Policy {
    if policy.stop_first || !holds(scene, sets) {
        return policy;
    }
    Policy { surge: policy.surge.max(policy.replicas), unavailable: 0, ..policy }
}

/// Keeps a step from withdrawing one of them early: who serves nothing may go.
///
/// ```text
/// 2 replicas, surge 1, and 2 that Compose made in ways unknown:
///   old 2 available, new none            -> create 2
///   old 2 available, new 1 available     -> nothing
///   old 2 available, new 2 available     -> withdraw 2
/// ```
pub(super) fn within(step: Step, policy: &Policy, scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> Step {
    let there = sets.current.iter().filter(|member| member.available()).count() >= policy.replicas as usize;
    if policy.stop_first || there || !holds(scene, sets) {
        return step;
    }
    let idle = sets.to_replace.iter().filter(|member| !member.available()).count();
    Step { drain: step.drain.min(idle), ..step }
}

fn holds(scene: &Scene<'_>, sets: &ReplicaSets<'_>) -> bool {
    let untold = |member: &ClassifiedReplica<'_>| {
        let replica = member.replica;
        replica.compose.is_some() && member.available() && scene.memory.record(&replica.revision).is_none()
    };
    sets.to_replace.iter().any(untold)
}
