//! The endpoint view on a real engine: what a proxy sees, hears, and does not. The judge is a client that speaks HTTP by
//! hand, and the docker CLI behind the view's back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use composed::api::client;
use composed::board::Board;
use composed::clock::Clock;
use composed::model::ServiceName;
use composed::traffic::paths::{Path as _, Standing};
use composed::traffic::view::{Options, View};
use crd_schema::status::{ReplicaStatus, ServiceStatus};
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::contract::docker::{Run, docker, engine_or_skip};
use crate::senses::replica;

/// Stands wherever a secret may stand.
const CANARY: &str = "c4n4ry";

/// A view of this machine's engine, with a board that the test writes.
struct Stand {
    board: Arc<Board>,
    view: Arc<View>,
    server: JoinHandle<std::io::Result<()>>,
    socket: PathBuf,
    name: String,
    run: Arc<Run>,
    _dir: tempfile::TempDir,
}

impl Stand {
    async fn new() -> Option<Self> {
        static STANDS: AtomicU32 = AtomicU32::new(0);
        let run = Run::begin().await?;
        let name = format!("{}v{}", run.image.split(':').next().unwrap(), STANDS.fetch_add(1, Ordering::Relaxed));
        let engine = Arc::new(engine_or_skip(&name).await?);
        let board = Arc::new(Board::default());
        let options = Options { labels: Vec::new(), throttle: Duration::from_secs(2), traefik: None };
        let view = View::new(engine, Arc::clone(&board), Clock::system(), options);
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("view.sock");
        let (shared, path) = (Arc::clone(&view), socket.clone());
        let server = tokio::spawn(async move { shared.serve(&path).await });
        while !socket.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Some(Self { board, view, server, socket, name, run, _dir: dir })
    }

    fn service(&self) -> ServiceName {
        ServiceName::new(self.name.clone(), "web")
    }

    /// A running container full of secrets; with an instance one of its own, with `web` one of the service.
    async fn container(&self, name: &str, instance: Option<&str>, web: bool) -> String {
        let name = format!("{}-{name}", self.name);
        let instance = format!("dev.composed.instance={}", instance.unwrap_or("nobodys"));
        let service = format!("dev.composed.service={}/web", self.name);
        let secret = format!("secret={CANARY}");
        let (variable, mount) = (format!("TOKEN={CANARY}"), format!("{}-{CANARY}:/data", self.name));
        let mut words = vec!["run", "-d", "--name", &name, "--label", &secret, "--label", "traefik.enable=true"];
        words.extend(["--env", &variable, "--env", "VIRTUAL_HOST=a.example", "--volume", &mount, "--label", &instance]);
        if web {
            words.extend(["--label", &service]);
        }
        let check = format!("/composed demo-app check {CANARY}");
        words.extend(["--health-cmd", &check, "--health-interval", "1h", &self.run.image]);
        words.extend(["--instance", CANARY]);
        docker(&words).await.expect("run")
    }

