//! Every replica is in exactly one phase: derived from what is seen, never stored.

use jiff::Timestamp;

use crate::model::{Health, Probe, Replica, State};

use super::Scene;

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// On its way to being available; the text says what is missing.
    Pending(String),
    /// Ready for `min_ready` without a break or restart.
    Available,
    /// A one-shot that ended well.
    Completed,
    /// Runs, and will not become available by waiting.
    Failed(Fault),
    /// Out of traffic, on its way out.
    Draining,
    /// It does not run.
    Exited,
    /// The last failed replica, stopped, kept for looking at.
    Kept,
}

/// Why a running replica is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Docker's healthcheck says so.
    Unhealthy,
    /// No verdict by the time the healthcheck's own arithmetic allows.
    Late,
    /// Paused by hand.
    Paused,
}

/// The phase of `replica`, and when time alone will change it.
pub fn phase(scene: &Scene<'_>, replica: &Replica) -> (Phase, Option<Timestamp>) {
    if replica.name == replica.service.kept_container() && !replica.state.is_live() {
        return (Phase::Kept, None);
    }
    if scene.memory.withdrawn.contains_key(&replica.id) || replica.state == State::Removing {
        return (Phase::Draining, None);
    }
    match replica.state {
        State::Exited(0) if scene.desired.one_shot => (Phase::Completed, None),
        State::Exited(_) | State::Dead => (Phase::Exited, None),
        State::Paused => (Phase::Failed(Fault::Paused), None),
        State::Created => (Phase::Pending("to start".to_owned()), None),
        State::Restarting => (Phase::Pending("to run again after its restart".to_owned()), None),
        State::Removing => (Phase::Draining, None),
        State::Running => running(scene, replica),
    }
}

fn running(scene: &Scene<'_>, replica: &Replica) -> (Phase, Option<Timestamp>) {
    let (policy, now) = (scene.policy, scene.now);
    let Some(sighting) = scene.memory.sightings.get(&replica.id) else {
        return (Phase::Pending("to be seen running".to_owned()), None);
    };
    if replica.health == Health::Unhealthy {
        return (Phase::Failed(Fault::Unhealthy), None);
    }
    if let Some(since) = sighting.ready_since {
        let available_at = since + policy.min_ready;
        return if now >= available_at {
            (Phase::Available, None)
        } else {
            (Phase::Pending(format!("to stay ready for {:?}", policy.min_ready)), Some(available_at))
        };
    }
    if replica.health == Health::Starting {
        let deadline = policy.health_deadline.map(|deadline| sighting.running_since + deadline);
        return match deadline {
            Some(deadline) if now >= deadline => (Phase::Failed(Fault::Late), None),
            _ => (Phase::Pending("to become healthy".to_owned()), deadline),
        };
    }
    match &replica.probe {
        Probe::Failing(seen) => (Phase::Pending(format!("to pass its readiness probe ({seen})")), None),
        Probe::None | Probe::Passing => (Phase::Pending("to be ready".to_owned()), None),
    }
}
