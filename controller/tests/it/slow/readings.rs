//! Readings and commands that come while a pass is under way.

use super::*;

/// What was wanted when a pass began is not what is wanted when its container answers at last: by then most documents have
/// gone at once, and that nothing is removed therefore must not be forgotten because of a wish of before.
#[tokio::test(start_paused = true)]
async fn a_pass_that_began_before_a_reading_forgets_nothing_of_what_is_held() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let at = |names: &[&'static str]| reading(names.iter().map(|name| (*name, 1)));
    running.readings.send(at(&["a", "b", "c", "x"])).await.unwrap();
    until(&running, "the first", |statuses| ["a", "b", "c", "x"].iter().all(|name| is_at(statuses, name, 1))).await;
    let begin = Instant::now();
    slow.hold(Some("observe shop/x."));
    running.readings.send(at(&["a", "b", "c"])).await.unwrap();
    called(&slow, "observe shop/x.", begin).await;
    let others = ["d", "e", "f", "g", "h"];
    running.readings.send(at(&["x", "d", "e", "f", "g", "h"])).await.unwrap();
    until(&running, "the others", |statuses| others.iter().all(|name| is_at(statuses, name, 1))).await;
    slow.hold(None);
    tokio::time::sleep(Duration::from_mins(3)).await;
    for name in ["a", "b", "c"] {
        let status = running.statuses.status(&super::name(name));
        assert!(status.is_some_and(|status| status.available == 2), "{name} was removed");
    }
    running.end().await;
}

/// What was found and could not be looked at, since the engine was away just then, is still to be looked at.
#[tokio::test(start_paused = true)]
async fn what_was_found_and_not_looked_at_is_not_settled() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.readings.send(reading([("a", 1), ("b", 1)])).await.unwrap();
    until(&running, "the first", |statuses| is_at(statuses, "a", 1) && is_at(statuses, "b", 1)).await;
    running.end().await;
    let of_b = sim.with(|world, _| {
        let ids: Vec<_> = world.containers.of(&name("b")).map(|one| one.replica.id.clone()).collect();
        ids.iter().filter_map(|id| world.containers.remove(id)).collect::<Vec<_>>()
    });
    let running = Running::on(&sim, clock, StateDir::default());
    running.readings.send(reading([("a", 1)])).await.unwrap();
    until(&running, "the second", |statuses| {
        is_at(statuses, "a", 1) && statuses.health().ready && statuses.health().settled
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    sim.with(|world, _| of_b.into_iter().for_each(|one| world.containers.insert(one)));
    // The first list finds it, and those after it fail.
    let mut lists = 0;
    sim.break_with(Some(Box::new(move |call| {
        lists += usize::from(call == "list");
        (call == "list" && lists > 1).then_some(Fault::Lost)
    })));
    until(&running, "the engine is away", |statuses| statuses.health().blocked.is_some()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!running.statuses.health().settled);
    sim.break_with(None);
    until(&running, "all is looked at", |statuses| statuses.health().settled).await;
    assert!(running.statuses.status(&name("b")).is_some(), "it was not looked at");
    running.end().await;
}

/// Who came while a network was being made goes on when it is there.
#[tokio::test(start_paused = true)]
async fn who_is_wanted_since_a_network_was_begun_waits_no_longer_than_for_it() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let dir = tempfile::tempdir().unwrap();
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let begin = Instant::now();
    slow.hold(Some("create network"));
    running.readings.send(compose(&dir, "  a: {image: \"app:1\"}\n")).await.unwrap();
    called(&slow, "create network", begin).await;
    running.readings.send(compose(&dir, "  a: {image: \"app:1\"}\n  b: {image: \"app:1\"}\n")).await.unwrap();
    // As long as its image needs, and longer.
    tokio::time::sleep(Duration::from_secs(15)).await;
    let begin = Instant::now();
    slow.hold(None);
    until(&running, "both", |statuses| is_at(statuses, "a", 1) && is_at(statuses, "b", 1)).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    running.end().await;
}

/// A pass that has taken a command in and is not done with its calls yet is known to have: the next command is answered by it.
#[tokio::test(start_paused = true)]
async fn a_command_is_answered_by_those_that_were_taken_in() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let is_paused = |statuses: &StatusStore| {
        statuses.status(&web()).is_some_and(|status| status.condition(ConditionType::Paused).is_some())
    };
    running.readings.send(reading([("web", 1)])).await.unwrap();
    until(&running, "the first", |statuses| is_at(statuses, "web", 1)).await;
    pause(&running, true).await.unwrap();
    until(&running, "it is paused", is_paused).await;
    running.readings.send(reading([("web", 2)])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    slow.hold(Some("create shop-web-"));
    pause(&running, false).await.unwrap();
    called(&slow, "create shop-web-", begin).await;
    let said = pause(&running, true).await;
    assert!(said.is_ok(), "{said:?}");
    slow.hold(None);
    until(&running, "it is paused again", is_paused).await;
    running.end().await;
}

/// After a start, one that does not come to its end for its first call has said what it may go back to: nobody removes that.
#[tokio::test(start_paused = true)]
async fn an_image_stays_that_one_may_go_back_to_whose_first_call_hangs() {
    let (sim, clock) = engine();
    let kept = tempfile::tempdir().unwrap();
    let both = |web: &str, api: &str, more: &str| {
        let document = |name: &str, image: &str, more: &str| {
            format!(
                "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\n\
                 spec: {{image: \"{image}\", update: {{image_history: 0}}{more}}}\n"
            )
        };
        let text = document("web", web, "") + &document("api", api, more);
        Reading { files: vec![("all.yaml".to_owned(), Ok(text.into_bytes().into()))], ..Reading::default() }
    };
    let running = Running::on(&sim, clock, StateDir::open(kept.path()).unwrap());
    for (web, api) in [("app:1", "app:1"), ("app:1", "app:2"), ("app:3", "app:2")] {
        running.readings.send(both(web, api, "")).await.unwrap();
        tokio::time::sleep(Duration::from_mins(5)).await;
    }
    running.end().await;
    let slow = Slow::new(&sim);
    slow.hold(Some("create shop-api-"));
    let state = StateDir::open(kept.path()).unwrap();
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, state);
    running.readings.send(both("app:4", "app:2", ", environment: {A: '1'}")).await.unwrap();
    running.converged("app:4").await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(running.statuses.health().ready && slow.when("create shop-api-").is_some());
    let here: Vec<_> = sim.with(|world, _| world.images.keys().cloned().collect());
    assert!(here.contains(&ImageRef::new("app:1")), "api would go back to app:1: {here:?}");
    slow.hold(None);
    running.end().await;
}
