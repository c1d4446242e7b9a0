//! Traefik's file and HTTP providers, against Traefik itself: what services say in labels is a text to it and nothing else,
//! what it would refuse costs the one who says it, and what it has loaded is seen.
//!
//! Traefik is what `TRAEFIK_BIN` names, or what `.ci/proxies` has installed. Without one, the tests say so and are skipped;
//! `COMPOSED_REQUIRE_DOCKER=1` makes that a failure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path as File, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{Replica, ServiceName, State};
use composed_platform::listen::Hosts;
use composed_status::store::StatusStore;
use composed_traffic::paths::{PropagationState, TrafficProvider as _};
use composed_traffic::traefik::{Traefik, TraefikOptions};
use crd_schema::status::{Proof, ReplicaPhase, ReplicaStatus, ServiceStatus};
use crd_schema::{ContainerId, NetworkName, Revision};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::monitor::replica;

fn program() -> Option<PathBuf> {
    let this = std::env::current_exe().unwrap();
    let target = this.ancestors().find(|dir| dir.join("CACHEDIR.TAG").exists()).map(File::to_owned);
    let installed = ["proxies", "traefik"].map(|venv| target.as_ref().map(|dir| dir.join(venv).join("bin/traefik")));
    let given = std::env::var_os("TRAEFIK_BIN").map(PathBuf::from);
    let found = given.into_iter().chain(installed.into_iter().flatten()).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var("COMPOSED_REQUIRE_DOCKER").as_deref() != Ok("1"), "no Traefik: run .ci/proxies");
        eprintln!("skipped: no Traefik (.ci/proxies installs it)");
    }
    found
}

/// A Traefik of our own; killed when it is dropped.
struct Proxy {
    child: Child,
    web: SocketAddr,
    api: String,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Proxy {
    fn start(program: &File, dir: &File, provider: &[String]) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (web, api) = (free(), free());
        let [web, api] = [web, api].map(|listener| listener.local_addr().unwrap());
        let log = std::fs::File::create(dir.join("traefik.log")).unwrap();
        let mut command = Command::new(program);
        command.args([format!("--entrypoints.web.address={web}"), format!("--entrypoints.traefik.address={api}")]);
        command.args(["--api.insecure=true", "--global.checknewversion=false", "--global.sendanonymoususage=false"]);
        command.args(["--providers.providersthrottleduration=0s", "--log.level=INFO"]).args(provider);
        command.env("SECRET", "topsecret").current_dir(dir).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        Self { child: command.spawn().unwrap(), web, api: format!("http://{api}") }
    }

    /// Status and header lines, in lower case, of what it answers for a host.
    async fn get(&self, host: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.web).await.ok()?;
        let request = format!("GET / HTTP/1.0\r\nhost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer)
    }

    async fn serves(&self, host: &str, why: &str) -> String {
        for _ in 0..500 {
            if let Some(answer) = self.get(host).await.filter(|answer| answer.starts_with("HTTP/1.0 200")) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // The pace of looking.
        }
        panic!("{host} is not served within 10 s: {why}");
    }
}

