//! How long to wait after failures in a row: capped, growing, with a jitter that is the same for the same service and
//! count, so that a plan stays a function of its arguments.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use crd_schema::status::Reason;
use jiff::Timestamp;

use crate::model::Trouble;

/// The longest wait (Kubernetes' `CrashLoopBackOff`).
pub const CAP: Duration = Duration::from_mins(5);
/// Failures within the window of `Trouble` after which only the longest wait is left (doco-cd: 5 in 300 s).
pub const FLAP_LIMIT: u32 = 5;
const FIRST: Duration = Duration::from_secs(1);

/// The wait after `count` failures in a row.
pub fn delay(count: u32, seed: u64) -> Duration {
    if count > FLAP_LIMIT {
        return CAP;
    }
    let builder = ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_factor(2.0)
        .with_max_delay(CAP)
        .without_max_times()
        .with_jitter_seed(seed)
        .with_jitter();
    let nth = count.saturating_sub(1) as usize;
    builder.build().nth(nth).unwrap_or(CAP).min(CAP)
}

/// When the next attempt may be made. The first end of a replica is mended at once; a refusal of the engine is not
/// worth repeating at once.
pub fn not_before(trouble: &Trouble, seed: u64) -> Timestamp {
    let first_end = trouble.count <= 1 && matches!(trouble.reason, Reason::Exited | Reason::Unhealthy);
    if first_end { trouble.last_at } else { trouble.last_at + delay(trouble.count, seed) }
}
