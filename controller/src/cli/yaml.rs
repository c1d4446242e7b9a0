//! Objects as YAML for people: image first, one key a line, and where each is from.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

/// A document of one object. `places` says where a part of its specification is from: `image`, `environment.TZ`.
pub(super) fn document(object: &impl Serialize, places: &BTreeMap<String, String>) -> String {
    let Ok(Value::Object(mut whole)) = serde_json::to_value(object) else {
        unreachable!("an object is text, numbers, lists and maps with text keys")
    };
    let spec = whole.remove("spec");
    let mut out = String::new();
    let mut metadata = whole.remove("metadata").unwrap_or_default();
    for key in ["apiVersion", "kind"] {
        if let Some(value) = whole.get(key) {
            out += &format!("{key}: {}\n", scalar(value));
        }
    }
    out += "metadata:\n";
    block(&mut metadata, 1, &mut out, &|_| None);
    if let Some(mut spec) = spec.filter(|spec| spec.as_object().is_none_or(|spec| !spec.is_empty())) {
        out += "spec:\n";
        let place = |part: &str| {
            let place = places.get(part)?;
            // An entry that stands where its key does is not told again.
            let outer = part.split_once('.').and_then(|(key, _)| places.get(key));
            (outer.is_none_or(|outer| file(outer) != file(place))).then(|| place.clone())
        };
        block(&mut spec, 1, &mut out, &place);
    }
    out
}

fn file(place: &str) -> &str {
    place.rsplit_once(':').map_or(place, |(file, _)| file)
}

/// The entries of a map or the items of a list, each on its lines.
fn block(value: &mut Value, depth: usize, out: &mut String, place: &dyn Fn(&str) -> Option<String>) {
    lines(value, depth, "", out, place);
}

fn lines(value: &Value, depth: usize, path: &str, out: &mut String, place: &dyn Fn(&str) -> Option<String>) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(map) => {
            for (key, value) in in_order(map) {
                let part = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let from = (depth <= 2).then(|| place(&part)).flatten();
                let note = from.map(|from| format!("  # {from}")).unwrap_or_default();
                let key = text(key);
                if is_nested(value) {
                    *out += &format!("{indent}{key}:{note}\n");
                    lines(value, depth + 1, &part, out, place);
                } else {
                    *out += &format!("{indent}{key}: {}{note}\n", scalar(value));
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                if is_nested(item) {
                    // The first line of what is nested stands behind the dash.
                    let mut nested = String::new();
                    lines(item, depth + 1, "-", &mut nested, &|_| None);
                    *out += &format!("{indent}- {}", nested.trim_start());
                } else {
                    *out += &format!("{indent}- {}\n", scalar(item));
                }
            }
        }
        other => *out += &format!("{indent}{}\n", scalar(other)),
    }
}

/// Whether a value takes lines of its own.
fn is_nested(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    }
}

fn in_order(map: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(key, _)| (*key != "image" && *key != "project", *key != "replicas", *key));
    entries
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(word) => text(word),
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        other => other.to_string(),
    }
}

/// A text without quotes where it means nothing else without them.
fn text(word: &str) -> String {
    let first = word.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '_'));
    let first = first || word.starts_with("./") || word.starts_with("../");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.' | '-');
    let colon = word.contains(':') && !word.ends_with(':') && !word.contains(": ");
    let rest = word.chars().all(|c| plain(c) || (colon && c == ':'));
    let means = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if first && rest && !means.contains(&word.to_ascii_lowercase().as_str()) {
        return word.to_owned();
    }
    // A text of JSON is one of YAML.
    Value::from(word).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_where_they_would_mean_something_else() {
        for plain in ["web:1.2-x", "/run/x", "a_b", "x.y/z:latest", "../x", "./y"] {
            assert_eq!(text(plain), plain);
        }
        for (word, quoted) in [
            ("", "\"\""),
            ("1.10", "\"1.10\""),
            ("yes", "\"yes\""),
            ("a: b", "\"a: b\""),
            ("a:", "\"a:\""),
            ("a #b", "\"a #b\""),
            ("-x", "\"-x\""),
            ("~", "\"~\""),
            ("a\nb", "\"a\\nb\""),
        ] {
            assert_eq!(text(word), quoted);
        }
    }

    #[test]
    fn each_key_says_where_it_is_from() {
        let object = serde_json::json!({
            "kind": "Service", "metadata": {"name": "web", "project": "shop"},
            "spec": {"environment": {"A": "1", "B": "2"}, "image": "x", "ports": [{"target": 80, "name": "p"}, "z"]},
        });
        let places = [
            ("image", "base.yaml:3"),
            ("environment", "compose.yaml:4"),
            ("environment.A", "compose.yaml:5"),
            ("environment.B", "base.yaml:6"),
        ];
        let places = places.map(|(part, place)| (part.to_owned(), place.to_owned())).into();
        let expected = "\
kind: Service
metadata:
  project: shop
  name: web
spec:
  image: x  # base.yaml:3
  environment:  # compose.yaml:4
    A: \"1\"
    B: \"2\"  # base.yaml:6
  ports:
    - name: p
      target: 80
    - z
";
        assert_eq!(document(&object, &places), expected);
    }
}
