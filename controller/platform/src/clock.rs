//! The clock's one room: everything else is told the time. It is tokio's clock, so that tests can stop it.

use jiff::Timestamp;
use tokio::time::Instant;

/// Wall time that never jumps: the system's clock when it was made, and from then on the monotonic one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Timestamp,
    since: Instant,
}

impl Clock {
    /// A clock that starts at the system's time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock's room")]
    pub fn system() -> Self {
        Self { start: Timestamp::now(), since: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }

    /// The wall's name for a moment of the runtime.
    pub fn timestamp(&self, at: Instant) -> Timestamp {
        match at.checked_duration_since(self.since) {
            Some(after) => self.start + after,
            None => self.start - self.since.duration_since(at),
        }
    }

    /// The runtime's name for `at`; a moment that has passed is now.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.since + std::time::Duration::try_from(at.duration_since(self.start)).unwrap_or_default()
    }

    /// Resolves at `at`, or never.
    pub async fn until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => tokio::time::sleep_until(self.instant(at)).await,
            None => std::future::pending().await,
        }
    }
}
