//! `composed apply`: one convergence, shown as it goes.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use composed_api::{Overview, client};
use composed_core::engine::LeaseState;
use composed_core::model::{ServiceName, base_digest};
use composed_source::catalog::Catalog;
use composed_source::files::Reading;
use composed_status::store::StatusStore;
use crd_schema::status::{ConditionType, Reason, ServiceStatus, WaitReason};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::args::{Apply, Common};
use super::places;
use super::plan;
use super::preflight;
use super::progress::{Convergence, FailedEvents, Progress, convergence};
use super::session::{
    CONVERGED, FAILED, INVALID, Session, TrafficPaths, UNREACHABLE, at_work, fail, known, print_err, print_out,
    say_notes,
};
use super::table;
use crate::controller::Controller;

/// Changes of the status store closer together than this are shown as one.
const REDRAW: Duration = Duration::from_millis(100);
/// An engine that does not answer for so long ends the convergence.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(20);
/// What is looked at before a rollout only to warn of its cost may take so long.
const WARNING_TIMEOUT: Duration = Duration::from_secs(5);
/// A dependant has looked at what its dependency shows after so long.
const DEPENDENT_LOOK: Duration = Duration::from_secs(1);

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
    let statuses = Arc::new(StatusStore::default());
    let session = match Session::open(common, &statuses, TrafficPaths::default()).await {
        Ok(session) => session,
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    };
    let wanted: BTreeSet<ServiceName> = catalog.names().cloned().collect();
    preflight::say_directories(common, (&catalog, &reading), &|_| true);
    match preflight::missing(&*session.engine, common, (&catalog, &reading), &|_| true).await {
        Ok(missing) if missing.is_empty() => {}
        Ok(missing) => return Ok(fail(INVALID, &missing.join("\n"))),
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    match session.engine.claim().await {
        Ok(LeaseState::Held) => {}
        Ok(LeaseState::HeldBy(other)) => {
            if let Some(why) = at_work(&other, common) {
                return Ok(fail(UNREACHABLE, &why));
            }
            if args.wait {
                return follow(&catalog, &args, common).await;
            }
            let advice = "edit its files, or use --wait to follow it";
            return Ok(fail(UNREACHABLE, &format!("another controller acts on this engine: {other}; {advice}")));
        }
        Err(error) => return Ok(fail(UNREACHABLE, &error)),
    }
    warn_before(&catalog, &reading, common).await;
    let concerns = |name: &ServiceName| {
        (!reading.single || wanted.contains(name)) && catalog.minds(name) && !catalog.is_orphan(name)
    };
    let (confirm_deletion, timeout) = (args.confirm_deletion, args.timeout);
    let once = OneConvergence { session, reading: reading.clone(), confirm_deletion, timeout, by_file: true };
    once.converge(&wanted, &concerns).await
}

/// Says which rollouts will fail requests, before any of them begins. What cannot be looked at is told by the convergence itself.
async fn warn_before(catalog: &Catalog, reading: &Reading, common: &Common) {
    let Ok(session) = Session::look(common, &Arc::default()).await else { return };
    let intents = tokio::time::timeout(WARNING_TIMEOUT, plan::intents(&session, catalog, reading.single)).await;
    for intent in intents.into_iter().flatten().flatten() {
        intent.warning.iter().for_each(|warning| print_err(&format!("warning: {}: {warning}", intent.name)));
    }
}

/// One convergence by a controller of this process.
pub(super) struct OneConvergence {
    pub(super) session: Session,
    pub(super) reading: Reading,
    pub(super) confirm_deletion: bool,
    pub(super) timeout: Duration,
    /// That the files are followed is the point of it: what somebody has gone back to by hand is not.
    pub(super) by_file: bool,
}

