//! Host ports that move between services, by chance: the real loop on the simulated engine, which refuses a start against a port
//! that another container has.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const POOL: [u16; 4] = [8001, 8002, 8003, 8004];

/// Which port each service has.
type Ports = BTreeMap<String, u16>;

/// Where each has one that it keeps beside it, two revisions never run side by side.
fn documents(ports: &Ports, keeps_one: bool) -> Vec<(String, String)> {
    let own = |name: &str| 9000 + name.bytes().fold(0_u32, |sum, byte| sum * 7 + u32::from(byte)) % 1000;
    let more = |name: &str| if keeps_one { format!(", \"{}:81\"", own(name)) } else { String::new() };
    ports.iter().map(|(name, port)| (name.clone(), format!("  ports: [\"{port}:80\"{}]\n", more(name)))).collect()
}

/// The ports of the containers of a service that run.
fn held(sim: &Sim, name: &str) -> Vec<u16> {
    sim.with(|world, _| {
        let live = world.containers.values().filter(|one| one.replica.state.is_live());
        let own = live.filter(|one| one.replica.service == ServiceName::new("shop", name));
        own.filter_map(|one| one.spec.ports.first()?.published).collect()
    })
}

/// How many circles of services there are of which each waits for the next one's port.
fn circles(before: &Ports, after: &Ports) -> usize {
    let holder = |port: u16| before.iter().find(|(_, held)| **held == port).map(|(name, _)| name);
    let waits_for = |name: &String| holder(after[name]).filter(|other| *other != name && after.contains_key(*other));
    let mut met = BTreeSet::new();
    let mut circles = 0;
    for first in after.keys().filter(|name| before.contains_key(*name)) {
        let mut way = vec![first];
        while let Some(next) = way.last().and_then(|name| waits_for(name)) {
            if next == first {
                circles += usize::from(way.iter().all(|name| !met.contains(*name)));
                met.extend(way.iter().copied());
                break;
            }
            if way.contains(&next) {
                break;
            }
            way.push(next);
        }
    }
    circles
}

/// What the next documents ask for: each service has any of the ports, and one may be called something else by now.
fn next(rng: &mut fastrand::Rng, before: &Ports, fresh: &mut u32) -> Ports {
    let mut pool = POOL;
    rng.shuffle(&mut pool);
    let mut names: Vec<String> = before.keys().cloned().collect();
    if rng.u8(0..3) == 0 {
        *fresh += 1;
        let at = rng.usize(0..names.len());
        names[at] = format!("n{fresh}");
    }
    names.into_iter().zip(pool).collect()
}

/// How many circles it met.
async fn play(seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default(), None, None);
    let mut ports: Ports = ["a", "b", "c"].map(str::to_owned).into_iter().zip(POOL).collect();
    let (mut fresh, mut from, mut met) = (0, 0, 0);
    for round in 0..6 {
        let before = if round == 0 { Ports::new() } else { ports.clone() };
        if round > 0 {
            ports = next(&mut rng, &before, &mut fresh);
        }
        let documents = documents(&ports, seed % 2 == 1);
        let services: Vec<_> = documents.iter().map(|(name, more)| (name.as_str(), "web", more.as_str())).collect();
        running.wants(&services).await;
        for (name, port) in &ports {
            let there = |status: &ServiceStatus| {
                convergence(status) == Convergence::Converged && status.live == 1 && held(&sim, name) == [*port]
            };
            running.until(name, there).await;
        }
        let log: Vec<String> = sim.with(|world, _| world.log[from..].to_vec());
        let place = |name: &String, verb: &str| {
            let own = |line: &&String| line.starts_with(&format!("{verb} shop-{name}-"));
            log.iter().position(|line| own(&line))
        };
        let holder = |port: u16| before.iter().find(|(_, held)| **held == port).map(|(name, _)| name);
        let waited =
            ports.iter().filter_map(|(name, port)| Some((name, holder(*port).filter(|other| *other != name)?)));
        let stays = waited.filter(|(name, _)| before.contains_key(*name));
        let yielded = stays.filter(|(name, other)| place(name, "stop") < place(other, "stop"));
        let yielded: Vec<_> = yielded.map(|(name, _)| name).collect();
        let expected = circles(&before, &ports);
        assert_eq!(yielded.len(), expected, "seed {seed}: {before:?} -> {ports:?}: {yielded:?} gave way\n{log:#?}");
        met += expected;
        from = so_far(&sim);
    }
    let events = running.statuses.events();
    assert!(events.iter().all(|event| !format!("{event:?}").contains("already allocated")), "seed {seed}: {events:#?}");
    running.end().await;
    met
}

/// A number of the environment, such as which seed is to be played alone.
pub(super) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Nobody is started against a port that another one has, and nobody stops before its own one is sure to come free: of each circle
/// one gives way. `SEEDS=n` plays more, `SEED=n` one.
#[tokio::test(start_paused = true)]
async fn ports_move_between_services() {
    let only = number("SEED");
    let mut met = 0;
    for seed in only.map_or(0..number("SEEDS").unwrap_or(40), |seed| seed..seed + 1) {
        met += play(seed).await;
    }
    assert!(only.is_some() || met > 20, "{met} circles");
}
