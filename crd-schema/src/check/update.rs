//! Rules about following new images.

use super::findings::Findings;
use crate::{ServiceSpec, Update, UpdatePolicy};

/// In milliseconds. Registries count requests.
const SHORTEST: u128 = 1_000;
const LONGEST: u128 = 30 * 24 * 3600 * 1000;

pub(super) fn check(spec: &ServiceSpec, findings: &mut Findings) {
    let Some(rules) = &spec.update else { return };
    check_rules(rules, findings);
    let follows = rules.policy() != UpdatePolicy::None;
    if follows && spec.image.as_str().contains('@') {
        let help = "name a tag, such as `shop/web:1`, or remove `update`";
        let message = "an image that is named by its digest, and never another one behind it";
        findings.add(&["spec", "update"], message, help);
    }
}

/// Rules about the keys of `update` alone, for services and for the project's defaults.
pub(super) fn check_rules(rules: &Update, findings: &mut Findings) {
    match (rules.policy, rules.range()) {
        (_, Some(Err(why))) => {
            let help = "write a range as Cargo does, such as `~1.4`, `^2` or `>=1.2, <1.9`";
            let range = rules.semver.as_deref().unwrap_or_default();
            findings.add(&["spec", "update", "semver"], format!("`{range}` is not a range of versions: {why}"), help);
        }
        (Some(UpdatePolicy::Semver), None) => findings.add(
            &["spec", "update", "policy"],
            "policy `semver` without a range of versions",
            "add one, such as `semver: \"~1.4\"`",
        ),
        (Some(UpdatePolicy::Digest | UpdatePolicy::None), Some(Ok(_))) => findings.add(
            &["spec", "update", "semver"],
            "a range of versions, and a policy that does not follow versions",
            "keep one of the two",
        ),
        _ => {}
    }
    for (index, platform) in rules.platforms.iter().enumerate() {
        let word =
            |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !((2..=3).contains(&platform.split('/').count()) && platform.split('/').all(word)) {
            let place = index.to_string();
            let message = format!("`{platform}` is no platform");
            findings.add(
                &["spec", "update", "platforms", &place],
                message,
                "write OS/ARCHITECTURE, such as `linux/arm64`",
            );
        }
    }
    if rules.interval.is_some_and(|time| !(SHORTEST..=LONGEST).contains(&time.get().as_millis())) {
        let help = "write a time, such as `5m`: registries count requests";
        findings.add(&["spec", "update", "interval"], "interval is not between 1s and 720h", help);
    }
    if rules.cooldown.is_some_and(|time| time.get().as_millis() > LONGEST) {
        findings.add(&["spec", "update", "cooldown"], "cooldown is longer than 720h", "write a time, such as `10m`");
    }
}
