//! The endpoint view on a real engine: what a proxy sees, hears, and does not. The judge is a client that speaks HTTP by
//! hand, and the docker CLI behind the view's back.

mod answers;
mod events;
mod load;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use composed_api::client;
use composed_core::model::ServiceName;
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use composed_traffic::paths::{PropagationState, TrafficProvider as _};
use composed_traffic::view::{View, ViewOptions};
use crd_schema::status::{ReplicaPhase, ReplicaStatus, ServiceStatus};
use crd_schema::{ContainerId, Revision};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::contract::docker::{Run, docker, engine_or_skip};
use crate::monitor::replica;

/// Stands wherever a secret may stand.
const CANARY: &str = "c4n4ry";

/// A view of this machine's engine, with a board that the test writes.
struct Stand {
    statuses: Arc<StatusStore>,
    view: Arc<View>,
    server: JoinHandle<std::io::Result<()>>,
    socket: PathBuf,
    name: String,
    run: Arc<Run>,
    _dir: tempfile::TempDir,
}

impl Stand {
    async fn new() -> Option<Self> {
        static STANDS: AtomicU32 = AtomicU32::new(0);
        let run = Run::begin().await?;
        let name = format!("{}v{}", run.image.split(':').next().unwrap(), STANDS.fetch_add(1, Ordering::Relaxed));
        let engine = Arc::new(engine_or_skip(&name).await?);
        let statuses = Arc::new(StatusStore::default());
        let options = ViewOptions { labels: Vec::new(), throttle: Duration::from_secs(2), traefik: None };
        let view = View::new(engine, Arc::clone(&statuses), Clock::system(), options);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("view.sock");
        let (shared, path) = (Arc::clone(&view), socket.clone());
        let server = tokio::spawn(async move { shared.serve(&path).await });
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await; // The pace of looking.
        }
        Some(Self { statuses, view, server, socket, name, run, _dir: dir })
    }

    fn service(&self) -> ServiceName {
        ServiceName::new(self.name.clone(), "web")
    }

    /// A running container full of secrets; with an instance one of its own, with `web` one of the service.
    async fn container(&self, name: &str, instance: Option<&str>, web: bool) -> String {
        let name = format!("{}-{name}", self.name);
        let instance = format!("dev.composed.instance={}", instance.unwrap_or("nobodys"));
        let service = format!("dev.composed.service={}/web", self.name);
        let secret = format!("secret={CANARY}");
        let (variable, mount) = (format!("TOKEN={CANARY}"), format!("{}-{CANARY}:/data", self.name));
        let mut words = vec!["run", "-d", "--name", &name, "--label", &secret, "--label", "traefik.enable=true"];
        words.extend(["--env", &variable, "--env", "VIRTUAL_HOST=a.example", "--volume", &mount, "--label", &instance]);
        if web {
            words.extend(["--label", &service]);
        }
        let check = format!("/composed demo-app check {CANARY}");
        words.extend(["--health-cmd", &check, "--health-interval", "1h", &self.run.image]);
        words.extend(["--instance", CANARY]);
        docker(&words).await.expect("run")
    }

    /// Writes these replicas on the status store as serving; says which version.
    fn shows(&self, ids: &[&str]) -> u64 {
        let instance = |id: &&str| ReplicaStatus {
            name: format!("{}-web-1", self.name),
            id: ContainerId::new(*id),
            revision: Revision::new("r"),
            phase: ReplicaPhase::Available,
            since: Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: std::collections::BTreeMap::new(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        };
        let instances = ids.iter().map(instance).collect();
        self.statuses.publish(&self.service(), ServiceStatus { instances, ..ServiceStatus::default() });
        *self.statuses.version().borrow()
    }

    fn ready(&self) {
        self.statuses.set_health(|health| health.ready = true);
    }

    async fn get(&self, target: &str) -> (u16, Value) {
        let (status, body) = client::get(&self.socket, target).await.expect("an answer");
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    /// The ids that a list has.
    async fn listed(&self, query: &str) -> BTreeSet<String> {
        let (status, list) = self.get(&format!("/v1.41/containers/json?{query}")).await;
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect()
    }

    async fn events(&self, query: &str) -> Events {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        // Who lists and who listens is one client: it calls itself the same.
        let request = format!("GET /v1.41/events?{query} HTTP/1.0\r\nHost: d\r\nUser-Agent: composed\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events(BufReader::new(stream));
        let mut head = String::new();
        while head.is_empty() || !head.ends_with("\r\n\r\n") {
            assert!(events.0.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        assert!(head.contains(" 200 "), "{head}");
        events
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An event stream.
struct Events(BufReader<UnixStream>);

impl Events {
    /// The next line, or nothing at its end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await.expect("within 20 s").unwrap();
        (read > 0).then_some(line)
    }

    /// What happens next to one of these: the action and the place in the list.
    async fn next(&mut self, ids: &[&str]) -> (String, usize) {
        loop {
            let line = self.line().await.expect("it goes on");
            let event: Value = serde_json::from_str(&line).unwrap();
            assert!(!line.contains(CANARY), "{line}");
            if let Some(nth) = ids.iter().position(|id| event["Actor"]["ID"] == *id) {
                assert_eq!((&event["status"], &event["id"]), (&event["Action"], &event["Actor"]["ID"]), "both forms");
                return (event["Action"].as_str().unwrap().to_owned(), nth);
            }
        }
    }
}
