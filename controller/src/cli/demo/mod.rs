//! `composed demo`: the main job on real input, shown live. A service of three replicas is started from a file and gets
//! steady requests; its file is edited to a new version, then to a broken one.

mod load;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use composed_core::model::ServiceName;
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Sim, World};
use composed_source::watch::watch as watch_files;
use composed_status::store::StatusStore;
use composed_traffic::local::LocalMonitor;
use crd_schema::status::{ConditionType, Reason, ServiceStatus};
use crd_schema::{ImageRef, Revision};
use tokio::sync::{mpsc, watch};

use self::load::{Ask, Load};
use super::args::{Common, EngineChoice};
use super::progress::{Convergence, Progress, convergence};
use super::session::{CONVERGED, FAILED, Session, fail, images, print_out, simulated};
use super::{app, rootfs};
use crate::controller::Controller;
use crate::state::StateDir;

const PROJECT: &str = "composed-demo";
/// So many requests a second are sent.
const RATE: u32 = 200;
/// Nothing in the demo takes longer than this.
const STEP_TIMEOUT: Duration = Duration::from_mins(2);
const REDRAW: Duration = Duration::from_millis(200);

/// Runs the demo: exit code 0 if it went as promised.
pub async fn demo(common: &Common) -> anyhow::Result<ExitCode> {
    let stage = match common.engine {
        EngineChoice::Docker => match docker_stage(common).await {
            Ok(stage) => stage,
            Err(error) => {
                print_out(&format!("No Docker Engine answers ({error:#}): this is the SIMULATED engine."));
                simulated_stage()
            }
        },
        EngineChoice::Simulated => {
            print_out("This is the SIMULATED engine, as asked for.");
            simulated_stage()
        }
    };
    let played = play(&stage).await;
    if let Some(docker) = &stage.docker {
        for version in ["1", "2", "3"] {
            // An image that is still used, or was never made, is no reason to hide how the demo went.
            drop(docker.remove_image(&image(version)).await);
        }
        docker.remove_key().await;
    }
    match played {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => Ok(fail(FAILED, &format!("{error:#}"))),
    }
}

/// Where the demo plays.
struct Stage {
    session: Session,
    docker: Option<Arc<Docker>>,
    ask: Ask,
}

fn image(version: &str) -> ImageRef {
    ImageRef::new(format!("{PROJECT}:{version}"))
}

async fn docker_stage(common: &Common) -> anyhow::Result<Stage> {
    let docker = Arc::new(Docker::connect_with(&common.address()?, PROJECT, "demo", None).await?);
    let rootfs = rootfs::own_rootfs()?;
    print_out(&format!("This is {}.", composed_core::engine::Engine::describe(docker.as_ref())));
    for (version, health) in [("1", "ok"), ("2", "ok"), ("3", "never")] {
        let changes = [
            r#"ENTRYPOINT ["/composed", "demo-app"]"#.to_owned(),
            format!("ENV VERSION={version}"),
            format!("ENV HEALTH={health}"),
            "EXPOSE 8080".to_owned(),
        ];
        docker.import_image(rootfs.clone(), &image(version), &changes).await?;
    }
    print_out("Made three images of this very program: version 1, version 2, and version 3, which never gets healthy.");
    let (clock, statuses) = (Clock::system(), Arc::<StatusStore>::default());
    let monitor = LocalMonitor::new(Some(Arc::clone(&docker)), clock, Arc::clone(&statuses));
    let engine = Arc::clone(&docker) as Arc<dyn composed_core::engine::Engine>;
    let state = StateDir::default();
    let images = images(&statuses, clock, &state);
    let session = Session { engine, monitor, clock, state, statuses, images, view: None };
    Ok(Stage { session, docker: Some(docker), ask: load::over_http() })
}

fn simulated_stage() -> Stage {
    let clock = Clock::system();
    let mut world = World::default();
    let good = Behaviour { ready_after: Duration::from_millis(800), ..Behaviour::default() };
    let broken = Behaviour { never_ready: true, ..good.clone() };
    for (version, behaviour) in [("1", &good), ("2", &good), ("3", &broken)] {
        world.registry.insert(image(version), (Duration::from_millis(500), behaviour.clone()));
    }
    let sim = simulated(world, clock);
    let ask = in_simulation(&sim);
    let engine = Arc::clone(&sim) as Arc<dyn composed_core::engine::Engine>;
    let (state, statuses) = (StateDir::default(), Arc::default());
    let images = images(&statuses, clock, &state);
    let session = Session { engine, monitor: sim, clock, state, statuses, images, view: None };
    Stage { session, docker: None, ask }
}

/// A request in the simulation: whoever has the address answers, if it answers at all.
fn in_simulation(sim: &Arc<Sim>) -> Ask {
    let sim = Arc::clone(sim);
    Arc::new(move |endpoint: String| {
        let address = endpoint.split(':').next().unwrap_or_default().to_owned();
        let answer = sim.with(|world, now| {
            let mut all = world.containers.values();
            let there = all.find(|c| c.replica.addresses.values().any(|own| *own == address))?;
            let version = there.spec.image.as_str().rsplit(':').next().unwrap_or_default().to_owned();
            there.answers(now).then_some(version)
        });
        Box::pin(std::future::ready(answer.ok_or_else(|| "connection refused".to_owned())))
    })
}

