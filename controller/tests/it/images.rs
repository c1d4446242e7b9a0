//! New images, on the simulated engine, its time stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::clock::Clock;
use composed::engine::sim::{Behaviour, Fault, Sim, World};
use composed::images::reference::Reference;
use composed::images::{Ask, Images, Platforms, Trouble, updates};
use composed::model::ServiceName;
use composed::source::catalog::Catalog;
use composed::source::files::Reading;
use composed::state::StateDir;
use crd_schema::ServiceSpec;
use crd_schema::status::{RevisionOutcome, ServiceStatus};
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::undo::{Running, engine, web};

const DIGEST: &str = "  update: digest\n";

fn tag(sim: &Sim, id: &str, behaviour: Behaviour) {
    sim.with(|world, _| world.tag("web:1", id, behaviour));
}

fn broken() -> Behaviour {
    Behaviour { exits_after: Some(Duration::from_millis(200)), ..Behaviour::default() }
}

/// The images of all containers, by revision.
fn images(world: &World) -> BTreeMap<String, BTreeSet<String>> {
    let mut images: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for container in world.containers.values() {
        images.entry(container.replica.revision.clone()).or_default().insert(container.replica.image.clone());
    }
    images
}

pub(crate) fn creations(sim: &Sim) -> usize {
    sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("create shop-web")).count())
}

fn runs(status: &ServiceStatus, id: &str) -> bool {
    let update = status.update.as_ref().and_then(|update| update.image_id.as_deref());
    update == Some(id) && standing(status) == Standing::Converged
}

