//! Rules about replicas, rollouts and health.

use std::time::Duration;

use super::findings::Findings;
use crate::{Healthcheck, IntOrPercent, Order, RestartPolicy, Rollout, Rounding, ServiceSpec};

/// Docker's own defaults of a healthcheck (moby daemon/health.go).
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// More containers than an engine can run, and small enough that no sum overflows.
const MOST: u32 = 10_000;
/// More attempts than anybody waits for.
const MOST_RETRIES: u32 = 1_000;

/// What is wrong with a rollout that may neither add nor miss a replica.
const CANNOT_MOVE: &str = "nothing can be replaced: max_surge and max_unavailable are both 0";
const CANNOT_MOVE_HELP: &str =
    "write `max_surge: 1` (one more runs meanwhile), or `max_unavailable: 1` (one is missing meanwhile)";

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    let replicas = spec.replicas.unwrap_or(1);
    if replicas > MOST {
        let help = "write a number that this host can run; for more hosts hand the service over to Swarm or Kubernetes";
        findings.add(&["spec", "replicas"], format!("{replicas} replicas, and at most {MOST} are possible"), help);
    }
    // What a front has, the replicas do not.
    let own = spec.of_replicas();
    let fixed_port = own.ports.iter().find_map(|port| port.published);
    if replicas > 1 {
        if spec.container_name.is_some() {
            let help = "remove it, or write `replicas: 1`: two containers cannot have one name";
            findings.add(&["spec", "container_name"], format!("container_name with {replicas} replicas"), help);
        }
        if let Some(port) = fixed_port {
            findings.add(
                &["spec", "ports"],
                format!("host port {port} with {replicas} replicas: only one of them could have it"),
                "write `replicas: 1`, leave the host port out (the engine takes a free one for each), or share it by \
                 `front: http` or `front: tcp`",
            );
        }
    }
    if let Some(rules) = &spec.rollout {
        check_rules(rules, findings);
        let start_first = rules.order == Some(Order::StartFirst) && replicas > 0;
        let reason = match fixed_port {
            Some(port) => Some(format!("both would need host port {port}")),
            None => fixed_address(&own).map(|key| format!("both would have the same {key}")),
        };
        if let (true, Some(reason)) = (start_first, reason) {
            findings.add(
                &["spec", "rollout", "order"],
                format!("start-first is impossible: old and new replica would run side by side, and {reason}"),
                "write `order: stop-first` (a short gap at each rollout) or `auto`, or remove what both would need (`front: http` \
                 takes a host port over)",
            );
        }
    }
    if let (true, Some(key)) = (replicas > 1, fixed_address(&own)) {
        let help = "remove it, or write `replicas: 1`";
        findings.add(&["spec", "networks"], format!("a fixed {key} with {replicas} replicas"), help);
    }
    restart(spec, findings);
    deadline(spec, findings);
    if let Some(check) = &spec.healthcheck {
        healthcheck(check, findings);
    }
    readiness(spec, findings);
    for (key, hooks) in [("post_start", &spec.post_start), ("pre_stop", &spec.pre_stop)] {
        for (index, _) in hooks.iter().enumerate().filter(|(_, hook)| hook.command.is_empty()) {
            let path = ["spec", key, &index.to_string(), "command"];
            findings.add(&path, "the command is empty", "write the program and its arguments");
        }
    }
}

/// An address only one container can have at a time.
fn fixed_address(spec: &ServiceSpec) -> Option<&'static str> {
    let of_network = spec.networks.iter().flat_map(|networks| networks.values()).find_map(|network| {
        (network.ipv4_address.is_some().then_some("ipv4_address"))
            .or(network.ipv6_address.is_some().then_some("ipv6_address"))
            .or(network.mac_address.is_some().then_some("mac_address"))
    });
    of_network.or(spec.mac_address.is_some().then_some("mac_address"))
}

