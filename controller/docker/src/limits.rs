//! The resource limits of a create body. Pure.

use bollard::models::{HostConfig, ResourcesBlkioWeightDevice, ResourcesUlimits, ThrottleDevice};
use crd_schema::{ByteSize, Decimal, ServiceSpec};

/// Adds the limits of `spec` to `config`. Where a limit is given twice, `deploy.resources` wins.
/// Source: compose v5 `pkg/compose/create.go`, `getDeployResources`.
pub(super) fn added(config: HostConfig, spec: &ServiceSpec) -> HostConfig {
    let resources = spec.deploy.as_ref().and_then(|deploy| deploy.resources.as_ref());
    let limits = resources.and_then(|resources| resources.limits.clone()).unwrap_or_default();
    let reserved = resources.and_then(|resources| resources.reservations.clone()).unwrap_or_default();
    if reserved.cpus.is_some() {
        // As Compose: CPUs can be limited on a host, but only a cluster's scheduler can reserve them.
        tracing::warn!(
            image = spec.image.as_str(),
            "deploy.resources.reservations.cpus has no effect on a single engine"
        );
    }
    let ulimits = spec.ulimits.iter().map(|(name, limit)| ResourcesUlimits {
        name: Some(name.clone()),
        soft: Some(limit.soft),
        hard: Some(limit.hard),
    });
    let blkio = spec.blkio_config.clone().unwrap_or_default();
    let weights = blkio
        .weight_device
        .into_iter()
        .map(|device| ResourcesBlkioWeightDevice { path: Some(device.path), weight: Some(usize::from(device.weight)) });
    HostConfig {
        blkio_weight: blkio.weight,
        blkio_weight_device: super::target_engine::list(weights.collect()),
        blkio_device_read_bps: throttled(blkio.device_read_bps),
        blkio_device_read_iops: throttled(blkio.device_read_iops),
        blkio_device_write_bps: throttled(blkio.device_write_bps),
        blkio_device_write_iops: throttled(blkio.device_write_iops),
        cpu_realtime_period: spec.cpu_rt_period,
        cpu_realtime_runtime: spec.cpu_rt_runtime,
        nano_cpus: limits.cpus.as_ref().or(spec.cpus.as_ref()).map(nano),
        cpu_shares: spec.cpu_shares,
        cpu_quota: spec.cpu_quota,
        cpu_period: spec.cpu_period,
        cpuset_cpus: spec.cpuset.clone(),
        memory: limits.memory.or(spec.mem_limit).map(bytes),
        memory_reservation: reserved.memory.or(spec.mem_reservation).map(bytes),
        memory_swap: spec.memswap_limit.map(crd_schema::SwapLimit::get),
        memory_swappiness: spec.mem_swappiness,
        oom_score_adj: spec.oom_score_adj,
        oom_kill_disable: spec.oom_kill_disable.then_some(true),
        pids_limit: limits.pids.or(spec.pids_limit),
        ulimits: super::target_engine::list(ulimits.collect()),
        shm_size: spec.shm_size.map(bytes),
        ..config
    }
}

fn throttled(devices: Vec<crd_schema::ThrottleDevice>) -> Option<Vec<ThrottleDevice>> {
    let each = devices.into_iter().map(|one| ThrottleDevice { path: Some(one.path), rate: Some(bytes(one.rate)) });
    super::target_engine::list(each.collect())
}

fn bytes(size: ByteSize) -> i64 {
    i64::try_from(size.get()).unwrap_or(i64::MAX)
}

fn nano(cpus: &Decimal) -> i64 {
    i64::try_from(cpus.nano()).unwrap_or(i64::MAX)
}
