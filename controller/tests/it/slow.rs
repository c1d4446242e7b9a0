//! What is slow or does not answer holds up nobody else: one call of the engine hangs, and an unrelated change goes on as if it
//! were alone. On the simulated engine, its time stopped.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::engine::sim::{Fault, Sim};
use composed::engine::{Claim, Context, Engine, EngineError, Scope};
use composed::model::{Key, Listing, ServiceName, Snapshot};
use composed::plan::action::Verb;
use composed::source::files::{Reading, Source};
use composed::state::StateDir;
use crd_schema::status::ConditionType;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::pause::pause;
use crate::undo::{Running, engine, web};

/// The simulated engine, of which some calls are held until they are let go, and all are counted.
pub(crate) struct Slow {
    sim: Arc<Sim>,
    /// What is held: calls whose words hold this.
    held: watch::Sender<Option<&'static str>>,
    /// What takes so long.
    takes: Mutex<Option<(&'static str, Duration)>>,
    calls: Mutex<Vec<(Instant, String)>>,
}

impl Slow {
    pub(crate) fn new(sim: &Arc<Sim>) -> Arc<Self> {
        Arc::new(Self {
            sim: Arc::clone(sim),
            held: watch::Sender::default(),
            takes: Mutex::default(),
            calls: Mutex::default(),
        })
    }

    /// Notes a call; comes back when it is not held.
    async fn call(&self, words: String) {
        self.calls.lock().unwrap().push((Instant::now(), words.clone()));
        let takes = *self.takes.lock().unwrap();
        if let Some((_, time)) = takes.filter(|(what, _)| words.contains(what)) {
            tokio::time::sleep(time).await;
        }
        drop(self.held.subscribe().wait_for(|held| held.is_none_or(|held| !words.contains(held))).await);
    }

    fn hold(&self, what: Option<&'static str>) {
        self.held.send_replace(what);
    }

    /// The calls since this was last asked.
    pub(crate) fn take(&self) -> Vec<(Instant, String)> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    /// When the last call with these words was made.
    fn when(&self, words: &str) -> Option<Instant> {
        self.calls.lock().unwrap().iter().rev().find(|(_, call)| call.contains(words)).map(|(at, _)| *at)
    }
}

impl Engine for Slow {
    fn describe(&self) -> String {
        self.sim.describe()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.sim.watch()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        async move {
            self.call("list".to_owned()).await;
            self.sim.list(compose).await
        }
        .boxed()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a Scope,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        async move {
            for service in scope.services.iter().flatten() {
                self.call(format!("observe {service}.")).await;
            }
            self.sim.observe(scope, listing).await
        }
        .boxed()
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a Context) -> BoxFuture<'a, Result<(), EngineError>> {
        async move {
            self.call(verb.to_string()).await;
            self.sim.apply(verb, context).await
        }
        .boxed()
    }

    fn claim(&self) -> BoxFuture<'_, Result<Claim, EngineError>> {
        self.sim.claim()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.sim.release()
    }
}

/// Services of these names, each with the number of its version.
fn reading<'a>(services: impl IntoIterator<Item = (&'a str, u32)>) -> Reading {
    let one = |(name, version): (&str, u32)| {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  \
             image: \"app:1\"\n  environment: {{V: '{version}'}}\n  replicas: 2\n"
        );
        (format!("{name}.yaml"), Ok(text.into_bytes()))
    };
    Reading { files: services.into_iter().map(one).collect(), ..Reading::default() }
}

/// A Compose project of these services.
fn compose(dir: &tempfile::TempDir, services: &str) -> Reading {
    std::fs::write(dir.path().join("compose.yaml"), format!("name: shop\nservices:\n{services}")).unwrap();
    Source::from(dir.path()).read()
}

fn name(service: &str) -> ServiceName {
    ServiceName::new("shop", service)
}

