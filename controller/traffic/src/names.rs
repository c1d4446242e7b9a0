//! Names: DNS answers for `SERVICE.PROJECT` with the replicas that serve and no others, for proxies and clients that ask
//! again and again: Caddy's `dynamic a`, nginx's `resolver`, HAProxy's `resolvers`, gRPC. The only user of simple-dns.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use composed_core::model::{Replica, ServiceName};
use composed_platform::listen::{Connections, Listener, MonitoredStream, RateLimitedLog, Slot, accept};
use composed_status::store::{EndpointState, StatusStore};
use crd_schema::status::{Proof, TrafficPath};
use parking_lot::Mutex;
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, OPCODE, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::paths::{PropagationState, TrafficProvider};

/// Answers are good for so long.
const TTL: Duration = Duration::from_secs(1);
/// From the end of an answer's life to the last request that was sent on its word.
const MARGIN: Duration = Duration::from_millis(750);
/// Who asked within this time may still send requests to what was answered.
const ASKED: Duration = Duration::from_mins(5);
/// `SERVICE.PROJECT` may be written with this behind it, where a resolver insists on a zone.
const ZONE: &str = "composed";
/// A UDP answer is no longer than this (RFC 1035); a longer one is asked for again by TCP.
const UDP: usize = 512;
/// After an error of the system UDP is read again after so long.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Such errors are said at most so often.
static ERRORS: RateLimitedLog = RateLimitedLog::new(Duration::from_secs(10));

/// A server of names.
pub struct Names {
    statuses: Arc<StatusStore>,
    // How long an answer is used at most.
    life: Duration,
    began: Instant,
    asked: Mutex<BTreeMap<ServiceName, Instant>>,
    turn: AtomicUsize,
    // By TCP, of all addresses.
    connections: Arc<Connections>,
}

/// What is known of a name.
enum Known {
    /// These replicas, by their addresses on each network.
    Serves(Vec<Vec<IpAddr>>),
    /// No such service.
    Nobody,
    /// Not this server's to say.
    Elsewhere,
    /// Nothing is known yet: who has an older answer shall keep it.
    NotYet,
}

impl Names {
    /// A server of what `board` shows. Those who ask keep an answer at most for `cache`, or for its time to live, which
    /// is a second.
    pub fn new(statuses: Arc<StatusStore>, cache: Duration) -> Arc<Self> {
        let life = cache.max(TTL) + MARGIN;
        let connections = Connections::new("DNS over TCP", Listener::Dns.limits());
        let (asked, turn) = (Mutex::default(), AtomicUsize::new(0));
        Arc::new(Self { statuses, life, began: Instant::now(), asked, turn, connections })
    }

