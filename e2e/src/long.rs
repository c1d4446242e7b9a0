//! What lasts, beside the steady requests: long polls, streams, websockets, gRPC calls and streams, a new one at a steady
//! rate. Each is whole or cut; nothing is tried again.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::open_loop::OpenLoop;
use crate::secs;
use crate::traffic::lock;

/// Longer than the longest of them.
const PATIENCE: Duration = secs(20);
/// So many failures are kept in words.
const WORDS: usize = 20;

/// What lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An answer that comes after 5 s.
    Poll,
    /// Ten pieces, one every 500 ms.
    Stream,
    /// A websocket on which the server says something every 500 ms; the client leaves after 6 s.
    Websocket,
    /// A gRPC call.
    Call,
    /// A gRPC stream of ten messages, one a second.
    Watch,
}

/// Those of HTTP/1.1.
pub const HTTP: &[Kind] = &[Kind::Poll, Kind::Stream, Kind::Websocket];
/// Those of gRPC: HTTP/2 without TLS, each over a connection of its own.
pub const GRPC: &[Kind] = &[Kind::Call, Kind::Watch];

/// What came of them: of each kind those begun, and those cut.
#[derive(Clone, Debug, Default)]
pub struct Lasted {
    /// Begun and cut, by kind.
    pub kinds: BTreeMap<Kind, (u64, u64)>,
    /// The first failures in words.
    pub errors: Vec<String>,
}

impl Lasted {
    /// All that were begun.
    pub fn begun(&self) -> u64 {
        self.kinds.values().map(|(begun, _)| begun).sum()
    }

    /// All that were cut.
    pub fn cut(&self) -> u64 {
        self.kinds.values().map(|(_, cut)| cut).sum()
    }
}

impl fmt::Display for Lasted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> =
            self.kinds.iter().map(|(kind, (begun, cut))| format!("{kind:?} {begun}, {cut} CUT")).collect();
        f.write_str(&each.join("; "))
    }
}

/// They are begun until this is stopped or dropped.
#[derive(Debug)]
pub struct Long {
    lasted: Arc<Mutex<Lasted>>,
    requests: OpenLoop,
}

impl Long {
    /// Begins one of each kind a second.
    pub fn start(to: SocketAddr, host: &str, kinds: &'static [Kind]) -> Self {
        let lasted: Arc<Mutex<Lasted>> = Arc::default();
        let requests = OpenLoop::new();
        let (all, host, began) = (Arc::clone(&lasted), host.to_owned(), Instant::now());
        let rate = u32::try_from(kinds.len()).expect("a few kinds");
        requests.send(rate, move |turn| {
            let (all, host, kind) = (Arc::clone(&all), host.clone(), kinds[turn % kinds.len()]);
            async move {
                lock(&all).kinds.entry(kind).or_default().0 += 1;
                let at = began.elapsed();
                let end = timeout(PATIENCE, one(to, &host, kind)).await.unwrap_or_else(|_| Err("no end".to_owned()));
                if let Err(why) = end {
                    let mut lasted = lock(&all);
                    lasted.kinds.entry(kind).or_default().1 += 1;
                    if lasted.errors.len() < WORDS {
                        lasted.errors.push(format!("{kind:?} of {at:.1?} until {:.1?}: {why}", began.elapsed()));
                    }
                }
            }
        });
        Self { lasted, requests }
    }

    /// Begins no more; those under way are waited for.
    pub fn stop(mut self) -> Lasted {
        self.requests.stop(PATIENCE);
        lock(&self.lasted).clone()
    }
}

async fn one(to: SocketAddr, host: &str, kind: Kind) -> Result<(), String> {
    match kind {
        Kind::Poll => http(to, host, "/slow?ms=5000", "version ").await,
        Kind::Stream => http(to, host, "/stream?ms=500&n=10", "piece 10\n").await,
        Kind::Websocket => websocket(to, host, secs(6)).await,
        Kind::Call => grpc(to, host, "Check", 1).await,
        Kind::Watch => grpc(to, host, "Watch", 10).await,
    }
}

/// A GET whose answer has to have `last` in it, to its end.
async fn http(to: SocketAddr, host: &str, path: &str, last: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?;
    let text = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let words = |error: std::io::Error| error.to_string();
    stream.write_all(text.as_bytes()).await.map_err(words)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(words)?;
    let answer = String::from_utf8_lossy(&answer);
    if answer.starts_with("HTTP/1.1 200") && answer.contains(last) {
        return Ok(());
    }
    Err(format!("{} bytes, beginning with: {}", answer.len(), answer.lines().next().unwrap_or_default()))
}

/// What asks for a websocket on which the server speaks every so many milliseconds.
fn handshake(host: &str, ms: u32) -> String {
    format!(
        "GET /ws?ms={ms} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// A websocket that is held for so long, then closed by the client.
pub async fn websocket(to: SocketAddr, host: &str, hold: Duration) -> Result<(), String> {
    let mut stream = TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?;
    let words = |error: std::io::Error| error.to_string();
    stream.write_all(handshake(host, 500).as_bytes()).await.map_err(words)?;
    let (end, mut heard) = (Instant::now() + hold, Vec::new());
    while Instant::now() < end {
        let read = timeout(secs(3), stream.read_buf(&mut heard)).await;
        match read.map_err(|_| "silence".to_owned())?.map_err(words)? {
            0 => return Err(format!("closed after {:.1?}", hold.saturating_sub(end - Instant::now()))),
            _ if heard.starts_with(b"HTTP/1.1 101") || heard.len() < 12 => {}
            _ => return Err(String::from_utf8_lossy(&heard).lines().next().unwrap_or_default().to_owned()),
        }
    }
    Ok(())
}

/// A call of gRPC's health service with so many messages in its answer.
async fn grpc(to: SocketAddr, host: &str, method: &str, messages: usize) -> Result<(), String> {
    let stream = TcpStream::connect(to).await.map_err(|error| format!("connect: {error}"))?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(|error| format!("handshake: {error}"))?;
    let connection = tokio::spawn(connection);
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from_static(&[0; 5])))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| format!("{error:?}"))?;
    let status = answer.status();
    let answer = answer.into_body().collect().await.map_err(|error| format!("{error:?}"))?;
    let code = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    let length = answer.to_bytes().len();
    drop(sender);
    connection.abort();
    // Each message is five bytes and `SERVING`.
    if status == 200 && code.as_ref().is_some_and(|code| code == "0") && length == 7 * messages {
        return Ok(());
    }
    Err(format!("status {status}, grpc-status {code:?}, {length} bytes"))
}
