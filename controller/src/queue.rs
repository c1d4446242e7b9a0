//! The keys that are due: each at most once, never twice at the same time, the earliest deadline wins. Keys say who,
//! not what: the world is read again for each.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use composed_core::model::Key;
use tokio::time::Instant;

/// The longest wait after passes that ended in an error.
const CAP: Duration = Duration::from_mins(1);

/// A queue of keys on the runtime's clock.
#[derive(Debug, Default)]
pub struct Queue {
    due: BTreeSet<(Instant, Key)>,
    when: HashMap<Key, Instant>,
    // Keys in a pass; the moment at which one that was asked for meanwhile is due again.
    running: BTreeMap<Key, Option<Instant>>,
    failures: HashMap<Key, usize>,
}

impl Queue {
    /// Asks for `key` at `at`, or earlier if that was asked before. During its own pass it waits for the end of it.
    pub fn push(&mut self, key: Key, at: Instant) {
        if let Some(again) = self.running.get_mut(&key) {
            *again = Some(again.map_or(at, |before| before.min(at)));
            return;
        }
        if let Some(before) = self.when.get(&key).copied() {
            if before <= at {
                return;
            }
            self.due.remove(&(before, key.clone()));
        }
        self.when.insert(key.clone(), at);
        self.due.insert((at, key));
    }

    /// When the next key is due.
    pub fn next_at(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the keys that are due at `now`, at most so many, the longest due first; each must be given back with `done`.
    pub fn take(&mut self, now: Instant, most: usize) -> Vec<Key> {
        let mut keys = Vec::new();
        while keys.len() < most
            && let Some((at, key)) = self.due.pop_first()
        {
            if at > now {
                self.due.insert((at, key));
                break;
            }
            self.when.remove(&key);
            self.running.insert(key.clone(), None);
            keys.push(key);
        }
        keys
    }

    /// Ends the pass of `key`; `next` is when its plan wants to be looked at again.
    pub fn done(&mut self, key: &Key, next: Option<Instant>) {
        self.failures.remove(key);
        self.give_back(key, next);
    }

    /// Ends the pass of `key` with an error: it is due again after a backoff that begins with `first` and grows with each
    /// failure in a row.
    pub fn failed(&mut self, key: &Key, first: Duration, now: Instant) {
        let count = self.failures.entry(key.clone()).or_default();
        *count += 1;
        let wait = Backoff { first, longest: CAP, jitter: Jitter::Random }.after(*count);
        // An event may wake it earlier, and no earlier than the first wait.
        if let Some(again @ Some(_)) = self.running.get_mut(key) {
            *again = again.map(|at| at.max(now + first));
        }
        self.give_back(key, Some(now + wait));
    }

    fn give_back(&mut self, key: &Key, next: Option<Instant>) {
        let again = self.running.remove(key).flatten();
        for at in [again, next].into_iter().flatten() {
            self.push(key.clone(), at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = usize::MAX;
    const FIRST: Duration = Duration::from_millis(500);

    fn key(name: &str) -> Key {
        Key::Project(name.to_owned())
    }

    fn moments() -> (Instant, Instant, Instant) {
        let now = Instant::now();
        (now, now + Duration::from_secs(1), now + Duration::from_secs(2))
    }

    #[test]
    fn a_key_is_queued_once_and_the_earliest_moment_wins() {
        let (now, soon, later) = moments();
        let mut queue = Queue::default();
        queue.push(key("a"), later);
        queue.push(key("a"), soon);
        queue.push(key("a"), later);
        assert_eq!(queue.next_at(), Some(soon));
        assert!(queue.take(now, ALL).is_empty());
        assert_eq!(queue.take(later, ALL), vec![key("a")]);
        assert!(queue.take(later, ALL).is_empty());
    }

    #[test]
    fn a_key_asked_for_during_its_pass_comes_again_after_it() {
        let (now, soon, later) = moments();
        let mut queue = Queue::default();
        queue.push(key("a"), now);
        assert_eq!(queue.take(now, ALL), vec![key("a")]);
        queue.push(key("a"), soon);
        assert!(queue.take(later, ALL).is_empty(), "never twice at the same time");
        queue.done(&key("a"), None);
        assert_eq!(queue.take(later, ALL), vec![key("a")]);
    }

    #[test]
    fn failures_in_a_row_wait_longer_and_longer() {
        let (now, ..) = moments();
        let mut queue = Queue::default();
        queue.push(key("a"), now);
        let mut waits = Vec::new();
        for _ in 0..12 {
            let at = queue.next_at().unwrap();
            waits.push(at.duration_since(now));
            queue.take(at, ALL);
            queue.failed(&key("a"), FIRST, now);
        }
        assert!(waits[1] >= FIRST && waits[1] <= 2 * FIRST, "{waits:?}");
        assert!(waits[4] > waits[1], "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 2 * CAP), "{waits:?}");
        queue.take(now + 2 * CAP, ALL);
        queue.done(&key("a"), Some(now));
        queue.take(now, ALL);
        queue.failed(&key("a"), FIRST, now);
        assert!(queue.next_at().unwrap() <= now + 2 * FIRST, "success forgets the failures");
    }
}