    /// Answers on this address, by UDP and TCP, until it is dropped.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn serve(self: Arc<Self>, address: SocketAddr) -> io::Result<()> {
        let udp = UdpSocket::bind(address).await?;
        let tcp = TcpListener::bind(udp.local_addr()?).await?;
        self.serve_on(udp, tcp).await
    }

    /// Answers on these sockets, until it is dropped.
    ///
    /// # Errors
    /// None: an error of the system is waited out.
    pub async fn serve_on(self: Arc<Self>, udp: UdpSocket, tcp: TcpListener) -> io::Result<()> {
        let by_tcp = {
            let names = Arc::clone(&self);
            let one = move |stream, slot: Arc<Slot>| Arc::clone(&names).one_by_tcp(stream, slot);
            accept(tcp, Arc::clone(&self.connections), one)
        };
        tokio::select! {
            end = self.by_udp(udp) => match end {},
            end = by_tcp => match end {},
        }
    }

    async fn by_udp(&self, socket: UdpSocket) -> Infallible {
        let mut question = [0; UDP];
        loop {
            let (length, from) = match socket.recv_from(&mut question).await {
                Ok(received) => received,
                // A client's port was closed before our answer came: its business.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => continue,
                Err(error) => {
                    if let Some(times) = ERRORS.count() {
                        tracing::warn!(%error, times, "DNS: no question can be received; trying again");
                    }
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    continue;
                }
            };
            let whole = question.get(..length).and_then(|question| self.answer(question, from.ip()));
            let Some((answer, cut)) = whole else { continue };
            let answer = if answer.len() > UDP { cut } else { answer };
            // A full buffer loses an answer, as the network may: it is asked for again.
            drop(socket.try_send_to(&answer, from));
        }
    }

    /// The questions of one connection, to its end.
    async fn one_by_tcp(self: Arc<Self>, mut stream: MonitoredStream<TcpStream>, slot: Arc<Slot>) {
        // A client that goes away has no answer.
        drop(self.questions(&mut stream, &slot).await);
    }

    async fn questions(&self, stream: &mut MonitoredStream<TcpStream>, slot: &Arc<Slot>) -> io::Result<()> {
        let from = stream.get_ref().peer_addr()?.ip();
        loop {
            let length = stream.read_u16().await?;
            let mut question = vec![0; length.into()];
            stream.read_exact(&mut question).await?;
            let _begun = slot.begin();
            let Some((answer, _)) = self.answer(&question, from) else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_u16(length).await?;
            stream.write_all(&answer).await?;
        }
    }

    /// The answer to one question, and what says that it is too long for UDP. Nothing is answered to what is no question.
    fn answer(&self, bytes: &[u8], from: IpAddr) -> Option<(Vec<u8>, Vec<u8>)> {
        let packet = Packet::parse(bytes).ok().filter(|packet| !packet.has_flags(PacketFlag::RESPONSE))?;
        let mut reply = Packet::new_reply(packet.id());
        if packet.has_flags(PacketFlag::RECURSION_DESIRED) {
            reply.set_flags(PacketFlag::RECURSION_DESIRED);
        }
        *reply.opcode_mut() = packet.opcode();
        let [question] = packet.questions.as_slice() else {
            *reply.rcode_mut() = RCODE::FormatError;
            return both(&reply);
        };
        reply.questions.push(question.clone());
        if packet.opcode() != OPCODE::StandardQuery {
            *reply.rcode_mut() = RCODE::NotImplemented;
            return both(&reply);
        }
        match self.look_up(&question.qname.to_string()) {
            Known::NotYet => *reply.rcode_mut() = RCODE::ServerFailure,
            Known::Elsewhere => *reply.rcode_mut() = RCODE::Refused,
            Known::Nobody => {
                reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
                *reply.rcode_mut() = RCODE::NameError;
            }
            Known::Serves(replicas) => {
                reply.set_flags(PacketFlag::AUTHORITATIVE_ANSWER);
                let mut found: Vec<_> = replicas.iter().filter_map(|all| nearest(all, question.qtype, from)).collect();
                // Those who take the first one each time take another one each time.
                if !found.is_empty() {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) % found.len();
                    found.rotate_left(turn);
                }
                let ttl = u32::try_from(TTL.as_secs()).unwrap_or(1);
                let record = |data| ResourceRecord::new(question.qname.clone(), CLASS::IN, ttl, data);
                reply.answers = found.into_iter().map(record).collect();
            }
        }
        both(&reply)
    }

    fn look_up(&self, name: &str) -> Known {
        let name = name.trim_end_matches('.').to_lowercase();
        let labels: Vec<&str> = name.split('.').collect();
        let (service, project) = match labels.as_slice() {
            [service, project] | [service, project, ZONE] => (*service, *project),
            _ => return Known::Elsewhere,
        };
        if !self.statuses.health().ready {
            return Known::NotYet;
        }
        let service = ServiceName::new(project, service);
        let Some(status) = self.statuses.status(&service) else { return Known::Nobody };
        let mut asked = self.lock();
        asked.retain(|_, at| at.elapsed() < ASKED);
        asked.insert(service, Instant::now());
        let serving = status.instances.iter().filter(|instance| instance.serves());
        let addresses = serving.map(|instance| instance.addresses.values().filter_map(|ip| ip.parse().ok()).collect());
        Known::Serves(addresses.collect())
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, BTreeMap<ServiceName, Instant>> {
        self.asked.lock()
    }
}

