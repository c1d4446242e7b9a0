//! The passes under way: one slot for each key. One that takes long gives its place to another and goes on, so that what is
//! slow delays nobody.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use composed_core::model::Key;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use super::outcome::{BACK_OFF, Next};

/// So many passes are begun side by side.
const SIDE_BY_SIDE: usize = 64;
/// One that has taken so long does not count among them any more.
const LONG: Duration = Duration::from_secs(1);
/// No more are under way at all.
const MOST: usize = 1024;

/// The slots of one loop.
#[derive(Default)]
pub(super) struct Slots {
    passes: JoinSet<(Key, Next)>,
    keys: HashMap<Id, (Key, u64)>,
    /// Those that have just been begun, in that order.
    young: BTreeMap<u64, Instant>,
    begun: u64,
}

impl Slots {
    /// How many may be begun now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        while let Some(first) = self.young.first_entry().filter(|first| *first.get() + LONG <= now) {
            first.remove();
        }
        SIDE_BY_SIDE.saturating_sub(self.young.len()).min(MOST.saturating_sub(self.keys.len()))
    }

    /// When one that is due at `due` may be begun; `None`: when another has ended.
    pub(super) fn begins(&mut self, due: Instant, now: Instant) -> Option<Instant> {
        if self.room(now) > 0 {
            return Some(due);
        }
        let first = self.young.first_key_value().map(|(_, begun)| *begun + LONG);
        first.filter(|_| self.keys.len() < MOST).map(|at| at.max(due))
    }

    /// Begins the pass of a key.
    pub(super) fn begin(&mut self, key: Key, now: Instant, pass: impl Future<Output = Next> + Send + 'static) {
        self.begun += 1;
        self.young.insert(self.begun, now);
        let of = key.clone();
        let task = self.passes.spawn(async move { (of, pass.await) });
        self.keys.insert(task.id(), (key, self.begun));
    }

    /// The next pass that ends; never, if there is none. One that panicked is a bug in here: it is said, and its key comes
    /// again.
    pub(super) async fn ended(&mut self) -> (Key, Next) {
        loop {
            let (id, next) = match self.passes.join_next_with_id().await {
                None => return std::future::pending().await,
                Some(Ok((id, (_, next)))) => (id, next),
                Some(Err(error)) => {
                    tracing::error!(%error, "a pass ended in the middle; this is a bug in composed, please report it");
                    (error.id(), Next::Failed(BACK_OFF))
                }
            };
            if let Some((key, number)) = self.keys.remove(&id) {
                self.young.remove(&number);
                return (key, next);
            }
        }
    }

    /// Lets those under way end for at most so long, and ends them then: whoever comes next must not meet one that is still
    /// at work.
    pub(super) async fn end(mut self, within: Duration) {
        drop(tokio::time::timeout(within, async { while self.passes.join_next().await.is_some() {} }).await);
        self.passes.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::Project(number.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_long_makes_room_for_others() {
        let mut slots = Slots::default();
        let begin = Instant::now();
        for number in 0..SIDE_BY_SIDE {
            assert_eq!(slots.begins(begin, begin), Some(begin));
            slots.begin(key(number), begin, std::future::pending());
        }
        assert_eq!(slots.room(begin), 0);
        assert_eq!(slots.begins(begin, begin), Some(begin + LONG));
        assert_eq!(slots.room(begin + LONG), SIDE_BY_SIDE);
        for number in SIDE_BY_SIDE..MOST {
            slots.begin(key(number), begin, std::future::pending());
        }
        assert_eq!(slots.begins(begin, begin + LONG), None, "there is a bound");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_panics_gives_its_key_back() {
        let mut slots = Slots::default();
        let now = Instant::now();
        slots.begin(key(1), now, async { panic!("on purpose") });
        let (ended, next) = slots.ended().await;
        assert!(ended == key(1) && matches!(next, Next::Failed(_)));
        assert_eq!(slots.room(now), SIDE_BY_SIDE);
    }
}
