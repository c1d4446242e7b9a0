//! Whether a container that Docker Compose made is what would be made of the document: what the engine says of it, beside
//! the body of our own create call. What the engine adds by itself is no difference.

mod differences;
mod host;
mod mounted;
mod own;
mod specification;

use std::collections::BTreeMap;
use std::sync::Arc;

use bollard::models::{ContainerInspectResponse, EndpointSettings, ImageConfig};
use composed_core::engine::{DesiredContainer, EngineError};
use composed_core::model::{Comparison, JoinedNamespace, ServiceName};
use composed_core::plan::action::{Blueprint, Target};
use crd_schema::{
    ContainerId, ImageId, ImageRef, MountKind, Network, NetworkName, Revision, ServiceSpec, Volume, VolumeName,
};

use self::differences::{Differences, sorted};
use self::specification::Made;
use super::{
    connect::{Api, reference},
    create::{self, Creation},
    errors::rejected,
    target_engine::Engine,
};

/// What is told of a container that Docker Compose made.
pub(super) struct Compared {
    /// Whether it is what is asked for.
    pub(super) comparison: Comparison,
    /// Of one that is not: the specification of which another one can be made, where the engine's answer tells it all.
    pub(super) specification: Option<Arc<ServiceSpec>>,
}

/// The comparison of one container. Errors only where the engine does not answer.
pub(super) async fn compared(
    api: &Api,
    container: &ContainerInspectResponse,
    service: &ServiceName,
    asked: Option<&DesiredContainer>,
    owners: &[JoinedNamespace],
) -> Result<Compared, EngineError> {
    let Some(asked) = asked else {
        return Ok(Compared { comparison: Comparison::Unknown, specification: None });
    };
    let image = image(api, &ImageId::new(container.image.as_deref().unwrap_or_default())).await?;
    let can_be_told = image.is_some();
    let image = image.unwrap_or_default();
    let wanted = image_id(api, &asked.spec.image).await?;
    let mut differences = match expected(api.minor(), service, asked, owners) {
        Ok(expected) => differences(service, container, &image, wanted.as_ref(), &expected, asked),
        // It cannot be made as it is asked for: the attempt will say so, and cost nothing.
        Err(error) => vec![error.to_string()],
    };
    // What was put into it cannot be seen from outside.
    differences.extend((!asked.spec.files.is_empty()).then(|| "files".to_owned()));
    if differences.is_empty() {
        return Ok(Compared { comparison: Comparison::Same, specification: None });
    }
    let made = Made { service, container, image: &image, owners };
    let specification = if can_be_told { specified(api.minor(), made, asked) } else { None };
    Ok(Compared { comparison: Comparison::Differs(differences), specification: specification.map(Arc::new) })
}

/// The specification of a container, if what would be made of it does not differ from the container in anything.
fn specified(minor: usize, made: Made<'_>, asked: &DesiredContainer) -> Option<ServiceSpec> {
    let Made { service, container, image, owners } = made;
    let spec = specification::specification(made, asked).ok()?;
    // The project's objects that only this one uses are called as Compose calls them.
    let mut context = asked.context.clone();
    let project = &service.project;
    for key in spec.networks.iter().flat_map(BTreeMap::keys) {
        let name = || NetworkName::new(format!("{project}_{key}"));
        context.networks.entry(key.clone()).or_insert_with(|| (name(), Network::default()));
    }
    for key in spec.volumes.iter().filter(|mount| mount.kind == MountKind::Volume).filter_map(|one| one.source.clone())
    {
        let name = VolumeName::new(format!("{project}_{key}"));
        context.volumes.entry(key).or_insert_with(|| (name, Volume::default()));
    }
    let told = DesiredContainer { spec: Arc::new(spec), context };
    let expected = expected(minor, service, &told, owners).ok()?;
    let own_image = ImageId::new(container.image.as_deref().unwrap_or_default());
    let same = differences(service, container, image, Some(&own_image), &expected, &told).is_empty();
    same.then(|| Arc::unwrap_or_clone(told.spec))
}

/// The body of the create call for a replica of it. Only what does not depend on its name and number counts.
fn expected(
    minor: usize,
    service: &ServiceName,
    asked: &DesiredContainer,
    owners: &[JoinedNamespace],
) -> Result<Creation, EngineError> {
    // Whichever replica of the service it has joined: whether that stays is not its own affair.
    let joined = asked.spec.shares().map(|(_, other)| {
        let owner = owners.iter().find(|owner| owner.service == other);
        let id = owner.map_or_else(|| ContainerId::new(format!("of {other}")), |owner| owner.id.clone());
        (other.to_owned(), Target { id, name: other.to_owned() })
    });
    // Compose leaves restarts to the engine: that composed would do them itself is no reason to replace what runs.
    let mut spec = Arc::clone(&asked.spec);
    if spec.restart_policy.is_some() {
        Arc::make_mut(&mut spec).restart_policy = None;
    }
    let print = Blueprint {
        service: service.clone(),
        hook: None,
        number: 1,
        name: service.container(1),
        revision: Revision::default(),
        generation: 0,
        spec,
        volumes: BTreeMap::new(),
        joins: joined.collect(),
        image: None,
    };
    let engine = Engine { minor, instance: "", image_id: None };
    create::creation(&print, &asked.context, engine)
}

