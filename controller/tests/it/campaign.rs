//! The fault campaign: several services in two projects through the real loop, its scheduler and its state directory, on the
//! simulated engine, its time stopped. Documents change, people command, calls are slow, hang, fail, are lost or lose their
//! answer, succeed without effect, or come back with a container missing; events are lost; the disk is full; the process ends
//! in the middle of a call, or right after an answer. The judge reads the engine's log and who was sent requests when, and
//! nothing of what the controller says, but for its answers to commands.
//!
//! `SEEDS=n` plays so many, `SEED=n` one and tells it.
//!
//! Scheduler and store were broken by hand, and 120 seeds played with each:
//!
//! | broken | found by | seeds |
//! |---|---|---|
//! | a key whose pass has nothing more to do is not given back | late, too many in traffic | 0, 3 and most |
//! | what the loop wakes is dropped | the bystander is late | 0, 3, 6 and most |
//! | a command is answered and not written down | not all were replaced | 55 |
//! | memories are not saved when they have changed | not all were replaced | 23 |
//! | commands are taken out before the memory is saved | not all were replaced | 23 |
//! | a replica that cannot be inspected is absent | made though it is there | 9, 24, 42 and more |
//! | a list is kept for the next looks | made though it is there | 0, 3 and most |
//! | repeats do not back off | made 15 times in 10 s | 9, 15 and more |
//! | one slot for all | not found: who has it longer than a second gives it up, and that is soon enough here | - |
//! | a pass that failed is not tried again | not found: the next resync is within what a back-off may take | - |

mod engine;
mod judge;
mod play;
mod script;

use std::collections::BTreeMap;

use engine::KINDS;

/// So many in a run of CI.
const SEEDS: u64 = 500;
/// Side by side: each is one thread that waits for its disk now and then.
const THREADS: usize = 3;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_fails_the_promises_are_kept() {
    if let Some(seed) = number("SEED") {
        let played = play::play(seed, true);
        println!("{:#?}", played.met);
        assert!(played.broken.is_empty(), "seed {seed}: {:#?}", played.broken);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut broken = Vec::new();
    std::thread::scope(|scope| {
        let of = |first: usize| (0..seeds).skip(first).step_by(THREADS).map(|seed| (seed, play::play(seed, false)));
        let threads: Vec<_> = (0..THREADS).map(|first| scope.spawn(move || of(first).collect::<Vec<_>>())).collect();
        for (seed, played) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            for (kind, times) in played.met {
                *met.entry(kind).or_default() += times;
            }
            broken.extend(played.broken.into_iter().map(|why| format!("SEED={seed}: {why}")));
        }
    });
    println!("{met:?}");
    assert!(broken.is_empty(), "{} broken promises: {:#?}", broken.len(), &broken[..broken.len().min(20)]);
    for kind in KINDS {
        assert!(seeds < SEEDS || met.get(kind).is_some_and(|times| *times > 20), "too little of {kind}: {met:?}");
    }
}
