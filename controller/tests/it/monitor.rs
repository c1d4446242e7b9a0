//! The controller's own senses, on real connections: what counts as a request in flight, and what a probe says. The
//! judge is the server's own side: it knows what it has been asked and what it has answered.

mod containers;
mod inflight;
mod probes;

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use composed_core::engine::{self, ObserveRequest};
use composed_core::model::{
    DesiredService, Health, InFlight, Key, Observed, Probe, Propagation, Replica, ServiceName, ServiceRecord, State,
};
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_traffic::TrafficMonitor as _;
use composed_traffic::companion::NamespaceAccess;
use composed_traffic::inflight::{Among, DOUBT, QUIET, Requests, Talks, look, look_into};
use composed_traffic::local::LocalMonitor;
use crd_schema::{
    ComposeDuration, ContainerId, HttpProbe, ImageId, ImageRef, NetworkName, Readiness, Revision, ServiceSpec, TcpProbe,
};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::contract::docker::{docker, engine_or_skip};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

pub(crate) fn replica(id: &str, address: Option<&str>) -> Replica {
    Replica {
        id: ContainerId::new(id),
        name: "shop-web-1".to_owned(),
        number: 1,
        service: web(),
        revision: Revision::new("r"),
        generation: 1,
        image: ImageId::default(),
        image_name: ImageRef::default(),
        created_at: Timestamp::UNIX_EPOCH,
        state: State::Running,
        started_at: Some(Timestamp::UNIX_EPOCH),
        restart_count: 0,
        restarts: false,
        health: Health::None,
        probe: Probe::None,
        in_flight: InFlight::Unknown,
        propagation: Propagation::Unfollowed,
        busy_with: None,
        busy_until: None,
        pre_stop_failure: None,
        pre_stop_done: false,
        volumes: std::collections::BTreeMap::new(),
        post_start: None,
        data: std::collections::BTreeSet::new(),
        joined: Vec::new(),
        stopped_externally: false,
        created_by: None,
        compose: None,
        specification: None,
        failed_check: None,
        output: Vec::new(),
        out_of_memory: false,
        addresses: address.map(|address| (NetworkName::new("net"), address.to_owned())).into_iter().collect(),
        ports: [("8080/tcp".to_owned(), Vec::new())].into(),
        pid: 0,
    }
}

fn asking_http(port: u16, path: &str) -> ServiceSpec {
    let http = HttpProbe { path: path.to_owned(), port, ..HttpProbe::default() };
    let readiness = Readiness {
        http: Some(http),
        period: Some(ComposeDuration::from_millis(40)),
        timeout: Some(ComposeDuration::from_millis(200)),
        ..Readiness::default()
    };
    ServiceSpec { readiness: Some(readiness), ..ServiceSpec::default() }
}

/// A demo app in a container of its own on the engine of this machine.
pub(crate) struct Stage {
    pub(crate) prefix: String,
    pub(crate) docker: Arc<Docker>,
    pub(crate) replica: Replica,
}

impl Stage {
    pub(crate) async fn new() -> Option<Self> {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("sn{}x{}", std::process::id(), STAGES.fetch_add(1, Ordering::Relaxed));
        let engine = engine_or_skip(&prefix).await?;
        let own = tokio::process::Command::new(env!("CARGO_BIN_EXE_composed")).arg("own-rootfs").output().await;
        let changes = [r#"ENTRYPOINT ["/composed","demo-app"]"#, "EXPOSE 8080"].map(str::to_owned);
        let image = ImageRef::new(format!("{prefix}:app"));
        engine.import_image(own.expect("composed own-rootfs").stdout, &image, &changes).await.expect("import");
        let mut stage = Self { prefix, docker: Arc::new(engine), replica: replica("", None) };
        let id = docker(&["run", "-d", "--name", &format!("{}-app", stage.prefix), image.as_str()]).await.expect("run");
        let format = "{{.State.Pid}} {{.NetworkSettings.IPAddress}}";
        let seen = docker(&["inspect", "--format", format, &id]).await.expect("inspect");
        let (pid, address) = seen.split_once(' ').expect("two words");
        stage.replica =
            Replica { id: ContainerId::new(id), pid: pid.parse().expect("a pid"), ..replica("", Some(address)) };
        Some(stage)
    }

    pub(crate) fn image(&self) -> ImageRef {
        ImageRef::new(format!("{}:app", self.prefix))
    }

    fn connect(&self) -> TcpStream {
        let address = format!("{}:8080", self.replica.addresses["net"]);
        let begin = Instant::now();
        loop {
            match TcpStream::connect(&address) {
                Ok(stream) => return stream,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(10), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20)); // The pace of looking.
        }
    }

    /// Connections that have each had an answer.
    fn idle(&self, count: usize) -> Vec<TcpStream> {
        let idle = (0..count).map(|_| {
            let mut stream = self.connect();
            stream.write_all(REQUEST).unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            stream
        });
        idle.collect()
    }

    fn slow(&self, ms: u32) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(format!("GET /slow?ms={ms} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).unwrap();
        stream
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let script = r#"
            docker ps -aq --filter label=dev.composed.instance="$P" | xargs -r docker rm -f
            docker rm -f "$P-app"; docker rmi "$P:app"; docker volume rm "composed-key-$P""#;
        let command = std::process::Command::new("sh").args(["-c", script]).env("P", &self.prefix).output();
        if !command.is_ok_and(|output| output.status.success()) {
            eprintln!("something of {} may be left on the engine", self.prefix);
        }
    }
}
