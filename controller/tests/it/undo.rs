//! Going back by hand, on the simulated engine, its time stopped.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::cli::session::simulated;
use composed::controller::Controller;
use composed::state::StateDir;
use composed_core::engine::Engine;
use composed_core::model::{RolloutOptions, ServiceName};
use composed_platform::clock::Clock;
use composed_platform::listen::Hosts;
use composed_registry::RegistryImages;
use composed_simulator::{Behaviour, Sim, World};
use composed_source::files::Reading;
use composed_status::commands::Undo;
use composed_status::store::StatusStore;
use crd_schema::status::{ConditionType, Reason, ReplicaPhase, RevisionOutcome, ServiceStatus};
use crd_schema::{ContainerId, ImageRef, Revision};
use tokio::sync::{mpsc, oneshot, watch};

use crate::rollout::roll_out;

pub(super) fn reading(image: &str, more: &str) -> Reading {
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec:\n  image: {image}\n  replicas: 2\n{more}"
    );
    Reading { files: vec![("web.yaml".to_owned(), Ok(text.into_bytes().into()))], ..Reading::default() }
}

pub(crate) fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

pub(crate) struct Running {
    pub(crate) statuses: Arc<StatusStore>,
    pub(crate) readings: mpsc::Sender<Reading>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    pub(crate) fn on(sim: &Arc<Sim>, clock: Clock, state: StateDir) -> Self {
        Self::begin(sim, clock, state, Arc::default(), None)
    }

    /// With somebody who asks registries.
    pub(crate) fn with(
        sim: &Arc<Sim>,
        clock: Clock,
        state: StateDir,
        images: impl FnOnce(&Arc<StatusStore>) -> Arc<RegistryImages>,
    ) -> Self {
        let statuses = Arc::default();
        let images = images(&statuses);
        Self::begin(sim, clock, state, statuses, Some(images))
    }

    fn begin(
        sim: &Arc<Sim>,
        clock: Clock,
        state: StateDir,
        statuses: Arc<StatusStore>,
        images: Option<Arc<RegistryImages>>,
    ) -> Self {
        Self::before(Arc::clone(sim) as Arc<dyn Engine>, sim, clock, state, statuses, images)
    }

    /// With an engine before the simulated one.
    pub(crate) fn behind(engine: Arc<dyn Engine>, sim: &Arc<Sim>, clock: Clock, state: StateDir) -> Self {
        Self::before(engine, sim, clock, state, Arc::default(), None)
    }

    fn before(
        engine: Arc<dyn Engine>,
        sim: &Arc<Sim>,
        clock: Clock,
        state: StateDir,
        statuses: Arc<StatusStore>,
        images: Option<Arc<RegistryImages>>,
    ) -> Self {
        let controller = Controller {
            engine,
            monitor: Arc::clone(sim) as Arc<dyn composed_traffic::TrafficMonitor>,
            clock,
            state,
            statuses: Arc::clone(&statuses),
            images,
            notifier: None,
            max_rollouts: None,
            confirm_deletion: false,
        };
        let (readings, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(controller.run(received, stopped));
        Self { statuses, readings, stop, task }
    }

    pub(crate) async fn wants(&self, image: &str, more: &str) {
        self.readings.send(reading(image, more)).await.unwrap();
    }

    pub(crate) async fn undo(&self, to: Option<&str>) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        self.statuses.commands.submit(Undo {
            service: web(),
            to: to.map(str::to_owned),
            by: Some("user 7".to_owned()),
            answer,
        });
        tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().unwrap()
    }

    pub(crate) async fn until(&self, done: impl Fn(&ServiceStatus) -> bool) -> Arc<ServiceStatus> {
        let mut version = self.statuses.version();
        let wait = tokio::time::timeout(Duration::from_mins(10), async {
            loop {
                if let Some(status) = self.statuses.status(&web()).filter(|status| done(status)) {
                    return status;
                }
                version.changed().await.unwrap();
            }
        });
        wait.await.unwrap_or_else(|_| panic!("{:#?}", self.statuses.status(&web())))
    }

    /// Waits until this image runs as the document wants it; returns its revision.
    pub(crate) async fn converged(&self, image: &str) -> Revision {
        let newest = |status: &ServiceStatus| status.history.first().is_some_and(|record| record.image == image);
        self.until(|status| newest(status) && convergence(status) == Convergence::Converged).await.revision.clone()
    }

    /// As a crash does: in the middle of whatever it does.
    pub(crate) async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
    }
}

/// Whether all that serves is of this revision, against what the document says.
fn is_back(status: &ServiceStatus, revision: &Revision) -> bool {
    let serving: Vec<_> =
        status.instances.iter().filter(|instance| instance.phase == ReplicaPhase::Available).collect();
    convergence(status) == Convergence::Undone
        && serving.len() == 2
        && serving.iter().all(|instance| instance.revision == *revision)
}

pub(crate) fn engine() -> (Arc<Sim>, Clock) {
    let clock = Clock::system();
    let mut world = World::default();
    world.anything = Some(Behaviour::default());
    (simulated(world, clock), clock)
}

