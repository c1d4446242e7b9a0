//! Steady requests to the endpoints that the status names, each counted by who served it, or as failed.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use composed_platform::http_client::{Body, Head, exchange};
use composed_status::store::StatusStore;
use futures_util::future::BoxFuture;
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpStream;

/// Sends one request to an endpoint; answers with the version that served it.
pub(super) type Ask = Arc<dyn Fn(String) -> BoxFuture<'static, Result<String, String>> + Send + Sync>;

/// A request without an answer by then has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of the requests so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Report {
    pub(super) sent: u64,
    pub(super) failed: u64,
    pub(super) served: BTreeMap<String, u64>,
    pub(super) last_error: Option<String>,
}

impl Report {
    /// What came after `earlier`.
    pub(super) fn minus(&self, earlier: &Self) -> Self {
        let before = |version: &String| earlier.served.get(version).copied().unwrap_or(0);
        Self {
            sent: self.sent - earlier.sent,
            failed: self.failed - earlier.failed,
            served: self.served.iter().map(|(v, count)| (v.clone(), count - before(v))).collect(),
            last_error: self.last_error.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served: Vec<_> = self.served.iter().map(|(version, count)| format!("{count} by v{version}")).collect();
        write!(f, "requests: {} sent, {}, {} FAILED", self.sent, served.join(", "), self.failed)?;
        self.last_error.as_ref().map_or(Ok(()), |error| write!(f, " (last: {error})"))
    }
}

/// Requests that are sent until this is dropped.
pub(super) struct Load {
    report: Arc<Mutex<Report>>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    /// Sends `rate` requests a second, whether or not earlier ones have been answered, to each endpoint in turn.
    pub(super) fn start(statuses: Arc<StatusStore>, rate: u32, ask: Ask) -> Self {
        let report = Arc::new(Mutex::new(Report::default()));
        let counts = Arc::clone(&report);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let turn = AtomicUsize::new(0);
            loop {
                ticks.tick().await;
                statuses.note_reader();
                let endpoints: Vec<_> = statuses.all().iter().flat_map(|status| status.endpoints.clone()).collect();
                let nth = turn.fetch_add(1, Ordering::Relaxed) % endpoints.len().max(1);
                let counts = Arc::clone(&counts);
                let answer = endpoints.into_iter().nth(nth).map(|endpoint| ask(endpoint));
                tokio::spawn(async move {
                    let answer = match answer {
                        Some(answer) => tokio::time::timeout(REQUEST_TIMEOUT, answer)
                            .await
                            .unwrap_or_else(|_| Err("no answer".to_owned())),
                        None => Err("no endpoint is available".to_owned()),
                    };
                    let mut counts = counts.lock();
                    counts.sent += 1;
                    match answer {
                        Ok(version) => *counts.served.entry(version).or_default() += 1,
                        Err(error) => {
                            counts.failed += 1;
                            counts.last_error = Some(error);
                        }
                    }
                });
            }
        });
        Self { report, task }
    }

    /// What came of them so far.
    pub(super) fn report(&self) -> Report {
        self.report.lock().clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A real request, each on its own connection.
pub(super) fn over_http() -> Ask {
    Arc::new(|endpoint| Box::pin(async move { get(&endpoint).await.map_err(|error| error.to_string()) }))
}

async fn get(endpoint: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(endpoint).await?;
    let request =
        Request::get("/").header("host", endpoint).header("connection", "close").body(Empty::<Bytes>::new())?;
    let response = exchange(stream, request, Head::default(), Body::Ignored, REQUEST_TIMEOUT).await?;
    if !response.status.is_success() {
        return Err(format!("status {}", response.status).into());
    }
    let version = response.headers.get("x-version").and_then(|value| value.to_str().ok()).unwrap_or("?").to_owned();
    Ok(version)
}
