//! One play: the real controller, begun again after each crash with what was on the disk at that moment.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use composed::cli::session::simulated;
use composed::state::StateDir;
use composed_core::engine::Engine;
use composed_core::model::RolloutOptions;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Sim, World};
use composed_status::commands::{Pause, PendingCommand, RollOut, Undo};
use crd_schema::ImageRef;
use fastrand::Rng;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::engine::BadLine;
use super::judge::{Judge, name};
use super::script::{Event, SERVICES, Script, Wish, reading};
use crate::undo::Running;

/// When nothing fails any more, everything is as it was asked for within this time: the longest waits are a minute each.
const SETTLES: Duration = Duration::from_mins(8);
/// Who serves is looked at so often.
const LOOKS: Duration = Duration::from_millis(500);
/// A process has read what it needs within this time, even if some lists fail.
const READ: Duration = Duration::from_secs(12);
/// Nobody undoes what he has just changed: which of both counts depends on which is read first.
const RESTS: Duration = Duration::from_secs(15);

pub(super) struct Played {
    pub(super) met: BTreeMap<&'static str, u64>,
    pub(super) broken: Vec<String>,
}

pub(super) fn play(seed: u64, tells: bool) -> Played {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let judge = Judge::new(tells);
    runtime.block_on(async { Play::new(seed, &judge).run().await });
    let (met, broken) = judge.end();
    Played { met, broken }
}

struct Play {
    rng: Rng,
    sim: Arc<Sim>,
    clock: Clock,
    line: Arc<BadLine>,
    judge: Arc<Judge>,
    dir: TempDir,
    /// How many processes there were: each has a directory of its own, so that what one still writes after its end is lost.
    processes: u32,
    wishes: BTreeMap<usize, Wish>,
    full_until: Option<Instant>,
    /// When this one began.
    began: Instant,
    /// What happened since the disk was last full is not all on it.
    unsaved: bool,
}

fn world(rng: &mut Rng, clock: Clock) -> World {
    let good = |rng: &mut Rng| Behaviour {
        ready_after: Duration::from_millis(rng.u64(50..1000)),
        stop_takes: Duration::from_millis(rng.u64(..2000)),
        busy_for: Duration::from_millis(rng.u64(..1500)),
        lag: Some(Duration::from_millis(rng.u64(1..500))),
        ..Behaviour::default()
    };
    let mut world = World::default();
    world.images = (1..20).map(|version| (ImageRef::new(format!("app:{version}")), good(rng))).collect();
    let bad = Behaviour { exits_after: Some(Duration::from_millis(200)), ..good(rng) };
    world.images.insert(ImageRef::new("bad:1"), bad);
    world.add_foreign("shop-other-1", clock.now());
    world.add_foreign("shop-a-9", clock.now());
    world
}

impl Play {
    fn new(seed: u64, judge: &Arc<Judge>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let clock = Clock::system();
        let sim = simulated(world(&mut rng, clock), clock);
        let line = BadLine::new(&sim, seed, judge);
        // It is gone with the play, and to wait for a disk would be most of its time.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() };
        Self {
            rng,
            sim,
            clock,
            line,
            judge: Arc::clone(judge),
            dir: dir.unwrap(),
            processes: 0,
            wishes: BTreeMap::new(),
            full_until: None,
            began: Instant::now(),
            unsaved: false,
        }
    }

    async fn run(mut self) {
        let script = Script::new(&mut self.rng);
        for (at, wish) in script.wishes.iter().enumerate() {
            self.wants(at, Some(wish.clone()));
        }
        let looks = tokio::spawn(look_on(Arc::clone(&self.sim), Arc::clone(&self.judge)));
        let begin = Instant::now();
        let mut running = self.begin().await;
        for (at, event) in script.events {
            running = self.until(begin + at, running).await;
            self.judge.tell(&format!("{event:?}"));
            running = self.happens(event, running).await;
        }
        running = self.until(self.full_until.unwrap_or_else(Instant::now), running).await;
        self.line.end();
        running = self.settle(running).await;
        looks.abort();
        running.end().await;
    }

    /// Gives the documents as they are now to whoever reads them.
    fn wants(&mut self, at: usize, wish: Option<Wish>) {
        self.judge.wants(at, wish.as_ref());
        match wish {
            Some(wish) => drop(self.wishes.insert(at, wish)),
            None => drop(self.wishes.remove(&at)),
        }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join(format!("state-{}", self.processes))
    }

    async fn begin(&mut self) -> Running {
        self.began = Instant::now();
        let engine = Arc::clone(&self.line) as Arc<dyn Engine>;
        let running = Running::behind(engine, &self.sim, self.clock, StateDir::open(&self.root()).unwrap());
        running.readings.send(reading(&self.wishes)).await.unwrap();
        running
    }

    /// The process ends in the middle of what it does, and another one begins. What was on the disk then is all it has.
    async fn crash(&mut self, running: Running) -> Running {
        self.disk_is_free();
        let before = self.root();
        self.processes += 1;
        copy(&before, &self.root());
        running.crash().await;
        let away = Duration::from_millis(self.rng.u64(..5000));
        tokio::time::sleep(away).await; // It is away for so long; time stands still but for this.
        self.judge.disturbed(away + Duration::from_secs(5));
        if std::mem::take(&mut self.unsaved) {
            for at in 0..SERVICES.len() {
                self.judge.forgotten(at);
            }
        }
        self.begin().await
    }

    /// Lets time pass, with the crashes that calls bring.
    async fn until(&mut self, at: Instant, mut running: Running) -> Running {
        loop {
            let line = Arc::clone(&self.line);
            let full = self.full_until.unwrap_or(at).min(at);
            tokio::select! {
                biased;
                () = line.crash.notified() => running = self.crash(running).await,
                () = tokio::time::sleep_until(full) => {
                    if self.full_until.is_some_and(|until| until <= full) {
                        self.disk_is_free();
                    }
                    if Instant::now() >= at {
                        return running;
                    }
                }
            }
        }
    }