/// Rules about the keys of `rollout` alone, for services and for the project's defaults.
pub(super) fn check_rules(rules: &Rollout, findings: &mut Findings) {
    // Of 100, so that every percentage above 0 counts. Absent: the project's or composed's 1 and 0.
    let some = |value: Option<IntOrPercent>, default| value.map_or(default, |value| value.of(100, Rounding::Up));
    let surge = some(rules.max_surge, 1);
    for (key, value) in [("max_surge", rules.max_surge), ("max_unavailable", rules.max_unavailable)] {
        if some(value, 0) > MOST {
            let help = "write a small number, or a percentage";
            findings.add(&["spec", "rollout", key], format!("{key} is more than {MOST}"), help);
        }
    }
    if rules.order == Some(Order::StartFirst) && surge == 0 {
        findings.add(
            &["spec", "rollout", "max_surge"],
            "start-first needs room for one more replica, but max_surge is 0",
            "write `max_surge: 1`, or `order: stop-first` with `max_unavailable: 1`",
        );
    }
    if rules.order == Some(Order::StopFirst) && rules.max_unavailable.is_some() && some(rules.max_unavailable, 0) == 0 {
        findings.add(
            &["spec", "rollout", "max_unavailable"],
            "stop-first needs one replica to be missing, but max_unavailable is 0",
            "write `max_unavailable: 1`, or `order: start-first`",
        );
    }
    // With another order one of the two findings above tells it.
    if rules.order.unwrap_or_default() == Order::Auto && rules.cannot_move() {
        findings.add(&["spec", "rollout", "max_unavailable"], CANNOT_MOVE, CANNOT_MOVE_HELP);
    }
    if rules.max_failure_ratio.as_ref().is_some_and(|ratio| ratio.nano() > 1_000_000_000) {
        let help = "write a share from 0 to 1, such as `0.25`";
        findings.add(&["spec", "rollout", "max_failure_ratio"], "max_failure_ratio is more than 1", help);
    }
    if rules.order == Some(Order::Recreate) && rules.canary.is_some() {
        let help = "remove it, or write another order: a trial runs beside what it replaces";
        findings.add(&["spec", "rollout", "canary"], "a canary with `order: recreate`", help);
    }
    if rules.rollback.is_some_and(|_| rules.of_rollback().cannot_move()) && !rules.cannot_move() {
        findings.add(&["spec", "rollout", "rollback"], CANNOT_MOVE, CANNOT_MOVE_HELP);
    }
    if rules.canary.is_some_and(|canary| !(1..=99).contains(&canary.weight)) {
        let help = "write a share such as `10`: with 100 it would be no trial";
        findings.add(&["spec", "rollout", "canary", "weight"], "the weight is not a percentage from 1 to 99", help);
    }
    if rules.progress_deadline.is_some_and(|deadline| deadline.get().is_zero()) {
        findings.add(
            &["spec", "rollout", "progress_deadline"],
            "progress_deadline is 0: every rollout would have failed before it began",
            "write a time, such as `600s`",
        );
    }
}

fn restart(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(rules) = &spec.restart_policy else { return };
    if spec.restart == Some(RestartPolicy::No) {
        let help = "remove it, or write `restart: on-failure` (or `always`)";
        findings.add(&["spec", "restart_policy"], "restart_policy with `restart: no`: it is not run again", help);
    }
    if rules.max_attempts.is_some_and(|attempts| attempts > MOST_RETRIES) {
        let message = format!("max_attempts is more than {MOST_RETRIES}");
        findings.add(&["spec", "restart_policy", "max_attempts"], message, "write a small number, or 0 for no limit");
    }
}

/// With interval 5s, timeout 3s, 3 retries and `start_period` 10s the healthcheck has answered after 10 + 3 x (5 + 3) =
/// 34 s; with `min_ready` 5s the deadline must be longer than 39 s.
fn deadline(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(rules) = &spec.rollout else { return };
    let Some(deadline) = rules.progress_deadline.map(crate::ComposeDuration::get) else { return };
    let min_ready = rules.min_ready.map_or(Duration::ZERO, crate::ComposeDuration::get);
    let health = match &spec.healthcheck {
        Some(check) if !check.disable && check.test.first().is_some_and(|word| word != "NONE") => {
            let interval = check.interval.map_or(INTERVAL, crate::ComposeDuration::get);
            let timeout = check.timeout.map_or(TIMEOUT, crate::ComposeDuration::get);
            let start = check.start_period.map_or(Duration::ZERO, crate::ComposeDuration::get);
            let retries = check.retries.unwrap_or(RETRIES);
            start.saturating_add(interval.saturating_add(timeout).saturating_mul(retries))
        }
        _ => Duration::ZERO,
    };
    let needed = health.saturating_add(min_ready);
    if deadline < needed {
        let needed = crate::ComposeDuration::from(needed);
        findings.add(
            &["spec", "rollout", "progress_deadline"],
            format!("a good replica may need {needed} to become available, longer than the deadline"),
            format!(
                "write `progress_deadline: {needed}` or more (start_period + retries x (interval + timeout) + min_ready), \
                 or a quicker healthcheck"
            ),
        );
    }
}

