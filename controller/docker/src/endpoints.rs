//! Which networks a container joins, with which names and addresses, and which of them only after its creation. Pure.

use std::collections::BTreeMap;

use bollard::models::{EndpointIpamConfig, EndpointSettings};
use composed_core::engine::{ActionContext, EngineError};
use crd_schema::{NetworkAttachment, NetworkName, ServiceSpec};

use super::{
    errors::rejected,
    target_engine::{Engine, list, map},
    wire::SEVERAL_ENDPOINTS,
};

/// Endpoints by the engine's name of their network.
pub(super) type Endpoints = BTreeMap<String, EndpointSettings>;

/// The networks of a new container.
#[derive(Debug, Default)]
pub(super) struct JoinedNetworks {
    /// `HostConfig.NetworkMode`: the network whose gateway is the default route.
    pub(super) mode: String,
    /// Joined by the create call.
    pub(super) first: Endpoints,
    /// Joined by calls of their own: before API 1.44, all but one.
    pub(super) later: Endpoints,
}

/// The option that names an interface. Source: moby `libnetwork/netlabel`.
const INTERFACE: &str = "com.docker.network.endpoint.ifname";

/// The key of the network that services without `networks` join.
const DEFAULT: &str = "default";

/// The networks of a container, with `alias` among its names there.
pub(super) fn of(
    alias: Option<&str>,
    spec: &ServiceSpec,
    context: &ActionContext,
    engine: Engine<'_>,
) -> Result<JoinedNetworks, EngineError> {
    if let Some(mode) = &spec.network_mode {
        return of_mode(mode, spec.mac_address.as_ref());
    }
    let default = BTreeMap::from([(DEFAULT.to_owned(), NetworkAttachment::default())]);
    let wanted = spec.networks.as_ref().filter(|networks| !networks.is_empty()).unwrap_or(&default);
    let mut ordered: Vec<_> = wanted.iter().collect();
    // Highest priority first, then by name, as Compose does.
    ordered.sort_by_key(|(_, attachment)| std::cmp::Reverse(attachment.priority.unwrap_or(0)));

    let mut joined = JoinedNetworks::default();
    for (position, (key, attachment)) in ordered.into_iter().enumerate() {
        let name = engine_name(key, context)?;
        let first = position == 0;
        let mut endpoint = endpoint(alias, attachment);
        if first && endpoint.mac_address.is_none() {
            endpoint.mac_address.clone_from(&spec.mac_address);
        }
        if attachment.gw_priority.is_some() {
            engine.since(48, &format!("networks.{key}.gw_priority"))?;
        }
        if attachment.interface_name.is_some() {
            engine.since(49, &format!("networks.{key}.interface_name"))?;
        }
        if first {
            joined.mode = name.to_string();
        } else if endpoint.mac_address.is_some() {
            engine.since(SEVERAL_ENDPOINTS, &format!("networks.{key}.mac_address"))?;
        }
        let at_once = first || engine.minor >= SEVERAL_ENDPOINTS;
        let endpoints = if at_once { &mut joined.first } else { &mut joined.later };
        endpoints.insert(name.to_string(), endpoint);
    }
    Ok(joined)
}

fn of_mode(mode: &str, mac_address: Option<&String>) -> Result<JoinedNetworks, EngineError> {
    let mut joined = JoinedNetworks { mode: mode.to_owned(), ..JoinedNetworks::default() };
    match (mode, mac_address) {
        ("none" | "host" | "bridge", None) => {}
        (_, None) if mode.starts_with("container:") => {}
        ("bridge", Some(address)) => {
            let endpoint = EndpointSettings { mac_address: Some(address.clone()), ..EndpointSettings::default() };
            joined.first.insert(mode.to_owned(), endpoint);
        }
        ("none" | "host", Some(_)) => {
            return Err(rejected(format!("`mac_address` means nothing with `network_mode: {mode}`")));
        }
        _ => return Err(rejected(format!("`network_mode: {mode}` is none of none, host and bridge"))),
    }
    Ok(joined)
}

fn engine_name(key: &str, context: &ActionContext) -> Result<NetworkName, EngineError> {
    match context.networks.get(key) {
        Some((name, _)) => Ok(name.clone()),
        // Compose's name of the network that need not be declared.
        None if key == DEFAULT => Ok(NetworkName::new(format!("{}_{DEFAULT}", context.project))),
        None => Err(rejected(format!("the network `{key}` is not declared in the project"))),
    }
}

fn endpoint(service: Option<&str>, attachment: &NetworkAttachment) -> EndpointSettings {
    let mut aliases: Vec<String> = service.map(str::to_owned).into_iter().collect();
    aliases.extend(attachment.aliases.iter().filter(|alias| Some(alias.as_str()) != service).cloned());
    let fixed = EndpointIpamConfig {
        ipv4_address: attachment.ipv4_address.clone(),
        ipv6_address: attachment.ipv6_address.clone(),
        link_local_ips: list(attachment.link_local_ips.clone()),
    };
    let interface = attachment.interface_name.clone().map(|name| (INTERFACE.to_owned(), name));
    EndpointSettings {
        aliases: list(aliases),
        ipam_config: (fixed != EndpointIpamConfig::default()).then_some(fixed),
        mac_address: attachment.mac_address.clone(),
        gw_priority: attachment.gw_priority,
        driver_opts: map(attachment.driver_opts.clone().into_iter().chain(interface)),
        ..EndpointSettings::default()
    }
}