impl TrafficProvider for Names {
    /// An answer cannot be taken back: it may be used until the end of its life. So the one who leaves is waited for,
    /// and the one who comes need not be: whoever still has an older answer sends to those who stay until then.
    fn propagation(
        &self,
        service: &ServiceName,
        _: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState {
        let asked = self.lock().get(service).is_some_and(|at| at.elapsed() < ASKED);
        match shown {
            // Withdrawn by the process before this one, whose answers may still be in use.
            None if !serves && self.began.elapsed() < self.life => {
                PropagationState::before(self.began + self.life, "the last answers to its name")
            }
            _ if !asked => PropagationState::Unused,
            Some(shown) if !serves => {
                let until = if shown.serving { Instant::now() } else { shown.since } + self.life;
                PropagationState::before(until, "the last answers to its name")
            }
            _ => PropagationState::Settled,
        }
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        self.lock().get(service).filter(|at| at.elapsed() < ASKED)?;
        let detail = format!("no answer is used for longer than {:?}", self.life);
        Some(TrafficPath { path: "DNS names".to_owned(), proof: Proof::Bounded, detail })
    }
}

/// Of a replica's addresses the one of the kind asked for that shares most with whoever asks: it is on their network.
fn nearest(addresses: &[IpAddr], kind: QTYPE, from: IpAddr) -> Option<RData<'static>> {
    let shared = |address: &&IpAddr| match (address, from) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => 0,
    };
    let wanted = |address: &&IpAddr| match kind {
        QTYPE::TYPE(TYPE::A) => address.is_ipv4(),
        QTYPE::TYPE(TYPE::AAAA) => address.is_ipv6(),
        QTYPE::ANY => true,
        _ => false,
    };
    match addresses.iter().filter(wanted).max_by_key(shared)? {
        IpAddr::V4(address) => Some(RData::A(A { address: address.to_bits() })),
        IpAddr::V6(address) => Some(RData::AAAA(AAAA { address: address.to_bits() })),
    }
}

