//! From a blueprint to the body of the create call: every key of a `ServiceSpec` has one line here or in the three
//! files it leans on (`limits`, `mounts`, `endpoints`), or is refused with its name. Pure.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, NetworkingConfig,
    PortBinding, PortMap, RestartPolicy as EnginePolicy, RestartPolicyNameEnum,
};
use composed_core::engine::{ActionContext, EngineError};
use composed_core::plan::action::{Blueprint, Target};
use crd_schema::{ComposeDuration, Healthcheck, RestartPolicy, ServiceSpec, VolumeName};

use super::{
    devices,
    endpoints::{self, Endpoints},
    errors::rejected,
    labels, limits, mounts,
    target_engine::{Engine, list, map},
};

/// What is asked of the engine to make one replica.
#[derive(Debug)]
pub(super) struct Creation {
    /// The body of the create call.
    pub(super) body: ContainerCreateBody,
    /// `?platform=`.
    pub(super) platform: String,
    /// Networks that this engine can only join after the creation.
    pub(super) later: Endpoints,
}

/// The creation of one replica. `Rejected` when a key cannot be carried to this engine.
pub(super) fn creation(
    print: &Blueprint,
    context: &ActionContext,
    engine: Engine<'_>,
) -> Result<Creation, EngineError> {
    let spec = &*beside(print.spec.of_replicas(), &print.joins)?;
    let mut labels = labels::of_container(print, engine.instance, engine.image_id)?;
    // A front has the service's name in the replicas' place; a hook serves nobody.
    let named = spec.front.is_none() && print.hook.is_none();
    let joined = endpoints::of(Some(print.service.name.as_str()).filter(|_| named), spec, context, engine)?;
    if !joined.later.is_empty() {
        let later = serde_json::to_string(&joined.later).map_err(|error| rejected(error.to_string()))?;
        labels.insert(labels::ENDPOINTS.to_owned(), later);
    }
    if let Some(generated) = spec.generated.as_ref().filter(|generated| !generated.files.is_empty()) {
        let files = serde_json::to_string(&generated.files).map_err(|error| rejected(error.to_string()))?;
        labels.insert(labels::FILES.to_owned(), files);
    }
    if !spec.files.is_empty() {
        labels.insert(labels::PUT.to_owned(), spec.files.len().to_string());
    }
    let body = ContainerCreateBody {
        image: Some(spec.image.to_string()),
        cmd: spec.command.clone(),
        entrypoint: entrypoint(spec),
        env: list(environment(spec)),
        labels: Some(labels.into_iter().collect()),
        exposed_ports: exposed(spec)?,
        healthcheck: spec.healthcheck.as_ref().map(|check| healthcheck(check, engine)).transpose()?,
        stop_signal: spec.stop_signal.clone(),
        stop_timeout: spec.stop_grace_period.map(whole_seconds),
        user: spec.user.clone(),
        working_dir: spec.working_dir.clone(),
        hostname: spec.hostname.clone(),
        domainname: spec.domainname.clone(),
        tty: flag(spec.tty),
        open_stdin: flag(spec.stdin_open),
        host_config: Some(host_config(spec, &print.volumes, context, engine, joined.mode)?),
        networking_config: (!joined.first.is_empty())
            .then(|| NetworkingConfig { endpoints_config: Some(joined.first.into_iter().collect()) }),
        ..ContainerCreateBody::default()
    };
    Ok(Creation { body, platform: spec.platform.clone().unwrap_or_default(), later: joined.later })
}

/// The specification with the containers whose namespaces are joined in place of their services.
/// The variables; a name alone takes away what the image sets. Source: moby `daemon/commit.go`, `merge`.
fn environment(spec: &ServiceSpec) -> Vec<String> {
    let set = spec.environment.iter().map(|(name, value)| format!("{name}={value}"));
    set.chain(spec.unset_environment.iter().cloned()).collect()
}

fn beside<'a>(
    spec: Cow<'a, ServiceSpec>,
    joins: &BTreeMap<String, Target>,
) -> Result<Cow<'a, ServiceSpec>, EngineError> {
    let modes = [("network_mode", &spec.network_mode), ("ipc", &spec.ipc), ("pid", &spec.pid)];
    for (key, mode) in modes.into_iter().filter_map(|(key, mode)| Some((key, mode.as_deref()?))) {
        let known = mode.strip_prefix("service:").is_none_or(|service| joins.contains_key(service));
        if !known || mode.starts_with("container:") {
            return Err(rejected(format!("`{key}: {mode}` names no replica of a service of this project")));
        }
    }
    if spec.shares().next().is_none() {
        return Ok(spec);
    }
    let mut spec = spec.into_owned();
    for mode in [&mut spec.network_mode, &mut spec.ipc, &mut spec.pid].into_iter().flatten() {
        if let Some(target) = mode.strip_prefix("service:").and_then(|service| joins.get(service)) {
            *mode = format!("container:{}", target.id);
        }
    }
    Ok(Cow::Owned(spec))
}

