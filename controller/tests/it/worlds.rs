//! Seeded worlds: the real reconcile pass on the simulated engine, with crashes of the controller, lost calls and
//! answers, lost and late events, killed replicas and broken images. The judge keeps its own ruler: it looks at the
//! world, never at the planner's phases.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

mod hooks;

use composed::engine::sim::{Behaviour, Fault, Load, Sim, World};
use composed::engine::{Asked, Context, Engine, EngineError, Scope, look};
use composed::model::{
    Desired, DesiredProject, DesiredService, InFlight, Key, Listing, Memory, Neighbours, Outcome, ServiceName,
    Snapshot, State,
};
use composed::plan::action::Verb;
use composed::reconcile::{Pass, Said};
use crd_schema::{Canary, ComposeDuration, FailureAction, Healthcheck, IntOrPercent, Order, Rollout, ServiceSpec};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

const MIN_READY: Duration = Duration::from_secs(2);
const DRAIN: Duration = Duration::from_secs(5);

/// What a world is made of: everything else follows from the seed.
#[derive(Clone, Debug)]
struct Wish {
    replicas: u32,
    image: String,
    gone: bool,
    held: bool,
}

#[expect(clippy::struct_excessive_bools, reason = "what is special about a world")]
struct Case {
    rng: fastrand::Rng,
    surge: u32,
    unavailable: u32,
    stop_first: bool,
    /// So many replicas that Docker Compose made run already, of this image.
    compose: Option<(u32, String)>,
    healthcheck: bool,
    restart: bool,
    hooks: Option<hooks::Rules>,
    action: FailureAction,
    canary: bool,
    images: BTreeMap<String, Behaviour>,
    script: Vec<(Duration, Event)>,
    fault_rate: f64,
    event_loss: f64,
    /// Instead of faults at random: this one, at this call.
    planned: Option<(u32, Blow)>,
}

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
}

