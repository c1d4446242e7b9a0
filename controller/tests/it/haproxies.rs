//! The path through HAProxy, against a HAProxy of our own that keeps a list of servers: who is told what, and when the
//! plan may go on.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed_core::front;
use composed_core::model::{DesiredProject, DesiredService, Replica, ServiceName, ServiceRecord, State};
use composed_status::store::StatusStore;
use composed_traffic::companion::NamespaceAccess;
use composed_traffic::haproxy::Haproxies;
use composed_traffic::paths::{PropagationState, TrafficProvider};
use crd_schema::status::{CanaryStatus, ReplicaPhase, ReplicaStatus, ServiceStatus};
use crd_schema::{ContainerId, NetworkName, Revision, ServiceSpec};
use jiff::Timestamp;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, UnixListener};

use super::monitor::{Stage, replica};

/// Servers by name: address and the bits of their state.
#[derive(Clone, Default)]
struct Fake {
    servers: Arc<Mutex<BTreeMap<String, (String, u32)>>>,
    asked: Arc<Mutex<Vec<String>>>,
    deaf: Arc<std::sync::atomic::AtomicBool>,
    weights: Arc<Mutex<BTreeMap<String, u32>>>,
    /// The sessions of each server.
    sessions: Arc<std::sync::atomic::AtomicU32>,
}

impl Fake {
    fn answer(&self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let mut servers = self.servers.lock().unwrap();
        if !matches!(words.first(), Some(&("show" | "prompt"))) {
            self.asked.lock().unwrap().push(command.to_owned());
            if self.deaf.load(std::sync::atomic::Ordering::SeqCst) {
                return "No.\n".to_owned();
            }
        }
        match words.as_slice() {
            ["show", "backend"] => "# name\nport-8080\nweb\n".to_owned(),
            ["show", "servers", "state"] => {
                let line = |(path, (address, state)): (&String, &(String, u32))| {
                    let ((backend, name), (ip, port)) =
                        (path.split_once('/').unwrap(), address.rsplit_once(':').unwrap());
                    let weight = self.weights.lock().unwrap().get(path).copied().unwrap_or(100);
                    format!("{backend} {name} {ip} {state} {weight} {port}\n")
                };
                let lines: String = servers.iter().map(line).collect();
                format!("1\n# be_name srv_name srv_addr srv_admin_state srv_uweight srv_port\n{lines}")
            }
            ["show", "stat", "-1", "4", "-1"] => {
                let count = self.sessions.load(std::sync::atomic::Ordering::SeqCst);
                let line = |path: &String| format!("{},0,{count},\n", path.replace('/', ","));
                let lines: String = servers.keys().map(line).collect();
                format!("# pxname,svname,qcur,scur,\n{lines}")
            }
            ["add", "server", path, address, ..] => {
                servers.insert((*path).to_owned(), ((*address).to_owned(), 1));
                "New server registered.\n".to_owned()
            }
            ["set", "server", path, "state", state] => {
                let bits = BTreeMap::from([("ready", 0), ("drain", 8), ("maint", 1)])[state];
                servers.get_mut(*path).unwrap().1 = bits;
                String::new()
            }
            ["set", "server", path, "weight", weight] => {
                self.weights.lock().unwrap().insert((*path).to_owned(), weight.parse().unwrap());
                String::new()
            }
            ["del", "server", path] => {
                servers.remove(*path);
                "Server deleted.\n".to_owned()
            }
            _ => String::new(),
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let (read, mut write) = tokio::io::split(stream);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if write.write_all(format!("{}\n> ", self.answer(&line)).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn states(&self) -> BTreeMap<String, u32> {
        self.servers.lock().unwrap().iter().map(|(path, (_, state))| (path.clone(), *state)).collect()
    }
}

fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

fn id(letter: char) -> ContainerId {
    ContainerId::new(letter.to_string().repeat(64))
}

fn one(letter: char) -> Replica {
    Replica { state: State::Running, service: web(), ..replica(id(letter).as_str(), Some("127.0.0.1")) }
}

fn show(statuses: &StatusStore, phases: &[(char, ReplicaPhase)]) {
    let instances = phases.iter().map(|(letter, phase)| ReplicaStatus {
        name: letter.to_string(),
        id: id(*letter),
        revision: Revision::default(),
        phase: *phase,
        since: Timestamp::UNIX_EPOCH,
        endpoints: Vec::new(),
        addresses: BTreeMap::new(),
        reason: None,
        idle: false,
        leaves: false,
        shares: Vec::new(),
    });
    statuses.publish(&web(), ServiceStatus { instances: instances.collect(), ..ServiceStatus::default() });
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // The pace of looking.
    }
    panic!("not within 4 s: {what}");
}

fn pending(propagation: &PropagationState) -> bool {
    matches!(propagation, PropagationState::Pending { .. })
}

struct Driven {
    dir: tempfile::TempDir,
    fake: Fake,
    statuses: Arc<StatusStore>,
    path: Arc<Haproxies>,
    spec: ServiceSpec,
}

impl Driven {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s");
        let spec = serde_json::json!({"image": "x", "traffic": {"haproxy": {"socket": socket, "backend": "web", "server_port": 80}}});
        let statuses: Arc<StatusStore> = Arc::default();
        let path = Haproxies::new(NamespaceAccess::Nearest, None, Arc::clone(&statuses));
        Self { dir, fake: Fake::default(), statuses, path, spec: serde_json::from_value(spec).unwrap() }
    }

    /// A process of HAProxy; it ends when aborted.
    fn start(&self) -> tokio::task::JoinHandle<()> {
        let socket = self.dir.path().join("s");
        drop(std::fs::remove_file(&socket));
        let (listener, fake) = (UnixListener::bind(socket).unwrap(), self.fake.clone());
        tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                open.spawn(fake.clone().serve(stream));
            }
        })
    }

    fn notice(&self, memory: &ServiceRecord, replicas: &[Replica]) {
        self.path.notice(&web(), Some(&self.spec), memory, replicas);
    }

    fn propagation(&self, letter: char, serves: bool) -> PropagationState {
        self.path.propagation(&web(), &one(letter), serves, self.statuses.shown(&web(), &id(letter)))
    }
}

