//! Documents as text, the way people write them: the demo application with short timings.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::program::image;

/// A service document.
#[derive(Clone, Debug)]
pub struct Service {
    /// The service's name, and its file's.
    pub name: String,
    keys: BTreeMap<String, String>,
    environment: BTreeMap<String, String>,
    rollout: BTreeMap<String, String>,
}

impl Service {
    /// A service of the demo application in version 1 with so many replicas, each on a free loopback port.
    pub fn new(name: &str, replicas: u32) -> Self {
        let check = r#"{test: ["CMD", "/composed", "demo-app", "check"], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}"#;
        Self { name: name.to_owned(), keys: BTreeMap::new(), environment: BTreeMap::new(), rollout: BTreeMap::new() }
            .version("1")
            .key("replicas", &replicas.to_string())
            .key("ports", r#"["127.0.0.1::8080"]"#)
            .key("healthcheck", check)
            .key("drain_timeout", "5s")
            .rollout("max_surge", "1")
            .rollout("max_unavailable", "0")
            .rollout("min_ready", "1s")
            .rollout("progress_deadline", "60s")
    }

    /// With the image of a version.
    #[must_use]
    pub fn version(self, version: &str) -> Self {
        self.key("image", &image(version))
    }

    /// With a key of `spec`, in YAML's flow style.
    #[must_use]
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without a key of `spec`.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        self.keys.remove(key);
        self
    }

    /// With so many replicas.
    #[must_use]
    pub fn replicas(self, replicas: u32) -> Self {
        self.key("replicas", &replicas.to_string())
    }

    /// With an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With a key of `rollout`.
    #[must_use]
    pub fn rollout(mut self, key: &str, value: &str) -> Self {
        self.rollout.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Its text in a project.
    pub fn yaml(&self, project: &str) -> String {
        let mut text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {project}, name: {}}}\nspec:\n",
            self.name
        );
        for (key, value) in &self.keys {
            writeln!(text, "  {key}: {value}").expect("text can be written to");
        }
        if !self.environment.is_empty() {
            text += "  environment:\n";
            for (name, value) in &self.environment {
                writeln!(text, "    {name}: \"{value}\"").expect("text can be written to");
            }
        }
        text += "  rollout:\n";
        for (key, value) in &self.rollout {
            writeln!(text, "    {key}: {value}").expect("text can be written to");
        }
        text
    }
}
