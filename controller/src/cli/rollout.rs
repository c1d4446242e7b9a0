//! `composed rollout`: the replicas of one service are replaced, though its document has not changed. A drop-in for
//! docker-rollout.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use composed_api::client;
use composed_core::engine::{LeaseHolder, LeaseState};
use composed_core::front;
use composed_core::model::{DesiredService, RolloutOptions, ServiceName, base_digest};
use composed_core::plan::hint;
use composed_core::plan::policy::Policy;
use composed_source::catalog::Catalog;
use composed_status::commands::RollOut;
use composed_status::store::StatusStore;
use crd_schema::status::ServiceStatus;
use tokio::sync::oneshot;

use super::apply::OneConvergence;
use super::args::{Common, RolloutArgs};
use super::progress::{Convergence, FailedEvents, convergence};
use super::session::{
    CONVERGED, FAILED, INVALID, Session, TrafficPaths, UNREACHABLE, at_work, fail, known, print_out, say_notes,
    say_warning,
};
use super::{places, preflight, table};

/// Longer than any rollout that goes on: it fails by its own deadlines.
const LIMIT: Duration = Duration::from_hours(2);
/// A controller that runs has read a changed document by then.
const SETTLED: Duration = Duration::from_secs(30);
/// It is asked so often how it goes.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Replaces the replicas of a service.
pub async fn rollout(args: RolloutArgs, common: &Common) -> anyhow::Result<ExitCode> {
    if args.compose.remove_orphans {
        return Ok(fail(INVALID, &"a rollout touches one service only: --remove-orphans is for `composed apply`"));
    }
    if let Err(why) = places::named(args.path.as_deref(), &args.compose) {
        return Ok(fail(INVALID, &why));
    }
    let mut reading = places::source(args.path.as_deref(), &args.compose, common).read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false).knowing(known(common).load_made_of()));
    say_notes(&catalog);
    if !catalog.problems.is_empty() {
        return Ok(fail(INVALID, &catalog.problems.join("\n\n")));
    }
    let service = match service(&catalog, &args.service) {
        Ok(service) => service,
        Err(why) => return Ok(fail(INVALID, &why)),
    };
    let name = service.name.clone();
    reading.only = Some(name.clone());
    let options = RolloutOptions {
        timeout: args.timeout,
        wait: args.wait,
        wait_after_healthy: args.wait_after_healthy,
        pre_stop_hook: args.pre_stop_hook,
        to_file: args.to_file,
    };
    let statuses = Arc::new(StatusStore::default());
    let session = match Session::open(common, &statuses, TrafficPaths::default()).await {
        Ok(session) => session,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let concerns = |other: &ServiceName| *other == name || front::owner(other).as_ref() == Some(&name);
    preflight::say_directories(common, (&catalog, &reading), &concerns);
    match preflight::missing(&*session.engine, common, (&catalog, &reading), &concerns).await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => return Ok(fail(INVALID, &missing.join("\n"))),
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    match session.engine.claim().await {
        Ok(LeaseState::Held) => {}
        Ok(LeaseState::HeldBy(other)) => {
            return match at_work(&other, common) {
                Some(why) => Ok(fail(UNREACHABLE, &why)),
                None => by_controller(service, &options, (&other, common)).await,
            };
        }
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    print_out(&format!("{name}: {}", Policy::from_spec(&service.spec).strategy));
    let hook = options.pre_stop_hook.is_some();
    say_warning(&name, hint::warning(&service.spec, &hint::ways(&service.spec), hook));
    let (answer, answered) = oneshot::channel();
    // It is taken after the reading, and before the first look.
    statuses.commands.submit(RollOut { service: name.clone(), options, answer });
    let wanted = BTreeSet::from([name.clone()]);
    let once = OneConvergence { session, reading, confirm_deletion: false, timeout: LIMIT, by_file: false };
    let code = once.converge(&wanted, &concerns).await?;
    Ok(match answered.await {
        Ok(Err(why)) => fail(FAILED, &why),
        Ok(Ok(_)) | Err(_) => code,
    })
}

/// The one service that is meant.
fn service<'a>(catalog: &'a Catalog, asked: &str) -> Result<&'a DesiredService, String> {
    let is = |name: &&ServiceName| name.name == asked || name.to_string() == asked;
    let mut found = catalog.names().filter(is);
    match (found.next(), found.next()) {
        (Some(name), None) => catalog.service(name).ok_or_else(|| format!("{name} is not valid")),
        (Some(_), Some(_)) => Err(format!("several projects have a service {asked}: write PROJECT/NAME")),
        (None, _) => {
            let names: Vec<_> = catalog.names().map(ToString::to_string).collect();
            Err(format!("there is no service {asked}; there is {}", names.join(", ")))
        }
    }
}

