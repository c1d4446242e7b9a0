//! Where a scenario plays: one at a time, bounded in time, with its story told when it fails.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::docker::Docker;
use crate::program::images;
use crate::world::World;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A line for people, past the capture of the test harness.
pub fn say(text: &str) {
    // Nobody who listens is no reason to fail.
    drop(writeln!(std::io::stderr(), "{text}"));
}

/// Plays a scenario in a world of its own on the default engine. Without an engine it is skipped in a line, or fails
/// if `COMPOSED_REQUIRE_DOCKER` is 1. One that takes longer than `limit` ends the whole test process; the janitor
/// cleans up.
pub fn scenario(name: &str, limit: Duration, play: impl FnOnce(&World)) {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
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
