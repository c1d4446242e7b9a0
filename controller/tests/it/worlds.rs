//! Seeded worlds: the real reconcile pass on the simulated engine, with crashes of the controller, lost calls and
//! answers, lost and late events, killed replicas and broken images. The judge keeps its own ruler: it looks at the
//! world, never at the planner's phases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod by_hand;
mod case;
mod events;
mod hooks;
mod jobs;
mod judge;
mod plays;

use composed::reconcile::{ImageAnswers, Pass};
use composed_core::engine::{ActionContext, DesiredContainer, Engine, EngineError, ObserveRequest, observe_once};
use composed_core::model::{
    Desired, DesiredProject, DesiredService, InFlight, Key, ListedObjects, ListedService, Listing, OtherServices,
    Outcome, ServiceName, ServiceRecord, Snapshot, State,
};
use composed_core::plan::action::Verb;
use composed_simulator::{Behaviour, Fault, Load, Sim, World};
use crd_schema::{
    Canary, ComposeDuration, ContainerId, FailureAction, Healthcheck, ImageRef, IntOrPercent, NetworkName, Order,
    Revision, Rollout, ServiceSpec, VolumeName,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use self::case::{Case, Wish};
use self::judge::Judged;
use self::plays::Seen;

const MIN_READY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(5);

/// What happens at one call of a world.
#[derive(Clone, Copy, Debug)]
enum Blow {
    CrashBefore,
    CrashAfter,
    AnswerLost,
    Refused,
}

const BLOWS: [Blow; 4] = [Blow::CrashBefore, Blow::CrashAfter, Blow::AnswerLost, Blow::Refused];

#[derive(Clone, Debug)]
enum Event {
    Wish(Wish),
    Kill(usize, i64),
    StopByHand(usize),
    RemoveByHand(usize),
    Pause(usize),
    KillHook,
    Order(by_hand::Order),
}

/// How a pass ended.
enum Ended {
    /// Look again then, or when something happens.
    LookAgain(Option<Timestamp>),
    /// The controller crashed in it.
    Crashed,
}

/// The controller under test, the world it lives in, and the judge.
struct Run {
    case: Case,
    sim: Arc<Sim>,
    clock: Arc<Mutex<Timestamp>>,
    name: ServiceName,
    wish: Wish,
    desired: Desired,
    /// The same with the mark of a rollout by hand.
    understood: Desired,
    /// What people have asked for and no pass has taken in.
    orders: Vec<by_hand::Order>,
    /// Somebody has gone back from what the document asks for.
    undone: bool,
    /// The images of which all replicas served at one time.
    whole: BTreeSet<ImageRef>,
    completed: jobs::Completed,
    memory: ServiceRecord,
    persisted: ServiceRecord,
    before: Option<crd_schema::status::ServiceStatus>,
    given_up: BTreeSet<Revision>,
    applied: u64,
    disturbances: u64,
    max_generation: u64,
    /// Whoever was asked to end, whether the answer came or not.
    leaving: BTreeSet<ContainerId>,
    /// What hooks did, by the world's own word.
    ledger: hooks::Ledger,
    /// Calls of the engine so far, done or not.
    attempts: Arc<Mutex<u32>>,
}

#[derive(Default)]
struct CallFault {
    crash_after: bool,
    fault: Option<Fault>,
    crashed: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let case = Case::new(seed);
        let case = if seed % 7 == 3 { case.into_job() } else { case };
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Arc::new(Mutex::new(start));
        let now = Arc::clone(&clock);
        let mut world = World::default();
        world.networks.insert(NetworkName::new("shop_default"), Some("shop".to_owned()));
        world.volumes.insert(VolumeName::new("shop_data"), Some("shop".to_owned()));
        for (name, behaviour) in &case.images {
            world.registry.insert(name.clone(), (Duration::from_millis(700), behaviour.clone()));
        }
        world.add_foreign("shop-other-1", start);
        world.add_foreign("unrelated", start);
        let name = ServiceName::new("shop", "web");
        if let Some((count, image)) = &case.compose {
            world.images.insert(image.clone(), case.images[image].clone());
            let made = Wish { replicas: *count, image: image.clone(), gone: false, held: false };
            for number in 1..=*count {
                world.add_compose(&name, number, &case.spec(&made), start - Duration::from_hours(1));
                let id = world.containers.named(&name.container(number)).map(|one| one.replica.id.clone());
                if let (Some(fixed), Some(id)) = (&case.fixed_name, id) {
                    world.containers.rename(&id, fixed);
                }
            }
        }
        let whole = case.compose.iter().map(|(_, image)| image.clone()).collect();
        let sim = Arc::new(Sim::new(world, Arc::new(move || *now.lock().unwrap()), "me"));
        let wish = Wish { replicas: 0, image: ImageRef::new("good:1"), gone: false, held: true };
        Self {
            case,
            sim,
            clock,
            name,
            wish,
            desired: Desired::Held("not read yet".to_owned()),
            understood: Desired::Held("not read yet".to_owned()),
            orders: Vec::new(),
            undone: false,
            whole,
            completed: jobs::Completed::default(),
            memory: ServiceRecord::default(),
            persisted: ServiceRecord::default(),
            before: None,
            given_up: BTreeSet::new(),
            applied: 0,
            disturbances: 0,
            max_generation: 0,
            leaving: BTreeSet::new(),
            ledger: hooks::Ledger::default(),
            attempts: Arc::default(),
        }
    }

    fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    /// What the document says, hashed once for each wish.
    fn desired(&self) -> Desired {
        self.desired.clone()
    }

    fn resolve(&self) -> Desired {
        if self.wish.held {
            return Desired::Held("its document is invalid".to_owned());
        }
        if self.wish.gone {
            return Desired::Gone(self.now());
        }
        let spec = self.case.spec(&self.wish);
        Desired::Run(Box::new(DesiredService::new(self.name.clone(), spec, "web.yaml:1")))
    }

    /// Running, answering for `min_ready`, and in traffic: what a client would call available.
    fn serving(&self, slack: Duration) -> BTreeSet<ContainerId> {
        let now = self.now();
        let long_enough = |c: &composed_simulator::Container| {
            // Without a healthcheck nobody can know more than that it runs.
            let ready_after = if self.case.healthcheck { c.behaviour.ready_after } else { Duration::ZERO };
            let runs = c.replica.state == State::Running;
            let answers = !self.case.healthcheck || c.answers(now);
            // Who is not known to the proxy serves nobody.
            let known = c.behaviour.lag.is_none() || (c.in_rotation(now) && c.told.is_some_and(|(serves, _)| serves));
            runs && known
                && answers
                && c.replica.started_at.is_some_and(|at| at + ready_after + MIN_READY + slack <= now)
        };
        self.sim.with(|world, _| {
            let ours = world.containers.values().filter(|c| c.ours && c.hook.is_none() && long_enough(c));
            ours.map(|c| c.replica.id.clone()).filter(|id| !self.memory.replicas.draining.contains_key(id)).collect()
        })
    }

    fn running(&self) -> BTreeSet<ContainerId> {
        self.sim.with(|world, _| {
            let replicas = world.containers.values().filter(|c| c.ours && c.hook.is_none());
            let ours = replicas.filter(|c| c.replica.state.is_live());
            ours.map(|c| c.replica.id.clone()).collect()
        })
    }

    fn revision(&self) -> Revision {
        match &self.understood {
            Desired::Run(desired) => desired.revision.clone(),
            Desired::Gone(_) | Desired::Held(_) => Revision::default(),
        }
    }

    fn in_traffic(&self) -> usize {
        let running = self.running();
        running.iter().filter(|id| !self.memory.replicas.draining.contains_key(*id)).count()
    }

    /// One pass.
    fn pass(&mut self, faults: bool, seen: &mut Seen) -> Ended {
        let now = self.now();
        let desired = self.desired();
        let images = ["good:1", "good:2", "good:3", "bad:1"].map(ImageRef::new).into();
        let compose = Arc::new([self.name.clone()].into());
        let spec = match &desired {
            Desired::Run(desired) => Some(Arc::clone(&desired.spec)),
            Desired::Gone(_) | Desired::Held(_) => None,
        };
        let asked = spec
            .map(|spec| (self.name.clone(), DesiredContainer { spec, ..DesiredContainer::default() }))
            .into_iter()
            .collect();
        let scope = ObserveRequest {
            services: Some([self.name.clone()].into()),
            images,
            compose,
            desired: asked,
            ..ObserveRequest::default()
        };
        let state = Arc::new(Mutex::new(CallFault::default()));
        let hook_state = Arc::clone(&state);
        let mut rng = self.case.rng.fork();
        let rate = if faults { self.case.fault_rate } else { 0.0 };
        let planned = self.case.planned;
        let attempts = Arc::clone(&self.attempts);
        self.sim.break_with(Some(Box::new(move |call| {
            let mut state = hook_state.lock().unwrap();
            // Once it has crashed nothing of it reaches the engine any more.
            if state.crashed || state.crash_after {
                state.crashed = true;
                return Some(Fault::Lost);
            }
            let nth = {
                let mut attempts = attempts.lock().unwrap();
                *attempts += 1;
                *attempts
            };
            let blow = match planned {
                Some((at, blow)) => (at == nth).then_some(blow),
                None if rng.f64() >= rate => None,
                None => Some(BLOWS[rng.usize(0..4)]),
            };
            state.fault = blow.map(|blow| match blow {
                Blow::CrashBefore => {
                    state.crashed = true;
                    Fault::Lost
                }
                Blow::CrashAfter => {
                    state.crash_after = true;
                    Fault::AnswerLost
                }
                // A look cannot be refused in this world: that is the same as lost.
                Blow::AnswerLost | Blow::Refused if call == "list" || call == "observe" => Fault::Lost,
                Blow::AnswerLost => Fault::AnswerLost,
                Blow::Refused => Fault::Refused,
            });
            state.fault
        })));
        let Ok(snapshot) = observe_once(&*self.sim, &scope).now_or_never().unwrap() else {
            let crashed = state.lock().unwrap().crashed || state.lock().unwrap().crash_after;
            return self.after_crash(crashed, seen);
        };
        let replicas = snapshot.replicas.get(&self.name).map_or(&[][..], Vec::as_slice);
        self.follow_orders(replicas, seen);
        let desired = self.understood.clone();
        let judged = Judged { run: self, verbs: Mutex::default(), ends: Mutex::default(), snapshot: Mutex::default() };
        let mut memory = judged.run.memory.clone();
        let serving_before = judged.run.serving(Duration::ZERO);
        // Who hears nothing and is interrupted cannot know at once; who hears everything must.
        let case = &judged.run.case;
        let calm = case.event_loss == 0.0 && case.fault_rate == 0.0;
        let known_before = judged.run.serving(if calm { Duration::ZERO } else { Duration::from_mins(1) });
        let pass = Pass {
            service: &judged.run.name,
            desired: &desired,
            project: &DesiredProject::default(),
            others: OtherServices::default(),
            refused: None,
            limiter: None,
            before: judged.run.before.as_ref(),
            registry: ImageAnswers::default(),
            spared: BTreeSet::new(),
            now,
        };
        let decision = pass.decide(judged.run.sim.as_ref(), &snapshot, &mut memory).now_or_never().unwrap();
        let outcome = pass.carry_out(decision, &judged, &mut memory, &|| now).now_or_never().unwrap();
        let verbs = std::mem::take(&mut *judged.verbs.lock().unwrap());
        let ends = std::mem::take(&mut *judged.ends.lock().unwrap());
        let problems = std::mem::take(&mut *judged.snapshot.lock().unwrap());
        assert!(problems.is_empty(), "{problems:#?}\nplan {:#?}", outcome.plan);
        let fault = state.lock().unwrap();
        let crashed = fault.crashed || fault.crash_after;
        seen.lost += u32::from(fault.fault == Some(Fault::Lost));
        seen.answers_lost += u32::from(fault.fault == Some(Fault::AnswerLost));
        seen.refused +=
            u32::from(outcome.results.iter().any(|d| matches!(d.error, Some(EngineError::Rejected { .. }))));
        drop(fault);
        self.leaving.extend(ends);
        self.follow_hooks(&verbs, seen);
        self.judge_what_is_gone_back_to(&verbs, &memory);
        self.judge_the_name(&outcome, seen);
        self.judge_pass(&memory, &verbs, (&serving_before, &known_before), &outcome, seen);
        self.applied += verbs.len() as u64;
        seen.calls += verbs.len() as u64;
        self.memory = memory;
        if crashed {
            return self.after_crash(true, seen);
        }
        self.persisted = self.memory.clone();
        // A status is shown after the memory is saved.
        if outcome.status.observed_generation > 0 {
            assert!(outcome.status.observed_generation >= self.max_generation, "S9: generation went back");
            self.max_generation = outcome.status.observed_generation;
        }
        if let Some(status) = &self.before
            && outcome.plan.settled()
            && *status == outcome.status
            && verbs.is_empty()
        {
            return Ended::LookAgain(outcome.plan.wake_at);
        }
        self.before = Some(outcome.status.clone());
        if !verbs.is_empty() || outcome.error().is_some() {
            let soon = now + Duration::from_millis(if outcome.error().is_some() { 500 } else { 10 });
            return Ended::LookAgain(Some(outcome.plan.wake_at.map_or(soon, |at| at.min(soon))));
        }
        if outcome.plan.actions.iter().any(|a| a.verb.is_record()) {
            return Ended::LookAgain(Some(now + Duration::from_millis(1)));
        }
        Ended::LookAgain(outcome.plan.wake_at)
    }

    fn after_crash(&mut self, crashed: bool, seen: &mut Seen) -> Ended {
        if !crashed {
            return Ended::LookAgain(Some(self.now() + Duration::from_secs(1)));
        }
        seen.crashes += 1;
        self.before = None;
        self.memory = if self.case.rng.u8(0..4) == 0 {
            // The state directory is gone as well.
            seen.memory_lost += 1;
            self.forget_hooks();
            self.given_up.clear();
            self.undone = false;
            self.max_generation = 0;
            ServiceRecord::default()
        } else {
            // Through the file, as after a real restart.
            serde_json::from_str(&serde_json::to_string(&self.persisted.persistent_part()).unwrap()).unwrap()
        };
        Ended::Crashed
    }
}
