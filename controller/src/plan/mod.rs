//! DECISIONS. Pure, sync, total: what is wanted and what is seen make a plan. Names only `model` and crd-schema.
//!
//! A plan is what is safe now, not the road to the end: the loop is the road. Any subset of its actions, in any order,
//! keeps the promises, so a crash anywhere is harmless.

pub mod action;
pub mod backoff;
pub mod begin;
pub mod canary;
pub mod cast;
pub mod cleanup;
pub mod gate;
pub mod hint;
pub mod hook;
pub mod image;
pub mod inherit;
pub mod leave;
mod names;
pub mod phase;
pub mod policy;
pub mod project;
mod redact;
pub mod rollout;
pub mod shared;
pub mod status;
pub mod target;

use std::time::Duration;

use crd_schema::status::Reason;
use jiff::Timestamp;

use crate::model::{
    Comparison, Desired, DesiredService, Memory, Observed, Outcome, PostStart, Replica, ServiceName, State,
};

use action::{Blueprint, Plan, Verb};
use begin::Begin;
use cast::{Cast, Member};
use names::{Names, fixed_name, names_free};
use policy::Policy;
use rollout::Step;
use target::{Goal, GoalKind, goal};

/// What is safe to do for one service now, and what it waits for.
pub fn plan(desired: &Desired, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    match desired {
        Desired::Held(why) => {
            let mut plan = Plan::default();
            plan.wait(why.clone(), None);
            plan
        }
        Desired::Gone(since) => gone(*since, observed, memory, now),
        Desired::Run(desired) => {
            let policy = &Policy::with(&desired.spec, &observed.replicas);
            run(&Scene { desired, observed, memory, policy, now })
        }
    }
}

/// A document must be missed for so long: editors and checkouts empty a file before they write it.
pub const MISSED: Duration = Duration::from_secs(5);

/// Gone is `replicas: 0`, then forget: everything leaves, what was kept for looking at too.
fn gone(since: Timestamp, observed: &Observed, memory: &Memory, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let until = since + MISSED;
    if now < until {
        plan.wait("its document to come back, before it is removed", Some(until));
        return plan;
    }
    for replica in &observed.replicas {
        leave::leave(&mut plan, &Member::leaving(replica), (observed, memory), false, now);
    }
    hook::leave(&mut plan, &observed.hooks);
    plan
}

/// Everything that a decision about a running service may look at.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// What is wanted.
    pub desired: &'a DesiredService,
    /// What is seen.
    pub observed: &'a Observed,
    /// What is remembered.
    pub memory: &'a Memory,
    /// The rollout policy.
    pub policy: &'a Policy,
    /// The moment.
    pub now: Timestamp,
}

impl<'a> Scene<'a> {
    /// What is seen and remembered.
    fn seen(&self) -> leave::Seen<'a> {
        (self.observed, self.memory)
    }

    /// The service.
    pub fn service(&self) -> &ServiceName {
        &self.desired.name
    }
}

fn run(scene: &Scene<'_>) -> Plan {
    let mut plan = Plan::default();
    hook::watch(&mut plan, scene);
    if let Some(paused) = target::paused(scene.desired, scene.memory) {
        if !Cast::of(scene, &scene.desired.revision).complete(scene.policy) {
            plan.wait(paused, None);
        }
        finish(&mut plan, scene);
        return plan;
    }
    adopt(&mut plan, scene);
    if let Some((name, until)) = at_work(scene) {
        plan.wait(format!("docker compose to start {name}"), Some(until));
        finish(&mut plan, scene);
        return plan;
    }
    if let Some((what, until)) = scene.memory.contended(scene.now) {
        plan.wait(format!("others to leave it alone ({what}); `composed resume` goes on at once"), Some(until));
        finish(&mut plan, scene);
        return plan;
    }
    let goal = match goal(scene) {
        Ok(goal) => goal,
        Err(frozen) => {
            plan.wait(frozen, None);
            finish(&mut plan, scene);
            return plan;
        }
    };
    let cast = Cast::of(scene, goal.revision);
    plan.wake(cast.wake_at);
    if scene.policy.replicas > 0 && !cast.complete(scene.policy) {
        match gate::verdict(scene, &goal, &cast) {
            Ok(deadline) => plan.wake(deadline),
            Err((reason, message)) => {
                let cause = message.clone();
                let verb = Verb::Conclude {
                    revision: goal.revision.to_owned(),
                    outcome: Outcome::Failed,
                    failure: Some((reason, message)),
                };
                plan.act(verb, cause);
                return plan;
            }
        }
    }
    hook::clear(&mut plan, scene);
    let begin = begin::begin(&mut plan, scene, &goal);
    // Until it may begin, what is there is kept as it is.
    let (goal, cast) = match &begin {
        Begin::Held(Some(before)) => (before.clone(), Cast::of(scene, before.revision)),
        _ => (goal, cast),
    };
    let policy = &shared::ordered(scene, &cast);
    let scene = &Scene { policy, ..*scene };
    let step = begin.within(rollout::step(&cast, scene.policy), &cast, scene);
    let step = canary::within(&mut plan, step, scene, &goal, &cast);
    greet(&mut plan, scene);
    part(&mut plan, scene, &cast, &step);
    roll(&mut plan, scene, &goal, &cast, &step);
    conclude(&mut plan, scene, &goal, &cast);
    hook::after(&mut plan, scene, &goal, &cast);
    image::fetch(&mut plan, scene);
    cleanup::clean(&mut plan, scene);
    plan
}

