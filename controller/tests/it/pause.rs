//! What somebody paused is left alone, on the simulated engine, its time stopped.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use composed::cli::args::{Cli, CliCommand};
use composed::cli::progress::{Convergence, convergence};
use composed::cli::status;
use composed::state::StateDir;
use composed_source::files::Reading;
use composed_status::commands::Pause;
use crd_schema::ContainerId;
use crd_schema::status::{ConditionType, Reason, ReplicaPhase, ServiceStatus};
use tokio::sync::oneshot;

use crate::undo::{Running, engine, web};

pub(crate) async fn pause(running: &Running, on: bool) -> Result<String, String> {
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(Pause { service: web(), on, answer });
    tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().unwrap()
}

fn is_paused(status: &ServiceStatus) -> bool {
    status.condition(ConditionType::Paused).is_some_and(|condition| condition.status)
}

/// The ids of its containers, after a while in which nothing may happen.
async fn later(running: &Running) -> (Arc<ServiceStatus>, Vec<ContainerId>) {
    tokio::time::sleep(Duration::from_mins(15)).await; // Time stands still but for this.
    let status = running.statuses.status(&web()).unwrap();
    let ids = status.instances.iter().map(|instance| instance.id.clone()).collect();
    (status, ids)
}

#[tokio::test(start_paused = true)]
async fn a_pause_by_hand_lasts_over_changes_and_restarts_until_it_is_ended() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let running = Running::on(&sim, clock, state.clone());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    assert!(pause(&running, false).await.unwrap_err().contains("is not paused"));
    assert!(pause(&running, true).await.unwrap().contains("composed resume"));
    assert!(pause(&running, true).await.unwrap_err().contains("is paused already"));
    let status = running.until(is_paused).await;
    assert_eq!(convergence(&status), Convergence::Converged, "as wanted, and shown");
    let (_, before) = later(&running).await;
    assert_eq!(before.len(), 2);

    running.wants("web:2", "  rollout: {progress_deadline: 5m}\n").await;
    let status = running.until(|status| convergence(status) == Convergence::Failed).await;
    let progressing = status.condition(ConditionType::Progressing).unwrap();
    assert_eq!(progressing.reason, Reason::Paused);
    assert!(progressing.message.contains("paused by hand"), "{progressing:?}");
    assert_eq!(later(&running).await.1, before, "another image");
    // One of them dies, the document is gone: nobody is replaced or removed.
    running.readings.send(Reading::default()).await.unwrap();
    assert_eq!(later(&running).await.1, before, "no document");
    running.wants("web:2", "  rollout: {progress_deadline: 5m}\n").await;
    running.end().await;

    let running = Running::on(&sim, clock, state);
    running.wants("web:2", "  rollout: {progress_deadline: 5m}\n").await;
    running.until(is_paused).await;
    assert_eq!(later(&running).await.1, before, "another process");
    assert!(pause(&running, false).await.unwrap().contains("goes on"));
    // Longer than its deadline was spent in the pause; that is no failure.
    running.converged("web:2").await;
    let (status, after) = later(&running).await;
    assert!(!is_paused(&status) && after.iter().all(|id| !before.contains(id)), "{status:#?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_the_document_is_ended_there() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.wants("web:1", "  paused: true\n").await;
    let status = running.until(is_paused).await;
    assert_eq!((status.live, convergence(&status)), (0, Convergence::Failed), "nothing is begun");
    assert!(status.condition(ConditionType::Paused).unwrap().message.contains("web.yaml:1 says `paused: true`"));
    let why = pause(&running, false).await.unwrap_err();
    assert!(why.contains("web.yaml:1") && why.contains("paused: true"), "{why}");
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    running.wants("web:1", "  paused: true\n").await;
    let status = running.until(is_paused).await;
    assert_eq!((status.live, convergence(&status)), (2, Convergence::Converged));
    running.end().await;
}

