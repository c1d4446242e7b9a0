//! From what is wanted to what is asked, and from the answers back. Pure.

use std::time::Duration;

use composed_core::model::{DesiredService, RegistryAnswer, Replica, follows_image};
use composed_core::reference::Reference;
use crd_schema::{ComposeDuration, PullPolicy, UpdatePolicy};

use super::versions;
use super::{ImageQuery, QueryOptions};

/// How often a registry is asked where nothing else is said.
const INTERVAL: Duration = Duration::from_mins(5);

/// How a service wants its registry asked.
pub fn how(service: &DesiredService) -> QueryOptions {
    let asked = service.spec.update.as_ref();
    QueryOptions {
        interval: asked.and_then(|update| update.interval).map_or(INTERVAL, ComposeDuration::get),
        platforms: asked.map(|update| update.platforms.iter().cloned().collect()).unwrap_or_default(),
    }
}

/// What its tag stands for, if that is followed. Who never pulls asks nobody.
pub fn of_tag(service: &DesiredService) -> Option<ImageQuery> {
    let asks = follows_image(&service.spec) && service.spec.pull_policy != Some(PullPolicy::Never);
    asks.then(|| Reference::parse(&service.spec.image).map(ImageQuery::Digest))?
}

/// Which version its image could have, if versions are followed.
pub fn of_versions(service: &DesiredService) -> Option<ImageQuery> {
    let update = service.spec.update.as_ref().filter(|update| update.policy() == UpdatePolicy::Semver)?;
    if service.spec.pull_policy == Some(PullPolicy::Never) {
        return None;
    }
    let image = Reference::parse(service.raised_from.as_ref().unwrap_or(&service.spec.image))?;
    Some(ImageQuery::Highest(image, update.semver.clone()?))
}

/// The service with the highest version that is known, if that is higher than its document's. What runs is known, too: nothing is
/// lowered because an answer was forgotten, or because a registry leaves a version out.
pub fn raised(service: &DesiredService, known: Option<&RegistryAnswer>, replicas: &[Replica]) -> DesiredService {
    if service.raised_from.is_some() {
        return service.clone();
    }
    let answer = known.and_then(|known| known.answer.clone());
    let highest = match of_versions(service) {
        Some(question) => running(&question, replicas, answer),
        None => answer,
    };
    match highest.and_then(|tag| versions::raised(&service.spec.image, &tag)) {
        Some(image) => service.clone().with_newer_image(image),
        None => service.clone(),
    }
}

/// The highest version that runs, or was answered.
fn running(question: &ImageQuery, replicas: &[Replica], answer: Option<String>) -> Option<String> {
    let ImageQuery::Highest(image, range) = question else { return None };
    let live = replicas.iter().filter(|replica| replica.state.is_live());
    let named = live.filter_map(|replica| Reference::parse(&replica.image_name));
    let named = named.filter(|named| named.tagged("") == image.tagged("")).map(|named| named.tag);
    let tags: Vec<_> = named.chain(answer).collect();
    versions::highest(&tags, range, &image.tag)
}
