//! The way out of one replica: withdrawn, left, idle, pre-stop hooks, restart policy off, stopped, removed. At most one
//! step of it in a pass; after each the world is looked at again.

use std::time::Duration;

use crd_schema::Hook;
use jiff::Timestamp;

use crate::model::{InFlight, Memory, Observed, Pending, State};

use super::action::{Plan, Verb};
use super::cast::Member;
use super::policy::drain_timeout;
use super::shared;

/// The requests in flight are counted after so long, then less and less often the longer the drain has lasted.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A command to run before the stop, where `pre_stop` says nothing: docker-rollout's label.
const PRE_STOP_LABEL: &str = "docker-rollout.pre-stop-hook";

/// What its own revision says about leaving.
pub struct Farewell {
    drain_timeout: Duration,
    hooks: Vec<Hook>,
}

impl Farewell {
    /// As the revision of `member` has it; a revision that nobody remembers leaves with the defaults. What the command of
    /// a rollout says of those that it replaces comes first.
    pub fn of(member: &Member<'_>, memory: &Memory) -> Self {
        let revision = &member.replica.revision;
        let known = memory.record(revision);
        // Of one that was made before there was a memory, the document is the best that is known.
        let spec = known.or_else(|| memory.history.last()).map(|record| &record.spec);
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

/// What is seen and remembered.
pub type Seen<'a> = (&'a Observed, &'a Memory);

/// Adds the next step of `member` on its way out to `plan`. With `keep`, its last step is the name under which it is
/// kept for looking at.
pub fn leave(plan: &mut Plan, member: &Member<'_>, (observed, memory): Seen<'_>, keep: bool, now: Timestamp) {
    let replica = member.replica;
    let name = &replica.name;
    match replica.state {
        State::Removing => plan.wait(format!("{name} to be removed"), None),
        State::Created | State::Exited(_) | State::Dead if keep => {
            let to = replica.service.kept_container();
            plan.act(Verb::Rename { target: member.target(), to }, "kept for looking at: it is the last that failed");
        }
        State::Created | State::Exited(_) | State::Dead => plan.act(Verb::Remove(member.target()), "it does not run"),
        State::Running | State::Paused | State::Restarting => stop(plan, member, (observed, memory), now),
    }
}

fn stop(plan: &mut Plan, member: &Member<'_>, (observed, memory): Seen<'_>, now: Timestamp) {
    let replica = member.replica;
    let name = &replica.name;
    match replica.busy_with {
        Some(Pending::Stop) => return plan.wait(format!("{name} to stop"), None),
        // Its end is near: a hook that is in the middle of something is let go on.
        Some(Pending::PostStart) => return plan.wait(format!("post_start of {name} to end"), None),
        Some(Pending::PreStop) => return plan.wait(format!("pre_stop of {name} to end"), None),
        None => {}
    }
    let Some(since) = memory.withdrawn.get(&replica.id).copied() else {
        return plan.act(Verb::Withdraw(member.target()), "it is on its way out");
    };
    let farewell = Farewell::of(member, memory);
    let deadline = since + farewell.drain_timeout;
    if let Some((who, until)) = replica.rotation.pending(now).filter(|_| now < deadline) {
        plan.wait(format!("{who} to let go of {name}"), Some(until.min(deadline)));
        return;
    }
    let cause = match replica.in_flight {
        InFlight::Count(0) => "idle: no request is in flight",
        _ if replica.state != State::Running => "it serves nothing",
        _ if now >= deadline => "drain_timeout has passed",
        InFlight::Count(busy) => {
            plan.wait(format!("{busy} requests in flight on {name}"), Some(deadline));
            plan.wake(look(since, now).min(deadline));
            return;
        }
        InFlight::Unknown => {
            plan.wait(format!("the requests in flight on {name} to be counted"), Some(deadline));
            plan.wake(look(since, now).min(deadline));
            return;
        }
        InFlight::Uncountable => {
            plan.wait(format!("drain_timeout of {name} (requests in flight cannot be counted here)"), Some(deadline));
            return;
        }
    };
    let guests = observed.neighbours.guests.get(&replica.id).map_or(&[][..], Vec::as_slice);
    if let Some((guest, until)) = shared::ends_after(guests, deadline, now) {
        plan.wait(format!("{} to end, which shares namespaces of {name}", guest.name), Some(until));
        return;
    }
    if !farewell.hooks.is_empty() && !replica.pre_stop_done && replica.state == State::Running {
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
fn look(since: Timestamp, now: Timestamp) -> Timestamp {
    let elapsed = Duration::try_from(now.duration_since(since)).unwrap_or_default();
    now + (elapsed / 10).clamp(LOOK.0, LOOK.1)
}