fn host_config(
    spec: &ServiceSpec,
    inherited: &BTreeMap<String, VolumeName>,
    context: &ActionContext,
    engine: Engine<'_>,
    network_mode: String,
) -> Result<HostConfig, EngineError> {
    if !spec.annotations.is_empty() {
        engine.since(43, "annotations")?;
    }
    let mut mounted = mounts::of(&spec.volumes, context, engine)?;
    mounts::inherit(&mut mounted, inherited);
    let config = HostConfig {
        network_mode: Some(network_mode),
        port_bindings: published(spec),
        restart_policy: spec.engine_restart().map(restart_policy),
        binds: list(mounted.binds),
        mounts: list(mounted.mounts),
        tmpfs: map(spec.tmpfs.iter().map(|entry| split(entry, ':'))),
        extra_hosts: list(spec.extra_hosts.clone()),
        dns: list(spec.dns.clone()),
        dns_search: list(spec.dns_search.clone()),
        dns_options: list(spec.dns_opt.clone()),
        cap_add: list(spec.cap_add.clone()),
        cap_drop: list(spec.cap_drop.clone()),
        security_opt: list(spec.security_opt.clone()),
        group_add: list(spec.group_add.clone()),
        privileged: flag(spec.privileged),
        readonly_rootfs: flag(spec.read_only),
        sysctls: map(spec.sysctls.clone()),
        devices: devices::by_path(spec),
        device_requests: devices::requests(spec, engine)?,
        device_cgroup_rules: list(spec.device_cgroup_rules.clone()),
        init: spec.init,
        log_config: spec
            .logging
            .as_ref()
            .map(|logging| HostConfigLogConfig { typ: logging.driver.clone(), config: map(logging.options.clone()) }),
        annotations: map(spec.annotations.clone()),
        ipc_mode: spec.ipc.clone(),
        pid_mode: spec.pid.clone(),
        userns_mode: spec.userns_mode.clone(),
        uts_mode: spec.uts.clone(),
        cgroupns_mode: spec.cgroup.as_deref().map(cgroup).transpose()?,
        cgroup_parent: spec.cgroup_parent.clone(),
        runtime: spec.runtime.clone(),
        storage_opt: map(spec.storage_opt.clone()),
        ..HostConfig::default()
    };
    Ok(limits::added(config, spec))
}

/// An empty entrypoint clears the image's; the engine wants `[""]` for that, since `[]` means "not given".
/// Source: docker/cli `runconfig`, compose `convert`.
fn entrypoint(spec: &ServiceSpec) -> Option<Vec<String>> {
    spec.entrypoint.clone().map(|words| if words.is_empty() { vec![String::new()] } else { words })
}

fn healthcheck(check: &Healthcheck, engine: Engine<'_>) -> Result<HealthConfig, EngineError> {
    if check.disable {
        return Ok(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() });
    }
    if check.start_interval.is_some() {
        engine.since(44, "healthcheck.start_interval")?;
    }
    Ok(HealthConfig {
        test: list(check.test.clone()),
        interval: check.interval.map(nanos),
        timeout: check.timeout.map(nanos),
        start_period: check.start_period.map(nanos),
        start_interval: check.start_interval.map(nanos),
        retries: check.retries.map(i64::from),
    })
}

fn restart_policy(policy: RestartPolicy) -> EnginePolicy {
    let (name, times) = match policy {
        RestartPolicy::No => (RestartPolicyNameEnum::NO, None),
        RestartPolicy::Always => (RestartPolicyNameEnum::ALWAYS, None),
        RestartPolicy::UnlessStopped => (RestartPolicyNameEnum::UNLESS_STOPPED, None),
        RestartPolicy::OnFailure(times) => (RestartPolicyNameEnum::ON_FAILURE, times),
    };
    EnginePolicy { name: Some(name), maximum_retry_count: times.map(i64::from) }
}

/// `80`, `53/udp` or `8000-8010/tcp`, one entry a port, and whatever is published.
fn exposed(spec: &ServiceSpec) -> Result<Option<Vec<String>>, EngineError> {
    let mut ports = BTreeSet::new();
    for entry in &spec.expose {
        let (range, protocol) = entry.split_once('/').unwrap_or((entry, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            return Err(rejected(format!("`expose`: `{entry}` is neither a port nor a range of ports")));
        };
        ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
    }
    ports.extend(spec.ports.iter().map(|port| format!("{}/{}", port.target, port.protocol.as_str())));
    Ok(list(ports.into_iter().collect()))
}

fn published(spec: &ServiceSpec) -> Option<PortMap> {
    let mut bindings: BTreeMap<String, Vec<PortBinding>> = BTreeMap::new();
    for port in &spec.ports {
        let binding = PortBinding {
            host_ip: port.host_ip.clone(),
            host_port: port.published.map(|published| published.to_string()),
        };
        bindings.entry(format!("{}/{}", port.target, port.protocol.as_str())).or_default().push(binding);
    }
    map(bindings.into_iter().map(|(port, bindings)| (port, Some(bindings))))
}

fn cgroup(mode: &str) -> Result<HostConfigCgroupnsModeEnum, EngineError> {
    match mode {
        "host" => Ok(HostConfigCgroupnsModeEnum::HOST),
        "private" => Ok(HostConfigCgroupnsModeEnum::PRIVATE),
        _ => Err(rejected(format!("`cgroup`: `{mode}` is neither `host` nor `private`"))),
    }
}

/// `/run:size=64m` is `/run` and `size=64m`; without the separator the second part is empty.
fn split(entry: &str, at: char) -> (String, String) {
    let (name, value) = entry.split_once(at).unwrap_or((entry, ""));
    (name.to_owned(), value.to_owned())
}

/// The engine counts whole seconds: 1.5 s of grace are 2, never 1.
fn whole_seconds(duration: ComposeDuration) -> i64 {
    let micros = duration.get().as_micros();
    i64::try_from(micros.div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn nanos(duration: ComposeDuration) -> i64 {
    i64::try_from(duration.get().as_nanos()).unwrap_or(i64::MAX)
}

fn flag(on: bool) -> Option<bool> {
    on.then_some(true)
}
