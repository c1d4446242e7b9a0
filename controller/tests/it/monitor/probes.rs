//! What a probe says.

use super::inflight::Place;
use super::*;

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
    monitor: Arc<LocalMonitor>,
    spec: ServiceSpec,
    memory: ServiceRecord,
    replicas: Vec<Replica>,
}

impl Probed {
    fn new(spec: ServiceSpec, address: Option<&str>) -> Self {
        let monitor = LocalMonitor::new(None, Clock::system(), Arc::default());
        Self { monitor, spec, memory: ServiceRecord::default(), replicas: vec![replica("a", address)] }
    }

    async fn sense(&mut self) -> Probe {
        let begin = Instant::now();
        self.monitor.refresh(&web(), Some(&self.spec), &self.memory, &mut self.replicas).await;
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
    let mut keys = probed.monitor.watch();
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
        tokio::time::sleep(Duration::from_millis(10)).await; // The pace of looking.
    }
    target.status.store(0, Ordering::SeqCst);
    probed.replicas[0].restart_count = 1;
    assert_eq!(probed.sense().await, Probe::Unasked);
    target.status.store(200, Ordering::SeqCst);
    assert!(matches!(probed.woken(&mut keys).await, Probe::Passing | Probe::Failing(_)));

    // Withdrawn: no more questions, and no connection is left open.
    assert_eq!(probed.monitor.tasks(), (1, 0));
    probed.memory.replicas.draining.insert(ContainerId::new("a"), Timestamp::UNIX_EPOCH);
    assert_eq!(probed.sense().await, Probe::None);
    assert_eq!(probed.monitor.tasks(), (0, 1));
    tokio::time::sleep(Duration::from_millis(100)).await; // One that was on its way has arrived.
    let asked = target.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(300)).await; // Nothing may come meanwhile.
    assert_eq!((target.asked.load(Ordering::SeqCst), target.open.load(Ordering::SeqCst)), (asked, 0));
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn probing_ends_with_its_reason() {
    let port = free_port();
    let target = Arc::new(Target::default());
    target.status.store(200, Ordering::SeqCst);
    let server = tokio::spawn(Arc::clone(&target).serve(port));
    tokio::time::sleep(Duration::from_millis(50)).await; // It listens by then; one that does not is asked again.
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
        assert_eq!(probed.monitor.tasks(), (0, 0), "{number}");
        tokio::time::sleep(Duration::from_millis(100)).await; // One that was on its way has arrived.
        let asked = target.asked.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await; // Nothing may come meanwhile.
        assert_eq!(target.asked.load(Ordering::SeqCst), asked, "{number}: still asking");
    }
    // Another service's sense does not end it, and the end of the senses does.
    let mut probed = Probed::new(asking_http(port, "/"), Some("127.0.0.1"));
    probed.sense().await;
    probed.monitor.refresh(&ServiceName::new("shop", "db"), None, &ServiceRecord::default(), &mut []).await;
    assert_eq!(probed.monitor.tasks(), (1, 0));
    drop(probed);
    tokio::time::sleep(Duration::from_millis(100)).await; // One that was on its way has arrived.
    let asked = target.asked.load(Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(200)).await; // Nothing may come meanwhile.
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
    let mut keys = probed.monitor.watch();
    probed.sense().await;
    assert_eq!(probed.woken(&mut keys).await, failing("connection refused"));
    probed.replicas[0].addresses.insert(NetworkName::new("other"), "127.0.0.1".to_owned());
    probed.sense().await;
    assert_eq!(probed.woken(&mut keys).await, Probe::Passing);
    let host = ServiceSpec { network_mode: Some("host".to_owned()), ..spec };
    assert_eq!(Probed::new(host, None).sense().await, Probe::Passing);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_way_in_nothing_is_counted() {
    // The process of this test, which is in no such container.
    let mut probed = Probed::new(ServiceSpec::default(), None);
    probed.replicas[0] =
        Replica { id: ContainerId::new("0".repeat(64)), pid: std::process::id(), ..replica("a", None) };
    probed.memory.replicas.draining.insert(ContainerId::new("0".repeat(64)), Timestamp::UNIX_EPOCH);
    probed.sense().await;
    assert_eq!(probed.replicas[0].in_flight, InFlight::Uncountable);
}