#[tokio::test]
async fn the_plan_waits_for_what_haproxy_itself_confirms() {
    let driven = Driven::new();
    let process = driven.start();
    driven.fake.servers.lock().unwrap().insert("web/theirs".to_owned(), ("127.0.0.1:9".to_owned(), 1));
    let server = |letter: char| format!("web/shop-web-{}", &id(letter).as_str()[..12]);
    let none = ServiceRecord::default();
    driven.notice(&none, &[one('a')]);
    assert!(pending(&driven.propagation('a', true)), "what is not shown is not known");

    show(&driven.statuses, &[('a', ReplicaPhase::Joining)]);
    until("a is settled", || driven.propagation('a', true) == PropagationState::Settled).await;
    assert_eq!(driven.fake.states()[&server('a')], 0);

    driven.notice(&none, &[one('a'), one('b')]);
    show(&driven.statuses, &[('a', ReplicaPhase::Available), ('b', ReplicaPhase::Joining)]);
    until("b is settled", || driven.propagation('b', true) == PropagationState::Settled).await;
    assert!(pending(&driven.propagation('a', false)), "it still takes requests");
    show(&driven.statuses, &[('a', ReplicaPhase::Draining), ('b', ReplicaPhase::Available)]);
    driven.fake.sessions.store(2, std::sync::atomic::Ordering::SeqCst);
    until("a has left", || driven.propagation('a', false) == PropagationState::Settled).await;
    assert_eq!(driven.fake.states()[&server('a')], 1, "clients that belong to it leave, too");
    until("what it has under way is told", || driven.path.in_flight(&web(), &one('a')) == 2).await;
    assert_eq!(driven.path.in_flight(&web(), &one('b')), 0, "that of one that serves is not asked for");
    driven.fake.sessions.store(0, std::sync::atomic::Ordering::SeqCst);
    until("its end is told at once", || driven.path.in_flight(&web(), &one('a')) == 0).await;

    driven.notice(&none, &[one('b')]);
    until("a is removed", || !driven.fake.states().contains_key(&server('a'))).await;
    assert_eq!(driven.fake.states().len(), 2, "b, and what is not ours: {:?}", driven.fake.states());

    // Another process of it knows nobody.
    process.abort();
    driven.fake.servers.lock().unwrap().clear();
    until("the loss is noticed", || pending(&driven.propagation('b', true))).await;
    let process = driven.start();
    until("it is filled anew", || driven.fake.states().get(&server('b')) == Some(&0)).await;
    until("b is settled again", || driven.propagation('b', true) == PropagationState::Settled).await;
    process.abort();
}