/// What the campaign must have met at least once, or it proves nothing.
#[derive(Default, Debug)]
struct Seen {
    rollbacks: u32,
    crashes: u32,
    memory_lost: u32,
    lost: u32,
    answers_lost: u32,
    refused: u32,
    rollovers: u32,
    retries: u32,
    kills: u32,
    paused: u32,
    readmitted: u32,
    hooks_passed: u32,
    hooks_failed: u32,
    hooks_interrupted: u32,
    hooks_rerun: u32,
    calls: u64,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut images = BTreeMap::new();
        let lag = [None, Some(Duration::from_millis(rng.u64(1..3000)))][rng.usize(0..2)];
        // An honest proxy, one that lies, one that is dead when it is told.
        let says_left = match (lag, rng.usize(0..4)) {
            (Some(lag), 0) => Some(lag.mul_f64(rng.f64())),
            (Some(lag), 1) => Some(lag + Duration::from_millis(rng.u64(1000..20_000))),
            _ => None,
        };
        // What an early lie costs where nothing is in flight to tell, nobody can know.
        let honest = says_left.zip(lag).is_none_or(|(says, lag)| says >= lag);
        let load = if honest && rng.bool() { Load::Rare } else { Load::Steady };
        let good = |rng: &mut fastrand::Rng| Behaviour {
            lag,
            says_left,
            load,
            ready_after: Duration::from_millis(rng.u64(0..3000)),
            stop_takes: Duration::from_millis(rng.u64(0..15000)),
            busy_for: Duration::from_millis(rng.u64(0..8000)),
            ..Behaviour::default()
        };
        let healthcheck = rng.bool();
        images.insert("good:1".to_owned(), good(&mut rng));
        images.insert("good:2".to_owned(), good(&mut rng));
        images.insert("good:3".to_owned(), good(&mut rng));
        let mut bad = good(&mut rng);
        match rng.u8(0..if healthcheck { 4 } else { 2 }) {
            0 => bad.exits_after = Some(Duration::from_millis(rng.u64(1..1500))),
            1 => bad.unstartable = true,
            2 => bad.never_ready = true,
            _ => bad.sickens_after = Some(Duration::from_millis(rng.u64(1..1800))),
        }
        images.insert("bad:1".to_owned(), bad);
        let replicas = rng.u32(1..=4);
        let wish =
            |image: &str, replicas| Event::Wish(Wish { replicas, image: image.to_owned(), gone: false, held: false });
        let mut script = vec![(Duration::ZERO, wish("good:1", replicas))];
        let mut at = Duration::from_mins(1);
        for _ in 0..rng.usize(1..4) {
            let event = match rng.u8(0..12) {
                0..=3 => wish(["good:2", "good:3"][rng.usize(0..2)], replicas),
                4..=6 => wish("bad:1", replicas),
                7 => wish("good:1", rng.u32(0..=5)),
                8 => Event::Kill(rng.usize(0..4), [1, 137, 0][rng.usize(0..3)]),
                9 => Event::StopByHand(rng.usize(0..4)),
                10 => Event::RemoveByHand(rng.usize(0..4)),
                _ => Event::Pause(rng.usize(0..4)),
            };
            script.push((at, event));
            // Often in the middle of what goes on.
            at += Duration::from_millis(if rng.bool() { rng.u64(50..6000) } else { rng.u64(30_000..120_000) });
        }
        let compose = (rng.u8(0..4) == 0).then(|| {
            let image = ["good:1", "good:2"][rng.usize(0..2)];
            (rng.u32(1..=replicas), image.to_owned())
        });
        // Without its memory nobody knows that they are to go with their document.
        match rng.u8(u8::from(compose.is_some())..8) {
            0 => script.push((at, Event::Wish(Wish { replicas, image: "good:1".to_owned(), gone: true, held: false }))),
            1 => {
                let held = Wish { replicas, image: "good:2".to_owned(), gone: false, held: true };
                script.push((at, Event::Wish(held)));
                script.push((at + Duration::from_secs(30), wish("good:2", replicas)));
            }
            _ => {}
        }
        let stop_first = rng.u8(0..4) == 0;
        let mut hooked = None;
        let mut compose = compose;
        if seed % 3 == 1 {
            compose = None;
            hooked = Some(hooks::Rules::new(&mut rng, &mut images, &mut script));
        }
        Self {
            hooks: hooked,
            compose,
            surge: rng.u32(0..=2),
            unavailable: rng.u32(0..=1),
            stop_first,
            healthcheck,
            restart: rng.u8(0..3) == 0,
            action: if rng.u8(0..8) == 0 { FailureAction::Pause } else { FailureAction::Rollback },
            canary: rng.u8(0..5) == 0,
            images,
            script,
            fault_rate: [0.0, 0.05, 0.3][rng.usize(0..3)],
            event_loss: [0.0, 0.3, 1.0][rng.usize(0..3)],
            planned: None,
            rng,
        }
    }

    fn spec(&self, wish: &Wish) -> ServiceSpec {
        let healthcheck = self.healthcheck.then(|| Healthcheck {
            test: vec!["CMD".to_owned(), "/check".to_owned()],
            interval: Some(ComposeDuration::from_secs(1)),
            retries: Some(3),
            start_period: Some(ComposeDuration::from_secs(5)),
            ..Healthcheck::default()
        });
        ServiceSpec {
            image: wish.image.clone(),
            replicas: Some(wish.replicas),
            healthcheck,
            restart: self.restart.then_some(crd_schema::RestartPolicy::Always),
            drain_timeout: Some(ComposeDuration::from_secs(DRAIN.as_secs())),
            hooks: self.hooks.as_ref().map(hooks::Rules::hooks),
            rollout: Some(Rollout {
                order: Some(if self.stop_first { Order::StopFirst } else { Order::Auto }),
                max_surge: Some(IntOrPercent::Int(self.surge)),
                max_unavailable: Some(IntOrPercent::Int(self.unavailable)),
                min_ready: Some(ComposeDuration::from_secs(MIN_READY.as_secs())),
                progress_deadline: Some(ComposeDuration::from_secs(120)),
                failure_action: Some(self.action),
                canary: self.canary.then(|| Canary { weight: 10, hold: ComposeDuration::from_secs(10) }),
                ..Rollout::default()
            }),
            ..ServiceSpec::default()
        }
    }

    // The ruler's own arithmetic.
    fn most(&self, wish: &Wish) -> usize {
        wish.replicas as usize + if self.stop_first { 0 } else { self.surge as usize }
    }

    fn least(&self, wish: &Wish) -> usize {
        let surge = if self.stop_first { 0 } else { self.surge };
        let unavailable = if surge == 0 { self.unavailable.max(1) } else { self.unavailable };
        if wish.gone { 0 } else { wish.replicas.saturating_sub(unavailable) as usize }
    }
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
    memory: Memory,
    persisted: Memory,
    before: Option<crd_schema::status::ServiceStatus>,
    given_up: BTreeSet<String>,
    applied: u64,
    disturbances: u64,
    max_generation: u64,
    /// Whoever was asked to end, whether the answer came or not.
    leaving: BTreeSet<String>,
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
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let clock = Arc::new(Mutex::new(start));
        let now = Arc::clone(&clock);
        let mut world = World::default();
        world.networks.insert("shop_default".to_owned(), Some("shop".to_owned()));
        world.volumes.insert("shop_data".to_owned(), Some("shop".to_owned()));
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
            }
        }
        let sim = Arc::new(Sim::new(world, Arc::new(move || *now.lock().unwrap()), "me"));
        let wish = Wish { replicas: 0, image: "good:1".to_owned(), gone: false, held: true };
        Self {
            case,
            sim,
            clock,
            name,
            wish,
            desired: Desired::Held("not read yet".to_owned()),
            memory: Memory::default(),
            persisted: Memory::default(),
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
    fn serving(&self, slack: Duration) -> BTreeSet<String> {
        let now = self.now();
        let long_enough = |c: &composed::engine::sim::Container| {
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
            ours.map(|c| c.replica.id.clone()).filter(|id| !self.memory.withdrawn.contains_key(id)).collect()
        })
    }

    fn running(&self) -> BTreeSet<String> {
        self.sim.with(|world, _| {
            let replicas = world.containers.values().filter(|c| c.ours && c.hook.is_none());
            let ours = replicas.filter(|c| c.replica.state.is_live());
            ours.map(|c| c.replica.id.clone()).collect()
        })
    }

    fn revision(&self) -> &str {
        match &self.desired {
            Desired::Run(desired) => &desired.revision,
            Desired::Gone(_) | Desired::Held(_) => "",
        }
    }

    fn in_traffic(&self) -> usize {
        let running = self.running();
        running.iter().filter(|id| !self.memory.withdrawn.contains_key(*id)).count()
    }

    /// One pass.
    fn pass(&mut self, faults: bool, seen: &mut Seen) -> Ended {
        let now = self.now();
        let desired = self.desired();
        let images = ["good:1", "good:2", "good:3", "bad:1"].map(str::to_owned).into();
        let compose = Arc::new([self.name.clone()].into());
        let spec = match &desired {
            Desired::Run(desired) => Some(desired.spec.clone()),
            Desired::Gone(_) | Desired::Held(_) => None,
        };
        let asked = spec.map(|spec| (self.name.clone(), Asked { spec, ..Asked::default() })).into_iter().collect();
        let scope = Scope { services: Some([self.name.clone()].into()), images, compose, asked };
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
        let Ok(snapshot) = look(&*self.sim, &scope).now_or_never().unwrap() else {
            let crashed = state.lock().unwrap().crashed || state.lock().unwrap().crash_after;
            return self.after_crash(crashed, seen);
        };
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
            unmet: BTreeMap::new(),
            neighbours: Neighbours::default(),
            refused: None,
            turns: None,
            before: judged.run.before.as_ref(),
            registry: Said::default(),
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
        seen.refused += u32::from(outcome.deeds.iter().any(|d| matches!(d.error, Some(EngineError::Rejected { .. }))));
        drop(fault);
        self.leaving.extend(ends);
        self.follow_hooks(&verbs, seen);
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
            self.max_generation = 0;
            Memory::default()
        } else {
            // Through the file, as after a real restart.
            serde_json::from_str(&serde_json::to_string(&self.persisted.lasting()).unwrap()).unwrap()
        };
        Ended::Crashed
    }

    fn judge_pass(
        &mut self,
        after: &Memory,
        verbs: &[Verb],
        (serving, known): (&BTreeSet<String>, &BTreeSet<String>),
        outcome: &composed::reconcile::Outcome,
        seen: &mut Seen,
    ) {
        // S1: who leaves traffic leaves enough behind.
        let withdrawn: BTreeSet<_> =
            after.withdrawn.keys().filter(|id| !self.memory.withdrawn.contains_key(*id)).cloned().collect();
        let left = serving.difference(&withdrawn).count();
        let least = self.case.least(&self.wish);
        let costs = known.intersection(&withdrawn).count();
        assert!(
            costs == 0 || left >= least,
            "S1: {costs} withdrawn, {left} serving, at least {least} wanted\n{:#?}",
            outcome.plan
        );
        // S2: nor does who comes back make too many.
        let back = self.memory.withdrawn.keys().filter(|id| !after.withdrawn.contains_key(*id));
        let back: BTreeSet<_> = self.running().intersection(&back.cloned().collect()).cloned().collect();
        for id in &back {
            assert!(!self.leaving.contains(id), "S5: {id} comes back after its end was begun");
        }
        let in_traffic = self.running().iter().filter(|id| !after.withdrawn.contains_key(*id)).count();
        assert!(back.is_empty() || in_traffic <= self.case.most(&self.wish), "S2: {back:?} make {in_traffic}");
        seen.readmitted += u32::try_from(back.len()).unwrap();
        // S12: nothing is touched while nothing credible is wanted.
        assert!(!self.wish.held || verbs.is_empty(), "S12: {verbs:?}");
        if std::env::var_os("SEED").is_some() {
            let deeds: Vec<_> =
                outcome.deeds.iter().map(|d| format!("{} [{}] {:?}", d.action.verb, d.action.cause, d.error)).collect();
            let waits: Vec<_> = outcome.plan.waiting.iter().map(|w| w.on.as_str()).collect();
            println!("{} {deeds:#?} {waits:?}", self.now());
        }
        for deed in &outcome.deeds {
            if let Verb::Conclude { outcome: Outcome::Failed, .. } = &deed.action.verb {
                seen.rollbacks += 1;
                let alternative = after.last_available(&self.wish.image).is_some();
                if alternative {
                    self.given_up.insert(self.revision().to_owned());
                }
                let disturbed = self.disturbances > 0 || self.case.fault_rate > 0.0 || self.case.planned.is_some();
                assert!(self.wish.image.starts_with("bad") || disturbed);
            }
        }
        // S6: what was given up is not made again.
        for verb in verbs {
            if let Verb::Create(blueprint) = verb
                && blueprint.hook.is_none()
            {
                let same = self.revision() == blueprint.revision;
                let again = same && self.given_up.contains(&blueprint.revision);
                assert!(
                    !(again && after.last_available(&blueprint.revision).is_some()),
                    "S6: {} is made again after it was given up",
                    blueprint.revision
                );
                seen.retries += u32::from(again);
            }
        }
    }

    /// Plays the script, then lets everything come to rest; judges the end.
    fn play(&mut self, seen: &mut Seen) {
        let start = self.now();
        let script = self.case.script.clone();
        let last = script.last().map_or(Duration::ZERO, |(at, _)| *at);
        let calm = start + last + Duration::from_secs(200);
        let mut script = script.into_iter().peekable();
        let mut wake = Some(start);
        let mut resync = start;
        let mut steps = 0_u32;
        let mut quiet_since = None;
        loop {
            steps += 1;
            assert!(steps < 60_000, "no end: {:#?}", self.before);
            let now = self.now();
            while let Some((_, event)) = script.next_if(|(at, _)| start + *at <= now) {
                self.happen(&event, seen);
                wake = Some(now);
            }
            let keys = self.sim.with(World::advance);
            self.follow_hooks(&[], seen);
            let heard = keys.contains(&Key::Service(self.name.clone())) && self.case.rng.f64() >= self.case.event_loss;
            // An event that comes twice, or late, or out of order, is one more look.
            let again = self.case.event_loss > 0.0 && now < calm && self.case.rng.u8(0..4) == 0;
            let due = heard || again || wake.is_some_and(|at| at <= now) || resync <= now;
            if due {
                if resync <= now {
                    resync = now + Duration::from_secs(30);
                }
                let calls = self.applied;
                match self.pass(now < calm, seen) {
                    Ended::LookAgain(at) => wake = at.map(|at| at.max(now + Duration::from_millis(1))),
                    Ended::Crashed => wake = Some(now + Duration::from_millis(self.case.rng.u64(1..20_000))),
                }
                if self.applied != calls {
                    quiet_since = None;
                }
            }
            let quiet = now >= calm && script.peek().is_none() && wake.is_none();
            let since = *quiet_since.get_or_insert(now);
            if quiet && now.duration_since(since) > jiff::SignedDuration::from_mins(10) {
                break;
            }
            if now >= calm && now.duration_since(calm) > jiff::SignedDuration::from_hours(1) {
                // A service with nothing to go back to is tried again for ever: that is no unrest.
                assert!(self.before.as_ref().is_some_and(|s| s.conditions.iter().any(|c| !c.status)));
                break;
            }
            let change = self.sim.with(|world, now| world.next_change(now));
            let next_script = script.peek().map(|(at, _)| start + *at);
            let next = [change, wake, Some(resync), next_script].into_iter().flatten().filter(|at| *at > now).min();
            *self.clock.lock().unwrap() = next.unwrap_or(now + Duration::from_secs(1));
        }
        self.judge_end();
    }

    fn happen(&mut self, event: &Event, seen: &mut Seen) {
        let nth = |n: usize| {
            let running: Vec<_> = self.running().into_iter().collect();
            running.get(n % running.len().max(1)).cloned()
        };
        match event {
            Event::Wish(wish) => {
                let moving = self.before.as_ref().is_some_and(|s| s.updated < s.replicas);
                seen.rollovers += u32::from(moving);
                if self.case.spec(&self.wish).digest() != self.case.spec(wish).digest() {
                    self.given_up.clear();
                }
                self.wish = wish.clone();
                self.desired = self.resolve();
                self.ledger.epoch += 1;
            }
            Event::KillHook => {
                let killed = self.kill_hook();
                self.disturbances += u64::from(killed);
                seen.hooks_interrupted += u32::from(killed);
            }
            Event::Kill(n, code) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, now| world.kill(&id, *code, now));
                    self.disturbances += 1;
                    seen.kills += 1;
                }
            }
            Event::StopByHand(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, now| {
                        if let Some(c) = world.containers.get_mut(&id) {
                            c.replica.restarts = false;
                        }
                        world.kill(&id, 0, now);
                    });
                    self.disturbances += 1;
                }
            }
            Event::RemoveByHand(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, _| world.containers.remove(&id));
                    self.disturbances += 1;
                }
            }
            Event::Pause(n) => {
                if let Some(id) = nth(*n) {
                    self.sim.with(|world, _| {
                        if let Some(c) = world.containers.get_mut(&id) {
                            c.replica.state = State::Paused;
                        }
                    });
                    self.disturbances += 1;
                    seen.paused += 1;
                }
            }
        }
    }

    fn judge_end(&self) {
        let states: Vec<_> = self.sim.with(|world, _| {
            let ours = world.containers.values().filter(|c| c.ours && c.hook.is_none());
            ours.map(|c| (c.replica.name.clone(), c.replica.state, c.spec.image.clone())).collect()
        });
        self.judge_hooks_at_the_end();
        let live: Vec<_> = states.iter().filter(|(_, state, _)| state.is_live()).collect();
        // S3 and S4: what is not ours, and what is data, is as it was.
        self.sim.with(|world, _| {
            let foreign = world.containers.values().filter(|c| !c.ours);
            assert_eq!(foreign.filter(|c| c.replica.state == State::Created).count(), 2, "S3");
            assert!(world.volumes.contains_key("shop_data"), "S4");
        });
        if self.wish.gone {
            assert!(states.is_empty(), "L1: it is gone, but there is {states:?}");
            return;
        }
        let leftovers = states.len() - live.len();
        let bad = self.wish.image.starts_with("bad");
        let failed = self.memory.failure.is_some();
        // Paused means left as it is, for a person.
        if self.case.action == FailureAction::Pause && failed {
            return;
        }
        // With nothing to go back to it is tried again for ever: the end is a moment in the middle of that.
        let retries =
            bad && failed && self.memory.last_available(&self.memory.failure.as_ref().unwrap().revision).is_none();
        assert!(leftovers <= 1 || retries, "L1: leftovers {states:?} {:#?} {:#?}", self.before, self.memory);
        if !bad && !failed {
            assert_eq!(live.len(), self.wish.replicas as usize, "L1: {states:?}\n{:#?}", self.before);
            assert!(live.iter().all(|(_, _, image)| *image == self.wish.image), "L1: {states:?}");
            assert_eq!(leftovers, 0, "L1: leftovers {states:?} {:#?}", self.memory);
        }
        if bad && self.wish.replicas > 0 && self.case.action == FailureAction::Rollback {
            let shown = self.before.as_ref().unwrap();
            assert!(shown.conditions.iter().any(|c| !c.status), "a broken revision must not look well: {shown:#?}");
            if self.memory.last_available("").is_some() {
                assert!(live.iter().all(|(_, _, image)| !image.starts_with("bad")), "L1: {states:?}");
                assert_eq!(live.len(), self.wish.replicas as usize, "L1: {states:?}");
            }
        }
        // S13: the work is bounded by what happened.
        let changes = self.case.script.len() as u64 + self.disturbances;
        let faults = if self.case.fault_rate > 0.0 || self.case.planned.is_some() { 10 } else { 1 };
        assert!(
            self.applied <= 60 * changes * faults,
            "S13: {} calls for {changes} changes {:#?} {:?}",
            self.applied,
            self.before,
            self.sim.with(|w, _| w.log[w.log.len() - 60..].to_vec())
        );
    }
}