/// Lets everything that may happen happen.
async fn for_a_while() {
    tokio::time::sleep(Duration::from_mins(5)).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_is_moved_is_rolled_out_and_back_again() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    let first = running.converged("web:1").await;
    let status = running.until(|status| status.update.is_some()).await;
    assert_eq!(status.update.unwrap().document, first, "the first image has the document's own revision");
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
    assert_eq!(status.history[0].image_id.as_deref(), Some("sha256:b"));
    assert_eq!(status.history[1].image_id.as_deref(), Some("sha256:web:1"));
    let all: BTreeSet<_> = sim.with(|world, _| images(world)).into_values().flatten().collect();
    assert_eq!(all, BTreeSet::from(["sha256:b".to_owned()]));

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
    let mut version = running.board.version();
    loop {
        let mixed: Vec<_> = sim.with(|world, _| images(world)).into_iter().filter(|(_, ids)| ids.len() != 1).collect();
        assert!(mixed.is_empty(), "{mixed:?}");
        if running.board.status(&web()).is_some_and(|status| runs(&status, "sha256:c")) {
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
    let update = status.update.unwrap();
    assert_eq!((update.newer.as_deref(), update.image_id.as_deref()), (Some("sha256:b"), Some("sha256:web:1")));
    assert!(update.not_before.is_some_and(|at| at <= begin + Duration::from_secs(601)), "{update:?}");

    // Somebody kills one: its successor is of the image that the others have.
    let victim = sim.with(|world, _| world.containers.values().next().unwrap().replica.id.clone());
    sim.with(|world, now| world.kill(&victim, 137, now));
    tokio::time::sleep(Duration::from_mins(2)).await;
    let there = sim.with(|world, _| images(world));
    assert_eq!(there, BTreeMap::from([(first, BTreeSet::from(["sha256:web:1".to_owned()]))]));
    assert_eq!(running.board.status(&web()).unwrap().available, 2);

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
        standing(status) == Standing::Failed && status.available == 2 && status.waiting.is_empty()
    };
    let status = running.until(back).await;
    assert_eq!(status.history[0].image_id.as_deref(), Some("sha256:bad"));
    assert_eq!(status.history[0].outcome, RevisionOutcome::Failed);
    let serving: BTreeSet<_> = sim.with(|world, _| {
        world.containers.values().filter(|c| c.replica.state.is_live()).map(|c| c.replica.image.clone()).collect()
    });
    assert_eq!(serving, BTreeSet::from(["sha256:web:1".to_owned()]));
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
    assert!(status.update.unwrap().why_not.unwrap().contains("failed before"));
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
        while !running.board.status(&job).is_some_and(|status| standing(&status) == Standing::Converged) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    wait.await.unwrap_or_else(|_| panic!("{:#?}", running.board.status(&job)));
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
        let board = Arc::clone(&running.board);
        let name = ServiceName::new("shop", "job");
        async move {
            let wait = tokio::time::timeout(Duration::from_mins(10), async {
                while !board.status(&name).is_some_and(|status| done(&status)) {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            });
            wait.await.unwrap_or_else(|_| panic!("{:#?}", board.status(&name)));
        }
    };
    running.wants("web:1", &with_job(1)).await;
    running.converged("web:1").await;
    job(&|status| standing(status) == Standing::Converged).await;
    tag(&sim, "sha256:bad", broken());
    running.until(|status| standing(status) == Standing::Failed && status.waiting.is_empty()).await;
    running.wants("web:1", &with_job(2)).await;
    job(&|status| status.history[0].image == "job:2" && standing(status) == Standing::Converged).await;
    sim.with(|world, _| world.images.insert("web:2".to_owned(), broken()));
    running.wants("web:2", &with_job(3)).await;
    running.until(|status| status.history[0].image == "web:2" && standing(status) == Standing::Failed).await;
    job(&|status| status.waiting.iter().any(|wait| wait.on == "web: its change has failed")).await;
    running.end().await;
}

/// A registry that says what it is told to, and counts.
#[derive(Default)]
pub(crate) struct Scripted {
    digest: Mutex<Option<Result<String, Trouble>>>,
    pub(crate) tags: Mutex<Vec<String>>,
    platforms: Mutex<Platforms>,
    asked: Mutex<Vec<String>>,
}

impl Scripted {
    fn says(&self, answer: Result<&str, Trouble>) {
        *self.digest.lock().unwrap() = Some(answer.map(str::to_owned));
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Ask for Scripted {
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<String, Trouble>> {
        self.asked.lock().unwrap().push(format!("digest of {image}"));
        let answer = self.digest.lock().unwrap().clone();
        std::future::ready(answer.unwrap_or_else(|| Ok(format!("sha256:{image}")))).boxed()
    }

    fn platforms<'a>(&'a self, _: &'a Reference, digest: &'a str) -> BoxFuture<'a, Result<Platforms, Trouble>> {
        self.asked.lock().unwrap().push(format!("platforms of {digest}"));
        std::future::ready(Ok(self.platforms.lock().unwrap().clone())).boxed()
    }

    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, Trouble>> {
        self.asked.lock().unwrap().push(format!("tags of {}", image.familiar()));
        std::future::ready(Ok(self.tags.lock().unwrap().clone())).boxed()
    }
}

/// A controller that asks a scripted registry.
pub(crate) fn asking(sim: &Arc<Sim>, clock: Clock, state: StateDir) -> (Running, Arc<Scripted>) {
    let scripted = Arc::new(Scripted::default());
    let file = state.room("images.json");
    let images = |board: &Arc<Board>| {
        let images = Images::new(Arc::clone(&scripted) as Arc<dyn Ask>, Arc::clone(board), clock, file);
        tokio::spawn(Arc::clone(&images).run());
        images
    };
    (Running::with(sim, clock, state, images), scripted)
}

fn pulls(sim: &Sim) -> usize {
    sim.with(|world, _| world.log.iter().filter(|line| line.starts_with("pull ")).count())
}

#[tokio::test(start_paused = true)]
async fn a_new_image_in_the_registry_is_fetched_once_and_rolled_out() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    let twin = "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: twin}\nspec:\n  image: web:1\n  update: {policy: digest, interval: 10m}\n";
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:a".to_owned(), Behaviour::default())));
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

    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:b".to_owned(), Behaviour::default())));
    registry.says(Ok("sha256:b"));
    let status = running.until(|status| runs(status, "sha256:b")).await;
    assert_eq!(status.update.unwrap().registry.as_deref(), Some("sha256:b"));
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
    registry.says(Err(Trouble::Away("connection refused".to_owned())));
    let troubled = |status: &ServiceStatus| status.update.as_ref().is_some_and(|update| update.problem.is_some());
    running.until(troubled).await;
    registry.asked();
    tokio::time::sleep(Duration::from_hours(2)).await;
    let asked = registry.asked().len();
    assert!((3..=12).contains(&asked), "{asked} questions in two hours");

    let wait = Some(Duration::from_hours(3));
    registry.says(Err(Trouble::Busy { why: "too many requests".to_owned(), wait }));
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
    assert_eq!(running.board.status(&web()).unwrap().available, 2);

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
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:a".to_owned(), Behaviour::default())));
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
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:b".to_owned(), Behaviour::default())));
    running.until(|status| runs(status, "sha256:b")).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_moved_here_last_stays_until_the_registry_moves() {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:a".to_owned(), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:a")).await;
    for_a_while().await;
    tag(&sim, "sha256:own", Behaviour::default());
    running.until(|status| runs(status, "sha256:own")).await;
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(running.board.status(&web()).is_some_and(|status| runs(&status, "sha256:own")));
    // Nor is one fetched again in place of an older one of that registry.
    sim.with(|world, _| world.pulled.insert("sha256:older".to_owned()));
    tag(&sim, "sha256:older", Behaviour::default());
    running.until(|status| runs(status, "sha256:older")).await;
    let pulled = pulls(&sim);
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(pulls(&sim), pulled);
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:b".to_owned(), Behaviour::default())));
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
        update.is_some_and(|update| update.image == image) && standing(status) == Standing::Converged
    };
    let status = running.until(|status| is(status, "web:1.4.2")).await;
    assert_eq!(status.update.unwrap().raised_from.as_deref(), Some("web:1.4.0"));
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
    assert_eq!((creations(&sim), again.revision), (made, status.revision));
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
        let done = || running.board.status(&web()).is_some_and(|status| runs(&status, "sha256:b"));
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
    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:a".to_owned(), Behaviour::default())));
    registry.says(Ok("sha256:a"));
    running.wants("web:1", "  update: {policy: digest, interval: 1m, platforms: [linux/amd64, linux/arm64]}\n").await;
    running.until(|status| runs(status, "sha256:a")).await;
    registry.asked();
    for_a_while().await;
    assert!(registry.asked().iter().all(|what| what.starts_with("digest")), "nothing new, nothing more to ask");

    sim.with(|world, _| world.offers.insert("web:1".to_owned(), ("sha256:b".to_owned(), Behaviour::default())));
    platforms(&["linux/amd64"]);
    registry.says(Ok("sha256:b"));
    let why = |status: &ServiceStatus| status.update.as_ref().and_then(|update| update.problem.clone());
    let status = running.until(|status| why(status).is_some()).await;
    assert!(why(&status).unwrap().contains("is not for linux/arm64"), "{status:?}");
    for_a_while().await;
    assert!(runs(&running.board.status(&web()).unwrap(), "sha256:a"));
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
    let status = running.board.status(&web()).unwrap();
    assert_eq!(image(&status).as_deref(), Some("web:1.4.0"), "{status:?}");
    assert!(status.update.unwrap().problem.unwrap().contains("web:1.4.2 is not for linux/arm64"));
    platforms(&["linux/amd64", "linux/arm64"]);
    running.converged("web:1.4.2").await;
    running.end().await;
}

