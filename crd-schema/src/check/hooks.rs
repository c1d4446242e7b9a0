//! Rules about the containers that run once around a rollout.

use std::time::Duration;

use super::findings::Findings;
use super::image;
use crate::{DeployHook, ServiceSpec};

/// Whoever waits longer than that waits for ever.
const LONGEST: Duration = Duration::from_hours(24);

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(hooks) = &spec.hooks else { return };
    for (key, hook) in [("pre_deploy", &hooks.pre_deploy), ("post_deploy", &hooks.post_deploy)] {
        if let Some(hook) = hook {
            check_hook(key, hook, findings);
        }
    }
    if hooks.pre_deploy.is_none() && hooks.post_deploy.is_none() {
        let help = "write for example `hooks: {pre_deploy: {command: [/app, migrate]}}`, or remove it";
        findings.add(&["spec", "hooks"], "no hook under `hooks`", help);
    }
}

fn check_hook(key: &str, hook: &DeployHook, findings: &mut Findings) {
    let nothing = hook.command.as_ref().is_none_or(Vec::is_empty) && hook.entrypoint.as_ref().is_none_or(Vec::is_empty);
    if hook.image.is_none() && nothing {
        let message = format!("{key} has no command, and the image's own is that of a replica");
        let help = "write the program and its arguments, such as `command: [/app, migrate]`";
        findings.add(&["spec", "hooks", key, "command"], message, help);
    }
    if let Some((message, help)) = hook.image.as_ref().and_then(|image| image::wrong(image.as_str())) {
        findings.add(&["spec", "hooks", key, "image"], message, help);
    }
    if hook.timeout.is_some_and(|time| time.get().is_zero() || time.get() > LONGEST) {
        let help = "write a time, such as `10m`";
        findings.add(&["spec", "hooks", key, "timeout"], "timeout is not between 0s and 24h", help);
    }
}
