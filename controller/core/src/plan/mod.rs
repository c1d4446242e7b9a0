//! DECISIONS. Pure, sync, total: what is wanted and what is seen make a plan. Names only `model` and crd-schema.
//!
//! A plan is what is safe now, not the road to the end: the loop is the road. Any subset of its actions, in any order,
//! keeps the promises, so a crash anywhere is harmless.

pub mod action;
pub mod admission;
mod attempt;
pub mod backoff;
pub mod canary;
pub mod cleanup;
pub mod dependencies;
pub mod gate;
pub mod hint;
pub mod hook;
pub mod host_ports;
pub mod image;
pub mod inherit;
mod irreplaceable;
mod names;
mod owners;
pub mod phase;
pub mod policy;
pub mod project;
pub mod replica_sets;
pub mod rollout;
mod scene;
pub mod shared;
pub mod status;
pub mod target;
pub mod termination;

use std::sync::Arc;
use std::time::Duration;

use crd_schema::status::Reason;
use crd_schema::status::WaitReason;
use jiff::Timestamp;

use crate::model::{Comparison, Desired, Observed, Outcome, PostStartState, ServiceRecord, State};
use action::{Blueprint, Plan, Verb};
use admission::Admission;
use names::ReplicaNames;
use policy::Policy;
use replica_sets::{ClassifiedReplica, ReplicaSets};
use rollout::Step;
pub use scene::Scene;
use target::{Goal, GoalKind, goal};

/// What is safe to do for one service now, and what it waits for.
pub fn plan(desired: &Desired, observed: &Observed, memory: &ServiceRecord, now: Timestamp) -> Plan {
    match desired {
        Desired::Held(why) => {
            let mut plan = Plan::default();
            plan.wait(WaitReason::Held, why.clone(), None);
            plan
        }
        Desired::Gone(since) => plan_removal(*since, observed, memory, now),
        Desired::Run(desired) => {
            let policy = &Policy::with(&desired.spec, &observed.replicas);
            plan_service(&Scene { desired, observed, memory, policy, now })
        }
    }
}

/// A document must be missed for so long: editors and checkouts empty a file before they write it.
pub const MISSING_GRACE: Duration = Duration::from_secs(5);

/// Gone is `replicas: 0`, then forget: everything leaves, what was kept for looking at too.
fn plan_removal(since: Timestamp, observed: &Observed, memory: &ServiceRecord, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let until = since + MISSING_GRACE;
    if now < until {
        plan.wait(WaitReason::MissingDocument, "its file to return, before it is removed", Some(until));
        return plan;
    }
    for replica in &observed.replicas {
        termination::terminate(&mut plan, &ClassifiedReplica::terminating(replica), (observed, memory), false, now);
    }
    hook::terminate(&mut plan, &observed.hooks);
    plan
}