    /// Writes these replicas on the board as serving; says which version.
    fn shows(&self, ids: &[&str]) -> u64 {
        let instance = |id: &&str| ReplicaStatus {
            name: format!("{}-web-1", self.name),
            id: (*id).to_owned(),
            revision: "r".to_owned(),
            phase: "Available".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: std::collections::BTreeMap::new(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        };
        let instances = ids.iter().map(instance).collect();
        self.board.publish(&self.service(), ServiceStatus { instances, ..ServiceStatus::default() });
        *self.board.version().borrow()
    }

    fn ready(&self) {
        self.board.set_health(|health| health.ready = true);
    }

    async fn get(&self, target: &str) -> (u16, Value) {
        let (status, body) = client::get(&self.socket, target).await.expect("an answer");
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
    }

    /// The ids that a list has.
    async fn listed(&self, query: &str) -> BTreeSet<String> {
        let (status, list) = self.get(&format!("/v1.41/containers/json?{query}")).await;
        assert_eq!(status, 200, "{list}");
        list.as_array().unwrap().iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect()
    }

    async fn events(&self, query: &str) -> Events {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        // Who lists and who listens is one client: it calls itself the same.
        let request = format!("GET /v1.41/events?{query} HTTP/1.0\r\nHost: d\r\nUser-Agent: composed\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut events = Events(BufReader::new(stream));
        let mut head = String::new();
        while head.is_empty() || !head.ends_with("\r\n\r\n") {
            assert!(events.0.read_line(&mut head).await.unwrap() > 0, "{head}");
        }
        assert!(head.contains(" 200 "), "{head}");
        events
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// An event stream.
struct Events(BufReader<UnixStream>);

impl Events {
    /// The next line, or nothing at its end.
    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = timeout(Duration::from_secs(20), self.0.read_line(&mut line)).await.expect("within 20 s").unwrap();
        (read > 0).then_some(line)
    }

    /// What happens next to one of these: the action and the place in the list.
    async fn next(&mut self, ids: &[&str]) -> (String, usize) {
        loop {
            let line = self.line().await.expect("it goes on");
            let event: Value = serde_json::from_str(&line).unwrap();
            assert!(!line.contains(CANARY), "{line}");
            if let Some(nth) = ids.iter().position(|id| event["Actor"]["ID"] == *id) {
                assert_eq!((&event["status"], &event["id"]), (&event["Action"], &event["Actor"]["ID"]), "both forms");
                return (event["Action"].as_str().unwrap().to_owned(), nth);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_see_what_serves_and_no_secret() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let shown = stand.container("shown", own.as_deref(), true).await;
    let hidden = stand.container("hidden", own.as_deref(), true).await;
    let companion = stand.container("companion", own.as_deref(), false).await;
    let foreign = stand.container("foreign", None, true).await;
    stand.shows(&[&shown]);

    // Nothing is said before the controller has looked: a proxy keeps what it knew.
    let early = timeout(Duration::from_millis(700), stand.get("/containers/json")).await;
    assert!(early.is_err(), "{early:?}");
    stand.ready();
    let of_mine = |all: BTreeSet<String>| -> BTreeSet<String> {
        let mine = [&shown, &hidden, &companion, &foreign];
        all.into_iter().filter(|id| mine.contains(&id)).collect()
    };
    let both = BTreeSet::from([shown.clone(), foreign.clone()]);
    assert_eq!(of_mine(stand.listed("all=1").await), both);
    assert_eq!(stand.listed("limit=1").await.len(), 1, "the newest that is seen, stopped or not");
    let filters = format!("all=1&filters=%7B%22name%22%3A%5B%22{}-%22%5D%7D", stand.name);
    assert_eq!(stand.listed(&filters).await, both);

    let mut said = String::new();
    for (name, status) in [("shown", 200), ("foreign", 200), ("hidden", 404), ("companion", 404), ("nobody", 404)] {
        let (answered, body) = stand.get(&format!("/containers/{}-{name}/json", stand.name)).await;
        assert_eq!(answered, status, "{name}: {body}");
        if status == 404 {
            assert_eq!(body["message"], format!("No such container: {}-{name}", stand.name));
        }
        said += &body.to_string();
    }
    let (_, body) = stand.get(&format!("/v1.41/containers/{shown}/json")).await;
    assert_eq!(body["State"]["Health"]["Status"], "healthy", "the engine says starting: {body}");
    let variables = body["Config"]["Env"].to_string();
    assert!(variables.contains("TOKEN=***") && variables.contains("VIRTUAL_HOST=a.example"), "{variables}");
    assert_eq!(body["Config"]["Labels"]["traefik.enable"], "true");
    assert_eq!(body["Mounts"], serde_json::json!([]));

    let (status, bridge) = stand.get("/networks/bridge").await;
    assert_eq!(status, 200, "{bridge}");
    let inside = bridge["Containers"].to_string();
    assert!(!inside.contains(&hidden) && !inside.contains(&companion), "{inside}");
    for (target, wanted) in [
        ("/_ping", 200),
        ("/v1.24/version", 200),
        ("/info", 200),
        ("/networks", 200),
        ("/v1.41/containers/json?all=1", 200),
        ("/v1.41/containers/json?filters=x", 400),
        ("/v1.41/tasks", 503),
        ("/v1.999/containers/json", 400),
        ("/v1.41/images/json", 403),
        ("/v1.41/containers/a/logs?stdout=1", 403),
        ("/v1.41/containers/a/archive?path=/", 403),
        ("/volumes", 403),
    ] {
        let (status, body) = stand.get(target).await;
        assert_eq!(status, wanted, "{target}: {body}");
        assert!(status < 400 || body["message"].is_string(), "{target}: {body}");
        if status == 403 {
            let words = body["message"].as_str().unwrap();
            assert!(words.contains("composed") && words.contains("/containers/json"), "{words}");
        }
        said += &body.to_string();
    }
    assert!(!said.contains(CANARY), "{said}");

    // Reading methods only.
    for method in ["POST", "DELETE", "PUT"] {
        let mut stream = UnixStream::connect(&stand.socket).await.unwrap();
        let request = format!("{method} /containers/{shown}/json HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 403"), "{answer}");
    }
}

/// A filter, as a query has it.
fn filters(text: &str) -> String {
    format!("filters={}", text.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>())
}

/// Guesses at what is masked, at hidden containers, and at when they were made.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_answers_nothing_about_what_is_hidden() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let first = stand.container("first", None, true).await;
    let hidden = stand.container("hidden", own.as_deref(), true).await;
    let newest = stand.container("last", own.as_deref(), true).await;
    stand.shows(&[&newest]);
    stand.ready();
    let name = &stand.name;
    let list = async |filter: &str| {
        let (status, body) = stand.get(&format!("/v1.41/containers/json?all=1&{}", filters(filter))).await;
        let ids = body.as_array().into_iter().flatten().map(|one| one["Id"].as_str().unwrap().to_owned());
        let mine = ids.filter(|id| [&first, &hidden, &newest].contains(&id)).collect::<Vec<_>>();
        (status, mine, body["message"].as_str().unwrap_or_default().to_owned())
    };
    let both = vec![newest.clone(), first.clone()];
    // The engine itself knows of each of these: they are guesses that are right.
    for masked in [
        format!(r#"{{"label":["secret={CANARY}"]}}"#),
        r#"{"label":["secret"]}"#.to_owned(),
        format!(r#"{{"label":["dev.composed.instance={name}"]}}"#),
        format!(r#"{{"label":["dev.composed.service={name}/web"]}}"#),
        r#"{"label":{"dev.composed.instance":true}}"#.to_owned(),
    ] {
        assert_eq!(list(&masked).await, (200, vec![], String::new()), "{masked}");
    }
    let (status, _, words) = list(&format!(r#"{{"volume":["{name}-{CANARY}"]}}"#)).await;
    assert!(status == 403 && words.contains("does not show mounts"), "{words}");
    assert_eq!(list(r#"{"annotation":["a"]}"#).await.0, 400);
    // One that is hidden is as one that is not there.
    for key in ["before", "since"] {
        for gone in [&hidden, &format!("{name}-hidden"), &format!("{name}-nobody")] {
            let (status, _, words) = list(&format!(r#"{{"{key}":["{gone}"]}}"#)).await;
            assert_eq!((status, words), (404, format!("No such container: {gone}")));
        }
    }
    // What is shown can be asked for as before.
    for (filter, ids) in [
        (r#"{"label":["traefik.enable=true"]}"#.to_owned(), both.clone()),
        (format!(r#"{{"name":["{name}-"]}}"#), both.clone()),
        (format!(r#"{{"before":["{name}-last"]}}"#), vec![first.clone()]),
        (format!(r#"{{"since":["{first}"]}}"#), vec![newest.clone()]),
        (format!(r#"{{"ancestor":["{}"]}}"#, stand.run.image), both.clone()),
        (format!(r#"{{"ancestor":["{}"],"health":["healthy"]}}"#, stand.run.image), vec![newest.clone()]),
        (r#"{"network":["bridge"],"status":["running"]}"#.to_owned(), both.clone()),
    ] {
        assert_eq!(list(&filter).await, (200, ids, String::new()), "{filter}");
    }
    // What a container takes on disk is not asked of the engine.
    for target in [format!("/v1.41/containers/{newest}/json?size=1"), "/v1.41/containers/json?size=1".to_owned()] {
        let (status, body) = stand.get(&target).await;
        assert_eq!(status, 200, "{body}");
        assert!(!body.to_string().contains("SizeRootFs"), "{body}");
    }
    let text = stand.get(&format!("/v1.41/containers/{newest}/json")).await.1.to_string();
    assert!(text.contains("traefik.enable") && !text.contains("dev.composed."), "{text}");

    // Networks alike.
    let network = format!("{name}-net");
    let secret = format!("secret={CANARY}");
    docker(&["network", "create", "--label", &secret, "--label", "traefik.x=1", &network]).await.unwrap();
    docker(&["network", "connect", &network, &hidden]).await.unwrap();
    let net_list = async |filter: &str| {
        let (status, body) = stand.get(&format!("/v1.41/networks?{}", filters(filter))).await;
        (status, body.as_array().is_some_and(|all| all.iter().any(|one| one["Name"] == *network)))
    };
    assert_eq!(net_list(r#"{"label":["traefik.x=1"]}"#).await, (200, true));
    assert_eq!(net_list(&format!(r#"{{"name":["{network}"]}}"#)).await, (200, true));
    assert_eq!(net_list(&format!(r#"{{"label":["{secret}"]}}"#)).await, (200, false));
    assert_eq!(net_list(r#"{"dangling":["false"]}"#).await, (403, false));

    // And of events: those about the secret are never told, whatever is guessed.
    let since = Clock::system().now().as_second() - 60;
    let until = Clock::system().now().as_second() + 1;
    let heard = async |filter: &str| {
        let mut events = stand.events(&format!("since={since}&until={until}&{}", filters(filter))).await;
        let mut mine = 0;
        while let Some(line) = events.line().await {
            assert!(
                !line.contains(CANARY) && !line.contains("dev.composed.") && !line.contains("composed-lock-"),
                "{line}"
            );
            mine += usize::from(line.contains(&first) || line.contains(&newest));
        }
        mine
    };
    assert!(heard(r#"{"label":["traefik.enable=true"]}"#).await > 0);
    assert_eq!(heard(&format!(r#"{{"label":["{secret}"]}}"#)).await, 0);
    assert_eq!(heard(r#"{"label":["dev.composed.service"]}"#).await, 0);
    // Volumes are not shown at all: their names are what masked mounts hide, and those of composed hold what it locks by.
    let lock = format!("composed-lock-{name}");
    docker(&["volume", "create", "--label", &format!("dev.composed.key={CANARY}"), &lock]).await.unwrap();
    assert!(heard("").await > 0, "and no volume among them");
    for target in [format!("/volumes/{lock}"), "/volumes".to_owned(), "/v1.41/system/df".to_owned()] {
        let (status, body) = stand.get(&target).await;
        assert!(status == 403 && !body.to_string().contains(CANARY), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_hear_what_they_see_in_order() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    let b = stand.container("b", own.as_deref(), true).await;
    let foreign = stand.container("f", None, true).await;
    stand.shows(&[&a]);
    stand.ready();
    let ids = [a.as_str(), b.as_str(), foreign.as_str()];
    let mut all = stand.events("").await;
    let mut few = stand.events("filters=%7B%22event%22%3A%7B%22die%22%3Atrue%7D%7D").await;
    let is = |action: &str, nth: usize| (action.to_owned(), nth);
    stand.shows(&[&a, &b]);
    let mut heard = vec![all.next(&ids).await];
    // What was shown before somebody came may be said once more.
    while heard.last() != Some(&is("start", 1)) {
        heard.push(all.next(&ids).await);
        assert!(heard.iter().all(|(action, _)| action != "die"), "{heard:?}");
    }
    assert!(stand.listed("all=1").await.contains(&b), "who hears of it sees it");
    stand.shows(&[&b]);
    let mut heard = vec![all.next(&ids).await];
    while heard.last() != Some(&is("die", 0)) {
        heard.push(all.next(&ids).await);
    }
    // The engine's own starts may have come late, which is one more.
    assert!(heard.iter().all(|one| one.1 != 0 || *one == is("die", 0)), "{heard:?}");
    assert!(!stand.listed("all=1").await.contains(&a));
    // Its real end was told already; another's is told once, by the engine.
    docker(&["rm", "-f", &a]).await.unwrap();
    docker(&["kill", &b]).await.unwrap();
    assert_eq!(all.next(&ids[..2]).await, is("kill", 1));
    assert_eq!(all.next(&ids[..2]).await, is("die", 1));
    stand.shows(&[]);
    docker(&["kill", &foreign]).await.unwrap();
    let mut heard = Vec::new();
    while heard.last() != Some(&is("die", 2)) {
        heard.push(all.next(&ids).await);
    }
    assert!(heard.iter().all(|(_, nth)| *nth == 2), "of the others everything was said: {heard:?}");
    for nth in [0, 1, 2] {
        assert_eq!(few.next(&ids).await, is("die", nth));
    }
    // And once more to whoever asks for the past.
    let since = Clock::system().now().as_second() - 60;
    let until = Clock::system().now().as_second() + 1;
    let mut past =
        stand.events(&format!("since={since}&until={until}&filters=%7B%22event%22%3A%5B%22die%22%5D%7D")).await;
    let mut died = BTreeSet::new();
    while let Some(line) = past.line().await {
        died.insert(serde_json::from_str::<Value>(&line).unwrap()["id"].as_str().unwrap().to_owned());
    }
    assert!(died.contains(&a) && died.contains(&foreign), "{died:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_has_read_is_known() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    stand.ready();
    let replica = replica(&a, None);
    let standing = |serves: bool| {
        let shown = stand.board.shown(&stand.service(), &a);
        stand.view.standing(&stand.service(), &replica, serves, shown)
    };
    assert_eq!(standing(true), Standing::Unused, "nobody is there");
    // A proxy: it lists, then it listens.
    assert!(!stand.listed("").await.contains(&a));
    stand.shows(&[&a]);
    let mut events = stand.events("").await;
    // It has missed the change between; it is told now.
    assert_eq!(events.next(&[&a]).await.0, "start");
    let pending = |standing: &Standing| matches!(standing, Standing::Pending { .. });
    assert!(pending(&standing(true)), "it has not listed since");
    assert!(stand.listed("").await.contains(&a));
    assert_eq!(standing(true), Standing::Settled, "it knows of it");
    stand.shows(&[]);
    assert!(pending(&standing(false)), "it has not listed since");
    assert!(!stand.listed("").await.contains(&a));
    let Standing::Pending { until, .. } = standing(false) else { panic!("it takes its time to have it in force") };
    assert!(until < Instant::now() + Duration::from_secs(6), "{:?}", until - Instant::now());
    tokio::time::sleep_until(until).await;
    // Others may still be on their way back after the start of this controller, a few seconds ago.
    while let Standing::Pending { until, what } = standing(false) {
        assert!(what.contains("come back"), "{what}");
        tokio::time::sleep_until(until).await;
    }
    assert_eq!(standing(false), Standing::Settled);
    // Others' labels concern no proxy.
    let other = stand.run.image.clone();
    let label = format!("dev.composed.instance={}", stand.name);
    let plain = docker(&["run", "-d", "--name", &format!("{}-plain", stand.name), "--label", &label, &other]).await;
    let plain = crate::senses::replica(&plain.unwrap(), None);
    let unused = || stand.view.standing(&stand.service(), &plain, true, None) == Standing::Unused;
    for _ in 0..100 {
        if unused() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(unused(), "it is looked at when it is created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_blocks_nobody_and_is_cut_off() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    stand.ready();
    let mut slow = stand.events("").await;
    let mut quick = stand.events("").await;
    let began = Instant::now();
    let rounds = 1500;
    for _ in 0..rounds {
        stand.shows(&[&a]);
        while quick.next(&[&a]).await.0 != "start" {}
        stand.shows(&[]);
        while quick.next(&[&a]).await.0 != "die" {}
    }
    let took = began.elapsed();
    eprintln!("{} events, one after another, in {took:?} beside one who does not read", rounds * 3);
    assert!(took < Duration::from_mins(1), "{took:?}");
    let mut lines = 0;
    while let Some(line) = slow.line().await {
        serde_json::from_str::<Value>(&line).expect("each line is whole");
        lines += 1;
    }
    assert!(lines < rounds * 3, "its stream ends before it has caught up: {lines}");
}

/// A figure of `/proc/PID/status`, in kB.
fn kilobytes(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// The processor time that a process has taken, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_clients_cost_next_to_nothing() {
    const CLIENTS: u64 = 2000;
    let name = format!("idle{}", std::process::id());
    if engine_or_skip(&name).await.is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("desired")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut controller = std::process::Command::new(env!("CARGO_BIN_EXE_composed"))
        .args(["--instance", &name, "--state-dir"])
        .arg(at("state"))
        .arg("--socket")
        .arg(at("s.sock"))
        .arg("run")
        .arg(at("desired"))
        .arg("--view")
        .arg(at("v.sock"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = controller.id();
    let figures = idle(&at("v.sock"), pid, CLIENTS).await;
    controller.kill().unwrap();
    controller.wait().unwrap();
    for kept in ["lock", "key"] {
        drop(docker(&["volume", "rm", &format!("composed-{kept}-{name}")]).await);
    }
    let (memory, ticks, took) = figures;
    eprintln!("{CLIENTS} idle event streams: {memory} kB more, {ticks}0 ms of processor time in {took:?}");
    assert!(memory / CLIENTS < 48, "{memory} kB for {CLIENTS} clients");
    assert!(ticks < 150, "{ticks}0 ms in {took:?}");
}

async fn idle(socket: &Path, pid: u32, clients: u64) -> (u64, u64, Duration) {
    let mut tries = 0;
    while client::get(socket, "/containers/json").await.is_err() {
        tries += 1;
        assert!(tries < 200, "the view answers");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let before = kilobytes(pid, "VmRSS:");
    let mut streams = Vec::new();
    for _ in 0..clients {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(b"GET /v1.41/events HTTP/1.1\r\nHost: d\r\nUser-Agent: idle\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let (busy, began) = (ticks(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await;
    let figures = (kilobytes(pid, "VmRSS:").saturating_sub(before), ticks(pid) - busy, began.elapsed());
    // All of them are still heard.
    assert!(client::get(socket, "/_ping").await.is_ok());
    figures
}
