//! What a thousand readiness probes a second cost the controller: a new connection, a request and an answer each.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use composed_core::model::{Probe, Replica, ServiceName, ServiceRecord};
use composed_platform::clock::Clock;
use composed_traffic::{TrafficMonitor as _, local::LocalMonitor};
use crd_schema::{ComposeDuration, HttpProbe, Readiness, Revision, ServiceSpec};

use crate::docker::{BIN, cpu_ticks};

const REPLICAS: usize = 1000;
const SECONDS: u64 = 20;

pub(crate) async fn run() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // A process of its own: what it costs to answer is not ours.
    let mut app = Command::new(BIN);
    let app = app.arg("demo-app").env("PORT", port.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut app = app.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;

    let http = HttpProbe { path: "/healthz".to_owned(), port, ..HttpProbe::default() };
    let period = Some(ComposeDuration::from_secs(1));
    let readiness = Some(Readiness { http: Some(http), period, ..Readiness::default() });
    let spec = ServiceSpec { readiness, ..ServiceSpec::default() };
    let service = ServiceName::new("bench", "web");
    let mut replicas: Vec<_> = (0..REPLICAS).map(|number| replica(&service, number, &spec.revision())).collect();
    let monitor = LocalMonitor::new(None, Clock::system(), Arc::default());
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let files = open();
    monitor.refresh(&service, Some(&spec), &ServiceRecord::default(), &mut replicas).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (ticks, begun) = (cpu_ticks(std::process::id()), Instant::now());
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let (ticks, took) = (cpu_ticks(std::process::id()) - ticks, begun.elapsed().as_secs_f64());
    monitor.refresh(&service, Some(&spec), &ServiceRecord::default(), &mut replicas).await;
    let passing = replicas.iter().filter(|replica| replica.probe == Probe::Passing).count();
    drop(monitor);
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "{REPLICAS} probes a second for {took:.0} s: {:.1} % of a core (under 10), {passing} of {REPLICAS} pass, {files} open files \
         before, {} after",
        ticks as f64 / took,
        open()
    );
    app.kill().unwrap();
    app.wait().unwrap();
}

fn replica(service: &ServiceName, number: usize, revision: &Revision) -> Replica {
    serde_json::from_value(serde_json::json!({
        "id": format!("r{number}"), "name": format!("bench-web-{number}"), "number": number, "service": service,
        "revision": revision, "generation": 1, "created_at": "1970-01-01T00:00:00Z", "state": "running",
        "started_at": "1970-01-01T00:00:00Z", "addresses": {"net": "127.0.0.1"},
    }))
    .unwrap()
}
