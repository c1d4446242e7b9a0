//! Tags of this host that are moved.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_moved_is_rolled_out_and_back_again() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    let first = running.converged("web:1").await;
    let status = running.until(|status| status.update.is_some()).await;
    assert_eq!(status.update.as_ref().unwrap().document, first, "the first image has the document's own revision");
    assert_eq!(status.generation, 1);

    let (moved, made) = (clock.now(), creations(&sim));
    tag(&sim, "sha256:b", Behaviour::default());
    while creations(&sim) == made {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(clock.now() < moved + Duration::from_millis(200), "at once, not when everything is looked at again");
    let status = running.until(|status| runs(status, "sha256:b")).await;
    assert_ne!(status.revision, first);
    assert_eq!(status.update.as_ref().unwrap().document, first);
    assert_eq!(status.history[0].image_id, Some(ImageId::new("sha256:b")));
    assert_eq!(status.history[1].image_id, Some(ImageId::new("sha256:web:1")));
    let all: BTreeSet<_> = sim.with(|world, _| images(world)).into_values().flatten().collect();
    assert_eq!(all, BTreeSet::from([ImageId::new("sha256:b")]));

    tag(&sim, "sha256:web:1", Behaviour::default());
    let status = running.until(|status| runs(status, "sha256:web:1")).await;
    assert_eq!(status.revision, first, "the same image is the same revision");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_not_followed_may_move() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    let before = creations(&sim);
    tag(&sim, "sha256:b", Behaviour::default());
    for_a_while().await;
    assert_eq!(creations(&sim), before);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_revision_has_one_image_though_its_tag_moves_in_the_middle() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    running.converged("web:1").await;
    tag(&sim, "sha256:b", Behaviour::default());
    // One of two is of the new image.
    running.until(|status| status.updated == 1 && status.live > 1).await;
    tag(&sim, "sha256:c", Behaviour::default());
    let mut version = running.statuses.version();
    loop {
        let mixed: Vec<_> = sim.with(|world, _| images(world)).into_iter().filter(|(_, ids)| ids.len() != 1).collect();
        assert!(mixed.is_empty(), "{mixed:?}");
        if running.statuses.status(&web()).is_some_and(|status| runs(&status, "sha256:c")) {
            break;
        }
        tokio::time::timeout(Duration::from_mins(10), version.changed()).await.unwrap().unwrap();
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_settles_before_it_rolls_out_and_more_replicas_are_of_the_old_one_until_then() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let rules = "  update: {policy: digest, cooldown: 10m}\n";
    running.wants("web:1", rules).await;
    let first = running.converged("web:1").await;
    let begin = clock.now();
    tag(&sim, "sha256:b", Behaviour::default());
    let status = running.until(|status| status.update.as_ref().is_some_and(|update| update.newer.is_some())).await;
    let update = status.update.as_ref().unwrap();
    let (newer, wanted) = (update.newer.clone(), update.image_id.clone());
    assert_eq!((newer, wanted), (Some(ImageId::new("sha256:b")), Some(ImageId::new("sha256:web:1"))));
    assert!(update.not_before.is_some_and(|at| at <= begin + Duration::from_secs(601)), "{update:?}");

    // Somebody kills one: its successor is of the image that the others have.
    let victim = sim.with(|world, _| world.containers.values().next().unwrap().replica.id.clone());
    sim.with(|world, now| world.kill(&victim, 137, now));
    tokio::time::sleep(Duration::from_mins(2)).await;
    let there = sim.with(|world, _| images(world));
    assert_eq!(there, BTreeMap::from([(first, BTreeSet::from([ImageId::new("sha256:web:1")]))]));
    assert_eq!(running.statuses.status(&web()).unwrap().available, 2);

    running.until(|status| runs(status, "sha256:b")).await;
    assert!(clock.now() >= begin + Duration::from_mins(10));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_image_is_rolled_back_once_and_the_next_one_is_tried() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", DIGEST).await;
    running.converged("web:1").await;
    tag(&sim, "sha256:bad", broken());
    let back = |status: &ServiceStatus| {
        convergence(status) == Convergence::Failed && status.available == 2 && status.waiting.is_empty()
    };
    let status = running.until(back).await;
    assert_eq!(status.history[0].image_id, Some(ImageId::new("sha256:bad")));
    assert_eq!(status.history[0].outcome, RevisionOutcome::Failed);
    let serving: BTreeSet<_> = sim.with(|world, _| {
        world.containers.values().filter(|c| c.replica.state.is_live()).map(|c| c.replica.image.clone()).collect()
    });
    assert_eq!(serving, BTreeSet::from([ImageId::new("sha256:web:1")]));
    let tried = creations(&sim);
    for_a_while().await;
    assert_eq!(creations(&sim), tried, "it is not tried again");

    // Not after another one either, and not by a controller that comes later.
    tag(&sim, "sha256:c", Behaviour::default());
    running.until(|status| runs(status, "sha256:c")).await;
    let tried = creations(&sim);
    tag(&sim, "sha256:bad", broken());
    let held = |status: &ServiceStatus| status.update.as_ref().is_some_and(|update| update.why_not.is_some());
    let status = running.until(held).await;
    assert!(status.update.as_ref().unwrap().why_not.as_ref().unwrap().contains("failed before"));
    for_a_while().await;
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:1", DIGEST).await;
    running.until(held).await;
    for_a_while().await;
    assert_eq!(creations(&sim), tried, "it was tried again");

    tag(&sim, "sha256:d", Behaviour::default());
    running.until(|status| runs(status, "sha256:d")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_when_images_begin_or_cease_to_be_followed_and_when_the_memory_is_lost() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    let mut made = creations(&sim);
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:web:1")).await;
    for_a_while().await;
    assert_eq!(creations(&sim), made, "followed from now on");

    tag(&sim, "sha256:b", Behaviour::default());
    let status = running.until(|status| runs(status, "sha256:b")).await;
    for_a_while().await;
    made = creations(&sim);
    running.end().await;

    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    let again = running.until(|status| runs(status, "sha256:b")).await;
    for_a_while().await;
    assert_eq!((creations(&sim), &again.revision), (made, &status.revision), "the memory was lost");

    running.wants("web:1", "").await;
    let again = running.until(|status| status.update.as_ref().is_some_and(|update| update.image_id.is_none())).await;
    for_a_while().await;
    assert_eq!((creations(&sim), &again.revision), (made, &status.revision), "no longer followed");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dependant_does_not_wait_for_the_first_image_of_its_dependency() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    running.converged("web:1").await;
    tag(&sim, "sha256:b", Behaviour::default());
    running.until(|status| runs(status, "sha256:b")).await;
    let dependant = "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: job}\nspec:\n  image: job:1\n  depends_on: {web: {condition: service_healthy, restart: true}}\n";
    running.wants("web:1", &format!("{DIGEST}{dependant}")).await;
    let job = ServiceName::new("shop", "job");
    let wait = tokio::time::timeout(Duration::from_mins(10), async {
        while !running.statuses.status(&job).is_some_and(|status| convergence(&status) == Convergence::Converged) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    wait.await.unwrap_or_else(|_| panic!("{:#?}", running.statuses.status(&job)));
    running.end().await;
    drop(Arc::clone(&sim));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_has_failed_holds_no_dependant_and_a_document_that_has_failed_does() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let with_job = |version: u32| {
        format!(
            "{DIGEST}---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: job}}\nspec:\n  image: job:{version}\n  depends_on: [web]\n"
        )
    };
    let job = |done: &'static dyn Fn(&ServiceStatus) -> bool| {
        let statuses = Arc::clone(&running.statuses);
        let name = ServiceName::new("shop", "job");
        async move {
            let wait = tokio::time::timeout(Duration::from_mins(10), async {
                while !statuses.status(&name).is_some_and(|status| done(&status)) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            wait.await.unwrap_or_else(|_| panic!("{:#?}", statuses.status(&name)));
        }
    };
    running.wants("web:1", &with_job(1)).await;
    running.converged("web:1").await;
    job(&|status| convergence(status) == Convergence::Converged).await;
    tag(&sim, "sha256:bad", broken());
    running.until(|status| convergence(status) == Convergence::Failed && status.waiting.is_empty()).await;
    running.wants("web:1", &with_job(2)).await;
    job(&|status| status.history[0].image == "job:2" && convergence(status) == Convergence::Converged).await;
    sim.with(|world, _| world.images.insert(ImageRef::new("web:2"), broken()));
    running.wants("web:2", &with_job(3)).await;
    running.until(|status| status.history[0].image == "web:2" && convergence(status) == Convergence::Failed).await;
    job(&|status| status.waiting.iter().any(|wait| wait.on == "web: its change has failed")).await;
    running.end().await;
}
