//! Steady requests by a client of our own: an open loop (a slow answer delays no later request), every second request
//! over a kept connection, to the endpoints that the status names, followed by long-poll on the controller's socket, or to
//! a proxy. Nothing is tried again: each failure counts.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

use crate::open_loop::OpenLoop;
use crate::world::World;
use crate::{millis, secs};

/// Requests a second, unless told otherwise. Several scenarios play side by side: at 300 a second each, two cores were 100 % busy with
/// clients and applications of the debug build, what came late came ever later, and healthchecks failed with it.
pub const RATE: u32 = 100;
/// A request without an answer by then has failed. What is lost is never answered; a machine that stands still for some
/// seconds, as a busy one does, makes answers late: how late, the report says.
pub(crate) const PATIENCE: Duration = secs(20);
/// So many failures are kept in words.
const WORDS: usize = 40;

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests begun.
    pub sent: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// Good answers, by version.
    pub served: BTreeMap<String, u64>,
    /// The first failures in words, with the time since the start.
    pub errors: Vec<String>,
    /// How often the endpoints changed.
    pub changes: u64,
    /// The longest good answer.
    pub slowest: Duration,
}

impl Report {
    /// Counts an answer to a request that was begun at `began`, of those that are sent since `start`.
    pub(crate) fn count(
        &mut self,
        start: Instant,
        began: Instant,
        answer: Result<String, String>,
        how: impl FnOnce() -> String,
    ) {
        match answer {
            Ok(version) => {
                *self.served.entry(version).or_default() += 1;
                self.slowest = self.slowest.max(began.elapsed());
            }
            Err(error) => {
                self.failed += 1;
                if self.errors.len() < WORDS {
                    self.errors.push(format!("{:.2?} {}: {error}", start.elapsed(), how()));
                }
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let served: Vec<_> = self.served.iter().map(|(version, count)| format!("{count} by v{version}")).collect();
        write!(
            f,
            "{} requests sent, {} FAILED, {}; slowest {:?}, {} changes of endpoints",
            self.sent,
            self.failed,
            served.join(", "),
            self.slowest,
            self.changes
        )
    }
}

/// Requests that are sent until this is stopped or dropped.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    requests: OpenLoop,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    project: String,
    service: String,
    host: Option<String>,
    began: Instant,
    report: Mutex<Report>,
    endpoints: Mutex<Vec<String>>,
    idle: Mutex<BTreeMap<String, VecDeque<TcpStream>>>,
}

impl Traffic {
    /// Begins to send [`RATE`] requests a second to a service.
    pub fn start(world: &World, service: &str) -> Self {
        Self::at_rate(world, service, RATE)
    }

    /// Begins to send so many requests a second, as soon as there are endpoints.
    pub fn at_rate(world: &World, service: &str, rate: u32) -> Self {
        Self::to(world, service, None, Vec::new(), rate)
    }

    /// Begins to send so many requests a second to a proxy that knows the service as `host`.
    pub fn through(world: &World, proxy: &str, host: &str, rate: u32) -> Self {
        Self::to(world, "", Some(host.to_owned()), vec![proxy.to_owned()], rate)
    }

    fn to(world: &World, service: &str, host: Option<String>, endpoints: Vec<String>, rate: u32) -> Self {
        let follows = endpoints.is_empty();
        let shared = Arc::new(Shared {
            socket: world.socket(),
            project: world.project.clone(),
            service: service.to_owned(),
            host,
            began: Instant::now(),
            report: Mutex::default(),
            endpoints: Mutex::new(endpoints),
            idle: Mutex::default(),
        });
        let requests = OpenLoop::new();
        if follows {
            requests.spawn(follow(Arc::clone(&shared)));
        }
        crate::within(secs(20), "the status names endpoints", || {
            crate::that(!lock(&shared.endpoints).is_empty(), || "none yet".to_owned())
        });
        let all = Arc::clone(&shared);
        requests.send(rate, move |turn| one(Arc::clone(&all), turn));
        Self { shared, requests }
    }

    /// What came of them so far.
    pub fn so_far(&self) -> Report {
        lock(&self.shared.report).clone()
    }