#[tokio::test]
async fn a_revision_on_trial_has_its_weight_for_as_long_as_that() {
    let driven = Driven::new();
    let process = driven.start();
    driven.notice(&ServiceRecord::default(), &[one('a'), one('b')]);
    let publish = |canary: Option<CanaryStatus>| {
        let mut status = ServiceStatus { canary, ..ServiceStatus::default() };
        for (letter, revision) in [('a', "old"), ('b', "new")] {
            let (id, name, revision) = (id(letter), letter.to_string(), Revision::new(revision));
            let (endpoints, addresses) = (Vec::new(), BTreeMap::new());
            let since = Timestamp::UNIX_EPOCH;
            status.instances.push(ReplicaStatus {
                name,
                id,
                revision,
                phase: ReplicaPhase::Available,
                since,
                endpoints,
                addresses,
                reason: None,
                idle: false,
                leaves: false,
                shares: Vec::new(),
            });
        }
        driven.statuses.publish(&web(), status);
    };
    let asked = |letter: char, weight: u32| {
        let wanted = format!("set server web/shop-web-{} weight {weight}", &id(letter).as_str()[..12]);
        driven.fake.asked.lock().unwrap().contains(&wanted)
    };
    publish(Some(CanaryStatus { revision: Revision::new("new"), weight: 10, until: None }));
    until("it has a tenth", || asked('a', 90) && asked('b', 10)).await;
    driven.fake.asked.lock().unwrap().clear();
    publish(None);
    until("it is one of them", || asked('b', 100)).await;
    process.abort();
}

