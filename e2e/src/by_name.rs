//! Requests from inside a container's network, to a name that the engine's DNS answers. Each request asks for the name anew, so
//! that a moment without an answer, and an answer that names a container that does not serve, are both seen.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::docker::Docker;
use crate::secs;
use crate::traffic::{PATIENCE, Report, answer, lock};

/// Where the engine's DNS listens in each network namespace of a user-defined network.
const DNS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 11)), 53);
/// The port of the demo application.
const PORT: u16 = 8080;

/// What a client does with several addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// It takes the first one.
    First,
    /// It tries them in turn until it is connected, as most HTTP clients do.
    Each,
}

/// Requests that are sent until this is stopped.
#[derive(Debug)]
pub struct ByName {
    ended: Arc<AtomicBool>,
    report: Arc<Mutex<Report>>,
    thread: JoinHandle<()>,
}

impl ByName {
    /// Begins to send so many requests a second to `name`, as a process of the container `from` would.
    pub fn start(docker: &Docker, from: &str, name: &str, client: Client, rate: u32) -> Self {
        let pid = docker.run(&["inspect", "--format", "{{.State.Pid}}", from]);
        let namespace = File::open(format!("/proc/{pid}/ns/net")).expect("the container runs");
        let (ended, report) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Report::default())));
        let (ends, counts, name) = (Arc::clone(&ended), Arc::clone(&report), name.to_owned());
        let thread = std::thread::spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may enter it");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, send(ends, counts, name, client, rate));
            // Those under way are waited for; each ends by itself.
            runtime.block_on(local);
        });
        Self { ended, report, thread }
    }

    /// Ends, with what came of them.
    pub fn stop(self) -> Report {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().expect("it ends");
        lock(&self.report).clone()
    }
}

async fn send(ended: Arc<AtomicBool>, report: Arc<Mutex<Report>>, name: String, client: Client, rate: u32) {
    let began = Instant::now();
    let mut ticks = interval(secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while !ended.load(Ordering::SeqCst) {
        ticks.tick().await;
        let (report, name) = (Arc::clone(&report), name.clone());
        lock(&report).sent += 1;
        tokio::task::spawn_local(async move {
            let sent = Instant::now();
            let came = timeout(PATIENCE, request(&name, client)).await;
            let came = came.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
            lock(&report).count(began, sent, came, || format!("{name} ({client:?})"));
        });
    }
}

/// One request over a connection of its own; answers with the version that served it.
async fn request(name: &str, client: Client) -> Result<String, String> {
    let addresses = resolve(name).await?;
    let tried = if client == Client::First { &addresses[..1] } else { &addresses[..] };
    let mut refused = String::new();
    for address in tried {
        let mut stream = match TcpStream::connect((*address, PORT)).await {
            Ok(stream) => stream,
            Err(error) => {
                refused = format!("connect to {address} of {addresses:?}: {error}");
                continue;
            }
        };
        let text = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
        let words = |error: std::io::Error| format!("{address} of {addresses:?}: {error}");
        stream.write_all(text.as_bytes()).await.map_err(words)?;
        let (head, _) = answer(&mut stream).await.map_err(words)?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(head.lines().next().unwrap_or_default().to_owned());
        }
        let version = head.lines().find_map(|line| line.strip_prefix("x-version: "));
        return Ok(version.unwrap_or("?").to_owned());
    }
    Err(refused)
}

/// The addresses of a name, by a question of our own: nothing is cached, and no other server is asked.
async fn resolve(name: &str) -> Result<Vec<Ipv4Addr>, String> {
    let words = |error: std::io::Error| format!("the engine's DNS: {error}");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await.map_err(words)?;
    socket.connect(DNS).await.map_err(words)?;
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).expect("a label"));
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send(&question).await.map_err(words)?;
    let mut bytes = [0; 1024];
    socket.recv(&mut bytes).await.map_err(words)?;
    let (code, count) = (bytes[3] & 15, usize::from(bytes[7]));
    if code != 0 || count == 0 {
        return Err(format!("the engine's DNS has no address for {name} (code {code})"));
    }
    // The question is repeated, and then come the records: a name or a pointer to it, type, class, time, length, address.
    let mut at = question.len();
    let mut addresses = Vec::new();
    for _ in 0..count {
        at += if bytes[at] >= 0xC0 { 2 } else { name.len() + 2 };
        at += 10;
        addresses.push(Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]));
        at += 4;
    }
    Ok(addresses)
}
