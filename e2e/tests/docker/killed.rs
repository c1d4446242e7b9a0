//! The controller is killed at the moment at which a command is answered, a hundred times: what was answered is in force
//! afterwards, once.

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use e2e::between::Between;
use e2e::controller::{Controller, ask, brief, condition};
use e2e::document::Service;
use e2e::stage::{say, scenario_alone};
use e2e::world::World;
use e2e::{secs, that, within};
use fastrand::Rng;
use serde_json::Value;

/// So often it is killed.
const MOMENTS: usize = 100;
/// A controller takes the lock of a dead one over within a second, not sooner: some play side by side.
const TABLES: usize = 3;
/// And so long after an answer at most; half of the times at once.
const AFTER: Duration = Duration::from_millis(4);
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Of the service that is chosen: at rest, in the middle of what came before, with an engine that does not answer for it, or
/// with a document that was changed.
const STATES: [&str; 6] = ["idle", "going on", "going on", "slow", "slow", "changed"];

/// What is to be true of a service by what was answered.
#[derive(Clone, Debug, Default)]
struct Life {
    version: u32,
    /// As its document alone has it.
    revision: String,
    /// How often each was rolled out by hand.
    rollouts: BTreeMap<String, u32>,
    paused: bool,
    /// The revision that it goes back to, or the beginning of its name.
    undone: Option<String>,
}

impl Life {
    fn wanted(&self) -> String {
        let base = &self.revision;
        self.rollouts.get(base).map_or_else(|| base.clone(), |number| format!("{base}-{number}"))
    }

    /// `Ok` if a status says all of that.
    fn holds(&self, status: &Value) -> Result<(), String> {
        let paused = !condition(status, "Paused").is_null();
        let said = condition(status, "Progressing")["message"].as_str().unwrap_or_default().to_owned();
        let undone = match &self.undone {
            None => !said.contains("undone by hand"),
            Some(to) => status["currentRevision"].as_str().is_some_and(|current| current.starts_with(to)),
        };
        let holds = paused == self.paused && status["revision"] == self.wanted() && undone;
        that(holds, || format!("{self:?}, but {} {}", status["revision"], brief(status)))
    }
}

struct Game<'a> {
    world: &'a World,
    /// Where it answers; its log is beside that.
    socket: PathBuf,
    between: Between,
    controller: Option<Controller>,
    rng: Rng,
    lives: BTreeMap<&'static str, Life>,
    /// How often each command was answered, and in which state the world was.
    done: BTreeMap<String, u32>,
    /// How long it took after each kill until what was answered was in force.
    took: Vec<Duration>,
}