/// The engine, with the judge looking over its shoulder at every call.
struct Judged<'a> {
    run: &'a Run,
    verbs: Mutex<Vec<Verb>>,
    ends: Mutex<Vec<String>>,
    snapshot: Mutex<Vec<String>>,
}

impl Engine for Judged<'_> {
    fn describe(&self) -> String {
        self.run.sim.describe()
    }
    fn watch(&self) -> futures_util::stream::BoxStream<'static, Option<Key>> {
        self.run.sim.watch()
    }
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.run.sim.list(compose)
    }
    fn observe<'a>(
        &'a self,
        scope: &'a Scope,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        self.run.sim.observe(scope, listing)
    }
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a Context) -> BoxFuture<'a, Result<(), EngineError>> {
        let run = self.run;
        let now = run.now();
        if let Verb::Stop { target, .. } | Verb::DisableRestart(target) = verb {
            self.ends.lock().unwrap().push(target.id.clone());
        }
        if let Verb::Stop { target, .. } = verb {
            let since = run.memory.withdrawn.get(&target.id);
            let idle = since.is_some_and(|since| {
                run.sim.in_flight(&target.id, *since) == InFlight::Count(0) || now >= *since + DRAIN
            });
            let (running, asked) = run.sim.with(|w, now| {
                let container = w.containers.get(&target.id);
                let asked = container.is_some_and(|c| c.behaviour.lag.is_some() && c.in_rotation(now));
                (container.map(|c| c.replica.state), asked)
            });
            let patient = since.is_some_and(|since| now >= *since + DRAIN);
            if run.is_of_hook(&target.id) {
                self.snapshot.lock().unwrap().extend(run.stops_a_hook_early(&target.id));
            } else if running == Some(State::Running) && (!idle || (asked && !patient)) {
                self.problem(format!("S5: {} is stopped while in traffic or busy", target.name));
            }
        }
        let done = run.sim.apply(verb, context).now_or_never().unwrap();
        if done.is_ok() {
            self.verbs.lock().unwrap().push(verb.clone());
        }
        if let Verb::Start(_) = verb {
            let most = run.case.most(&run.wish);
            let count = if run.case.stop_first { run.running().len() } else { run.in_traffic() };
            let of_hook = matches!(verb, Verb::Start(target) if target.name.ends_with("-deploy"));
            if done.is_ok() && count > most && !of_hook {
                self.problem(format!("S2: {count} run, at most {most} may"));
            }
        }
        std::future::ready(done).boxed()
    }
    fn claim(&self) -> BoxFuture<'_, Result<composed::engine::Claim, EngineError>> {
        self.run.sim.claim()
    }
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.run.sim.release()
    }
}

