//! Many services on the simulated engine, with what users have besides: files in a directory that is watched, the state on
//! disk, an image that is pulled. What one service costs must not grow with the number of the others.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::clock::Clock;
use composed::controller::Controller;
use composed::engine::Engine;
use composed::engine::sim::{Behaviour, Sim, World, tick};
use composed::model::ServiceName;
use composed::source::watch::watch as watch_files;
use composed::state::StateDir;
use tokio::sync::{mpsc, watch};

use super::docker::cpu_ticks;

/// So many services in each project, as on a busy host.
const PER_PROJECT: usize = 20;
/// What is looked at once a minute is within it.
const IDLE: Duration = Duration::from_secs(61);

fn name(at: usize) -> ServiceName {
    ServiceName::new(format!("p{}", at / PER_PROJECT), format!("s{at}"))
}

fn write(dir: &Path, at: usize, version: usize) {
    let ServiceName { project, name } = name(at);
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {project}, name: {name}}}\nspec:\n  \
         image: app:1\n  replicas: 2\n  environment: {{V: '{version}'}}\n  rollout: {{min_ready: 0s}}\n"
    );
    let (file, new) = (dir.join(format!("{name}.yaml")), dir.join(format!(".{name}.new")));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn until(board: &Board, mut done: impl FnMut() -> bool) {
    let mut version = board.version();
    let deadline = Instant::now() + Duration::from_mins(10);
    while !done() {
        assert!(Instant::now() < deadline, "not converged");
        drop(tokio::time::timeout(Duration::from_millis(50), version.changed()).await);
    }
}

/// What so many services cost: wall clock and CPU, in seconds.
struct Cost {
    count: usize,
    first_start: f64,
    converge: f64,
    converge_cpu: f64,
    idle_cpu: f64,
    one: f64,
    one_cpu: f64,
}

fn cpu() -> f64 {
    cpu_ticks(std::process::id()) as f64 / 100.0
}

fn is_converged(board: &Board, at: usize) -> bool {
    board.status(&name(at)).is_some_and(|status| standing(&status) == Standing::Converged)
}

async fn measure(count: usize) -> Cost {
    let clock = Clock::system();
    let mut world = World::default();
    let quick = Behaviour {
        ready_after: Duration::ZERO,
        stop_takes: Duration::ZERO,
        busy_for: Duration::ZERO,
        ..Behaviour::default()
    };
    world.registry.insert("app:1".to_owned(), (Duration::from_secs(1), quick));
    let sim = Arc::new(Sim::new(world, Arc::new(move || clock.now()), "bench"));
    let passes = tokio::spawn(tick(Arc::clone(&sim)));
    // Beside the program: /tmp may be memory.
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let (files, state) = (tempfile::tempdir_in(&beside).unwrap(), tempfile::tempdir_in(&beside).unwrap());
    (0..count).for_each(|at| write(files.path(), at, 1));
    let board = Arc::new(Board::default());
    let (stop, stopped) = watch::channel(false);
    let (readings, received) = mpsc::channel(1);
    let controller = Controller {
        engine: Arc::clone(&sim) as Arc<dyn Engine>,
        senses: Arc::clone(&sim) as Arc<dyn composed::traffic::Senses>,
        clock,
        state: StateDir::open(state.path()).unwrap(),
        board: Arc::clone(&board),
        images: None,
        notifier: None,
        max_rollouts: None,
        confirm_deletion: false,
    };
    let (begun, spent) = (Instant::now(), cpu());
    let watched = tokio::spawn(watch_files(files.path().to_owned(), readings));
    let controller = tokio::spawn(controller.run(received, stopped));
    until(&board, || board.counts().contains_key(&("start", true))).await;
    let first_start = begun.elapsed().as_secs_f64();
    let mut rest = 0;
    until(&board, || {
        rest += (rest..count).take_while(|at| is_converged(&board, *at)).count();
        rest == count
    })
    .await;
    let (converge, converge_cpu) = (begun.elapsed().as_secs_f64(), cpu() - spent);
    // What was noticed late is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let spent = cpu();
    tokio::time::sleep(IDLE).await;
    let idle_cpu = cpu() - spent;
    let (mut ones, spent) = (Vec::new(), cpu());
    for round in 0..10 {
        let at = count / 2 + round;
        let before = board.status(&name(at)).unwrap().revision;
        let begun = Instant::now();
        write(files.path(), at, 2);
        until(&board, || {
            is_converged(&board, at) && board.status(&name(at)).is_some_and(|status| status.revision != before)
        })
        .await;
        ones.push(begun.elapsed().as_secs_f64());
    }
    let one_cpu = (cpu() - spent) / 10.0;
    stop.send_replace(true);
    controller.await.unwrap();
    watched.abort();
    passes.abort();
    ones.sort_by(f64::total_cmp);
    Cost { count, first_start, converge, converge_cpu, idle_cpu, one: ones[5], one_cpu }
}

pub(crate) async fn run() {
    println!("scale: simulated engine, 2 replicas a service, files and state on disk, an image pulled in 1 s");
    let most = if std::env::var_os("FULL").is_some() { 3 } else { 2 };
    let mut before: Option<Cost> = None;
    for count in [100, 1000, 10_000].into_iter().take(most) {
        let cost = measure(count).await;
        println!(
            "{count:6} services: first start {:.2} s, all after {:.2} s; CPU: converge {:.2} s, idle 61 s {:.2} s, one change \
             {:.3} s (after {:.2} s)",
            cost.first_start, cost.converge, cost.converge_cpu, cost.idle_cpu, cost.one_cpu, cost.one
        );
        if let Some(before) = &before {
            println!(
                "       {} over {}: converge {:.1} (at most 13), idle {:.1} (at most 13), one change {:.1} (at most 2)",
                cost.count,
                before.count,
                cost.converge_cpu / before.converge_cpu,
                cost.idle_cpu / before.idle_cpu,
                cost.one_cpu / before.one_cpu
            );
        }
        before = Some(cost);
    }
}
