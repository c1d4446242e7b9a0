//! Where a scenario plays: a few side by side, bounded in time, with its story told when it fails.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::docker::Docker;
use crate::program::images;
use crate::world::World;

/// So many scenarios play at once: most of their time they wait.
const SEATS: usize = 3;

static HOUSE: House = House { seats: Mutex::new(Seats { next: 0, turn: 0, taken: 0 }), freed: Condvar::new() };

struct House {
    seats: Mutex<Seats>,
    freed: Condvar,
}

struct Seats {
    /// The number of the next who comes, and of the next who may sit down: in the order in which they came, so that who needs
    /// all seats is not waited past for ever.
    next: u64,
    turn: u64,
    taken: usize,
}

/// Some of the house's seats, free again when it is dropped.
struct Taken(usize);

impl Taken {
    fn take(wanted: usize) -> Self {
        let mut seats = HOUSE.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = seats.next;
        seats.next += 1;
        let waits = |seats: &mut Seats| seats.turn != mine || seats.taken + wanted > SEATS;
        let mut seats = HOUSE.freed.wait_while(seats, waits).unwrap_or_else(PoisonError::into_inner);
        seats.turn += 1;
        seats.taken += wanted;
        drop(seats);
        HOUSE.freed.notify_all();
        Self(wanted)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        HOUSE.seats.lock().unwrap_or_else(PoisonError::into_inner).taken -= self.0;
        HOUSE.freed.notify_all();
    }
}

/// A line for people, past the capture of the test harness.
pub fn say(text: &str) {
    // Nobody who listens is no reason to fail.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Plays a scenario in a world of its own on the default engine. Without an engine it is skipped in a line, or fails
/// if `COMPOSED_REQUIRE_DOCKER` is 1. One that takes longer than `limit` ends the whole test process; the janitor
/// cleans up.
pub fn scenario(name: &str, limit: Duration, play: impl FnOnce(&World)) {
    perform(name, limit, 1, play);
}

/// Plays a scenario while no other one plays: what it measures, or stops, is everybody's.
pub fn scenario_alone(name: &str, limit: Duration, play: impl FnOnce(&World)) {
    perform(name, limit, SEATS, play);
}

fn perform(name: &str, limit: Duration, seats: usize, play: impl FnOnce(&World)) {
    let _seats = Taken::take(seats);
    if let Some(why) = Docker::default().missing() {
        assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "no Docker Engine: {why}");
        say(&format!("SKIPPED {name}: no Docker Engine answers ({why})"));
        return;
    }
    images();
    let began = Instant::now();
    let world = World::new();
    let (end, ended) = channel::<()>();
    let logs = world.path("");
    let (title, watched) = (name.to_owned(), logs.clone());
    let bell = std::thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            say(&format!("FAILED {title}: it took longer than {limit:?}\n{}", story(&watched)));
            std::process::exit(101);
        }
    });
    let played = catch_unwind(AssertUnwindSafe(|| play(&world)));
    if let Err(panic) = played {
        let there = world.docker.output(&["ps", "-a", "--filter", &format!("name={}", world.project)]).stdout;
        let there = String::from_utf8_lossy(&there).into_owned();
        let why = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        let why = why.unwrap_or("it panicked");
        say(&format!("FAILED {name} after {:.1?}\n{}\n{there}\n{why}", began.elapsed(), story(&logs)));
        drop(end);
        resume_unwind(panic);
    }
    drop(world);
    drop(end);
    drop(bell.join());
    say(&format!("PASSED {name} in {:.1?}", began.elapsed()));
}

/// The last lines of every controller's log.
fn story(dir: &PathBuf) -> String {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    let each = logs.map(|log| {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(120)..].join("\n");
        format!("--- {}\n{last}", log.display())
    });
    each.collect::<Vec<_>>().join("\n")
}