/// Docker Compose takes so long at most from making a container to starting it, beside the stop of the one before.
const COMPOSE_STARTS: Duration = Duration::from_mins(1);

/// A container that Docker Compose has just made and not started yet: whoever changes something now is in its way.
fn at_work<'a>(scene: &Scene<'a>) -> Option<(&'a str, Timestamp)> {
    let made = scene.observed.replicas.iter().filter(|one| one.compose.is_some() && one.state == State::Created);
    // By the engine's clock, which may be ahead of ours: then nobody is waited for.
    let grace = scene.desired.spec.stop_grace_period.map_or(Duration::from_secs(10), crd_schema::ComposeDuration::get);
    let patience = COMPOSE_STARTS + grace;
    let young = made.filter(|one| one.created_at <= scene.now && scene.now < one.created_at + patience);
    let newest = young.max_by_key(|one| one.created_at)?;
    Some((newest.name.as_str(), newest.created_at + patience))
}

/// What Docker Compose made for this service is this controller's from now on, as it is or to be replaced.
fn adopt(plan: &mut Plan, scene: &Scene<'_>) {
    for replica in scene.observed.replicas.iter().filter(|replica| !scene.memory.has_adopted(replica)) {
        let cause = match &replica.compose {
            Some(Comparison::Differs(keys)) => format!("docker compose made it; it differs in {}", keys.join(", ")),
            _ if replica.revision == scene.desired.revision => "docker compose made it as its document asks".to_owned(),
            _ => "docker compose made it".to_owned(),
        };
        let target = Member::leaving(replica).target();
        plan.act(Verb::Adopt { target, revision: replica.revision.clone() }, cause);
    }
}

/// Those that have just begun to run get their post-start hooks.
fn greet(plan: &mut Plan, scene: &Scene<'_>) {
    let Scene { observed, memory, .. } = *scene;
    for replica in observed.replicas.iter().filter(|replica| replica.state == State::Running) {
        let due = memory.post_start.get(&replica.id) == Some(&PostStart::Begun);
        let here = memory.post_start_here.contains(&replica.id);
        let under_way = replica.busy_with.is_some() || replica.post_start.is_some();
        let leaves = memory.withdrawn.contains_key(&replica.id);
        if let Some(record) = memory.record(&replica.revision).filter(|_| due && here && !under_way && !leaves) {
            let hooks = record.spec.post_start.clone();
            plan.act(Verb::PostStart { target: Member::leaving(replica).target(), hooks }, "it has started");
        }
    }
}

/// What is under way goes on to its end: those who were withdrawn leave.
fn finish(plan: &mut Plan, scene: &Scene<'_>) {
    for replica in scene.observed.replicas.iter().filter(|r| scene.memory.withdrawn.contains_key(&r.id)) {
        leave::leave(plan, &Member::leaving(replica), scene.seen(), false, scene.now);
    }
}

