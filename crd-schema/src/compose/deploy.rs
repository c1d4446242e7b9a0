//! `deploy`, `scale` and `x-composed`: how many, and how they are rolled out.

use super::tree::{entries, put, take};
use crate::types::scalar::ComposeDuration;
use crate::yaml::{Kind, Node, Place, Problem};

/// What `deploy` and `scale` come to: keys of our specification.
pub(super) fn convert(service: &mut Node, shown: &str) -> Result<Vec<(Node, Node)>, Vec<Problem>> {
    let scale = take(service, "scale").filter(|(_, scale)| !scale.is_nothing());
    let Some((key, mut deploy)) = take(service, "deploy") else {
        return Ok(scale.map(|(key, scale)| (Node::quoted("replicas", key.place), scale)).into_iter().collect());
    };
    let mut problems = Vec::new();
    let mut spec = Vec::new();
    let replicas = take(&mut deploy, "replicas").filter(|(_, replicas)| !replicas.is_nothing());
    if let (Some((key, scale)), Some((_, replicas))) = (&scale, &replicas)
        && scale.text() != replicas.text()
    {
        let message = format!("{shown}: scale and deploy.replicas differ");
        problems.push(Problem::new(key.place, message, Some("keep one of the two".into())));
    }
    match take(&mut deploy, "mode") {
        Some((_, mode)) if mode.text() == Some("replicated") => {}
        Some((key, mode)) if mode.text() == Some("global") => {
            if replicas.is_some() || scale.is_some() {
                let message = format!("{shown}.deploy: mode `global` together with a number of replicas");
                problems.push(Problem::new(key.place, message, Some("remove one of the two".into())));
            }
            spec.push((Node::quoted("replicas", key.place), Node::plain("1", mode.place)));
        }
        Some((_, mode)) => {
            let message = format!("{shown}.deploy.mode: `{}` is not supported", mode.text().unwrap_or_default());
            let help = "write `replicated` or `global`; a service that ends by itself is a dependency with \
                        `service_completed_successfully`";
            problems.push(Problem::new(mode.place, message, Some(help.into())));
        }
        None => {}
    }
    if let Some((key, replicas)) = replicas.or(scale) {
        spec.push((Node::quoted("replicas", key.place), replicas));
    }
    if let Some((key, policy)) = take(&mut deploy, "restart_policy").filter(|(_, policy)| !policy.is_nothing()) {
        take(service, "restart");
        match restart(&policy) {
            Ok(policy) => spec.push((Node::quoted("restart", key.place), policy)),
            Err(problem) => problems
                .push(Problem { message: format!("{shown}.deploy.restart_policy: {}", problem.message), ..problem }),
        }
    }
    let update = take(&mut deploy, "update_config");
    let update = update.as_ref().map(|(key, update)| (key.place, update));
    if let Some((_, back)) = take(&mut deploy, "rollback_config") {
        rollback(&back, update.map(|(_, update)| update), shown, &mut problems);
    }
    if let Some((place, update)) = update {
        let rules = rollout(update, shown, &mut problems);
        spec.push((Node::quoted("rollout", place), Node::new(Kind::Map(rules), place)));
    }
    let nothing = matches!(&deploy.kind, Kind::Map(entries) if entries.is_empty()) || deploy.is_nothing();
    if !nothing {
        spec.push((key, deploy));
    }
    if problems.is_empty() { Ok(spec) } else { Err(problems) }
}

fn restart(policy: &Node) -> Result<Node, Problem> {
    let condition = policy.get("condition").map(|(_, condition)| condition);
    let place = condition.map_or_else(|| policy.first(), |condition| condition.place);
    let attempts = policy.get("max_attempts").map(|(_, attempts)| attempts);
    let word = match condition.and_then(Node::text) {
        None | Some("any" | "always") => "always",
        Some("none" | "no") => "no",
        Some("on-failure") => match attempts.and_then(Node::text) {
            Some(attempts) => return Ok(Node::quoted(format!("on-failure:{attempts}"), place)),
            None => "on-failure",
        },
        Some("unless-stopped") => "unless-stopped",
        Some(other) => {
            let help = "write `none`, `on-failure` or `any`";
            return Err(Problem::new(place, format!("`{other}` is not a condition"), Some(help.into())));
        }
    };
    match attempts {
        Some(attempts) => {
            let help = "write `condition: on-failure`, or remove it: the engine counts only failures";
            Err(Problem::new(attempts.place, format!("max_attempts with `{word}`"), Some(help.into())))
        }
        None => Ok(Node::quoted(word, place)),
    }
}

