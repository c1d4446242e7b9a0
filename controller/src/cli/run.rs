//! `composed run`: the controller, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use composed_api::{self, webhook};
use composed_core::engine::EngineError;
use composed_platform::clock::Clock;
use composed_platform::listen::{Exposed, Hosts, warn_if_wide};
use composed_source::files::{Reading, Source};
use composed_source::git;
use composed_source::host::HostName;
use composed_source::made_of;
use composed_source::watch::watch as watch_files;
use composed_status::notifications::{HttpSender, NotificationTarget, Notifier};
use composed_status::store::StatusStore;
use composed_traffic::view::View;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::args::{Common, Run};
use super::paths;
use super::places;
use super::receivers::receivers;
use super::repositories::{Repositories, given, repositories};
use super::session::{self, CONVERGED, INVALID, Session, TrafficPaths, UNREACHABLE, fail};
use crate::controller::Controller;
use crate::state::StateDir;

/// An engine that does not answer at the start is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// Runs the controller.
pub async fn run(args: Run, common: &Common) -> anyhow::Result<ExitCode> {
    if let Some(address) = args.listen.filter(|address| !address.ip().is_loopback()) {
        let why = format!("--listen {address}: the status has no authentication, so only a loopback address is taken");
        return Ok(fail(INVALID, &why));
    }
    let asked = given(&args.git).and_then(|given| {
        let repositories = repositories(&args.git, &given, &args.compose, common)?;
        let receivers = receivers(&args.notify, &given)?;
        Ok((repositories, receivers, args.max_rollouts.or(given.settings.max_rollouts)))
    });
    let (repositories, receivers, max_rollouts) = match asked {
        Ok(asked) => asked,
        Err(why) => return Ok(fail(INVALID, &why)),
    };
    if let (true, Some(dir)) = (repositories.is_some(), &args.dir) {
        let dir = dir.display();
        return Ok(fail(INVALID, &format!("{dir} cannot be used with a settings file that names repositories")));
    }
    if repositories.is_none()
        && let Err(why) = places::named(args.dir.as_deref(), &args.compose)
    {
        return Ok(fail(INVALID, &why));
    }
    let statuses = Arc::new(StatusStore::default());
    let (stop, stopped) = watch::channel(false);
    on_signal(stop)?;
    let socket = tokio::spawn(serve_unix(Arc::clone(&statuses), common.socket.clone()));
    if let Some(address) = args.listen {
        let (statuses, hosts) = (Arc::clone(&statuses), Hosts::new(&args.allow_hosts));
        warn_if_wide(address, Exposed::Status);
        tokio::spawn(async move {
            if let Err(error) = composed_api::serve_tcp(statuses, address, hosts).await {
                tracing::error!(%address, %error, "the status is not served there");
            }
        });
    }
    let beside = RunOptions { receivers, max_rollouts };
    let code = control(args, repositories, beside, common, statuses, stopped).await;
    // Its end takes the socket away, if it has one.
    socket.abort();
    drop(socket.await);
    Ok(code)
}

/// What is asked for beside the documents.
struct RunOptions {
    receivers: Vec<NotificationTarget>,
    max_rollouts: Option<u32>,
}

