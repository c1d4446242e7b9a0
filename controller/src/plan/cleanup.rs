//! Which images of earlier revisions may go: those that we fetched, that nobody goes back to and nobody has.

use std::collections::BTreeSet;

use super::Scene;
use super::action::{Plan, Verb};
use crate::model::ImageState;
use crd_schema::ServiceSpec;

/// So many images of earlier revisions are kept, where nothing else is said.
const HISTORY: u32 = 2;

/// Removes what is older, once there is nothing else to do.
pub(super) fn clean(plan: &mut Plan, scene: &Scene<'_>) {
    let Scene { desired, observed, memory, .. } = *scene;
    if !plan.settled() || memory.brought.is_empty() {
        return;
    }
    let most = desired.spec.update.as_ref().and_then(|update| update.image_history).unwrap_or(HISTORY);
    let kept = kept(scene, most);
    for id in memory.brought.iter().filter(|id| !kept.contains(id.as_str()) && !observed.spared.contains(*id)) {
        plan.act(Verb::RemoveImage { id: id.clone() }, format!("{most} newer ones are kept to go back to"));
    }
}

/// The present image, so many before it, what runs, what would be gone back to, and what the tag stands for.
fn kept<'a>(scene: &Scene<'a>, most: u32) -> BTreeSet<&'a str> {
    let Scene { desired, observed, memory, .. } = *scene;
    let mut kept = BTreeSet::new();
    for image in memory.history.iter().rev().filter_map(|record| record.image.as_deref()) {
        if kept.len() <= most as usize {
            kept.insert(image);
        }
    }
    kept.extend(memory.last_available(&desired.revision).and_then(|record| record.image.as_deref()));
    // A hook runs an image by its name; so may another service's, of which only the name is known.
    let hooks = memory.history.iter().map(|record| &record.spec).chain([&desired.spec]);
    for name in hooks.flat_map(ServiceSpec::hook_images) {
        if let Some(ImageState::Present(id)) = observed.images.get(name) {
            kept.insert(id);
        }
    }
    let named = memory.history.iter().filter(|record| observed.spared.contains(&record.spec.image));
    kept.extend(named.filter_map(|record| record.image.as_deref()));
    kept.extend(desired.image.as_deref());
    kept.extend(observed.replicas.iter().map(|replica| replica.image.as_str()));
    if let Some(ImageState::Present(id)) = observed.images.get(&desired.spec.image) {
        kept.insert(id);
    }
    kept
}
