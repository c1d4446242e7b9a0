//! What must be true before a revision may go on: images, networks, dependencies, backoff. And the verdict: whether
//! it has failed.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crd_schema::status::Reason;
use crd_schema::{PullPolicy, ServiceSpec};
use jiff::Timestamp;

use crate::model::{ImageState, Observed, Outcome, PostStart, PullProgress, ServiceName};

use super::Scene;
use super::action::{Plan, Verb};
use super::backoff;
use super::canary;
use super::cast::{Cast, Member};
use super::hook;
use super::phase::{Fault, Phase};
use super::target::{Goal, GoalKind};

/// A pull under way is looked at so often.
pub(super) const PULL_LOOK: Duration = Duration::from_secs(1);

/// One attempt takes so long at least: a pull or a slow start.
pub(super) const ATTEMPT: Duration = Duration::from_mins(1);

/// Ends, restarts or refusals in a row after which a revision that was never available has failed.
pub const ATTEMPTS: u32 = 3;

/// Whether new replicas of the goal may be created now; what is missing is added to `plan`.
pub fn may_create(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>) -> bool {
    let (observed, memory, now) = (scene.observed, scene.memory, scene.now);
    let mut open = true;
    let refused = observed.refused.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    for missing in &observed.missing {
        plan.wait(format!("{missing} to be created{refused}"), None);
        open = false;
    }
    let proven = memory.record(goal.revision).is_some_and(|record| record.outcome == Outcome::Available);
    if !proven {
        // A front waits for its ports; that HAProxy looks at its configuration is in nobody's way, and saves time then.
        let checks = hook::due(scene, goal).is_some() && goal.spec.is_some_and(|spec| spec.generated.is_some());
        for (dependency, why) in &observed.unmet {
            plan.wait(format!("{dependency}: {why}"), None);
            open &= checks;
        }
    }
    if let Some(until) = backoff_until(scene, goal).filter(|until| now < *until) {
        plan.wait("the backoff after failures in a row".to_owned(), Some(until));
        open = false;
    }
    image_present(plan, scene, goal) && open
}

/// When the next attempt at the goal may be made, if it failed lately.
pub fn backoff_until(scene: &Scene<'_>, goal: &Goal<'_>) -> Option<Timestamp> {
    let trouble = scene.memory.trouble.as_ref().filter(|trouble| trouble.revision == goal.revision)?;
    Some(backoff::not_before(trouble, seed(scene.service())))
}

fn image_present(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>) -> bool {
    let Some(spec) = goal.spec else {
        plan.wait("a changed document: the history that tells how to make more of this revision is lost", None);
        return false;
    };
    let image = &spec.image;
    let policy = spec.pull_policy.unwrap_or(PullPolicy::Missing);
    let asked = scene.memory.pulled.as_deref() == Some(goal.revision);
    let new = !matches!(goal.kind, GoalKind::Rollback | GoalKind::Held);
    if let Some(id) = goal.image {
        let first_ask = policy == PullPolicy::Always && !asked && new;
        let of_tag = matches!(scene.observed.images.get(image), Some(ImageState::Present(here)) if here == id);
        let looked_at = scene.observed.images.get(id);
        if (of_tag || matches!(looked_at, Some(ImageState::Present(_)))) && !first_ask {
            return true;
        }
        if looked_at.is_none() && !first_ask {
            // That it is wanted is known since this look; the next one looks for it.
            plan.wait(format!("a look for image {id}"), Some(scene.now));
            return false;
        }
        let others = matches!(scene.observed.images.get(image), Some(ImageState::Present(_))) && !first_ask;
        if others || !new {
            // Of whatever the tag stands for by now nothing is made under this revision's name.
            let revision = goal.revision;
            plan.wait(format!("image {id} of revision {revision}, which is no longer on this host"), None);
            return false;
        }
    }
    is_here(plan, scene, spec, image, policy == PullPolicy::Always && !asked && new)
}

/// Whether an image is here; else it is fetched or waited for. With `anew`, it is fetched though it is.
pub(super) fn is_here(plan: &mut Plan, scene: &Scene<'_>, spec: &ServiceSpec, image: &str, anew: bool) -> bool {
    let policy = spec.pull_policy.unwrap_or(PullPolicy::Missing);
    let pull = Verb::Pull { image: image.to_owned(), platform: spec.platform.clone(), digest: None };
    match scene.observed.images.get(image).unwrap_or(&ImageState::Absent) {
        ImageState::Pulling(_) => {
            let far = scene.observed.facts.progress.filter(|_| *image == scene.desired.spec.image);
            plan.wait(format!("image {image} to be pulled{}", far.map_or_else(String::new, so_far)), None);
            // The engine's word that it is here may be lost.
            plan.wake(scene.now + PULL_LOOK);
        }
        ImageState::Present(_) if anew => plan.act(pull, "pull_policy is always"),
        ImageState::Present(_) => return true,
        ImageState::Absent if policy == PullPolicy::Never => {
            plan.wait(format!("image {image} to appear on this host (pull_policy is never)"), None);
        }
        ImageState::Absent => plan.act(pull, "the image is not on this host"),
        ImageState::PullFailed { at, message, count } => {
            let retry = *at + backoff::delay(*count, seed(scene.service()));
            if scene.now >= retry {
                plan.act(pull, "the last pull failed");
            } else {
                plan.wait(format!("the next try to pull {image}: {message}"), Some(retry));
            }
        }
    }
    false
}