/// A program that answers everything with 200.
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut asked = [0; 4096];
                while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {
                    if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// What a board shows of a service with one replica on this host.
fn show(statuses: &StatusStore, project: &str, id: &str, phase: ReplicaPhase, labels: &[(&str, &str)]) {
    let name = ServiceName::new(project, "web");
    let labels: BTreeMap<_, _> =
        labels.iter().map(|(key, value)| (format!("traefik.{key}"), (*value).to_owned())).collect();
    statuses.put_labels(&name, [(Revision::new("r"), labels)].into());
    let instance = ReplicaStatus {
        name: id.to_owned(),
        id: ContainerId::new(id),
        revision: Revision::new("r"),
        phase,
        since: Timestamp::UNIX_EPOCH,
        endpoints: Vec::new(),
        addresses: [(NetworkName::new("net"), "127.0.0.1".to_owned())].into(),
        reason: None,
        idle: false,
        leaves: false,
        shares: Vec::new(),
    };
    let status = ServiceStatus {
        project: project.to_owned(),
        name: "web".to_owned(),
        revision: Revision::new("r"),
        instances: vec![instance],
        ..ServiceStatus::default()
    };
    statuses.publish(&name, status);
}

/// A board with Traefik's path, and Traefik that reads it by a file or by HTTP.
struct Scene {
    statuses: Arc<StatusStore>,
    path: Arc<Traefik>,
    proxy: Proxy,
    port: String,
    _dir: TempDir,
}

impl Scene {
    async fn start(by_file: bool, has_api: bool) -> Option<Self> {
        let program = program()?;
        let dir = tempfile::tempdir().unwrap();
        let statuses = Arc::<StatusStore>::default();
        statuses.set_health(|health| health.ready = true);
        let file = dir.path().join("dynamic.yml");
        let address = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap()
        };
        let provider = if by_file {
            std::fs::write(&file, "{}").unwrap();
            vec![format!("--providers.file.filename={}", file.display()), "--providers.file.watch=true".to_owned()]
        } else {
            vec![format!("--providers.http.endpoint=http://{address}"), "--providers.http.pollinterval=50ms".to_owned()]
        };
        let proxy = Proxy::start(&program, dir.path(), &provider);
        let api = has_api.then(|| proxy.api.clone());
        let options = TraefikOptions { throttle: Duration::ZERO, by_file, api, names: None };
        let path = Traefik::new(Arc::clone(&statuses), options);
        let port = backend().await.to_string();
        // Nothing is written before there is something to show: Traefik watches the file by then.
        let scene = Self { statuses, path, proxy, port, _dir: dir };
        scene.good("first");
        if by_file {
            tokio::spawn(Arc::clone(&scene.path).keep_file(file));
        } else {
            let answers = Arc::clone(&scene.path);
            tokio::spawn(composed_api::serve_json(address, Hosts::new(&[]), Arc::new(move || answers.poll())));
        }
        tokio::spawn(Arc::clone(&scene.path).keep_asking());
        scene.proxy.serves("first", "its first route").await;
        Some(scene)
    }

    /// A good service that answers for a host.
    fn good(&self, host: &str) {
        let rule = format!("Host(`{host}`)");
        let port = ("http.services.good.loadbalancer.server.port", self.port.as_str());
        show(&self.statuses, "good", "g", ReplicaPhase::Available, &[("http.routers.good.rule", &rule), port]);
    }

    /// Another service beside it, with these labels.
    fn beside(&self, labels: &[(&str, &str)]) {
        let port = ("http.services.evil.loadbalancer.server.port", self.port.as_str());
        let all: Vec<_> = labels.iter().copied().chain([port, ("http.routers.evil.rule", "Host(`evil`)")]).collect();
        show(&self.statuses, "evil", "e", ReplicaPhase::Available, &all);
    }
}

const TEMPLATE: &str = r#"{{ env "SECRET" }} {{ broken"#;
const HEADER: &str = "http.middlewares.h.headers.customresponseheaders.x-test";

#[tokio::test]
async fn a_label_is_a_text_and_no_template() {
    for by_file in [true, false] {
        let Some(scene) = Scene::start(by_file, true).await else { return };
        scene.beside(&[(HEADER, TEMPLATE), ("http.routers.evil.middlewares", "h")]);
        let answer = scene.proxy.serves("evil", "a template is a text").await;
        assert!(answer.to_ascii_lowercase().contains("x-test: {{ env \"secret\" }} {{ broken"), "{answer}");
        assert!(!answer.contains("topsecret"), "{answer}");
        scene.good("second");
        scene.proxy.serves("second", "others go on").await;
        // Anything else that YAML might take for something.
        let odd = "\u{1f600}é\u{85}\u{2028}\u{7f}\u{feff}'\"\\ #: - & * ! | > % @ ` \t {{{{ }} {%";
        scene.beside(&[(HEADER, odd), ("http.routers.evil.middlewares", "h")]);
        scene.good("third");
        scene.proxy.serves("third", "others go on").await;
        scene.proxy.serves("evil", "it is itself").await;
    }
}

