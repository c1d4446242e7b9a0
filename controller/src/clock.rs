//! The clock's one room: everything else is told the time.

use std::time::Instant;

use jiff::Timestamp;

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
    #[expect(clippy::disallowed_methods, reason = "this is the clock's room")]
    pub fn now(&self) -> Timestamp {
        self.start + self.since.elapsed()
    }
}
