//! The way out of one replica: withdrawn, left, idle, pre-stop hooks, restart policy off, stopped, removed. At most one
//! step of it in a pass; after each the world is looked at again.

use std::time::Duration;

use crd_schema::Hook;
use crd_schema::status::WaitReason;
use jiff::Timestamp;

use super::action::{Plan, Verb};
use super::names;
use super::policy::drain_timeout;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::rollout::Step;
use super::scene::{ObservedRecord, Scene};
use super::shared;
use super::target;
use crate::model::{InFlight, Propagation, Replica, RunningOperation, ServiceRecord, State};

/// The requests in flight are counted after so long, then less and less often the longer the drain has lasted.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A command to run before the stop, where `pre_stop` says nothing: docker-rollout's label.
pub(super) const PRE_STOP_LABEL: &str = "docker-rollout.pre-stop-hook";

/// What its own revision says about leaving.
pub struct TerminationPolicy {
    drain_timeout: Duration,
    hooks: Vec<Hook>,
}

impl TerminationPolicy {
    /// As the revision of `member` has it; a revision that nobody remembers leaves with the defaults. What the command of
    /// a rollout says of those that it replaces comes first.
    pub fn for_replica(member: &ClassifiedReplica<'_>, memory: &ServiceRecord) -> Self {
        let revision = &member.replica.revision;
        let known = memory.record(revision);
        // Of one that was made before there was a memory, the document is the best that is known.
        let spec = known.or_else(|| memory.revisions.history.last()).map(|record| &record.spec);
        let label = spec.and_then(|spec| spec.labels.get(PRE_STOP_LABEL));
        let own = known.map_or(&[][..], |record| &record.spec.pre_stop);
        let hooks = match (memory.pre_stop_of_rollout(revision), label) {
            (Some(command), _) => vec![in_shell(command)],
            (None, Some(command)) if own.is_empty() => vec![in_shell(command)],
            _ => own.to_vec(),
        };
        let drain_timeout = known
            .map_or_else(|| drain_timeout(&crd_schema::ServiceSpec::default()), |record| drain_timeout(&record.spec));
        Self { drain_timeout, hooks }
    }
}

fn in_shell(command: &str) -> Hook {
    Hook { command: ["sh", "-c", command].map(str::to_owned).to_vec(), ..Hook::default() }
}

/// Adds the next step of `member` on its way out to `plan`. With `keep`, its last step is the name under which it is
/// kept for looking at.
pub fn terminate(
    plan: &mut Plan,
    member: &ClassifiedReplica<'_>,
    (observed, memory): ObservedRecord<'_>,
    keep: bool,
    now: Timestamp,
) {
    let replica = member.replica;
    let name = &replica.name;
    match replica.state {
        State::Removing => plan.wait(WaitReason::Removal, format!("{name} to be removed"), None),
        State::Created | State::Exited(_) | State::Dead if keep => {
            let to = replica.service.kept_container();
            plan.act(Verb::Rename { target: member.target(), to }, "kept for looking at: it is the last that failed");
        }
        State::Created | State::Exited(_) | State::Dead => plan.act(Verb::Remove(member.target()), "it does not run"),
        State::Running | State::Paused | State::Restarting => stop(plan, member, (observed, memory), now),
    }
}

