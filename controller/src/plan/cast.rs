//! Everybody's part: each replica of a service in exactly one place, seen from the revision that is the goal.

use jiff::Timestamp;

use crate::model::{Replica, State};

use super::Scene;
use super::action::Target;
use super::phase::{Phase, phase, revocable};
use super::policy::Policy;
use super::shared;
use super::target::failed;

/// A replica with its phase.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The replica.
    pub replica: &'a Replica,
    /// Its phase.
    pub phase: Phase,
}

impl<'a> Member<'a> {
    /// A replica that leaves whatever its phase.
    pub fn leaving(replica: &'a Replica) -> Self {
        Self { replica, phase: Phase::Draining }
    }

    /// Whether it counts as available.
    pub fn available(&self) -> bool {
        matches!(self.phase, Phase::Available | Phase::Completed)
    }

    /// How much would be lost with it.
    fn worth(&self) -> u8 {
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
pub struct Cast<'a> {
    /// Sound replicas of the goal's revision, at most as many as wanted, the best first.
    pub keepers: Vec<Member<'a>>,
    /// Live replicas that shall go: other revisions, failed ones, surplus ones. Those whose loss costs least first.
    pub leavers: Vec<Member<'a>>,
    /// Out of traffic, of the goal's revision and sound: may be taken back instead of making new ones.
    pub revocable: Vec<Member<'a>>,
    /// Out of traffic or without a process, to be taken away.
    pub leaving: Vec<Member<'a>>,
    /// One-shots of other revisions that have ended well: they stay until their successors have, too.
    pub finished: Vec<Member<'a>>,
    /// Kept for looking at.
    pub kept: Vec<Member<'a>>,
    /// When time alone changes a part.
    pub wake_at: Option<Timestamp>,
}

impl<'a> Cast<'a> {
    /// Gives every replica its part, with `revision` as the goal.
    pub fn of(scene: &Scene<'a>, revision: &str) -> Self {
        let mut cast = Self::default();
        let given_up = failed(scene.desired, scene.memory).map(|failure| failure.revision.as_str());
        let given_up = given_up.filter(|failed| *failed != revision);
        let goes_on = |replica: &Replica| replica.revision == revision && !shared::outlives(scene, replica);
        for replica in &scene.observed.replicas {
            let (phase, changes_at) = phase(scene, replica);
            cast.wake_at = earliest(cast.wake_at, changes_at);
            let member = Member { replica, phase };
            match member.phase {
                Phase::Kept => cast.kept.push(member),
                Phase::Draining if goes_on(replica) && revocable(scene, replica) => cast.revocable.push(member),
                Phase::Draining | Phase::Exited => cast.leaving.push(member),
                _ if shared::goes_along(scene, replica) || shared::cannot_start(replica) => cast.leaving.push(member),
                // Given up and of no use: nothing is lost with it.
                Phase::Failed(_) | Phase::Pending(_) if given_up == Some(replica.revision.as_str()) => {
                    cast.leaving.push(member);
                }
                Phase::Failed(_) => cast.leavers.push(member),
                // Made for a revision that is no longer the goal, or beside one that will not stay, and never started: nothing
                // to lose.
                Phase::Pending(_) if replica.state == State::Created && !goes_on(replica) => {
                    cast.leaving.push(member);
                }
                Phase::Completed if replica.revision != revision => cast.finished.push(member),
                _ if goes_on(replica) => cast.keepers.push(member),
                _ => cast.leavers.push(member),
            }
        }
        cast.keepers.sort_by_key(|m| (!m.available(), !m.started(), m.replica.number));
        let surplus = cast.keepers.split_off(cast.keepers.len().min(scene.policy.replicas as usize));
        let (idle, live): (Vec<_>, Vec<_>) = surplus.into_iter().partition(|m| !m.started());
        cast.leaving.extend(idle);
        cast.leavers.extend(live);
        if cast.complete(scene.policy) {
            cast.leaving.append(&mut cast.finished);
        }
        let mut leavers = std::mem::take(&mut cast.leavers);
        leavers.sort_by_key(|m| (m.worth(), !shared::is_awaited(&cast, m), std::cmp::Reverse(m.replica.number)));
        Self { leavers, ..cast }
    }

    /// Available replicas in traffic.
    pub fn available(&self) -> usize {
        self.keepers.iter().chain(&self.leavers).filter(|m| m.available()).count()
    }

    /// Started replicas that the rollout moves.
    pub fn started(&self) -> usize {
        self.keepers.iter().chain(&self.leavers).filter(|m| m.started()).count()
    }

    /// Started replicas in traffic: what the ceiling counts. One that is given up counts until it is withdrawn.
    pub fn in_traffic(&self) -> usize {
        let given_up = self.leaving.iter().filter(|m| m.started() && m.phase != Phase::Draining).count();
        self.started() + given_up
    }

    /// Replicas on their way out that still run.
    pub fn draining(&self) -> usize {
        let draining = self.leaving.iter().filter(|m| m.started() && m.phase == Phase::Draining).count();
        draining + self.revocable.len()
    }

    /// All replicas wanted are there and available, and nobody else is in traffic.
    pub fn complete(&self, policy: &Policy) -> bool {
        self.keepers.len() == policy.replicas as usize
            && self.keepers.iter().all(Member::available)
            && self.leavers.is_empty()
    }
}

/// The earlier of two moments, where there are any.
pub fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}