impl OneConvergence {
    /// Acts until all that it concerns have come to rest.
    pub(super) async fn converge(
        self,
        wanted: &BTreeSet<ServiceName>,
        concerns: &dyn Fn(&ServiceName) -> bool,
    ) -> anyhow::Result<ExitCode> {
        let Self { session, mut reading, confirm_deletion, timeout, by_file } = self;
        reading.once = true;
        let statuses = Arc::clone(&session.statuses);
        let only = reading.only.is_some();
        let (stop, stopped) = watch::channel(false);
        let (readings, received) = mpsc::channel(1);
        readings.send(reading).await?;
        let controller = Controller {
            engine: session.engine,
            monitor: session.monitor,
            clock: session.clock,
            state: session.state,
            statuses: session.statuses,
            // Asks nobody, and goes by what was answered before.
            images: Some(session.images),
            notifier: None,
            max_rollouts: None,
            confirm_deletion,
        };
        let controller = tokio::spawn(controller.run(received, stopped));
        let ended = tokio::select! {
            ended = converge(&statuses, wanted, concerns, only) => ended.map(|rest| rest.code(by_file)),
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
            Err(why) if statuses.health().blocked.is_some() => fail(UNREACHABLE, &why),
            Err(why) => fail(FAILED, &why),
        })
    }
}

/// Shows the status store until every service has come to rest.
async fn converge(
    statuses: &StatusStore,
    wanted: &BTreeSet<ServiceName>,
    concerns: &dyn Fn(&ServiceName) -> bool,
    only: bool,
) -> Result<Rest, String> {
    let mut progress = Progress::new(0);
    let mut version = statuses.version();
    let mut blocked: Option<(Instant, String)> = None;
    let mut ended: Option<Instant> = None;
    loop {
        progress.show(statuses, "", &|name| !only || concerns(name));
        let rest = outcome(statuses, wanted, concerns);
        ended = rest.as_ref().map(|_| ended.unwrap_or_else(Instant::now));
        // A dependant may not have seen yet that its dependency goes on.
        let lasts = ended.is_some_and(|since| since.elapsed() >= DEPENDENT_LOOK);
        if let Some(rest) = rest.filter(|_| lasts || !held_by_failed(statuses, concerns)) {
            for status in statuses.all() {
                let unlike = matches!(convergence(&status), Convergence::Failed | Convergence::Undone);
                if unlike && concerns(&name(&status)) {
                    print_out(&format!("\n{}", table::one(&status)));
                }
            }
            return Ok(rest);
        }
        blocked = statuses.health().blocked.map(|why| {
            let since = blocked.take().map_or_else(Instant::now, |(since, _)| since);
            (since, why)
        });
        if let Some((_, why)) = blocked.as_ref().filter(|(since, _)| since.elapsed() > ENGINE_TIMEOUT) {
            return Err(why.clone());
        }
        tokio::time::sleep(REDRAW).await;
        // The time is only for noticing a blockade.
        drop(tokio::time::timeout(REDRAW * 5, version.changed()).await);
    }
}

/// Whether one of them only waits for a dependency that has failed.
fn held_by_failed(statuses: &StatusStore, concerns: &dyn Fn(&ServiceName) -> bool) -> bool {
    statuses.all().iter().any(|status| concerns(&name(status)) && waits_in_vain(status))
}

fn waits_in_vain(status: &ServiceStatus) -> bool {
    status.condition(ConditionType::Progressing).is_some_and(|condition| condition.reason == Reason::DependencyFailed)
}

fn outcome(
    statuses: &StatusStore,
    wanted: &BTreeSet<ServiceName>,
    concerns: &dyn Fn(&ServiceName) -> bool,
) -> Option<Rest> {
    let health = statuses.health();
    if !(health.ready && health.settled) {
        return None;
    }
    let statuses = statuses.all();
    let concerned: Vec<_> = statuses.iter().filter(|status| concerns(&name(status))).collect();
    let seen: BTreeSet<_> = concerned.iter().map(|status| name(status)).collect();
    let moves = |status: &ServiceStatus| convergence(status) == Convergence::Moving || cleans_up(status);
    if !wanted.is_subset(&seen) || concerned.iter().any(|status| moves(status)) {
        return None;
    }
    let any = |state| concerned.iter().any(|status| convergence(status) == state);
    Some(Rest { failed: any(Convergence::Failed), undone: any(Convergence::Undone) })
}

/// Whether something that has failed is still being taken away, or put back.
fn cleans_up(status: &ServiceStatus) -> bool {
    use WaitReason::{Hook, Namespace, Observation, Proxy, Removal, Requests, Step, Stop};
    status
        .waiting
        .iter()
        .any(|wait| matches!(wait.reason, Hook | Namespace | Observation | Proxy | Removal | Requests | Step | Stop))
}

