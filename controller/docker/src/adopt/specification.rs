//! The way back from a container that Docker Compose made to the specification of which another one can be made: what the
//! engine says of it, without what is the image's or the engine's own. Whether that is all of it, the comparison tells.

mod lent;
mod made;
mod mounted;

use std::collections::BTreeMap;

use bollard::models::{ContainerConfig, EndpointSettings, HealthConfig, HostConfig, ImageConfig};
use composed_core::engine::DesiredContainer;
use crd_schema::{ComposeDuration, Environment, Healthcheck, ImageRef, NetworkAttachment, ServiceSpec};

use super::super::labels;
use super::own;
pub(super) use made::Made;
use made::Untold;

/// The specification of a container. What no container tells, such as the time to drain, is as `asked` has it.
///
/// # Errors
/// A network, a volume or a namespace of it has no name in the project's files.
pub(super) fn specification(made: Made<'_>, asked: &DesiredContainer) -> Result<ServiceSpec, Untold> {
    let (config, host, image) = (made.config(), made.host(), made.image);
    let other =
        |own: Option<String>, image: Option<&String>| own.filter(|text| !text.is_empty() && Some(text) != image);
    let entrypoint = config.entrypoint.clone().filter(|words| image.entrypoint.as_ref() != Some(words));
    let command = match (&config.cmd, &image.cmd) {
        (own, of_image) if own == of_image && entrypoint.is_none() => None,
        (None, Some(_)) if entrypoint.is_none() => Some(Vec::new()),
        (own, _) => own.clone(),
    };
    let spec = ServiceSpec {
        image: ImageRef::new(config.image.clone().unwrap_or_default()),
        replicas: asked.spec.replicas,
        entrypoint,
        command,
        environment: environment(&config, image),
        unset_environment: config.env.iter().flatten().filter(|entry| !entry.contains('=')).cloned().collect(),
        labels: peoples_labels(&config, image),
        networks: networks(made, asked)?,
        expose: exposed(&config, &host, image),
        stop_signal: other(config.stop_signal.clone(), image.stop_signal.as_ref()),
        stop_grace_period: config
            .stop_timeout
            .and_then(|secs| u64::try_from(secs).ok())
            .map(ComposeDuration::from_secs),
        user: other(config.user.clone(), image.user.as_ref()),
        working_dir: other(config.working_dir.clone(), image.working_dir.as_ref()),
        hostname: hostname(made, &config, &host),
        domainname: other(config.domainname.clone(), None),
        tty: config.tty.unwrap_or(false),
        stdin_open: config.open_stdin.unwrap_or(false),
        healthcheck: config.healthcheck.as_ref().filter(|_| config.healthcheck != image.healthcheck).map(healthcheck),
        container_name: Some(made.name()).filter(|name| !own::is_usual(name, made.service)).map(str::to_owned),
        volumes: mounted::of(made, asked)?,
        depends_on: asked.spec.depends_on.clone(),
        drain_timeout: asked.spec.drain_timeout,
        pre_stop: asked.spec.pre_stop.clone(),
        rollout: asked.spec.rollout.clone(),
        traffic: asked.spec.traffic.clone(),
        ..ServiceSpec::default()
    };
    lent::with(spec, &host, made.owners)
}

