//! The part of a container's configuration that the host lends it: limits, capabilities, ports, policies. Where a document
//! says nothing, the engine's default is its own affair: logging, runtime, shared memory and the like may be set in its
//! configuration, and are no differences.

use std::collections::BTreeMap;

use bollard::models::{DeviceMapping, HostConfig, RestartPolicyNameEnum};

use super::differences::{Differences, sorted, unlike};

pub(super) fn compare(all: &mut Differences, is: &HostConfig, ought: &HostConfig) {
    limits(all, is, ought);
    privileges(all, is, ought);
    let policy = |config: &HostConfig| {
        let policy = config.restart_policy.clone().unwrap_or_default();
        let name = policy.name.filter(|name| *name != RestartPolicyNameEnum::EMPTY).map(|name| name.to_string());
        let name = name.unwrap_or_else(|| "no".to_owned());
        let times = policy.maximum_retry_count.filter(|times| *times != 0 && name == "on-failure");
        times.map_or(name.clone(), |times| format!("{name}:{times}"))
    };
    all.word("restart", &policy(is), &policy(ought));
    all.unless(published(is) == published(ought), "ports");
    let hosts = |config: &HostConfig| {
        let hosts = config.extra_hosts.iter().flatten();
        sorted(Some(&hosts.map(|entry| entry.replacen('=', ":", 1)).collect::<Vec<_>>()))
    };
    all.unless(hosts(is) == hosts(ought), "extra_hosts");
    let exactly = |list: &Option<Vec<String>>| list.clone().unwrap_or_default();
    all.unless(exactly(&is.dns) == exactly(&ought.dns), "dns");
    all.unless(exactly(&is.dns_search) == exactly(&ought.dns_search), "dns_search");
    all.unless(exactly(&is.dns_options) == exactly(&ought.dns_options), "dns_opt");
    if let Some(ought) = &ought.log_config {
        let is = is.log_config.clone().unwrap_or_default();
        let same_driver = ought.typ.is_none() || ought.typ == is.typ;
        // Other options may be the engine's `log-opts`.
        let has = is.config.unwrap_or_default();
        let same = ought.config.iter().flatten().all(|(name, value)| has.get(name) == Some(value));
        all.unless(same_driver && same, "logging");
    }
    map(all, "annotations", is.annotations.as_ref(), ought.annotations.as_ref());
    map(all, "storage_opt", is.storage_opt.as_ref(), ought.storage_opt.as_ref());
    map(all, "sysctls", is.sysctls.as_ref(), ought.sysctls.as_ref());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    // The engine's own default, told in words.
    let ipc = match text(&is.ipc_mode).as_str() {
        "private" | "shareable" if ought.ipc_mode.is_none() => String::new(),
        mode => mode.to_owned(),
    };
    all.word("ipc", &ipc, &text(&ought.ipc_mode));
    all.word("pid", &text(&is.pid_mode), &text(&ought.pid_mode));
    all.word("uts", &text(&is.uts_mode), &text(&ought.uts_mode));
    all.word("userns_mode", &text(&is.userns_mode), &text(&ought.userns_mode));
    all.word("cgroup_parent", &text(&is.cgroup_parent), &text(&ought.cgroup_parent));
    if let Some(runtime) = &ought.runtime {
        all.word("runtime", &text(&is.runtime), runtime);
    }
    if let Some(mode) = ought.cgroupns_mode {
        all.unless(is.cgroupns_mode == Some(mode), "cgroup");
    }
    all.flag("init", is.init, ought.init);
}

fn limits(all: &mut Differences, is: &HostConfig, ought: &HostConfig) {
    all.number("cpus", is.nano_cpus, ought.nano_cpus);
    all.number("cpu_shares", is.cpu_shares, ought.cpu_shares);
    all.number("cpu_quota", is.cpu_quota, ought.cpu_quota);
    all.number("cpu_period", is.cpu_period, ought.cpu_period);
    all.number("cpu_rt_period", is.cpu_realtime_period, ought.cpu_realtime_period);
    all.number("cpu_rt_runtime", is.cpu_realtime_runtime, ought.cpu_realtime_runtime);
    all.unless(blkio(is) == blkio(ought), "blkio_config");
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    all.word("cpuset", &text(&is.cpuset_cpus), &text(&ought.cpuset_cpus));
    all.number("mem_limit", is.memory, ought.memory);
    all.number("mem_reservation", is.memory_reservation, ought.memory_reservation);
    // Not given, the engine makes it twice the limit, or nothing.
    if ought.memory_swap.is_some_and(|swap| swap != 0) {
        all.number("memswap_limit", is.memory_swap, ought.memory_swap);
    } else {
        let usual = is.memory_swap.is_none_or(|swap| swap == 0 || Some(swap) == is.memory.map(|memory| memory * 2));
        all.unless(usual, "memswap_limit");
    }
    // -1 is the engine's word for not given.
    let swappiness = |number: Option<i64>| number.filter(|number| *number != -1);
    all.unless(swappiness(is.memory_swappiness) == swappiness(ought.memory_swappiness), "mem_swappiness");
    all.number("oom_score_adj", is.oom_score_adj, ought.oom_score_adj);
    all.flag("oom_kill_disable", is.oom_kill_disable, ought.oom_kill_disable);
    let pids = |number: Option<i64>| number.filter(|number| *number > 0);
    all.number("pids_limit", pids(is.pids_limit), pids(ought.pids_limit));
    let ulimits = |config: &HostConfig| -> BTreeMap<String, (Option<i64>, Option<i64>)> {
        let limits = config.ulimits.iter().flatten();
        limits.map(|limit| (limit.name.clone().unwrap_or_default(), (limit.soft, limit.hard))).collect()
    };
    // Others may be the engine's `default-ulimits`.
    let has = ulimits(is);
    all.named(
        "ulimits",
        ulimits(ought).into_iter().filter(|(name, limit)| has.get(name) != Some(limit)).map(|(name, _)| name).collect(),
    );
    if let Some(size) = ought.shm_size {
        all.number("shm_size", is.shm_size, Some(size));
    }
}

