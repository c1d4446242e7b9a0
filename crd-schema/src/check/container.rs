//! Rules about one container: image, mounts, limits, signals.

use super::findings::Findings;
use super::image;
use crate::{Mount, MountKind, ServiceSpec};

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    if let Some((message, help)) = image::wrong(spec.image.as_str()) {
        findings.add(&["spec", "image"], message, help);
    }
    if let Some(signal) = &spec.stop_signal
        && !is_signal(signal)
    {
        let help = "write a name such as `SIGTERM` or `SIGQUIT`, or a number from 1 to 64";
        findings.add(&["spec", "stop_signal"], format!("`{signal}` is not a signal"), help);
    }
    mounts(spec, findings);
    files(spec, findings);
    limits(spec, findings);
    requests(spec, findings);
    for (index, file) in spec.env_file.iter().enumerate() {
        let path = ["spec", "env_file", &index.to_string(), "format"];
        if file.format.as_deref().is_some_and(|format| format != "raw") {
            findings.add(&path, "the only format of an env_file is `raw`", "write `format: raw`, or remove it");
        }
        if file.path.is_empty() {
            let path = ["spec", "env_file", &index.to_string()];
            findings.add(&path, "the path of an env_file is empty", "write a path, such as `./app.env`");
        }
    }
}

