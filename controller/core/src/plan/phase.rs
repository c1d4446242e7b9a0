//! Every replica is in exactly one phase: derived from what is seen, never stored.

use crd_schema::RestartPolicy;
use jiff::Timestamp;

use super::scene::Scene;
use crate::model::{Ending, Health, PostStartState, Probe, Replica, State, describe_unhealthy, ending};

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// On its way to being available; the text says what is missing.
    Pending(String),
    /// Ready for `min_ready` without a break or restart, and shown; not everybody who sends requests knows it yet.
    Joining(String),
    /// Ready for `min_ready` without a break or restart, and known to those who send requests.
    Available,
    /// A one-shot that ended well.
    Completed,
    /// Runs, and will not become available by waiting.
    Failed(ReplicaFault),
    /// Out of traffic, on its way out.
    Draining,
    /// It does not run.
    Exited,
    /// It has failed, and its restart policy has no further run for it.
    Spent,
    /// The last failed replica, stopped, kept for looking at.
    Retained,
}

/// Why a running replica is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaFault {
    /// Docker's healthcheck says so.
    Unhealthy,
    /// No verdict by the time the healthcheck's own arithmetic allows.
    HealthTimeout,
    /// Paused by hand.
    Paused,
    /// A post-start hook failed.
    PostStart,
    /// A namespace that it had joined has ended.
    LostNamespace,
}

/// The phase of `replica`, and when time alone will change it.
pub fn phase(scene: &Scene<'_>, replica: &Replica) -> (Phase, Option<Timestamp>) {
    if replica.name == replica.service.kept_container() && !replica.state.is_live() {
        return (Phase::Retained, None);
    }
    if scene.memory.replicas.draining.contains_key(&replica.id) || replica.state == State::Removing {
        return (Phase::Draining, None);
    }
    match replica.state {
        State::Exited(_) | State::Dead => (ended(scene, replica), None),
        State::Paused => (Phase::Failed(ReplicaFault::Paused), None),
        State::Created => (Phase::Pending("to start".to_owned()), None),
        State::Restarting => (Phase::Pending("to run again after its restart".to_owned()), None),
        State::Removing => (Phase::Draining, None),
        State::Running => running(scene, replica),
    }
}

fn ended(scene: &Scene<'_>, replica: &Replica) -> Phase {
    match ending(replica, scene.spec_of(&replica.revision), scene.desired.one_shot) {
        Some(Ending::Completed) => Phase::Completed,
        Some(Ending::Spent) => Phase::Spent,
        Some(Ending::Again) if scene.memory.has_no_run_left(&replica.revision, scene.policy.replicas) => Phase::Spent,
        Some(Ending::Again) | None => Phase::Exited,
    }
}

/// Whether a withdrawn replica could serve again at once: it would be available but for the withdrawal, and nothing was
/// begun that cannot be undone.
pub fn cancellable(scene: &Scene<'_>, replica: &Replica) -> bool {
    // Its policy may have been switched off by a process whose memory is lost.
    let Some(record) = scene.memory.record(&replica.revision) else { return false };
    let restarts = record.spec.engine_restart().is_some_and(|policy| policy != RestartPolicy::No);
    scene.memory.process.cancellable.contains(&replica.id)
        && replica.restarts == restarts
        && replica.state == State::Running
        && replica.busy_with.is_none()
        && !replica.pre_stop_done
        && matches!(running(scene, replica).0, Phase::Available | Phase::Joining(_))
}

fn running(scene: &Scene<'_>, replica: &Replica) -> (Phase, Option<Timestamp>) {
    let (policy, now) = (scene.policy, scene.now);
    let Some(sighting) = scene.memory.process.observations.get(&replica.id) else {
        return (Phase::Pending("to be seen running".to_owned()), None);
    };
    if replica.lost_namespace() {
        return (Phase::Failed(ReplicaFault::LostNamespace), None);
    }
    if replica.health == Health::Unhealthy {
        let until = scene.memory.unhealthy_until(replica).filter(|until| now < *until);
        let pending = |_| {
            let why = describe_unhealthy(replica, Some(scene.spec_of(&replica.revision)));
            Phase::Pending(format!("to become healthy in time (for now it {why})"))
        };
        return (until.map_or(Phase::Failed(ReplicaFault::Unhealthy), pending), until);
    }
    match scene.memory.replicas.post_start.get(&replica.id) {
        Some(PostStartState::Failed(_) | PostStartState::Interrupted) => {
            return (Phase::Failed(ReplicaFault::PostStart), None);
        }
        Some(PostStartState::Due | PostStartState::Begun) => {
            return (Phase::Pending("to be done with its post_start".to_owned()), None);
        }
        Some(PostStartState::Done) | None => {}
    }
    if let Some(since) = sighting.ready_since {
        let available_at = since + policy.min_ready;
        return if now >= available_at {
            match replica.propagation.pending(now) {
                Some((who, until)) => (Phase::Joining(who.to_owned()), Some(until)),
                None => (Phase::Available, None),
            }
        } else {
            (Phase::Pending(format!("to stay ready for {:?}", policy.min_ready)), Some(available_at))
        };
    }
    if replica.health == Health::Starting {
        let starting_since = sighting.starting_since.unwrap_or(scene.now);
        let deadline = policy.health_deadline.map(|deadline| starting_since + deadline);
        return match deadline {
            Some(deadline) if now >= deadline => (Phase::Failed(ReplicaFault::HealthTimeout), None),
            _ => (Phase::Pending("to become healthy".to_owned()), deadline),
        };
    }
    match &replica.probe {
        Probe::Failing(seen) => (Phase::Pending(format!("to pass its readiness probe ({seen})")), None),
        Probe::Unasked => (Phase::Pending("to be asked by its readiness probe".to_owned()), None),
        Probe::None | Probe::Passing => (Phase::Pending("to be ready".to_owned()), None),
    }
}
