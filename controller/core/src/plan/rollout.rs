//! The arithmetic of a rollout: how many may be created, started and withdrawn now. Any subset of what it allows keeps
//! `available >= floor` and `started <= ceiling`, whatever else happens meanwhile.

use super::policy::Policy;
use super::replica_sets::ReplicaSets;

/// What may happen now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Withdrawn replicas to take back.
    pub undo_drain: usize,
    /// New replicas to create.
    pub create: usize,
    /// Created replicas to start.
    pub start: usize,
    /// Leavers to withdraw, from the front.
    pub drain: usize,
}

/// The step that `cast` allows under `policy`.
///
/// ```text
/// 3 replicas, surge 1, unavailable 0 (floor 3, ceiling 4):
///   old 3 available                    -> create 1           (3 + 1 <= 4)
///   old 3 available, new 1 created     -> start 1
///   old 3 available, new 1 pending     -> nothing            (4 started, 3 available)
///   old 3 available, new 1 available   -> withdraw 1         (4 - 1 >= 3)
///   old 2 available, new 1 available   -> create 1           (3 + 1 <= 4; the withdrawn one no longer counts)
///   wanted again: old 2 available, old 1 withdrawn, new 1 available -> readmit 1 (3 + 1 <= 4), and then the new one goes
/// 1 replica, stop-first (surge 0, unavailable 1: floor 0, ceiling 1):
///   old 1 available                    -> create 1           (a standby, not started: proves that it can be made)
///   old 1 available, new 1 created     -> withdraw 1
///   old 1 draining,  new 1 created     -> nothing            (two may not run at once)
///   new 1 created                      -> start 1
/// 3 replicas, recreate (surge 0, unavailable 3: floor 0, ceiling 3):
///   old 3 available                    -> create 3           (standbys)
///   old 3 available, new 3 created     -> withdraw 3
///   old 1 draining,  new 3 created     -> nothing            (no two revisions at once)
///   new 3 created                      -> start 3
/// ```
pub fn step(sets: &ReplicaSets<'_>, policy: &Policy) -> Step {
    let wanted = policy.replicas as usize;
    let keepers = sets.current.len();
    let standby = sets.current.iter().filter(|m| !m.started()).filter(|m| !m.available()).count();
    let in_traffic = sets.in_traffic();
    // Where two may not run at once, the one that drains still holds the place.
    let occupied = if policy.stop_first { in_traffic + sets.draining() } else { in_traffic };
    let room = policy.ceiling().saturating_sub(occupied);
    // Without surge a successor is created, not started, before its predecessor goes: a create that fails costs nothing.
    let ahead = if policy.surge == 0 { policy.unavailable as usize } else { 0 };
    let missing = wanted.saturating_sub(keepers + sets.spent.len());
    // One that still runs is there sooner than any new one. It takes a place in traffic; the one to run in it has.
    let readmit = missing.min(sets.cancellable.len()).min(policy.ceiling().saturating_sub(in_traffic));
    let taken = if policy.stop_first { 0 } else { readmit };
    let create = (missing - readmit).min((room + ahead).saturating_sub(standby + taken));
    let start = standby.min(room.saturating_sub(taken));
    let start = if policy.recreate && sets.others > 0 { 0 } else { start };
    Step { undo_drain: readmit, create, start, drain: drains(sets, policy) }
}

fn drains(sets: &ReplicaSets<'_>, policy: &Policy) -> usize {
    let wanted = policy.replicas as usize;
    let floor = policy.floor();
    // Kubernetes: what is new and not available yet is not counted upon.
    let on_their_way = sets.current.iter().filter(|m| m.started() && !m.available()).count();
    let by_number = sets.started().saturating_sub(floor + on_their_way);
    // Nobody goes before a successor is at least created.
    let by_successor = (sets.current.len() + sets.to_replace.len()).saturating_sub(wanted);
    // The unavailable go first, so this leaves the floor: started - floor - on their way = unavailable leavers + available
    // ones beyond the floor.
    by_number.min(by_successor)
}