impl Judged<'_> {
    fn problem(&self, text: String) {
        self.snapshot.lock().unwrap().push(text);
    }
}

/// `WORLDS=n` plays more, `SEED=n` plays one.
#[test]
fn seeded_worlds_keep_the_promises() {
    let only: Option<u64> = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let count: u64 = std::env::var("WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    let seeds: Vec<u64> = only.map_or_else(|| (0..count).collect(), |seed| vec![seed]);
    let (even, odd): (Vec<u64>, Vec<u64>) = seeds.into_iter().partition(|seed| seed % 2 == 0);
    let seen = std::thread::scope(|scope| {
        let other = scope.spawn(|| play_all(&odd));
        let mut seen = play_all(&even);
        match other.join() {
            Ok(more) => seen.add(&more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        seen
    });
    println!("{seen:?}");
    if only.is_none() {
        let met = [
            seen.rollbacks,
            seen.crashes,
            seen.memory_lost,
            seen.lost,
            seen.answers_lost,
            seen.refused,
            seen.rollovers,
            seen.kills,
            seen.paused,
            seen.readmitted,
            seen.hooks_passed,
            seen.hooks_failed,
            seen.hooks_interrupted,
            seen.hooks_rerun,
        ];
        assert!(met.iter().all(|n| *n > 0), "the campaign met too little: {seen:?}");
    }
}

fn play_all(seeds: &[u64]) -> Seen {
    let mut seen = Seen::default();
    for seed in seeds {
        play_one(*seed, None, &mut seen);
    }
    seen
}

/// Plays one world; returns how many calls it made.
fn play_one(number: u64, planned: Option<(u32, Blow)>, seen: &mut Seen) -> u32 {
    let mut run = Run::new(number);
    if planned.is_some() {
        run.case.planned = planned;
        run.case.fault_rate = 0.0;
    }
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.play(seen)));
    if let Err(panic) = played {
        let Case { script, images, .. } = &run.case;
        eprintln!("world {number} broke a promise; alone: SEED={number} cargo test -p composed worlds");
        eprintln!("{planned:?}\nscript {script:#?}\nthe broken image {:#?}", images.get("bad:1"));
        std::panic::resume_unwind(panic);
    }
    run.attempts.lock().map(|attempts| *attempts).unwrap()
}

/// Not at random but one after the other: every call of a few worlds, in every way. `SEED=n AT=n` plays one call alone.
#[test]
fn every_call_may_be_the_last() {
    let only: Option<u32> = std::env::var("AT").ok().and_then(|text| text.parse().ok());
    let seed_only: Option<u64> = std::env::var("SEED").ok().and_then(|text| text.parse().ok());
    let mut seen = Seen::default();
    let mut played = 0;
    let few = std::env::var("WORLDS").ok().and_then(|text| text.parse().ok()).is_some_and(|count: u64| count < 2000);
    let seeds = if few { 1 } else { 4 };
    for seed in seed_only.map_or_else(|| (0..seeds).collect(), |seed| vec![seed]) {
        let calls = play_one(seed, Some((u32::MAX, Blow::Refused)), &mut seen);
        assert!(calls > 10, "world {seed} makes {calls} calls");
        for at in only.map_or(1..calls.min(80), |at| at..at + 1) {
            for blow in BLOWS {
                play_one(seed, Some((at, blow)), &mut seen);
                played += 1;
            }
        }
    }
    println!("{played} worlds {seen:?}");
    assert!(only.is_some() || few || played > 500, "{played} worlds");
}

impl Seen {
    fn add(&mut self, more: &Self) {
        self.rollbacks += more.rollbacks;
        self.crashes += more.crashes;
        self.memory_lost += more.memory_lost;
        self.lost += more.lost;
        self.answers_lost += more.answers_lost;
        self.refused += more.refused;
        self.rollovers += more.rollovers;
        self.retries += more.retries;
        self.kills += more.kills;
        self.paused += more.paused;
        self.readmitted += more.readmitted;
        self.hooks_passed += more.hooks_passed;
        self.hooks_failed += more.hooks_failed;
        self.hooks_interrupted += more.hooks_interrupted;
        self.hooks_rerun += more.hooks_rerun;
        self.calls += more.calls;
    }
}
