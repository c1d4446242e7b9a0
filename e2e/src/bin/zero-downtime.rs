//! Counts the failed requests of rollouts behind the proxies that people have, side by side, in one run:
//!
//! ```sh
//! .ci/proxies && cargo run --release -p e2e --bin zero-downtime            # all of them, about 20 minutes
//! cargo run --release -p e2e --bin zero-downtime -- caddy nginx --rollouts 2 --requests 2000
//! ```
//!
//! It prints a table and writes the same as JSON, with a picture of who served over time, into
//! `target/zero-downtime/`. The application dies at once at SIGTERM and answers after 100 ms. The exit code is 1 if a
//! request failed that should not have.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::panic, reason = "a judge: its clock is its own")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::controller::Controller;
use e2e::docker::Docker;
use e2e::document::Service;
use e2e::hand::Hand;
use e2e::load::{Counts, Load};
use e2e::program::{image, images, target};
use e2e::proxy::{HOST, Proxy, WAYS, Way};
use e2e::report::{Line, json, picture, table};
use e2e::world::World;
use e2e::{let_load_go_on, secs, within};

const RATE: u32 = 500;

struct Wish {
    ways: Vec<Way>,
    rollouts: u32,
    requests: u64,
    replicas: Vec<u32>,
}

fn main() -> ExitCode {
    let wish = match wish(std::env::args().skip(1)) {
        Ok(wish) => wish,
        Err(why) => {
            let words: Vec<_> = WAYS.iter().map(|way| way.word()).collect();
            eprintln!(
                "error: {why}\nusage: zero-downtime [{}]... [--rollouts N] [--requests N] [--replicas N]",
                words.join("|")
            );
            return ExitCode::from(2);
        }
    };
    if let Some(why) = Docker::default().missing() {
        eprintln!("error: no Docker Engine answers: {why}");
        return ExitCode::from(3);
    }
    images();
    let mut lines = Vec::new();
    for replicas in &wish.replicas {
        let own = own_time(*replicas);
        println!("without a proxy a rollout of {replicas} takes {own:.1} s");
        // Those to compare with are shown once.
        let shown = |way: &&Way| way.is_promised() || wish.replicas.first() == Some(replicas);
        for way in wish.ways.iter().filter(shown) {
            match run(*way, *replicas, own, &wish) {
                Ok(line) => {
                    print!(
                        "{}",
                        table(std::slice::from_ref(&line)).lines().last().map(|l| format!("{l}\n")).unwrap_or_default()
                    );
                    for error in &line.counts.errors {
                        println!("    {error}");
                    }
                    lines.push(line);
                }
                Err(why) => println!("{} is left out: {why}", way.name()),
            }
        }
    }
    let dir = target().join("zero-downtime");
    std::fs::create_dir_all(&dir).expect("a directory for the report");
    std::fs::write(dir.join("report.json"), json(&lines).to_string()).expect("the report can be written");
    std::fs::write(dir.join("report.svg"), picture(&lines)).expect("the picture can be written");
    std::fs::write(dir.join("report.md"), table(&lines)).expect("the table can be written");
    println!("\n{}\nwritten to {}", table(&lines), dir.display());
    if lines.is_empty() {
        eprintln!("error: none of the ways could be shown");
        return ExitCode::from(3);
    }
    let promised: Vec<_> = WAYS.iter().filter(|way| way.is_promised()).map(|way| way.name()).collect();
    ExitCode::from(u8::from(lines.iter().any(|l| l.counts.failed > 0 && promised.contains(&l.way.as_str()))))
}

fn wish(mut words: impl Iterator<Item = String>) -> Result<Wish, String> {
    let mut wish = Wish { ways: Vec::new(), rollouts: 5, requests: 20_000, replicas: Vec::new() };
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u32>().map_err(|_| format!("{text} is not a number"))
        };
        match word.as_str() {
            "--rollouts" => wish.rollouts = number()?,
            "--requests" => wish.requests = number()?.into(),
            "--replicas" => wish.replicas.push(number()?),
            name => {
                let way = WAYS.into_iter().find(|way| way.word() == name);
                wish.ways.push(way.ok_or_else(|| format!("there is no way {name}"))?);
            }
        }
    }
    if wish.ways.is_empty() {
        wish.ways = WAYS.to_vec();
    }
    if wish.replicas.is_empty() {
        wish.replicas = vec![1, 3];
    }
    Ok(wish)
}

