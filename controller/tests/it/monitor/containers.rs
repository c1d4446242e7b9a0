//! Requests in flight of a container.

use super::*;

/// 50 idle connections and 3 slow requests are 3, and then 0.
async fn counts(stage: &Stage, way: NamespaceAccess) {
    let monitor = LocalMonitor::by(way, Some(Arc::clone(&stage.docker)), Clock::system(), Arc::default(), Vec::new());
    let mut memory = ServiceRecord::default();
    memory.replicas.draining.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    let idle = stage.idle(50);
    tokio::time::sleep(DOUBT + QUIET).await; // The connections are idle, beyond doubt.
    let mut keys = monitor.watch();
    let mut replicas = [stage.replica.clone()];
    let begin = Instant::now();
    let asked = begin;
    let mut slow: Vec<TcpStream> = (0..3).map(|_| stage.slow(5000)).collect();
    let mut first = None;
    let mut most = Duration::ZERO;
    loop {
        let called = Instant::now();
        monitor.refresh(&web(), None, &memory, &mut replicas).await;
        most = most.max(called.elapsed());
        match replicas[0].in_flight {
            InFlight::Unknown if begin.elapsed() < Duration::from_secs(4) => {}
            InFlight::Count(3) => _ = first.get_or_insert(begin.elapsed()),
            other => {
                assert!(begin.elapsed() >= Duration::from_secs(5), "{other:?} after {:?}", begin.elapsed());
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // The pace of looking.
    }
    println!("counted first after {first:?}; the longest sense took {most:?}");
    assert!(first.is_some() && most < Duration::from_secs(1));
    for stream in &mut slow {
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
    }
    let begin = Instant::now();
    while replicas[0].in_flight != InFlight::Count(0) {
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", replicas[0].in_flight);
        tokio::time::sleep(Duration::from_millis(20)).await; // The pace of looking.
        monitor.refresh(&web(), None, &memory, &mut replicas).await;
    }
    println!("zero {:?} after the last answer was due", asked.elapsed().saturating_sub(Duration::from_secs(5)));
    let woken = tokio::time::timeout(Duration::from_secs(1), keys.next()).await.expect("zero wakes the key");
    assert_eq!(woken, Some(Key::Service(web())));
    drop(idle);
    // It ends with the replica.
    monitor.refresh(&web(), None, &memory, &mut []).await;
    assert_eq!(monitor.tasks(), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_container_are_counted_from_the_host() {
    let Some(stage) = Stage::new().await else { return };
    counts(&stage, NamespaceAccess::Nearest).await;
    // Out of reach, and again in reach in its next run.
    let monitor = LocalMonitor::new(None, Clock::system(), Arc::default());
    let mut memory = ServiceRecord::default();
    memory.replicas.draining.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    let mut replicas = [Replica { pid: 0, ..stage.replica.clone() }];
    monitor.refresh(&web(), None, &memory, &mut replicas).await;
    assert_eq!(replicas[0].in_flight, InFlight::Uncountable);
    let mut replicas = [stage.replica.clone()];
    monitor.refresh(&web(), None, &memory, &mut replicas).await;
    assert_ne!(replicas[0].in_flight, InFlight::Uncountable);
}

/// Streams are told from kept connections by listening for 2 s: that begins when a successor is about to be made.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_to_leave_is_listened_to_before_its_successor_is_made() {
    let Some(stage) = Stage::new().await else { return };
    let monitor = LocalMonitor::new(None, Clock::system(), Arc::default());
    let wanted = ServiceSpec::default();
    let mut memory = ServiceRecord::default();
    let desired = DesiredService::new(web(), wanted.clone(), "web.yaml:1");
    memory.observe(Some(&desired), &Observed::default(), Timestamp::UNIX_EPOCH);
    let _idle = stage.idle(2);
    let mut old = [stage.replica.clone()];
    monitor.refresh(&web(), Some(&wanted), &memory, &mut old).await;
    assert_eq!(monitor.tasks(), (0, 0), "it has no successor");
    monitor.prepare_drain(&web(), &wanted, &memory, &old);
    assert_eq!(monitor.tasks(), (0, 1));
    let made = Replica { revision: desired.revision, state: State::Created, pid: 0, ..replica("new", None) };
    let mut both = [stage.replica.clone(), made];
    let begin = Instant::now();
    while begin.elapsed() < DOUBT * 2 + QUIET {
        monitor.refresh(&web(), Some(&wanted), &memory, &mut both).await;
        assert_eq!(monitor.tasks(), (0, 1), "the successor is there");
        tokio::time::sleep(QUIET).await; // The pace of looking.
    }
    memory.replicas.draining.insert(stage.replica.id.clone(), Timestamp::UNIX_EPOCH);
    monitor.refresh(&web(), Some(&wanted), &memory, &mut both).await;
    assert_eq!(both[0].in_flight, InFlight::Count(0), "by the first look");
    memory.replicas.draining.clear();
    monitor.refresh(&web(), Some(&wanted), &memory, &mut old).await;
    assert_eq!(monitor.tasks(), (0, 0), "the successor is gone");
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
    assert_eq!(leftover, ours().await.as_str(), "{older} had to go");
    let labels = [format!("dev.composed.instance={}", stage.prefix), "dev.composed.companion=gone".to_owned()];
    let words = ["run", "-d", "--net=none", "--label", &labels[0], "--label", &labels[1], image.as_str()];
    let forged = docker(&words).await.expect("run");
    let format = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.NetworkMode}} \
                  {{.HostConfig.RestartPolicy.Name}}";
    let seen = docker(&["inspect", "--format", format, leftover.as_str()]).await.expect("inspect");
    assert!(seen.starts_with(&format!("65534:65534 true [ALL] container:{}", stage.replica.id)), "{seen}");
    let snapshot = engine::observe_once(&*stage.docker, &ObserveRequest::default()).await.expect("observe");
    assert!(snapshot.replicas.is_empty() && snapshot.listing.owned.is_empty(), "a companion is no replica");

    let way = NamespaceAccess::Companion { image: stage.image(), program: PathBuf::from("/composed") };
    counts(&stage, way).await;
    let begin = Instant::now();
    loop {
        let left = ours().await;
        assert!(left.contains(&forged), "what only claims to be a companion stays");
        if left == forged {
            break;
        }
        assert!(!left.contains(leftover.as_str()), "leftovers go at the start");
        assert!(begin.elapsed() < Duration::from_secs(5), "a companion was left behind: {left}");
        tokio::time::sleep(Duration::from_millis(50)).await; // The pace of looking.
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
    let monitor = LocalMonitor::new(None, Clock::system(), Arc::default());
    let mut replicas: Vec<Replica> = (0..100).map(|n| replica(&format!("r{n}"), Some(&address))).collect();
    monitor.refresh(&web(), Some(&spec), &ServiceRecord::default(), &mut replicas).await;
    let (before, begin) = (cpu_ms(), Instant::now());
    tokio::time::sleep(Duration::from_secs(10)).await; // So long it is measured.
    println!("100 probes a second: {} ms CPU in {:?}", cpu_ms() - before, begin.elapsed());
}