/// How far a pull has come, for people.
fn so_far(progress: PullProgress) -> String {
    let PullProgress { layers_done, layers, bytes, total } = progress;
    let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    format!(" ({layers_done} of {layers} layers, {} of {} MB)", megabytes(bytes), megabytes(total))
}

/// Why the desired revision has failed, if it has; else the moment at which it will have, if nothing improves.
pub fn verdict(scene: &Scene<'_>, goal: &Goal<'_>, cast: &Cast<'_>) -> Result<Option<Timestamp>, (Reason, String)> {
    let (observed, memory, now) = (scene.observed, scene.memory, scene.now);
    let open = memory.record(goal.revision).is_none_or(|record| record.outcome == Outcome::Pending);
    if goal.kind != GoalKind::Desired || !open {
        return Ok(None);
    }
    if let Some(why) = hook::failure(scene, goal) {
        return Err((Reason::PreDeployFailed, why));
    }
    for member in cast.leavers.iter().filter(|m| m.replica.revision == goal.revision) {
        let name = &member.replica.name;
        match member.phase {
            Phase::Failed(Fault::Unhealthy) => return Err((Reason::Unhealthy, format!("{name} is unhealthy"))),
            Phase::Failed(Fault::Late) => {
                return Err((Reason::Unhealthy, format!("{name} did not become healthy in time")));
            }
            // One that was interrupted says nothing about the revision.
            Phase::Failed(Fault::PostStart) => {
                if let Some(PostStart::Failed(why)) = memory.post_start.get(&member.replica.id) {
                    return Err((Reason::StartFailed, format!("post_start of {name}: {why}")));
                }
            }
            _ => {}
        }
    }
    let trouble = memory.trouble.as_ref().filter(|t| t.revision == goal.revision && t.reason != Reason::NameConflict);
    if let Some(trouble) = trouble.filter(|t| t.count >= ATTEMPTS) {
        let reason = if trouble.reason == Reason::Exited { Reason::CrashLoop } else { trouble.reason };
        return Err((reason, format!("{} ({} failures in a row)", trouble.message, trouble.count)));
    }
    let never = goal.spec.filter(|spec| spec.pull_policy == Some(PullPolicy::Never)).map(|spec| &spec.image);
    if let Some(image) = never.filter(|image| observed.images.get(*image) == Some(&ImageState::Absent)) {
        return Err((Reason::PullFailed, format!("image {image} is not on this host and pull_policy is never")));
    }
    // All of it is there: what keeps those before it is no failure of this one.
    if cast.keepers.len() == scene.policy.replicas as usize && cast.keepers.iter().all(Member::available) {
        return Ok(None);
    }
    // Waiting for others is not a failure of this one.
    let waits = observed.holds() && cast.keepers.is_empty();
    let Some(since) = memory.progress_since.filter(|_| !waits) else {
        return Ok(None);
    };
    let deadline = since + scene.policy.progress_deadline;
    // What was not looked at could not progress: after a gap it gets the time of one attempt.
    let attempt = scene.policy.health_deadline.unwrap_or_default().max(ATTEMPT);
    let deadline = memory
        .back_since
        .map_or(deadline, |back| deadline.max((back + attempt).min(back + scene.policy.progress_deadline)));
    // A trial is no lack of progress.
    let trial = canary::ends(scene, goal, cast).flatten();
    let deadline = trial.map_or(deadline, |ends| deadline.max(ends + scene.policy.progress_deadline));
    if now < deadline {
        return Ok(Some(deadline));
    }
    let last = memory.trouble.as_ref().map_or_else(|| stuck(cast, observed), |t| t.message.clone());
    Err((Reason::ProgressDeadlineExceeded, format!("no progress for {:?}: {last}", scene.policy.progress_deadline)))
}

/// What a rollout hangs on, for people.
fn stuck(cast: &Cast<'_>, observed: &Observed) -> String {
    let pending = cast.keepers.iter().find_map(|m| match &m.phase {
        Phase::Pending(what) => Some(format!("{} still has {what}", m.replica.name)),
        _ => None,
    });
    let pull = observed.images.iter().find_map(|(image, state)| match state {
        ImageState::PullFailed { message, .. } => Some(format!("image {image} cannot be pulled: {message}")),
        _ => None,
    });
    pull.or(pending).unwrap_or_else(|| "nothing came of it".to_owned())
}

/// The same service backs off the same way each time; two services do not march in step.
pub(super) fn seed(service: &ServiceName) -> u64 {
    let mut hasher = DefaultHasher::new();
    service.hash(&mut hasher);
    hasher.finish()
}
