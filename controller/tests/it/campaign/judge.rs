//! The judge: reads the engine's own log, its containers and its proxy's rotation. What was promised it knows by the documents
//! that were given and the answers that were heard.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::EngineError;
use composed_core::model::{ServiceName, State};
use composed_core::plan::action::Verb;
use composed_simulator::{Container, Sim};
use crd_schema::ImageRef;
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::engine::{BYSTANDER, service_of};
use super::script::{LAST_ONE, SERVICES, Wish};

/// What one call may be repeated, whatever wakes its service: by the waits of 250 ms, 500 ms, 1 s and so on, after some that
/// were lost, and once more by each new process.
const REPEATS: (usize, Duration) = (14, Duration::from_secs(10));
/// What was under way when a pause was answered ends within this time.
const PAUSE_SETTLES: Duration = Duration::from_secs(90);
/// Who is not held up by others is there after so long.
const ALONE: Duration = Duration::from_secs(20);

/// What is to be true of a service.
#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) wish: Option<Wish>,
    /// It was undone to this image.
    pub(super) undone: Option<ImageRef>,
    pub(super) paused: Option<Instant>,
    /// Its containers were to be replaced by younger ones.
    pub(super) rolled_out: Option<Timestamp>,
    /// When its document, or something else about it, last changed.
    pub(super) changed: Option<Instant>,
    /// A command of it was answered that a crash may lose, or not.
    pub(super) vague: bool,
    /// Its last answer said that it cannot be written down.
    pub(super) unsaved: bool,
    /// At least so many are in rotation; 0 until they were.
    least: usize,
    /// At most so many are in traffic.
    most: VecDeque<(Instant, usize)>,
}

#[derive(Default)]
struct Log {
    met: BTreeMap<&'static str, u64>,
    broken: Vec<String>,
    calls: BTreeMap<String, VecDeque<Instant>>,
    /// Calls of which the controller does not know what they did.
    uncertain: Vec<String>,
    services: [Expected; SERVICES.len()],
    /// So long the whole engine did not answer, or no process was there.
    disturbed: Duration,
    /// Since when the bystander is to change, and how long it was disturbed before.
    bystander: Option<(Instant, Duration)>,
    tells: bool,
}

#[derive(Default)]
pub(super) struct Judge(Mutex<Log>);

pub(super) fn name(at: usize) -> ServiceName {
    ServiceName::new(SERVICES[at].0, SERVICES[at].1)
}

/// Who never served is not told that it does not any more: of a revision that is given up it may be on its way out.
fn in_traffic(one: &Container, newest: Option<&str>) -> bool {
    let newest = newest == Some(one.replica.revision.as_str());
    one.replica.state == State::Running && one.stops_at.is_none() && one.told.map_or(newest, |(serves, _)| serves)
}

fn serves(one: &Container, now: Timestamp) -> bool {
    one.in_rotation(now) && one.answers(now)
}

