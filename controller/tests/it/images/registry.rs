//! What a registry has is fetched and rolled out.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_new_image_in_the_registry_is_fetched_once_and_rolled_out() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    let twin = "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: twin}\nspec:\n  image: web:1\n  update: {policy: digest, interval: 10m}\n";
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:a"), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", &format!("  update: {{policy: digest, interval: 1m}}\n{twin}")).await;
    running.until(|status| runs(status, "sha256:a")).await;
    for_a_while().await;
    registry.asked();
    let (pulled, made) = (pulls(&sim), creations(&sim));

    // Nothing new for an hour: one question a minute for both, give or take a tenth.
    tokio::time::sleep(Duration::from_hours(1)).await;
    let asked = registry.asked();
    assert!((54..=68).contains(&asked.len()), "{}", asked.len());
    assert_eq!((pulls(&sim), creations(&sim)), (pulled, made));

    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:b"), Behaviour::default())));
    registry.says(Ok("sha256:b"));
    let status = running.until(|status| runs(status, "sha256:b")).await;
    assert_eq!(status.update.as_ref().unwrap().registry.as_ref().map(ImageDigest::as_str), Some("sha256:b"));
    for_a_while().await;
    assert_eq!(pulls(&sim), pulled + 1, "one pull for both services");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_is_away_or_busy_stops_nothing_and_is_asked_less_often() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    running.wants("web:1", "  update: {policy: digest, interval: 1m}\n").await;
    registry.says(Ok("sha256:web:1"));
    running.converged("web:1").await;
    for_a_while().await;
    let made = creations(&sim);
    registry.says(Err(RegistryError::Away("connection refused".to_owned())));
    let troubled = |status: &ServiceStatus| status.update.as_ref().is_some_and(|update| update.problem.is_some());
    running.until(troubled).await;
    registry.asked();
    tokio::time::sleep(Duration::from_hours(2)).await;
    let asked = registry.asked().len();
    assert!((3..=12).contains(&asked), "{asked} questions in two hours");

    let wait = Some(Duration::from_hours(3));
    registry.says(Err(RegistryError::Busy { why: "too many requests".to_owned(), wait }));
    let busy = |status: &ServiceStatus| {
        status.update.as_ref().and_then(|update| update.problem.clone()).is_some_and(|why| why.contains("too many"))
    };
    // The longest wait of one that is away.
    tokio::time::sleep(Duration::from_mins(35)).await;
    running.until(busy).await;
    assert_eq!(registry.asked().len(), 1);
    tokio::time::sleep(Duration::from_mins(140)).await;
    assert_eq!(registry.asked().len(), 0, "it said how long to wait");
    assert_eq!(creations(&sim), made);
    assert_eq!(running.statuses.status(&web()).unwrap().available, 2);

    registry.says(Ok("sha256:web:1"));
    tokio::time::sleep(Duration::from_hours(1)).await;
    running.until(|status| !troubled(status)).await;
    assert_eq!(creations(&sim), made);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_fails_costs_nothing_and_is_tried_again_ever_more_slowly() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:a"), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:a")).await;
    let made = creations(&sim);
    // The registry says there is another one, and then gives none.
    sim.with(|world, _| {
        world.offers.clear();
        world.anything = None;
    });
    registry.says(Ok("sha256:b"));
    let failed = |status: &ServiceStatus| {
        status.update.as_ref().and_then(|update| update.problem.clone()).is_some_and(|why| why.contains("pull failed"))
    };
    running.until(failed).await;
    let tried = pulls(&sim);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!((tried + 3..tried + 25).contains(&pulls(&sim)), "{tried}, then {}", pulls(&sim));
    assert_eq!(creations(&sim), made);
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:b"), Behaviour::default())));
    running.until(|status| runs(status, "sha256:b")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_moved_here_last_stays_until_the_registry_moves() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:a"), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:a")).await;
    for_a_while().await;
    tag(&sim, "sha256:own", Behaviour::default());
    running.until(|status| runs(status, "sha256:own")).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(running.statuses.status(&web()).is_some_and(|status| runs(&status, "sha256:own")));
    // Nor is one fetched again in place of an older one of that registry.
    sim.with(|world, _| world.pulled.insert(ImageId::new("sha256:older")));
    tag(&sim, "sha256:older", Behaviour::default());
    running.until(|status| runs(status, "sha256:older")).await;
    let pulled = pulls(&sim);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(pulls(&sim), pulled);
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:b"), Behaviour::default())));
    registry.says(Ok("sha256:b"));
    running.until(|status| runs(status, "sha256:b")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_highest_version_of_the_range_runs_and_outlives_restarts() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let (running, registry) = asking(&sim, clock, state.clone());
    let rules = "  update: {semver: ~1.4}\n";
    let tags = |all: &[&str]| *registry.tags.lock().unwrap() = all.iter().map(|&tag| tag.to_owned()).collect();
    tags(&["1.4.0", "1.4.2", "1.5.0", "latest"]);
    running.wants("web:1.4.0", rules).await;
    let is = |status: &ServiceStatus, image: &str| {
        let update = status.update.as_ref();
        update.is_some_and(|update| update.image == image) && convergence(status) == Convergence::Converged
    };
    let status = running.until(|status| is(status, "web:1.4.2")).await;
    assert_eq!(status.update.as_ref().unwrap().raised_from.as_ref().map(ImageRef::as_str), Some("web:1.4.0"));
    assert_eq!(status.history[0].image, "web:1.4.2");
    tags(&["1.4.0", "1.4.2", "1.4.3", "1.5.0", "latest"]);
    let status = running.until(|status| is(status, "web:1.4.3")).await;
    for_a_while().await;
    let made = creations(&sim);
    running.end().await;

    // Nothing is lowered by a controller that has asked nobody yet.
    let (running, registry) = asking(&sim, clock, state);
    *registry.tags.lock().unwrap() = vec!["1.4.3".to_owned()];
    running.wants("web:1.4.0", rules).await;
    let again = running.until(|status| is(status, "web:1.4.3")).await;
    for_a_while().await;
    assert_eq!((creations(&sim), &again.revision), (made, &status.revision));
    running.end().await;
}

