//! One attempt at a revision: its image, and when the next one may be made.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use crd_schema::status::WaitReason;
use crd_schema::{ImageRef, PullPolicy, ServiceSpec};
use jiff::Timestamp;

use super::action::{Plan, Verb};
use super::backoff;
use super::scene::Scene;
use super::target::Goal;
use crate::model::{ImageState, PullProgress, ServiceName};

/// A pull under way is looked at so often.
pub(super) const PULL_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// One attempt takes so long at least: a pull or a slow start.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_mins(1);

/// When the next attempt at the goal may be made, if it failed lately.
pub(super) fn backoff_until(scene: &Scene<'_>, goal: &Goal<'_>) -> Option<Timestamp> {
    let trouble = scene.memory.revisions.streak.as_ref().filter(|trouble| trouble.revision == *goal.revision)?;
    let asked = goal.spec.and_then(|spec| spec.restart_policy?.delay).map(crd_schema::ComposeDuration::get);
    Some(backoff::not_before(trouble, asked, seed(scene.service())))
}

/// Whether an image is here; else it is fetched or waited for. With `anew`, it is fetched though it is.
pub(super) fn is_here(plan: &mut Plan, scene: &Scene<'_>, spec: &ServiceSpec, image: &ImageRef, anew: bool) -> bool {
    let policy = spec.pull_policy.unwrap_or(PullPolicy::Missing);
    let pull = Verb::Pull { image: image.clone(), platform: spec.platform.clone(), digest: None };
    let Some(state) = scene.observed.images.get(image) else {
        // That it is wanted is known since this look; the next one looks for it.
        plan.wait(WaitReason::Image, format!("a look for image {image}"), Some(scene.now));
        return false;
    };
    match state {
        ImageState::Pulling(_) => {
            let far = scene.observed.facts.progress.filter(|_| *image == scene.desired.spec.image);
            plan.wait(
                WaitReason::Image,
                format!("image {image} to be pulled{}", far.map_or_else(String::new, describe_progress)),
                None,
            );
            // The engine's word that it is here may be lost.
            plan.wake(scene.now + PULL_POLL_INTERVAL);
        }
        ImageState::Present(_) if anew => plan.act(pull, "pull_policy is always"),
        ImageState::Present(_) => return true,
        ImageState::Absent if policy == PullPolicy::Never => {
            plan.wait(WaitReason::Image, format!("image {image} to appear on this host (pull_policy is never)"), None);
        }
        ImageState::Absent => plan.act(pull, "the image is not on this host"),
        ImageState::PullFailed { at, message, count, .. } => {
            let retry = *at + backoff::delay(*count, seed(scene.service()));
            if scene.now >= retry {
                plan.act(pull, "the last pull failed");
            } else {
                plan.wait(WaitReason::Image, format!("the next try to pull {image}: {message}"), Some(retry));
            }
        }
    }
    false
}

/// How far a pull has come, for people.
fn describe_progress(progress: PullProgress) -> String {
    let PullProgress { layers_done, layers, bytes, total } = progress;
    let megabytes = |bytes: u64| format!("{}.{}", bytes / 1_000_000, bytes % 1_000_000 / 100_000);
    format!(" ({layers_done} of {layers} layers, {} of {} MB)", megabytes(bytes), megabytes(total))
}

/// The same service backs off the same way each time; two services do not march in step.
pub(super) fn seed(service: &ServiceName) -> u64 {
    let mut hasher = DefaultHasher::new();
    service.hash(&mut hasher);
    hasher.finish()
}