/// Who was taken out of traffic when the pause began leaves all the same: it serves nobody any more.
#[tokio::test(start_paused = true)]
async fn what_is_under_way_goes_to_its_end() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let slow = "  drain_timeout: 2m\n  rollout: {max_surge: 1}\n";
    running.wants("web:1", slow).await;
    running.converged("web:1").await;
    running.wants("web:2", slow).await;
    running.until(|status| status.instances.iter().any(|instance| instance.phase == ReplicaPhase::Draining)).await;
    pause(&running, true).await.unwrap();
    let (status, ids) = later(&running).await;
    assert!(status.instances.iter().all(|instance| instance.phase != ReplicaPhase::Draining), "{status:#?}");
    assert!(ids.len() >= 2 && status.available >= 2, "{status:#?}");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_cannot_be_paused() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    running.readings.send(Reading::default()).await.unwrap();
    assert!(pause(&running, true).await.unwrap_err().contains("no service shop/web"));
    running.end().await;
}

/// By the words of the command line and the status socket, in real time.
#[tokio::test]
async fn the_command_line_pauses_and_resumes() {
    let (sim, clock) = engine();
    let running = Running::on(&sim, clock, StateDir::default());
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s.sock");
    let (statuses, path) = (Arc::clone(&running.statuses), socket.clone());
    tokio::spawn(async move { composed_api::serve_unix(statuses, &path).await });
    running.wants("web:1", "").await;
    running.until(|status| status.live > 0).await;
    let said = async |words: &[&str], on: bool| {
        let begin = ["composed", "--socket", socket.to_str().unwrap()];
        let cli = Cli::try_parse_from(begin.iter().chain(words)).unwrap();
        let (CliCommand::Pause(args) | CliCommand::Resume(args)) = cli.verb else { panic!("pause") };
        status::pause(&args, on, &cli.common).await.unwrap()
    };
    assert_eq!(said(&["pause"], true).await, ExitCode::SUCCESS);
    running.until(is_paused).await;
    assert_eq!(said(&["pause"], true).await, ExitCode::SUCCESS, "all of them are");
    assert_eq!(said(&["pause", "web"], true).await, ExitCode::from(1), "it is already");
    assert_eq!(said(&["resume", "nobody"], false).await, ExitCode::from(1));
    assert_eq!(said(&["resume", "shop/web"], false).await, ExitCode::SUCCESS);
    running.until(|status| !is_paused(status)).await;
    running.end().await;
}

/// A command that was answered is kept whatever comes next, and is carried out once. `MOMENTS=n` tries n of them.
#[tokio::test(start_paused = true)]
async fn what_was_answered_outlives_a_crash_at_any_moment() {
    let moments = std::env::var("MOMENTS").map_or(15, |text| text.parse().unwrap());
    for moment in 0..moments {
        let (sim, clock) = engine();
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let running = Running::on(&sim, clock, state.clone());
        running.wants("web:1", "").await;
        let one = running.converged("web:1").await;
        running.wants("web:2", "").await;
        running.converged("web:2").await;
        match moment % 3 {
            0 => drop(pause(&running, true).await.unwrap()),
            1 => drop(running.undo(None).await.unwrap()),
            _ => drop(roll_out(&running).await.unwrap()),
        }
        // So many steps of the loop later.
        for _ in 0..moment / 3 {
            tokio::task::yield_now().await;
        }
        running.crash().await;

        let running = Running::on(&sim, clock, state);
        running.wants("web:2", "").await;
        match moment % 3 {
            0 => drop(running.until(is_paused).await),
            1 => {
                let back = |status: &ServiceStatus| {
                    status
                        .instances
                        .iter()
                        .filter(|one_of| one_of.revision == one && one_of.phase == ReplicaPhase::Available)
                        .count()
                        == 2
                };
                running.until(back).await;
            }
            _ => {
                let again = |status: &ServiceStatus| {
                    status.revision.as_str().ends_with("-1") && convergence(status) == Convergence::Converged
                };
                running.until(again).await;
                tokio::time::sleep(Duration::from_secs(90)).await;
                let status = running.statuses.status(&web()).unwrap();
                assert!(status.revision.as_str().ends_with("-1"), "once: {}", status.revision);
            }
        }
        running.end().await;
    }
}

async fn roll_out(running: &Running) -> Result<String, String> {
    let (answer, answered) = oneshot::channel();
    let options = composed_core::model::RolloutOptions::default();
    running.statuses.commands.submit(composed_status::commands::RollOut { service: web(), options, answer });
    tokio::time::timeout(Duration::from_secs(5), answered).await.unwrap().unwrap()
}
