//! How a pass ended, and when its key is due again.

use std::time::Duration;

use composed_core::engine::EngineError;
use tokio::time::Instant;

/// How one key's pass ended.
pub(super) enum Next {
    /// Look again then, or when something happens.
    At(Option<Instant>),
    /// Nothing could be decided: look again then.
    Again(Instant),
    /// It failed: back off, beginning with this wait.
    Failed(Duration),
}

/// Everything is looked at again after so long, whatever the events said.
pub(super) const RESYNC: Duration = Duration::from_mins(1);
/// The first wait after an engine that did not answer or refused, and after a world that had changed meanwhile.
pub(super) const BACK_OFF: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// When a key is due again after a pass.
pub(super) fn next(error: Option<&EngineError>, acted: bool, wake_at: Option<Instant>) -> Next {
    match error {
        Some(EngineError::Unavailable(_) | EngineError::ServerError(_) | EngineError::Rejected { .. }) => {
            Next::Failed(BACK_OFF)
        }
        Some(EngineError::Stale(_)) => Next::Failed(LOOK_AGAIN),
        None if acted => Next::At(Some(Instant::now())),
        None => Next::At(wake_at),
    }
}
