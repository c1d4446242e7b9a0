//! Idle clients on every listener.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn idle_strangers_on_every_listener_stop_nothing() {
    raise_descriptor_limit();
    let program = Program::start(None);
    let alone = program.until("it serves", |status| status.available == 1).await;
    eprintln!("the first replica after {alone:?}");
    let strangers = Strangers::on(&program).await;
    let p99 = answers(&program).await;
    assert!(p99 < Duration::from_secs(1), "{p99:?}");
    // git, the state and the engine have what they need.
    program.commit("web:2", "  replicas: 2\n");
    program
        .until("a commit is deployed", |status| {
            status.available == 2 && status.history.first().is_some_and(|one| one.image == "web:2")
        })
        .await;
    let open = descriptors(program.child.id());
    eprintln!("{open} descriptors of {DESCRIPTORS} are open");
    assert!(open < 400, "{open}: the listeners leave a reserve");
    strangers.end().await;
    let log = program.log();
    assert!(!log.contains("Too many open files"), "{log}");
    let full = log.lines().filter(|line| line.contains("too many connections")).count();
    assert!((1..=10).contains(&full), "{full} of {log}");
}

/// How long it takes until a killed replica was replaced, `times` times: the median.
async fn healing(program: &Program, times: usize) -> Duration {
    let mut took = Vec::new();
    for _ in 0..times {
        let (_, body) = client::get(&program.socket(), "/v1/services").await.unwrap();
        let overview: Overview = serde_json::from_slice(&body).unwrap();
        let id = overview.services[0].instances[0].id.clone();
        docker(&["kill", id.as_str()]).await.unwrap();
        let healed = program
            .until("it heals", |status| status.available == 1 && status.instances.iter().all(|one| one.id != id));
        took.push(healed.await);
    }
    took.sort();
    took[times / 2]
}

/// On Docker, with the view: healing with and without strangers; `times` each.
async fn heals(times: usize) -> Option<(Duration, Duration, Duration)> {
    raise_descriptor_limit();
    let run = Run::begin().await?;
    let program = Program::start(Some(&run.image));
    program.until("it serves", |status| status.available == 1).await;
    let usual = healing(&program, times).await;
    let strangers = Strangers::on(&program).await;
    let p99 = answers(&program).await;
    let under = healing(&program, times).await;
    strangers.end().await;
    eprintln!("healing: {usual:?} usually, {under:?} under {IDLE} idle connections on each listener");
    Some((usual, under, p99))
}

#[tokio::test(flavor = "multi_thread")]
async fn healing_goes_on_under_idle_strangers() {
    let Some((usual, under, _)) = heals(1).await else { return };
    assert!(under < usual + Duration::from_secs(10), "{under:?} instead of {usual:?}");
}

/// The figures: `cargo test --release -p composed --test it healing_takes -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of two minutes: it needs a quiet machine"]
async fn healing_takes_no_longer_under_idle_strangers() {
    let Some((usual, under, p99)) = heals(3).await else { return };
    assert!(under <= usual.mul_f64(1.1) + Duration::from_millis(50), "{under:?} instead of {usual:?}");
    assert!(p99 < Duration::from_millis(100), "{p99:?}");
}
