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
            let help =
                "write `replicated` or `global`; a service that ends by itself says `restart: \"no\"` or `on-failure`";
            problems.push(Problem::new(mode.place, message, Some(help.into())));
        }
        None => {}
    }
    if let Some((key, replicas)) = replicas.or(scale) {
        spec.push((Node::quoted("replicas", key.place), replicas));
    }
    if let Some((key, policy)) = take(&mut deploy, "restart_policy").filter(|(_, policy)| !policy.is_nothing()) {
        take(service, "restart");
        match restart(&policy, key.place) {
            Ok(keys) => spec.extend(keys),
            Err(problem) => problems
                .push(Problem { message: format!("{shown}.deploy.restart_policy: {}", problem.message), ..problem }),
        }
    }
    let update = take(&mut deploy, "update_config");
    let update = update.as_ref().map(|(key, update)| (key.place, update));
    let back = take(&mut deploy, "rollback_config").filter(|(_, back)| !back.is_nothing());
    let mut rules = update.map_or_else(Vec::new, |(_, update)| rollout(update));
    if let Some((key, back)) = &back {
        let back = rollback(back, &rules);
        if !back.is_empty() {
            rules.push((Node::quoted("rollback", key.place), Node::new(Kind::Map(back), key.place)));
        }
    }
    let place = update.map(|(place, _)| place).or(back.as_ref().map(|(key, _)| key.place));
    if let Some(place) = place.filter(|_| update.is_some() || !rules.is_empty()) {
        spec.push((Node::quoted("rollout", place), Node::new(Kind::Map(rules), place)));
    }
    let nothing = matches!(&deploy.kind, Kind::Map(entries) if entries.is_empty()) || deploy.is_nothing();
    if !nothing {
        spec.push((key, deploy));
    }
    if problems.is_empty() { Ok(spec) } else { Err(problems) }
}

/// What `restart_policy` comes to: `restart`, as Compose gives it to the engine, and what only Swarm acts on. A condition that is not
/// written is not invented: Compose gives the engine none then.
fn restart(policy: &Node, key: Place) -> Result<Vec<(Node, Node)>, Problem> {
    let of = |key: &str| policy.get(key).map(|(_, value)| value).filter(|value| !value.is_nothing());
    let condition = of("condition");
    let place = condition.map_or_else(|| policy.first(), |condition| condition.place);
    let attempts = of("max_attempts");
    let mut rules: Vec<(&str, Node)> = Vec::new();
    rules.extend(["delay", "window"].into_iter().filter_map(|name| Some((name, of(name)?.clone()))));
    let word = match condition.and_then(Node::text) {
        None if condition.is_none() => None,
        Some("any" | "always") => Some("always"),
        // It never runs again: the rest is about further runs.
        Some("none" | "no") => return Ok(vec![(Node::quoted("restart", key), Node::quoted("no", place))]),
        Some("on-failure") => Some("on-failure"),
        Some("unless-stopped") => Some("unless-stopped"),
        other => {
            let help = "write `none`, `on-failure` or `any`";
            let message = format!("`{}` is not a condition", other.unwrap_or_default());
            return Err(Problem::new(place, message, Some(help.into())));
        }
    };
    let word = match (word, attempts.and_then(Node::text)) {
        // As Compose gives it to the engine, which counts them where it restarts.
        (Some("on-failure"), Some(times)) => Some(format!("on-failure:{times}")),
        (word, _) => {
            rules.extend(attempts.map(|attempts| ("max_attempts", attempts.clone())));
            word.map(str::to_owned)
        }
    };
    let mut keys: Vec<_> =
        word.map(|word| (Node::quoted("restart", key), Node::quoted(word, place))).into_iter().collect();
    if !rules.is_empty() {
        let rules = rules.into_iter().map(|(name, value)| (Node::quoted(name, value.place), value)).collect();
        keys.push((Node::quoted("restart_policy", key), Node::new(Kind::Map(rules), key)));
    }
    Ok(keys)
}

/// The keys of `rollout` that `update_config` comes to.
fn rollout(update: &Node) -> Vec<(Node, Node)> {
    let of = |key: &str| update.get(key).and_then(|(_, value)| Some((value.text()?, value.place)));
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
    if let Some((action, place)) = of("failure_action") {
        rules.push(("failure_action", Node::quoted(action, place)));
    }
    let time = |key: &str| of(key).map(|(text, place)| (text.parse::<ComposeDuration>().ok(), text, place));
    // One that cannot be read counts most, so that it is refused where it is read.
    let longest = time("monitor").into_iter().chain(time("delay")).max_by_key(|(time, ..)| (time.is_none(), *time));
    if let Some((_, text, place)) = longest {
        rules.push(("min_ready", Node::plain(text, place)));
    }
    if let Some((ratio, place)) = of("max_failure_ratio").filter(|(ratio, _)| ratio.parse() != Ok(0.0_f64)) {
        rules.push(("max_failure_ratio", Node::plain(ratio, place)));
    }
    rules.into_iter().map(|(key, value)| (Node::quoted(key, value.place), value)).collect()
}

/// What `rollback_config` says otherwise than the rollout. A rollback that fails goes on, ever more slowly: nothing is to be done about
/// its failures.
fn rollback(back: &Node, update: &[(Node, Node)]) -> Vec<(Node, Node)> {
    let differs = |key: &Node, value: &Node| {
        let same = update.iter().find(|(other, _)| other.text() == key.text());
        same.is_none_or(|(_, other)| other.text() != value.text())
    };
    let mut rules = rollout(back);
    rules.retain(|(key, _)| !matches!(key.text(), Some("failure_action" | "max_failure_ratio")));
    rules.retain(|(key, value)| differs(key, value));
    rules
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