/// Those who leave go on; the last one that failed is kept.
fn part(plan: &mut Plan, scene: &Scene<'_>, cast: &Cast<'_>, step: &Step) {
    for (at, member) in cast.revocable.iter().enumerate() {
        if at < step.readmit {
            plan.act(Verb::Readmit(member.target()), "it is wanted again");
        } else {
            leave::leave(plan, member, scene.seen(), false, scene.now);
        }
    }
    let failed = target::failed(scene.desired, scene.memory).map(|failure| failure.revision.as_str());
    let is_failed = |member: &&Member<'_>| Some(member.replica.revision.as_str()) == failed;
    // One that still runs will be the last of them: until it has ended, those that have ended are kept back.
    let leaving = cast.leavers.iter().chain(&cast.leaving).filter(is_failed);
    // One that has run tells more than one that never started.
    let tells = |m: &&Member<'_>| (m.replica.started_at.is_some(), m.replica.created_at, m.replica.number);
    let newest = leaving.max_by_key(tells).map(|m| m.replica.id.as_str());
    let already = cast.kept.iter().any(|m| Some(m.replica.revision.as_str()) == failed);
    for member in &cast.leaving {
        if held_back(plan, scene, cast, member) {
            continue;
        }
        let keep = !already && newest == Some(member.replica.id.as_str());
        if keep && !cast.kept.is_empty() && !member.started() {
            // The name is taken by the one kept before; it goes first.
            continue;
        }
        leave::leave(plan, member, scene.seen(), keep, scene.now);
    }
    for member in &cast.kept {
        let outdated = Some(member.replica.revision.as_str()) != failed;
        let replaced = failed.is_some() && newest.is_some();
        let healed = failed.is_none() && plan.waiting.is_empty() && cast.leavers.is_empty();
        if outdated && (replaced || healed) {
            plan.act(Verb::Remove(member.target()), "a newer outcome has replaced it");
        }
    }
}

/// Whether one that has ended must not be removed yet: its data has not been handed on; or it is what Docker Compose made, of which
/// no other can be made, and its successor has still to prove itself; or somebody has just stopped it, perhaps to start it again.
fn held_back(plan: &mut Plan, scene: &Scene<'_>, cast: &Cast<'_>, member: &Member<'_>) -> bool {
    let replica = member.replica;
    if !matches!(replica.state, State::Exited(_) | State::Dead) || scene.policy.replicas == 0 {
        return false;
    }
    let heirs = || cast.keepers.iter().flat_map(|keeper| keeper.replica.volumes.values());
    let has_heir = replica.volumes.values().all(|volume| heirs().any(|other| other == volume));
    if !has_heir && cast.keepers.len() < scene.policy.replicas as usize {
        return true;
    }
    let other = cast.keepers.first().is_none_or(|keeper| keeper.replica.revision != replica.revision);
    let served = scene.memory.withdrawn.contains_key(&replica.id);
    if scene.policy.stop_first && replica.compose.is_some() && served && other && !cast.complete(scene.policy) {
        return true;
    }
    let until = may_return(scene, replica);
    plan.wake(until);
    until.is_some()
}

/// Until when one that somebody else has stopped may be started again by him: `docker restart` is a stop and a start.
fn may_return(scene: &Scene<'_>, replica: &Replica) -> Option<Timestamp> {
    let ended = scene.memory.ended_by_hand.get(&replica.id).filter(|_| !replica.state.is_live())?;
    Some(*ended + RESTART).filter(|until| scene.now < *until)
}

/// A restart by somebody else takes no longer from the end to the next start.
const RESTART: Duration = Duration::from_secs(2);