#[tokio::test]
async fn a_haproxy_that_does_not_obey_holds_who_comes_and_who_leaves() {
    let driven = Driven::new();
    let process = driven.start();
    driven.fake.deaf.store(true, std::sync::atomic::Ordering::SeqCst);
    driven.notice(&ServiceRecord::default(), &[one('a')]);
    show(&driven.statuses, &[('a', ReplicaPhase::Joining)]);
    until("it was asked", || !driven.fake.asked.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await; // Its answer is on its way.
    let PropagationState::Pending { what, .. } = driven.propagation('a', true) else { panic!("it did not obey") };
    assert!(what.contains("HAProxy at /") && what.contains("No."), "{what}");
    tokio::time::sleep(Duration::from_secs(6)).await; // Longer than a HAProxy that does not confirm is waited for.
    let later = tokio::time::Instant::now() + Duration::from_secs(1);
    let held =
        |serves| matches!(driven.propagation('a', serves), PropagationState::Pending { until, .. } if until > later);
    assert!(held(true), "it runs, and has not got it");
    show(&driven.statuses, &[('a', ReplicaPhase::Draining)]);
    driven.fake.deaf.store(false, std::sync::atomic::Ordering::SeqCst);
    until("it obeys", || driven.propagation('a', false) == PropagationState::Settled).await;
    process.abort();
}

/// Where no HAProxy listens nobody sends by it, and it may be waiting for the service itself.
#[tokio::test]
async fn where_no_haproxy_listens_only_the_first_to_serve_goes_on() {
    let driven = Driven::new();
    driven.notice(&ServiceRecord::default(), &[one('a'), one('b')]);
    show(&driven.statuses, &[('a', ReplicaPhase::Joining)]);
    tokio::time::sleep(Duration::from_secs(6)).await; // Longer than a HAProxy that does not confirm is waited for.
    let now = tokio::time::Instant::now();
    assert!(matches!(driven.propagation('a', true), PropagationState::Pending { until, .. } if until < now));
    show(&driven.statuses, &[('a', ReplicaPhase::Available), ('b', ReplicaPhase::Joining)]);
    tokio::time::sleep(Duration::from_secs(6)).await; // Longer than a HAProxy that does not confirm is waited for.
    let now = tokio::time::Instant::now();
    let held = |letter, serves| matches!(driven.propagation(letter, serves), PropagationState::Pending { until, .. } if until > now);
    assert!(held('b', true), "another serves: HAProxy comes back to that one");
    show(&driven.statuses, &[('a', ReplicaPhase::Draining), ('b', ReplicaPhase::Available)]);
    assert!(held('a', false));
}

/// After a restart of the controller: who was withdrawn by the one before leaves, and nobody else does.
#[tokio::test]
async fn a_new_controller_takes_nobody_out_that_it_has_not_looked_at() {
    let driven = Driven::new();
    let server = |letter: char| format!("web/shop-web-{}", &id(letter).as_str()[..12]);
    for letter in ['a', 'b', 'c'] {
        driven.fake.servers.lock().unwrap().insert(server(letter), ("127.0.0.1:80".to_owned(), 0));
    }
    let process = driven.start();
    let mut memory = ServiceRecord::default();
    memory.replicas.draining.insert(id('b'), Timestamp::UNIX_EPOCH);
    driven.notice(&memory, &[one('a'), one('b')]);
    tokio::time::sleep(Duration::from_millis(200)).await; // Nothing may come meanwhile.
    assert_eq!(driven.fake.states().values().sum::<u32>(), 0, "there is no status yet");
    assert!(pending(&driven.propagation('b', false)));

    show(&driven.statuses, &[('a', ReplicaPhase::Pending), ('b', ReplicaPhase::Draining)]);
    until("b has left", || driven.propagation('b', false) == PropagationState::Settled).await;
    let states = driven.fake.states();
    assert_eq!((states[&server('a')], states[&server('b')], states.get(&server('c'))), (0, 1, None), "{states:?}");
    process.abort();
}

/// A front that cannot be entered is told through a companion, and told as well as one that can.
#[tokio::test(flavor = "multi_thread")]
async fn a_front_is_told_from_within_its_namespace() {
    let Some(stage) = Stage::new().await else { return };
    let text = format!("/proc/{}/ns/net", stage.replica.pid);
    let within = std::thread::spawn(move || {
        let namespace = std::fs::File::open(text).unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, front::RUNTIME_PORT)).unwrap()
    });
    let listener = within.join().unwrap();
    listener.set_nonblocking(true).unwrap();
    let (listener, fake) = (TcpListener::from_std(listener).unwrap(), Fake::default());
    let haproxy = fake.clone();
    let process = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(haproxy.clone().serve(stream)));
        }
    });
    let spec: ServiceSpec =
        serde_json::from_value(serde_json::json!({"image": "x", "expose": ["8080"], "front": "http"})).unwrap();
    let own = front::of(&DesiredService::new(web(), spec.clone(), ""), &DesiredProject::default()).unwrap();
    let name = front::name(&web());
    let container = Replica { state: State::Running, service: name.clone(), ..stage.replica.clone() };
    let server = format!("port-8080/{}", &id('a').as_str()[..12]);
    let companion = NamespaceAccess::Companion { image: stage.image(), program: PathBuf::from("/composed") };
    for way in [NamespaceAccess::Nearest, companion] {
        let said = format!("{way:?}");
        fake.servers.lock().unwrap().clear();
        let statuses: Arc<StatusStore> = Arc::default();
        let path = Haproxies::new(way, Some(Arc::clone(&stage.docker)), Arc::clone(&statuses));
        path.notice(&name, Some(&own.spec), &ServiceRecord::default(), std::slice::from_ref(&container));
        assert!(pending(&path.propagation(&name, &container, true, None)), "{said}");
        let member = Replica { addresses: [(NetworkName::new("net"), "10.0.0.2".to_owned())].into(), ..one('a') };
        path.notice(&web(), Some(&spec), &ServiceRecord::default(), std::slice::from_ref(&member));
        show(&statuses, &[('a', ReplicaPhase::Joining)]);
        until(&said, || {
            path.propagation(&web(), &member, true, statuses.shown(&web(), &id('a'))) == PropagationState::Settled
        })
        .await;
        assert_eq!(path.propagation(&name, &container, true, None), PropagationState::Settled, "{said}");
        assert_eq!(fake.states().get(&server), Some(&0), "{said}");
    }
    process.abort();
}
