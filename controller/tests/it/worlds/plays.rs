//! The worlds that are played.

use super::*;

/// What the campaign must have met at least once, or it proves nothing.
#[derive(Default, Debug)]
pub(super) struct Seen {
    pub(super) rollbacks: u32,
    pub(super) crashes: u32,
    pub(super) memory_lost: u32,
    pub(super) lost: u32,
    pub(super) answers_lost: u32,
    pub(super) refused: u32,
    pub(super) rollovers: u32,
    pub(super) retries: u32,
    pub(super) kills: u32,
    pub(super) paused: u32,
    pub(super) readmitted: u32,
    pub(super) jobs: u32,
    pub(super) undone: u32,
    pub(super) rolled_out: u32,
    pub(super) hooks_passed: u32,
    pub(super) hooks_failed: u32,
    pub(super) hooks_interrupted: u32,
    pub(super) hooks_rerun: u32,
    pub(super) names_moved: u32,
    pub(super) names_half_moved: u32,
    pub(super) calls: u64,
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
            seen.jobs,
            seen.undone,
            seen.rolled_out,
            seen.hooks_passed,
            seen.hooks_failed,
            seen.hooks_interrupted,
            seen.hooks_rerun,
            seen.names_moved,
            seen.names_half_moved,
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
        self.jobs += more.jobs;
        self.undone += more.undone;
        self.rolled_out += more.rolled_out;
        self.hooks_passed += more.hooks_passed;
        self.hooks_failed += more.hooks_failed;
        self.hooks_interrupted += more.hooks_interrupted;
        self.hooks_rerun += more.hooks_rerun;
        self.names_moved += more.names_moved;
        self.names_half_moved += more.names_half_moved;
        self.calls += more.calls;
    }
}
