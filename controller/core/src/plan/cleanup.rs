//! Which images of earlier revisions may go: those that we fetched, that nobody goes back to and nobody has.

use std::collections::BTreeSet;

use crd_schema::ImageId;

use super::action::{Plan, Verb};
use super::scene::Scene;
use crate::model::ImageState;

/// So many images of earlier revisions are kept, where nothing else is said.
const IMAGES_KEPT: u32 = 2;

/// Removes what is older, once there is nothing else to do.
pub(super) fn plan_image_removals(plan: &mut Plan, scene: &Scene<'_>) {
    let Scene { desired, observed, memory, .. } = *scene;
    if !plan.settled() || memory.images.pulled.is_empty() {
        return;
    }
    let most = desired.spec.update.as_ref().and_then(|update| update.image_history).unwrap_or(IMAGES_KEPT);
    let kept = kept(scene, most);
    for id in
        memory.images.pulled.iter().filter(|id| !kept.contains(id) && !observed.images_in_use.contains(id.as_str()))
    {
        plan.act(Verb::RemoveImage { id: id.clone() }, format!("{most} newer ones are kept to go back to"));
    }
}

/// The present image, so many before it, what runs, what would be gone back to, and what the tag stands for.
fn kept<'a>(scene: &Scene<'a>, most: u32) -> BTreeSet<&'a ImageId> {
    let Scene { desired, observed, memory, .. } = *scene;
    let mut kept = BTreeSet::new();
    for image in memory.revisions.history.iter().rev().filter_map(|record| record.image.as_ref()) {
        if kept.len() <= most as usize {
            kept.insert(image);
        }
    }
    kept.extend(memory.last_available(&desired.revision).and_then(|record| record.image.as_ref()));
    // A hook runs an image by its name; so may another service's, of which only the name is known.
    let hooks = memory.revisions.history.iter().map(|record| &record.spec).chain([&desired.spec]);
    for name in hooks.flat_map(|spec| spec.hook_images()) {
        if let Some(ImageState::Present(id)) = observed.images.get(name) {
            kept.insert(id);
        }
    }
    let named = memory.revisions.history.iter().filter(|record| observed.images_in_use.contains(&record.spec.image));
    kept.extend(named.filter_map(|record| record.image.as_ref()));
    kept.extend(desired.image.as_ref());
    kept.extend(observed.replicas.iter().map(|replica| &replica.image));
    if let Some(ImageState::Present(id)) = observed.images.get(&desired.spec.image) {
        kept.insert(id);
    }
    kept
}
