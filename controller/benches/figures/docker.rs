//! Figures on a real engine: what a rollout takes over its floor, how soon a saved file is acted upon, what idling costs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use composed::board::Board;
use composed::cli::progress::{Standing, standing};
use composed::clock::Clock;
use composed::controller::Controller;
use composed::engine::docker::Docker;
use composed::engine::{Claim, Context, Engine, EngineError, Scope, look};
use composed::model::{Health, Key, Listing, Replica, ServiceName, Snapshot, State};
use composed::plan::action::{Blueprint, Target, Verb};
use composed::source::compose::Asked;
use composed::source::files::Reading;
use composed::source::git::{Access, Address, Follow, GitSource, Signed, watch as git_watch};
use composed::source::host::HostName;
use composed::source::watch::{DEBOUNCE, watch as watch_files};
use composed::state::StateDir;
use composed::traffic::local::LocalSenses;
use crd_schema::{Object, ServiceSpec};
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use tokio::sync::{mpsc, watch};

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_composed");

/// An engine that notes when it is first asked to do something.
struct Spy {
    inner: Arc<Docker>,
    first: Mutex<Option<Instant>>,
}

impl Engine for Spy {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.inner.watch()
    }
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.first.lock().unwrap().get_or_insert_with(Instant::now);
        self.inner.list(compose)
    }
    fn observe<'a>(
        &'a self,
        scope: &'a Scope,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        self.inner.observe(scope, listing)
    }
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a Context) -> BoxFuture<'a, Result<(), EngineError>> {
        self.inner.apply(verb, context)
    }
    fn claim(&self) -> BoxFuture<'_, Result<Claim, EngineError>> {
        self.first.lock().unwrap().get_or_insert_with(Instant::now);
        self.inner.claim()
    }
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.release()
    }
}

struct Bench {
    docker: Arc<Docker>,
    instance: String,
    image: String,
}

