//! `composed apply`: one convergence, shown as it goes.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::args::{Apply, Common};
use super::places;
use super::progress::{Progress, Standing, standing};
use super::session::{CONVERGED, FAILED, INVALID, Session, UNREACHABLE, Ways, fail, known, print_out, say_notes};
use super::table;
use crate::api::{Overview, client};
use crate::board::Board;
use crate::controller::Controller;
use crate::engine::Claim;
use crate::model::{ServiceName, unmarked};
use crate::source::catalog::Catalog;
use crate::source::files::Reading;

/// Changes of the board closer together than this are shown as one.
const REDRAW: Duration = Duration::from_millis(100);
/// An engine that does not answer for so long ends the convergence.
const PATIENCE: Duration = Duration::from_secs(20);

/// Converges once.
pub async fn apply(args: Apply, common: &Common) -> anyhow::Result<ExitCode> {
    if let Err(why) = places::named(args.path.as_deref(), &args.compose) {
        return Ok(fail(INVALID, &why));
    }
    let source = places::source(args.path.as_deref(), &args.compose, common);
    let reading = source.read();
    let catalog = Catalog::new(&reading, &Catalog::empty(args.confirm_deletion).knowing(known(common).load_made_of()));
    say_notes(&catalog);
    if !catalog.problems.is_empty() {
        return Ok(fail(INVALID, &catalog.problems.join("\n\n")));
    }
    if catalog.names().next().is_none() && catalog.elsewhere.is_empty() && (reading.single || !args.confirm_deletion) {
        return Ok(fail(INVALID, &format!("{} holds no service documents", source.path.display())));
    }
    let board = Arc::new(Board::default());
    let session = match Session::open(common, &board, Ways::default()).await {
        Ok(session) => session,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    match session.engine.claim().await {
        Ok(Claim::Held) => {}
        Ok(Claim::HeldBy(_)) if args.wait => return follow(&catalog, &args, common).await,
        Ok(Claim::HeldBy(other)) => {
            let advice = "edit its files, or use --wait to follow it";
            return Ok(fail(UNREACHABLE, &format!("another controller acts on this engine: {other}; {advice}")));
        }
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    let wanted: BTreeSet<ServiceName> = catalog.names().cloned().collect();
    let concerns = |name: &ServiceName| {
        (!reading.single || wanted.contains(name)) && catalog.minds(name) && !catalog.is_orphan(name)
    };
    let (confirm_deletion, timeout) = (args.confirm_deletion, args.timeout);
    let once = Once { session, reading: reading.clone(), confirm_deletion, timeout };
    once.converge(&wanted, &concerns).await
}

/// One convergence by a controller of this process.
pub(super) struct Once {
    pub(super) session: Session,
    pub(super) reading: Reading,
    pub(super) confirm_deletion: bool,
    pub(super) timeout: Duration,
}

impl Once {
    /// Acts until all that it concerns have come to rest.
    pub(super) async fn converge(
        self,
        wanted: &BTreeSet<ServiceName>,
        concerns: &dyn Fn(&ServiceName) -> bool,
    ) -> anyhow::Result<ExitCode> {
        let Self { session, reading, confirm_deletion, timeout } = self;
        let board = Arc::clone(&session.board);
        let only = reading.only.is_some();
        let (stop, stopped) = watch::channel(false);
        let (readings, received) = mpsc::channel(1);
        readings.send(reading).await?;
        let controller = Controller {
            engine: session.engine,
            senses: session.senses,
            clock: session.clock,
            state: session.state,
            board: session.board,
            // Asks nobody, and goes by what was answered before.
            images: Some(session.images),
            notifier: None,
            max_rollouts: None,
            confirm_deletion,
        };
        let controller = tokio::spawn(controller.run(received, stopped));
        let ended = tokio::select! {
            ended = converge(&board, wanted, concerns, only) => ended,
            () = tokio::time::sleep(timeout) => {
                Err(format!("not converged after {timeout:?}; what was begun is safe to leave"))
            }
            _ = tokio::signal::ctrl_c() => Err("interrupted; what was begun is safe to leave".to_owned()),
        };
        stop.send_replace(true);
        controller.await?;
        drop(readings);
        Ok(match ended {
            Ok(code) => ExitCode::from(code),
            Err(why) if board.health().blocked.is_some() => fail(UNREACHABLE, &why),
            Err(why) => fail(FAILED, &why),
        })
    }
}

/// Shows the board until every service has come to rest.
async fn converge(
    board: &Board,
    wanted: &BTreeSet<ServiceName>,
    concerns: &dyn Fn(&ServiceName) -> bool,
    only: bool,
) -> Result<u8, String> {
    let mut progress = Progress::new(0);
    let mut version = board.version();
    let mut blocked: Option<(Instant, String)> = None;
    loop {
        progress.show(board, "", &|name| !only || concerns(name));
        if let Some(code) = outcome(board, wanted, concerns) {
            for status in board.statuses() {
                if standing(&status) == Standing::Failed && concerns(&name(&status)) {
                    print_out(&format!("\n{}", table::one(&status)));
                }
            }
            return Ok(code);
        }
        blocked = board.health().blocked.map(|why| {
            let since = blocked.take().map_or_else(Instant::now, |(since, _)| since);
            (since, why)
        });
        if let Some((_, why)) = blocked.as_ref().filter(|(since, _)| since.elapsed() > PATIENCE) {
            return Err(why.clone());
        }
        tokio::time::sleep(REDRAW).await;
        // The time is only for noticing a blockade.
        drop(tokio::time::timeout(REDRAW * 5, version.changed()).await);
    }
}

fn outcome(board: &Board, wanted: &BTreeSet<ServiceName>, concerns: &dyn Fn(&ServiceName) -> bool) -> Option<u8> {
    let health = board.health();
    if !(health.ready && health.settled) {
        return None;
    }
    let statuses = board.statuses();
    let concerned: Vec<_> = statuses.iter().filter(|status| concerns(&name(status))).collect();
    let seen: BTreeSet<_> = concerned.iter().map(|status| name(status)).collect();
    if !wanted.is_subset(&seen) || concerned.iter().any(|status| standing(status) == Standing::Moving) {
        return None;
    }
    let failed = concerned.iter().any(|status| standing(status) == Standing::Failed);
    Some(if failed { FAILED } else { CONVERGED })
}

fn name(status: &crd_schema::status::ServiceStatus) -> ServiceName {
    ServiceName::new(&status.project, &status.name)
}

/// Waits until the controller that runs has done what the catalog wants.
async fn follow(catalog: &Catalog, args: &Apply, common: &Common) -> anyhow::Result<ExitCode> {
    let deadline = tokio::time::sleep(args.timeout);
    tokio::pin!(deadline);
    let mut last = String::new();
    loop {
        let overview = match client::get(&common.socket, "/v1/services").await {
            Ok((_, body)) => serde_json::from_slice::<Overview>(&body)?,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        let wanted: Vec<_> = catalog.names().filter_map(|name| catalog.service(name)).collect();
        let mut worst = CONVERGED;
        let mut open = Vec::new();
        for service in wanted {
            let status = overview.services.iter().find(|status| name(status) == service.name);
            match status.filter(|status| unmarked(&status.digest) == service.digest) {
                Some(status) => match standing(status) {
                    Standing::Converged => {}
                    Standing::Failed => worst = FAILED,
                    Standing::Moving => open.push(table::line(status)),
                },
                None => open.push(format!("{}: the controller does not have this document yet", service.name)),
            }
        }
        let text = open.join("\n");
        if text != last && !text.is_empty() {
            print_out(&text);
            last = text;
        }
        if open.is_empty() {
            return Ok(ExitCode::from(worst));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = &mut deadline => return Ok(fail(FAILED, &format!("not converged after {:?}", args.timeout))),
        }
    }
}