fn plan_service(scene: &Scene<'_>) -> Plan {
    let mut plan = Plan::default();
    let whole = scene;
    let policy = &scene.policy_of(&scene.desired.revision);
    let scene = &Scene { policy, ..*scene };
    hook::plan_results(&mut plan, scene);
    if let Some(paused) = target::paused(scene.desired, scene.memory) {
        if !ReplicaSets::of(scene, &scene.desired.revision).complete(scene.policy) {
            plan.wait(WaitReason::Paused, paused, None);
        }
        termination::continue_terminations(&mut plan, scene);
        return plan;
    }
    plan_adoptions(&mut plan, scene);
    if let Some((name, until)) = compose_starting(scene) {
        plan.wait(WaitReason::ExternalChange, format!("docker compose to start {name}"), Some(until));
        termination::continue_terminations(&mut plan, scene);
        return plan;
    }
    if let Some((what, until)) = scene.memory.contended(scene.now) {
        plan.wait(
            WaitReason::ExternalChange,
            format!("another tool to stop changing these containers ({what}); `composed resume` continues at once"),
            Some(until),
        );
        termination::continue_terminations(&mut plan, scene);
        return plan;
    }
    let goal = match goal(scene) {
        Ok(goal) => goal,
        Err(frozen) => {
            plan.wait(WaitReason::ChangedDocument, frozen, None);
            termination::continue_terminations(&mut plan, scene);
            return plan;
        }
    };
    let back = Policy::of_rollback(&whole.desired.spec, &whole.observed.replicas);
    let policy =
        back.as_ref().filter(|_| matches!(goal.kind, GoalKind::Rollback | GoalKind::Undone)).unwrap_or(whole.policy);
    let policy = &Scene { policy, ..*whole }.policy_of(goal.revision);
    let scene = &Scene { policy, ..*whole };
    let sets = ReplicaSets::of(scene, goal.revision);
    plan.wake(sets.wake_at);
    if scene.policy.replicas > 0 && !sets.complete(scene.policy) {
        match gate::check_failure(scene, &goal, &sets) {
            Ok(deadline) => plan.wake(deadline),
            Err((reason, _)) if gate::goes_on(scene, reason) => {}
            Err((reason, message)) => {
                let cause = message.clone();
                let verb = Verb::RecordOutcome {
                    revision: goal.revision.clone(),
                    outcome: Outcome::Failed,
                    failure: Some((reason, message)),
                };
                plan.act(verb, cause);
                return plan;
            }
        }
    }
    hook::plan_cleanup(&mut plan, scene);
    let begin = admission::admission(&mut plan, scene, &goal);
    // Until it may begin, what is there is kept as it is.
    let (goal, sets) = match &begin {
        Admission::Held(Some(before)) => (before.clone(), ReplicaSets::of(scene, before.revision)),
        _ => (goal, sets),
    };
    let policy = &host_ports::with_port_order(scene.policy.clone(), scene, goal.revision, &sets);
    let scene = &Scene { policy, ..*scene };
    let policy = &irreplaceable::with_room(shared::with_namespace_order(scene, &sets), scene, &sets);
    let scene = &Scene { policy, ..*scene };
    let step = begin.within(rollout::step(&sets, scene.policy), &sets, scene);
    let step = irreplaceable::within(step, policy, scene, &sets);
    let step = host_ports::within(step, policy, scene, goal.revision, &sets);
    let step = if is_spent(scene, &goal) || goal.kind == GoalKind::GivenUp {
        Step { create: 0, start: 0, ..step }
    } else {
        step
    };
    let step = canary::within(&mut plan, step, scene, &goal, &sets);
    plan_post_start(&mut plan, scene);
    termination::plan_terminations(&mut plan, scene, &sets, &step);
    plan_rollout(&mut plan, scene, &goal, &sets, &step);
    plan_outcome(&mut plan, scene, &goal, &sets);
    hook::plan_post_deploy(&mut plan, scene, &goal, &sets);
    image::plan_pull(&mut plan, scene);
    cleanup::plan_image_removals(&mut plan, scene);
    plan
}

/// Whether a revision that has failed and that nothing can take the place of is not tried again: its replicas have ended, and
/// their restart policy has no further run for them.
fn is_spent(scene: &Scene<'_>, goal: &Goal<'_>) -> bool {
    let ended = target::failed(scene.desired, scene.memory).is_some_and(|failure| failure.reason == Reason::Exited);
    goal.kind == GoalKind::Retry && ended
}

/// Docker Compose takes so long at most from making a container to starting it, beside the stop of the one before.
const COMPOSE_START_TIMEOUT: Duration = Duration::from_mins(1);

/// A container that Docker Compose has just made and not started yet: whoever changes something now is in its way. A command
/// that converges once does not wait: a person asks for these services now, and an `up` that was aborted leaves the same.
fn compose_starting<'a>(scene: &Scene<'a>) -> Option<(&'a str, Timestamp)> {
    if scene.desired.once {
        return None;
    }
    let made = scene.observed.replicas.iter().filter(|one| one.compose.is_some() && one.state == State::Created);
    // By the engine's clock, which may be ahead of ours: then nobody is waited for.
    let grace = scene.desired.spec.stop_grace_period.map_or(Duration::from_secs(10), crd_schema::ComposeDuration::get);
    let patience = COMPOSE_START_TIMEOUT + grace;
    let young = made.filter(|one| one.created_at <= scene.now && scene.now < one.created_at + patience);
    let newest = young.max_by_key(|one| one.created_at)?;
    Some((newest.name.as_str(), newest.created_at + patience))
}

