//! What the host lends a container, as a document would ask for it: ports, limits, capabilities, policies.

use std::collections::BTreeMap;

use bollard::models::{HostConfig, RestartPolicyNameEnum};
use composed_core::model::JoinedNamespace;
use crd_schema::{ByteSize, Decimal, Device, Logging, Port, Protocol, RestartPolicy, ServiceSpec, SwapLimit, Ulimit};

use super::made::Untold;

/// `spec` with what the host lends.
///
/// # Errors
/// A namespace is that of a container without a service here, or a port is none.
pub(super) fn with(spec: ServiceSpec, host: &HostConfig, owners: &[JoinedNamespace]) -> Result<ServiceSpec, Untold> {
    let text = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let number = |number: Option<i64>| number.filter(|number| *number != 0);
    let map = |map: &Option<std::collections::HashMap<String, String>>| -> BTreeMap<String, String> {
        map.clone().unwrap_or_default().into_iter().collect()
    };
    let list = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    // Of these two the engine's own default comes in words.
    let ipc = text(&host.ipc_mode).filter(|mode| mode != "private" && mode != "shareable");
    let network_mode = text(&host.network_mode).filter(|mode| spec.networks.is_none() && mode != "default");
    let security = list(&host.security_opt).into_iter().filter(|option| option != "label=disable");
    Ok(ServiceSpec {
        network_mode: namespace(network_mode, owners)?,
        ipc: namespace(ipc, owners)?,
        pid: namespace(text(&host.pid_mode), owners)?,
        ports: ports(host).ok_or(Untold)?,
        restart: restart(host),
        extra_hosts: list(&host.extra_hosts).into_iter().map(|entry| entry.replacen('=', ":", 1)).collect(),
        dns: list(&host.dns),
        dns_search: list(&host.dns_search),
        dns_opt: list(&host.dns_options),
        cap_add: list(&host.cap_add),
        cap_drop: list(&host.cap_drop),
        security_opt: security.collect(),
        group_add: list(&host.group_add),
        privileged: host.privileged.unwrap_or(false),
        read_only: host.readonly_rootfs.unwrap_or(false),
        tmpfs: map(&host.tmpfs).into_iter().map(|(place, options)| in_memory(&place, &options)).collect(),
        shm_size: bytes(host.shm_size),
        sysctls: map(&host.sysctls),
        ulimits: ulimits(host),
        devices: devices(host),
        device_cgroup_rules: list(&host.device_cgroup_rules),
        init: host.init,
        logging: host.log_config.as_ref().map(|log| Logging { driver: text(&log.typ), options: map(&log.config) }),
        annotations: map(&host.annotations),
        cpus: number(host.nano_cpus).and_then(decimal),
        cpu_shares: number(host.cpu_shares),
        cpu_quota: number(host.cpu_quota),
        cpu_period: number(host.cpu_period),
        cpuset: text(&host.cpuset_cpus),
        cpu_rt_runtime: number(host.cpu_realtime_runtime),
        cpu_rt_period: number(host.cpu_realtime_period),
        mem_limit: bytes(host.memory),
        mem_reservation: bytes(host.memory_reservation),
        memswap_limit: swap(host),
        mem_swappiness: host.memory_swappiness.filter(|number| *number != -1),
        oom_score_adj: number(host.oom_score_adj),
        oom_kill_disable: host.oom_kill_disable.unwrap_or(false),
        pids_limit: host.pids_limit.filter(|number| *number > 0),
        userns_mode: text(&host.userns_mode),
        uts: text(&host.uts_mode),
        cgroup: host.cgroupns_mode.map(|mode| mode.to_string()).filter(|mode| !mode.is_empty()),
        cgroup_parent: text(&host.cgroup_parent),
        runtime: text(&host.runtime),
        storage_opt: map(&host.storage_opt),
        ..spec
    })
}

/// The namespace of a container is that of its service.
fn namespace(mode: Option<String>, owners: &[JoinedNamespace]) -> Result<Option<String>, Untold> {
    let Some(id) = mode.as_deref().and_then(|mode| mode.strip_prefix("container:")) else { return Ok(mode) };
    let owner = owners.iter().find(|owner| owner.id == id && !owner.service.is_empty()).ok_or(Untold)?;
    Ok(Some(format!("service:{}", owner.service)))
}

fn ports(host: &HostConfig) -> Option<Vec<Port>> {
    let mut ports = Vec::new();
    for (port, bindings) in host.port_bindings.iter().flatten() {
        let (target, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let protocol =
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|one| one.as_str() == protocol)?;
        for binding in bindings.iter().flatten() {
            let published = binding.host_port.as_deref().filter(|port| !port.is_empty() && *port != "0");
            ports.push(Port {
                target: target.parse().ok()?,
                published: published.map(str::parse).transpose().ok()?,
                host_ip: binding.host_ip.clone().filter(|ip| !ip.is_empty()),
                protocol,
                ..Port::default()
            });
        }
    }
    ports.sort_by(|a, b| (a.target, a.published, &a.host_ip).cmp(&(b.target, b.published, &b.host_ip)));
    Some(ports)
}

fn restart(host: &HostConfig) -> Option<RestartPolicy> {
    let policy = host.restart_policy.as_ref()?;
    let times = policy.maximum_retry_count.and_then(|times| u32::try_from(times).ok()).filter(|times| *times > 0);
    Some(match policy.name? {
        RestartPolicyNameEnum::ALWAYS => RestartPolicy::Always,
        RestartPolicyNameEnum::UNLESS_STOPPED => RestartPolicy::UnlessStopped,
        RestartPolicyNameEnum::ON_FAILURE => RestartPolicy::OnFailure(times),
        RestartPolicyNameEnum::NO | RestartPolicyNameEnum::EMPTY => return None,
    })
}

fn in_memory(place: &str, options: &str) -> String {
    if options.is_empty() { place.to_owned() } else { format!("{place}:{options}") }
}

fn bytes(size: Option<i64>) -> Option<ByteSize> {
    size.and_then(|size| u64::try_from(size).ok()).filter(|size| *size > 0).map(ByteSize)
}

/// Not given, the engine makes it twice the limit.
fn swap(host: &HostConfig) -> Option<SwapLimit> {
    match host.memory_swap? {
        -1 => Some(SwapLimit::Unlimited),
        swap if Some(swap) == host.memory.map(|memory| memory * 2) => None,
        swap => bytes(Some(swap)).map(SwapLimit::Bytes),
    }
}

fn ulimits(host: &HostConfig) -> BTreeMap<String, Ulimit> {
    let limits = host.ulimits.iter().flatten();
    limits.filter_map(|limit| Some((limit.name.clone()?, Ulimit { soft: limit.soft?, hard: limit.hard? }))).collect()
}

fn devices(host: &HostConfig) -> Vec<Device> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let each = host.devices.iter().flatten().map(|device| Device {
        source: text(&device.path_on_host),
        target: text(&device.path_in_container),
        permissions: text(&device.cgroup_permissions),
    });
    each.collect()
}

/// `500,000,000` thousand-millionths are `0.5`.
fn decimal(nano: i64) -> Option<Decimal> {
    let text = format!("{}.{:09}", nano / 1_000_000_000, nano % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').parse().ok()
}
