//! An event, as Docker writes it: the engine's own, masked, or one that this view makes.

use std::collections::BTreeMap;

use hyper::body::Bytes;
use serde_json::{Map, Value, json};

use super::mask::Mask;

/// An event on its way to the clients.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// `container`, `network`, ...
    pub(super) kind: String,
    /// `start`, `health_status: healthy`, ...
    pub(super) action: String,
    /// Of what.
    pub(super) id: String,
    /// All its attributes, for this program's own use; not all are told.
    pub(super) attributes: BTreeMap<String, String>,
    /// Those that are told, for filters: they must not answer what is hidden.
    pub(super) shown: BTreeMap<String, String>,
    /// `local` or `swarm`.
    pub(super) scope: String,
    /// When, in nanoseconds since 1970.
    pub(super) nano: i64,
    /// What is told, with its line feed.
    pub(super) line: Bytes,
}

impl Event {
    /// The engine's own; `None` for what is none.
    pub(super) fn read(mut value: Value, mask: &Mask) -> Option<Self> {
        let text = |place: &str| value.pointer(place).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (kind, scope, id) = (text("/Type"), text("/scope"), text("/Actor/ID"));
        let mut action = text("/Action");
        // What was run may be a secret.
        if let Some((exec, _)) = action.split_once(':').filter(|(exec, _)| exec.starts_with("exec_")) {
            action = exec.to_owned();
            for name in ["Action", "status"] {
                if let Some(there) = value.get_mut(name) {
                    *there = json!(action);
                }
            }
        }
        let whole = value.pointer_mut("/Actor/Attributes").and_then(Value::as_object_mut);
        let mut attributes = BTreeMap::new();
        if let Some(whole) = whole {
            let pairs = whole.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
            attributes = pairs.collect();
            mask.attributes(whole);
        }
        let nano = value.get("timeNano").and_then(Value::as_i64).unwrap_or_default();
        let fields = value.as_object_mut().filter(|_| !kind.is_empty())?;
        if kind == "container" {
            old_form(fields, &action, &id, attributes.get("image"));
        }
        let shown = shown(&attributes, mask);
        Some(Self { line: line(&value), kind, action, id, attributes, shown, scope, nano })
    }

    /// One of this view's own, about a container.
    pub(super) fn of_container(
        action: &str,
        id: &str,
        attributes: &BTreeMap<String, String>,
        nano: i64,
        mask: &Mask,
    ) -> Self {
        let mut told: Map<String, Value> =
            attributes.iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect();
        mask.attributes(&mut told);
        let mut fields = Map::new();
        old_form(&mut fields, action, id, attributes.get("image"));
        for (name, value) in [
            ("Type", json!("container")),
            ("Action", json!(action)),
            ("Actor", json!({"ID": id, "Attributes": told})),
            ("scope", json!("local")),
            ("time", json!(nano / 1_000_000_000)),
            ("timeNano", json!(nano)),
        ] {
            fields.insert(name.to_owned(), value);
        }
        Self {
            kind: "container".to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes.clone(),
            shown: shown(attributes, mask),
            scope: "local".to_owned(),
            nano,
            line: line(&Value::Object(fields)),
        }
    }

    /// Whether it is one of the three that every healthcheck makes.
    pub(super) fn is_exec(&self) -> bool {
        self.kind == "container" && self.action.starts_with("exec_")
    }
}

fn shown(attributes: &BTreeMap<String, String>, mask: &Mask) -> BTreeMap<String, String> {
    let told = attributes.iter().filter(|(name, _)| mask.tells(name));
    told.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The form before API 1.22, which engines wrote beside the new one until 1.51.
fn old_form(fields: &mut Map<String, Value>, action: &str, id: &str, image: Option<&String>) {
    fields.insert("status".to_owned(), json!(action));
    fields.insert("id".to_owned(), json!(id));
    fields.insert("from".to_owned(), json!(image.map_or("", String::as_str)));
}

fn line(value: &Value) -> Bytes {
    format!("{value}\n").into()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    fn told(event: &Event) -> Value {
        assert!(event.line.ends_with(b"\n"));
        serde_json::from_slice(&event.line).expect("JSON")
    }

    #[test]
    fn one_of_our_own_has_both_forms() {
        let attributes =
            [("name", "shop-web-1"), ("image", "shop/web:2"), ("secret", "canary"), ("traefik.enable", "true")];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let event = Event::of_container("start", "0123", &attributes, 1_700_000_000_000_000_005, &Mask::default());
        let expected = json!({
            "status": "start", "id": "0123", "from": "shop/web:2", "Type": "container", "Action": "start",
            "Actor": {"ID": "0123", "Attributes": {"name": "shop-web-1", "image": "shop/web:2", "traefik.enable": "true"}},
            "scope": "local", "time": 1_700_000_000, "timeNano": 1_700_000_000_000_000_005_i64,
        });
        assert_eq!(told(&event), expected);
        assert!(event.attributes.contains_key("secret"), "this program may use what is not told");
        assert!(!event.shown.contains_key("secret") && event.shown.contains_key("traefik.enable"));
    }

    #[test]
    fn the_engines_own_is_passed_on_masked() {
        let value = json!({
            "Type": "container", "Action": "exec_create: sh -c canary", "status": "exec_create: sh -c canary",
            "Actor": {"ID": "0123", "Attributes": {"name": "a", "image": "b", "secret": "canary", "exitCode": "0"}},
            "scope": "local", "time": 1, "timeNano": 1_000_000_000_i64, "novelty": [1],
        });
        let event = Event::read(value, &Mask::default()).expect("an event");
        assert!(event.is_exec());
        let told = told(&event);
        assert!(!told.to_string().contains("canary"), "{told}");
        assert_eq!((&told["status"], &told["id"], &told["from"]), (&json!("exec_create"), &json!("0123"), &json!("b")));
        assert_eq!((&told["novelty"], &told["Actor"]["Attributes"]["exitCode"]), (&json!([1]), &json!("0")));
        assert!(Event::read(json!({"Action": "start"}), &Mask::default()).is_none());
    }
}