/// A reply, and the same without its answers, marked as cut short.
fn both(reply: &Packet<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    let whole = reply.build_bytes_vec_compressed().ok()?;
    let mut cut = reply.clone();
    cut.answers.clear();
    cut.set_flags(PacketFlag::TRUNCATION);
    Some((whole, cut.build_bytes_vec_compressed().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crd_schema::status::{ReplicaPhase, ReplicaStatus, ServiceStatus};
    use crd_schema::{ContainerId, NetworkName, Revision};
    use simple_dns::{Name, QCLASS, Question};

    fn instance(number: u8, phase: ReplicaPhase) -> ReplicaStatus {
        ReplicaStatus {
            name: format!("shop-web-{number}"),
            id: ContainerId::new(format!("id{number}")),
            revision: Revision::new("r"),
            phase,
            since: jiff::Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: [
                (NetworkName::new("back"), format!("10.1.0.{number}")),
                (NetworkName::new("front"), format!("10.2.0.{number}")),
            ]
            .into(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        }
    }

    fn names(instances: Vec<ReplicaStatus>) -> Arc<Names> {
        let statuses = Arc::new(StatusStore::default());
        statuses.set_health(|health| health.ready = true);
        let status = ServiceStatus { instances, ..ServiceStatus::default() };
        statuses.publish(&ServiceName::new("shop", "web"), status);
        Names::new(statuses, Duration::from_secs(1))
    }

    fn ask(names: &Names, name: &str, from: &str) -> (RCODE, Vec<String>) {
        let mut query = Packet::new_query(7);
        let kind = QTYPE::TYPE(TYPE::A);
        query.questions.push(Question::new(Name::new(name).unwrap(), kind, QCLASS::CLASS(CLASS::IN), false));
        let (answer, _) = names.answer(&query.build_bytes_vec().unwrap(), from.parse().unwrap()).unwrap();
        let answer = Packet::parse(&answer).unwrap();
        assert_eq!(answer.id(), 7);
        let addresses = answer.answers.iter().map(|record| match &record.rdata {
            RData::A(a) => std::net::Ipv4Addr::from_bits(a.address).to_string(),
            other => panic!("{other:?}"),
        });
        let mut addresses: Vec<_> = addresses.collect();
        addresses.sort();
        (answer.rcode(), addresses)
    }

    #[tokio::test]
    async fn those_who_serve_are_answered_by_the_address_nearest_to_who_asks() {
        let names = names(vec![
            instance(1, ReplicaPhase::Available),
            instance(2, ReplicaPhase::Joining),
            instance(3, ReplicaPhase::Draining),
            instance(4, ReplicaPhase::Pending),
        ]);
        let (code, addresses) = ask(&names, "web.shop", "10.2.0.99");
        assert_eq!((code, addresses), (RCODE::NoError, vec!["10.2.0.1".to_owned(), "10.2.0.2".to_owned()]));
        assert_eq!(ask(&names, "WEB.shop.composed", "10.1.0.99").1, ["10.1.0.1", "10.1.0.2"]);
        assert_eq!(ask(&names, "db.shop", "10.1.0.99").0, RCODE::NameError);
        assert_eq!(ask(&names, "www.example.com.org", "10.1.0.99").0, RCODE::Refused);
        names.statuses.set_health(|health| health.ready = false);
        assert_eq!(ask(&names, "web.shop", "10.1.0.99").0, RCODE::ServerFailure, "an older answer is better");
    }

    #[tokio::test]
    async fn a_long_answer_is_cut_and_garbage_is_not_answered() {
        let names = names((1..=200).map(|number| instance(number, ReplicaPhase::Available)).collect());
        let mut query = Packet::new_query(7);
        let question =
            Question::new(Name::new("web.shop").unwrap(), QTYPE::TYPE(TYPE::A), QCLASS::CLASS(CLASS::IN), false);
        query.questions.push(question);
        let query = query.build_bytes_vec().unwrap();
        let (whole, cut) = names.answer(&query, "10.1.0.99".parse().unwrap()).unwrap();
        assert!(whole.len() > UDP && cut.len() < UDP);
        assert!(Packet::parse(&cut).unwrap().has_flags(PacketFlag::TRUNCATION));
        assert_eq!(Packet::parse(&whole).unwrap().answers.len(), 200);
        for end in 0..query.len() {
            drop(names.answer(&query[..end], "10.1.0.99".parse().unwrap()));
        }
        assert!(names.answer(&whole, "10.1.0.99".parse().unwrap()).is_none(), "an answer is no question");
    }

    /// Labels of any bytes, and names that refer to themselves: an answer or none, and never an address.
    #[tokio::test]
    async fn hostile_names_are_nobodys() {
        let names = names(vec![instance(1, ReplicaPhase::Available)]);
        let from = "10.1.0.99".parse().unwrap();
        let question = |labels: &[&[u8]], end: &[u8]| {
            let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            for label in labels {
                packet.push(u8::try_from(label.len()).unwrap());
                packet.extend_from_slice(label);
            }
            packet.extend_from_slice(end);
            packet.extend_from_slice(&[0, 1, 0, 1]);
            packet
        };
        let long = [b'a'; 63];
        for (labels, end) in [
            (vec![&b"web"[..], b"shop\0"], &[0][..]),
            (vec![b"web", b"shop\x1b[31m"], &[0]),
            (vec![b"web", b"shop\n"], &[0]),
            (vec![b"\xff\xfe", b"shop"], &[0]),
            (vec![b"../web", b"shop"], &[0]),
            (vec![b"*", b"shop"], &[0]),
            (vec![&long, &long, &long, &long, &long], &[0]),
            (vec![b"web"], &[0xc0, 12]),
            (vec![], &[0xc0, 12]),
            (vec![b"web"], &[0xc0, 0xff]),
        ] {
            let Some((answer, _)) = names.answer(&question(&labels, end), from) else { continue };
            assert_eq!(Packet::parse(&answer).map_or(0, |answer| answer.answers.len()), 0, "{labels:?}");
        }
        let good = names.answer(&question(&[b"web", b"shop"], &[0]), from).unwrap().0;
        assert_eq!(Packet::parse(&good).unwrap().answers.len(), 1, "the questions are well made");
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_who_leaves_is_waited_for_until_the_last_answer_has_ended() {
        let names = names(vec![instance(1, ReplicaPhase::Available)]);
        let service = ServiceName::new("shop", "web");
        let replica: Replica = serde_json::from_value(serde_json::json!({
            "id": "id1", "name": "shop-web-1", "number": 1, "service": {"project": "shop", "name": "web"}, "revision": "r",
            "generation": 1, "created_at": "2026-01-01T00:00:00Z", "state": "running"
        }))
        .unwrap();
        let propagation = |serves| {
            names.propagation(&service, &replica, serves, names.statuses.shown(&service, &ContainerId::new("id1")))
        };
        assert_eq!(propagation(false), PropagationState::Unused, "nobody has asked");
        let before = || names.propagation(&service, &replica, false, None);
        assert!(matches!(before(), PropagationState::Pending { .. }), "the process before this one may have answered");
        tokio::time::advance(TTL + MARGIN).await;
        assert_eq!(before(), PropagationState::Unused);
        ask(&names, "web.shop", "10.1.0.99");
        assert_eq!(propagation(true), PropagationState::Settled);
        let status = ServiceStatus { instances: vec![instance(1, ReplicaPhase::Draining)], ..ServiceStatus::default() };
        names.statuses.publish(&service, status);
        assert!(matches!(propagation(false), PropagationState::Pending { .. }));
        tokio::time::advance(TTL).await;
        assert!(matches!(propagation(false), PropagationState::Pending { .. }));
        tokio::time::advance(MARGIN).await;
        assert_eq!(propagation(false), PropagationState::Settled);
    }
}
