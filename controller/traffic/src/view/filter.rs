//! A client's `filters` of events, with Docker's own meaning, evaluated on what is told. Source: moby
//! `daemon/events/filter.go`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::event::Event;

/// The keys that the engine knows.
const KEYS: [&str; 15] = [
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
    "builder",
];
/// Actions that have a tail: `health_status: healthy`, `exec_create: sh`.
const WITH_TAIL: [&str; 3] = ["health_status", "exec_create", "exec_start"];

/// What a client wants to hear of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(BTreeMap<String, BTreeSet<String>>);

impl Filter {
    /// As the query has it: `{"type": ["container"]}`, or the old form `{"type": {"container": true}}`.
    pub(super) fn parse(text: Option<&str>) -> Result<Self, String> {
        Ok(Self(parse(text, Some(&KEYS))?))
    }

    /// Whether it asks for `exec_*` by name.
    pub(super) fn asks_for_execs(&self) -> bool {
        self.0.get("event").is_some_and(|events| events.iter().any(|event| event.starts_with("exec_")))
    }

    /// Whether an event is wanted.
    pub(super) fn wants(&self, event: &Event) -> bool {
        self.0.iter().all(|(key, values)| values.is_empty() || matches(key, values, event))
    }
}

/// Whether an event has one of these values, or of labels all.
fn matches(key: &str, values: &BTreeSet<String>, event: &Event) -> bool {
    let attribute = |name: &str| event.shown.get(name).map_or("", String::as_str);
    let begins = |text: &str| values.iter().any(|value| text.starts_with(value.as_str()));
    match key {
        "event" if WITH_TAIL.iter().any(|action| values.contains(*action)) => begins(&event.action),
        "event" => values.contains(&event.action),
        "type" => values.contains(&event.kind),
        "scope" => values.contains(&event.scope),
        "label" => values.iter().all(|value| match value.split_once('=') {
            Some((name, value)) => event.shown.get(name).is_some_and(|has| has == value),
            None => event.shown.contains_key(value),
        }),
        "image" => {
            let named = |name: &str| !name.is_empty() && (values.contains(name) || values.contains(repository(name)));
            let own = if event.kind == "image" { attribute("name") } else { attribute("image") };
            named(&event.id) || named(own)
        }
        kind => event.kind == kind && (begins(&event.id) || begins(attribute("name"))),
    }
}

/// Filters of any list: values by key.
pub(super) fn parse(text: Option<&str>, known: Option<&[&str]>) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(BTreeMap::new()) };
    let wrong = || "invalid filters: a JSON object of lists is wanted".to_owned();
    let Ok(Value::Object(keys)) = serde_json::from_str(text) else { return Err(wrong()) };
    let mut filters = BTreeMap::new();
    for (key, values) in keys {
        if known.is_some_and(|known| !known.contains(&key.as_str())) {
            return Err(format!("invalid filter '{key}'"));
        }
        let values: Option<BTreeSet<String>> = match values {
            Value::Array(values) => values.iter().map(|value| value.as_str().map(str::to_owned)).collect(),
            Value::Object(values) => Some(values.into_iter().map(|(value, _)| value).collect()),
            _ => None,
        };
        filters.insert(key, values.ok_or_else(wrong)?);
    }
    Ok(filters)
}

/// A reference without its tag.
fn repository(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(action: &str) -> Event {
        let attributes = json!({"name": "shop-web-1", "image": "shop/web:2", "traefik.enable": "true",
            "secret": "canary", "dev.composed.key": "canary"});
        let value = json!({"Type": "container", "Action": action, "scope": "local", "timeNano": 5,
            "Actor": {"ID": "0123456789abcdef", "Attributes": attributes}});
        Event::read(value, &super::super::mask::Mask::default()).expect("an event")
    }

    #[test]
    fn filters_mean_what_they_mean_to_docker() {
        let start = event("start");
        for (filter, wanted) in [
            ("", true),
            (r#"{"type":["container"]}"#, true),
            (r#"{"type":{"container":true},"event":{"start":true,"die":true}}"#, true),
            (r#"{"type":["network"]}"#, false),
            (r#"{"type":["container","service"],"scope":["local","swarm"]}"#, true),
            (r#"{"scope":["swarm"]}"#, false),
            (r#"{"event":["die"]}"#, false),
            (r#"{"container":["0123"]}"#, true),
            (r#"{"container":["shop-web-1"]}"#, true),
            (r#"{"container":["db"]}"#, false),
            (r#"{"network":["0123"]}"#, false),
            (r#"{"image":["shop/web"]}"#, true),
            (r#"{"image":["shop/web:1"]}"#, false),
            (r#"{"label":["traefik.enable"]}"#, true),
            (r#"{"label":["traefik.enable=true"]}"#, true),
            (r#"{"label":["traefik.enable=true","other"]}"#, false),
            (r#"{"event":[]}"#, true),
            // What is not told is not there.
            (r#"{"label":["secret"]}"#, false),
            (r#"{"label":["secret=canary"]}"#, false),
            (r#"{"label":["dev.composed.key=canary"]}"#, false),
        ] {
            assert_eq!(Filter::parse(Some(filter)).expect(filter).wants(&start), wanted, "{filter}");
        }
        let healthy = event("health_status: healthy");
        assert!(Filter::parse(Some(r#"{"event":["health_status"]}"#)).expect("a filter").wants(&healthy));
        assert!(Filter::parse(Some(r#"{"event":["health_status: healthy"]}"#)).expect("a filter").wants(&healthy));
        assert!(!Filter::parse(Some(r#"{"event":["health_status: unhealthy"]}"#)).expect("a filter").wants(&healthy));
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert_eq!(Filter::parse(Some(r#"{"moon":["full"]}"#)), Err("invalid filter 'moon'".to_owned()));
        for bad in ["[]", "{", r#"{"type":1}"#, r#"{"type":[1]}"#] {
            assert!(Filter::parse(Some(bad)).is_err(), "{bad}");
        }
        assert!(Filter::parse(Some(r#"{"event":["exec_create"]}"#)).is_ok_and(|filter| filter.asks_for_execs()));
    }
}
