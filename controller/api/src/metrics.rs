//! The status store in Prometheus' words, made anew for each scrape.

use std::fmt;

use composed_status::store::StatusStore;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    project: String,
    service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Condition {
    project: String,
    service: String,
    kind: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Action {
    action: &'static str,
    result: &'static str,
}

type Value = fn(&crd_schema::status::ServiceStatus) -> i64;

/// The metrics as `OpenMetrics` text.
pub(super) fn encode(statuses: &StatusStore) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("composed");
    let gauges: [(&str, &str, Value); 5] = [
        ("service_replicas", "Replicas wanted", |s| i64::from(s.replicas)),
        ("service_live", "Replicas that run and are in traffic", |s| i64::from(s.live)),
        ("service_updated", "Replicas of the wanted revision", |s| i64::from(s.updated)),
        ("service_available", "Replicas that are available", |s| i64::from(s.available)),
        ("service_generation", "Meanings that the document has had", |s| {
            i64::try_from(s.generation).unwrap_or(i64::MAX)
        }),
    ];
    let all = statuses.all();
    for (name, help, value) in gauges {
        let family = Family::<Service, Gauge>::default();
        for status in &all {
            let labels = Service { project: status.project.clone(), service: status.name.clone() };
            family.get_or_create(&labels).set(value(status));
        }
        registry.register(name, help, family);
    }
    let cut = Family::<Service, Counter>::default();
    for status in &all {
        let labels = Service { project: status.project.clone(), service: status.name.clone() };
        cut.get_or_create(&labels).inc_by(status.requests_cut);
    }
    registry.register("requests_cut", "Requests ended because drain_timeout had passed", cut);
    let conditions = Family::<Condition, Gauge>::default();
    for status in &all {
        for condition in &status.conditions {
            let labels = Condition {
                project: status.project.clone(),
                service: status.name.clone(),
                kind: condition.kind.to_string(),
                reason: condition.reason.to_string(),
            };
            conditions.get_or_create(&labels).set(i64::from(condition.status));
        }
    }
    registry.register("service_condition", "1 where the condition holds, 0 where it does not", conditions);
    let actions = Family::<Action, Counter>::default();
    for ((action, done), count) in statuses.counts() {
        let labels = Action { action, result: if done { "ok" } else { "error" } };
        actions.get_or_create(&labels).inc_by(count);
    }
    registry.register("actions", "Engine calls and records, by kind and result", actions);
    let blocked = Gauge::<i64>::default();
    blocked.set(i64::from(statuses.health().blocked.is_some()));
    registry.register("blocked", "1 while nothing can be done: no engine, or another controller acts", blocked);
    let problems = Gauge::<i64>::default();
    problems.set(i64::try_from(statuses.health().problems.len()).unwrap_or(i64::MAX));
    registry.register("source_problems", "Problems in the desired-state files", problems);
    let unwritable = Gauge::<i64>::default();
    unwritable.set(i64::from(statuses.health().state.is_some()));
    registry.register("state_unwritable", "1 while the state directory takes nothing", unwritable);
    let foreign = Gauge::<i64>::default();
    foreign.set(i64::try_from(statuses.health().foreign.len()).unwrap_or(i64::MAX));
    registry.register("foreign_containers", "Containers that claim to be ours without proof, up to 100", foreign);
    let mut text = String::new();
    text::encode(&mut text, &registry)?;
    Ok(text)
}
