//! The contract on a real Docker Engine. What happens behind the controller's back is done with the docker CLI: the
//! judge does not borrow the adapter's own hands.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use composed_core::engine::{Engine, LeaseState};
use composed_docker::Docker;
use crd_schema::{ComposeDuration, ContainerId, Healthcheck, ImageRef, NetworkName, ServiceSpec};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};

use super::{Kind, Stage, cases};

/// One run on the engine of this machine: an image, and the names of everything that it makes.
pub(crate) struct Run {
    prefix: String,
    /// The app's image.
    pub(crate) image: String,
}

/// One case's part of a run.
pub(crate) struct DockerStage {
    engine: Docker,
    rival: Docker,
    project: String,
    image: String,
    _run: Arc<Run>,
}

/// The engine, or `None` with a clear word when there is none here. With `COMPOSED_REQUIRE_DOCKER=1` that is a failure.
pub(crate) async fn engine_or_skip(instance: &str) -> Option<Docker> {
    match Docker::connect(None, instance).await {
        Ok(engine) => Some(engine),
        Err(why) if std::env::var("COMPOSED_REQUIRE_DOCKER").is_ok_and(|value| value == "1") => {
            panic!("COMPOSED_REQUIRE_DOCKER=1, but {why}")
        }
        Err(why) => {
            eprintln!("SKIPPED, nothing was tested on Docker: {why}");
            None
        }
    }
}

impl Run {
    /// A run, or `None` where there is no engine.
    pub(crate) async fn begin() -> Option<Arc<Self>> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let prefix = format!("ct{}x{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
        let engine = engine_or_skip(&prefix).await?;
        let run = Arc::new(Self { image: format!("{prefix}:app"), prefix });
        let own = tokio::process::Command::new(env!("CARGO_BIN_EXE_composed")).arg("own-rootfs").output().await;
        let tar = own.expect("composed own-rootfs").stdout;
        let changes = [r#"ENTRYPOINT ["/composed","demo-app"]"#, "ENV VERSION=1", "EXPOSE 8080"].map(str::to_owned);
        engine.import_image(tar, &ImageRef::new(&run.image), &changes).await.expect("import");
        Some(run)
    }

    /// A stage for one case, with an instance and a project of its own.
    pub(crate) async fn stage(self: &Arc<Self>, number: usize) -> DockerStage {
        let project = format!("{}c{number}", self.prefix);
        DockerStage {
            engine: Docker::connect(None, &project).await.expect("connect"),
            rival: Docker::connect(None, &project).await.expect("connect"),
            image: self.image.clone(),
            project,
            _run: Arc::clone(self),
        }
    }
}

impl Drop for Run {
    /// Also after a failure: everything whose name begins with the run's prefix goes.
    fn drop(&mut self) {
        let script = r#"
            docker ps -a --format '{{.ID}} {{.Names}}' | awk -v p="$P" 'index($2, p) == 1 {print $1}' | xargs -r docker rm -fv
            docker network ls --format '{{.ID}} {{.Name}}' | awk -v p="$P" 'index($2, p) == 1 {print $1}' | xargs -r docker network rm
            docker volume ls --format '{{.Name}}' | awk -v p="$P" 'index($1, p) == 1 || $1 ~ "^composed-(lock|key)-" p' | xargs -r docker volume rm
            docker image ls --format '{{.Repository}}:{{.Tag}}' "$P" | xargs -r docker rmi
        "#;
        let cleaned = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .env("P", &self.prefix)
            .stdout(Stdio::null())
            .status();
        if !cleaned.is_ok_and(|status| status.success()) {
            eprintln!("something of the run {} may be left on the engine", self.prefix);
        }
    }
}

/// The docker CLI's answer.
pub(crate) async fn docker(words: &[&str]) -> Result<String, String> {
    let output = tokio::process::Command::new("docker").args(words).output().await.expect("the docker CLI");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

impl DockerStage {
    /// The adapter itself.
    pub(crate) fn docker(&self) -> &Docker {
        &self.engine
    }
}

impl Stage for DockerStage {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn project(&self) -> &str {
        &self.project
    }

    fn spec(&self, kind: Kind) -> ServiceSpec {
        let environment = match kind {
            Kind::Serves | Kind::Unstartable => vec![],
            Kind::Lingers => vec![("ON_TERM", "ignore")],
            Kind::Crashes => vec![("CRASH_AFTER_MS", "200")],
        };
        let quick = Some(ComposeDuration::from_millis(200));
        let test = ["CMD", "/composed", "demo-app", "check"].map(str::to_owned).to_vec();
        ServiceSpec {
            image: ImageRef::new(self.image.clone()),
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            entrypoint: (kind == Kind::Unstartable).then(|| vec!["/nowhere".to_owned()]),
            network_mode: Some("none".to_owned()),
            stop_grace_period: Some(ComposeDuration::from_secs(2)),
            healthcheck: Some(Healthcheck { test, interval: quick, ..Healthcheck::default() }),
            ..ServiceSpec::default()
        }
    }

    fn no_image(&self) -> ImageRef {
        // Refused at once, and never asked of a registry elsewhere.
        ImageRef::new(format!("localhost:1/{}/nowhere:1", self.project))
    }

    fn kill<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()> {
        async { drop(docker(&["kill", id.as_str()]).await.expect("kill")) }.boxed()
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()> {
        async { drop(docker(&["rm", "-f", id.as_str()]).await.expect("rm")) }.boxed()
    }

    fn add_foreign<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ContainerId> {
        async move {
            // As near to ours as it can be: another instance of composed with the same project and service.
            let service = format!("dev.composed.service={}/web", self.project);
            let labels = ["--label", "dev.composed.instance=another", "--label", &service];
            let words = [&["run", "-d", "--name", name, "--net", "none"], labels.as_slice(), &[&self.image]].concat();
            ContainerId::new(docker(&words).await.expect("run"))
        }
        .boxed()
    }

    fn peek<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<(String, String)>> {
        async {
            let seen = docker(&["inspect", "--format", "{{.Name}} {{.State.Status}}", id.as_str()]).await.ok()?;
            let (name, state) = seen.split_once(' ')?;
            Some((name.trim_start_matches('/').to_owned(), state.to_owned()))
        }
        .boxed()
    }

    fn add_foreign_network<'a>(&'a self, name: &'a NetworkName) -> BoxFuture<'a, ()> {
        async { drop(docker(&["network", "create", name.as_str()]).await.expect("network create")) }.boxed()
    }

    fn rival_claims(&self) -> BoxFuture<'_, bool> {
        async { self.rival.claim().await.expect("claim") == LeaseState::Held }.boxed()
    }

    fn rival_releases(&self) -> BoxFuture<'_, ()> {
        async { self.rival.release().await.expect("release") }.boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_keeps_the_contract() {
    let Some(run) = Run::begin().await else { return };
    let broken: Vec<&str> = stream::iter(cases().into_iter().enumerate())
        .map(|(number, case)| {
            let run = Arc::clone(&run);
            async move {
                let stage = run.stage(number).await;
                let result = std::panic::AssertUnwindSafe((case.run)(&stage)).catch_unwind().await;
                result.err().map(|_| case.name)
            }
        })
        .buffer_unordered(4)
        .filter_map(|broken| async move { broken })
        .collect()
        .await;
    assert!(broken.is_empty(), "broken promises: {broken:#?}");
}
