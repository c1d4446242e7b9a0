//! What counts as a request in flight, on real connections.

use super::*;

/// A connection, seen from both ends.
pub(super) struct Pair {
    client: TcpStream,
    server: TcpStream,
}

pub(super) struct Place {
    pub(super) listener: TcpListener,
    among: Among,
}

impl Place {
    pub(super) fn new(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, among: Among { ports: Some([port].into()), ..Among::default() } }
    }

    pub(super) fn v4() -> Self {
        Self::new((Ipv4Addr::LOCALHOST, 0).into())
    }

    pub(super) fn pair(&self) -> Pair {
        let client = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = self.listener.accept().unwrap();
        server.set_nodelay(true).unwrap();
        Pair { client, server }
    }

    pub(super) fn busy(&self) -> u32 {
        look(&self.among, &mut Talks::default()).unwrap().busy
    }

    /// For how long from now on the count has to stay as it is.
    pub(super) fn stays(&self, expected: u32, period: Duration, what: &str) {
        let begin = Instant::now();
        while begin.elapsed() < period {
            let busy = self.busy();
            assert_eq!(busy, expected, "{what}, after {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(20)); // The pace of looking.
        }
    }

    /// The time until it has come to `expected`.
    pub(super) fn comes_to(&self, expected: u32, what: &str) -> Duration {
        let begin = Instant::now();
        while self.busy() != expected {
            assert!(begin.elapsed() < DOUBT + QUIET + Duration::from_secs(2), "{what}: still {}", self.busy());
            std::thread::sleep(Duration::from_millis(10)); // The pace of looking.
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
            std::thread::sleep(moment); // The pause of the stream.
        }
    }
    let begin = Instant::now();
    while look().busy > 0 {
        assert!(begin.elapsed() < Duration::from_secs(10), "it has ended");
        std::thread::sleep(moment); // The pause of the stream.
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
    std::thread::sleep(DOUBT / 2); // Within the time of doubt.
    assert_eq!(place.busy(), 30, "well within the time of doubt");
    std::thread::sleep(DOUBT); // Beyond the time of doubt.
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
