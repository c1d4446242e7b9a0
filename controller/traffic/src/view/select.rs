//! The `filters` of lists. A filter must not answer what the view hides: a label's value can be guessed by asking for it,
//! and the order of containers tells when a hidden one was made. So only filters on what a list shows anyway are the
//! engine's business; the others are evaluated here, on the masked answer, or refused.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::filter;

/// Filters of containers that the engine evaluates: each is about one container, by what its list entry shows.
const OF_CONTAINERS: [&str; 9] =
    ["exited", "expose", "id", "is-task", "isolation", "name", "network", "publish", "status"];
/// Filters of containers that are evaluated here.
const OWN_OF_CONTAINERS: [&str; 5] = ["ancestor", "before", "health", "label", "since"];
/// Filters of networks that the engine evaluates.
const OF_NETWORKS: [&str; 5] = ["driver", "id", "name", "scope", "type"];
/// Filters on what the view hides, and what that is.
const HIDDEN: [(&str, &str); 2] = [("volume", "mounts"), ("dangling", "containers in a network")];
/// A shorter prefix of an id may be a name.
const MIN_ID: usize = 12;

/// A status code and words.
type Refusal = (u16, String);

/// What a client wants of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    engines: BTreeMap<String, BTreeSet<String>>,
    own: BTreeMap<String, BTreeSet<String>>,
}

impl Selection {
    /// Of a list of containers.
    ///
    /// # Errors
    /// 400 for what is no filter, 403 for one on what the view hides.
    pub(super) fn of_containers(text: Option<&str>) -> Result<Self, Refusal> {
        Self::parse(text, &OF_CONTAINERS, &OWN_OF_CONTAINERS)
    }

    /// Of a list of networks.
    ///
    /// # Errors
    /// 400 for what is no filter, 403 for one on what the view hides.
    pub(super) fn of_networks(text: Option<&str>) -> Result<Self, Refusal> {
        Self::parse(text, &OF_NETWORKS, &["label"])
    }

    fn parse(text: Option<&str>, engines: &[&str], own: &[&str]) -> Result<Self, Refusal> {
        let mut selection = Self::default();
        for (key, values) in filter::parse(text, None).map_err(|why| (400, why))? {
            if engines.contains(&key.as_str()) {
                selection.engines.insert(key, values);
            } else if own.contains(&key.as_str()) {
                selection.own.insert(key, values);
            } else if let Some((_, what)) = HIDDEN.iter().find(|(hidden, _)| *hidden == key) {
                let why = format!("composed: this view does not show {what}, so it does not answer the filter '{key}'");
                return Err((403, why));
            } else {
                return Err((400, format!("invalid filter '{key}'")));
            }
        }
        Ok(selection)
    }

    /// The filters that the engine evaluates, as a query has them; nothing if there are none.
    pub(super) fn query(&self) -> Option<String> {
        (!self.engines.is_empty()).then(|| json!(self.engines).to_string())
    }

    /// Whether all containers that are shown have to be known: some are compared with them.
    pub(super) fn compares(&self) -> bool {
        self.own.contains_key("before") || self.own.contains_key("since")
    }