    /// As full as can be, whoever runs this: nothing can be written. Nor read, so it comes when everything was read.
    fn disk_is_full(&mut self, until: Instant) {
        if self.full_until.is_none() && Instant::now() > self.began + READ {
            self.judge.met("full disk");
            std::fs::rename(self.root(), self.dir.path().join("away")).unwrap();
            std::fs::write(self.root(), "").unwrap();
            (self.full_until, self.unsaved) = (Some(until), true);
        }
    }

    fn disk_is_free(&mut self) {
        if self.full_until.take().is_some() {
            std::fs::remove_file(self.root()).unwrap();
            std::fs::rename(self.dir.path().join("away"), self.root()).unwrap();
        }
    }

    async fn happens(&mut self, event: Event, running: Running) -> Running {
        match event {
            Event::Edit(at, wish) if self.wishes.contains_key(&at) => {
                self.judge.met(if wish.version == 0 { "bad image" } else { "edit" });
                self.wants(at, Some(wish));
                running.readings.send(reading(&self.wishes)).await.unwrap();
            }
            Event::Remove(at) if self.judge.with(at, |one| one.paused.is_none()) => {
                self.wants(at, None);
                running.readings.send(reading(&self.wishes)).await.unwrap();
            }
            Event::Kill(at) => {
                let killed = self.sim.with(|world, now| {
                    let live = world.containers.of(&name(at)).find(|one| one.replica.state.is_live());
                    let id = live.map(|one| one.replica.id.clone());
                    id.inspect(|id| world.kill(id, 137, now))
                });
                if killed.is_some() {
                    self.judge.met("killed");
                    self.judge.excuse(at);
                }
            }
            Event::Crash => {
                self.judge.met("crash");
                return self.crash(running).await;
            }
            Event::DiskIsFull(time) => self.disk_is_full(Instant::now() + time),
            Event::Pause(at) | Event::Resume(at) | Event::RollOut(at) | Event::Undo(at) => {
                return self.command(at, &event, running).await;
            }
            Event::Edit(..) | Event::Remove(_) => {}
        }
        running
    }

    /// Somebody asks for something; what he is told holds.
    async fn command(&mut self, at: usize, event: &Event, mut running: Running) -> Running {
        let (answer, mut answered) = oneshot::channel();
        let service = name(at);
        let rests = self.judge.with(at, |one| {
            let young = one.changed.is_some_and(|changed| Instant::now() < changed + RESTS);
            one.wish.is_none() || young || one.vague || one.wish.as_ref().is_some_and(|wish| wish.version == 0)
        });
        let order: PendingCommand = match event {
            Event::Pause(_) | Event::Resume(_) => {
                Pause { service, on: matches!(event, Event::Pause(_)), answer }.into()
            }
            _ if rests => return running,
            Event::Undo(_) => Undo { service, to: None, by: None, answer }.into(),
            _ => RollOut { service, options: RolloutOptions::default(), answer }.into(),
        };
        let asked = self.clock.now();
        running.statuses.commands.submit(order);
        let line = Arc::clone(&self.line);
        let said = tokio::select! {
            biased;
            said = tokio::time::timeout(Duration::from_secs(30), &mut answered) => said,
            () = line.crash.notified() => {
                self.judge.with(at, |one| one.vague = true);
                return self.crash(running).await;
            }
        };
        match said {
            Ok(Ok(Ok(said))) => {
                self.judge.met("command");
                self.judge.tell(&said);
                let lasts = !said.contains("only until a restart");
                self.judge.with(at, |one| {
                    one.unsaved |= !lasts;
                    match event {
                        Event::Pause(_) => one.paused = Some(Instant::now()),
                        Event::Resume(_) => one.paused = None,
                        Event::Undo(_) => (one.undone, one.rolled_out) = (image_in(&said), None),
                        // What the document says is rolled out, whatever was undone.
                        _ => (one.undone, one.rolled_out) = (None, Some(asked)),
                    }
                });
                if lasts && self.rng.u8(..3) == 0 {
                    self.judge.met("crash after an answer");
                    running = self.crash(running).await;
                }
            }
            // It is refused, with a reason.
            Ok(Ok(Err(why))) => self.judge.tell(&why),
            _ => self.judge.broken(format!("{event:?} is not answered")),
        }
        running
    }

    /// Waits until everything is as it was asked for.
    async fn settle(&mut self, mut running: Running) -> Running {
        let end = Instant::now() + SETTLES;
        loop {
            let missing = self.judge.missing(&self.sim);
            if missing.is_empty() {
                return running;
            }
            if Instant::now() >= end {
                for why in missing {
                    self.judge.broken(why);
                }
                return running;
            }
            running = self.until(Instant::now() + Duration::from_secs(1), running).await;
        }
    }
}

/// The image that an undo goes back to, of its answer: `... goes back from revision X to Y (IMAGE). ...`.
fn image_in(said: &str) -> Option<ImageRef> {
    let (_, rest) = said.split_once('(')?;
    rest.split([',', ')']).next().map(ImageRef::new)
}

async fn look_on(sim: Arc<Sim>, judge: Arc<Judge>) {
    loop {
        judge.look(&sim);
        tokio::time::sleep(LOOKS).await; // The pace of looking.
    }
}

/// What is on the disk now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        // One that is being written is gone by the time it is read.
        if path.is_dir() { copy(&path, &to) } else { drop(std::fs::copy(&path, &to)) }
    }
}
