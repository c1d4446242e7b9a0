//! FRONTS: what `front:` in a service means, said as a second service of the same project, so that it is created,
//! healed, rolled and rolled back as any other. Pure; who its replicas send to is brought to it by `traffic/haproxy`.

mod config;

use std::collections::BTreeMap;

use crd_schema::{
    ComposeDuration, DeployHook, Generated, GeneratedFile, Hooks, ImageRef, NetworkAttachment, OnInterrupt, Readiness,
    RestartPolicy, Rollout, ServiceSpec, TcpProbe,
};

use self::config::LUA_PATH;
pub use self::config::{RUNTIME_PORT, section};
use crate::model::{DesiredProject, DesiredService, ServiceName};
use crate::plan::policy::drain_timeout;

/// The image of fronts, unless they name another.
pub const IMAGE: &str = "haproxy:3.0-alpine";
/// Where the way to it for a controller in a container listens, in the same namespace.
pub const BRIDGE_PORT: u16 = 19998;

/// The files of a front.
const CONFIG: &str = "/etc/composed/front.cfg";
const SUFFIX: &str = "-front";
/// A front that was told to stop has so long beyond the requests in flight on it.
const GRACE_MARGIN: u64 = 5;
/// Reading a configuration takes milliseconds (seconds).
const CHECK_TIMEOUT: u64 = 30;

/// The name of a service's front.
pub fn name(service: &ServiceName) -> ServiceName {
    ServiceName::new(&service.project, format!("{}{SUFFIX}", service.name))
}

/// The service whose front would bear this name.
pub fn owner(front: &ServiceName) -> Option<ServiceName> {
    let owner = front.name.strip_suffix(SUFFIX).filter(|owner| !owner.is_empty())?;
    Some(ServiceName::new(&front.project, owner))
}

/// The front of a service, as a service of its own; nothing if it asks for none.
pub fn of(service: &DesiredService, project: &DesiredProject) -> Option<DesiredService> {
    let front = service.spec.front.as_ref()?;
    let spec = &service.spec;
    let ports = spec.front_ports();
    let networks = networks(service);
    let drain = drain_timeout(spec);
    let ipv6 =
        networks.keys().any(|key| project.networks.get(key).is_some_and(|network| network.enable_ipv6 == Some(true)));
    let content = config::text(&service.name, front, &ports, drain, ipv6);
    let file = |path: &str, content: String| GeneratedFile { path: path.to_owned(), content };
    let own = ServiceSpec {
        image: front.image.clone().unwrap_or_else(|| ImageRef::new(IMAGE)),
        entrypoint: Some(["haproxy", "-db", "-f", CONFIG].map(str::to_owned).to_vec()),
        command: Some(Vec::new()),
        ports: spec.ports.clone(),
        expose: ports.keys().map(|port| format!("{port}/tcp")).collect(),
        networks: Some(networks),
        mac_address: spec.mac_address.clone(),
        restart: Some(RestartPolicy::UnlessStopped),
        // HAProxy's soft stop: listen no more, finish what is under way.
        stop_signal: Some("SIGUSR1".to_owned()),
        stop_grace_period: Some((drain + std::time::Duration::from_secs(GRACE_MARGIN)).into()),
        // Withdrawing a front moves nobody: whoever has its address keeps coming until it stops to listen.
        drain_timeout: Some(ComposeDuration::default()),
        readiness: ports.keys().next().map(|port| Readiness {
            tcp: Some(TcpProbe { port: *port }),
            period: Some(ComposeDuration::from_millis(500)),
            ..Readiness::default()
        }),
        rollout: Some(Rollout {
            min_ready: Some(ComposeDuration::default()),
            progress_deadline: spec.rollout.as_ref().and_then(|rollout| rollout.progress_deadline),
            failure_action: spec.rollout.as_ref().and_then(|rollout| rollout.failure_action),
            ..Rollout::default()
        }),
        // HAProxy itself says whether it understands the configuration, while the front before this one serves.
        hooks: Some(Hooks {
            pre_deploy: Some(DeployHook {
                entrypoint: Some(["haproxy", "-c", "-f", CONFIG].map(str::to_owned).to_vec()),
                command: Some(Vec::new()),
                timeout: Some(ComposeDuration::from_secs(CHECK_TIMEOUT)),
                on_interrupt: Some(OnInterrupt::Rerun),
                ..DeployHook::default()
            }),
            post_deploy: None,
        }),
        cap_drop: vec!["ALL".to_owned()],
        cap_add: vec!["NET_BIND_SERVICE".to_owned()],
        security_opt: vec!["no-new-privileges:true".to_owned()],
        logging: spec.logging.clone(),
        platform: spec.platform.clone(),
        pull_policy: spec.pull_policy,
        paused: spec.paused,
        replicas: (spec.replicas == Some(0)).then_some(0),
        generated: Some(Generated {
            front_of: service.name.name.clone(),
            files: vec![file(CONFIG, content), file(LUA_PATH, config::LUA.to_owned())],
        }),
        ..ServiceSpec::default()
    };
    let front = DesiredService::new(name(&service.name), own, &service.source);
    Some(DesiredService { commit: service.commit.clone(), ..front })
}

/// The service's networks, with its name and its aliases, which are the front's.
fn networks(service: &DesiredService) -> BTreeMap<String, NetworkAttachment> {
    let default = || BTreeMap::from([("default".to_owned(), NetworkAttachment::default())]);
    let mut networks = service.spec.networks.clone().filter(|networks| !networks.is_empty()).unwrap_or_else(default);
    for attachment in networks.values_mut() {
        attachment.aliases.retain(|alias| *alias != service.name.name);
        attachment.aliases.insert(0, service.name.name.clone());
    }
    networks
}

#[cfg(test)]
mod tests;
