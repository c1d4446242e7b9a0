//! The judge of a plan. Its arithmetic is its own: it counts what is seen, and never asks how the planner calls it. A subset of
//! a plan is judged by its worst: all that takes away and none that gives, and the other way round.

use std::collections::BTreeSet;
use std::time::Duration;

use composed_core::model::{
    Desired, HookKind, HookState, InFlight, Outcome, PostStartState, Propagation, Replica, RunningOperation, State,
};
use composed_core::plan::action::{Action, Blueprint, Plan, Verb};
use crd_schema::{ContainerId, IntOrPercent, Order, ServiceSpec};
use jiff::{SignedDuration, Timestamp};

use super::scene::Scene;

/// What a promise says when it is broken.
pub(super) type Verdict = Result<(), String>;

/// Fails with these words unless it holds.
macro_rules! holds {
    ($condition:expr, $($words:tt)*) => { if !$condition { return Err(format!($($words)*)); } };
}
pub(super) use holds;

pub(super) struct Judge<'a> {
    pub(super) scene: &'a Scene,
    pub(super) plan: &'a Plan,
}

const MIN_READY: Duration = Duration::from_secs(5);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

impl Judge<'_> {
    pub(super) fn judge(&self) -> Verdict {
        self.each_has_one_step()?;
        self.floor_and_ceiling()?;
        self.nobody_is_cut_off()?;
        self.nobody_is_removed_while_it_runs()?;
        self.what_rests_is_left_alone()?;
        self.hooks_run_once()?;
        self.what_is_made_is_new()?;
        self.a_fixed_name_answers()?;
        self.a_port_that_others_have()?;
        self.what_is_over()?;
        self.what_is_settled_is_there()
    }

    pub(super) fn verbs(&self) -> impl Iterator<Item = &Verb> {
        self.plan.actions.iter().map(|Action { verb, .. }| verb)
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.scene.desired, Desired::Run(_))
    }

    pub(super) fn withdrawn(&self, id: &ContainerId) -> Option<Timestamp> {
        self.scene.memory.replicas.draining.get(id).copied()
    }

    fn paused(&self) -> bool {
        self.scene.spec().paused || self.scene.memory.control.paused.is_some()
    }

    fn in_traffic(&self, replica: &Replica) -> bool {
        replica.state.is_live() && self.withdrawn(&replica.id).is_none()
    }

    /// What a client would call available.
    pub(super) fn available(&self, replica: &Replica) -> bool {
        let Scene { memory, now, observed, .. } = self.scene;
        let ready = memory.process.observations.get(&replica.id).and_then(|sighting| sighting.ready_since);
        let hooks = memory.replicas.post_start.get(&replica.id);
        let joined = |id: &ContainerId| replica.joined.iter().any(|owner| owner.id == *id);
        let goes_with_its_owner =
            observed.neighbours.hosts.values().flat_map(|hosts| &hosts.of).any(|host| host.parting && joined(&host.id));
        replica.state == State::Running
            && self.in_traffic(replica)
            && ready.is_some_and(|since| since + MIN_READY <= *now)
            && hooks.is_none_or(|state| *state == PostStartState::Done)
            && !replica.joined.iter().any(|owner| owner.since.is_none_or(|since| replica.started_at < Some(since)))
            && !goes_with_its_owner
            && replica.propagation.pending(*now).is_none()
    }

    /// Two may not run at once.
    pub(super) fn exclusive(&self) -> bool {
        let spec = self.scene.spec();
        let order = spec.rollout.as_ref().and_then(|rollout| rollout.order).unwrap_or_default();
        let alone = spec.replicas.unwrap_or(1) <= 1;
        let data = || self.scene.observed.replicas.iter().any(|one| one.state.is_live() && !one.volumes.is_empty());
        let port = spec.ports.iter().any(|port| port.published.is_some());
        let only = port || alone && (!spec.volumes.is_empty() || data());
        matches!(order, Order::StopFirst | Order::Recreate) || order == Order::Auto && only
    }

    /// Copies in one network take turns; how many of the others may be away then follows from where they are.
    pub(super) fn may_take_turns(&self) -> bool {
        let order = self.scene.spec().rollout.as_ref().and_then(|rollout| rollout.order);
        self.scene.spec().shares_network() && order.unwrap_or_default() == Order::Auto
    }

    /// At least so many available, at most so many started.
    fn bounds(&self) -> (usize, usize) {
        let spec = self.scene.spec();
        let number = |asked: Option<IntOrPercent>| match asked {
            Some(IntOrPercent::Int(number)) => number,
            _ => unreachable!("scenes ask for numbers"),
        };
        let rollout = spec.rollout.clone().unwrap_or_default();
        let surge = if self.exclusive() { 0 } else { number(rollout.max_surge) };
        let unavailable = number(rollout.max_unavailable);
        let unavailable = if self.recreates() { u32::MAX } else { unavailable };
        let unavailable = if surge == 0 || self.may_take_turns() { unavailable.max(1) } else { unavailable };
        let wanted = spec.replicas.unwrap_or(1);
        let surge = if self.untold().next().is_some() && !self.exclusive() { surge.max(wanted) } else { surge };
        let least = if self.runs() { wanted.saturating_sub(unavailable) } else { 0 };
        (least as usize, (wanted + surge) as usize)
    }

    fn each_has_one_step(&self) -> Verdict {
        let mut met = BTreeSet::new();
        for verb in self.verbs() {
            let target = match verb {
                Verb::Start(target)
                | Verb::Drain(target)
                | Verb::UndoDrain(target)
                | Verb::Remove(target)
                | Verb::DisableRestart(target)
                | Verb::Stop { target, .. }
                | Verb::PreStop { target, .. } => target,
                Verb::Rename { target, to } if *to == self.scene.service.name.kept_container() => target,
                _ => continue,
            };
            holds!(met.insert(&target.id), "two steps of {} at once", target.name);
            let there = self.scene.replica(&target.id).is_some() || self.scene.hook(&target.id).is_some();
            holds!(there, "{} is not there", target.name);
        }
        let twice = self.verbs().enumerate().find(|(at, verb)| self.verbs().take(*at).any(|before| before == *verb));
        twice.map_or(Ok(()), |(_, verb)| Err(format!("{verb} is asked for twice")))
    }

    fn floor_and_ceiling(&self) -> Verdict {
        let (least, most) = self.bounds();
        let replicas = &self.scene.observed.replicas;
        let before = replicas.iter().filter(|one| self.available(one)).count();
        let started = replicas.iter().filter(|one| self.in_traffic(one)).count();
        let (mut gone, mut starts, mut back) = (0, 0, 0);
        for verb in self.verbs() {
            match verb {
                Verb::Start(target) => {
                    let Some(replica) = self.scene.replica(&target.id) else { continue };
                    let fresh = replica.state == State::Created && self.withdrawn(&replica.id).is_none();
                    holds!(fresh, "{} is started, and is not to be", replica.name);
                    starts += 1;
                }
                Verb::UndoDrain(target) => {
                    let can = self.scene.memory.process.cancellable.contains(&target.id)
                        && self.withdrawn(&target.id).is_some();
                    holds!(can, "{} cannot be taken back", target.name);
                    back += 1;
                }
                Verb::Drain(target) | Verb::Stop { target, .. } | Verb::PreStop { target, .. } => {
                    gone += usize::from(self.scene.replica(&target.id).is_some_and(|one| self.available(one)));
                }
                _ => {}
            }
        }
        holds!(before - gone >= least.min(before), "{before} - {gone} available, at least {least} promised");
        holds!(back == 0 || started + back <= most, "{started} started and {back} taken back, at most {most}");
        let comes = if self.exclusive() {
            // Who drains still runs; who comes back is one of them.
            let drain = replicas.iter().filter(|one| one.state.is_live() && self.withdrawn(&one.id).is_some());
            starts + drain.count()
        } else {
            starts + back
        };
        holds!(starts == 0 || started + comes <= most, "{started} started and {comes} more, at most {most}");
        self.what_nobody_can_make_again_stays()?;
        self.one_network_has_its_share()
    }

    /// Nothing in flight is ended before it is idle or has had its time; nor is a namespace under those in it.
    fn nobody_is_cut_off(&self) -> Verdict {
        let Scene { observed, now, .. } = self.scene;
        for verb in self.verbs() {
            let (Verb::Stop { target, .. } | Verb::PreStop { target, .. } | Verb::DisableRestart(target)) = verb else {
                continue;
            };
            let Some(replica) = self.scene.replica(&target.id) else { continue };
            let name = &replica.name;
            let Some(since) = self.withdrawn(&replica.id) else {
                return Err(format!("{verb}: {name} is in traffic"));
            };
            let mut history = self.scene.memory.revisions.history.iter().rev();
            let record = history.find(|record| record.revision == replica.revision);
            let drain = record.and_then(|record| record.spec.drain_timeout);
            let deadline = since + drain.map_or(DRAIN_TIMEOUT, crd_schema::ComposeDuration::get);
            let idle = replica.in_flight == InFlight::Count(0) || replica.state != State::Running;
            // Where nobody is told who leaves, its hook is what says it.
            let says = matches!(verb, Verb::PreStop { .. }) && replica.propagation == Propagation::Unfollowed;
            let unsent = replica.propagation.pending(*now).is_none();
            holds!(
                *now >= deadline || idle && unsent || says,
                "{verb}: {name} is not idle, and has time until {deadline}"
            );
            holds!(replica.busy_with.is_none(), "{verb}: {name} is busy with {:?}", replica.busy_with);
            let guests = observed.neighbours.guests.get(&replica.id);
            let patience = deadline + Duration::from_mins(1);
            holds!(guests.is_none() || *now >= patience, "{verb}: others run in the namespaces of {name}");
            if matches!(verb, Verb::PreStop { .. }) {
                holds!(!replica.pre_stop_done, "{verb}: those of {name} have run");
            }
        }
        Ok(())
    }

    fn nobody_is_removed_while_it_runs(&self) -> Verdict {
        for verb in self.verbs() {
            let (Verb::Remove(target) | Verb::Rename { target, .. }) = verb else { continue };
            let replica = self.scene.replica(&target.id).map(|one| one.state);
            let state = replica.or_else(|| self.scene.hook(&target.id).map(|run| run.state));
            let ended = matches!(state, Some(State::Created | State::Exited(_) | State::Dead));
            let kept = matches!(verb, Verb::Rename { to, .. } if *to != self.scene.service.name.kept_container());
            holds!(ended || kept, "{verb}, which is {state:?}");
        }
        Ok(())
    }

    /// What is paused, held or changed by others begins nothing.
    fn what_rests_is_left_alone(&self) -> Verdict {
        let Scene { memory, now, desired, .. } = self.scene;
        if matches!(desired, Desired::Held(_)) || matches!(desired, Desired::Gone(since) if *now < *since + MIN_READY) {
            holds!(self.plan.actions.is_empty(), "it is held, and something is done");
        }
        let paused = self.paused();
        if !self.runs() || !paused && memory.contended(*now).is_none() {
            return Ok(());
        }
        for verb in self.verbs() {
            let goes_on = match verb {
                Verb::Stop { target, .. }
                | Verb::PreStop { target, .. }
                | Verb::DisableRestart(target)
                | Verb::Remove(target) => self.withdrawn(&target.id).is_some(),
                Verb::RecordHookResult { .. } => true,
                Verb::Adopt { .. } => !paused,
                Verb::Rename { target, to } => {
                    let named = |one: &Replica| self.scene.memory.record(&one.revision)?.spec.container_name.clone();
                    self.scene.replica(&target.id).and_then(named).is_some_and(|name| name == *to)
                }
                Verb::MoveName { from, .. } => self.withdrawn(&from.id).is_some(),
                _ => false,
            };
            let hook_ends = matches!(verb, Verb::Stop { target, .. } if self.scene.hook(&target.id).is_some());
            holds!(goes_on || hook_ends, "{verb}: it is left alone");
        }
        Ok(())
    }

    fn hooks_run_once(&self) -> Verdict {
        let Scene { memory, observed, .. } = self.scene;
        for verb in self.verbs() {
            match verb {
                Verb::PostStart { target, .. } => {
                    let begun = memory.replicas.post_start.get(&target.id) == Some(&PostStartState::Begun);
                    let ours = memory.process.own_post_start.contains(&target.id);
                    let busy = self.scene.replica(&target.id).is_some_and(|one| {
                        one.busy_with == Some(RunningOperation::PostStart) || one.post_start.is_some()
                    });
                    holds!(begun && ours && !busy, "{verb}: begun {begun}, ours {ours}, busy {busy}");
                }
                Verb::Create(blueprint) => match blueprint.hook {
                    Some(kind) => self.hook_may_run(kind, blueprint)?,
                    None => self.hook_has_passed(blueprint)?,
                },
                Verb::Start(target) => {
                    let Some(run) = self.scene.hook(&target.id) else { continue };
                    holds!(run.state == State::Created, "{verb}: it was started before");
                }
                _ => {}
            }
        }
        let mut kinds: Vec<_> = self
            .verbs()
            .filter_map(|verb| match verb {
                Verb::Create(blueprint) => blueprint.hook,
                _ => None,
            })
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        holds!(kinds.iter().all(|kind| observed.hooks.iter().all(|run| run.kind != *kind)), "two containers of a hook");
        Ok(())
    }

    fn hook_may_run(&self, kind: HookKind, blueprint: &Blueprint) -> Verdict {
        let record =
            self.scene.memory.revisions.history.iter().rev().find(|record| record.revision == blueprint.revision);
        let Some(hook) = record.and_then(|record| record.hook(kind)) else { return Ok(()) };
        let rerun = hook.attempts < 3 && {
            let spec = kind.spec_in(self.scene.spec()).and_then(|spec| spec.on_interrupt);
            spec == Some(crd_schema::OnInterrupt::Rerun)
        };
        let due = hook.state == HookState::Due || hook.state == HookState::Interrupted && rerun;
        holds!(due, "{kind} is run again: {hook:?}");
        Ok(())
    }

    /// The first replica of a changed revision comes after its hook. Whoever goes back has said so.
    fn hook_has_passed(&self, blueprint: &Blueprint) -> Verdict {
        let Scene { memory, observed, .. } = self.scene;
        let has = |spec: &ServiceSpec| HookKind::PreDeploy.spec_in(spec).is_some();
        if memory.revisions.failure.is_some() || memory.revisions.undone.is_some() || !has(&blueprint.spec) {
            return Ok(());
        }
        let record = memory.record(&blueprint.revision);
        let passed = record.is_some_and(|record| {
            let done = record.pre_deploy.as_ref().is_some_and(|hook| hook.state == HookState::Done);
            done || record.served || record.outcome == Outcome::Available
        });
        let begun = observed.replicas.iter().any(|one| one.revision == blueprint.revision);
        holds!(passed || begun, "{} is made before its pre_deploy has ended well", blueprint.name);
        Ok(())
    }

    /// Names and data are one container's; and no more are made than are wanted.
    fn what_is_made_is_new(&self) -> Verdict {
        let Scene { observed, .. } = self.scene;
        let made: Vec<&Blueprint> = self
            .verbs()
            .filter_map(|verb| match verb {
                Verb::Create(blueprint) if blueprint.hook.is_none() => Some(&**blueprint),
                _ => None,
            })
            .collect();
        let Some(first) = made.first() else { return Ok(()) };
        let mut names: BTreeSet<&str> = observed.replicas.iter().map(|one| one.name.as_str()).collect();
        holds!(made.iter().all(|one| names.insert(&one.name)), "two of one name");
        let mut volumes = BTreeSet::new();
        let given = made.iter().flat_map(|one| one.volumes.values());
        holds!(given.clone().all(|volume| volumes.insert(volume)), "two with the same data");
        let writes =
            |one: &&Replica| one.state.is_live() && one.volumes.values().any(|volume| volumes.contains(volume));
        let shared = observed.replicas.iter().any(|one| writes(&one) && !self.exclusive() && !self.may_take_turns());
        holds!(!shared, "the data of one that runs is given to another");
        let wanted = self.scene.spec().replicas.unwrap_or(1) as usize;
        let stays = |one: &&Replica| {
            let same = one.revision == first.revision && self.withdrawn(&one.id).is_none() && one.joined.is_empty();
            same && (self.available(one) || one.state == State::Created && one.name != one.service.kept_container())
        };
        let there = observed.replicas.iter().filter(stays).count();
        holds!(made.len() + there <= wanted, "{} made beside {there}, of {wanted}", made.len());
        Ok(())
    }

    /// Who has nothing to do and waits for nothing has what is wanted, and asks for no further look.
    fn what_is_settled_is_there(&self) -> Verdict {
        let Scene { observed, now, desired, .. } = self.scene;
        let latest = now.checked_add(SignedDuration::from_hours(24)).unwrap_or(*now);
        holds!(self.plan.wake_at.is_none_or(|at| at <= latest), "it is looked at again in more than a day");
        if !self.plan.settled() {
            return Ok(());
        }
        // A second copy of what runs once ends by itself.
        let ends = self.is_job() && observed.replicas.iter().any(|one| one.state.is_live());
        // One that is not needed and that somebody else has just stopped may be started again by him, and is removed if not.
        let by_hand =
            observed.replicas.iter().any(|one| self.scene.memory.process.stopped_externally.contains_key(&one.id));
        holds!(self.plan.wake_at.is_none() || ends || by_hand, "it is settled, and yet it wants to wake");
        match desired {
            Desired::Held(_) => return Err("it is held, and waits for nothing".to_owned()),
            Desired::Gone(_) => {
                holds!(observed.replicas.is_empty(), "it is gone, and some of it is there");
                return Ok(());
            }
            // It is left as it is.
            Desired::Run(_) if self.paused() || ends => return Ok(()),
            Desired::Run(_) => {}
        }
        let wanted = self.scene.spec().replicas.unwrap_or(1) as usize;
        let there = observed.replicas.iter().filter(|one| self.available(one)).count();
        let done = observed.replicas.iter().filter(|one| self.is_over(one)).count();
        let live = observed.replicas.iter().filter(|one| one.state.is_live()).count();
        holds!(there + done >= wanted, "it is settled with {there} and {done} of {wanted}");
        holds!(live <= wanted, "it is settled with {live} of {wanted}");
        Ok(())
    }
}
