//! The names of specs: a revision for what reaches the container, a digest for everything. Pure; no clock, no counter.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{Revision, ServiceSpec, SpecDigest};

/// Goes before the text that is hashed. Counts changes of the hash itself: another number makes every container of
/// every user old at once.
const VERSION: &str = "v1\n";

/// The keys composed acts on itself. Everything else reaches the container.
const CONTROLLER_SIDE: &[&str] = &[
    "depends_on",
    "drain_timeout",
    "env_file",
    "hooks",
    "paused",
    "pre_stop",
    "pull_policy",
    "readiness",
    "replicas",
    "restart_policy",
    "rollout",
    "traffic",
    "update",
];

impl ServiceSpec {
    /// The part of the spec that reaches a replica: all but what a front has in its place, and but replicas, `depends_on`, `pull_policy`, `env_file` (the
    /// controller merges the files into `environment` first), and composed's own keys.
    pub fn container_side(&self) -> Value {
        let mut whole = self.of_replicas().whole();
        for key in CONTROLLER_SIDE {
            whole.remove(*key);
        }
        Value::Object(whole)
    }

    /// Names what reaches the container: ten hexadecimal digits. Two specs with the same revision run alike; one that
    /// only differs in, say, `replicas` has the same.
    pub fn revision(&self) -> Revision {
        Revision::new(name(&self.container_side()))
    }

    /// Names the whole spec in the same way: it changes with any key but `paused`, which is nothing that could fail or be
    /// undone.
    pub fn digest(&self) -> SpecDigest {
        let mut whole = self.whole();
        whole.remove("paused");
        SpecDigest::new(name(&Value::Object(whole)))
    }

    fn whole(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(map)) => map,
            other => unreachable!("a spec is text, numbers, lists and maps with text keys: {other:?}"),
        }
    }
}

impl Revision {
    /// It, together with what else makes it, such as the revisions of others, by their names: it changes with any of them.
    #[must_use]
    pub fn with<'a>(&self, others: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(together(self.as_str(), others))
    }
}

impl SpecDigest {
    /// As [`Revision::with`].
    #[must_use]
    pub fn with<'a>(&self, others: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::new(together(self.as_str(), others))
    }
}

fn together<'a>(own: &str, others: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let others = others.into_iter().map(|(name, text)| (name.to_owned(), Value::from(text)));
    name(&Value::Array(vec![Value::from(own), Value::Object(others.collect())]))
}

fn name(value: &Value) -> String {
    let mut text = VERSION.to_owned();
    canonical(value, &mut text);
    let hash = Sha256::digest(text.as_bytes());
    let first = hash.iter().take(5).fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    format!("{first:010x}")
}

/// JSON without blanks and with sorted keys, whatever order `serde_json` was built to keep.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                canonical(map.get(key).unwrap_or(&Value::Null), out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ComposeDuration, Environment, ImageRef, Rollout};

    fn spec() -> ServiceSpec {
        ServiceSpec {
            image: ImageRef::new("shop/web:1.4.2"),
            environment: Environment::from_iter([("LOG".to_owned(), "info".to_owned())]),
            stop_grace_period: Some(ComposeDuration::from_secs(10)),
            ..ServiceSpec::default()
        }
    }

    /// Each of these would be a rollout of everything everybody runs.
    #[test]
    fn the_hash_is_what_it_was() {
        assert_eq!(
            spec().container_side().to_string(),
            r#"{"environment":{"LOG":"info"},"image":"shop/web:1.4.2","stop_grace_period":"10s"}"#
        );
        assert_eq!(spec().revision(), "0b71826a44");
        assert_eq!(spec().digest(), spec().revision().as_str());
    }

    #[test]
    fn only_what_reaches_the_container_makes_a_revision() {
        let mut other = spec();
        other.replicas = Some(3);
        other.rollout = Some(Rollout::default());
        other.drain_timeout = Some(ComposeDuration::from_secs(1));
        assert_eq!(other.revision(), spec().revision());
        assert_ne!(other.digest(), spec().digest());
        let digest = other.digest();
        other.paused = true;
        assert_eq!((other.revision(), other.digest()), (spec().revision(), digest));
        other.tty = true;
        assert_ne!(other.revision(), spec().revision());
    }

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let mut out = String::new();
        canonical(&serde_json::json!({"b": [{"d": 1, "c": "\""}], "a": null}), &mut out);
        assert_eq!(out, r#"{"a":null,"b":[{"c":"\"","d":1}]}"#);
    }
}