/// What Docker Compose made for this service is this controller's from now on, as it is or to be replaced.
fn plan_adoptions(plan: &mut Plan, scene: &Scene<'_>) {
    for replica in scene.observed.replicas.iter().filter(|replica| !scene.memory.has_adopted(replica)) {
        let cause = match &replica.compose {
            Some(Comparison::Differs(keys)) => format!("docker compose made it; it differs in {}", keys.join(", ")),
            _ if replica.revision == scene.desired.revision => "docker compose made it as its document asks".to_owned(),
            _ => "docker compose made it".to_owned(),
        };
        let target = ClassifiedReplica::terminating(replica).target();
        plan.act(Verb::Adopt { target, revision: replica.revision.clone() }, cause);
    }
}

/// Those that have just begun to run get their post-start hooks.
fn plan_post_start(plan: &mut Plan, scene: &Scene<'_>) {
    let Scene { observed, memory, .. } = *scene;
    for replica in observed.replicas.iter().filter(|replica| replica.state == State::Running) {
        let due = memory.replicas.post_start.get(&replica.id) == Some(&PostStartState::Begun);
        let here = memory.process.own_post_start.contains(&replica.id);
        let under_way = replica.busy_with.is_some() || replica.post_start.is_some();
        let leaves = memory.replicas.draining.contains_key(&replica.id);
        if let Some(record) = memory.record(&replica.revision).filter(|_| due && here && !under_way && !leaves) {
            let hooks = record.spec.post_start.clone();
            plan.act(
                Verb::PostStart { target: ClassifiedReplica::terminating(replica).target(), hooks },
                "it has started",
            );
        }
    }
}

fn plan_rollout(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>, step: &Step) {
    let observed = scene.observed;
    let standby = sets.current.iter().filter(|m| m.replica.state == State::Created);
    // A create that was refused says nothing against starting what could be created.
    let refused = scene.memory.revisions.streak.as_ref().is_some_and(|trouble| trouble.reason == Reason::CreateFailed);
    let held = attempt::backoff_until(scene, goal).filter(|until| scene.now < *until && !refused);
    names::take_free_name(plan, scene, goal, sets.current.first());
    let mut started = Vec::new();
    host_ports::plan_waits(plan, scene, goal.revision, sets);
    for member in standby {
        if started.len() >= step.start || !shared::has_room(scene, member, &started) {
            let name = &member.replica.name;
            plan.wait(WaitReason::Place, format!("a place for {name}: its predecessor is still there"), None);
            continue;
        }
        started.push(member);
        if !host_ports::in_the_way(scene, goal.revision).is_empty() {
            continue;
        }
        match held {
            Some(until) => plan.wait(WaitReason::Backoff, "the backoff after failures in a row", Some(until)),
            None => plan.act(Verb::Start(member.target()), rollout_cause(scene, goal, sets)),
        }
    }
    let returning = observed.replicas.iter().filter_map(|replica| termination::may_restart_until(scene, replica)).max();
    if let Some(until) = returning.filter(|_| step.create > 0) {
        plan.wait(WaitReason::ExternalChange, "a replica that was stopped externally to be started again", Some(until));
    }
    let open = step.create > 0 && returning.is_none() && gate::may_create(plan, scene, goal);
    if let Some(spec) = goal.spec.filter(|_| open) {
        let mut names = ReplicaNames::of(&observed.replicas, scene.memory);
        let mut inherited = inherit::volumes(scene, sets);
        let mut given = Vec::new();
        for _ in 0..step.create {
            let Some(joins) = shared::join(plan, scene, sets, spec, &given) else { break };
            given.push(joins.clone());
            let (number, name) = names.next(scene.service(), goal);
            let blueprint = Blueprint {
                service: scene.service().clone(),
                hook: None,
                number,
                name,
                revision: goal.revision.clone(),
                generation: goal.generation,
                spec: Arc::clone(spec),
                volumes: inherited.next().unwrap_or_default(),
                joins,
                image: goal.image.cloned(),
            };
            plan.act(Verb::Create(Box::new(blueprint)), rollout_cause(scene, goal, sets));
        }
    }
    for member in sets.current.iter().filter(|m| m.started() && !m.available()) {
        match &member.phase {
            phase::Phase::Pending(what) => {
                let busy = member.replica.busy_until.filter(|until| scene.now < *until);
                plan.wait(WaitReason::Replica, format!("{} {what}", member.replica.name), busy);
            }
            phase::Phase::Joining(who) => {
                plan.wait(WaitReason::Proxy, format!("{who} to start routing to {}", member.replica.name), None);
            }
            _ => {}
        }
    }
    if let Some(until) = scene.memory.replicas.cautious_until.filter(|until| scene.now < *until && step.drain > 0) {
        plan.wait(WaitReason::LostMemory, "stops that may have been under way before the memory was lost", Some(until));
        return;
    }
    for member in shared::to_drain(plan, scene, sets, step.drain) {
        plan.act(Verb::Drain(member.target()), drain_cause(scene, goal, member));
    }
}

