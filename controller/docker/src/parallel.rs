//! Looks at many containers side by side, each for itself: what one of them does not answer says nothing of the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use composed_core::engine::EngineError;
use composed_core::model::{ListedContainer, ServiceName};
use futures_util::{StreamExt as _, stream};

/// Calls in flight at once.
pub(super) const PARALLEL: usize = 16;
/// One container that does not answer delays a look by so long. Engines answer within milliseconds.
const INSPECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is to be known of each of these containers, by service. What one of them does not answer says nothing of the others:
/// its service is `unknown`, and why.
pub(super) async fn each<T, F>(
    listed: Vec<(ServiceName, ListedContainer)>,
    unknown: &mut BTreeMap<ServiceName, String>,
    look: impl Fn(ServiceName, ListedContainer) -> F,
) -> BTreeMap<ServiceName, Vec<T>>
where
    F: Future<Output = Result<Option<T>, EngineError>>,
{
    let looks = listed.into_iter().map(|(service, one)| {
        let (name, id) = (one.name.clone(), one.id.as_str().get(..12).unwrap_or(one.id.as_str()).to_owned());
        let found = look(service.clone(), one);
        async move {
            let found = match tokio::time::timeout(INSPECT_TIMEOUT, found).await {
                Ok(found) => found.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} s", INSPECT_TIMEOUT.as_secs())),
            };
            (service, found.map_err(|why| format!("the container {name} ({id}) cannot be inspected: {why}")))
        }
    });
    let mut known: BTreeMap<ServiceName, Vec<T>> = BTreeMap::new();
    let mut looks = stream::iter(looks).buffer_unordered(PARALLEL);
    while let Some((service, found)) = looks.next().await {
        match found {
            Ok(Some(found)) => known.entry(service).or_default().push(found),
            Ok(None) => {}
            Err(why) => drop(unknown.insert(service, why)),
        }
    }
    known
}

/// How many of the services with containers were asked for.
pub(super) fn owned_among(services: Option<&BTreeSet<ServiceName>>, owned: &BTreeSet<ServiceName>) -> usize {
    services.map_or(owned.len(), |services| owned.intersection(services).count())
}
