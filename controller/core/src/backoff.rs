//! How long to wait before something that failed is tried again: longer after each failure in a row, up to a longest wait.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

/// After so many doublings any wait is the longest.
const MAX_DOUBLINGS: usize = 64;

/// Waits that double with each failure in a row.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The wait after the first failure.
    pub first: Duration,
    /// The longest wait, without its jitter.
    pub longest: Duration,
    /// What is added, so that many that failed together are not tried again together.
    pub jitter: Jitter,
}

/// Up to the length of a wait, added to it.
#[derive(Clone, Copy, Debug)]
pub enum Jitter {
    /// Nothing.
    None,
    /// Another one each time.
    Random,
    /// The same one for the same seed and failure.
    Seeded(u64),
}

impl Backoff {
    /// The wait after so many failures in a row; after none it is the first.
    pub fn after(self, failures: usize) -> Duration {
        self.waits().nth(failures.saturating_sub(1).min(MAX_DOUBLINGS)).unwrap_or(self.longest)
    }

    /// The waits after the first failure in a row, the second, and so on without an end.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_factor(2.0)
            .with_max_delay(self.longest)
            .without_max_times();
        match self.jitter {
            Jitter::None => builder,
            Jitter::Random => builder.with_jitter(),
            Jitter::Seeded(seed) => builder.with_jitter_seed(seed).with_jitter(),
        }
        .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let of = |jitter| Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(5), jitter };
        let seconds = [1, 2, 4, 5, 5].map(Duration::from_secs);
        assert_eq!(of(Jitter::None).waits().take(5).collect::<Vec<_>>(), seconds);
        assert_eq!([0, 1, 3, 1000].map(|failures| of(Jitter::None).after(failures).as_secs()), [1, 1, 4, 5]);
        for jitter in [Jitter::Random, Jitter::Seeded(7)] {
            for (wait, least) in of(jitter).waits().zip(seconds) {
                assert!(wait >= least && wait <= 2 * least, "{jitter:?}: {wait:?}");
            }
        }
        assert_eq!(of(Jitter::Seeded(7)).after(3), of(Jitter::Seeded(7)).after(3));
    }
}