fn roll(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, cast: &Cast<'_>, step: &Step) {
    let observed = scene.observed;
    let standby = cast.keepers.iter().filter(|m| m.replica.state == State::Created);
    // A create that was refused says nothing against starting what could be created.
    let refused = scene.memory.trouble.as_ref().is_some_and(|trouble| trouble.reason == Reason::CreateFailed);
    let held = gate::backoff_until(scene, goal).filter(|until| scene.now < *until && !refused);
    // One that was started meanwhile, too: its predecessor may have gone in the same moment.
    let free = fixed_name(goal).filter(|name| names_free(&observed.replicas, name));
    if let (Some(fixed), Some(member)) = (free, cast.keepers.first()) {
        plan.act(Verb::Rename { target: member.target(), to: fixed.clone() }, "its container_name is free now");
    }
    let (roomy, crowded): (Vec<_>, Vec<_>) = standby.partition(|member| shared::has_room(scene, member));
    let places = step.start.min(roomy.len());
    for (at, member) in roomy.into_iter().chain(crowded).enumerate() {
        if at >= places {
            let name = &member.replica.name;
            plan.wait(format!("a place for {name}: its predecessor is still there"), None);
        } else if let Some(until) = held {
            plan.wait("the backoff after failures in a row", Some(until));
        } else {
            plan.act(Verb::Start(member.target()), cause(scene, goal, cast));
        }
    }
    let returning = observed.replicas.iter().filter_map(|replica| may_return(scene, replica)).max();
    if let Some(until) = returning.filter(|_| step.create > 0) {
        plan.wait("whoever has stopped one to start it again", Some(until));
    }
    let open = step.create > 0 && returning.is_none() && gate::may_create(plan, scene, goal);
    if let Some(spec) = goal.spec.filter(|_| open) {
        let mut names = Names::of(&observed.replicas, scene.memory);
        let mut inherited = inherit::volumes(scene, cast);
        let mut given = Vec::new();
        for _ in 0..step.create {
            let Some(joins) = shared::join(plan, scene, cast, spec, &given) else { break };
            given.push(joins.clone());
            let (number, name) = names.next(scene.service(), goal);
            let blueprint = Blueprint {
                service: scene.service().clone(),
                hook: None,
                number,
                name,
                revision: goal.revision.to_owned(),
                generation: goal.generation,
                spec: spec.clone(),
                volumes: inherited.next().unwrap_or_default(),
                joins,
                image: goal.image.map(str::to_owned),
            };
            plan.act(Verb::Create(Box::new(blueprint)), cause(scene, goal, cast));
        }
    }
    for member in cast.keepers.iter().filter(|m| m.started() && !m.available()) {
        match &member.phase {
            phase::Phase::Pending(what) => plan.wait(format!("{} {what}", member.replica.name), None),
            phase::Phase::Joining(who) => plan.wait(format!("{who} to take in {}", member.replica.name), None),
            _ => {}
        }
    }
    if let Some(until) = scene.memory.cautious_until.filter(|until| scene.now < *until && step.withdraw > 0) {
        plan.wait("stops that may have been under way before the memory was lost", Some(until));
        return;
    }
    for member in shared::farewells(plan, scene, cast, step.withdraw) {
        plan.act(Verb::Withdraw(member.target()), farewell(scene, goal, member));
    }
}

fn conclude(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, cast: &Cast<'_>) {
    let (memory, policy) = (scene.memory, scene.policy);
    let known = memory.record(goal.revision).is_some_and(|record| record.outcome == Outcome::Available);
    let open = !known || (memory.failure.is_some() && goal.kind == GoalKind::Retry);
    let wanted = !matches!(goal.kind, GoalKind::Rollback | GoalKind::Held);
    if policy.replicas > 0 && wanted && open && cast.complete(policy) {
        let verb = Verb::Conclude { revision: goal.revision.to_owned(), outcome: Outcome::Available, failure: None };
        plan.act(verb, "all replicas are available");
    }
}

fn cause(scene: &Scene<'_>, goal: &Goal<'_>, cast: &Cast<'_>) -> String {
    let others = cast.leavers.iter().any(|m| m.replica.revision != goal.revision);
    match goal.kind {
        GoalKind::Rollback => "rolling back to the last available revision".to_owned(),
        GoalKind::Retry => "trying again after a failure".to_owned(),
        GoalKind::Desired if others => "rolling out a changed revision".to_owned(),
        GoalKind::Desired | GoalKind::Held
            if cast.leavers.iter().any(|m| shared::outlives(scene, m.replica) || m.replica.alone()) =>
        {
            "the one whose namespaces it shares is replaced".to_owned()
        }
        GoalKind::Desired | GoalKind::Held => "fewer replicas than wanted".to_owned(),
    }
}

fn farewell(scene: &Scene<'_>, goal: &Goal<'_>, member: &Member<'_>) -> String {
    if member.replica.revision != goal.revision {
        return match goal.kind {
            GoalKind::Rollback => "its revision has failed".to_owned(),
            _ => "its successor is there".to_owned(),
        };
    }
    match member.phase {
        _ if shared::outlives(scene, member.replica) => "its successor is there".to_owned(),
        phase::Phase::Failed(fault) => format!("it has been replaced: {fault:?}").to_lowercase(),
        _ => "more replicas than wanted".to_owned(),
    }
}