impl Judge {
    pub(super) fn new(tells: bool) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Log { tells, ..Log::default() })))
    }

    pub(super) fn met(&self, kind: &'static str) {
        self.tell(kind);
        *self.0.lock().met.entry(kind).or_default() += 1;
    }

    pub(super) fn tell(&self, what: &str) {
        if self.0.lock().tells {
            println!("{:?} {what}", Instant::now());
        }
    }

    pub(super) fn broken(&self, why: String) {
        self.tell(&why);
        let mut log = self.0.lock();
        if log.broken.len() < 3 {
            log.broken.push(why);
        }
    }

    pub(super) fn end(&self) -> (BTreeMap<&'static str, u64>, Vec<String>) {
        let log = self.0.lock();
        (log.met.clone(), log.broken.clone())
    }

    /// The whole engine, or the process, was away for so long.
    pub(super) fn disturbed(&self, time: Duration) {
        self.0.lock().disturbed += time;
    }

    pub(super) fn with<T>(&self, at: usize, change: impl FnOnce(&mut Expected) -> T) -> T {
        change(&mut self.0.lock().services[at])
    }

    /// Another document is given.
    pub(super) fn wants(&self, at: usize, wish: Option<&Wish>) {
        let mut log = self.0.lock();
        if at == LAST_ONE {
            log.bystander = Some((Instant::now(), log.disturbed));
        }
        let one = &mut log.services[at];
        let replicas = wish.map_or(0, |wish| wish.replicas as usize);
        one.least = one.least.min(replicas);
        one.most.push_back((Instant::now(), replicas + 1));
        one.changed = Some(Instant::now());
        (one.undone, one.rolled_out) = (None, None);
        one.wish = wish.cloned();
    }

    /// A container of it ended by itself: until as many serve again, nothing is promised.
    pub(super) fn excuse(&self, at: usize) {
        self.0.lock().services[at].least = 0;
    }

    /// What a process has done was not written down when it ended: who was on his way out is taken for one who serves.
    pub(super) fn forgotten(&self, at: usize) {
        self.excuse(at);
        let one = &mut self.0.lock().services[at];
        let most = one.most.iter().map(|(_, most)| *most).max().unwrap_or_default();
        one.most.push_back((Instant::now(), most * 2));
        one.vague |= one.unsaved;
    }

    /// A call is made.
    pub(super) fn called(&self, call: &str) {
        self.tell(call);
        let now = Instant::now();
        let mut log = self.0.lock();
        let (most, within) = REPEATS;
        let times = log.calls.entry(call.to_owned()).or_default();
        times.retain(|at| now < *at + within);
        times.push_back(now);
        let repeats = times.len();
        let at = (0..SERVICES.len()).find(|at| service_of(call) == Some(&name(*at).container(0).replace("-0", "-")));
        let paused = at.and_then(|at| log.services[at].paused);
        drop(log);
        if repeats > most {
            self.broken(format!("`{call}` is made {repeats} times in {within:?}"));
        }
        let begins = call.starts_with("create ") || call.starts_with("start ");
        if begins && paused.is_some_and(|since| now > since + PAUSE_SETTLES) {
            self.broken(format!("`{call}`, and it is paused"));
        }
    }

    /// A call is about to be done.
    pub(super) fn before(&self, verb: &Verb, sim: &Sim) {
        self.look(sim);
        let Verb::Stop { target, cut } = verb else { return };
        // The proxy is told when the controller looks again; when it cannot look for longer than `drain_timeout`, both is then.
        let out_of_time = *cut > 0;
        let sent = sim.with(|world, now| {
            let one = world.containers.get(&target.id).filter(|one| serves(one, now));
            one.is_some_and(|one| !out_of_time || one.told.is_none_or(|(serves, _)| serves))
        });
        if sent {
            self.broken(format!("`{verb}` while it is sent requests"));
        }
    }

    /// A call was done.
    pub(super) fn after(&self, call: &str, done: &Result<(), EngineError>, uncertain: bool) {
        let mut log = self.0.lock();
        if uncertain {
            log.uncertain.push(call.to_owned());
        }
        let known = log.uncertain.iter().any(|before| before == call);
        drop(log);
        if let Err(EngineError::Stale(why)) = done
            && call.starts_with("create ")
            && why.contains("already in use")
            && !known
        {
            self.broken(format!("`{call}`, and it is there: {why}"));
        }
    }

    /// Looks at who serves.
    pub(super) fn look(&self, sim: &Sim) {
        let seen = sim.with(|world, now| {
            std::array::from_fn::<_, { SERVICES.len() }, _>(|at| {
                let name = name(at);
                let of = || world.containers.of(&name).filter(|one| one.hook.is_none());
                let bad = of().any(|one| one.spec.image == "bad:1");
                let newest = of().max_by_key(|one| (one.replica.created_at, &one.replica.id)).filter(|_| !bad);
                let newest = newest.map(|one| one.replica.revision.as_str());
                let live = of().filter(|one| one.replica.state.is_live()).count();
                let serving = of().filter(|one| serves(one, now)).count();
                let first = of().next().map(|one| (&one.replica.revision, one.spec.image.clone()));
                let alike = of().all(|one| first.as_ref().is_some_and(|first| one.replica.revision == *first.0));
                let all_of = first.filter(|_| alike).map(|(_, image)| image);
                (serving, of().filter(|one| in_traffic(one, newest)).count(), live, all_of)
            })
        });
        let now = Instant::now();
        let mut broken = Vec::new();
        let mut log = self.0.lock();
        for (at, (serving, running, live, all_of)) in seen.into_iter().enumerate() {
            let one = &mut log.services[at];
            let wanted = one.wish.as_ref().map_or(0, |wish| wish.replicas as usize);
            if serving < one.least {
                broken.push(format!("{serving} of {} serve, of {}", one.least, name(at)));
            }
            // Once it is as it is wanted, no fewer serve: not sooner, since who is on his way out may still be sent requests.
            let image = one.undone.clone().or_else(|| one.wish.as_ref().map(Wish::image));
            if all_of == image && serving == wanted && live == wanted {
                one.least = wanted;
            }
            while one.most.len() > 1 && now > one.most[1].0 + Duration::from_mins(2) {
                one.most.pop_front();
            }
            let most = one.most.iter().map(|(_, most)| *most).max().unwrap_or_default();
            if running > most {
                broken.push(format!("{running} are in traffic, at most {most}, of {}", name(at)));
            }
        }
        if let Some((since, before)) = log.bystander {
            let late = now > since + ALONE + log.disturbed.saturating_sub(before);
            let there = log.services[LAST_ONE].wish.as_ref().is_some_and(|wish| is_there(sim, wish));
            if there || late {
                log.bystander = None;
            }
            if late && !there {
                broken.push(format!("{BYSTANDER} is not there after {:?}", now - since));
            }
        }
        drop(log);
        for why in broken {
            self.broken(why);
        }
    }

    /// What is not yet as it was asked for, when nothing fails any more.
    pub(super) fn missing(&self, sim: &Sim) -> Vec<String> {
        let log = self.0.lock();
        let missing = (0..SERVICES.len()).filter_map(|at| {
            let one = &log.services[at];
            // It waits for a change of the first one that has not come to its end.
            let first = &log.services[0];
            let open = first.paused.is_some() || first.undone.is_some() || first.vague;
            let open = open || first.wish.as_ref().is_some_and(|wish| wish.version == 0);
            if open && one.wish.as_ref().is_some_and(Wish::waits) {
                return None;
            }
            let why = lacks(one, at, sim)?;
            Some(format!("{}: {why}", name(at)))
        });
        let mut missing: Vec<String> = missing.collect();
        let foreign = |name: &str| sim.with(|world, _| world.containers.named(name).is_some_and(|one| !one.ours));
        missing.extend(["shop-other-1", "shop-a-9"].into_iter().filter(|name| !foreign(name)).map(str::to_owned));
        missing
    }
}

