//! Requests in flight, counted from the kernel's own notes on each connection (`sock_diag`, which needs no capability
//! for a dump). The only user of netlink; knows nothing of Docker.
//!
//! The kernel knows no requests, only when data came in and went out last. What follows from that:
//! - keep-alive connections between two requests are not counted, however many there are;
//! - an answer that is being sent counts until [`QUIET`] after its last byte; a connection on which the server was heard
//!   to go on by itself after a pause (a stream, a websocket that is pushed to) counts until three such pauses after it, 2 s
//!   at least;
//! - on a connection of many requests at once (HTTP/2, gRPC) one stream hides the pauses of another: [`Requests::Interleaved`]
//!   counts it until 2 s after anybody's last word, in which a stream that goes on shows itself;
//! - a websocket on which the server only ever answers looks like keep-alive: [`Look::open`] counts it;
//! - HTTP/2 and gRPC clients that send `WINDOW_UPDATE` or `PING` after an answer look busy until the server speaks: at
//!   worst `drain_timeout` bounds the wait;
//! - UDP, and so HTTP/3, is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::time::Duration;

use crd_schema::ContainerId;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NlasIterator,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::TCP_ESTABLISHED;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, INET_DIAG_INFO, IPPROTO_TCP, TCP_CLOSE_WAIT};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::{Socket, protocols::NETLINK_SOCK_DIAG};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::time::Instant;

/// An answer counts as under way until its connection was quiet for so long.
pub const QUIET: Duration = Duration::from_millis(300);
/// Whether the last data came in or went out is not known when both happened within one tick of the kernel's clock
/// (1 to 10 ms): a fast answer, then idle, or an answer and at once the next request. Such a connection counts as busy
/// for so long. A request that takes longer and came so fast upon an answer is missed.
pub const DOUBT: Duration = Duration::from_secs(1);
/// A server that went on after a pause may do so again: after so many such pauses it is believed to have ended, but not
/// before the least of all waits.
const PAUSES: u32 = 3;
pub(super) const LEAST: Duration = Duration::from_secs(2);
/// On the networks that people make, the engine itself listens in each container's namespace, for names. Source: moby
/// `libnetwork/sandbox_dns_unix.go`.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
/// The kernel answers at once; this only keeps a broken one from holding a thread.
const NETLINK_TIMEOUT: Duration = Duration::from_secs(2);
/// A message of a dump is at most 32 KiB (linux, `netlink_dump`).
const BUFFER: usize = 64 * 1024;

/// What one look at a network namespace found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Connections with a request in flight.
    pub busy: u32,
    /// Connections, with or without.
    pub open: u32,
    /// Ports that somebody listens on.
    pub listening: u32,
}

/// Why there is no look.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The process is not to be seen from here, or is not the container's, or we may not enter its namespace.
    #[error("{0}")]
    OutOfReach(String),
    /// It may work the next time.
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// How requests follow each other on one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Requests {
    /// Each after the answer to the one before, as in HTTP/1.1.
    #[default]
    InTurn,
    /// Several at once, as in HTTP/2.
    Interleaved,
}

/// Whose connections count, and how.
#[derive(Clone, Debug, Default)]
pub struct Among {
    /// Only those to one of these ports; `None` for all that the namespace listens on.
    pub ports: Option<BTreeSet<u16>>,
    /// How requests follow each other on them.
    pub requests: Requests,
}

/// What earlier looks at the same namespace have heard on each connection, by the kernel's cookie for it.
#[derive(Debug, Default)]
pub struct Talks(BTreeMap<u64, Talk>);

/// Counts in the network namespace of this thread.
pub fn look(among: &Among, talks: &mut Talks) -> io::Result<Look> {
    let mut listening = BTreeSet::new();
    let mut diag = Diag::open()?;
    diag.dump(&StateFlags::LISTEN, |socket| {
        let own = !matches!(socket.address, Some(RESOLVER));
        if own && among.ports.as_ref().is_none_or(|ports| ports.contains(&socket.port)) {
            listening.insert(socket.port);
        }
    })?;
    let mut after = BTreeMap::new();
    let (mut busy, mut all) = (0, 0);
    // A server that has closed its side may still have an answer to deliver, which dies with the namespace.
    let open = StateFlags::ESTABLISHED | StateFlags::CLOSE_WAIT;
    let closing = StateFlags::FIN_WAIT1 | StateFlags::CLOSING | StateFlags::LAST_ACK;
    if !listening.is_empty() {
        diag.dump(&(open | closing), |socket| {
            if listening.contains(&socket.port) {
                let before = talks.0.get(&socket.cookie);
                let (talk, is_busy) = Talk::hear(before, &socket, among.requests, Instant::now());
                after.extend(talk.map(|talk| (socket.cookie, talk)));
                busy += u32::from(is_busy);
                all += u32::from(socket.is_open());
            }
        })?;
    }
    talks.0 = after;
    Ok(Look { busy, open: all, listening: u32::try_from(listening.len()).unwrap_or(u32::MAX) })
}