impl Game<'_> {
    fn controller(&self) -> &Controller {
        self.controller.as_ref().expect("it runs")
    }

    fn start(&mut self) {
        let options = ["--host".to_owned(), self.between.host()];
        self.controller = Some(Controller::start_at_with(self.world, &self.socket, &options));
    }

    /// Changes a document, so that there is something to go back from.
    fn change(&mut self, name: &'static str) {
        let version = self.lives[name].version + 1;
        let service = Service::new(name, 1).key("ports", "[]").key("drain_timeout", "0s").without("healthcheck");
        let before = self.lives[name].wanted();
        self.world.write(&service.rollout("min_ready", "0s").env("V", &version.to_string()));
        let revision = self.controller().converged(name, &before, secs(60));
        let life = self.lives.get_mut(name).expect("it is one of them");
        (life.version, life.revision, life.undone) = (version, revision, None);
    }

    /// Waits until nothing of a service is under way; one that is paused stays as it is.
    fn rest(&self, name: &str) {
        if self.lives[name].paused {
            return;
        }
        within(secs(60), &format!("{name} comes to rest"), || {
            let status = self.controller().status(name)?;
            let one = status["instances"].as_array().map(Vec::len).unwrap_or_default();
            let rests = status["waiting"].as_array().is_none_or(Vec::is_empty) && one > 0;
            that(rests && status["available"] == 1 && status["live"] == 1, || brief(&status))
        });
    }

    /// Makes the engine slow for a service in one way.
    fn slow(&mut self, name: &str) {
        let of = format!("{}-{name}-", self.world.project);
        let ways = [
            "GET /containers/json",
            "POST /containers/create",
            "POST /start",
            "GET /json",
            "POST /stop",
            "DELETE /containers/",
        ];
        let way = ways[self.rng.usize(..ways.len())];
        let words = if way.ends_with("s/json") { way.to_owned() } else { format!("{way} {of}") };
        self.between.hold(&words);
    }

    /// Sends a command that is taken, and kills the controller when the answer is there. Returns what was asked.
    fn command(&mut self, name: &'static str) -> String {
        let life = self.lives[name].clone();
        let mut words = if life.paused {
            vec!["resume", "resume", "undo"]
        } else {
            vec!["pause", "rollout", "rollout", "undo", "undo"]
        };
        self.rng.shuffle(&mut words);
        for word in words {
            let path = format!("/v1/services/{}/{name}/{word}", self.world.project);
            let (status, said) = ask(&self.controller().socket, "POST", &path).expect("an answer");
            match status {
                200 if said.contains("there is nothing to do") => continue,
                200 => {}
                409 => continue,
                _ => panic!("{word} {name}: {status} {said}"),
            }
            let after = AFTER.mul_f64((2.0 * self.rng.f64() - 1.0).max(0.0));
            std::thread::sleep(after); // It is killed at this moment, and nothing is waited for.
            self.controller.take().expect("it runs").kill();
            let life = self.lives.get_mut(name).expect("it is one of them");
            match word {
                "pause" => life.paused = true,
                "resume" => life.paused = false,
                // After an undo what runs is rolled out.
                "rollout" => match &mut life.undone {
                    Some(to) => *to = format!("{}-", to.trim_end_matches('-')),
                    None => *life.rollouts.entry(life.revision.clone()).or_default() += 1,
                },
                _ => {
                    let to = said.split_once(" to ").and_then(|(_, rest)| rest.split(' ').next());
                    life.undone = Some(to.unwrap_or_else(|| panic!("{said}")).to_owned());
                }
            }
            *self.done.entry(word.to_owned()).or_default() += 1;
            return format!("{word} {name}, killed {after:?} after `{said}`");
        }
        panic!("it can be paused or go on")
    }

    fn holds(&self, name: &str, what: &str) {
        within(secs(20), &format!("{name} after {what}"), || self.lives[name].holds(&self.controller().status(name)?));
    }

    /// Plays so many moments; `mine` is the seed of this table.
    fn play(&mut self, moments: usize, mine: u64) {
        self.start();
        for name in NAMES {
            self.change(name);
            self.change(name);
        }
        for moment in 1..=moments {
            let name = NAMES[self.rng.usize(..NAMES.len())];
            let state = STATES[self.rng.usize(..STATES.len())];
            match state {
                "idle" => self.rest(name),
                "slow" => self.slow(name),
                "changed" if !self.lives[name].paused => self.change(name),
                _ => {}
            }
            let what = self.command(name);
            self.between.free();
            *self.done.entry(state.to_owned()).or_default() += 1;
            let what = format!("moment {moment} ({state}, seed {mine}): {what}");
            let begin = Instant::now();
            self.start();
            self.holds(name, &what);
            self.took.push(begin.elapsed());
            for name in NAMES {
                self.holds(name, &what);
            }
        }
    }
}

/// `SEED=n` plays the same again, as far as the machine does.
#[test]
fn s76_what_was_answered_is_in_force_after_a_kill_at_any_moment() {
    scenario_alone("76 kill -9 after an answer", secs(400), |outer| {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
        say(&format!("  SEED={seed}"));
        let begin = Instant::now();
        let table = |number: usize| {
            let world = World::new();
            let mine = seed.wrapping_add(number as u64);
            let (between, rng) = (Between::start(&world.path("")), Rng::with_seed(mine));
            let lives = NAMES.map(|name| (name, Life::default())).into();
            let socket = outer.path(&format!("{number}.sock"));
            let (done, took) = (BTreeMap::new(), Vec::new());
            let mut game = Game { world: &world, socket, between, controller: None, rng, lives, done, took };
            game.play(MOMENTS.div_ceil(TABLES), mine);
            (game.done, game.took)
        };
        let (mut done, mut took) = (BTreeMap::<_, u32>::new(), Vec::new());
        std::thread::scope(|scope| {
            let tables: Vec<_> = (0..TABLES).map(|number| scope.spawn(move || table(number))).collect();
            for ended in tables {
                let (counts, times) = ended.join().unwrap_or_else(|panic| resume_unwind(panic));
                for (what, count) in counts {
                    *done.entry(what).or_default() += count;
                }
                took.extend(times);
            }
        });
        took.sort();
        let (kills, middle, last) = (took.len(), took[took.len() / 2], took[took.len() - 1]);
        let all = begin.elapsed();
        say(&format!("  {kills} kills in {all:.0?}: {done:?}; in force after {middle:.1?}, {last:.1?} at most"));
        assert!(kills >= MOMENTS);
    });
}