    /// Ends: those under way are waited for.
    pub fn stop(mut self) -> Report {
        self.requests.stop(PATIENCE);
        self.so_far()
    }
}

/// Keeps the endpoints as the status has them. A controller that is away, or has not looked yet, changes nothing: a
/// client goes on with what it knew last.
async fn follow(shared: Arc<Shared>) {
    let mut version: Option<u64> = None;
    loop {
        let path = version.map_or("/v1/services".to_owned(), |version| format!("/v1/services?after={version}"));
        if let Ok(Ok(overview)) = timeout(secs(40), ask(&shared.socket, &path)).await {
            version = overview["version"].as_u64();
            shared.take(&overview);
        } else {
            version = None;
            sleep(millis(50)).await; // It is asked anew, and not in a busy loop.
        }
    }
}

impl Shared {
    fn take(&self, overview: &Value) {
        let services = overview["services"].as_array().cloned().unwrap_or_default();
        let Some(status) =
            services.iter().find(|s| s["project"] == self.project.as_str() && s["name"] == self.service.as_str())
        else {
            return;
        };
        let named = status["endpoints"].as_array().cloned().unwrap_or_default();
        let named: Vec<String> = named.iter().filter_map(|e| e.as_str().map(str::to_owned)).collect();
        // By the loopback ports, as people try it; a service without any is asked at its own addresses.
        let (loopback, inside): (Vec<_>, Vec<_>) = named.into_iter().partition(|e| e.starts_with("127.0.0.1:"));
        let named = if loopback.is_empty() { inside } else { loopback };
        let mut endpoints = lock(&self.endpoints);
        if *endpoints != named {
            lock(&self.report).changes += 1;
            // Nobody keeps a connection to whom the status no longer names.
            lock(&self.idle).retain(|endpoint, _| named.contains(endpoint));
            *endpoints = named;
        }
    }
}

/// A GET on the controller's socket.
async fn ask(socket: &PathBuf, path: &str) -> std::io::Result<Value> {
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: composed\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    serde_json::from_str(body).map_err(std::io::Error::other)
}

async fn one(shared: Arc<Shared>, turn: usize) {
    let endpoints = lock(&shared.endpoints).clone();
    let nth = turn % endpoints.len().max(1);
    // Two of the turns' parities would always meet the same endpoints with an even number of them.
    let keep = (turn / endpoints.len().max(1)).is_multiple_of(2);
    let endpoint = endpoints.into_iter().nth(nth);
    lock(&shared.report).sent += 1;
    let began = Instant::now();
    let answer = match &endpoint {
        None => Err("the status names no endpoint".to_owned()),
        Some(endpoint) => timeout(PATIENCE, request(&shared, endpoint, keep))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}"))),
    };
    let how = || format!("{endpoint:?} ({} connection)", if keep { "kept" } else { "new" });
    lock(&shared.report).count(shared.began, began, answer, how);
}

/// One request; answers with the version that served it.
async fn request(shared: &Shared, endpoint: &str, keep: bool) -> Result<String, String> {
    let idle = if keep { lock(&shared.idle).get_mut(endpoint).and_then(VecDeque::pop_back) } else { None };
    let used = idle.is_some();
    let mut stream = match idle {
        Some(stream) => stream,
        None => TcpStream::connect(endpoint).await.map_err(|error| format!("connect: {error}"))?,
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let host = shared.host.as_deref().unwrap_or(endpoint);
    let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n");
    let words = |error: std::io::Error| format!("{} connection: {error}", if used { "reused" } else { "fresh" });
    stream.write_all(text.as_bytes()).await.map_err(words)?;
    let (head, reusable) = answer(&mut stream).await.map_err(words)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    if keep && reusable && lock(&shared.endpoints).iter().any(|known| known == endpoint) {
        lock(&shared.idle).entry(endpoint.to_owned()).or_default().push_back(stream);
    }
    let version = head.lines().find_map(|line| line.strip_prefix("x-version: "));
    Ok(version.unwrap_or("?").to_owned())
}

/// Whether the other side has not closed a kept connection: there is nothing to read on it.
pub(crate) fn is_open(stream: &TcpStream) -> bool {
    matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

/// The head of an answer, read to the end of its body, and whether the connection may be used again.
pub(crate) async fn answer(stream: &mut TcpStream) -> std::io::Result<(String, bool)> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase().replacen("http/", "HTTP/", 1);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length.is_none_or(|length| body.len() >= length) {
                let reusable = length.is_some() && !head.contains("connection: close");
                return Ok((head, reusable));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::Error::other(format!("closed after {} bytes of the answer", bytes.len())));
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
