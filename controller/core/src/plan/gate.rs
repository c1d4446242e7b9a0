//! What must be true before a revision may go on: images, networks, dependencies, backoff. And the verdict: whether
//! it has failed.

use crd_schema::status::Reason;
use crd_schema::status::WaitReason;
use crd_schema::{FailureAction, PullPolicy, Revision, ServiceSpec};
use jiff::Timestamp;

use super::action::Plan;
use super::attempt::{ATTEMPT_TIMEOUT, backoff_until, is_here};
use super::canary;
use super::hook;
use super::host_ports;
use super::phase::{Phase, ReplicaFault};
use super::policy::Policy;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::scene::Scene;
use super::target::{Goal, GoalKind};
use crate::model::{FailureStreak, ImageState, Observed, Outcome, PostStartState, describe_spent, describe_unhealthy};

/// Ends, restarts or refusals in a row after which a revision that was never available has failed.
pub const MAX_ATTEMPTS: u32 = 3;

/// Whether new replicas of the goal may be created now; what is missing is added to `plan`.
pub fn may_create(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>) -> bool {
    let (observed, memory, now) = (scene.observed, scene.memory, scene.now);
    let mut open = true;
    let refused = observed.refused.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
    let lacks = match observed.missing_earlier.get(goal.revision) {
        _ if *goal.revision == scene.desired.revision => &observed.missing[..],
        earlier => earlier.map_or(&[][..], Vec::as_slice),
    };
    if *goal.revision == scene.desired.revision {
        for (missing, command) in &observed.missing_external {
            plan.wait(WaitReason::ExternalObject, format!("{missing} to be created: `{command}`"), None);
            open = false;
        }
    }
    for missing in lacks {
        plan.wait(WaitReason::ProjectObject, format!("{missing} to be created{refused}"), None);
        open = false;
    }
    let proven = memory.record(goal.revision).is_some_and(|record| record.outcome == Outcome::Available);
    if !proven {
        // A front waits for its ports; that HAProxy looks at its configuration is in nobody's way, and saves time then.
        let checks = hook::due(scene, goal).is_some() && goal.spec.is_some_and(|spec| spec.generated.is_some());
        for (dependency, why) in &observed.unmet {
            plan.wait(WaitReason::Dependency, format!("{dependency}: {why}"), None);
            open &= checks;
        }
    }
    if let Some(until) = backoff_until(scene, goal).filter(|until| now < *until) {
        plan.wait(WaitReason::Backoff, "the backoff after failures in a row".to_owned(), Some(until));
        open = false;
    }
    image_present(plan, scene, goal) && open
}

fn image_present(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>) -> bool {
    let Some(spec) = goal.spec else {
        plan.wait(
            WaitReason::ChangedDocument,
            "a changed document: the history that tells how to make more of this revision is lost",
            None,
        );
        return false;
    };
    let image = &spec.image;
    let policy = spec.pull_policy.unwrap_or(PullPolicy::Missing);
    let asked = scene.memory.images.pulled_for.as_ref() == Some(goal.revision);
    let new = !goal.kind.is_earlier();
    if let Some(id) = goal.image {
        let first_ask = policy == PullPolicy::Always && !asked && new;
        let of_tag = matches!(scene.observed.images.get(image), Some(ImageState::Present(here)) if here == id);
        let looked_at = scene.observed.images.get(id.as_str());
        if (of_tag || matches!(looked_at, Some(ImageState::Present(_)))) && !first_ask {
            return true;
        }
        if looked_at.is_none() && !first_ask {
            // That it is wanted is known since this look; the next one looks for it.
            plan.wait(WaitReason::Image, format!("a look for image {id}"), Some(scene.now));
            return false;
        }
        let others = matches!(scene.observed.images.get(image), Some(ImageState::Present(_))) && !first_ask;
        if others || !new {
            // Of whatever the tag stands for by now nothing is made under this revision's name.
            let revision = goal.revision;
            plan.wait(
                WaitReason::Image,
                format!("image {id} of revision {revision}, which is no longer on this host"),
                None,
            );
            return false;
        }
    }
    is_here(plan, scene, spec, image, policy == PullPolicy::Always && !asked && new)
}