fn stop(plan: &mut Plan, member: &ClassifiedReplica<'_>, (observed, memory): ObservedRecord<'_>, now: Timestamp) {
    let replica = member.replica;
    let name = &replica.name;
    let until = replica.busy_until.filter(|until| now < *until);
    match replica.busy_with {
        Some(RunningOperation::Stop) => return plan.wait(WaitReason::Stop, format!("{name} to stop"), until),
        // Its end is near: a hook that is in the middle of something is let go on.
        Some(RunningOperation::PostStart) => {
            return plan.wait(WaitReason::Hook, format!("post_start of {name} to end"), until);
        }
        Some(RunningOperation::PreStop) => {
            return plan.wait(WaitReason::Hook, format!("pre_stop of {name} to end"), until);
        }
        None => {}
    }
    let Some(since) = memory.replicas.draining.get(&replica.id).copied() else {
        return plan.act(Verb::Drain(member.target()), "it is being replaced or removed");
    };
    let farewell = TerminationPolicy::for_replica(member, memory);
    let deadline = since + farewell.drain_timeout;
    let hook_is_due = !farewell.hooks.is_empty() && !replica.pre_stop_done && replica.state == State::Running;
    let guests = observed.neighbours.guests.get(&replica.id).map_or(&[][..], Vec::as_slice);
    if hook_is_due && guests.is_empty() && replica.propagation == Propagation::Unfollowed {
        // What takes it out of traffic is its hook, as with Kubernetes' preStop and in docker-rollout's recipe: requests end
        // only then.
        let cause = "nobody is told who leaves: its hook comes first";
        return plan.act(Verb::PreStop { target: member.target(), hooks: farewell.hooks }, cause);
    }
    if let Some((who, until)) = replica.propagation.pending(now).filter(|_| now < deadline) {
        plan.wait(WaitReason::Proxy, format!("{who} to stop routing to {name}"), Some(until.min(deadline)));
        return;
    }
    let cause = match replica.in_flight {
        InFlight::Count(0) => "idle: no request is in flight",
        _ if replica.state != State::Running => "it serves nothing",
        _ if now >= deadline => "drain_timeout has passed",
        InFlight::Count(busy) => {
            plan.wait(WaitReason::Requests, format!("{busy} requests in flight on {name}"), Some(deadline));
            plan.wake(next_poll(since, now).min(deadline));
            return;
        }
        InFlight::Unknown => {
            plan.wait(WaitReason::Requests, format!("the requests in flight on {name} to be counted"), Some(deadline));
            plan.wake(next_poll(since, now).min(deadline));
            return;
        }
        InFlight::Uncountable => {
            plan.wait(
                WaitReason::Requests,
                format!("drain_timeout of {name} (requests in flight cannot be counted here)"),
                Some(deadline),
            );
            return;
        }
    };
    if let Some((guest, until)) = shared::last_member_end(guests, deadline, now) {
        plan.wait(
            WaitReason::Namespace,
            format!("{} to end, which shares namespaces of {name}", guest.name),
            Some(until),
        );
        return;
    }
    if hook_is_due {
        plan.act(Verb::PreStop { target: member.target(), hooks: farewell.hooks }, cause);
    } else if replica.restarts {
        plan.act(Verb::DisableRestart(member.target()), cause);
    } else {
        let cut = match replica.in_flight {
            InFlight::Count(busy) if replica.state == State::Running => busy,
            _ => 0,
        };
        plan.act(Verb::Stop { target: member.target(), cut }, cause);
    }
}

/// The next look at a replica that has been draining since `since`: a tenth of the time it has taken so far is lost at
/// most.
fn next_poll(since: Timestamp, now: Timestamp) -> Timestamp {
    let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    now + (elapsed / 10).clamp(POLL_INTERVALS.0, POLL_INTERVALS.1)
}

/// What is under way goes on to its end: those who were withdrawn leave.
pub(super) fn continue_terminations(plan: &mut Plan, scene: &Scene<'_>) {
    let heir = names::heir(scene);
    names::end_hand_over(plan, scene, heir.as_ref());
    for replica in scene.observed.replicas.iter().filter(|r| scene.memory.replicas.draining.contains_key(&r.id)) {
        let member = ClassifiedReplica::terminating(replica);
        if member.started() && names::hand_over(plan, scene, heir.as_ref(), &member) {
            continue;
        }
        terminate(plan, &member, scene.seen(), false, scene.now);
    }
}