/// Every label that the real Traefik was seen to refuse a whole configuration for, and some more.
#[tokio::test]
async fn what_traefik_refuses_costs_only_the_service_that_says_it() {
    let long = format!("http.routers.{}.rule", "k".repeat(2000));
    let plugin = format!("http.middlewares.p.plugin.p{}", ".a".repeat(15));
    // Six characters each as they are written: YAML takes keys of 1024.
    let braces = format!("http.middlewares.{}.addprefix.prefix", "{".repeat(200));
    let controls = format!("http.middlewares.{}.addprefix.prefix", "\u{1}".repeat(160));
    let cases: Vec<(&str, &str)> = vec![
        ("http.routers.x", "foo"),
        ("http.routers", "foo"),
        ("tcp.routers", "foo"),
        ("tcp", "foo"),
        ("udp.services.x", "foo"),
        ("http.routers.x.bogus", "1"),
        ("http.middlewares.x.bogus.a", "1"),
        ("http.middlewares.x.ratelimit.redis.tls.caoptional", "true"),
        ("http.bogus.x", "1"),
        ("http.routers.x.priority", "abc"),
        ("http.routers.x.priority", ""),
        ("http.middlewares.x.headers", "true"),
        ("http.middlewares.x.headers.accesscontrolallowcredentials", "maybe"),
        ("http.middlewares.x.retry.initialinterval", "xx"),
        ("http.routers.x.rule.deeper", "a"),
        ("http.routers.x.tls.domains[7].main", "a.example"),
        ("http.middlewares.x.plugin.p.a", "\u{2551}99\u{2551}x"),
        ("http.middlewares.x.plugin.p.a[0]", "x"),
        ("http.middlewares.x.plugin.p.[0].", "x"),
        ("http.middlewares.x.plugin.p", "x"),
        ("http.middlewares.x.stripprefix.prefixes", ""),
        ("http.middlewares.<<.addprefix.prefix", "/a"),
        ("http.services.evil.loadbalancer.sticky.cookie", "perhaps"),
        ("http.services.evil.loadbalancer.server.scheme", "x\n\u{0}: {{"),
        ("http.services.evil.loadbalancer.server.weight", "-1"),
        ("http.services.evil.loadbalancer.strategy", "junk"),
        ("http.services.evil.loadbalancer.healthcheck.interval", "1d"),
        ("http.services.w.weighted.services[50].name", "evil"),
        ("http.services.m.mirroring.healthcheck", "x"),
        ("http.routers.x.rule", "Hos(`"),
        ("tls.stores.default.defaultgeneratedcert.resolver", "x"),
        ("tls.options.default.minversion", "x"),
        (&long, "a"),
        (&plugin, "x"),
        (&braces, "/a"),
        (&controls, "/a"),
    ];
    for by_file in [true, false] {
        let Some(scene) = Scene::start(by_file, false).await else { return };
        for (number, (key, value)) in cases.iter().enumerate() {
            scene.beside(&[(key, value)]);
            let host = format!("n{number}");
            scene.good(&host);
            scene.proxy.serves(&host, &format!("{key:.80}={value}")).await;
        }
        let about = scene.path.about(&ServiceName::new("evil", "web")).unwrap();
        assert_eq!(about.proof, Proof::Bounded);
        assert!(about.detail.contains("--traefik-api"), "{about:?}");
    }
}

fn leaver(project: &str, id: &str) -> Replica {
    Replica {
        state: State::Running,
        service: ServiceName::new(project, "web"),
        revision: Revision::new("r"),
        ..replica(id, Some("127.0.0.1"))
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await; // The pace of looking.
    }
    panic!("not within 20 s: {what}");
}

#[tokio::test]
async fn what_traefik_has_loaded_is_seen_by_its_api() {
    for by_file in [true, false] {
        let Some(scene) = Scene::start(by_file, true).await else { return };
        let (service, one) = (ServiceName::new("good", "web"), leaver("good", "g"));
        let propagation = |serves| {
            scene.path.propagation(&service, &one, serves, scene.statuses.shown(&service, &ContainerId::new("g")))
        };
        until("it is seen to have it", || propagation(true) == PropagationState::Settled).await;
        let about = scene.path.about(&service).unwrap();
        assert_eq!(about.proof, Proof::Proven, "{about:?}");
        show(&scene.statuses, "good", "g", ReplicaPhase::Draining, &[("http.routers.good.rule", "Host(`first`)")]);
        assert!(matches!(propagation(false), PropagationState::Pending { .. }), "it is not even written yet");
        until("it is seen to have gone", || propagation(false) == PropagationState::Settled).await;
    }
}

#[tokio::test]
async fn what_traefik_does_not_load_is_said_and_holds_rollouts() {
    let Some(program) = program() else { return };
    let dir = tempfile::tempdir().unwrap();
    // It reads another file than the one that is kept.
    std::fs::write(dir.path().join("other.yml"), "{}").unwrap();
    let provider = [format!("--providers.file.filename={}", dir.path().join("other.yml").display())];
    let proxy = Proxy::start(&program, dir.path(), &provider);
    let statuses = Arc::<StatusStore>::default();
    statuses.set_health(|health| health.ready = true);
    let api = Some(proxy.api.clone());
    let options = TraefikOptions { throttle: Duration::ZERO, by_file: true, api, names: None };
    let path = Traefik::new(Arc::clone(&statuses), options);
    show(&statuses, "good", "g", ReplicaPhase::Joining, &[("http.routers.good.rule", "Host(`a`)")]);
    tokio::spawn(Arc::clone(&path).keep_file(dir.path().join("dynamic.yml")));
    tokio::spawn(Arc::clone(&path).keep_asking());
    let (service, one) = (ServiceName::new("good", "web"), leaver("good", "g"));
    let said = || match path.propagation(&service, &one, true, statuses.shown(&service, &ContainerId::new("g"))) {
        PropagationState::Pending { what, .. } => what,
        other => panic!("{other:?}"),
    };
    until("it is said", || said().contains("has not loaded its file since")).await;
    let about = path.about(&service).unwrap();
    assert_eq!(about.proof, Proof::NotApplied);
    assert!(about.detail.contains("has not loaded its file since"), "{about:?}");
    drop(proxy);
    until("its silence is said", || said().contains("does not answer since")).await;
}