/// The keys of `rollout` that `update_config` comes to.
fn rollout(update: &Node, shown: &str, problems: &mut Vec<Problem>) -> Vec<(Node, Node)> {
    let of = |key: &str| update.get(key).and_then(|(_, value)| Some((value.text()?, value.place)));
    let mut wrong = |place: Place, message: &str, help: &'static str| {
        problems.push(Problem::new(place, format!("{shown}.deploy.update_config: {message}"), Some(help.into())));
    };
    let mut rules: Vec<(&str, Node)> = Vec::new();
    let order = of("order");
    if let Some((order, place)) = order {
        rules.push(("order", Node::quoted(order, place)));
    }
    if let Some((count, place)) = of("parallelism") {
        let key = if order.is_some_and(|(order, _)| order == "stop-first") { "max_unavailable" } else { "max_surge" };
        let count = if count == "0" { Node::quoted("100%", place) } else { Node::plain(count, place) };
        rules.push((key, count));
    }
    match of("failure_action") {
        Some(("continue", place)) => wrong(
            place,
            "a rollout does not go on over a replica that failed",
            "write `failure_action: rollback` or `failure_action: pause`",
        ),
        Some((action, place)) => rules.push(("failure_action", Node::quoted(action, place))),
        None => {}
    }
    let time = |key: &str| of(key).map(|(text, place)| (text.parse::<ComposeDuration>().ok(), text, place));
    // One that cannot be read counts most, so that it is refused where it is read.
    let longest = time("monitor").into_iter().chain(time("delay")).max_by_key(|(time, ..)| (time.is_none(), *time));
    if let Some((_, text, place)) = longest {
        rules.push(("min_ready", Node::plain(text, place)));
    }
    if let Some((ratio, place)) = of("max_failure_ratio")
        && ratio.parse() != Ok(0.0_f64)
    {
        wrong(place, "a max_failure_ratio above 0", "remove it: a rollout with a failed replica has failed");
    }
    rules.into_iter().map(|(key, value)| (Node::quoted(key, value.place), value)).collect()
}

/// A rollback goes by the rules of the rollout, so that it may only say the same.
fn rollback(back: &Node, update: Option<&Node>, shown: &str, problems: &mut Vec<Problem>) {
    for (key, value) in entries(back) {
        let name = key.text().unwrap_or_default();
        let same = match name {
            "failure_action" => value.text() == Some("pause"),
            "max_failure_ratio" => value.text().is_some_and(|ratio| ratio.parse() == Ok(0.0_f64)),
            name => update.and_then(|update| update.get(name)).is_some_and(|(_, other)| other.text() == value.text()),
        };
        if !same {
            let message = format!("{shown}.deploy.rollback_config: `{name}` differs from what a rollback does");
            let help = match name {
                "failure_action" => "write `pause`, or remove it: a failed rollback waits for a new file",
                "max_failure_ratio" => "write 0, or remove it",
                _ => {
                    "a rollback goes by the rules of the rollout: write the same in `update_config`, or remove it here"
                }
            };
            problems.push(Problem::new(key.place, message, Some(help.into())));
        }
    }
}

/// Adds what stands under `x-composed` to a specification; of `rollout`, key by key.
pub(super) fn own(spec: &mut Vec<(Node, Node)>, own: &Node, shown: &str, problems: &mut Vec<Problem>) {
    const KEYS: &[&str] =
        &["drain_timeout", "front", "hooks", "paused", "pre_stop", "readiness", "rollout", "traffic", "update"];
    for (key, value) in entries(own) {
        let name = key.text().unwrap_or_default();
        if !KEYS.contains(&name) {
            let help = match crate::advice::nearest(name, KEYS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", crate::parse::words(KEYS)),
            };
            let message = format!("unknown key `{name}` in {shown}.x-composed");
            problems.push(Problem::new(key.place, message, Some(help.into())));
            continue;
        }
        let before = spec.iter_mut().find(|(other, _)| other.text() == Some(name));
        match before {
            None => spec.push((key.clone(), value.clone())),
            Some((_, rules)) if name == "rollout" => {
                for (rule, value) in entries(value) {
                    take(rules, rule.text().unwrap_or_default());
                    put(rules, rule.clone(), value.clone());
                }
            }
            Some(_) => {
                let message = format!("`{name}` is there twice: in {shown} and in its x-composed");
                problems.push(Problem::new(key.place, message, Some("keep one of the two".into())));
            }
        }
    }
}
