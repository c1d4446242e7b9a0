//! Steady requests to one address, as a browser or a service beside it sends them: an open loop of GET and POST, each
//! with a new connection and over kept ones. A kept connection that the other side has closed is not used again, as with
//! every client; nothing is tried again.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::open_loop::OpenLoop;
use crate::traffic::{PATIENCE, Report, answer, is_open, lock};

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Every second request over a kept connection.
    Mixed,
    /// Each with a new one.
    Close,
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
    path: String,
    began: Instant,
    report: Mutex<Report>,
    idle: Mutex<VecDeque<TcpStream>>,
}

impl Load {
    /// Begins to send so many requests a second.
    pub fn start(to: SocketAddr, path: &str, rate: u32, used: Use) -> Self {
        let shared = Arc::new(Shared {
            to,
            path: path.to_owned(),
            began: Instant::now(),
            report: Mutex::default(),
            idle: Mutex::default(),
        });
        let requests = OpenLoop::new();
        let all = Arc::clone(&shared);
        requests.send(rate, move |turn| {
            let keep = used == Use::Mixed && turn.is_multiple_of(2);
            one(Arc::clone(&all), if turn % 4 < 2 { "GET" } else { "POST" }, keep)
        });
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

async fn one(shared: Arc<Shared>, method: &'static str, keep: bool) {
    lock(&shared.report).sent += 1;
    let began = Instant::now();
    let answer = timeout(PATIENCE, request(&shared, method, keep)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    let how = || format!("{method} ({} connection)", if keep { "kept" } else { "new" });
    lock(&shared.report).count(shared.began, began, answer, how);
}

/// One request; answers with the version that served it.
async fn request(shared: &Shared, method: &str, keep: bool) -> Result<String, String> {
    let mut idle = None;
    while keep && idle.is_none() {
        let Some(stream) = lock(&shared.idle).pop_front() else { break };
        idle = is_open(&stream).then_some(stream);
    }
    let used = idle.is_some();
    let mut stream = match idle {
        Some(stream) => stream,
        None => TcpStream::connect(shared.to).await.map_err(|error| format!("connect: {error}"))?,
    };
    let connection = if keep { "keep-alive" } else { "close" };
    let body = if method == "POST" { "a=b" } else { "" };
    let text = format!(
        "{method} {} HTTP/1.1\r\nHost: web\r\nConnection: {connection}\r\nContent-Length: {}\r\n\r\n{body}",
        shared.path,
        body.len()
    );
    let words = |error: std::io::Error| format!("{} connection: {error}", if used { "reused" } else { "fresh" });
    stream.write_all(text.as_bytes()).await.map_err(words)?;
    let (head, reusable) = answer(&mut stream).await.map_err(words)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(head.lines().next().unwrap_or_default().to_owned());
    }
    if keep && reusable {
        lock(&shared.idle).push_back(stream);
    }
    let version = head.lines().find_map(|line| line.strip_prefix("x-version: "));
    Ok(version.unwrap_or("?").to_owned())
}

/// As many requests a second as so many connections get, each with one request after the other, over so long.
///
/// # Panics
/// When a request fails.
pub fn most(to: SocketAddr, host: &str, connections: u32, period: Duration) -> f64 {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let text = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let end = Instant::now() + period;
    let one = |text: String| async move {
        let mut stream = TcpStream::connect(to).await.expect("a connection");
        let mut count = 0_u32;
        while Instant::now() < end {
            stream.write_all(text.as_bytes()).await.expect("a request");
            let (head, _) = answer(&mut stream).await.expect("an answer");
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            count += 1;
        }
        count
    };
    let all: Vec<_> = (0..connections).map(|_| runtime.spawn(one(text.clone()))).collect();
    let count: u32 = all.into_iter().map(|one| runtime.block_on(one).expect("it ends")).sum();
    f64::from(count) / period.as_secs_f64()
}
