//! Hooks in the seeded worlds. The judge follows their containers in the world itself: who ran, when, and how that ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use composed_core::model::{HookKind, State};
use composed_core::plan::action::Verb;
use composed_simulator::Behaviour;
use crd_schema::{ComposeDuration, ContainerId, DeployHook, Hooks, ImageRef, OnInterrupt, Revision};
use jiff::Timestamp;

use super::{Event, Run, Seen};

const TIMEOUT: Duration = Duration::from_secs(20);

/// The hooks of a world.
pub(super) struct Rules {
    again: bool,
    post: bool,
}

impl Rules {
    /// Lets the images have hooks, some of which fail, and kills some of them.
    pub(super) fn new(
        rng: &mut fastrand::Rng,
        images: &mut BTreeMap<ImageRef, Behaviour>,
        script: &mut Vec<(Duration, Event)>,
    ) -> Self {
        for (name, behaviour) in images.iter_mut() {
            behaviour.hook = (Duration::from_millis(rng.u64(0..6000)), 0);
            if name.as_str().starts_with("bad") {
                match rng.u8(0..4) {
                    0 => *behaviour = Behaviour { hook: (behaviour.hook.0, 3), ..Behaviour::default() },
                    1 => *behaviour = Behaviour { hook: (Duration::from_hours(1), 0), ..Behaviour::default() },
                    _ => {}
                }
            }
        }
        if rng.u8(0..3) == 0 {
            let at: Vec<Duration> = script.iter().map(|(at, _)| *at).collect();
            let at = at[rng.usize(0..at.len())] + Duration::from_millis(rng.u64(0..6000));
            script.push((at, Event::KillHook));
            script.sort_by_key(|(at, _)| *at);
        }
        Self { again: rng.bool(), post: rng.u8(0..3) == 0 }
    }

    pub(super) fn hooks(&self) -> Hooks {
        let hook = || DeployHook {
            command: Some(vec!["/app".to_owned(), "migrate".to_owned()]),
            timeout: Some(ComposeDuration::from_secs(TIMEOUT.as_secs())),
            on_interrupt: Some(if self.again { OnInterrupt::Rerun } else { OnInterrupt::Fail }),
            ..DeployHook::default()
        };
        Hooks { pre_deploy: Some(hook()), post_deploy: self.post.then(hook) }
    }
}

/// One run of a hook's container.
#[derive(Clone, Debug)]
struct Ran {
    kind: HookKind,
    revision: Revision,
    epoch: u32,
    interrupted: bool,
    /// The state directory was lost since.
    forgotten: bool,
    /// And no replica of it ran at some moment after that: nothing on the engine tells of it any more.
    unknown: bool,
    code: Option<i64>,
}

/// All that hooks did.
#[derive(Default, Debug)]
pub(super) struct Ledger {
    /// Counts the documents.
    pub(super) epoch: u32,
    /// By container and start.
    runs: BTreeMap<(ContainerId, Timestamp), Ran>,
    /// Killed by the judge.
    killed: BTreeSet<ContainerId>,
    passed: BTreeSet<Revision>,
}