fn privileges(all: &mut Differences, is: &HostConfig, ought: &HostConfig) {
    let capabilities = |list: Option<&Vec<String>>| {
        let bare = list.into_iter().flatten().map(|one| one.to_uppercase());
        sorted(Some(&bare.map(|one| one.trim_start_matches("CAP_").to_owned()).collect::<Vec<_>>()))
    };
    all.unless(capabilities(is.cap_add.as_ref()) == capabilities(ought.cap_add.as_ref()), "cap_add");
    all.unless(capabilities(is.cap_drop.as_ref()) == capabilities(ought.cap_drop.as_ref()), "cap_drop");
    let options = |config: &HostConfig| {
        let options = config.security_opt.iter().flatten();
        // The engine adds this where there is nothing to confine.
        let options = options.filter(|option| *option != "label=disable");
        let plain = |option: &String| match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges=true" => "no-new-privileges".to_owned(),
            option => option.to_owned(),
        };
        sorted(Some(&options.map(plain).collect::<Vec<_>>()))
    };
    all.unless(options(is) == options(ought), "security_opt");
    all.words("group_add", is.group_add.as_deref(), ought.group_add.as_deref());
    all.flag("privileged", is.privileged, ought.privileged);
    all.flag("read_only", is.readonly_rootfs, ought.readonly_rootfs);
    let devices = |list: Option<&Vec<DeviceMapping>>| -> BTreeMap<String, (String, String)> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let each = list.into_iter().flatten().map(|one| {
            let permissions = Some(text(&one.cgroup_permissions)).filter(|word| !word.is_empty());
            let permissions = permissions.unwrap_or_else(|| "rwm".to_owned());
            (text(&one.path_in_container), (text(&one.path_on_host), permissions))
        });
        each.collect()
    };
    all.named("devices", unlike(&devices(is.devices.as_ref()), &devices(ought.devices.as_ref())));
    all.unless(requests(is) == requests(ought), "gpus, or devices of drivers");
    all.words("device_cgroup_rules", is.device_cgroup_rules.as_deref(), ought.device_cgroup_rules.as_deref());
}

/// The limits of block devices, each as one line.
fn blkio(config: &HostConfig) -> Vec<String> {
    let weights = config.blkio_weight_device.iter().flatten();
    let weights = weights.map(|one| format!("weight {:?} {:?}", one.path, one.weight));
    let throttles = [
        ("read_bps", &config.blkio_device_read_bps),
        ("read_iops", &config.blkio_device_read_iops),
        ("write_bps", &config.blkio_device_write_bps),
        ("write_iops", &config.blkio_device_write_iops),
    ];
    let throttles = throttles.into_iter().flat_map(|(key, devices)| {
        devices.iter().flatten().map(move |one| format!("{key} {:?} {:?}", one.path, one.rate))
    });
    let weight = config.blkio_weight.filter(|weight| *weight != 0).map(|weight| format!("weight {weight}"));
    sorted(Some(&weights.chain(throttles).chain(weight).collect::<Vec<_>>()))
}

/// What is asked of drivers of devices, each as one line.
fn requests(config: &HostConfig) -> Vec<String> {
    let each = config.device_requests.iter().flatten().map(|one| {
        let capabilities: Vec<_> = one.capabilities.iter().flatten().map(|all| sorted(Some(all))).collect();
        let options: BTreeMap<_, _> = one.options.iter().flatten().collect();
        let driver = one.driver.as_deref().unwrap_or_default();
        let count = one.count.unwrap_or_default();
        format!("{driver} {count} {:?} {capabilities:?} {options:?}", sorted(one.device_ids.as_deref()))
    });
    sorted(Some(&each.collect::<Vec<_>>()))
}

/// Container port, address and host port of each publication.
fn published(config: &HostConfig) -> Vec<String> {
    let bindings = config.port_bindings.iter().flatten();
    let each = bindings.flat_map(|(port, bindings)| {
        bindings.iter().flatten().map(move |binding| {
            let ip = binding.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0");
            let host = binding.host_port.as_deref().filter(|port| !port.is_empty()).unwrap_or("0");
            format!("{ip}:{host}:{port}")
        })
    });
    sorted(Some(&each.collect::<Vec<_>>()))
}

fn map(
    all: &mut Differences,
    key: &str,
    is: Option<&std::collections::HashMap<String, String>>,
    ought: Option<&std::collections::HashMap<String, String>>,
) {
    let sorted = |map: Option<&std::collections::HashMap<String, String>>| -> BTreeMap<String, String> {
        map.cloned().unwrap_or_default().into_iter().collect()
    };
    all.named(key, unlike(&sorted(is), &sorted(ought)));
}
