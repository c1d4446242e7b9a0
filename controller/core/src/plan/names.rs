//! The names and numbers of new replicas, and how a fixed name (`container_name`) moves from one replica to its successor.

use std::collections::BTreeSet;

use crd_schema::status::{Reason, WaitReason};

use super::action::{Plan, Verb};
use super::attempt::backoff_until;
use super::phase::{Phase, phase};
use super::replica_sets::ClassifiedReplica;
use super::scene::Scene;
use super::target::Goal;
use crate::model::{Replica, ServiceName, ServiceRecord};

/// The `container_name` that the goal asks for.
pub(super) fn fixed_name<'a>(goal: &Goal<'a>) -> Option<&'a String> {
    goal.spec.and_then(|spec| spec.container_name.as_ref())
}

/// The fixed name of a replica's own revision, as far as that is remembered.
fn own_fixed_name<'a>(scene: &Scene<'a>, replica: &Replica) -> Option<&'a String> {
    scene.memory.record(&replica.revision)?.spec.container_name.as_ref()
}

/// Gives the fixed name to the first replica that is to stay, where no replica has it any more: one that was started meanwhile,
/// too, since its predecessor may have gone in the same moment.
pub(super) fn take_free_name(
    plan: &mut Plan,
    scene: &Scene<'_>,
    goal: &Goal<'_>,
    heir: Option<&ClassifiedReplica<'_>>,
) {
    let (Some(fixed), Some(heir)) = (fixed_name(goal), heir) else { return };
    if scene.observed.replicas.iter().any(|replica| replica.name == *fixed) {
        return;
    }
    // Somebody else's container has it: that is looked at again, and not in every pass.
    let taken = scene.memory.revisions.streak.as_ref().is_some_and(|streak| streak.reason == Reason::NameConflict);
    match backoff_until(scene, goal).filter(|until| taken && scene.now < *until) {
        Some(until) => {
            let on = format!("the next try to give {} its container_name {fixed}, which is taken", heir.replica.name);
            plan.wait(WaitReason::Backoff, on, Some(until));
        }
        None => {
            plan.act(Verb::Rename { target: heir.target(), to: fixed.clone() }, "its container_name is free now");
        }
    }
}

/// The last but one step of a replica on its way out that has the fixed name: its successor gets it. The engine's DNS answers
/// the name with the one that has it, so it moves when the successor is available and the predecessor withdrawn, and before
/// that one is stopped. Where only one of the two may run, the predecessor has ended by then. Whether that was planned.
///
/// ```text
/// old "db" available, new "shop-db-2" pending            -> nothing: "db" still is who serves
/// old "db" withdrawn, new "shop-db-2" available          -> give db to shop-db-2; its predecessor is shop-db-1
/// old "shop-db-1" withdrawn, new "shop-db-2" available   -> rename shop-db-2 to db    (a crash in between)
/// ```
pub(super) fn hand_over(
    plan: &mut Plan,
    scene: &Scene<'_>,
    heir: Option<&ClassifiedReplica<'_>>,
    holder: &ClassifiedReplica<'_>,
) -> bool {
    let Some(heir) = heir.filter(|heir| heir.replica.id != holder.replica.id) else { return false };
    let Some(fixed) = own_fixed_name(scene, heir.replica).filter(|fixed| **fixed == holder.replica.name) else {
        return false;
    };
    let withdrawn = scene.memory.replicas.draining.contains_key(&holder.replica.id);
    if !withdrawn || holder.started() && heir.phase != Phase::Available {
        return false;
    }
    let spare = ReplicaNames::of(&scene.observed.replicas, scene.memory).spare(holder.replica);
    let verb = Verb::MoveName { name: fixed.clone(), from: holder.target(), spare, to: heir.target() };
    plan.act(verb, "the successor has the container_name from now on");
    true
}

/// Where nothing new is begun, such as while a service is paused: the replica that gets the fixed name of one that was withdrawn.
pub(super) fn heir<'a>(scene: &Scene<'a>) -> Option<ClassifiedReplica<'a>> {
    let stays = |replica: &&Replica| !scene.memory.replicas.draining.contains_key(&replica.id);
    let named = scene.observed.replicas.iter().filter(stays).filter(|one| own_fixed_name(scene, one).is_some());
    let all = named.map(|replica| ClassifiedReplica { replica, phase: phase(scene, replica).0 });
    all.filter(|member| member.phase == Phase::Available).max_by_key(|member| member.replica.created_at)
}

/// Where nothing new is begun: the other half of a hand-over.
pub(super) fn end_hand_over(plan: &mut Plan, scene: &Scene<'_>, heir: Option<&ClassifiedReplica<'_>>) {
    let Some(heir) = heir else { return };
    let Some(fixed) = own_fixed_name(scene, heir.replica) else { return };
    if scene.observed.replicas.iter().all(|replica| replica.name != *fixed) {
        plan.act(Verb::Rename { target: heir.target(), to: fixed.clone() }, "its container_name is free now");
    }
}

/// Names and numbers for new replicas: the lowest that no container of the service holds.
pub(super) struct ReplicaNames {
    taken: BTreeSet<String>,
    numbers: BTreeSet<u32>,
    next: u32,
}

impl ReplicaNames {
    /// Those that are there, or known to be others'.
    pub(super) fn of(replicas: &[Replica], memory: &ServiceRecord) -> Self {
        Self {
            taken: replicas
                .iter()
                .map(|replica| &replica.name)
                .chain(&memory.replicas.foreign_names)
                .cloned()
                .collect(),
            numbers: replicas.iter().filter(|r| r.name != r.service.kept_container()).map(|r| r.number).collect(),
            next: 1,
        }
    }

    /// The usual name for one that gives its fixed name away: with its own number, if that is free.
    fn spare(&self, replica: &Replica) -> String {
        let free = |number: &u32| !self.taken.contains(&replica.service.container(*number));
        let other = || (1..u32::MAX).filter(|number| !self.numbers.contains(number)).find(free);
        let number = Some(replica.number).filter(free).or_else(other).unwrap_or(u32::MAX);
        replica.service.container(number)
    }

    /// The next one for a replica of the goal.
    pub(super) fn next(&mut self, service: &ServiceName, goal: &Goal<'_>) -> (u32, String) {
        let free = |number: &u32| !self.numbers.contains(number) && !self.taken.contains(&service.container(*number));
        let number = (self.next..u32::MAX).find(free).unwrap_or(u32::MAX);
        self.next = number.saturating_add(1);
        let fixed = fixed_name(goal).filter(|name| !self.taken.contains(*name)).cloned();
        let name = fixed.unwrap_or_else(|| service.container(number));
        self.numbers.insert(number);
        self.taken.insert(name.clone());
        (number, name)
    }
}