fn has_own_limit(spec: &ServiceSpec) -> bool {
    spec.max_restarts().is_some()
}

/// Why the desired revision has failed, if it has; else the moment at which it will have, if nothing improves.
pub fn check_failure(
    scene: &Scene<'_>,
    goal: &Goal<'_>,
    sets: &ReplicaSets<'_>,
) -> Result<Option<Timestamp>, (Reason, String)> {
    let (observed, memory, now) = (scene.observed, scene.memory, scene.now);
    let open = memory.record(goal.revision).is_none_or(|record| record.outcome == Outcome::Pending);
    if !matches!(goal.kind, GoalKind::Desired | GoalKind::Undone) || !open {
        return Ok(None);
    }
    if let Some(why) = hook::failure(scene, goal) {
        return Err((Reason::PreDeployFailed, why));
    }
    let tolerated = scene.policy.tolerated;
    let own = |m: &&ClassifiedReplica<'_>| m.replica.revision == *goal.revision;
    let judged = tolerated == 0 || failures(scene, goal.revision) > tolerated;
    for member in sets.to_replace.iter().filter(own).filter(|_| judged) {
        let name = &member.replica.name;
        match member.phase {
            Phase::Failed(ReplicaFault::Unhealthy) => {
                let why = describe_unhealthy(member.replica, Some(scene.spec_of(goal.revision)));
                return Err((Reason::Unhealthy, format!("{name} {why}")));
            }
            Phase::Failed(ReplicaFault::HealthTimeout) => {
                return Err((Reason::Unhealthy, format!("{name} did not become healthy in time")));
            }
            // One that was interrupted says nothing about the revision.
            Phase::Failed(ReplicaFault::PostStart) => {
                if let Some(PostStartState::Failed(why)) = memory.replicas.post_start.get(&member.replica.id) {
                    return Err((Reason::StartFailed, format!("post_start of {name}: {why}")));
                }
            }
            _ => {}
        }
    }
    if let Some(member) = sets.spent.get(tolerated as usize) {
        return Err((Reason::Exited, describe_spent(member.replica, scene.spec_of(goal.revision))));
    }
    // What others have to put in order says nothing of the revision.
    let of_others = |reason| matches!(reason, Reason::NameConflict | Reason::MountMissing);
    let trouble = memory.revisions.streak.as_ref().filter(|t| t.revision == *goal.revision && !of_others(t.reason));
    // Where its restart policy says how often it may run, that counts.
    let counts = |t: &&FailureStreak| t.reason != Reason::Exited || !has_own_limit(scene.spec_of(goal.revision));
    if let Some(trouble) = trouble.filter(|t| t.count >= MAX_ATTEMPTS.max(tolerated.saturating_add(1))).filter(counts) {
        let reason = if trouble.reason == Reason::Exited { Reason::CrashLoop } else { trouble.reason };
        return Err((reason, format!("{} ({} failures in a row)", trouble.message, trouble.count)));
    }
    // Where nothing serves, what was before it may have its own ports again.
    if sets.available() == 0
        && let Some(why) =
            host_ports::in_vain(scene, goal.revision, sets).filter(|_| memory.last_available(goal.revision).is_some())
    {
        return Err((Reason::HostPortTaken, why));
    }
    let never = goal.spec.filter(|spec| spec.pull_policy == Some(PullPolicy::Never)).map(|spec| &spec.image);
    if let Some(image) = never.filter(|image| observed.images.get(*image) == Some(&ImageState::Absent)) {
        return Err((
            Reason::PullFailed,
            format!(
                "image {image} is not on this host and pull_policy is never: build it there (`docker compose build`) or load it"
            ),
        ));
    }
    if let Some(why) = refused_pull(scene, goal) {
        return Err((Reason::PullFailed, why));
    }
    // All of it is there: what keeps those before it is no failure of this one.
    if sets.current.len() == scene.policy.replicas as usize && sets.current.iter().all(ClassifiedReplica::available) {
        return Ok(None);
    }
    // Waiting for others is not a failure of this one.
    let waits = observed.waits_for_others() || missing_mount(scene, goal.revision).is_some();
    let waits = (waits && sets.current.is_empty()) || !observed.port_conflicts.is_empty();
    let Some(since) = memory.revisions.progress_since.filter(|_| !waits) else {
        return Ok(None);
    };
    let deadline = since + scene.policy.progress_deadline;
    // What was not looked at could not progress: after a gap it gets the time of one attempt.
    let attempt = scene.policy.health_deadline.unwrap_or_default().max(ATTEMPT_TIMEOUT);
    let deadline = memory
        .process
        .resumed_at
        .map_or(deadline, |back| deadline.max((back + attempt).min(back + scene.policy.progress_deadline)));
    // A trial is no lack of progress.
    let trial = canary::ends(scene, goal, sets).flatten();
    let deadline = trial.map_or(deadline, |ends| deadline.max(ends + scene.policy.progress_deadline));
    if now < deadline {
        return Ok(Some(deadline));
    }
    let last = memory.revisions.streak.as_ref().map_or_else(|| describe_stuck(sets, observed), |t| t.message.clone());
    Err((Reason::ProgressDeadlineExceeded, format!("no progress for {:?}: {last}", scene.policy.progress_deadline)))
}

