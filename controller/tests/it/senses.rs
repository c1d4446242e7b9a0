//! The controller's own senses, on real connections: what counts as a request in flight, and what a probe says. The
//! judge is the server's own side: it knows what it has been asked and what it has answered.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use composed::clock::Clock;
use composed::engine::docker::Docker;
use composed::engine::{self, Scope};
use composed::model::{
    DesiredService, Health, InFlight, Key, Memory, Observed, Probe, Replica, Rotation, ServiceName, State,
};
use composed::traffic::Senses as _;
use composed::traffic::inflight::{Among, DOUBT, QUIET, Requests, Talks, look, look_into};
use composed::traffic::local::{LocalSenses, Way};
use crd_schema::{ComposeDuration, HttpProbe, Readiness, ServiceSpec, TcpProbe};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;

use crate::contract::docker::{docker, engine_or_skip};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A connection, seen from both ends.
struct Pair {
    client: TcpStream,
    server: TcpStream,
}

struct Place {
    listener: TcpListener,
    among: Among,
}

impl Place {
    fn new(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, among: Among { ports: Some([port].into()), ..Among::default() } }
    }

    fn v4() -> Self {
        Self::new((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn pair(&self) -> Pair {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        Pair { client, server }
    }

    fn busy(&self) -> u32 {
        look(&self.among, &mut Talks::default()).unwrap().busy
    }

    /// For how long from now on the count has to stay as it is.
    fn stays(&self, expected: u32, period: Duration, what: &str) {
        let begin = Instant::now();
        while begin.elapsed() < period {
            let busy = self.busy();
            assert_eq!(busy, expected, "{what}, after {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The time until it has come to `expected`.
    fn comes_to(&self, expected: u32, what: &str) -> Duration {
        let begin = Instant::now();
        while self.busy() != expected {
            assert!(begin.elapsed() < DOUBT + QUIET + Duration::from_secs(2), "{what}: still {}", self.busy());
            std::thread::sleep(Duration::from_millis(10));
        }
        begin.elapsed()
    }
}

impl Pair {
    fn ask(&mut self) {
        self.client.write_all(REQUEST).unwrap();
        let mut heard = [0; REQUEST.len()];
        self.server.read_exact(&mut heard).unwrap();
    }

    fn answer(&mut self) {
        self.server.write_all(ANSWER).unwrap();
        let mut heard = [0; ANSWER.len()];
        self.client.read_exact(&mut heard).unwrap();
    }
}

fn a_request_counts_until_it_is_answered(place: &Place) {
    assert_eq!(place.busy(), 0, "nobody has connected");
    let mut idle: Vec<Pair> = (0..20).map(|_| place.pair()).collect();
    assert_eq!(place.busy(), 0, "connections without a request");
    for pair in &mut idle {
        pair.ask();
        pair.answer();
    }
    place.comes_to(0, "idle keep-alive connections");

    // In the tick of the handshake, so that the kernel's times say nothing; and in the wake of an old answer.
    let mut first = place.pair();
    first.ask();
    assert_eq!(place.busy(), 1, "a first request at once");
    idle[0].ask();
    place.stays(2, DOUBT + QUIET + Duration::from_millis(300), "two slow requests");
    first.answer();
    idle[0].answer();
    let after = place.comes_to(0, "answered");
    assert!(after >= QUIET / 2, "an answer is given time to go on: {after:?}");
    place.stays(0, Duration::from_millis(200), "idle");

    // Not read by the server yet, or sent in part: the client waits for an answer all the same.
    idle[1].client.write_all(REQUEST).unwrap();
    idle[2].client.write_all(&REQUEST[..5]).unwrap();
    let mut heard = [0; 5];
    idle[2].server.read_exact(&mut heard).unwrap();
    place.stays(2, Duration::from_millis(100), "an unread request, and half a one");
    // Who has left does not wait.
    idle.truncate(1);
    place.comes_to(0, "gone");
}

#[test]
fn requests_are_counted_over_ipv4() {
    a_request_counts_until_it_is_answered(&Place::v4());
}

#[test]
fn requests_are_counted_over_ipv6() {
    a_request_counts_until_it_is_answered(&Place::new((Ipv6Addr::LOCALHOST, 0).into()));
}

#[test]
fn ipv4_clients_of_an_ipv6_listener_count() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let place = Place { listener, among: Among { ports: Some([port].into()), ..Among::default() } };
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    client.write_all(REQUEST).unwrap();
    assert_eq!(place.busy(), 1);
}

#[test]
fn requests_that_the_application_sends_itself_do_not_count() {
    // The other end listens, too, but not here: a client's own port is nobody's.
    let (elsewhere, place) = (Place::v4(), Place::v4());
    let mut outgoing = elsewhere.pair();
    outgoing.ask();
    assert_eq!((place.busy(), elsewhere.busy()), (0, 1));
}

#[test]
fn an_answer_counts_while_it_flows() {
    let place = Place::v4();
    let mut pair = place.pair();
    pair.ask();
    for _ in 0..8 {
        pair.server.write_all(b"chunk").unwrap();
        let mut heard = [0; 5];
        pair.client.read_exact(&mut heard).unwrap();
        place.stays(1, QUIET / 2, "a stream");
    }
    let after = place.comes_to(0, "a stream that pauses for longer counts as over");
    assert!(after >= QUIET / 3, "{after:?}");
    pair.server.write_all(b"chunk").unwrap();
    assert_eq!(place.busy(), 1, "and counts again when it goes on");

    // A client that does not read: the answer is in the queues, for as long as it takes.
    let mut slow = place.pair();
    slow.ask();
    slow.server.set_nonblocking(true).unwrap();
    let much = vec![0; 65536];
    while slow.server.write(&much).is_ok() {}
    place.comes_to(1, "the first has paused again");
    place.stays(1, DOUBT + QUIET, "an answer that nobody reads");
    // The server has said all and closed; the kernel still has to deliver it.
    drop(slow.server);
    place.stays(1, Duration::from_millis(200), "an answer whose server has closed");
    slow.client.read_to_end(&mut Vec::new()).unwrap();
    place.comes_to(0, "delivered");
}

/// The hard case: the answer and the next request come within one tick of the kernel's clock, again and again, and then
/// the answer takes long. The kernel does not know which was last.
#[test]
fn a_stream_counts_through_its_pauses_and_every_connection_is_open() {
    let place = Place::v4();
    let (mut pair, idle) = (place.pair(), place.pair());
    let mut talks = Talks::default();
    let mut look = || look(&place.among, &mut talks).unwrap();
    pair.client.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    pair.server.read_exact(&mut [0; 18]).unwrap();
    let (pause, moment) = (Duration::from_millis(700), Duration::from_millis(50));
    for piece in 0..5 {
        pair.server.write_all(b"piece").unwrap();
        pair.client.read_exact(&mut [0; 5]).unwrap();
        let end = Instant::now() + pause;
        while Instant::now() < end {
            let seen = look();
            assert_eq!(seen.open, 2);
            // One pause has to be heard, and the first may be hidden by an answer in the same tick as its request.
            assert!(piece < 2 || seen.busy == 1, "after piece {piece}, {:?} before the next", end - Instant::now());
            std::thread::sleep(moment);
        }
    }
    let begin = Instant::now();
    while look().busy > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "it has ended");
        std::thread::sleep(moment);
    }
    drop((pair, idle));
    assert_eq!(look().open, 0);
}

#[test]
fn a_request_on_the_heels_of_an_answer_counts() {
    let place = Place::v4();
    let mut pairs: Vec<Pair> = (0..30).map(|_| place.pair()).collect();
    for pair in &mut pairs {
        for _ in 0..5 {
            pair.ask();
            pair.answer();
        }
        pair.ask();
    }
    assert_eq!(place.busy(), 30);
    std::thread::sleep(DOUBT / 2);
    assert_eq!(place.busy(), 30, "well within the time of doubt");
    std::thread::sleep(DOUBT);
    let told = place.busy();
    println!("{told} of 30 are told after the time of doubt");
    for pair in &mut pairs {
        pair.answer();
    }
    place.comes_to(0, "answered");
}

#[test]
fn a_client_that_closes_its_side_still_waits() {
    let place = Place::v4();
    let mut pair = place.pair();
    pair.ask();
    pair.client.shutdown(std::net::Shutdown::Write).unwrap();
    place.stays(1, DOUBT + QUIET, "half closed, and unanswered");
    pair.answer();
    place.comes_to(0, "answered");
}

fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

pub(crate) fn replica(id: &str, address: Option<&str>) -> Replica {
    Replica {
        id: id.to_owned(),
        name: "shop-web-1".to_owned(),
        number: 1,
        service: web(),
        revision: "r".to_owned(),
        generation: 1,
        image: String::new(),
        image_name: String::new(),
        created_at: Timestamp::UNIX_EPOCH,
        state: State::Running,
        started_at: Some(Timestamp::UNIX_EPOCH),
        restart_count: 0,
        restarts: false,
        health: Health::None,
        probe: Probe::None,
        in_flight: InFlight::Unknown,
        rotation: Rotation::Unfollowed,
        busy_with: None,
        pre_stop_done: false,
        volumes: std::collections::BTreeMap::new(),
        post_start: None,
        data: std::collections::BTreeSet::new(),
        shares: Vec::new(),
        by_hand: false,
        maker: None,
        compose: None,
        addresses: address.map(|address| ("net".to_owned(), address.to_owned())).into_iter().collect(),
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

/// A server for probes: how often it was asked, how many connections are open, and what it says next.
#[derive(Default)]
struct Target {
    asked: AtomicUsize,
    open: AtomicUsize,
    status: AtomicUsize,
    seen: std::sync::Mutex<String>,
}

impl Target {
    async fn serve(self: Arc<Self>, port: u16) {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let target = Arc::clone(&self);
            tokio::spawn(async move {
                target.open.fetch_add(1, Ordering::SeqCst);
                target.asked.fetch_add(1, Ordering::SeqCst);
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap_or(0);
                *target.seen.lock().unwrap() = String::from_utf8_lossy(&head[..length]).into_owned();
                let status = target.status.load(Ordering::SeqCst);
                if status == 0 {
                    // It says nothing.
                    drop(stream.read(&mut head).await);
                } else {
                    let text = format!("HTTP/1.1 {status} x\r\nConnection: close\r\n\r\nbody");
                    drop(stream.write_all(text.as_bytes()).await);
                    drop(stream.shutdown().await);
                    drop(stream.read(&mut head).await);
                }
                target.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn failing(why: &str) -> Probe {
    Probe::Failing(why.to_owned())
}

struct Probed {
    senses: Arc<LocalSenses>,
    spec: ServiceSpec,
    memory: Memory,
    replicas: Vec<Replica>,
}

impl Probed {
    fn new(spec: ServiceSpec, address: Option<&str>) -> Self {
        let senses = LocalSenses::new(None, Clock::system(), Arc::default());
        Self { senses, spec, memory: Memory::default(), replicas: vec![replica("a", address)] }
    }

    async fn sense(&mut self) -> Probe {
        let begin = Instant::now();
        self.senses.sense(&web(), Some(&self.spec), &self.memory, &mut self.replicas).await;
        assert!(begin.elapsed() < Duration::from_millis(250), "a sense took {:?}", begin.elapsed());
        std::mem::take(&mut self.replicas[0].probe)
    }

    async fn woken(&mut self, keys: &mut (impl futures_util::Stream<Item = Key> + Unpin)) -> Probe {
        let key = tokio::time::timeout(Duration::from_secs(2), keys.next()).await.expect("no key was woken");
        assert_eq!(key, Some(Key::Service(web())));
        self.sense().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_follows_what_the_replica_says() {
    let port = free_port();
    let mut probed = Probed::new(asking_http(port, "/ready?a=b"), Some("127.0.0.1"));
    let mut keys = probed.senses.watch();
    assert_eq!(probed.sense().await, failing("connection refused"), "asked at once");
    assert_eq!(probed.woken(&mut keys).await, failing("connection refused"), "the first answer is news");

    let target = Arc::new(Target::default());
    target.status.store(503, Ordering::SeqCst);
    let server = tokio::spawn(Arc::clone(&target).serve(port));
    assert_eq!(probed.woken(&mut keys).await, failing("status 503"));
    let seen = target.seen.lock().unwrap().clone();
    assert!(seen.starts_with("GET /ready?a=b HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")), "{seen}");

    target.status.store(399, Ordering::SeqCst);
    assert_eq!(probed.woken(&mut keys).await, Probe::Passing);
    target.status.store(400, Ordering::SeqCst);
    assert_eq!(probed.woken(&mut keys).await, failing("status 400"));
    target.status.store(0, Ordering::SeqCst);
    assert_eq!(probed.woken(&mut keys).await, failing("timed out"));
    target.status.store(200, Ordering::SeqCst);
    assert_eq!(probed.woken(&mut keys).await, Probe::Passing);

    // The verdict of the same run stands until another question is answered; of another run nothing is known.
    probed.spec.readiness.as_mut().unwrap().http.as_mut().unwrap().host = Some("shop.example".to_owned());
    assert_eq!(probed.sense().await, Probe::Passing);
    let begin = Instant::now();
    while !target.seen.lock().unwrap().contains("\r\nHost: shop.example\r\n") {
        assert!(begin.elapsed() < Duration::from_secs(2), "{}", target.seen.lock().unwrap());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    target.status.store(0, Ordering::SeqCst);
    probed.replicas[0].restart_count = 1;
    assert_eq!(probed.sense().await, Probe::Unasked);
    target.status.store(200, Ordering::SeqCst);
    assert!(matches!(probed.woken(&mut keys).await, Probe::Passing | Probe::Failing(_)));

    // Withdrawn: no more questions, and no connection is left open.
    assert_eq!(probed.senses.tasks(), (1, 0));
    probed.memory.withdrawn.insert("a".to_owned(), Timestamp::UNIX_EPOCH);
    assert_eq!(probed.sense().await, Probe::None);
    assert_eq!(probed.senses.tasks(), (0, 1));
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = target.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((target.asked.load(Ordering::SeqCst), target.open.load(Ordering::SeqCst)), (asked, 0));
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_ends_with_its_reason() {
    let port = free_port();
    let target = Arc::new(Target::default());
    target.status.store(200, Ordering::SeqCst);
    let server = tokio::spawn(Arc::clone(&target).serve(port));
    tokio::time::sleep(Duration::from_millis(50)).await;
    let reasons: [fn(&mut Probed); 4] = [
        |probed| probed.replicas[0].state = State::Exited(0),
        |probed| probed.replicas[0].state = State::Paused,
        |probed| probed.spec.readiness = None,
        |probed| {
            // Gone. (Another takes its index, and is not asked: it has no address and is not running.)
            probed.replicas[0] = Replica { state: State::Created, ..replica("b", None) };
        },
    ];
    for (number, reason) in reasons.into_iter().enumerate() {
        let mut probed = Probed::new(asking_http(port, "/"), Some("127.0.0.1"));
        assert_eq!(probed.sense().await, Probe::Passing, "{number}");
        reason(&mut probed);
        assert_eq!(probed.sense().await, Probe::None, "{number}");
        assert_eq!(probed.senses.tasks(), (0, 0), "{number}");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let asked = target.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(target.asked.load(Ordering::SeqCst), asked, "{number}: still asking");
    }
    // Another service's sense does not end it, and the end of the senses does.
    let mut probed = Probed::new(asking_http(port, "/"), Some("127.0.0.1"));
    probed.sense().await;
    probed.senses.sense(&ServiceName::new("shop", "db"), None, &Memory::default(), &mut []).await;
    assert_eq!(probed.senses.tasks(), (1, 0));
    drop(probed);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = target.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((target.asked.load(Ordering::SeqCst), target.open.load(Ordering::SeqCst)), (asked, 0));
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_probe_connects_and_an_address_is_needed() {
    let place = Place::v4();
    let port = place.listener.local_addr().unwrap().port();
    let readiness = Readiness { tcp: Some(TcpProbe { port }), ..Readiness::default() };
    let spec = ServiceSpec { readiness: Some(readiness), ..ServiceSpec::default() };
    let mut probed = Probed::new(spec.clone(), Some("127.0.0.1"));
    assert_eq!(probed.sense().await, Probe::Passing);
    assert_eq!(Probed::new(spec.clone(), None).sense().await, failing("it has no address"));
    // On several networks it is enough that it answers on one.
    let mut probed = Probed::new(spec.clone(), Some("127.0.0.2"));
    let mut keys = probed.senses.watch();
    probed.sense().await;
    assert_eq!(probed.woken(&mut keys).await, failing("connection refused"));
    probed.replicas[0].addresses.insert("other".to_owned(), "127.0.0.1".to_owned());
    probed.sense().await;
    assert_eq!(probed.woken(&mut keys).await, Probe::Passing);
    let host = ServiceSpec { network_mode: Some("host".to_owned()), ..spec };
    assert_eq!(Probed::new(host, None).sense().await, Probe::Passing);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_in_nothing_is_counted() {
    // The process of this test, which is in no such container.
    let mut probed = Probed::new(ServiceSpec::default(), None);
    probed.replicas[0] = Replica { id: "0".repeat(64), pid: std::process::id(), ..replica("a", None) };
    probed.memory.withdrawn.insert("0".repeat(64), Timestamp::UNIX_EPOCH);
    probed.sense().await;
    assert_eq!(probed.replicas[0].in_flight, InFlight::Uncountable);
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
        let image = format!("{prefix}:app");
        engine.import_image(own.expect("composed own-rootfs").stdout, &image, &changes).await.expect("import");
        let mut stage = Self { prefix, docker: Arc::new(engine), replica: replica("", None) };
        let id = docker(&["run", "-d", "--name", &format!("{}-app", stage.prefix), &image]).await.expect("run");
        let format = "{{.State.Pid}} {{.NetworkSettings.IPAddress}}";
        let seen = docker(&["inspect", "--format", format, &id]).await.expect("inspect");
        let (pid, address) = seen.split_once(' ').expect("two words");
        stage.replica = Replica { id, pid: pid.parse().expect("a pid"), ..replica("", Some(address)) };
        Some(stage)
    }

    pub(crate) fn image(&self) -> String {
        format!("{}:app", self.prefix)
    }

    fn connect(&self) -> TcpStream {
        let address = format!("{}:8080", self.replica.addresses["net"]);
        let begin = Instant::now();
        loop {
            match TcpStream::connect(&address) {
                Ok(stream) => return stream,
                Err(error) => assert!(begin.elapsed() < Duration::from_secs(10), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
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

/// 50 idle connections and 3 slow requests are 3, and then 0.
async fn counts(stage: &Stage, way: Way) {
    let senses = LocalSenses::by(way, Some(Arc::clone(&stage.docker)), Clock::system(), Arc::default(), Vec::new());
    let mut memory = Memory::default();
    memory.withdrawn.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    let idle = stage.idle(50);
    tokio::time::sleep(DOUBT + QUIET).await;
    let mut keys = senses.watch();
    let mut replicas = [stage.replica.clone()];
    let begin = Instant::now();
    let asked = begin;
    let mut slow: Vec<TcpStream> = (0..3).map(|_| stage.slow(5000)).collect();
    let mut first = None;
    let mut most = Duration::ZERO;
    loop {
        let called = Instant::now();
        senses.sense(&web(), None, &memory, &mut replicas).await;
        most = most.max(called.elapsed());
        match replicas[0].in_flight {
            InFlight::Unknown if begin.elapsed() < Duration::from_secs(4) => {}
            InFlight::Count(3) => _ = first.get_or_insert(begin.elapsed()),
            other => {
                assert!(begin.elapsed() >= Duration::from_secs(5), "{other:?} after {:?}", begin.elapsed());
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("counted first after {first:?}; the longest sense took {most:?}");
    assert!(first.is_some() && most < Duration::from_millis(250));
    for stream in &mut slow {
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    }
    let begin = Instant::now();
    while replicas[0].in_flight != InFlight::Count(0) {
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", replicas[0].in_flight);
        tokio::time::sleep(Duration::from_millis(20)).await;
        senses.sense(&web(), None, &memory, &mut replicas).await;
    }
    println!("zero {:?} after the last answer was due", asked.elapsed().saturating_sub(Duration::from_secs(5)));
    let woken = tokio::time::timeout(Duration::from_secs(1), keys.next()).await.expect("zero wakes the key");
    assert_eq!(woken, Some(Key::Service(web())));
    drop(idle);
    // It ends with the replica.
    senses.sense(&web(), None, &memory, &mut []).await;
    assert_eq!(senses.tasks(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_container_are_counted_from_the_host() {
    let Some(stage) = Stage::new().await else { return };
    counts(&stage, Way::Nearest).await;
    // Out of reach, and again in reach in its next run.
    let senses = LocalSenses::new(None, Clock::system(), Arc::default());
    let mut memory = Memory::default();
    memory.withdrawn.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    let mut replicas = [Replica { pid: 0, ..stage.replica.clone() }];
    senses.sense(&web(), None, &memory, &mut replicas).await;
    assert_eq!(replicas[0].in_flight, InFlight::Uncountable);
    let mut replicas = [stage.replica.clone()];
    senses.sense(&web(), None, &memory, &mut replicas).await;
    assert_ne!(replicas[0].in_flight, InFlight::Uncountable);
}

/// Streams are told from kept connections by listening for 2 s: that begins when a successor is about to be made.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_to_leave_is_listened_to_before_its_successor_is_made() {
    let Some(stage) = Stage::new().await else { return };
    let senses = LocalSenses::new(None, Clock::system(), Arc::default());
    let wanted = ServiceSpec::default();
    let mut memory = Memory::default();
    let desired = DesiredService::new(web(), wanted.clone(), "web.yaml:1");
    memory.notice(Some(&desired), &Observed::default(), Timestamp::UNIX_EPOCH);
    let _idle = stage.idle(2);
    let mut old = [stage.replica.clone()];
    senses.sense(&web(), Some(&wanted), &memory, &mut old).await;
    assert_eq!(senses.tasks(), (0, 0), "it has no successor");
    senses.foresee(&web(), &wanted, &memory, &old);
    assert_eq!(senses.tasks(), (0, 1));
    let made = Replica { revision: desired.revision, state: State::Created, pid: 0, ..replica("new", None) };
    let mut both = [stage.replica.clone(), made];
    let begin = Instant::now();
    while begin.elapsed() < DOUBT * 2 + QUIET {
        senses.sense(&web(), Some(&wanted), &memory, &mut both).await;
        assert_eq!(senses.tasks(), (0, 1), "the successor is there");
        tokio::time::sleep(QUIET).await;
    }
    memory.withdrawn.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    senses.sense(&web(), Some(&wanted), &memory, &mut both).await;
    assert_eq!(both[0].in_flight, InFlight::Count(0), "by the first look");
    memory.withdrawn.clear();
    senses.sense(&web(), Some(&wanted), &memory, &mut old).await;
    assert_eq!(senses.tasks(), (0, 0), "the successor is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_container_are_counted_by_a_companion() {
    let Some(stage) = Stage::new().await else { return };
    let ours = || async {
        let filter = format!("label=dev.composed.instance={}", stage.prefix);
        docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).await.expect("ps")
    };
    // A leftover of a controller that died.
    let command = ["/composed", "companion", "600"].map(str::to_owned);
    let image = stage.image();
    let start = || stage.docker.start_companion(&image, &command, &stage.replica.id);
    let older = start().await.expect("start");
    let leftover = start().await.expect("start again");
    assert_eq!(ours().await, leftover, "{older} had to go");
    let labels = [format!("dev.composed.instance={}", stage.prefix), "dev.composed.companion=gone".to_owned()];
    let words = ["run", "-d", "--net=none", "--label", &labels[0], "--label", &labels[1], &stage.image()];
    let forged = docker(&words).await.expect("run");
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.NetworkMode}} \
                  {{.HostConfig.RestartPolicy.Name}}";
    let seen = docker(&["inspect", "--format", format, &leftover]).await.expect("inspect");
    assert!(seen.starts_with(&format!("65534:65534 true [ALL] container:{}", stage.replica.id)), "{seen}");
    let snapshot = engine::look(&*stage.docker, &Scope::default()).await.expect("observe");
    assert!(snapshot.replicas.is_empty() && snapshot.listing.owned.is_empty(), "a companion is no replica");

    let way = Way::Companion { image: stage.image(), program: PathBuf::from("/composed") };
    counts(&stage, way).await;
    let begin = Instant::now();
    loop {
        let left = ours().await;
        assert!(left.contains(&forged), "what only claims to be a companion stays");
        if left == forged {
            break;
        }
        assert!(!left.contains(&leftover), "leftovers go at the start");
        assert!(begin.elapsed() < Duration::from_secs(5), "a companion was left behind: {left}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    docker(&["rm", "-f", &forged]).await.expect("rm");
}

/// Figures, for `-- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not promises"]
async fn figures() {
    fn cpu_ms() -> u64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        // utime and stime, in ticks of 10 ms.
        10 * (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap())
    }
    let Some(stage) = Stage::new().await else { return };
    let idle = stage.idle(300);
    let (before, begin, mut talks) = (cpu_ms(), Instant::now(), Talks::default());
    for _ in 0..200 {
        look_into(&stage.replica.id, stage.replica.pid, &[8080].into(), Requests::InTurn, &mut talks).unwrap();
    }
    println!("a look among 300 connections: {:?}, {} ms CPU for 200", begin.elapsed() / 200, cpu_ms() - before);
    drop(idle);

    let address = stage.replica.addresses["net"].clone();
    let mut spec = asking_http(8080, "/healthz");
    spec.readiness.as_mut().unwrap().period = Some(ComposeDuration::from_secs(1));
    let senses = LocalSenses::new(None, Clock::system(), Arc::default());
    let mut replicas: Vec<Replica> = (0..100).map(|n| replica(&format!("r{n}"), Some(&address))).collect();
    senses.sense(&web(), Some(&spec), &Memory::default(), &mut replicas).await;
    let (before, begin) = (cpu_ms(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("100 probes a second: {} ms CPU in {:?}", cpu_ms() - before, begin.elapsed());
}
