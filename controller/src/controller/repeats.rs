//! Actions that succeed and are not seen: an engine that says yes and does something else, a name that means another thing to
//! it. No action on one object is repeated faster than its back-off, whatever wakes its key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use composed_core::model::Key;
use composed_core::plan::action::{Action, Plan, Verb};
use crd_schema::status::WaitReason;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::act::ActionResult;

/// How long one waits, longer with each repetition.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(250), longest: Duration::from_mins(1), jitter: Jitter::None };
/// What was done so often and is asked for again is told.
const TOLD: usize = 4;

/// What was done of the last plans, by key and by the action's own words.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<BTreeMap<Key, BTreeMap<String, Repeat>>>);

#[derive(Clone, Copy, Debug)]
struct Repeat {
    times: usize,
    next: Instant,
}

impl Repeats {
    /// Takes those actions out of a plan whose time has not come; when it comes. What is not planned any more has been seen.
    pub(super) fn hold_back(&self, key: &Key, plan: &mut Plan, now: Instant) -> Option<Instant> {
        let mut all = self.0.lock();
        let done = all.get_mut(key)?;
        let planned: BTreeSet<String> = plan.actions.iter().map(|action| action.verb.to_string()).collect();
        done.retain(|what, _| planned.contains(what));
        let held = |verb: &Verb| done.get(&verb.to_string()).map(|repeat| repeat.next).filter(|next| *next > now);
        let wake = plan.actions.iter().filter_map(|action| held(&action.verb)).min();
        let (held_back, left) = plan.actions.drain(..).partition(|action| held(&action.verb).is_some());
        plan.actions = left;
        for Action { verb, .. } in held_back {
            plan.wait(WaitReason::Observation, format!("the engine to show what `{verb}` has done"), None);
        }
        if done.is_empty() {
            all.remove(key);
        }
        wake
    }

    /// Notes what was done. Records of the loop itself are seen at once.
    pub(super) fn note(&self, key: &Key, results: &[ActionResult], now: Instant) {
        let mut all = self.0.lock();
        for result in results.iter().filter(|result| result.error.is_none() && result.action.verb.is_call()) {
            let done = all.entry(key.clone()).or_default();
            let repeat = done.entry(result.action.verb.to_string()).or_insert(Repeat { times: 0, next: now });
            repeat.times += 1;
            repeat.next = now + BACKOFF.after(repeat.times);
        }
    }

    /// What was done again and again and is not seen, in words.
    pub(super) fn unseen(&self, key: &Key) -> Option<String> {
        let all = self.0.lock();
        let (what, repeat) = all.get(key)?.iter().find(|(_, repeat)| repeat.times >= TOLD)?;
        Some(format!(
            "`{what}` has succeeded {} times, and the engine does not show what it was for: it is tried ever more slowly",
            repeat.times
        ))
    }

    /// The key is of no more interest.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }
}