async fn control(
    args: Run,
    repositories: Option<Repositories>,
    beside: RunOptions,
    common: &Common,
    statuses: Arc<StatusStore>,
    stopped: watch::Receiver<bool>,
) -> ExitCode {
    let names = session::known(common).room("traefik-names.json");
    let paths = paths::begin(&args.paths, &args.allow_hosts, &statuses, names.as_ref());
    let ways = TrafficPaths { paths, view: paths::view(&args.paths) };
    let session = match open(&ways, common, &statuses, stopped.clone()).await {
        Ok(Some(session)) => session,
        Ok(None) => return ExitCode::from(CONVERGED),
        Err(error) => return fail(UNREACHABLE, &error),
    };
    let notifier = notifier(beside.receivers, &session, common);
    let view =
        session.view.zip(args.paths.view).map(|(view, path)| (Arc::clone(&view), tokio::spawn(serve_view(view, path))));
    let (readings, received) = mpsc::channel(1);
    let _copies = match (repositories, &args.dir) {
        (Some(repositories), _) => match follow(repositories, &session.state, Arc::clone(&statuses), readings) {
            Ok(copies) => copies,
            Err(error) => {
                return fail(UNREACHABLE, &format!("no directory for copies of repositories can be made: {error}"));
            }
        },
        (None, dir) => {
            let known = made_of::by_name(&session.state.load_made_of());
            let mut source = Source { known, ..places::source(dir.as_deref(), &args.compose, common) };
            // It serves nobody in particular: whose `~` that would be is for --env HOME=... to say.
            source.compose.home = None;
            tokio::spawn(watch_files(source, readings));
            None
        }
    };
    tracing::info!(engine = session.engine.describe(), socket = %common.socket.display(), "composed runs");
    let registries = tokio::spawn(Arc::clone(&session.images).run());
    let tells = notifier.as_ref().map(|notifier| tokio::spawn(Arc::clone(notifier).run()));
    let controller = Controller {
        engine: session.engine,
        monitor: session.monitor,
        clock: session.clock,
        state: session.state,
        statuses,
        images: Some(session.images),
        notifier,
        max_rollouts: beside.max_rollouts,
        confirm_deletion: args.confirm_deletion,
    };
    controller.run(received, stopped).await;
    registries.abort();
    // What was not told is kept, and told by the next process.
    if let Some(tells) = tells {
        tells.abort();
    }
    if let Some((view, served)) = view {
        view.end_readings().await;
        // Its end takes the socket away, if it has one.
        served.abort();
        drop(served.await);
    }
    ExitCode::from(CONVERGED)
}

/// Who tells people outside, if anybody is to be told.
fn notifier(receivers: Vec<NotificationTarget>, session: &Session, common: &Common) -> Option<Arc<Notifier>> {
    if receivers.is_empty() {
        return None;
    }
    let host = match places::host_name(common) {
        HostName::Is(name) => name,
        HostName::Any | HostName::Unknown => String::new(),
    };
    let file = session.state.room("notify.json");
    Some(Notifier::new(receivers, host, Arc::new(HttpSender), Arc::clone(&session.statuses), session.clock, file))
}

/// Follows repositories. Without a state directory their copies are in a directory that ends with what is returned.
fn follow(
    repositories: Repositories,
    state: &StateDir,
    statuses: Arc<StatusStore>,
    readings: mpsc::Sender<Reading>,
) -> std::io::Result<Option<TempDir>> {
    let temporary = if state.room("git").is_none() { Some(tempfile::tempdir()?) } else { None };
    let dir = state.room("git").or_else(|| temporary.as_ref().map(|dir| dir.path().to_owned())).unwrap_or_default();
    tokio::spawn(git::watch(repositories.sources, dir, statuses, readings));
    if let Some((address, hooks)) = repositories.webhooks {
        let hooks = Arc::new(hooks);
        tokio::spawn(paths::again("webhooks", address, move || webhook::serve(address, Arc::clone(&hooks))));
    }
    Ok(temporary)
}

/// Waits for an engine; `None` if the wait was ended by a signal. What will not get better by waiting is an error.
async fn open(
    ways: &TrafficPaths,
    common: &Common,
    statuses: &Arc<StatusStore>,
    mut stopped: watch::Receiver<bool>,
) -> Result<Option<Session>, EngineError> {
    loop {
        match Session::open(common, statuses, ways.clone()).await {
            Ok(session) => return Ok(Some(session)),
            Err(error @ EngineError::Rejected { .. }) => return Err(error),
            Err(error) => {
                let text = error.to_string();
                if statuses.block(&text, Clock::system().now()) {
                    tracing::warn!("{text}");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN) => {}
            _ = stopped.wait_for(|stop| *stop) => return Ok(None),
        }
    }
}

async fn serve_unix(statuses: Arc<StatusStore>, path: std::path::PathBuf) {
    if let Err(error) = composed_api::serve_unix(statuses, &path).await {
        tracing::error!(socket = %path.display(), %error, "the status is not served there; give another --socket");
    }
}

async fn serve_view(view: Arc<View>, path: std::path::PathBuf) {
    tracing::info!(socket = %path.display(), "the view for proxies");
    if let Err(error) = view.serve(&path).await {
        tracing::error!(socket = %path.display(), %error, "the view is not served there; give another --view");
    }
}

fn on_signal(stop: watch::Sender<bool>) -> std::io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping; what was begun is safe to leave");
        stop.send_replace(true);
    });
    Ok(())
}