fn is_there(sim: &Sim, wish: &Wish) -> bool {
    let last = name(LAST_ONE);
    sim.with(|world, now| {
        let of = || world.containers.of(&last).filter(|one| one.replica.state.is_live());
        let new = |one: &&Container| one.spec.image == wish.image() && serves(one, now);
        of().filter(new).count() == wish.replicas as usize
    })
}

/// What a service lacks, in words.
fn lacks(one: &Expected, at: usize, sim: &Sim) -> Option<String> {
    if one.paused.is_some() {
        return None;
    }
    sim.with(|world, now| {
        let all: Vec<&Container> = world.containers.of(&name(at)).collect();
        let Some(wish) = &one.wish else {
            return (!all.is_empty()).then(|| format!("{} are left of it", all.len()));
        };
        let live: Vec<_> = all.into_iter().filter(|one| one.replica.state.is_live()).collect();
        let serving = live.iter().filter(|one| serves(one, now)).count();
        let bad = wish.version == 0 || one.vague;
        if live.len() != wish.replicas as usize || serving != live.len() {
            // Where nothing good came before, nothing can serve.
            return (!bad || serving < one.least)
                .then(|| format!("{serving} of {} serve, of {}", live.len(), wish.replicas));
        }
        let image = one.undone.clone().unwrap_or_else(|| wish.image());
        if !bad && live.iter().any(|one| one.spec.image != image) {
            return Some(format!("not all are of {image}"));
        }
        let old = one.rolled_out.is_some_and(|asked| live.iter().any(|one| one.replica.created_at < asked));
        (old && !bad).then(|| "not all were replaced".to_owned())
    })
}