pub(crate) async fn run(wanted: &dyn Fn(&str) -> bool) {
    let instance = format!("bench{}", std::process::id());
    let docker = match Docker::connect(None, &instance).await {
        Ok(docker) => Arc::new(docker),
        Err(error) => return println!("the figures on Docker are left out: {error}"),
    };
    let rootfs = Command::new(BIN).arg("own-rootfs").output().unwrap().stdout;
    let bench = Bench { image: format!("{instance}:1"), docker, instance };
    let changes = [r#"ENTRYPOINT ["/composed", "demo-app"]"#.to_owned(), "EXPOSE 8080".to_owned()];
    bench.docker.import_image(rootfs, &bench.image, &changes).await.unwrap();
    if wanted("rollout") {
        for replicas in [1, 10] {
            bench.rollout(replicas).await;
        }
    }
    if wanted("save") {
        bench.save().await;
    }
    if wanted("commit") {
        bench.commit().await;
    }
    if wanted("tag") {
        bench.tag().await;
    }
    if wanted("idle") {
        bench.idle().await;
    }
    bench.docker.remove_image(&bench.image).await.unwrap();
}

impl Bench {
    fn document(&self, name: &str, replicas: u32, change: u32, interval: &str) -> String {
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {}, name: {name}}}\nspec:\n  image: {}\n  \
             replicas: {replicas}\n  pull_policy: never\n  environment: {{CHANGE: \"{change}\"}}\n  healthcheck: {{test: \
             [\"CMD\", \"/composed\", \"demo-app\", \"check\"], interval: {interval}, timeout: 2s, retries: 5}}\n  rollout: \
             {{min_ready: 0s}}\n",
            self.instance, self.image
        )
    }

    fn spec(text: &str) -> ServiceSpec {
        match crd_schema::parse("bench.yaml", text).unwrap().remove(0).object {
            Object::Service(service) => service.spec,
            Object::Project(_) => panic!("a service document"),
        }
    }

    /// By hand: for each replica create, start, wait until healthy, and begin to stop the old one; then wait for all
    /// that was begun.
    async fn floor(&self, replicas: u32) -> f64 {
        let context = self.context();
        let service = ServiceName::new(&self.instance, "floor");
        let network = Verb::CreateNetwork { key: "default".to_owned(), name: format!("{}_default", self.instance) };
        self.docker.apply(&network, &context).await.unwrap();
        let mut old = Vec::new();
        for number in 1..=replicas {
            old.push(self.fresh(&service, number, 0, &context).await);
        }
        let begun = Instant::now();
        for number in 1..=replicas {
            self.fresh(&service, replicas + number, 1, &context).await;
            let leaving = old.pop().unwrap();
            self.docker.apply(&Verb::Stop { target: leaving.clone(), cut: 0 }, &context).await.unwrap();
        }
        self.until(&service, |all| all.iter().filter(|r| r.state.is_live()).count() == replicas as usize).await;
        for replica in self.replicas(&service).await.into_iter().filter(|r| !r.state.is_live()) {
            self.docker.apply(&Verb::Remove(target(&replica)), &context).await.unwrap();
        }
        let seconds = begun.elapsed().as_secs_f64();
        for replica in self.replicas(&service).await {
            self.docker.apply(&Verb::Stop { target: target(&replica), cut: 0 }, &context).await.unwrap();
        }
        self.until(&service, |all| all.iter().all(|r| !r.state.is_live())).await;
        for replica in self.replicas(&service).await {
            self.docker.apply(&Verb::Remove(target(&replica)), &context).await.unwrap();
        }
        seconds
    }

    async fn fresh(&self, service: &ServiceName, number: u32, change: u32, context: &Context) -> Target {
        let name = service.container(number);
        let spec = Self::spec(&self.document("floor", 1, change, "500ms"));
        let revision = spec.revision();
        let blueprint = Blueprint {
            service: service.clone(),
            hook: None,
            number,
            name: name.clone(),
            revision,
            generation: 1,
            spec,
            volumes: BTreeMap::new(),
            joins: BTreeMap::new(),
            image: None,
        };
        self.docker.apply(&Verb::Create(Box::new(blueprint)), context).await.unwrap();
        let made = self.replicas(service).await.into_iter().find(|replica| replica.name == name).unwrap();
        self.docker.apply(&Verb::Start(target(&made)), context).await.unwrap();
        self.until(service, |all| all.iter().any(|r| r.id == made.id && r.health == Health::Healthy)).await;
        target(&made)
    }

    async fn replicas(&self, service: &ServiceName) -> Vec<Replica> {
        let scope = Scope { services: Some([service.clone()].into()), ..Scope::default() };
        look(&*self.docker, &scope).await.unwrap().replicas.remove(service).unwrap_or_default()
    }

    async fn until(&self, service: &ServiceName, done: impl Fn(&[Replica]) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(2);
        while !done(&self.replicas(service).await) {
            assert!(Instant::now() < deadline, "nothing came of it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn context(&self) -> Context {
        let network = (format!("{}_default", self.instance), crd_schema::Network::default());
        Context {
            project: self.instance.clone(),
            networks: BTreeMap::from([("default".to_owned(), network)]),
            ..Context::default()
        }
    }

    async fn rollout(&self, replicas: u32) {
        let floor = self.floor(replicas).await;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yaml");
        std::fs::write(&file, self.document("web", replicas, 0, "500ms")).unwrap();
        let running = Running::start(self, files(dir.path()), None);
        running.converged(None).await;
        let before = running.revision();
        let begun = Instant::now();
        std::fs::write(&file, self.document("web", replicas, 1, "500ms")).unwrap();
        running.converged(Some(&before)).await;
        let rollout = begun.elapsed().as_secs_f64();
        running.end().await;
        let net = rollout - DEBOUNCE.as_secs_f64();
        println!(
            "rollout of {replicas} replicas, surge 1: {rollout:.2} s from the saved file ({net:.2} s without the debounce); \
             by hand {floor:.2} s; ratio {:.2} (at most 1.15)",
            net / floor
        );
    }

    async fn save(&self) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yaml");
        std::fs::write(&file, self.document("web", 1, 0, "500ms")).unwrap();
        let change = |change| std::fs::write(&file, self.document("web", 1, change, "500ms")).unwrap();
        let waits = self.latencies(files(dir.path()), change).await;
        say(&format!("file saved to first engine call, over the debounce of {DEBOUNCE:?}"), &waits, DEBOUNCE, 50);
    }

    /// From the end of `git commit` in a local repository.
    async fn commit(&self) {
        let (repo, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let git = |words: &[&str]| {
            let mut git = Command::new("git");
            git.args(["-C"]).arg(repo.path()).args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(words);
            assert!(git.output().unwrap().status.success(), "git {words:?}");
        };
        let change = |change| {
            std::fs::write(repo.path().join("web.yaml"), self.document("web", 1, change, "500ms")).unwrap();
            git(&["add", "--all"]);
            git(&["commit", "--quiet", "--no-gpg-sign", "-m", "change"]);
        };
        git(&["init", "--quiet"]);
        change(0);
        let source = GitSource {
            name: "repo".to_owned(),
            address: Address::parse(repo.path().to_str().unwrap()).unwrap(),
            follow: Follow::Default,
            path: String::new(),
            interval: Duration::from_hours(1),
            access: Access::default(),
            write_back: None,
            signed: Signed::default(),
            allow_rewrite: false,
            host_root: None,
            host_name: HostName::Any,
            compose: Asked::default(),
        };
        let room = copies.path().to_owned();
        let begin =
            |readings| drop(tokio::spawn(git_watch(vec![(source, Arc::default())], room, Arc::default(), readings)));
        let waits = self.latencies(begin, change).await;
        say("commit in a local repository to first engine call", &waits, Duration::ZERO, 300);
    }

    /// From the end of `docker tag`, which comes after the engine's event.
    async fn tag(&self) {
        let dir = tempfile::tempdir().unwrap();
        let moving = format!("{}-moving:1", self.instance);
        let images: Vec<_> = (0..2).map(|number| format!("{}-of:{number}", self.instance)).collect();
        let docker = |words: &[&str]| assert!(Command::new("docker").args(words).output().unwrap().status.success());
        for (number, image) in images.iter().enumerate() {
            let made = format!("{}-seed", self.instance);
            docker(&["create", "--name", &made, &self.image]);
            docker(&["commit", "--change", &format!("ENV NUMBER={number}"), &made, image]);
            docker(&["rm", &made]);
        }
        docker(&["tag", &images[0], &moving]);
        let text = self.document("web", 1, 0, "500ms").replace(&self.image, &moving);
        std::fs::write(dir.path().join("web.yaml"), text + "  update: digest\n").unwrap();
        let change = |change: u32| docker(&["tag", &images[change as usize % 2], &moving]);
        let waits = self.latencies(files(dir.path()), change).await;
        for image in images.iter().chain([&moving]) {
            docker(&["rmi", image]);
        }
        say("image tagged on this host to first engine call", &waits, Duration::ZERO, 100);
    }

    /// From ten changes, each after the last has come to rest, to the first call that the engine gets after each.
    async fn latencies(&self, begin: impl FnOnce(mpsc::Sender<Reading>), change: impl Fn(u32)) -> Vec<Duration> {
        let spy = Arc::new(Spy { inner: Arc::clone(&self.docker), first: Mutex::new(None) });
        let running = Running::start(self, begin, Some(Arc::clone(&spy)));
        running.converged(None).await;
        let mut waits = Vec::new();
        for number in 1..=10 {
            let before = running.revision();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            *spy.first.lock().unwrap() = None;
            change(number);
            let changed = Instant::now();
            running.converged(Some(&before)).await;
            waits.push(spy.first.lock().unwrap().unwrap().duration_since(changed));
        }
        running.end().await;
        waits
    }

    /// The real program, idle, with 50 containers that are checked every second.
    async fn idle(&self) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("web.yaml");
        std::fs::write(&file, self.document("web", 50, 0, "1s")).unwrap();
        let socket = dir.path().join("composed.sock");
        let mut program = self.program(dir.path(), &socket);
        wait_for(&socket, "50/50").await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let calls = || metrics(&socket);
        let (cpu_before, calls_before) = (cpu_ticks(program.id()), calls().await);
        let seconds = 60;
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let ticks = cpu_ticks(program.id()) - cpu_before;
        let made = calls().await - calls_before;
        let rss = rss_kib(program.id());
        println!(
            "idle with 50 containers, healthchecks every second, {seconds} s: {:.2} % of a core (under 1), RSS {:.1} MiB \
             (under 20), {made} actions (0)",
            ticks as f64 / seconds as f64,
            rss as f64 / 1024.0
        );
        std::fs::remove_file(&file).unwrap();
        let deadline = Instant::now() + Duration::from_mins(2);
        while !self.replicas(&ServiceName::new(&self.instance, "web")).await.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        Command::new("kill").arg(program.id().to_string()).status().unwrap();
        program.wait().unwrap();
    }

    fn program(&self, dir: &Path, socket: &Path) -> Child {
        Command::new(BIN)
            .args(["run", "--confirm-deletion", "--instance", &self.instance, "--socket"])
            .arg(socket)
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }
}

fn say(what: &str, waits: &[Duration], less: Duration, most: u32) {
    let mut all: Vec<_> = waits.iter().map(|wait| wait.saturating_sub(less).as_secs_f64() * 1000.0).collect();
    all.sort_by(f64::total_cmp);
    let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
    println!("{what}: median {median:.1} ms, worst {worst:.1} ms of {} (at most {most})", all.len());
}

/// The documents of a directory.
fn files(dir: &Path) -> impl FnOnce(mpsc::Sender<Reading>) {
    let dir = dir.to_owned();
    move |readings| drop(tokio::spawn(watch_files(dir, readings)))
}

struct Running {
    board: Arc<Board>,
    readings: mpsc::Sender<Reading>,
    stop: watch::Sender<bool>,
    controller: tokio::task::JoinHandle<()>,
    name: ServiceName,
}

impl Running {
    fn start(bench: &Bench, begin: impl FnOnce(mpsc::Sender<Reading>), spy: Option<Arc<Spy>>) -> Self {
        let board = Arc::new(Board::default());
        let clock = Clock::system();
        let (stop, stopped) = watch::channel(false);
        let (readings, received) = mpsc::channel(1);
        begin(readings.clone());
        let docker = Arc::clone(&bench.docker);
        let controller = Controller {
            senses: LocalSenses::new(Some(Arc::clone(&docker)), clock, Arc::clone(&board)),
            engine: spy.map_or(docker as Arc<dyn Engine>, |spy| spy),
            clock,
            state: StateDir::default(),
            board: Arc::clone(&board),
            images: None,
            notifier: None,
            max_rollouts: None,
            confirm_deletion: true,
        };
        let controller = tokio::spawn(controller.run(received, stopped));
        Self { board, readings, stop, controller, name: ServiceName::new(&bench.instance, "web") }
    }

    fn revision(&self) -> String {
        self.board.status(&self.name).unwrap().revision
    }

    async fn converged(&self, other_than: Option<&str>) {
        let deadline = Instant::now() + Duration::from_mins(3);
        let there = |status: &crd_schema::status::ServiceStatus| {
            Some(status.revision.as_str()) != other_than && standing(status) == Standing::Converged
        };
        while !self.board.status(&self.name).is_some_and(|status| there(&status)) {
            assert!(Instant::now() < deadline, "{:#?}", self.board.status(&self.name));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Has everything removed, and ends.
    async fn end(self) {
        self.readings.send(Reading::default()).await.unwrap();
        let gone = |board: &Board| {
            board.statuses().is_empty() && board.events().iter().any(|event| event.action.starts_with("remove network"))
        };
        let deadline = Instant::now() + Duration::from_mins(1);
        while !gone(&self.board) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.stop.send_replace(true);
        self.controller.await.unwrap();
    }
}

fn target(replica: &Replica) -> Target {
    assert_ne!(replica.state, State::Dead);
    Target { id: replica.id.clone(), name: replica.name.clone() }
}

async fn wait_for(socket: &PathBuf, text: &str) {
    let deadline = Instant::now() + Duration::from_mins(3);
    loop {
        let output = Command::new(BIN).args(["status", "--socket"]).arg(socket).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains(text) {
            return;
        }
        assert!(Instant::now() < deadline, "{output:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// All actions so far.
async fn metrics(socket: &Path) -> u64 {
    let (_, body) = composed::api::client::get(socket, "/metrics").await.unwrap();
    let text = String::from_utf8(body).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("composed_actions_total"));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// User and system time in ticks of 10 ms.
pub(crate) fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