/// In which keys of the document they differ, for people. Values that may be secret are left out.
fn differences(
    service: &ServiceName,
    container: &ContainerInspectResponse,
    image: &ImageConfig,
    wanted_image: Option<&ImageId>,
    expected: &Creation,
    asked: &DesiredContainer,
) -> Vec<String> {
    let mut all = Differences::default();
    own::compare(&mut all, container, image, wanted_image, &expected.body, (service, &asked.spec));
    let (is, ought) =
        (container.host_config.clone().unwrap_or_default(), expected.body.host_config.clone().unwrap_or_default());
    host::compare(&mut all, &is, &ought);
    mounted::compare(&mut all, container.mounts.as_deref().unwrap_or_default(), &is, &ought, image);
    networks(&mut all, container, expected);
    all.0
}

fn networks(all: &mut Differences, container: &ContainerInspectResponse, expected: &Creation) {
    let mode = |mode: Option<&String>| match mode.map_or("", String::as_str) {
        "" | "default" => "bridge".to_owned(),
        mode => mode.to_owned(),
    };
    let joined = container.network_settings.as_ref().and_then(|settings| settings.networks.clone()).unwrap_or_default();
    let first = expected.body.networking_config.as_ref().and_then(|config| config.endpoints_config.clone());
    let mut wanted: BTreeMap<String, EndpointSettings> = first.unwrap_or_default().into_iter().collect();
    wanted.extend(expected.later.clone());
    let is = mode(container.host_config.as_ref().and_then(|host| host.network_mode.as_ref()));
    let ought = mode(expected.body.host_config.as_ref().and_then(|host| host.network_mode.as_ref()));
    // Where there are networks by name, which of them comes first is no difference.
    if wanted.is_empty() {
        all.word("network_mode", &is, &ought);
        return;
    }
    let others = joined.keys().filter(|name| !wanted.contains_key(*name)).map(|name| format!("{name} too many"));
    let missing = wanted.keys().filter(|name| !joined.contains_key(*name)).map(|name| format!("{name} missing"));
    all.named("networks", others.chain(missing).collect());
    let id = container.id.as_deref().unwrap_or_default();
    let name = container.name.as_deref().unwrap_or_default().trim_start_matches('/');
    for (network, ought) in &wanted {
        let Some(is) = joined.get(network) else { continue };
        let (has, wants) = (sorted(is.aliases.as_deref()), sorted(ought.aliases.as_deref()));
        // Compose adds the container's name, the engine its short id or its hostname.
        let hostname = container.config.as_ref().and_then(|config| config.hostname.as_ref());
        let own = |alias: &String| alias == name || id.starts_with(alias.as_str()) || Some(alias) == hostname;
        let same = wants.iter().all(|alias| has.contains(alias))
            && has.iter().all(|alias| wants.contains(alias) || own(alias));
        all.unless(same, &format!("networks.{network}.aliases"));
        let fixed = |one: &EndpointSettings| {
            let fixed = one.ipam_config.clone().unwrap_or_default();
            let address = |text: Option<String>| text.unwrap_or_default();
            (address(fixed.ipv4_address), address(fixed.ipv6_address), sorted(fixed.link_local_ips.as_deref()))
        };
        all.unless(fixed(is) == fixed(ought), &format!("the fixed address in networks.{network}"));
        let options = |one: &EndpointSettings| -> BTreeMap<String, String> {
            one.driver_opts.clone().unwrap_or_default().into_iter().collect()
        };
        all.unless(options(is) == options(ought), &format!("networks.{network}.driver_opts"));
        let priority = |one: &EndpointSettings| one.gw_priority.unwrap_or_default();
        all.unless(priority(is) == priority(ought), &format!("networks.{network}.gw_priority"));
        let mac = ought.mac_address.as_ref().filter(|mac| !mac.is_empty());
        all.unless(
            mac.is_none_or(|mac| is.mac_address.as_ref() == Some(mac)),
            &format!("networks.{network}.mac_address"),
        );
    }
}

/// An image's configuration; `None` when it is not there any more.
async fn image(api: &Api, id: &ImageId) -> Result<Option<ImageConfig>, EngineError> {
    let reference = reference(id.as_str()).map_err(|_| rejected(format!("{id} is not an image")))?;
    match api.call(api.client.inspect_image(reference)).await {
        Ok(image) => Ok(image.config),
        Err(error @ (EngineError::Unavailable(_) | EngineError::ServerError(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

async fn image_id(api: &Api, name: &ImageRef) -> Result<Option<ImageId>, EngineError> {
    let Ok(reference) = reference(name.as_str()) else { return Ok(None) };
    match api.call(api.client.inspect_image(reference)).await {
        Ok(image) => Ok(image.id.map(ImageId::new)),
        Err(error @ (EngineError::Unavailable(_) | EngineError::ServerError(_))) => Err(error),
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests;