    /// Leaves only what is wanted of a masked list. `all` are all containers that are shown, newest first, if they have to
    /// be known.
    ///
    /// # Errors
    /// 404 for a container that is not shown, in Docker's own words.
    pub(super) fn apply(&self, list: &mut Vec<Value>, all: &[Value]) -> Result<(), Refusal> {
        for (key, values) in self.own.iter().filter(|(_, values)| !values.is_empty()) {
            match key.as_str() {
                "label" => list.retain(|one| values.iter().all(|value| has_label(one, value))),
                "health" => list.retain(|one| values.contains(health(one))),
                "ancestor" => list.retain(|one| values.iter().any(|value| is_of_image(one, value))),
                "before" | "since" => {
                    for value in values {
                        let place = place(all, value)?;
                        let newer = |one: &Value| {
                            all.iter().position(|other| other.get("Id") == one.get("Id")).map(|nth| nth.cmp(&place))
                        };
                        let wanted =
                            if key == "since" { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
                        list.retain(|one| newer(one) == Some(wanted));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Where a container is that is named by its id, the beginning of it, or a name.
fn place(all: &[Value], wanted: &str) -> Result<usize, Refusal> {
    let id = |one: &Value| one.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let has_name = |one: &Value| {
        let names = one.get("Names").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        names.into_iter().any(|name| name.trim_start_matches('/') == wanted.trim_start_matches('/'))
    };
    let by_name = all.iter().position(|one| id(one) == wanted || has_name(one));
    let mut by_prefix = all.iter().enumerate().filter(|(_, one)| !wanted.is_empty() && id(one).starts_with(wanted));
    let unique = by_prefix.next().map(|(nth, _)| nth).filter(|_| by_prefix.next().is_none());
    by_name.or(unique).ok_or_else(|| (404, format!("No such container: {wanted}")))
}

/// `NAME` or `NAME=VALUE`, of the labels that are shown.
fn has_label(one: &Value, wanted: &str) -> bool {
    let (name, value) = wanted.split_once('=').map_or((wanted, None), |(name, value)| (name, Some(value)));
    let has = one.get("Labels").and_then(|labels| labels.get(name)).and_then(Value::as_str);
    has.is_some_and(|has| value.is_none_or(|value| value == has))
}

/// Whether a container was made of an image: by its name as the list shows it, or its id. What the image itself was made
/// of is not shown.
fn is_of_image(one: &Value, wanted: &str) -> bool {
    let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
    let short = |name: &str| {
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let tagged = name.rsplit_once('/').map_or(name, |(_, last)| last).contains([':', '@']);
        if tagged { name.to_owned() } else { format!("{name}:latest") }
    };
    let id = |id: &str| id.strip_prefix("sha256:").unwrap_or(id).to_owned();
    let is_id = |text: &str| text.len() >= MIN_ID && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let by_id = is_id(&id(wanted)) && id(text("ImageID")).starts_with(&id(wanted));
    by_id || (!wanted.is_empty() && short(text("Image")) == short(wanted))
}

/// The health of a listed container. Engines before API 1.52 tell it in the status text only.
fn health(container: &Value) -> &'static str {
    let status = container.get("Status").and_then(Value::as_str).unwrap_or_default();
    let named = container.pointer("/Health/Status").and_then(Value::as_str).unwrap_or_default();
    match named {
        "healthy" => "healthy",
        "unhealthy" => "unhealthy",
        "starting" => "starting",
        _ if status.contains("(healthy)") => "healthy",
        _ if status.contains("(unhealthy)") => "unhealthy",
        _ if status.contains("(health: starting)") => "starting",
        _ => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(id: &str, image: &str, status: &str) -> Value {
        json!({"Id": id, "Names": [format!("/{id}-name")], "Image": image, "ImageID": "sha256:0123456789abcdef",
            "Labels": {"traefik.enable": "true"}, "Status": status})
    }

    /// The ids that are left of a list.
    fn left(filters: &str) -> Result<Vec<String>, Refusal> {
        let all = [
            one("cc", "shop/web:2", "Up 2 seconds (healthy)"),
            one("bb", "nginx", "Up 3 seconds"),
            one("ba", "r:5000/x:1", "Up 4 seconds"),
        ];
        let mut list = all.to_vec();
        Selection::of_containers(Some(filters))?.apply(&mut list, &all)?;
        Ok(list.iter().map(|one| one["Id"].as_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn filters_are_evaluated_on_what_is_shown() {
        for (filters, ids) in [
            ("", &["cc", "bb", "ba"][..]),
            (r#"{"label":["traefik.enable=true"]}"#, &["cc", "bb", "ba"]),
            (r#"{"label":{"traefik.enable":true,"secret":true}}"#, &[]),
            (r#"{"label":["traefik.enable=false"]}"#, &[]),
            (r#"{"health":["healthy"]}"#, &["cc"]),
            (r#"{"health":["none","starting"]}"#, &["bb", "ba"]),
            (r#"{"ancestor":["nginx"]}"#, &["bb"]),
            (r#"{"ancestor":["docker.io/library/nginx:latest","shop/web:2"]}"#, &["cc", "bb"]),
            (r#"{"ancestor":["shop/web"]}"#, &[]),
            (r#"{"ancestor":["r:5000/x"]}"#, &[]),
            (r#"{"ancestor":["sha256:0123456789abcdef"]}"#, &["cc", "bb", "ba"]),
            (r#"{"ancestor":[""]}"#, &[]),
            (r#"{"since":["bb"]}"#, &["cc"]),
            (r#"{"before":["cc-name"]}"#, &["bb", "ba"]),
            (r#"{"before":["c"],"since":["ba"]}"#, &["bb"]),
            (r#"{"label":[]}"#, &["cc", "bb", "ba"]),
        ] {
            assert_eq!(left(filters).expect(filters), ids, "{filters}");
        }
        assert_eq!(left(r#"{"before":["dd"]}"#), Err((404, "No such container: dd".to_owned())));
        assert_eq!(left(r#"{"since":["b"]}"#).expect_err("of two").0, 404);
    }

    #[test]
    fn what_the_engine_is_asked_reveals_nothing_and_the_rest_is_refused() {
        let passed =
            Selection::of_containers(Some(r#"{"name":["a"],"label":["secret=x"],"before":["b"]}"#)).expect("ok");
        assert_eq!(passed.query().expect("a name"), r#"{"name":["a"]}"#);
        assert!(passed.compares());
        assert_eq!(Selection::of_containers(Some(r#"{"label":["a"]}"#)).expect("ok").query(), None);
        assert_eq!(Selection::of_containers(Some(r#"{"volume":["x"]}"#)).expect_err("hidden").0, 403);
        assert_eq!(Selection::of_networks(Some(r#"{"dangling":["true"]}"#)).expect_err("hidden").0, 403);
        for unknown in [r#"{"moon":["full"]}"#, r#"{"annotation":["a"]}"#, "x", "[]"] {
            assert_eq!(Selection::of_containers(Some(unknown)).expect_err("unknown").0, 400, "{unknown}");
        }
        assert_eq!(Selection::of_networks(Some(r#"{"before":["x"]}"#)).expect_err("unknown").0, 400);
    }
}