fn environment(config: &ContainerConfig, image: &ImageConfig) -> Environment {
    let of_image = image.env.clone().unwrap_or_default();
    let own = config.env.iter().flatten().filter(|entry| !of_image.contains(entry));
    own.filter_map(|entry| entry.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn peoples_labels(config: &ContainerConfig, image: &ImageConfig) -> BTreeMap<String, String> {
    let of_image = |name: &str| image.labels.as_ref().and_then(|labels| labels.get(name));
    let all = config.labels.iter().flatten();
    let own = all.filter(|(name, value)| !labels::is_reserved(name) && of_image(name) != Some(*value));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Ports that are neither published nor the image's.
fn exposed(config: &ContainerConfig, host: &HostConfig, image: &ImageConfig) -> Vec<String> {
    let of_image = image.exposed_ports.clone().unwrap_or_default();
    let published = |port: &str| host.port_bindings.as_ref().is_some_and(|bindings| bindings.contains_key(port));
    let all = config.exposed_ports.iter().flatten();
    all.filter(|port| !of_image.contains(port) && !published(port)).cloned().collect()
}

/// A host name of its own: not the engine's, which is the short id, nor that of whose network it is in.
fn hostname(made: Made<'_>, config: &ContainerConfig, host: &HostConfig) -> Option<String> {
    let network = host.network_mode.as_deref().unwrap_or_default();
    let name = config.hostname.clone().filter(|name| !name.is_empty())?;
    let id = made.container.id.as_deref().unwrap_or_default();
    let own = network != "host" && !network.starts_with("container:") && !id.starts_with(&name);
    own.then_some(name)
}

fn healthcheck(check: &HealthConfig) -> Healthcheck {
    let test = check.test.clone().unwrap_or_default();
    if test.first().is_some_and(|word| word == "NONE") {
        return Healthcheck { disable: true, ..Healthcheck::default() };
    }
    let given = |nanos: Option<i64>| nanos.and_then(|nanos| u64::try_from(nanos).ok()).filter(|nanos| *nanos > 0);
    let time = |nanos: Option<i64>| given(nanos).map(|nanos| std::time::Duration::from_nanos(nanos).into());
    Healthcheck {
        test,
        interval: time(check.interval),
        timeout: time(check.timeout),
        start_period: time(check.start_period),
        start_interval: time(check.start_interval),
        retries: given(check.retries).and_then(|retries| u32::try_from(retries).ok()),
        disable: false,
    }
}

/// The networks that it has joined by name, by their keys in the files; `None` where a mode stands in their place.
fn networks(made: Made<'_>, asked: &DesiredContainer) -> Result<Option<BTreeMap<String, NetworkAttachment>>, Untold> {
    let host = made.host();
    let main = host.network_mode.as_deref().unwrap_or_default();
    if ["none", "host", "bridge", "default", ""].contains(&main) || main.starts_with("container:") {
        return Ok(None);
    }
    let joined = made.container.network_settings.as_ref().and_then(|settings| settings.networks.clone());
    let joined: BTreeMap<String, EndpointSettings> = joined.unwrap_or_default().into_iter().collect();
    let mut networks = BTreeMap::new();
    for (name, endpoint) in joined {
        let declared =
            asked.context.networks.iter().find(|(_, (known, _))| *known == *name).map(|(key, _)| key.clone());
        // The first one has the default route.
        let priority = (name == main && made.joins_several()).then_some(1);
        networks.insert(declared.or_else(|| made.key(&name)).ok_or(Untold)?, attachment(made, &endpoint, priority));
    }
    Ok(Some(networks))
}

fn attachment(made: Made<'_>, endpoint: &EndpointSettings, priority: Option<i32>) -> NetworkAttachment {
    let id = made.container.id.as_deref().unwrap_or_default();
    let hostname = made.container.config.as_ref().and_then(|config| config.hostname.as_deref());
    // Compose adds the names of service and container, the engine its short id or its host name.
    let own = |alias: &&String| {
        *alias != made.name()
            && **alias != made.service.name
            && !id.starts_with(alias.as_str())
            && Some(alias.as_str()) != hostname
    };
    let fixed = endpoint.ipam_config.clone().unwrap_or_default();
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    NetworkAttachment {
        aliases: endpoint.aliases.iter().flatten().filter(own).cloned().collect(),
        ipv4_address: text(fixed.ipv4_address),
        ipv6_address: text(fixed.ipv6_address),
        link_local_ips: fixed.link_local_ips.unwrap_or_default(),
        priority,
        driver_opts: endpoint.driver_opts.clone().unwrap_or_default().into_iter().collect(),
        gw_priority: endpoint.gw_priority.filter(|priority| *priority != 0),
        ..NetworkAttachment::default()
    }
}