fn document(version: &str) -> String {
    let health = app::HEALTHCHECK;
    format!(
        "apiVersion: composed.dev/v1
kind: Service
metadata: {{project: {PROJECT}, name: web}}
spec:
  image: {}
  replicas: 3
  expose: [\"8080\"]
  healthcheck: {{test: {health}, interval: 500ms, timeout: 2s, retries: 3, start_period: 3s}}
  drain_timeout: 10s
  rollout: {{max_surge: 1, max_unavailable: 0, min_ready: 1s}}
",
        image(version)
    )
}

/// The play itself.
async fn play(stage: &Stage) -> anyhow::Result<u8> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("web.yaml");
    std::fs::write(&file, document("1"))?;
    let statuses = Arc::clone(&stage.session.statuses);
    let (stop, stopped) = watch::channel(false);
    let (readings, received) = mpsc::channel(1);
    tokio::spawn(watch_files(dir.path().to_owned(), readings));
    let controller = Controller {
        engine: Arc::clone(&stage.session.engine),
        monitor: Arc::clone(&stage.session.monitor),
        clock: stage.session.clock,
        state: stage.session.state.clone(),
        statuses: Arc::clone(&statuses),
        images: None,
        notifier: None,
        max_rollouts: None,
        confirm_deletion: true,
    };
    let controller = tokio::spawn(controller.run(received, stopped));
    let mut show = Show { statuses: Arc::clone(&statuses), progress: Progress::new(0), load: None };
    let acts = acts(&mut show, stage, &file).await;
    let report = show.load.as_ref().map(Load::report);
    show.load = None;
    // Clean-up: the document goes, so the service is drained and removed, and then its network.
    show.progress.say("\nCleaning up: the file is deleted, so the service is drained and removed.");
    drop(std::fs::remove_file(&file));
    let gone = show.until(|statuses| statuses.all().is_empty() && network_gone(statuses)).await;
    stop.send_replace(true);
    controller.await?;
    let figures = acts?;
    gone?;
    print_out(&format!("\n{figures}"));
    let failed = report.map_or(1, |report| report.failed);
    Ok(if failed == 0 { CONVERGED } else { FAILED })
}

fn network_gone(statuses: &StatusStore) -> bool {
    statuses.events().iter().any(|event| event.action.starts_with("remove network") && event.outcome.is_none())
}

async fn acts(show: &mut Show, stage: &Stage, file: &Path) -> anyhow::Result<String> {
    show.progress.say("\n1. A file asks for 3 replicas of version 1.");
    let converged = |status: &ServiceStatus| convergence(status) == Convergence::Converged;
    show.until_service(converged).await.context("version 1 did not become available")?;
    show.load = Some(Load::start(Arc::clone(&show.statuses), RATE, Arc::clone(&stage.ask)));
    show.progress.say(&format!("\n   {RATE} requests a second go to the endpoints that the status names."));
    show.pause(Duration::from_secs(2)).await;
    let first = show.taken();

    show.progress.say("\n2. The file is edited: version 2.");
    let before = show.revision();
    std::fs::write(file, document("2"))?;
    show.until_service(|status| status.revision != before && converged(status))
        .await
        .context("version 2 did not roll out")?;
    show.pause(Duration::from_secs(1)).await;
    let second = show.taken();

    show.progress.say("\n3. The file is edited again: version 3, which never becomes healthy.");
    std::fs::write(file, document("3"))?;
    let rolled_back = |status: &ServiceStatus| {
        let why = status.condition(ConditionType::Progressing).map(|condition| condition.reason);
        why == Some(Reason::RolledBack) && convergence(status) == Convergence::Failed
    };
    show.until_service(rolled_back).await.context("version 3 was not rolled back")?;
    show.pause(Duration::from_secs(1)).await;
    let third = show.taken();
    let row = |title: &str, report: &load::Report| {
        let of = |version: &str| report.served.get(version).copied().unwrap_or(0);
        format!("{title:<34} {:>8} {:>8} {:>8} {:>8} {:>8}", report.sent, of("1"), of("2"), of("3"), report.failed)
    };
    Ok([
        format!("{:<34} {:>8} {:>8} {:>8} {:>8} {:>8}", "requests", "sent", "by v1", "by v2", "by v3", "FAILED"),
        row("steady, version 1", &first),
        row("rollout of version 2", &second.minus(&first)),
        row("broken version 3, rolled back", &third.minus(&second)),
        row("all", &third),
    ]
    .join("\n"))
}

/// The audience's view.
struct Show {
    statuses: Arc<StatusStore>,
    progress: Progress,
    load: Option<Load>,
}

impl Show {
    async fn until(&mut self, done: impl Fn(&StatusStore) -> bool) -> anyhow::Result<()> {
        let deadline = tokio::time::Instant::now() + STEP_TIMEOUT;
        while !done(&self.statuses) {
            self.draw();
            anyhow::ensure!(tokio::time::Instant::now() < deadline, "nothing came of it in {STEP_TIMEOUT:?}");
            tokio::time::sleep(REDRAW).await;
        }
        self.draw();
        Ok(())
    }

    async fn until_service(&mut self, done: impl Fn(&ServiceStatus) -> bool) -> anyhow::Result<()> {
        self.until(|statuses| statuses.status(&ServiceName::new(PROJECT, "web")).is_some_and(|status| done(&status)))
            .await
    }

    async fn pause(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / REDRAW.as_millis() {
            self.draw();
            tokio::time::sleep(REDRAW).await;
        }
    }

    fn revision(&self) -> Revision {
        let status = self.statuses.status(&ServiceName::new(PROJECT, "web"));
        status.map(|status| status.revision.clone()).unwrap_or_default()
    }

    fn taken(&self) -> load::Report {
        self.load.as_ref().map(Load::report).unwrap_or_default()
    }

    fn draw(&mut self) {
        let extra = self.load.as_ref().map(|load| load.report().to_string()).unwrap_or_default();
        self.progress.show(&self.statuses, &extra, &|_| true);
    }
}