fn healthcheck(check: &Healthcheck, findings: &mut Findings) {
    let none = check.test.first().is_some_and(|word| word == "NONE");
    let timed = check.interval.is_some() || check.timeout.is_some() || check.retries.is_some();
    if check.disable && !check.test.is_empty() && !none {
        let help = "remove one of the two";
        findings.add(&["spec", "healthcheck", "disable"], "the healthcheck has a test and is disabled", help);
    } else if (check.disable || none) && timed {
        let help = "remove the times, or write a test";
        findings.add(&["spec", "healthcheck"], "the healthcheck is switched off and yet has times", help);
    }
    if check.retries.is_some_and(|retries| retries > MOST_RETRIES) {
        let message = format!("retries is more than {MOST_RETRIES}");
        findings.add(&["spec", "healthcheck", "retries"], message, "write a small number, such as `3`");
    }
    let periods = [
        ("interval", check.interval),
        ("timeout", check.timeout),
        ("start_period", check.start_period),
        ("start_interval", check.start_interval),
    ];
    for (key, time) in periods {
        let time = time.map_or(Duration::ZERO, crate::ComposeDuration::get);
        if !time.is_zero() && time < Duration::from_millis(1) {
            let message = format!("{key} is shorter than the engine can do");
            findings.add(&["spec", "healthcheck", key], message, "write `1ms` or more");
        }
    }
}

fn readiness(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(probe) = &spec.readiness else { return };
    let ports = [
        ("http", probe.http.as_ref().map(|http| http.port)),
        ("tcp", probe.tcp.as_ref().map(|tcp| tcp.port)),
        ("grpc", probe.grpc.as_ref().map(|grpc| grpc.port)),
    ];
    let kinds: Vec<_> = ports.iter().filter(|(_, port)| port.is_some()).map(|(kind, _)| *kind).collect();
    let exactly = "write exactly one, such as `readiness: {http: {path: /healthz, port: 8080}}`";
    match kinds.as_slice() {
        [] => findings.add(&["spec", "readiness"], "readiness has no probe: neither http nor tcp nor grpc", exactly),
        [_] => {}
        [.., last] => {
            let message = format!("readiness has several probes: {}", kinds.join(", "));
            findings.add(&["spec", "readiness", last], message, exactly);
        }
    }
    for (kind, port) in ports {
        if port == Some(0) {
            let help = "write the port the container listens on";
            findings.add(&["spec", "readiness", kind, "port"], "port 0 is not a port", help);
        }
    }
    for (key, count) in [("success_threshold", probe.success_threshold), ("failure_threshold", probe.failure_threshold)]
    {
        if count.is_some_and(|count| count == 0 || count > MOST_RETRIES) {
            let message = format!("{key} is not a number from 1 to {MOST_RETRIES}");
            findings.add(&["spec", "readiness", key], message, "write a small number, such as `3`");
        }
    }
    if probe.http.as_ref().is_some_and(|http| !http.path.starts_with('/')) {
        let help = "start it with `/`, such as `/healthz`";
        findings.add(&["spec", "readiness", "http", "path"], "the path of the probe is not absolute", help);
    }
    for (key, time) in [("period", probe.period), ("timeout", probe.timeout)] {
        if time.is_some_and(|time| time.get().is_zero()) {
            findings.add(&["spec", "readiness", key], format!("{key} is 0"), "write a time, such as `1s`");
        }
    }
    if let (Some("none"), true) = (spec.network_mode.as_deref(), !kinds.is_empty()) {
        let help = "remove the probe and write a healthcheck, which runs inside the container";
        findings.add(&["spec", "readiness"], "a container without a network cannot be probed over it", help);
    }
}
