//! THE REAL ENGINE. What the scenarios in `tests/docker.rs` are made of: a world of their own on a Docker engine, the
//! real program as a child process, steady requests of which every failed one is counted, and what Docker itself says
//! about who runs. Shares no code with composed: the judge keeps its own ruler.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    reason = "a judge: what it cannot find out fails the test, and its clock is its own"
)]

pub mod between;
pub mod by_name;
pub mod check;
pub mod clients;
pub mod controller;
pub mod disk;
pub mod docker;
pub mod document;
pub mod git;
pub mod hand;
pub mod haproxy;
pub mod load;
pub mod long;
mod open_loop;
pub mod program;
pub mod proxy;
pub mod report;
pub mod silence;
pub mod slow_file;
pub mod stage;
pub mod traefik;
pub mod traffic;
pub mod world;

use std::time::{Duration, Instant};

/// Looks every 100 ms until `look` gives something, for at most `limit`; then fails with `what` and its last words.
pub fn within<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) => assert!(began.elapsed() < limit, "not within {limit:?}: {what}; last: {last}"),
        }
        std::thread::sleep(millis(100)); // The pace of looking.
    }
}

/// Looks for all of `time` whether something still is so; fails with `what` and its last words when it is not.
pub fn stays(time: Duration, what: &str, mut look: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    loop {
        let is_last = began.elapsed() >= time;
        if let Err(last) = look() {
            panic!("not for {time:?}: {what}; after {:.1?}: {last}", began.elapsed());
        }
        if is_last {
            return;
        }
        // Seldom: to look costs the engine something.
        std::thread::sleep(millis(500));
    }
}

/// Lets load, or a client, go on for so long: the length of it is the point, and there is nothing else to wait for.
pub fn let_load_go_on(time: Duration) {
    std::thread::sleep(time);
}

/// `Ok` if `holds`, else `Err` with the words: for [`within`].
pub fn that(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// So many seconds.
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// So many milliseconds.
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
