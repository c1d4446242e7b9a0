//! Which revision the replicas shall have now: the desired one, or after its failure the last available one.

use crd_schema::status::Reason;
use crd_schema::{FailureAction, ServiceSpec};

use crate::model::{DesiredService, Failure, Memory, RevisionRecord, follows};

use super::Scene;

/// The revision to move to.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal<'a> {
    /// Its name.
    pub revision: &'a str,
    /// The generation that new replicas are made for.
    pub generation: u64,
    /// What they are made of; unknown when the history of an earlier revision is lost: what runs of it is kept.
    pub spec: Option<&'a ServiceSpec>,
    /// The engine's id of the image that they are made of, where new images are followed.
    pub image: Option<&'a str>,
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
    /// The last available one, or the one that somebody named, after the desired one has failed or was undone.
    Rollback,
    /// The last available one, until the desired one may begin.
    Held,
}

/// Why nothing is begun or changed, if somebody asked for that.
pub fn paused(desired: &DesiredService, memory: &Memory) -> Option<String> {
    if desired.spec.paused {
        return Some(format!("it is paused: {} says `paused: true`", desired.source));
    }
    memory.paused.map(|since| format!("it was paused by hand at {since}: `composed resume` ends that"))
}

/// The goal, or why everything stays as it is.
pub fn goal<'a>(scene: &Scene<'a>) -> Result<Goal<'a>, String> {
    let (desired, memory) = (scene.desired, scene.memory);
    let wanted = Goal {
        revision: &desired.revision,
        generation: memory.generation,
        spec: Some(&desired.spec),
        image: desired.image.as_deref(),
        kind: GoalKind::Desired,
    };
    let Some(failure) = failed(desired, memory) else {
        return Ok(wanted);
    };
    if scene.policy.failure_action == FailureAction::Pause && failure.reason != Reason::Undone {
        return Err(format!(
            "revision {} has failed ({}) and failure_action is pause: change the document to go on",
            failure.revision, failure.message
        ));
    }
    let told = failure.to.as_ref().and_then(|to| memory.record(to));
    if let Some(record) = told.or_else(|| memory.last_available(&failure.revision)) {
        return Ok(Goal {
            revision: &record.revision,
            generation: record.generation,
            spec: Some(&record.spec),
            image: image_of(record),
            kind: GoalKind::Rollback,
        });
    }
    let others = scene.observed.replicas.iter().filter(|r| r.state.is_live() && r.revision != failure.revision);
    if let Some(other) = others.max_by_key(|replica| (replica.generation, replica.number)) {
        // Never all available at once, yet it runs: better than what has failed. Its history may be lost; then what
        // runs of it is kept.
        let (revision, generation) = (other.revision.as_str(), other.generation);
        let record = memory.record(revision);
        let spec = record.map(|record| &record.spec);
        return Ok(Goal { revision, generation, spec, image: record.and_then(image_of), kind: GoalKind::Rollback });
    }
    Ok(Goal { kind: GoalKind::Retry, ..wanted })
}

/// What goes on as it is while nothing of the desired revision may be made.
pub fn before<'a>(scene: &Scene<'a>) -> Option<Goal<'a>> {
    let record = scene.memory.last_available(&scene.desired.revision)?;
    Some(Goal {
        revision: &record.revision,
        generation: record.generation,
        spec: Some(&record.spec),
        image: image_of(record),
        kind: GoalKind::Held,
    })
}

fn image_of(record: &RevisionRecord) -> Option<&str> {
    record.image.as_deref().filter(|_| follows(&record.spec))
}

/// The failure of the document as it is now.
pub fn failed<'a>(desired: &DesiredService, memory: &'a Memory) -> Option<&'a Failure> {
    memory.failure.as_ref().filter(|failure| failure.digest == desired.digest)
}
