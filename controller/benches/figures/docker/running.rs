//! A controller in this process, and what is read of one that runs as a program.

use crd_schema::Revision;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use composed::cli::progress::{Convergence, convergence};
use composed::controller::Controller;
use composed::state::StateDir;
use composed_core::engine::Engine;
use composed_core::model::{Replica, ServiceName, State};
use composed_core::plan::action::Target;
use composed_platform::clock::Clock;
use composed_source::files::Reading;
use composed_status::store::StatusStore;
use composed_traffic::local::LocalMonitor;
use tokio::sync::{mpsc, watch};

use super::spy::Spy;
use super::{BIN, Bench};

pub(super) struct Running {
    pub(super) statuses: Arc<StatusStore>,
    pub(super) readings: mpsc::Sender<Reading>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) controller: tokio::task::JoinHandle<()>,
    pub(super) name: ServiceName,
}

impl Running {
    pub(super) fn start(bench: &Bench, begin: impl FnOnce(mpsc::Sender<Reading>), spy: Option<Arc<Spy>>) -> Self {
        let statuses = Arc::new(StatusStore::default());
        let clock = Clock::system();
        let (stop, stopped) = watch::channel(false);
        let (readings, received) = mpsc::channel(1);
        begin(readings.clone());
        let docker = Arc::clone(&bench.docker);
        let controller = Controller {
            monitor: LocalMonitor::new(Some(Arc::clone(&docker)), clock, Arc::clone(&statuses)),
            engine: spy.map_or(docker as Arc<dyn Engine>, |spy| spy),
            clock,
            state: StateDir::default(),
            statuses: Arc::clone(&statuses),
            images: None,
            notifier: None,
            max_rollouts: None,
            confirm_deletion: true,
        };
        let controller = tokio::spawn(controller.run(received, stopped));
        Self { statuses, readings, stop, controller, name: ServiceName::new(&bench.instance, "web") }
    }

    pub(super) fn revision(&self) -> Revision {
        self.statuses.status(&self.name).unwrap().revision.clone()
    }

    pub(super) async fn converged(&self, other_than: Option<&Revision>) {
        let deadline = Instant::now() + Duration::from_mins(3);
        let there = |status: &crd_schema::status::ServiceStatus| {
            Some(&status.revision) != other_than && convergence(status) == Convergence::Converged
        };
        while !self.statuses.status(&self.name).is_some_and(|status| there(&status)) {
            assert!(Instant::now() < deadline, "{:#?}", self.statuses.status(&self.name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has everything removed, and ends.
    pub(super) async fn end(self) {
        self.readings.send(Reading::default()).await.unwrap();
        let gone = |statuses: &StatusStore| {
            statuses.all().is_empty()
                && statuses.events().iter().any(|event| event.action.starts_with("remove network"))
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while !gone(&self.statuses) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.stop.send_replace(true);
        self.controller.await.unwrap();
    }
}

pub(super) fn target(replica: &Replica) -> Target {
    assert_ne!(replica.state, State::Dead);
    Target { id: replica.id.clone(), name: replica.name.clone() }
}

pub(super) async fn wait_for(socket: &PathBuf, text: &str) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let output = Command::new(BIN).args(["status", "--socket"]).arg(socket).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{output:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// All actions so far.
pub(super) async fn metrics(socket: &Path) -> u64 {
    let (_, body) = composed_api::client::get(socket, "/metrics").await.unwrap();
    let text = String::from_utf8(body).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("composed_actions_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// User and system time in ticks of 10 ms.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub(super) fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
