//! Which values are numbers or true-or-false even where they are written, or filled in, as text. Source: compose-go
//! `loader/interpolate.go`.

use super::path::matches;
use super::words;

const NUMBERS: &[&str] = &[
    "services.*.blkio_config.weight",
    "services.*.blkio_config.weight_device.[].weight",
    "services.*.cpu_period",
    "services.*.cpu_quota",
    "services.*.cpu_rt_period",
    "services.*.cpu_rt_runtime",
    "services.*.cpu_shares",
    "services.*.deploy.replicas",
    "services.*.deploy.resources.limits.pids",
    "services.*.deploy.restart_policy.max_attempts",
    "services.*.deploy.rollback_config.max_failure_ratio",
    "services.*.deploy.rollback_config.parallelism",
    "services.*.deploy.update_config.max_failure_ratio",
    "services.*.deploy.update_config.parallelism",
    "services.*.healthcheck.retries",
    "services.*.mem_swappiness",
    "services.*.networks.*.gw_priority",
    "services.*.networks.*.priority",
    "services.*.oom_score_adj",
    "services.*.pids_limit",
    "services.*.ports.[].target",
    "services.*.scale",
    "services.*.ulimits.*",
    "services.*.ulimits.*.hard",
    "services.*.ulimits.*.soft",
];

const FLAGS: &[&str] = &[
    "configs.*.external",
    "networks.*.attachable",
    "networks.*.enable_ipv4",
    "networks.*.enable_ipv6",
    "networks.*.external",
    "networks.*.internal",
    "secrets.*.external",
    "services.*.depends_on.*.required",
    "services.*.depends_on.*.restart",
    "services.*.env_file.[].required",
    "services.*.healthcheck.disable",
    "services.*.init",
    "services.*.oom_kill_disable",
    "services.*.post_start.[].privileged",
    "services.*.pre_stop.[].privileged",
    "services.*.privileged",
    "services.*.read_only",
    "services.*.stdin_open",
    "services.*.tty",
    "services.*.volumes.[].bind.create_host_path",
    "services.*.volumes.[].read_only",
    "services.*.volumes.[].volume.nocopy",
    "volumes.*.external",
];

/// Free maps, whose plain numbers become text.
const TEXTS: &[&str] = &[
    "networks.*.driver_opts.*",
    "networks.*.ipam.options.*",
    "networks.*.labels.*",
    "services.*.annotations.*",
    "services.*.environment.*",
    "services.*.labels.*",
    "services.*.logging.options.*",
    "services.*.networks.*.driver_opts.*",
    "services.*.post_start.[].environment.*",
    "services.*.pre_stop.[].environment.*",
    "services.*.sysctls.*",
    "volumes.*.driver_opts.*",
    "volumes.*.labels.*",
];

/// The longest of these words.
const MAX_WORD: usize = 40;

/// Makes the text at `path` a number or a flag where the key wants one and it reads as one; other text stays, and is
/// refused later at its place.
pub(super) fn cast(text: &mut String, plain: &mut bool, path: &[String]) {
    if text.len() > MAX_WORD || text.is_empty() {
        return;
    }
    if !*plain && text.parse::<f64>().is_ok() && any(NUMBERS, path) {
        *plain = true;
    }
    if *plain && let Some(number) = words::number(text).filter(|_| any(TEXTS, path)) {
        *text = number;
        return;
    }
    // YAML 1.1's words, which Compose still takes.
    let flag = match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => "true",
        "false" | "n" | "no" | "off" => "false",
        _ => return,
    };
    if any(FLAGS, path) {
        *plain = true;
        flag.clone_into(text);
    }
}

fn any(patterns: &[&str], path: &[String]) -> bool {
    patterns.iter().any(|pattern| matches(pattern, path))
}