/// Counts in the network namespace of a container on this host, given its main process as the engine names it, and the
/// ports that it exposes. Blocks for some milliseconds: a thread enters the namespace and ends, so that no other ever runs
/// in it.
pub fn look_into(
    container: &ContainerId,
    pid: u32,
    ports: &BTreeSet<u16>,
    requests: Requests,
    talks: &mut Talks,
) -> Result<Look, LookError> {
    let namespace = namespace_of(container, pid)?;
    let ports = ports.clone();
    let mut heard = std::mem::take(talks);
    let visitor = std::thread::Builder::new().name("look".to_owned()).spawn(move || {
        let among = match namespace {
            // Not a namespace of its own (`network_mode: host`): only what is said to be its own.
            Namespace::Ours if ports.is_empty() => {
                return Err(LookError::OutOfReach(
                    "it shares the host's network and exposes no port, so its requests cannot be told apart".to_owned(),
                ));
            }
            Namespace::Ours => Among { ports: Some(ports), requests },
            Namespace::Other(file) => {
                let entered = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
                entered.map_err(|error| match error {
                    rustix::io::Errno::PERM => {
                        LookError::OutOfReach("not permitted to enter its network namespace".to_owned())
                    }
                    other => LookError::Failed(other.into()),
                })?;
                Among { ports: None, requests }
            }
        };
        Ok((look(&among, &mut heard), heard))
    })?;
    let (look, heard) =
        visitor.join().unwrap_or_else(|_| Err(LookError::Failed(io::Error::other("the look broke off"))))?;
    *talks = heard;
    Ok(look?)
}

/// The network namespace of a container.
pub(super) enum Namespace {
    /// This process's own.
    Ours,
    /// Another one.
    Other(File),
}

/// The network namespace of a container on this host, given its main process as the engine names it.
pub(super) fn namespace_of(container: &ContainerId, pid: u32) -> Result<Namespace, LookError> {
    let out_of_reach = |what: &str, error: &io::Error| LookError::OutOfReach(format!("{what}: {error}"));
    if pid == 0 {
        return Err(LookError::OutOfReach("it has no process here".to_owned()));
    }
    let path = format!("/proc/{pid}/ns/net");
    let file = File::open(&path).map_err(|error| out_of_reach(&path, &error))?;
    // After the namespace is open, so that the number cannot pass to another process in between.
    if !belongs_to(container, pid) {
        return Err(LookError::OutOfReach(format!("process {pid} of this host is not the container's")));
    }
    let id = |path: &str| std::fs::read_link(path).map_err(|error| out_of_reach(path, &error));
    if id(&path)? == id("/proc/self/ns/net")? { Ok(Namespace::Ours) } else { Ok(Namespace::Other(file)) }
}

/// Whether a process that we see is one of a container: an engine elsewhere must not lead us to a stranger. Its cgroup
/// names the container in most setups, and the files that the engine mounts into it in all.
fn belongs_to(container: &ContainerId, pid: u32) -> bool {
    let names = |file: &str| {
        std::fs::read_to_string(format!("/proc/{pid}/{file}")).is_ok_and(|text| text.contains(container.as_str()))
    };
    container.as_str().len() == 64 && (names("cgroup") || names("mountinfo"))
}

/// A TCP socket, as much of it as matters. Times are milliseconds since.
#[derive(Clone, Copy, Debug, Default)]
struct Connection {
    cookie: u64,
    state: u8,
    // Its own, of IPv4.
    address: Option<Ipv4Addr>,
    port: u16,
    receive_queue: u32,
    send_queue: u32,
    info: Option<Info>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Info {
    last_sent: u32,
    last_received: u32,
    last_acknowledged: u32,
    sent: u32,
    received: u32,
}

/// What was heard on one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Talk {
    sent: u32,
    received: u32,
    last_sent: Instant,
    /// The last word was the server's.
    servers: bool,
    /// The longest pause after which the server went on unasked.
    pause: Option<Duration>,
}

impl Talk {
    /// Hears `socket` at `now`, after what was heard before: what is to be kept of it, and whether it is busy.
    fn hear(before: Option<&Self>, socket: &Connection, requests: Requests, now: Instant) -> (Option<Self>, bool) {
        let busy = socket.is_busy() || requests == Requests::Interleaved && socket.talked_within(LEAST);
        let Some(info) = socket.info else { return (None, busy) };
        let silence = Duration::from_millis(info.last_sent.into());
        let Some(last_sent) = now.checked_sub(silence) else { return (None, busy) };
        let unasked = before.filter(|then| then.servers && then.received == info.received && then.sent < info.sent);
        let pause = unasked.map(|then| last_sent.saturating_duration_since(then.last_sent));
        // What follows sooner is one answer.
        let pause = pause.filter(|pause| *pause >= QUIET).max(before.and_then(|then| then.pause));
        let servers = info.sent > 0 && info.last_sent < info.last_received;
        let talk = Self { sent: info.sent, received: info.received, last_sent, servers, pause };
        (Some(talk), busy || socket.is_open() && pause.is_some_and(|pause| silence < LEAST.max(pause * PAUSES)))
    }
}

