//! Which image a service shall have, where it follows new ones: what its tag stands for now, or what it has. The image
//! becomes part of the revision, so that a new one is rolled out, judged and rolled back as any other change.

use crd_schema::{ImageDigest, ImageId, PullPolicy, Revision, ServiceSpec};
use jiff::Timestamp;

use super::action::{Plan, Verb};
use super::attempt::{PULL_POLL_INTERVAL, seed};
use super::backoff;
use super::scene::Scene;
use crate::model::{
    DesiredService, ImageState, Observed, Outcome, Replica, ServiceRecord, follows_image, image_revision,
};

/// Why the image behind the tag is not the one that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpdateHold {
    /// It has failed before, and is not tried again.
    Failed,
    /// It has to settle until then.
    Cooling(Timestamp),
}

/// What is wanted, with the image that its replicas are made of, and why that is not the newest one.
///
/// The first image of a document has the document's own revision: what ran before images were followed goes on. An image
/// that comes later makes a revision of its own, whose name tells both. So what a revision stands for can be told from any
/// container of it, without a memory.
pub fn wanted(
    desired: &DesiredService,
    observed: &Observed,
    memory: &ServiceRecord,
    now: Timestamp,
) -> (DesiredService, Option<UpdateHold>) {
    let view = ImageView { own: &desired.revision, observed, memory };
    if !follows_image(&desired.spec) {
        // What was made while images were followed goes on, for as long as any of it runs.
        let made = view.newest().filter(|made| *made.revision != desired.revision);
        let goes_on = made.map(|made| DesiredService { image: None, ..desired.clone().with_image(made.image, false) });
        return (goes_on.unwrap_or_else(|| desired.clone()), None);
    }
    let present = view.present();
    let tag = match observed.images.get(&desired.spec.image) {
        Some(ImageState::Present(id)) => Some(id),
        _ => None,
    };
    let held = tag.zip(present).filter(|(tag, made)| *tag != made.image).and_then(|(tag, _)| {
        if view.has_failed(tag) {
            Some(UpdateHold::Failed)
        } else {
            view.cooling(tag, &desired.spec, now).map(UpdateHold::Cooling)
        }
    });
    match (tag.filter(|_| held.is_none()), present) {
        (Some(tag), Some(made)) if tag == made.image => (view.named(desired, made), None),
        (Some(tag), _) => (desired.clone().with_image(tag, view.may_have_own_name(tag)), None),
        (None, Some(made)) => (view.named(desired, made), held),
        (None, None) => (desired.clone(), None),
    }
}

/// Begins to fetch the image that the registry has behind the tag, if another one is here. Nothing waits for it: what runs
/// goes on.
///
/// Whoever moved the tag last has his way: one that was moved or built here since the registry's answer changed stays.
pub(super) fn plan_pull(plan: &mut Plan, scene: &Scene<'_>) {
    let Scene { desired, observed, memory, now, .. } = *scene;
    let spec = &desired.spec;
    if !follows_image(spec) || spec.pull_policy == Some(PullPolicy::Never) {
        return;
    }
    match observed.images.get(&spec.image) {
        Some(ImageState::Present(_)) => {}
        Some(ImageState::Pulling(_)) => return plan.wake(now + PULL_POLL_INTERVAL),
        _ => return,
    }
    let Some((remote, digest)) =
        observed.tag_answer.as_ref().and_then(|remote| Some((remote, ImageDigest::new(remote.answer.as_ref()?))))
    else {
        return;
    };
    let digests = &observed.digests;
    // Of an image that was never in that registry nobody knows whether its first answer is newer.
    let unknown = remote.first && digests.is_empty();
    let moved_here = memory.images.tag.as_ref().filter(|seen| seen.name == spec.image).map(|seen| seen.since);
    if unknown || digests.contains(&digest) || moved_here >= remote.moved_at {
        return;
    }
    if let Some(fetched) = memory.images.last_pull.as_ref().filter(|fetched| fetched.digest == digest) {
        let again = fetched.at + backoff::delay(fetched.count, seed(scene.service()));
        if now < again {
            return plan.wake(again);
        }
    }
    let (image, platform) = (spec.image.clone(), spec.platform.clone());
    plan.act(Verb::Pull { image, platform, digest: Some(digest) }, "the registry has another image behind the tag");
}

/// A revision of a document, and its image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ImageInUse<'a> {
    revision: &'a Revision,
    image: &'a ImageId,
}

struct ImageView<'a> {
    /// The document's own revision.
    own: &'a Revision,
    observed: &'a Observed,
    memory: &'a ServiceRecord,
}

impl<'a> ImageView<'a> {
    /// What is wanted until now; without a memory, what was made last.
    fn present(&self) -> Option<ImageInUse<'a>> {
        let last = self.memory.revisions.history.last();
        let last = last.and_then(|last| Some(ImageInUse { revision: &last.revision, image: last.image.as_ref()? }));
        last.filter(|made| self.is_mine(*made)).or_else(|| self.newest())
    }

    fn newest(&self) -> Option<ImageInUse<'a>> {
        self.live()
            .max_by_key(|(replica, _)| (replica.generation, replica.created_at, replica.number))
            .map(|(_, made)| made)
    }

    fn live(&self) -> impl Iterator<Item = (&'a Replica, ImageInUse<'a>)> + '_ {
        let made = |replica: &'a Replica| ImageInUse { revision: &replica.revision, image: &replica.image };
        let all = self.observed.replicas.iter().map(move |replica| (replica, made(replica)));
        all.filter(|(replica, made)| replica.state.is_live() && self.is_mine(*made))
    }

    /// Whether it was made of this document.
    fn is_mine(&self, made: ImageInUse<'_>) -> bool {
        !made.image.is_empty() && (made.revision == self.own || *made.revision == image_revision(self.own, made.image))
    }

    fn named(&self, desired: &DesiredService, made: ImageInUse<'_>) -> DesiredService {
        desired.clone().with_image(made.image, made.revision == self.own)
    }

    /// Whether the document's own name is free for this image, or its already.
    fn may_have_own_name(&self, image: &ImageId) -> bool {
        let pinned = image_revision(self.own, image);
        let replicas = &self.observed.replicas;
        if self.memory.record(&pinned).is_some() || replicas.iter().any(|replica| replica.revision == pinned) {
            return false;
        }
        let mut named = replicas.iter().filter(|replica| replica.revision == *self.own).peekable();
        if named.peek().is_some() {
            return named.all(|replica| replica.image == *image || replica.image.is_empty());
        }
        let record = self.memory.record(self.own).and_then(|record| record.image.as_ref());
        record.is_none_or(|recorded| recorded == image)
    }

    fn has_failed(&self, image: &ImageId) -> bool {
        self.memory.revisions.history.iter().any(|record| {
            let made = record.image.as_ref().map(|image| ImageInUse { revision: &record.revision, image });
            record.outcome == Outcome::Failed && made.is_some_and(|made| made.image == image && self.is_mine(made))
        })
    }

    fn cooling(&self, image: &ImageId, spec: &ServiceSpec, now: Timestamp) -> Option<Timestamp> {
        let cooldown = spec.update.as_ref()?.cooldown?.get();
        let since = self.memory.images.tag.as_ref().filter(|seen| seen.id == *image).map_or(now, |seen| seen.since);
        Some(since + cooldown).filter(|until| now < *until)
    }
}
