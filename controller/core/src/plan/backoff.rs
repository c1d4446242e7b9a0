//! How long to wait after failures in a row: capped, growing, with a jitter that is the same for the same service and
//! count, so that a plan stays a function of its arguments.

use std::time::Duration;

use crd_schema::status::Reason;
use jiff::Timestamp;

use crate::backoff::{Backoff, Jitter};
use crate::model::FailureStreak;

/// The longest wait (Kubernetes' `CrashLoopBackOff`).
pub const MAX_DELAY: Duration = Duration::from_mins(5);
/// Failures within the window of `Trouble` after which only the longest wait is left (doco-cd: 5 in 300 s).
pub const FLAP_LIMIT: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_secs(1);

/// The wait after `count` failures in a row.
pub fn delay(count: u32, seed: u64) -> Duration {
    if count > FLAP_LIMIT {
        return MAX_DELAY;
    }
    let backoff = Backoff { first: FIRST_DELAY, longest: MAX_DELAY, jitter: Jitter::Seeded(seed) };
    backoff.after(count as usize).min(MAX_DELAY)
}

/// When the next attempt may be made. The first end of a replica is mended at once; a refusal of the engine is not
/// worth repeating at once. After an end of a replica, a `delay` that the document asks for takes the place of the growing one.
pub fn not_before(trouble: &FailureStreak, asked: Option<Duration>, seed: u64) -> Timestamp {
    if let Some(asked) = asked.filter(|asked| !asked.is_zero() && trouble.reason == Reason::Exited) {
        return trouble.last_at + asked;
    }
    let first_end = trouble.count <= 1 && matches!(trouble.reason, Reason::Exited | Reason::Unhealthy);
    if first_end { trouble.last_at } else { trouble.last_at + delay(trouble.count, seed) }
}