/// The controller that acts on the engine does it, and is followed to the end.
async fn by_controller(
    service: &DesiredService,
    options: &RolloutOptions,
    (other, common): (&LeaseHolder, &Common),
) -> anyhow::Result<ExitCode> {
    let name = &service.name;
    let target = format!("/v1/services/{}/{}", name.project, name.name);
    let start = tokio::time::Instant::now();
    let before = loop {
        let status = match status(common, &target).await {
            Ok(status) => status,
            Err(error) => {
                let why = format!("{error}; the controller that acts on this engine is {other}: name its --socket");
                return Ok(fail(UNREACHABLE, &why));
            }
        };
        match status.filter(|status| base_digest(&status.digest) == service.digest) {
            Some(status) => {
                let hook = options.pre_stop_hook.is_some();
                say_warning(name, hint::warning(&service.spec, &status.traffic, hook));
                break (status.revision, status.current_revision);
            }
            None if start.elapsed() > SETTLED => {
                let why = format!(
                    "the controller that acts on this engine wants something else of {name} than {}: give it this \
                     document first, or name the files that it was given",
                    service.source
                );
                return Ok(fail(FAILED, &why));
            }
            None => tokio::time::sleep(POLL_INTERVAL).await,
        }
    };
    let query = serde_urlencoded::to_string(options)?;
    match client::post(&common.socket, &format!("{target}/rollout?{query}")).await {
        Ok((code, body)) if code.is_success() => print_out(&String::from_utf8_lossy(&body)),
        Ok((_, body)) => return Ok(fail(FAILED, &String::from_utf8_lossy(&body))),
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    // After an undo what runs is rolled out, and not what is wanted.
    let begun = |status: &ServiceStatus| (&status.revision, &status.current_revision) != (&before.0, &before.1);
    follow(common, &target, &begun).await
}

/// Shows how a service that has `begun` something by hand goes on, until it has come to rest.
pub(super) async fn follow(
    common: &Common,
    target: &str,
    begun: &dyn Fn(&ServiceStatus) -> bool,
) -> anyhow::Result<ExitCode> {
    let start = tokio::time::Instant::now();
    let mut last = String::new();
    let mut failed = FailedEvents::from_now();
    loop {
        let status = match status(common, target).await {
            Ok(status) => status,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        failed.show(&common.socket, &|name| target.ends_with(&format!("/{}/{}", name.project, name.name))).await;
        if let Some(status) = status.filter(begun) {
            if last.is_empty() {
                print_out(&format!("{}/{}: {}", status.project, status.name, status.strategy));
            }
            let line = table::line(&status);
            if line != last {
                print_out(&line);
                last = line;
            }
            match convergence(&status) {
                Convergence::Converged | Convergence::Undone => return Ok(ExitCode::from(CONVERGED)),
                Convergence::Failed => {
                    print_out(&format!("\n{}", table::one(&status)));
                    return Ok(ExitCode::from(FAILED));
                }
                Convergence::Moving => {}
            }
        }
        if start.elapsed() > LIMIT {
            return Ok(fail(FAILED, &format!("not converged after {LIMIT:?}")));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn status(common: &Common, target: &str) -> Result<Option<ServiceStatus>, String> {
    let (code, body) = client::get(&common.socket, target).await.map_err(|error| error.to_string())?;
    if !code.is_success() {
        return Ok(None);
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| format!("the controller's answer cannot be read: {error}"))
}