fn plan_outcome(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) {
    let (memory, policy) = (scene.memory, scene.policy);
    let known = memory.record(goal.revision).is_some_and(|record| record.outcome == Outcome::Available);
    let open = !known || (memory.revisions.failure.is_some() && goal.kind == GoalKind::Retry);
    let wanted = !matches!(goal.kind, GoalKind::GivenUp | GoalKind::Rollback | GoalKind::Held);
    let complete = sets.complete(policy);
    if policy.replicas > 0 && wanted && open && (complete || gate::rest_is_tolerated(scene, goal.revision, sets)) {
        let verb = Verb::RecordOutcome { revision: goal.revision.clone(), outcome: Outcome::Available, failure: None };
        let rest = if complete { "" } else { " but for those whose failure max_failure_ratio tolerates" };
        plan.act(verb, format!("all replicas are available{rest}"));
    }
}

fn rollout_cause(scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) -> String {
    let others = sets.to_replace.iter().any(|m| m.replica.revision != *goal.revision);
    match goal.kind {
        GoalKind::Rollback => "rolling back to the last available revision".to_owned(),
        GoalKind::Undone if others => "going back by hand to an earlier revision".to_owned(),
        GoalKind::Retry => "trying again after a failure".to_owned(),
        GoalKind::Desired if others => "rolling out a changed revision".to_owned(),
        GoalKind::Desired | GoalKind::GivenUp | GoalKind::Held | GoalKind::Undone
            if sets
                .to_replace
                .iter()
                .any(|m| owners::owner_is_replaced(scene, m.replica) || m.replica.lost_namespace()) =>
        {
            "the one whose namespaces it shares is replaced".to_owned()
        }
        GoalKind::Desired | GoalKind::GivenUp | GoalKind::Held | GoalKind::Undone => {
            "fewer replicas than wanted".to_owned()
        }
    }
}

fn drain_cause(scene: &Scene<'_>, goal: &Goal<'_>, member: &ClassifiedReplica<'_>) -> String {
    if member.replica.revision != *goal.revision {
        return match goal.kind {
            GoalKind::Rollback | GoalKind::GivenUp => "its revision has failed".to_owned(),
            GoalKind::Undone => "its revision was undone by hand".to_owned(),
            _ => "its successor is there".to_owned(),
        };
    }
    match member.phase {
        _ if owners::owner_is_replaced(scene, member.replica) => "its successor is there".to_owned(),
        phase::Phase::Failed(fault) => format!("it has been replaced: {fault:?}").to_lowercase(),
        _ => "more replicas than wanted".to_owned(),
    }
}
