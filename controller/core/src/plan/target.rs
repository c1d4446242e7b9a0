//! Which revision the replicas shall have now: the desired one, or after its failure the last available one.

use std::sync::{Arc, LazyLock};

use crd_schema::{FailureAction, ImageId, Revision, ServiceSpec};

use super::scene::Scene;
use crate::model::{DesiredService, Replica, RevisionFailure, RevisionRecord, ServiceRecord, Undone};

/// The revision to move to.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal<'a> {
    /// Its name.
    pub revision: &'a Revision,
    /// The generation that new replicas are made for.
    pub generation: u64,
    /// What they are made of; unknown when the history of an earlier revision is lost: what runs of it is kept.
    pub spec: Option<&'a Arc<ServiceSpec>>,
    /// The engine's id of the image that they are made of, where new images are followed.
    pub image: Option<&'a ImageId>,
    /// How it came to be the goal.
    pub kind: GoalKind,
}

/// How a revision came to be the goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoalKind {
    /// It is what the document says.
    Desired,
    /// It is what the document says, it has failed, and there is nothing to go back to: keep trying, ever more slowly.
    Retry,
    /// It has failed, there is nothing to go back to, and nobody tries again: what serves stays, the rest of it goes.
    GivenUp,
    /// The last available one, after the desired one has failed.
    Rollback,
    /// The one that somebody has gone back to by hand.
    Undone,
    /// The last available one, until the desired one may begin.
    Held,
}

/// The revision of no replica.
static NOTHING: LazyLock<Revision> = LazyLock::new(Revision::default);

/// Why nothing is begun or changed, if somebody asked for that.
pub fn paused(desired: &DesiredService, memory: &ServiceRecord) -> Option<String> {
    if desired.spec.paused {
        return Some(format!("it is paused: {} says `paused: true`", desired.source));
    }
    memory.control.paused.map(|since| format!("it was paused by hand at {since}: `composed resume` ends that"))
}

/// The goal, or why everything stays as it is.
pub fn goal<'a>(scene: &Scene<'a>) -> Result<Goal<'a>, String> {
    let (desired, memory) = (scene.desired, scene.memory);
    let wanted = Goal {
        revision: &desired.revision,
        generation: memory.generation,
        spec: Some(&desired.spec),
        image: desired.image.as_ref(),
        kind: GoalKind::Desired,
    };
    if let Some(record) = undone_to(desired, memory) {
        return Ok(Goal { kind: GoalKind::Undone, ..goal_of(record) });
    }
    let Some(failure) = failed(desired, memory) else {
        return Ok(wanted);
    };
    if scene.policy.failure_action == FailureAction::Pause {
        return Err(format!(
            "revision {} has failed ({}) and failure_action is pause: change the document to go on",
            failure.revision, failure.message
        ));
    }
    if let Some(record) = memory.last_available(&failure.revision) {
        return Ok(goal_of(record));
    }
    // Whose history is lost may have been available: what runs of it is kept.
    let unknown = |replica: &&Replica| replica.state.is_live() && memory.record(&replica.revision).is_none();
    let others = scene.observed.replicas.iter().filter(unknown);
    if let Some(other) = others.max_by_key(|replica| (replica.generation, replica.number)) {
        let (revision, generation) = (&other.revision, other.generation);
        return Ok(Goal { revision, generation, spec: None, image: None, kind: GoalKind::Rollback });
    }
    if desired.once {
        return Ok(Goal { revision: &NOTHING, generation: 0, spec: None, image: None, kind: GoalKind::GivenUp });
    }
    Ok(Goal { kind: GoalKind::Retry, ..wanted })
}

/// What goes on as it is while nothing of the desired revision may be made.
pub fn last_available_goal<'a>(scene: &Scene<'a>) -> Option<Goal<'a>> {
    let record = scene.memory.last_available(&scene.desired.revision)?;
    Some(Goal { kind: GoalKind::Held, ..goal_of(record) })
}

/// An earlier revision as the goal.
fn goal_of(record: &RevisionRecord) -> Goal<'_> {
    Goal {
        revision: &record.revision,
        generation: record.generation,
        spec: Some(&record.spec),
        image: record.fixed_image(),
        kind: GoalKind::Rollback,
    }
}

impl GoalKind {
    /// Whether it is an earlier revision than the document asks for.
    pub fn is_earlier(self) -> bool {
        matches!(self, Self::GivenUp | Self::Rollback | Self::Undone | Self::Held)
    }
}

/// What somebody has gone back to by hand from the document as it is now.
fn undone_to<'a>(desired: &DesiredService, memory: &'a ServiceRecord) -> Option<&'a RevisionRecord> {
    undone(desired, memory).and_then(|_| memory.undone_to())
}

/// That somebody has given up by hand what the document as it is now asks for.
pub fn undone<'a>(desired: &DesiredService, memory: &'a ServiceRecord) -> Option<&'a Undone> {
    memory.undone().filter(|undone| undone.digest == desired.digest)
}

/// The failure of the document as it is now.
pub fn failed<'a>(desired: &DesiredService, memory: &'a ServiceRecord) -> Option<&'a RevisionFailure> {
    memory.revisions.failure.as_ref().filter(|failure| failure.digest == desired.digest)
}