/// The engine's words for what a revision mounts and the host does not have.
pub fn missing_mount<'a>(scene: &Scene<'a>, revision: &Revision) -> Option<&'a str> {
    let streak = scene.memory.revisions.streak.as_ref()?;
    (streak.revision == *revision && streak.reason == Reason::MountMissing).then_some(streak.message.as_str())
}

/// The failures of a revision's replicas in a row.
fn failures(scene: &Scene<'_>, revision: &Revision) -> u32 {
    let streak = scene.memory.revisions.streak.as_ref().filter(|streak| streak.revision == *revision);
    streak.map_or(0, |streak| streak.count)
}

/// Whether all of a revision are available but for some that fail, as many as `max_failure_ratio` tolerates.
pub fn rest_is_tolerated(scene: &Scene<'_>, revision: &Revision, sets: &ReplicaSets<'_>) -> bool {
    let Policy { replicas, tolerated, .. } = *scene.policy;
    let available = sets.current.iter().filter(|member| member.available()).count();
    let fail = failures(scene, revision) > 0 || !sets.spent.is_empty();
    tolerated > 0 && fail && available > 0 && available >= replicas.saturating_sub(tolerated) as usize
}

/// Whether a rollout goes on though it has failed: `failure_action: continue`. What failed before anything of it was made did not
/// begin.
pub fn goes_on(scene: &Scene<'_>, reason: Reason) -> bool {
    scene.policy.failure_action == FailureAction::Continue && reason != Reason::PreDeployFailed
}

/// Why the image of the goal will not come, if its registry has said so often enough since the goal was begun.
fn refused_pull(scene: &Scene<'_>, goal: &Goal<'_>) -> Option<String> {
    let image = &goal.spec?.image;
    let ImageState::PullFailed { at, message, count, refused: true } = scene.observed.images.get(image)? else {
        return None;
    };
    let begun = scene.memory.record(goal.revision).and_then(|record| record.begun);
    let now = begun.is_none_or(|begun| *at >= begun) && *count >= MAX_ATTEMPTS;
    now.then(|| format!("image {image} cannot be pulled: {message} ({count} times in a row)"))
}

/// What a rollout hangs on, for people.
fn describe_stuck(sets: &ReplicaSets<'_>, observed: &Observed) -> String {
    let pending = sets.current.iter().find_map(|m| match &m.phase {
        Phase::Pending(what) => Some(format!("{} still has {what}", m.replica.name)),
        _ => None,
    });
    let pull = observed.images.iter().find_map(|(image, state)| match state {
        ImageState::PullFailed { message, .. } => Some(format!("image {image} cannot be pulled: {message}")),
        _ => None,
    });
    pull.or(pending).unwrap_or_else(|| "nothing came of it".to_owned())
}