#[tokio::test(start_paused = true)]
async fn an_undone_revision_stays_undone_until_its_document_changes() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", "").await;
    let one = running.converged("web:1").await;
    assert!(running.undo(None).await.unwrap_err().contains("no earlier revision"));
    running.wants("web:2", "").await;
    let two = running.converged("web:2").await;
    for (to, word) in [("zzz", "no revision zzz"), ("", "no revision"), (two.as_str(), "is what the document asks for")]
    {
        let why = running.undo(Some(to)).await.unwrap_err();
        assert!(why.contains(word), "{to}: {why}");
    }
    assert_eq!(running.converged("web:2").await, two, "nothing came of that");

    let said = running.undo(None).await.unwrap();
    assert!(
        said.contains(two.as_str()) && said.contains(one.as_str()) && said.contains("web.yaml:1 still asks"),
        "{said}"
    );
    let status = running.until(|status| is_back(status, &one)).await;
    let condition = status.condition(ConditionType::Progressing).unwrap();
    assert_eq!((condition.status, condition.reason), (true, Reason::Undone));
    assert!(condition.message.contains("undone by hand") && condition.message.contains("web.yaml:1"), "{condition:?}");
    assert!(!status.condition(ConditionType::ReplicaFailure).unwrap().status, "it is no failure");
    assert!(status.instances.iter().all(|one| one.phase != ReplicaPhase::Retained), "and nothing is kept as failed");
    assert_eq!(status.history[0].outcome, RevisionOutcome::Available, "it is what it was");
    let undone = status.history[0].undone.clone().unwrap();
    assert_eq!((undone.to, undone.by.as_deref()), (one.clone(), Some("user 7")));
    assert_eq!(status.current_revision.as_ref(), Some(&one));
    let said = running.undo(None).await.unwrap();
    assert!(said.contains("there is nothing to do"), "{said}");
    let said = running.undo(Some(one.as_str())).await.unwrap();
    assert!(said.contains("there is nothing to do"), "{said}");
    // Time passes, the controller is restarted: it stays so.
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(is_back(&running.statuses.status(&web()).unwrap(), &one));
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:2", "").await;
    running.until(|status| is_back(status, &one)).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(is_back(&running.statuses.status(&web()).unwrap(), &one));
    // The next change of the document has its way.
    running.wants("web:3", "").await;
    let three = running.converged("web:3").await;
    // And by name, beyond the last one.
    running.undo(Some(&one.as_str()[..8])).await.unwrap();
    running.until(|status| is_back(status, &one)).await;
    assert_ne!(one, three);
    running.end().await;
}

/// A service whose second revision runs after its first one; the two.
async fn changed_once(running: &Running) -> (Revision, Revision) {
    running.wants("web:1", "").await;
    let one = running.converged("web:1").await;
    running.wants("web:2", "").await;
    (one, running.converged("web:2").await)
}

fn ids(status: &ServiceStatus) -> BTreeSet<ContainerId> {
    status.instances.iter().map(|one| one.id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_rollout_after_an_undo_replaces_what_runs() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let (one, two) = changed_once(&running).await;
    running.undo(None).await.unwrap();
    let before = ids(&*running.until(|status| is_back(status, &one)).await);
    let said = roll_out(&running, RolloutOptions::default()).await.unwrap();
    assert!(said.contains("as it runs") && said.contains(one.as_str()), "{said}");
    let anew = Revision::new(format!("{one}-1"));
    let after = running.until(|status| is_back(status, &anew)).await;
    assert!(ids(&after).is_disjoint(&before), "{after:#?}");
    // A rollout of it that fails goes back to what ran.
    let bad = Behaviour { exits_after: Some(Duration::from_millis(200)), ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:1"), bad));
    roll_out(&running, RolloutOptions::default()).await.unwrap();
    let back = running.until(|status| convergence(status) == Convergence::Failed && status.waiting.is_empty()).await;
    let serving = back.instances.iter().filter(|one| one.phase == ReplicaPhase::Available);
    assert!(serving.clone().count() == 2 && serving.clone().all(|replica| replica.revision == anew), "{back:#?}");
    // And the file has its way when that is asked for, by either word.
    roll_out(&running, RolloutOptions { to_file: true, ..RolloutOptions::default() }).await.unwrap();
    let there = |status: &ServiceStatus| convergence(status) == Convergence::Converged;
    assert!(running.until(there).await.revision.as_str().starts_with(two.as_str()));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn to_go_back_to_what_the_document_asks_for_ends_an_undo() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let (one, two) = changed_once(&running).await;
    running.undo(None).await.unwrap();
    running.until(|status| is_back(status, &one)).await;
    let said = running.undo(Some(two.as_str())).await.unwrap();
    assert!(said.contains("that is what web.yaml:1 asks for"), "{said}");
    running
        .until(|status| {
            convergence(status) == Convergence::Converged && status.instances.iter().all(|one| one.revision == two)
        })
        .await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_pauses_after_failures_can_go_back_by_hand() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let pause = "  rollout: {failure_action: pause}\n";
    running.wants("web:1", pause).await;
    let one = running.converged("web:1").await;
    running.wants("web:2", pause).await;
    running.converged("web:2").await;
    running.undo(None).await.unwrap();
    running.until(|status| is_back(status, &one)).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_has_gone_away_has_asked_for_nothing() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let (answer, answered) = oneshot::channel();
    drop(answered);
    let (_, two) = changed_once(&running).await;
    running.statuses.commands.submit(Undo { service: web(), to: None, by: None, answer });
    tokio::time::sleep(Duration::from_mins(2)).await;
    let status = running.statuses.status(&web()).unwrap();
    assert_eq!(
        (status.revision.clone(), convergence(&running.statuses.status(&web()).unwrap())),
        (two, Convergence::Converged)
    );
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_wanted_cannot_be_undone() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.readings.send(Reading::default()).await.unwrap();
    assert!(running.undo(None).await.unwrap_err().contains("is not wanted"));
    running.end().await;
}

#[tokio::test]
async fn an_address_only_shows() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(composed_api::serve_tcp_on(listener, Arc::new(StatusStore::default()), Hosts::default()));
    let request =
        "POST /v1/services/shop/web/undo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
