//! A command that converges once, on the simulated engine, its time stopped: what a person has just asked for waits for nobody's
//! second thoughts.

use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_core::model::ServiceName;
use composed_core::plan::MISSING_GRACE;
use composed_source::files::Reading;
use tokio::time::Instant;

use crate::undo::{Running, engine, web};

/// Service files of these names.
fn reading(names: &[&str], once: bool) -> Reading {
    let document = |name: &&str| {
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: web:1\n"
        );
        (format!("{name}.yaml"), Ok(text.into_bytes().into()))
    };
    Reading { files: names.iter().map(document).collect(), once, ..Reading::default() }
}

/// How long a service without a file stays, by a controller that watches, or by a command that converges once.
async fn stays(once: bool) -> Duration {
    let (sim, clock) = engine();
    let dir = tempfile::tempdir().unwrap();
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    running.readings.send(reading(&["web", "db", "cache"], false)).await.unwrap();
    running.until(|status| convergence(status) == Convergence::Converged).await;
    let db = ServiceName::new("shop", "db");
    let there = |running: &Running| running.statuses.status(&db).is_some();
    assert!(there(&running));
    running.end().await;
    let running = Running::on(&sim, clock, StateDir::open(dir.path()).unwrap());
    let began = Instant::now();
    running.readings.send(reading(&["web", "cache"], once)).await.unwrap();
    let mut version = running.statuses.version();
    let gone = tokio::time::timeout(Duration::from_mins(5), async {
        let mut was_there = false;
        while !was_there || there(&running) {
            version.changed().await.unwrap();
            was_there |= there(&running);
        }
    });
    gone.await.unwrap();
    let took = began.elapsed();
    assert!(running.statuses.status(&web()).is_some());
    running.end().await;
    took
}

#[tokio::test(start_paused = true)]
async fn a_removal_that_is_asked_for_once_does_not_wait_for_its_file() {
    let watched = stays(false).await;
    assert!(watched >= MISSING_GRACE, "an editor may have it in its hands: {watched:?}");
    let once = stays(true).await;
    assert!(once < MISSING_GRACE, "{once:?}");
}