impl Connection {
    /// Whether both sides may still talk, or the client has only ended its own part.
    fn is_open(&self) -> bool {
        self.state == TCP_ESTABLISHED || self.state == TCP_CLOSE_WAIT
    }

    /// Whether either side said something so recently.
    fn talked_within(&self, limit: Duration) -> bool {
        let talked = self.info.filter(|info| info.received > 0);
        self.is_open() && talked.is_some_and(|info| within(info.last_sent.min(info.last_received), limit))
    }

    /// Whether a request is in flight on it.
    fn is_busy(&self) -> bool {
        // A FIN that is not yet read, or not yet acknowledged, is one byte of a queue.
        let closed_by_peer = u32::from(self.state == TCP_CLOSE_WAIT);
        if !self.is_open() {
            return self.send_queue > 1;
        }
        if self.send_queue > 0 || self.receive_queue > closed_by_peer {
            return true;
        }
        let Some(info) = self.info else { return true };
        // At the handshake the kernel sets both times to its own, so without data they mean nothing.
        match (info.received, info.sent) {
            (0, _) => false,
            (_, 0) => true,
            _ if within(info.last_sent, QUIET) => true,
            _ if info.last_received == info.last_sent => {
                // An acknowledgment later than the last data in is one of data that went out after it.
                within(info.last_sent, DOUBT) && info.last_acknowledged >= info.last_received
            }
            _ => info.last_received < info.last_sent,
        }
    }

    /// `struct inet_diag_msg` and its attributes. Source: `linux/inet_diag.h`.
    fn parse(payload: &[u8]) -> Option<Self> {
        let attributes = payload.get(72..)?;
        let port = payload.get(4..6)?.try_into().map(u16::from_be_bytes).ok()?;
        let address = || payload.get(8..12)?.first_chunk().copied().map(Ipv4Addr::from);
        let is_v4 = payload.first() == Some(&AF_INET);
        let info = NlasIterator::new(attributes).filter_map(Result::ok).find(|one| one.kind() == INET_DIAG_INFO);
        Some(Self {
            cookie: payload.get(44..52)?.try_into().map(u64::from_ne_bytes).ok()?,
            state: *payload.get(1)?,
            address: is_v4.then(address).flatten(),
            port,
            receive_queue: number(payload, 56)?,
            send_queue: number(payload, 60)?,
            info: info.and_then(|info| Info::parse(info.value())),
        })
    }
}

impl Info {
    /// `struct tcp_info`. By offset, because it grows with the kernel, and the ready-made parser refuses a kernel that
    /// is older than itself; these fields are there since Linux 4.6. Source: `linux/tcp.h`.
    fn parse(info: &[u8]) -> Option<Self> {
        Some(Self {
            last_sent: number(info, 44)?,
            last_received: number(info, 52)?,
            last_acknowledged: number(info, 56)?,
            received: number(info, 152)?,
            sent: number(info, 156)?,
        })
    }
}

fn within(ms: u32, limit: Duration) -> bool {
    u128::from(ms) < limit.as_millis()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().map(u32::from_ne_bytes).ok()
}

/// A `sock_diag` socket of this thread's network namespace.
struct Diag {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Diag {
    fn open() -> io::Result<Self> {
        let socket = Socket::new(NETLINK_SOCK_DIAG)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(NETLINK_TIMEOUT))?;
        Ok(Self { socket, buffer: Vec::with_capacity(BUFFER) })
    }

    fn dump(&mut self, states: &StateFlags, mut each: impl FnMut(Connection)) -> io::Result<()> {
        for (family, socket_id) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let extensions = ExtensionFlags::INFO;
            let states = states.clone();
            self.request(InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id })?;
            while !self.answer(&mut each)? {}
        }
        Ok(())
    }

    fn request(&mut self, request: InetRequest) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(drop)
    }

    /// Reads one datagram; true when it was the dump's last.
    fn answer(&mut self, each: &mut impl FnMut(Connection)) -> io::Result<bool> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer, 0)?;
        let odd = || io::Error::from(io::ErrorKind::InvalidData);
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() {
            let message = NetlinkBuffer::new_checked(rest).map_err(|_| odd())?;
            match message.message_type() {
                NLMSG_DONE => return Ok(true),
                NLMSG_ERROR => {
                    let code = number(message.payload(), 0).ok_or_else(odd)?;
                    return Err(io::Error::from_raw_os_error(code.cast_signed().saturating_neg()));
                }
                _ => each(Connection::parse(message.payload()).ok_or_else(odd)?),
            }
            let length = usize::try_from(message.length()).map_err(|_| odd())?.next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
