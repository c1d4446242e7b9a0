//! Everybody's part: each replica of a service in exactly one place, seen from the revision that is the goal.

use crd_schema::Revision;
use jiff::Timestamp;

use super::action::{Target, earliest};
use super::owners::{self, is_in};
use super::phase::{Phase, cancellable, phase};
use super::policy::Policy;
use super::scene::Scene;
use super::target::failed;
use crate::model::{Replica, State};

/// A replica with its phase.
#[derive(Clone, Debug)]
pub struct ClassifiedReplica<'a> {
    /// The replica.
    pub replica: &'a Replica,
    /// Its phase.
    pub phase: Phase,
}

impl<'a> ClassifiedReplica<'a> {
    /// A replica that leaves whatever its phase.
    pub fn terminating(replica: &'a Replica) -> Self {
        Self { replica, phase: Phase::Draining }
    }

    /// Whether it counts as available.
    pub fn available(&self) -> bool {
        matches!(self.phase, Phase::Available | Phase::Completed)
    }

    /// How much would be lost with it.
    fn rank(&self) -> u8 {
        match self.phase {
            Phase::Available | Phase::Completed => 2,
            Phase::Pending(_) | Phase::Joining(_) => 1,
            _ => 0,
        }
    }

    /// Whether it has been started: a created one takes no room.
    pub fn started(&self) -> bool {
        self.replica.state.is_live()
    }

    /// It, as the object of an action.
    pub fn target(&self) -> Target {
        Target { id: self.replica.id.clone(), name: self.replica.name.clone() }
    }
}

/// The replicas of a service by the part they play.
#[derive(Clone, Debug, Default)]
pub struct ReplicaSets<'a> {
    /// Sound replicas of the goal's revision, at most as many as wanted, the best first.
    pub current: Vec<ClassifiedReplica<'a>>,
    /// Live replicas that shall go: other revisions, failed ones, surplus ones. Those whose loss costs least first.
    pub to_replace: Vec<ClassifiedReplica<'a>>,
    /// Out of traffic, of the goal's revision and sound: may be taken back instead of making new ones.
    pub cancellable: Vec<ClassifiedReplica<'a>>,
    /// Out of traffic or without a process, to be taken away.
    pub terminating: Vec<ClassifiedReplica<'a>>,
    /// One-shots of other revisions that have ended well: they stay until their successors have, too.
    pub completed: Vec<ClassifiedReplica<'a>>,
    /// Of the goal's revision, and failed for good: each has its place, and nothing is made in it.
    pub spent: Vec<ClassifiedReplica<'a>>,
    /// Kept for looking at.
    pub retained: Vec<ClassifiedReplica<'a>>,
    /// Those of other revisions that run, whatever their part.
    pub others: usize,
    /// When time alone changes a part.
    pub wake_at: Option<Timestamp>,
}

impl<'a> ReplicaSets<'a> {
    /// Gives every replica its part, with `revision` as the goal.
    pub fn of(scene: &Scene<'a>, revision: &Revision) -> Self {
        let mut sets = Self::default();
        let given_up = failed(scene.desired, scene.memory).map(|failure| &failure.revision);
        let given_up = given_up.filter(|failed| *failed != revision);
        let goes_on = |replica: &Replica| replica.revision == *revision && !owners::owner_is_replaced(scene, replica);
        let other = |replica: &&Replica| replica.revision != *revision && replica.state.is_live();
        sets.others = scene.observed.replicas.iter().filter(other).count();
        for replica in &scene.observed.replicas {
            let (phase, changes_at) = phase(scene, replica);
            sets.wake_at = earliest(sets.wake_at, changes_at);
            let member = ClassifiedReplica { replica, phase };
            match member.phase {
                Phase::Retained => sets.retained.push(member),
                Phase::Draining if goes_on(replica) && cancellable(scene, replica) => sets.cancellable.push(member),
                Phase::Spent if replica.revision == *revision => sets.spent.push(member),
                Phase::Draining | Phase::Exited | Phase::Spent => sets.terminating.push(member),
                _ if owners::terminates_with_owner(scene, replica) || owners::owner_has_gone(replica) => {
                    sets.terminating.push(member);
                }
                // Given up and of no use: nothing is lost with it.
                Phase::Failed(_) | Phase::Pending(_) if given_up == Some(&replica.revision) => {
                    sets.terminating.push(member);
                }
                Phase::Failed(_) => sets.to_replace.push(member),
                // Made for a revision that is no longer the goal, or beside one that will not stay, and never started: nothing
                // to lose.
                Phase::Pending(_) if replica.state == State::Created && !goes_on(replica) => {
                    sets.terminating.push(member);
                }
                Phase::Completed if replica.revision != *revision => sets.completed.push(member),
                _ if goes_on(replica) => sets.current.push(member),
                _ => sets.to_replace.push(member),
            }
        }
        sets.current.sort_by_key(|m| (!m.available(), !m.started(), m.replica.number));
        let places = (scene.policy.replicas as usize).saturating_sub(sets.current.len());
        sets.terminating.extend(sets.spent.split_off(sets.spent.len().min(places)));
        let surplus = sets.current.split_off(sets.current.len().min(scene.policy.replicas as usize));
        let (idle, live): (Vec<_>, Vec<_>) = surplus.into_iter().partition(|m| !m.started());
        sets.terminating.extend(idle);
        sets.to_replace.extend(live);
        if sets.complete(scene.policy) {
            sets.terminating.append(&mut sets.completed);
        }
        let mut to_replace = std::mem::take(&mut sets.to_replace);
        // Of those that serve alike, what has failed goes first.
        let stays = |m: &ClassifiedReplica<'_>| given_up != Some(&m.replica.revision);
        to_replace.sort_by_key(|m| (m.rank(), !is_awaited(&sets, m), stays(m), std::cmp::Reverse(m.replica.number)));
        Self { to_replace, ..sets }
    }

    /// Available replicas in traffic.
    pub fn available(&self) -> usize {
        self.current.iter().chain(&self.to_replace).filter(|m| m.available()).count()
    }

    /// Started replicas that the rollout moves.
    pub fn started(&self) -> usize {
        self.current.iter().chain(&self.to_replace).filter(|m| m.started()).count()
    }

    /// Started replicas in traffic: what the ceiling counts. One that is given up counts until it is withdrawn.
    pub fn in_traffic(&self) -> usize {
        let given_up = self.terminating.iter().filter(|m| m.started() && m.phase != Phase::Draining).count();
        self.started() + given_up
    }

    /// Replicas on their way out that still run.
    pub fn draining(&self) -> usize {
        let draining = self.terminating.iter().filter(|m| m.started() && m.phase == Phase::Draining).count();
        draining + self.cancellable.len()
    }

    /// All replicas wanted are there and available, and nobody else is in traffic.
    pub fn complete(&self, policy: &Policy) -> bool {
        self.current.len() == policy.replicas as usize
            && self.current.iter().all(ClassifiedReplica::available)
            && self.to_replace.is_empty()
    }
}

/// Whether the successor of `member` waits for its place.
fn is_awaited(sets: &ReplicaSets<'_>, member: &ClassifiedReplica<'_>) -> bool {
    let owners = &member.replica.joined;
    let waits = |keeper: &ClassifiedReplica<'_>| {
        !keeper.started() && owners.iter().any(|owner| is_in(keeper.replica, &owner.id))
    };
    sets.current.iter().any(waits)
}