impl Run {
    /// Looks what hooks did, and whether they were allowed to.
    pub(super) fn follow_hooks(&mut self, verbs: &[Verb], seen: &mut Seen) {
        let Some(rules) = &self.case.hooks else { return };
        let all: Vec<_> = self.sim.with(|world, _| {
            let hooks = world.containers.values().filter_map(|c| Some((c.hook?, c.replica.clone())));
            hooks.collect()
        });
        let running: BTreeSet<Revision> = self.sim.with(|world, _| {
            let live = world.containers.values().filter(|c| c.hook.is_none() && c.replica.state.is_live());
            live.map(|c| c.replica.revision.clone()).collect()
        });
        for ran in self.ledger.runs.values_mut() {
            ran.unknown |= ran.forgotten && !running.contains(&ran.revision);
        }
        let live = all.iter().filter(|(_, replica)| replica.state.is_live()).count();
        assert!(live <= 2, "H3: {live} hooks run at once");
        for (kind, replica) in all {
            let Some(started) = replica.started_at else { continue };
            let key = (replica.id.clone(), started);
            let code = match replica.state {
                State::Exited(code) => Some(code),
                _ => None,
            };
            if let Some(ran) = self.ledger.runs.get_mut(&key) {
                ran.interrupted |= self.ledger.killed.contains(&replica.id);
                if ran.code.is_none() && code.is_some() {
                    seen.hooks_passed += u32::from(code == Some(0));
                    seen.hooks_failed += u32::from(code != Some(0) && !ran.interrupted);
                }
                ran.code = code.or(ran.code);
            } else {
                let same = |ran: &&Ran| ran.kind == kind && ran.revision == replica.revision;
                let epoch = self.ledger.epoch;
                for ran in self.ledger.runs.values().filter(same) {
                    // Without the directory nobody knows of what ran before the revision that was wanted last.
                    let forgotten = ran.forgotten && ran.epoch != epoch;
                    let done = kind == HookKind::PreDeploy && ran.code == Some(0) && !forgotten && !ran.unknown;
                    assert!(
                        !done,
                        "H2: {kind} of {} runs again though it ended well: {:?}",
                        replica.revision, self.ledger
                    );
                    let again = ran.interrupted && rules.again;
                    let once = ran.epoch != epoch || again || ran.unknown;
                    assert!(once, "H2: {kind} of {} runs again: {:?}", replica.revision, self.ledger);
                    seen.hooks_rerun += u32::from(again && ran.epoch == epoch);
                }
                let revision = replica.revision.clone();
                let ran = Ran { kind, revision, epoch, interrupted: false, forgotten: false, unknown: false, code };
                seen.hooks_passed += u32::from(code == Some(0));
                self.ledger.runs.insert(key, ran);
            }
            if kind == HookKind::PreDeploy && code == Some(0) {
                self.ledger.passed.insert(replica.revision.clone());
            }
        }
        for verb in verbs {
            if let Verb::Create(blueprint) = verb {
                let passed = self.ledger.passed.contains(&blueprint.revision);
                let before = blueprint.hook == Some(HookKind::PreDeploy);
                assert!(
                    before || passed,
                    "H1: {} of {} is made before its hook has ended well",
                    blueprint.name,
                    blueprint.revision
                );
            }
        }
    }

    /// The state directory is gone.
    pub(super) fn forget_hooks(&mut self) {
        self.ledger.runs.values_mut().for_each(|ran| ran.forgotten = true);
    }

    /// Ends a hook from outside; whether there was one to be ended.
    pub(super) fn kill_hook(&mut self) -> bool {
        let killed = self.sim.with(|world, now| {
            let running = |c: &&composed_simulator::Container| c.hook.is_some() && c.replica.state == State::Running;
            let id = world.containers.values().find(running).map(|c| c.replica.id.clone())?;
            world.kill(&id, 137, now);
            Some(id)
        });
        self.ledger.killed.extend(killed.clone());
        killed.is_some()
    }

    /// Whether a container is a hook's.
    pub(super) fn is_of_hook(&self, id: &ContainerId) -> bool {
        self.sim.with(|world, _| world.containers.get(id).is_some_and(|container| container.hook.is_some()))
    }

    /// Whether a hook that is stopped has not had its time.
    pub(super) fn stops_a_hook_early(&self, id: &ContainerId) -> Option<String> {
        self.sim.with(|world, now| {
            let container = world.containers.get(id)?;
            let started = container.replica.started_at?;
            let early = !self.wish.gone && container.replica.state.is_live() && now < started + TIMEOUT;
            early.then(|| format!("H5: {} is stopped before its timeout", container.replica.name))
        })
    }

    pub(super) fn judge_hooks_at_the_end(&self) {
        let left: Vec<_> = self.sim.with(|world, _| {
            let hooks = world.containers.values().filter_map(|c| Some((c.hook?, c.replica.state)));
            hooks.collect()
        });
        assert!(left.iter().all(|(_, state)| !state.is_live()), "H4: a hook never ends: {left:?}");
        if self.wish.gone {
            assert!(left.is_empty(), "H4: it is gone, but there is {left:?}");
        }
        let well = !self.wish.image.as_str().starts_with("bad")
            && self.memory.revisions.failure.is_none()
            && self.wish.replicas > 0
            && self.memory.undone().is_none();
        let paused = self.memory.revisions.failure.is_some();
        if well && !paused {
            assert!(left.iter().all(|(kind, _)| *kind == HookKind::PostDeploy), "H4: leftovers {left:?}");
        }
        assert!(left.len() <= 2, "H4: leftovers {left:?}");
    }
}
