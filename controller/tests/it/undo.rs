//! Going back by hand, on the simulated engine, its time stopped.

use std::sync::Arc;
use std::time::Duration;

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::cli::session::simulated;
use composed::clock::Clock;
use composed::controller::Controller;
use composed::engine::Engine;
use composed::engine::sim::{Behaviour, Sim, World};
use composed::images::Images;
use composed::listen::Hosts;
use composed::model::ServiceName;
use composed::orders::Undo;
use composed::source::files::Reading;
use composed::state::StateDir;
use crd_schema::status::{ConditionType, Reason, RevisionOutcome, ServiceStatus};
use tokio::sync::{mpsc, oneshot, watch};

pub(super) fn reading(image: &str, more: &str) -> Reading {
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec:\n  image: {image}\n  replicas: 2\n{more}"
    );
    Reading { files: vec![("web.yaml".to_owned(), Ok(text.into_bytes()))], ..Reading::default() }
}

pub(crate) fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

pub(crate) struct Running {
    pub(crate) board: Arc<Board>,
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
        images: impl FnOnce(&Arc<Board>) -> Arc<Images>,
    ) -> Self {
        let board = Arc::default();
        let images = images(&board);
        Self::begin(sim, clock, state, board, Some(images))
    }

    fn begin(sim: &Arc<Sim>, clock: Clock, state: StateDir, board: Arc<Board>, images: Option<Arc<Images>>) -> Self {
        Self::before(Arc::clone(sim) as Arc<dyn Engine>, sim, clock, state, board, images)
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
        board: Arc<Board>,
        images: Option<Arc<Images>>,
    ) -> Self {
        let controller = Controller {
            engine,
            senses: Arc::clone(sim) as Arc<dyn composed::traffic::Senses>,
            clock,
            state,
            board: Arc::clone(&board),
            images,
            notifier: None,
            max_rollouts: None,
            confirm_deletion: false,
        };
        let (readings, received) = mpsc::channel(1);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(controller.run(received, stopped));
        Self { board, readings, stop, task }
    }

    pub(crate) async fn wants(&self, image: &str, more: &str) {
        self.readings.send(reading(image, more)).await.unwrap();
    }

    pub(crate) async fn undo(&self, to: Option<&str>) -> Result<String, String> {
        let (answer, answered) = oneshot::channel();
        self.board.orders.give(Undo { service: web(), to: to.map(str::to_owned), answer });
        tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().unwrap()
    }

    pub(crate) async fn until(&self, done: impl Fn(&ServiceStatus) -> bool) -> ServiceStatus {
        let mut version = self.board.version();
        let wait = tokio::time::timeout(Duration::from_mins(10), async {
            loop {
                if let Some(status) = self.board.status(&web()).filter(&done) {
                    return status;
                }
                version.changed().await.unwrap();
            }
        });
        wait.await.unwrap_or_else(|_| panic!("{:#?}", self.board.status(&web())))
    }

    /// Waits until this image runs as the document wants it; returns its revision.
    pub(crate) async fn converged(&self, image: &str) -> String {
        let newest = |status: &ServiceStatus| status.history.first().is_some_and(|record| record.image == image);
        self.until(|status| newest(status) && standing(status) == Standing::Converged).await.revision
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
fn is_back(status: &ServiceStatus, revision: &str) -> bool {
    let serving: Vec<_> = status.instances.iter().filter(|instance| instance.phase == "Available").collect();
    standing(status) == Standing::Failed
        && serving.len() == 2
        && serving.iter().all(|instance| instance.revision == revision)
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
    assert!(said.contains(&two) && said.contains(&one) && said.contains("web.yaml:1 still asks"), "{said}");
    let status = running.until(|status| is_back(status, &one)).await;
    let condition = status.condition(ConditionType::Progressing).unwrap();
    assert_eq!(condition.reason, Reason::RolledBack);
    assert!(condition.message.contains("undone by hand") && condition.message.contains("web.yaml:1"), "{condition:?}");
    assert_eq!(status.history[0].outcome, RevisionOutcome::Failed);
    // Time passes, the controller is restarted: it stays so.
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(is_back(&running.board.status(&web()).unwrap(), &one));
    running.end().await;
    let running = Running::on(&sim, clock, state);
    running.wants("web:2", "").await;
    running.until(|status| is_back(status, &one)).await;
    tokio::time::sleep(Duration::from_mins(5)).await;
    assert!(is_back(&running.board.status(&web()).unwrap(), &one));
    // The next change of the document has its way.
    running.wants("web:3", "").await;
    let three = running.converged("web:3").await;
    // And by name, beyond the last one.
    running.undo(Some(&one[..8])).await.unwrap();
    running.until(|status| is_back(status, &one)).await;
    assert_ne!(one, three);
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
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    running.wants("web:2", "").await;
    let two = running.converged("web:2").await;
    running.board.orders.give(Undo { service: web(), to: None, answer });
    tokio::time::sleep(Duration::from_mins(2)).await;
    let status = running.board.status(&web()).unwrap();
    assert_eq!((status.revision, standing(&running.board.status(&web()).unwrap())), (two, Standing::Converged));
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
    tokio::spawn(composed::api::serve_tcp_on(listener, Arc::new(Board::default()), Hosts::default()));
    let request =
        "POST /v1/services/shop/web/undo HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}