fn files(spec: &ServiceSpec, findings: &mut Findings) {
    let mut paths = Vec::new();
    for (index, file) in spec.files.iter().enumerate() {
        let place = ["spec", "files", &index.to_string()];
        let plain =
            file.path.starts_with('/') && !file.path.ends_with('/') && !file.path.split('/').any(|part| part == "..");
        if !plain {
            let message = format!("`{}` is not the absolute path of a file", file.path);
            findings.add(&place, message, "write a path such as `/etc/app.conf`");
        }
        if paths.contains(&&file.path) {
            findings.add(&place, format!("`{}` is put there twice", file.path), "keep one of the two");
        }
        let within = |target: &str| {
            let target = target.trim_end_matches('/');
            file.path.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mounts = spec.volumes.iter().map(|mount| mount.target.as_str());
        let memory = spec.tmpfs.iter().map(|line| line.split(':').next().unwrap_or_default());
        if let Some(target) = mounts.chain(memory).find(|target| within(target)) {
            let message = format!("`{}` would be put below the mount on `{target}`", file.path);
            findings.add(&place, message, "put it elsewhere, or mount a file of the host");
        }
        paths.push(&file.path);
    }
    if spec.read_only && !spec.files.is_empty() {
        let help = "mount files of the host instead, or remove `read_only`";
        findings.add(&["spec", "read_only"], "no file can be put into a root file system that is read-only", help);
    }
}

fn mounts(spec: &ServiceSpec, findings: &mut Findings) {
    let bare = |target: &str| target.trim_end_matches('/').to_owned();
    let mut targets: Vec<String> = Vec::new();
    for (index, mount) in spec.volumes.iter().enumerate() {
        let index = index.to_string();
        let path = ["spec", "volumes", index.as_str()];
        if let Some((message, help)) = wrong_mount(mount) {
            findings.add(&path, message, help);
        }
        let target = bare(&mount.target);
        if targets.contains(&target) {
            let message = format!("`{}` is mounted twice", mount.target);
            findings.add(&path, message, "mount each target once");
        }
        targets.push(target);
    }
    for line in &spec.tmpfs {
        let target = line.split(':').next().unwrap_or_default();
        if !target.starts_with('/') {
            findings.add(
                &["spec", "tmpfs"],
                format!("`{target}` is not an absolute path"),
                "write a path such as `/run`",
            );
        }
        if targets.contains(&bare(target)) {
            findings.add(&["spec", "tmpfs"], format!("`{target}` is mounted twice"), "mount each target once");
        }
        targets.push(bare(target));
    }
}

fn wrong_mount(mount: &Mount) -> Option<(String, &'static str)> {
    let source = mount.source.as_deref();
    if !mount.target.starts_with('/') {
        return Some((
            format!("the mount's target `{}` is not an absolute path", mount.target),
            "write it from the root: `/data`",
        ));
    }
    if mount.target.trim_end_matches('/').is_empty() {
        return Some((
            "a mount cannot take the place of the root `/`".to_owned(),
            "mount it below, such as at `/data`",
        ));
    }
    let wrong = match (mount.kind, source) {
        (MountKind::Bind, None) => ("a bind needs a source", "write `source: /path/on/the/host`"),
        (MountKind::Bind, Some(path)) if path.starts_with('~') => {
            ("the source starts with `~`", "write the path in full: composed has no home directory")
        }
        (MountKind::Volume, Some(name)) if name.contains('/') => {
            ("a volume's source is its name, not a path", "write `type: bind` for a path of the host")
        }
        (MountKind::Tmpfs, Some(_)) => ("a tmpfs has no source", "remove `source`"),
        (MountKind::Bind, _) if recursion(mount).is_some_and(|word| !RECURSIONS.contains(&word)) => {
            ("`recursive` is none of its words", "write `enabled`, `disabled`, `writable` or `readonly`")
        }
        (MountKind::Bind, _) if matches!(recursion(mount), Some("writable" | "readonly")) && !mount.read_only => {
            ("`recursive` of what may be written to", "write `read_only: true` beside it, or `enabled` or `disabled`")
        }
        (kind, _) if kind != MountKind::Bind && mount.bind.is_some() => {
            ("`bind` options on what is no bind", "remove `bind`")
        }
        (kind, _) if kind != MountKind::Volume && mount.volume.is_some() => {
            ("`volume` options on what is no volume", "remove `volume`")
        }
        (kind, _) if kind != MountKind::Tmpfs && mount.tmpfs.is_some() => {
            ("`tmpfs` options on what is no tmpfs", "remove `tmpfs`")
        }
        _ => return None,
    };
    Some((wrong.0.to_owned(), wrong.1))
}

const RECURSIONS: [&str; 4] = ["enabled", "disabled", "writable", "readonly"];

fn recursion(mount: &Mount) -> Option<&str> {
    mount.bind.as_ref()?.recursive.as_deref()
}

/// What is asked of drivers of devices.
fn requests(spec: &ServiceSpec, findings: &mut Findings) {
    let resources = spec.deploy.as_ref().and_then(|deploy| deploy.resources.as_ref());
    let reserved = resources.and_then(|resources| resources.reservations.as_ref());
    let reserved = reserved.map_or(&[][..], |reserved| reserved.devices.as_slice());
    let places = [
        (&["spec", "gpus"][..], &spec.gpus[..]),
        (&["spec", "deploy", "resources", "reservations", "devices"], reserved),
    ];
    for (path, request) in places.into_iter().flat_map(|(path, all)| all.iter().map(move |request| (path, request))) {
        if request.count.is_some() && !request.device_ids.is_empty() {
            findings.add(path, "devices by number and by name", "keep one of the two: `count` or `device_ids`");
        }
        if path.len() > 2 && request.capabilities.is_empty() {
            findings.add(path, "devices without `capabilities`", "write what they must be able to do, such as `[gpu]`");
        }
    }
    for device in spec.devices.iter().filter(|device| !device.source.starts_with('/') && !device.is_named()) {
        let help = "write a path such as `/dev/fuse`";
        findings.add(&["spec", "devices"], format!("`{}` is not the path of a device", device.source), help);
    }
}

fn limits(spec: &ServiceSpec, findings: &mut Findings) {
    let resources = spec.deploy.as_ref().and_then(|deploy| deploy.resources.as_ref());
    let limits = resources.and_then(|resources| resources.limits.as_ref());
    let reserved = resources.and_then(|resources| resources.reservations.as_ref());
    let cpus = limits.and_then(|limits| limits.cpus.as_ref());
    let memory = limits.and_then(|limits| limits.memory);
    let differ = [
        ("mem_limit", spec.mem_limit.zip(memory).is_some_and(|(a, b)| a != b), "deploy.resources.limits.memory"),
        (
            "cpus",
            spec.cpus.as_ref().zip(cpus).is_some_and(|(a, b)| a.nano() != b.nano()),
            "deploy.resources.limits.cpus",
        ),
        (
            "pids_limit",
            spec.pids_limit.zip(limits.and_then(|limits| limits.pids)).is_some_and(|(a, b)| a != b),
            "deploy.resources.limits.pids",
        ),
        (
            "mem_reservation",
            spec.mem_reservation.zip(reserved.and_then(|reserved| reserved.memory)).is_some_and(|(a, b)| a != b),
            "deploy.resources.reservations.memory",
        ),
    ];
    for (key, differs, other) in differ {
        if differs {
            findings.add(&["spec", key], format!("{key} and {other} differ"), "keep one of the two");
        }
    }
    if spec.cpu_quota.is_some() && (spec.cpus.is_some() || cpus.is_some()) {
        findings.add(&["spec", "cpu_quota"], "cpu_quota and cpus both limit the CPU", "keep `cpus`");
    }
    let memory = spec.mem_limit.or(memory);
    if let Some(swap) = spec.memswap_limit
        && swap.get() >= 0
        && memory.is_none_or(|memory| swap.get().unsigned_abs() < memory.0)
    {
        let help = "memswap_limit is memory and swap together: write a `mem_limit`, and a memswap_limit not below it";
        findings.add(&["spec", "memswap_limit"], "memswap_limit without a mem_limit it contains", help);
    }
    let ranges = [
        ("mem_swappiness", spec.mem_swappiness, 0, 100),
        ("oom_score_adj", spec.oom_score_adj, -1000, 1000),
        ("cpu_shares", spec.cpu_shares, 0, 262_144),
        ("blkio_config", spec.blkio_config.as_ref().and_then(|blkio| blkio.weight).map(i64::from), 10, 1000),
    ];
    for (key, value, min, max) in ranges {
        if value.is_some_and(|value| !(min..=max).contains(&value)) {
            findings.add(
                &["spec", key],
                format!("{key} is out of range"),
                format!("write a number from {min} to {max}"),
            );
        }
    }
    for (name, limit) in &spec.ulimits {
        let unlimited = |value: i64| if value < 0 { i64::MAX } else { value };
        if unlimited(limit.soft) > unlimited(limit.hard) {
            let help = "write a hard limit that is not below the soft one";
            findings.add(&["spec", "ulimits", name], format!("the soft limit of `{name}` is above the hard one"), help);
        }
    }
}

/// The signals of Linux, with or without `SIG`, and numbers.
fn is_signal(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "POLL", "PWR", "SYS", "RTMIN", "RTMAX",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let real_time = name.strip_prefix("RTMIN+").or_else(|| name.strip_prefix("RTMAX-"));
    NAMES.contains(&name) || real_time.is_some_and(|offset| offset.parse::<u8>().is_ok_and(|offset| offset <= 30))
}