/// How services have come to rest.
struct Rest {
    failed: bool,
    undone: bool,
}

impl Rest {
    fn code(&self, by_file: bool) -> u8 {
        if self.failed || (self.undone && by_file) { FAILED } else { CONVERGED }
    }
}

fn name(status: &ServiceStatus) -> ServiceName {
    ServiceName::new(&status.project, &status.name)
}

/// Waits until the controller that runs has done what the catalog wants.
async fn follow(catalog: &Catalog, args: &Apply, common: &Common) -> anyhow::Result<ExitCode> {
    let deadline = tokio::time::sleep(args.timeout);
    tokio::pin!(deadline);
    let mut last = String::new();
    let mut ended: Option<Instant> = None;
    let mut failed = FailedEvents::from_now();
    loop {
        failed.show(&common.socket, &|name| catalog.knows(name)).await;
        let overview = match client::get(&common.socket, "/v1/services").await {
            Ok((_, body)) => serde_json::from_slice::<Overview>(&body)?,
            Err(error) => return Ok(fail(UNREACHABLE, &error)),
        };
        let wanted: Vec<_> = catalog.names().filter_map(|name| catalog.service(name)).collect();
        let (mut worst, mut in_vain) = (CONVERGED, false);
        let mut open = Vec::new();
        for service in wanted {
            let status = overview.services.iter().find(|status| name(status) == service.name);
            match status.filter(|status| base_digest(&status.digest) == service.digest) {
                Some(status) => match convergence(status) {
                    Convergence::Converged => {}
                    Convergence::Failed | Convergence::Undone => {
                        worst = FAILED;
                        in_vain |= waits_in_vain(status);
                    }
                    Convergence::Moving => open.push(table::line(status)),
                },
                None => open.push(format!("{}: the controller does not have this document yet", service.name)),
            }
        }
        let text = open.join("\n");
        if text != last && !text.is_empty() {
            print_out(&text);
            last = text;
        }
        ended = open.is_empty().then(|| ended.unwrap_or_else(Instant::now));
        if ended.is_some_and(|since| !in_vain || since.elapsed() >= DEPENDENT_LOOK) {
            return Ok(ExitCode::from(worst));
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = &mut deadline => return Ok(fail(FAILED, &format!("not converged after {:?}", args.timeout))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, progressing: bool, reason: &str) -> ServiceStatus {
        let condition = serde_json::json!({
            "type": "Progressing", "status": progressing, "reason": reason, "message": "", "lastTransition": "2026-01-01T00:00:00Z",
        });
        let status = serde_json::json!({
            "project": "shop", "name": name, "generation": 1, "observedGeneration": 1, "revision": "r1", "replicas": 1, "live": 0,
            "updated": 0, "available": 0, "conditions": [condition],
            "waiting": if progressing { serde_json::json!([]) } else { serde_json::json!([{"reason": "Dependency", "on": "db"}]) },
        });
        serde_json::from_value(status).expect("a status")
    }

    /// It does not wait for what will not come, and believes a dependant only that lasts.
    #[tokio::test(start_paused = true)]
    async fn a_failed_dependency_ends_it() {
        let statuses = StatusStore::default();
        let [db, web] = ["db", "web"].map(|name| ServiceName::new("shop", name));
        let wanted = BTreeSet::from([db.clone(), web.clone()]);
        statuses.set_health(|health| (health.ready, health.settled) = (true, true));
        statuses.publish(&db, status("db", false, "RevisionFailed"));
        statuses.publish(&web, status("web", false, "DependencyFailed"));
        let began = Instant::now();
        assert_eq!(converge(&statuses, &wanted, &|_| true, false).await.map(|rest| rest.code(true)), Ok(FAILED));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        // The dependency is there meanwhile, and its dependant has not looked yet.
        statuses.publish(&db, status("db", true, "NewRevisionAvailable"));
        let looks = async {
            tokio::time::sleep(DEPENDENT_LOOK / 2).await;
            statuses.publish(&web, status("web", true, "NewRevisionAvailable"));
        };
        let (ended, ()) = tokio::join!(converge(&statuses, &wanted, &|_| true, false), looks);
        assert_eq!(ended.map(|rest| rest.code(true)), Ok(CONVERGED));
    }
}
