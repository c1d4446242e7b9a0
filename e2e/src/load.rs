//! Steady requests to one address, the way a proxy's clients send them: an open loop of GETs over kept connections, GETs
//! over fresh ones and POSTs. Nothing is tried again: each failure counts, and so does when it was.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::open_loop::OpenLoop;
use crate::traffic::{answer, is_open, lock};
use crate::{millis, secs};

/// A kept connection that was idle for longer is not used again, as with most clients: proxies close theirs after 30 s or more.
const IDLE: Duration = secs(10);

/// A request without an answer by then has failed.
const PATIENCE: Duration = secs(10);
/// So many failures are kept in words.
const WORDS: usize = 20;
/// What is counted together for a picture.
pub const BIN: Duration = millis(250);

/// How a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GET over a kept connection.
    Kept,
    /// GET over a connection of its own.
    Fresh,
    /// POST over a connection of its own.
    Post,
}

/// All of them, in turn.
pub const ALL: &[Kind] = &[Kind::Post, Kind::Kept, Kind::Fresh];
/// Where a connection belongs to a replica, a kept one ends with it.
pub const FRESH: &[Kind] = &[Kind::Post, Kind::Fresh];

/// What came of the requests.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests begun.
    pub sent: u64,
    /// Requests without a good answer.
    pub failed: u64,
    /// Good answers, by version.
    pub served: BTreeMap<String, u64>,
    /// Of each [`BIN`] since the start: answers by version, and failures under `failed`.
    pub bins: Vec<BTreeMap<String, u64>>,
    /// The first failures in words.
    pub errors: Vec<String>,
    /// The longest good answer.
    pub slowest: Duration,
}

/// Requests that are sent until this is stopped or dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    requests: OpenLoop,
}

#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    host: String,
    began: Instant,
    counts: Mutex<Counts>,
    idle: Mutex<VecDeque<(TcpStream, Instant)>>,
}

impl Load {
    /// Begins to send `rate` requests a second, as many of each kind, with this `Host`.
    pub fn start(to: SocketAddr, host: &str, rate: u32, kinds: &'static [Kind]) -> Self {
        let shared = Arc::new(Shared {
            to,
            host: host.to_owned(),
            began: Instant::now(),
            counts: Mutex::default(),
            idle: Mutex::default(),
        });
        let requests = OpenLoop::new();
        let all = Arc::clone(&shared);
        requests.send(rate, move |turn| one(Arc::clone(&all), kinds[turn % kinds.len()]));
        Self { shared, requests }
    }

    /// One request, before the load begins: whether there is a good answer.
    pub fn try_once(to: SocketAddr, host: &str) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let ask = async {
            let mut stream = TcpStream::connect(to).await.map_err(|error| error.to_string())?;
            exchange(&mut stream, host, Kind::Fresh).await.map(drop)
        };
        runtime.block_on(async { timeout(secs(2), ask).await.unwrap_or_else(|_| Err("no answer".to_owned())) })
    }

    /// What came of them so far.
    pub fn so_far(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    /// Ends: those under way are waited for.
    pub fn stop(mut self) -> Counts {
        self.requests.stop(PATIENCE);
        self.so_far()
    }
}

async fn one(shared: Arc<Shared>, kind: Kind) {
    lock(&shared.counts).sent += 1;
    let began = Instant::now();
    let answer = timeout(PATIENCE, request(&shared, kind)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    shared.count(kind, began, answer);
}

impl Shared {
    fn count(&self, kind: Kind, began: Instant, answer: Result<String, String>) {
        let since = self.began.elapsed();
        let mut counts = lock(&self.counts);
        let bin = usize::try_from(since.as_millis() / BIN.as_millis()).unwrap_or_default();
        if counts.bins.len() <= bin {
            counts.bins.resize(bin + 1, BTreeMap::new());
        }
        match answer {
            Ok(version) => {
                *counts.bins[bin].entry(version.clone()).or_default() += 1;
                *counts.served.entry(version).or_default() += 1;
                counts.slowest = counts.slowest.max(began.elapsed());
            }
            Err(error) => {
                *counts.bins[bin].entry("failed".to_owned()).or_default() += 1;
                counts.failed += 1;
                if counts.errors.len() < WORDS {
                    counts.errors.push(format!("{since:.2?} {kind:?}: {error}"));
                }
            }
        }
    }
}

/// One request; answers with the version that served it.
async fn request(shared: &Shared, kind: Kind) -> Result<String, String> {
    let mut idle = None;
    while kind == Kind::Kept && idle.is_none() {
        let Some((stream, since)) = lock(&shared.idle).pop_back() else { break };
        idle = (since.elapsed() < IDLE && is_open(&stream)).then_some(stream);
    }
    let used = idle.is_some();
    let mut stream = match idle {
        Some(stream) => stream,
        None => TcpStream::connect(shared.to).await.map_err(|error| format!("connect: {error}"))?,
    };
    let (version, reusable) = exchange(&mut stream, &shared.host, kind)
        .await
        .map_err(|error| format!("{} connection: {error}", if used { "kept" } else { "fresh" }))?;
    if kind == Kind::Kept && reusable {
        lock(&shared.idle).push_back((stream, Instant::now()));
    }
    Ok(version)
}

async fn exchange(stream: &mut TcpStream, host: &str, kind: Kind) -> Result<(String, bool), String> {
    let (method, body) = if kind == Kind::Post { ("POST", "name=value&other=1") } else { ("GET", "") };
    let connection = if kind == Kind::Kept { "keep-alive" } else { "close" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let text = format!("{method} / HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n{length}\r\n{body}");
    stream.write_all(text.as_bytes()).await.map_err(|error| error.to_string())?;
    let (head, reusable) = answer(stream).await.map_err(|error| error.to_string())?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    let version = head.lines().find_map(|line| line.strip_prefix("x-version: "));
    Ok((version.unwrap_or("?").to_owned(), reusable))
}