/// The images here that were pulled, without what runs now.
fn here(sim: &Sim) -> BTreeSet<String> {
    sim.with(|world, _| world.images.keys().cloned().collect())
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn images_that_were_fetched_and_are_older_than_what_is_kept_go() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    // This one was here before: somebody else brought it.
    sim.with(|world, _| world.images.insert("web:1".to_owned(), Behaviour::default()));
    let mut running = Running::on(&sim, clock, state.clone());
    for version in ["web:1", "web:2", "web:3", "web:4"] {
        running.wants(version, "").await;
        running.converged(version).await;
    }
    for_a_while().await;
    assert_eq!(here(&sim), names(&["web:1", "web:2", "web:3", "web:4"]), "two are kept beside the present one");
    running.end().await;
    // What was fetched is known over a restart.
    running = Running::on(&sim, clock, state);
    running.wants("web:5", "").await;
    running.converged("web:5").await;
    for_a_while().await;
    assert_eq!(here(&sim), names(&["web:1", "web:3", "web:4", "web:5"]));
    running.wants("web:5", "  update: {image_history: 0}\n").await;
    running.converged("web:5").await;
    for_a_while().await;
    // The last one that was available is gone back to if this one fails.
    assert_eq!(here(&sim), names(&["web:1", "web:4", "web:5"]));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_image_that_another_service_has_or_goes_back_to_stays() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let both = |web: &str, api: &str| {
        let document = |name: &str, image: &str| {
            format!(
                "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec: {{image: {image}, update: {{image_history: 0}}}}\n"
            )
        };
        let files = vec![("all.yaml".to_owned(), Ok((document("web", web) + &document("api", api)).into_bytes()))];
        Reading { files, ..Reading::default() }
    };
    for (web, api) in
        [("app:1", "app:1"), ("app:1", "app:2"), ("app:3", "app:2"), ("app:4", "app:2"), ("app:5", "app:2")]
    {
        running.readings.send(both(web, api)).await.unwrap();
        running.converged(web).await;
        for_a_while().await;
    }
    // Nothing is made of the first one any more, but api would go back to it; 3 was web's alone.
    assert_eq!(here(&sim), names(&["app:1", "app:2", "app:4", "app:5"]));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn containers_that_compose_made_go_on_until_their_tag_is_moved() {
    let (sim, clock) = engine();
    let spec = ServiceSpec { image: "web:1".to_owned(), ..ServiceSpec::default() };
    tag(&sim, "sha256:a", Behaviour::default());
    sim.with(|world, now| (1..=2).for_each(|number| world.add_compose(&web(), number, &spec, now)));
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", DIGEST).await;
    running.until(|status| runs(status, "sha256:a")).await;
    for_a_while().await;
    assert_eq!(creations(&sim), 0, "they are adopted as they are");
    tag(&sim, "sha256:b", Behaviour::default());
    running.until(|status| runs(status, "sha256:b")).await;
    assert_eq!(creations(&sim), 2);
    running.end().await;
}

#[test]
fn a_projects_rules_are_its_services_defaults() {
    let project = "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec: {update: {policy: digest, interval: 1h}}\n";
    let service = |name: &str, image: &str, update: &str| {
        format!(
            "---\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec: {{image: {image}{update}}}\n"
        )
    };
    let pinned = format!("web@sha256:{}", "0".repeat(64));
    let text = [
        project.to_owned(),
        service("inherits", "web:1", ""),
        service("quicker", "web:1", ", update: {interval: 1m}"),
        service("versions", "web:1.0.0", ", update: {semver: ^1}"),
        service("not", "web:1", ", update: none"),
        service("pinned", &pinned, ""),
    ];
    let files = vec![("all.yaml".to_owned(), Ok(text.concat().into_bytes()))];
    let catalog = Catalog::new(&Reading { files, ..Reading::default() }, &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    let asks = |name: &str| {
        let service = catalog.service(&ServiceName::new("shop", name)).unwrap();
        let questions = [updates::of_tag(service), updates::of_versions(service)];
        (questions.iter().flatten().count(), updates::how(service).interval.as_secs())
    };
    assert_eq!(asks("inherits"), (1, 3600));
    assert_eq!(asks("quicker"), (1, 60));
    assert_eq!(asks("versions"), (2, 3600));
    assert_eq!(asks("not").0, 0);
    assert_eq!(asks("pinned").0, 0);
}