async fn until(running: &Running, what: &str, done: impl Fn(&Board) -> bool) {
    let mut version = running.board.version();
    let wait = async {
        while !done(&running.board) {
            version.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// Waits for a call with these words that was made after `since`.
async fn called(slow: &Slow, words: &str, since: Instant) {
    let wait = async {
        while slow.when(words).is_none_or(|at| at < since) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.unwrap_or_else(|_| panic!("not called: {words}"));
}

fn is_at(board: &Board, service: &str, generation: u64) -> bool {
    board
        .status(&name(service))
        .is_some_and(|status| status.generation == generation && standing(&status) == Standing::Converged)
}

/// Whatever hangs of one service, the other one is rolled out as if it were alone.
#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_its_own_service_alone() {
    for hangs in ["observe shop/a.", "create shop-a-", "start shop-a-", "stop shop-a-", "remove shop-a-"] {
        let (sim, clock) = engine();
        let slow = Slow::new(&sim);
        let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
        running.readings.send(reading([("a", 1), ("b", 1)])).await.unwrap();
        until(&running, hangs, |board| is_at(board, "a", 1) && is_at(board, "b", 1)).await;

        let begin = Instant::now();
        running.readings.send(reading([("a", 1), ("b", 2)])).await.unwrap();
        until(&running, hangs, |board| is_at(board, "b", 2)).await;
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
        until(&running, hangs, |board| is_at(board, "b", 3)).await;
        assert!(slow.when("create shop-b-").is_some_and(|at| at - begin < alone), "{hangs}: it is begun");
        assert!(begin.elapsed() <= alone + Duration::from_secs(1), "{hangs}: {:?}, alone {alone:?}", begin.elapsed());
        assert!(!is_at(&running.board, "a", 2) && running.board.health().blocked.is_none(), "{hangs}");

        slow.hold(None);
        until(&running, hangs, |board| is_at(board, "a", 2)).await;
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
    until(&running, "the first", |board| is_at(board, "a", 1)).await;
    slow.hold(Some("list"));
    let begin = Instant::now();
    running.readings.send(reading([("a", 2)])).await.unwrap();
    until(&running, "it is told", |board| board.health().blocked.is_some()).await;
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    let health = running.board.health();
    assert!(health.blocked.is_some_and(|why| why.contains("list of containers")) && health.blocked_since.is_some());
    tokio::time::sleep(Duration::from_mins(1)).await;
    slow.hold(None);
    until(&running, "it goes on", |board| is_at(board, "a", 2)).await;
    let health = running.board.health();
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
        until(&running, slow_at, |board| is_at(board, "a", 1) && is_at(board, "b", 1)).await;
        *slow.takes.lock().unwrap() = Some((slow_at, Duration::from_secs(2)));
        let begin = Instant::now();
        for version in 2..300 {
            running.readings.send(reading([("a", 2), ("b", version)])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(700)).await;
            if is_at(&running.board, "a", 2) {
                break;
            }
        }
        assert!(is_at(&running.board, "a", 2), "{slow_at}: not after {:?}", begin.elapsed());
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
        until(&running, "all", |board| names.iter().all(|name| is_at(board, name, 1))).await;
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
        until(&running, "the change", |board| is_at(board, "s5", 2)).await;
        let calls: Vec<_> = slow.take().into_iter().map(|(_, call)| call).collect();
        let others = calls.iter().filter(|call| call.starts_with("observe") && !call.contains("shop/s5."));
        assert_eq!(others.count(), 0, "{calls:#?}");
        costs.push(calls.len());
        running.end().await;
    }
    assert!(costs[1] <= costs[0] + 2, "{costs:?}");
}

/// What was wanted when a pass began is not what is wanted when its container answers at last: by then most documents have
/// gone at once, and that nothing is removed therefore must not be forgotten because of a wish of before.
#[tokio::test(start_paused = true)]
async fn a_pass_that_began_before_a_reading_forgets_nothing_of_what_is_held() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let at = |names: &[&'static str]| reading(names.iter().map(|name| (*name, 1)));
    running.readings.send(at(&["a", "b", "c", "x"])).await.unwrap();
    until(&running, "the first", |board| ["a", "b", "c", "x"].iter().all(|name| is_at(board, name, 1))).await;
    let begin = Instant::now();
    slow.hold(Some("observe shop/x."));
    running.readings.send(at(&["a", "b", "c"])).await.unwrap();
    called(&slow, "observe shop/x.", begin).await;
    let others = ["d", "e", "f", "g", "h"];
    running.readings.send(at(&["x", "d", "e", "f", "g", "h"])).await.unwrap();
    until(&running, "the others", |board| others.iter().all(|name| is_at(board, name, 1))).await;
    slow.hold(None);
    tokio::time::sleep(Duration::from_mins(3)).await;
    for name in ["a", "b", "c"] {
        let status = running.board.status(&super::slow::name(name));
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
    until(&running, "the first", |board| is_at(board, "a", 1) && is_at(board, "b", 1)).await;
    running.end().await;
    let of_b = sim.with(|world, _| {
        let ids: Vec<_> = world.containers.of(&name("b")).map(|one| one.replica.id.clone()).collect();
        ids.iter().filter_map(|id| world.containers.remove(id)).collect::<Vec<_>>()
    });
    let running = Running::on(&sim, clock, StateDir::default());
    running.readings.send(reading([("a", 1)])).await.unwrap();
    until(&running, "the second", |board| is_at(board, "a", 1) && board.health().ready && board.health().settled).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    sim.with(|world, _| of_b.into_iter().for_each(|one| world.containers.insert(one)));
    // The first list finds it, and those after it fail.
    let mut lists = 0;
    sim.break_with(Some(Box::new(move |call| {
        lists += usize::from(call == "list");
        (call == "list" && lists > 1).then_some(Fault::Lost)
    })));
    until(&running, "the engine is away", |board| board.health().blocked.is_some()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!running.board.health().settled);
    sim.break_with(None);
    until(&running, "all is looked at", |board| board.health().settled).await;
    assert!(running.board.status(&name("b")).is_some(), "it was not looked at");
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
    until(&running, "both", |board| is_at(board, "a", 1) && is_at(board, "b", 1)).await;
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    running.end().await;
}

/// A pass that has taken a command in and is not done with its calls yet is known to have: the next command is answered by it.
#[tokio::test(start_paused = true)]
async fn a_command_is_answered_by_those_that_were_taken_in() {
    let (sim, clock) = engine();
    let slow = Slow::new(&sim);
    let running = Running::behind(Arc::clone(&slow) as Arc<dyn Engine>, &sim, clock, StateDir::default());
    let is_paused =
        |board: &Board| board.status(&web()).is_some_and(|status| status.condition(ConditionType::Paused).is_some());
    running.readings.send(reading([("web", 1)])).await.unwrap();
    until(&running, "the first", |board| is_at(board, "web", 1)).await;
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
        Reading { files: vec![("all.yaml".to_owned(), Ok(text.into_bytes()))], ..Reading::default() }
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
    assert!(running.board.health().ready && slow.when("create shop-api-").is_some());
    let here: Vec<_> = sim.with(|world, _| world.images.keys().cloned().collect());
    assert!(here.contains(&"app:1".to_owned()), "api would go back to app:1: {here:?}");
    slow.hold(None);
    running.end().await;
}
