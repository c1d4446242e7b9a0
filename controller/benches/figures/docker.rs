//! Figures on a real engine: what a rollout takes over its floor, how soon a saved file is acted upon, what idling costs.

mod running;
mod spy;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use composed_core::engine::{ActionContext, Engine, ObserveRequest, observe_once};
use composed_core::model::{Health, Replica, ServiceName};
use composed_core::plan::action::{Blueprint, Target, Verb};
use composed_docker::Docker;
use composed_source::compose::ComposeOptions;
use composed_source::files::Reading;
use composed_source::git::{Access, Address, Follow, GitSource, Signed, watch as git_watch};
use composed_source::host::HostName;
use composed_source::watch::{DEBOUNCE, watch as watch_files};
use crd_schema::{ImageRef, NetworkName, Object, ServiceSpec};
use tokio::sync::mpsc;

pub(crate) use self::running::cpu_ticks;
use self::running::{Running, metrics, rss_kib, target, wait_for};
use self::spy::Spy;

pub(crate) const BIN: &str = env!("CARGO_BIN_EXE_composed");

struct Bench {
    docker: Arc<Docker>,
    instance: String,
    image: ImageRef,
}

pub(crate) async fn run(wanted: &dyn Fn(&str) -> bool) {
    let instance = format!("bench{}", std::process::id());
    let docker = match Docker::connect(None, &instance).await {
        Ok(docker) => Arc::new(docker),
        Err(error) => return println!("the figures on Docker are left out: {error}"),
    };
    let rootfs = Command::new(BIN).arg("own-rootfs").output().unwrap().stdout;
    let bench = Bench { image: ImageRef::new(format!("{instance}:1")), docker, instance };
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
        let network = Verb::CreateNetwork {
            key: "default".to_owned(),
            name: NetworkName::new(format!("{}_default", self.instance)),
        };
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

    async fn fresh(&self, service: &ServiceName, number: u32, change: u32, context: &ActionContext) -> Target {
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
            spec: spec.into(),
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
        let scope = ObserveRequest { services: Some([service.clone()].into()), ..ObserveRequest::default() };
        observe_once(&*self.docker, &scope).await.unwrap().replicas.remove(service).unwrap_or_default()
    }

    async fn until(&self, service: &ServiceName, done: impl Fn(&[Replica]) -> bool) {
        let deadline = Instant::now() + Duration::from_mins(2);
        while !done(&self.replicas(service).await) {
            assert!(Instant::now() < deadline, "nothing came of it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn context(&self) -> ActionContext {
        let network = (NetworkName::new(format!("{}_default", self.instance)), crd_schema::Network::default());
        ActionContext {
            project: self.instance.clone(),
            networks: BTreeMap::from([("default".to_owned(), network)]),
            ..ActionContext::default()
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
            compose: ComposeOptions::default(),
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
            docker(&["create", "--name", &made, self.image.as_str()]);
            docker(&["commit", "--change", &format!("ENV NUMBER={number}"), &made, image]);
            docker(&["rm", &made]);
        }
        docker(&["tag", &images[0], &moving]);
        let text = self.document("web", 1, 0, "500ms").replace(self.image.as_str(), &moving);
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
