//! Calls that hang, and what one change asks of the engine.

use super::*;

/// Whatever hangs of one service, the other one is rolled out as if it were alone.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_its_own_service_alone() {
    for hangs in ["observe shop/a.", "create shop-a-", "start shop-a-", "stop shop-a-", "remove shop-a-"] {
        let (sim, clock) = engine();
        let slow = Slow::new(&sim);
        let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
        running.readings.send(reading([("a", 1), ("b", 1)])).await.unwrap();
        until(&running, hangs, |statuses| is_at(statuses, "a", 1) && is_at(statuses, "b", 1)).await;

        let begin = Instant::now();
        running.readings.send(reading([("a", 1), ("b", 2)])).await.unwrap();
        until(&running, hangs, |statuses| is_at(statuses, "b", 2)).await;
        let alone = begin.elapsed();

        slow.hold(Some(hangs));
        running.readings.send(reading([("a", 2), ("b", 2)])).await.unwrap();
        let hung = tokio::time::timeout(Duration::from_mins(10), async {
            while slow.when(hangs).is_none_or(|at| at < begin) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        hung.await.expect(hangs);
        let begin = Instant::now();
        running.readings.send(reading([("a", 2), ("b", 3)])).await.unwrap();
        until(&running, hangs, |statuses| is_at(statuses, "b", 3)).await;
        assert!(slow.when("create shop-b-").is_some_and(|at| at - begin < alone), "{hangs}: it is begun");
        assert!(begin.elapsed() <= alone + Duration::from_secs(1), "{hangs}: {:?}, alone {alone:?}", begin.elapsed());
        assert!(!is_at(&running.statuses, "a", 2) && running.statuses.health().blocked.is_none(), "{hangs}");

        slow.hold(None);
        until(&running, hangs, |statuses| is_at(statuses, "a", 2)).await;
        running.end().await;
    }
}

/// A list that hangs is an engine that is away: that is said soon, with since when, and it is gone on when it answers.
#[tokio::test(start_paused = true)]
async fn an_engine_that_lists_nothing_is_said_to_be_away() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    running.readings.send(reading([("a", 1)])).await.unwrap();
    until(&running, "the first", |statuses| is_at(statuses, "a", 1)).await;
    slow.hold(Some("list"));
    let begin = Instant::now();
    running.readings.send(reading([("a", 2)])).await.unwrap();
    until(&running, "it is told", |statuses| statuses.health().blocked.is_some()).await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let health = running.statuses.health();
    assert!(health.blocked.is_some_and(|why| why.contains("list of containers")) && health.blocked_since.is_some());
    tokio::time::sleep(Duration::from_mins(1)).await;
    slow.hold(None);
    until(&running, "it goes on", |statuses| is_at(statuses, "a", 2)).await;
    let health = running.statuses.health();
    assert!(health.blocked.is_none() && health.blocked_since.is_none());
    running.end().await;
}

/// Who is slow comes to an end, however often others change meanwhile.
#[tokio::test(start_paused = true)]
async fn changes_of_others_begin_nobody_anew() {
    for slow_at in ["list", "observe shop/a."] {
        let (sim, clock) = engine();
        let slow = Slow::new(&sim);
        let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
        running.readings.send(reading([("a", 1), ("b", 1)])).await.unwrap();
        until(&running, slow_at, |statuses| is_at(statuses, "a", 1) && is_at(statuses, "b", 1)).await;
        *slow.takes.lock().unwrap() = Some((slow_at, Duration::from_secs(2)));
        let begin = Instant::now();
        for version in 2..300 {
            running.readings.send(reading([("a", 2), ("b", version)])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
            if is_at(&running.statuses, "a", 2) {
                break;
            }
        }
        assert!(is_at(&running.statuses, "a", 2), "{slow_at}: not after {:?}", begin.elapsed());
        running.end().await;
    }
}

/// What one changed service costs the engine does not grow with the number of the others, and is not about them.
#[tokio::test(start_paused = true)]
async fn a_change_asks_about_its_own_service_alone() {
    let mut costs = Vec::new();
    for count in [10, 300] {
        let (sim, clock) = engine();
        let slow = Slow::new(&sim);
        let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
        let names: Vec<String> = (0..count).map(|at| format!("s{at}")).collect();
        let with =
            |version: u32| reading(names.iter().map(|name| (name.as_str(), if name == "s5" { version } else { 1 })));
        running.readings.send(with(1)).await.unwrap();
        until(&running, "all", |statuses| names.iter().all(|name| is_at(statuses, name, 1))).await;
        // Clear of the look at everything that comes each minute.
        let began = Instant::now();
        slow.take();
        while slow.take().is_empty() {
            assert!(began.elapsed() < Duration::from_mins(2), "nobody looks again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        slow.take();
        running.readings.send(with(2)).await.unwrap();
        until(&running, "the change", |statuses| is_at(statuses, "s5", 2)).await;
        let calls: Vec<_> = slow.take().into_iter().map(|(_, call)| call).collect();
        let others = calls.iter().filter(|call| call.starts_with("observe") && !call.contains("shop/s5."));
        assert_eq!(others.count(), 0, "{calls:#?}");
        costs.push(calls.len());
        running.end().await;
    }
    assert!(costs[1] <= costs[0] + 2, "{costs:?}");
}
