//! `composed rollout`: the replicas of one service are replaced, though its document has not changed. A drop-in for
//! docker-rollout.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crd_schema::status::ServiceStatus;
use tokio::sync::oneshot;

use super::apply::Once;
use super::args::{Common, Rollout};
use super::progress::{Standing, standing};
use super::session::{CONVERGED, FAILED, INVALID, Session, UNREACHABLE, Ways, fail, known, print_out, say_notes};
use super::{places, table};
use crate::api::client;
use crate::board::Board;
use crate::engine::Claim;
use crate::front;
use crate::model::{DesiredService, RolloutOptions, ServiceName, unmarked};
use crate::orders::RollOut;
use crate::plan::policy::Policy;
use crate::source::catalog::Catalog;

/// Longer than any rollout that goes on: it fails by its own deadlines.
const LIMIT: Duration = Duration::from_hours(2);
/// A controller that runs has read a changed document by then.
const SETTLED: Duration = Duration::from_secs(30);
/// It is asked so often how it goes.
const LOOK: Duration = Duration::from_millis(500);

/// Replaces the replicas of a service.
pub async fn rollout(args: Rollout, common: &Common) -> anyhow::Result<ExitCode> {
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
    };
    let board = Arc::new(Board::default());
    let session = match Session::open(common, &board, Ways::default()).await {
        Ok(session) => session,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    match session.engine.claim().await {
        Ok(Claim::Held) => {}
        Ok(Claim::HeldBy(_)) => return by_controller(service, &options, common).await,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    print_out(&format!("{name}: {}", Policy::of(&service.spec).strategy));
    let (answer, answered) = oneshot::channel();
    // It is taken after the reading, and before the first look.
    board.orders.give(RollOut { service: name.clone(), options, answer });
    let wanted = BTreeSet::from([name.clone()]);
    let concerns = |other: &ServiceName| *other == name || front::owner(other).as_ref() == Some(&name);
    let once = Once { session, reading, confirm_deletion: false, timeout: LIMIT };
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
    common: &Common,
) -> anyhow::Result<ExitCode> {
    let name = &service.name;
    let target = format!("/v1/services/{}/{}", name.project, name.name);
    let start = tokio::time::Instant::now();
    let before = loop {
        let status = match status(common, &target).await {
            Ok(status) => status,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        match status.filter(|status| unmarked(&status.digest) == service.digest) {
            Some(status) => break status.revision,
            None if start.elapsed() > SETTLED => {
                let why = format!(
                    "the controller that acts on this engine wants something else of {name} than {}: give it this \
                     document first, or name the files that it was given",
                    service.source
                );
                return Ok(fail(FAILED, &why));
            }
            None => tokio::time::sleep(LOOK).await,
        }
    };
    let query = serde_urlencoded::to_string(options)?;
    match client::post(&common.socket, &format!("{target}/rollout?{query}")).await {
        Ok((code, body)) if code.is_success() => print_out(&String::from_utf8_lossy(&body)),
        Ok((_, body)) => return Ok(fail(FAILED, &String::from_utf8_lossy(&body))),
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    let mut last = String::new();
    loop {
        let status = match status(common, &target).await {
            Ok(status) => status,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        let begun = status.filter(|status| status.revision != before);
        if let Some(status) = begun {
            if last.is_empty() {
                print_out(&format!("{name}: {}", status.strategy));
            }
            let line = table::line(&status);
            if line != last {
                print_out(&line);
                last = line;
            }
            match standing(&status) {
                Standing::Converged => return Ok(ExitCode::from(CONVERGED)),
                Standing::Failed => {
                    print_out(&format!("\n{}", table::one(&status)));
                    return Ok(ExitCode::from(FAILED));
                }
                Standing::Moving => {}
            }
        }
        if start.elapsed() > LIMIT {
            return Ok(fail(FAILED, &format!("not converged after {LIMIT:?}")));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn status(common: &Common, target: &str) -> Result<Option<ServiceStatus>, String> {
    let (code, body) = client::get(&common.socket, target).await.map_err(|error| error.to_string())?;
    if !code.is_success() {
        return Ok(None);
    }
    serde_json::from_slice(&body).map(Some).map_err(|error| format!("the controller's answer cannot be read: {error}"))
}
