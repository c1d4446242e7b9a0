//! A state directory that takes nothing: it is told, nothing stops for it, and what could not be saved is saved later. On
//! the simulated engine, its time stopped.

use std::path::Path;
use std::time::Duration;

use composed::state::StateDir;
use composed_core::model::ServiceRecord;

use crate::undo::{Running, engine, web};

/// Waits until the controller says, or does not say any more, that its state directory takes nothing.
async fn until_told(running: &Running, told: bool) -> Option<String> {
    let mut version = running.statuses.version();
    let wait = async {
        while running.statuses.health().state.is_some() != told {
            version.changed().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_mins(10), wait).await.expect("in time");
    running.statuses.health().state
}

fn saved(root: &Path) -> ServiceRecord {
    StateDir::existing(root).load(&web())
}

#[tokio::test(start_paused = true)]
async fn a_state_directory_that_takes_nothing_is_told_and_stops_nothing() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let (root, away) = (dir.path().join("state"), dir.path().join("away"));
    let running = Running::on(&sim, clock, StateDir::open(&root).unwrap());
    running.wants("web:1", "").await;
    running.converged("web:1").await;
    assert_eq!(running.statuses.health().state, None);

    // As full, as read-only and as gone as can be, whoever runs this test.
    std::fs::rename(&root, &away).unwrap();
    std::fs::write(&root, "").unwrap();
    running.wants("web:2", "").await;
    running.converged("web:2").await;
    let why = until_told(&running, true).await.expect("it is told");
    assert!(why.contains("state directory") && why.contains("shop/web"), "{why}");
    let before = saved(&away);
    assert!(
        before.revisions.history.iter().all(|record| record.spec.image == "web:1"),
        "the rollout went on without it"
    );

    std::fs::remove_file(&root).unwrap();
    std::fs::rename(&away, &root).unwrap();
    until_told(&running, false).await;
    let after = saved(&root);
    assert!(
        after.revisions.history.iter().any(|record| record.spec.image == "web:2"),
        "what could not be saved is saved now"
    );
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_state_directory_that_takes_nothing_is_told_before_anything_is_to_be_saved() {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("state");
    let state = StateDir::open(&root).unwrap();
    std::fs::remove_dir(&root).unwrap();
    std::fs::write(&root, "").unwrap();
    let running = Running::on(&sim, clock, state);
    let why = until_told(&running, true).await.expect("it is told");
    assert!(why.contains("cannot be written"), "{why}");
    running.end().await;
}
