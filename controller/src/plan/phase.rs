//! Every replica is in exactly one phase: derived from what is seen, never stored.

use crd_schema::RestartPolicy;
use jiff::Timestamp;

use crate::model::{Health, PostStart, Probe, Replica, State};

use super::Scene;

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
    /// A post-start hook failed.
    PostStart,
    /// A namespace that it had joined has ended.
    Alone,
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

/// Whether a withdrawn replica could serve again at once: it would be available but for the withdrawal, and nothing was
/// begun that cannot be undone.
pub fn revocable(scene: &Scene<'_>, replica: &Replica) -> bool {
    // Its policy may have been switched off by a process whose memory is lost.
    let Some(record) = scene.memory.record(&replica.revision) else { return false };
    let restarts = record.spec.restart.is_some_and(|policy| policy != RestartPolicy::No);
    scene.memory.revocable.contains(&replica.id)
        && replica.restarts == restarts
        && replica.state == State::Running
        && replica.busy_with.is_none()
        && !replica.pre_stop_done
        && matches!(running(scene, replica).0, Phase::Available | Phase::Joining(_))
}

fn running(scene: &Scene<'_>, replica: &Replica) -> (Phase, Option<Timestamp>) {
    let (policy, now) = (scene.policy, scene.now);
    let Some(sighting) = scene.memory.sightings.get(&replica.id) else {
        return (Phase::Pending("to be seen running".to_owned()), None);
    };
    if replica.alone() {
        return (Phase::Failed(Fault::Alone), None);
    }
    if replica.health == Health::Unhealthy {
        return (Phase::Failed(Fault::Unhealthy), None);
    }
    match scene.memory.post_start.get(&replica.id) {
        Some(PostStart::Failed(_) | PostStart::Interrupted) => return (Phase::Failed(Fault::PostStart), None),
        Some(PostStart::Due | PostStart::Begun) => {
            return (Phase::Pending("to be done with its post_start".to_owned()), None);
        }
        Some(PostStart::Done) | None => {}
    }
    if let Some(since) = sighting.ready_since {
        let available_at = since + policy.min_ready;
        return if now >= available_at {
            match replica.rotation.pending(now) {
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
            Some(deadline) if now >= deadline => (Phase::Failed(Fault::Late), None),
            _ => (Phase::Pending("to become healthy".to_owned()), deadline),
        };
    }
    match &replica.probe {
        Probe::Failing(seen) => (Phase::Pending(format!("to pass its readiness probe ({seen})")), None),
        Probe::Unasked => (Phase::Pending("to be asked by its readiness probe".to_owned()), None),
        Probe::None | Probe::Passing => (Phase::Pending("to be ready".to_owned()), None),
    }
}