/// Those who leave go on; the last one that failed is kept.
pub(super) fn plan_terminations(plan: &mut Plan, scene: &Scene<'_>, sets: &ReplicaSets<'_>, step: &Step) {
    for (at, member) in sets.cancellable.iter().enumerate() {
        if at < step.undo_drain {
            plan.act(Verb::UndoDrain(member.target()), "it is wanted again");
        } else if !names::hand_over(plan, scene, sets.current.first(), member) {
            terminate(plan, member, scene.seen(), false, scene.now);
        }
    }
    let failed = target::failed(scene.desired, scene.memory).map(|failure| &failure.revision);
    let is_failed = |member: &&ClassifiedReplica<'_>| Some(&member.replica.revision) == failed;
    // One that still runs will be the last of them: until it has ended, those that have ended are kept back.
    let leaving = sets.to_replace.iter().chain(&sets.terminating).filter(is_failed);
    // One that has run tells more than one that never started.
    let tells = |m: &&ClassifiedReplica<'_>| (m.replica.started_at.is_some(), m.replica.created_at, m.replica.number);
    let newest = leaving.max_by_key(tells).map(|m| &m.replica.id);
    let already = sets.retained.iter().any(|m| Some(&m.replica.revision) == failed);
    for member in &sets.terminating {
        if must_be_retained(plan, scene, sets, member) {
            names::hand_over(plan, scene, sets.current.first(), member);
            continue;
        }
        if member.started() && names::hand_over(plan, scene, sets.current.first(), member) {
            continue;
        }
        let keep = !already && newest == Some(&member.replica.id);
        if keep && !sets.retained.is_empty() && !member.started() {
            // The name is taken by the one kept before; it goes first.
            continue;
        }
        terminate(plan, member, scene.seen(), keep, scene.now);
    }
    for member in &sets.retained {
        let outdated = Some(&member.replica.revision) != failed;
        let replaced = failed.is_some() && newest.is_some();
        let healed = failed.is_none() && plan.waiting.is_empty() && sets.to_replace.is_empty();
        let there = member.replica.state != State::Removing;
        if there && outdated && (replaced || healed) {
            plan.act(Verb::Remove(member.target()), "a newer outcome has replaced it");
        }
    }
}

/// Whether one that does not run must not be removed yet: its data has not been handed on, which one that Docker Compose made and
/// never started may have, too; or it is what Docker Compose made, of which
/// no other can be made, and its successor has still to prove itself; or somebody has just stopped it, perhaps to start it again.
fn must_be_retained(
    plan: &mut Plan,
    scene: &Scene<'_>,
    sets: &ReplicaSets<'_>,
    member: &ClassifiedReplica<'_>,
) -> bool {
    let replica = member.replica;
    let may_have_data = match replica.state {
        State::Exited(_) | State::Dead => true,
        State::Created => replica.compose.is_some(),
        State::Running | State::Paused | State::Restarting | State::Removing => false,
    };
    if !may_have_data || scene.policy.replicas == 0 {
        return false;
    }
    let heirs = || sets.current.iter().flat_map(|keeper| keeper.replica.volumes.values());
    let has_heir = replica.volumes.values().all(|volume| heirs().any(|other| other == volume));
    if !has_heir && sets.current.len() < scene.policy.replicas as usize {
        return true;
    }
    let other = sets.current.first().is_none_or(|keeper| keeper.replica.revision != replica.revision);
    let served = scene.memory.replicas.draining.contains_key(&replica.id);
    if scene.policy.stop_first && replica.compose.is_some() && served && other && !sets.complete(scene.policy) {
        return true;
    }
    let until = may_restart_until(scene, replica);
    plan.wake(until);
    until.is_some()
}

/// Until when one that somebody else has stopped may be started again by him: `docker restart` is a stop and a start.
pub(super) fn may_restart_until(scene: &Scene<'_>, replica: &Replica) -> Option<Timestamp> {
    let ended = scene.memory.process.stopped_externally.get(&replica.id).filter(|_| !replica.state.is_live())?;
    Some(*ended + RESTART_GRACE).filter(|until| scene.now < *until)
}

/// A restart by somebody else takes no longer from the end to the next start.
const RESTART_GRACE: Duration = Duration::from_secs(2);