fn service(replicas: u32) -> Service {
    // Its own default: on a machine that is busy with other things a proxy may take seconds to let go.
    let web = Service::new("web", replicas).without("drain_timeout").key("ports", "[]").key("expose", r#"["8080"]"#);
    web.rollout("min_ready", "0s").env("ON_TERM", "die").env("LATENCY_MS", "100")
}

/// What a rollout takes where nobody has to be told: the application's own start and end.
fn own_time(replicas: u32) -> f64 {
    let world = World::new();
    let web = service(replicas);
    world.write(&web);
    let controller = Controller::start(&world);
    controller.converged("web", "", secs(60));
    // Nobody follows the status after a minute; three rollouts are asked for without looking at it.
    std::thread::sleep(secs(61));
    let mut all = Vec::new();
    for change in 2..=4 {
        let began = Instant::now();
        world.write(&web.clone().env("VERSION", &change.to_string()));
        let old = world.ids("web");
        within(secs(60), "a rollout without a proxy", || {
            let now = world.ids("web");
            e2e::that(now.len() == replicas as usize && now.is_disjoint(&old), || format!("{now:?}"))
        });
        all.push(began.elapsed().as_secs_f64());
        // The next change is one of its own.
        std::thread::sleep(secs(1));
    }
    all.sort_by(f64::total_cmp);
    all.get(1).copied().unwrap_or_default()
}

fn run(way: Way, replicas: u32, own: f64, wish: &Wish) -> Result<Line, String> {
    if way == Way::Published && replicas > 1 {
        return Err("a host port can be published by one container at a time".to_owned());
    }
    let world = World::new();
    let mut proxy = Proxy::new(way, &world)?;
    let (seconds, counts) = if way.is_by_hand() {
        let mut hand = Hand::new(&world, &image("1"));
        let drain = way == Way::DockerRollout;
        hand.rollout("1", replicas, drain);
        proxy.start();
        under_load(&proxy, wish, |version| hand.rollout(version, replicas, drain))
    } else {
        let web = proxy.labelled(service(replicas));
        world.write(&web);
        let _controller = Controller::start_with(&world, &proxy.options);
        // By Docker's word, here and below: asking the status would make this a follower of it, for whom a rollout waits.
        within(secs(60), "the first revision", || {
            let now = world.ids("web");
            e2e::that(now.len() == replicas as usize, || format!("{now:?}"))
        });
        proxy.start();
        under_load(&proxy, wish, |version| {
            let old = world.ids("web");
            world.write(&web.clone().env("VERSION", version));
            within(secs(180), "a rollout", || {
                let now = world.ids("web");
                e2e::that(now.len() == replicas as usize && now.is_disjoint(&old), || format!("{now:?}"))
            });
        })
    };
    let way = way.name().to_owned();
    Ok(Line { way, replicas, rollouts: wish.rollouts, seconds, own, counts })
}

/// Rollouts under steady requests: the seconds of each, and what came of the requests.
fn under_load(proxy: &Proxy, wish: &Wish, mut rollout: impl FnMut(&str)) -> (Vec<f64>, Counts) {
    within(secs(30), "an answer through the proxy", || {
        Load::try_once(proxy.address, HOST).map_err(|why| format!("{why}\n{}", proxy.said()))
    });
    // Proxies come to rest: what they do at their start is not measured.
    std::thread::sleep(secs(3));
    let load = Load::start(proxy.address, HOST, RATE, proxy.mix());
    let_load_go_on(secs(2));
    let mut seconds = Vec::new();
    for version in 2..wish.rollouts + 2 {
        let began = Instant::now();
        rollout(&version.to_string());
        seconds.push(began.elapsed().as_secs_f64());
        let_load_go_on(Duration::from_millis(1500));
    }
    while load.so_far().sent < wish.requests {
        let_load_go_on(secs(1));
    }
    (seconds, load.stop())
}
