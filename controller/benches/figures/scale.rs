//! Many services on the simulated engine: what one service costs must not grow with the number of the others.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::clock::Clock;
use composed::controller::Controller;
use composed::engine::Engine;
use composed::engine::sim::{Behaviour, Sim, World, tick};
use composed::model::ServiceName;
use composed::source::files::Reading;
use composed::state::StateDir;
use tokio::sync::{mpsc, watch};

/// So many services in each project, as on a busy host.
const PER_PROJECT: usize = 20;

fn reading(count: usize, changed: Option<usize>) -> Reading {
    let mut reading = Reading::default();
    for at in 0..count {
        let image = if changed == Some(at) { "app:2" } else { "app:1" };
        let mut text = String::new();
        write!(
            text,
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: p{}, name: s{at}}}\nspec:\n  image: {image}\n  \
             replicas: 3\n  rollout: {{min_ready: 0s}}\n",
            at / PER_PROJECT
        )
        .unwrap();
        reading.files.push((format!("s{at:05}.yaml"), Ok(text.into_bytes())));
    }
    reading
}

async fn until(board: &Board, mut done: impl FnMut() -> bool) {
    let mut version = board.version();
    let deadline = Instant::now() + Duration::from_mins(5);
    while !done() {
        assert!(Instant::now() < deadline, "not converged");
        drop(tokio::time::timeout(Duration::from_millis(50), version.changed()).await);
    }
}

/// Seconds for all services to converge, and for one changed service then, the median of five.
async fn measure(count: usize) -> (f64, f64) {
    let clock = Clock::system();
    let mut world = World::default();
    let quick = Behaviour {
        ready_after: Duration::ZERO,
        stop_takes: Duration::ZERO,
        busy_for: Duration::ZERO,
        ..Behaviour::default()
    };
    world.images.insert("app:1".to_owned(), quick.clone());
    world.images.insert("app:2".to_owned(), quick);
    let sim = Arc::new(Sim::new(world, Arc::new(move || clock.now()), "bench"));
    tokio::spawn(tick(Arc::clone(&sim)));
    let board = Arc::new(Board::default());
    let (stop, stopped) = watch::channel(false);
    let (readings, received) = mpsc::channel(1);
    let controller = Controller {
        engine: Arc::clone(&sim) as Arc<dyn Engine>,
        senses: sim,
        clock,
        state: StateDir::default(),
        board: Arc::clone(&board),
        images: None,
        notifier: None,
        max_rollouts: None,
        confirm_deletion: false,
    };
    let controller = tokio::spawn(controller.run(received, stopped));
    let begun = Instant::now();
    readings.send(reading(count, None)).await.unwrap();
    let mut rest = 0;
    until(&board, || {
        let names = (rest..count).take_while(|at| {
            let name = ServiceName::new(format!("p{}", at / PER_PROJECT), format!("s{at}"));
            board.status(&name).is_some_and(|status| standing(&status) == Standing::Converged)
        });
        rest += names.count();
        rest == count
    })
    .await;
    let all = begun.elapsed().as_secs_f64();
    let mut ones = Vec::new();
    for round in 0..5 {
        let at = count / 2 + round;
        let name = ServiceName::new(format!("p{}", at / PER_PROJECT), format!("s{at}"));
        let before = board.status(&name).unwrap().revision;
        let changed = reading(count, Some(at));
        let begun = Instant::now();
        readings.send(changed).await.unwrap();
        until(&board, || {
            board.status(&name).is_some_and(|s| s.revision != before && standing(&s) == Standing::Converged)
        })
        .await;
        ones.push(begun.elapsed().as_secs_f64());
    }
    stop.send_replace(true);
    controller.await.unwrap();
    ones.sort_by(f64::total_cmp);
    (all, ones[2])
}

pub(crate) async fn run() {
    println!("scale, simulated engine, 3 replicas a service");
    let (all_100, one_100) = measure(100).await;
    let (all_1000, one_1000) = measure(1000).await;
    let per = |all: f64, count: f64| all / count * 1000.0;
    println!(
        "   100 services: {all_100:7.2} s in all, {:6.2} ms a service; one changed: {one_100:.3} s",
        per(all_100, 100.0)
    );
    println!(
        "  1000 services: {all_1000:7.2} s in all, {:6.2} ms a service; one changed: {one_1000:.3} s",
        per(all_1000, 1000.0)
    );
    println!("  a service, 1000 over 100: {:.2} (at most 2)", per(all_1000, 1000.0) / per(all_100, 100.0));
    println!("  one changed, 1000 over 100: {:.2} (linear would be 10)", one_1000 / one_100);
}