/// Whatever the last call was: a new image is rolled out once, and no revision is of two images.
#[tokio::test(start_paused = true)]
async fn a_crash_at_every_call_of_an_update_costs_nothing() {
    let mut calls = 0;
    for last in 0.. {
        let (sim, clock) = engine();
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let running = Running::on(&sim, clock, state.clone());
        running.wants("web:1", DIGEST).await;
        running.converged("web:1").await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let made = creations(&sim);
        let crashed = Arc::new(AtomicBool::new(false));
        let (flag, mut count) = (Arc::clone(&crashed), 0);
        sim.break_with(Some(Box::new(move |_| {
            count += 1;
            flag.store(count > last, Ordering::SeqCst);
            match count {
                n if n <= last => None,
                // The last call is done, its answer is not heard; what is tried after it never reaches the engine.
                n if n == last + 1 => Some(Fault::AnswerLost),
                _ => Some(Fault::Lost),
            }
        })));
        tag(&sim, "sha256:b", Behaviour::default());
        let done = || running.statuses.status(&web()).is_some_and(|status| runs(&status, "sha256:b"));
        while !crashed.load(Ordering::SeqCst) && !done() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if done() {
            running.end().await;
            break;
        }
        calls += 1;
        running.crash().await;
        sim.break_with(None);
        // Meanwhile somebody moves the tag away and back again.
        tag(&sim, "sha256:web:1", Behaviour::default());
        tag(&sim, "sha256:b", Behaviour::default());
        let running = Running::on(&sim, clock, state);
        running.wants("web:1", DIGEST).await;
        running.until(|status| runs(status, "sha256:b")).await;
        tokio::time::sleep(Duration::from_secs(15)).await;
        let there = sim.with(|world, _| images(world));
        assert!(there.len() == 1 && there.values().all(|ids| ids.len() == 1), "after call {last}: {there:?}");
        assert_eq!(creations(&sim), made + 2, "after call {last}");
        running.end().await;
    }
    assert!(calls > 10, "{calls} calls");
    println!("{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_not_for_all_platforms_is_waited_for() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    let platforms = |names: &[&str]| {
        *registry.platforms.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    };
    platforms(&["linux/amd64", "linux/arm64"]);
    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:a"), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", "  update: {policy: digest, interval: 1m, platforms: [linux/amd64, linux/arm64]}\n").await;
    running.until(|status| runs(status, "sha256:a")).await;
    registry.asked();
    for_a_while().await;
    assert!(registry.asked().iter().all(|what| what.starts_with("digest")), "nothing new, nothing more to ask");

    sim.with(|world, _| world.offers.insert(ImageRef::new("web:1"), (ImageId::new("sha256:b"), Behaviour::default())));
    platforms(&["linux/amd64"]);
    registry.says(Ok("sha256:b"));
    let why = |status: &ServiceStatus| status.update.as_ref().and_then(|update| update.problem.clone());
    let status = running.until(|status| why(status).is_some()).await;
    assert!(why(&status).unwrap().contains("is not for linux/arm64"), "{status:?}");
    for_a_while().await;
    assert!(runs(&running.statuses.status(&web()).unwrap(), "sha256:a"));
    platforms(&["linux/amd64", "linux/arm64"]);
    running.until(|status| runs(status, "sha256:b")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_not_for_all_platforms_is_waited_for() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    let platforms = |names: &[&str]| {
        *registry.platforms.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    };
    let tags = |names: &[&str]| *registry.tags.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    let image = |status: &ServiceStatus| status.update.as_ref().map(|update| update.image.clone());
    tags(&["1.4.0"]);
    platforms(&["linux/amd64", "linux/arm64"]);
    running.wants("web:1.4.0", "  update: {semver: ~1.4, interval: 1m, platforms: [linux/amd64, linux/arm64]}\n").await;
    running.converged("web:1.4.0").await;
    platforms(&["linux/amd64"]);
    tags(&["1.4.0", "1.4.2"]);
    for_a_while().await;
    let status = running.statuses.status(&web()).unwrap();
    assert_eq!(image(&status).as_ref().map(ImageRef::as_str), Some("web:1.4.0"), "{status:?}");
    assert!(status.update.as_ref().unwrap().problem.as_ref().unwrap().contains("web:1.4.2 is not for linux/arm64"));
    platforms(&["linux/amd64", "linux/arm64"]);
    running.converged("web:1.4.2").await;
    running.end().await;
}
