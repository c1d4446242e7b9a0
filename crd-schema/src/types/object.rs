//! The envelope: which kind of thing a document describes, and whose it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Named, Short, via};

use super::{
    project::{Network, Volume},
    rollout::Rollout,
    service::ServiceSpec,
    update::Update,
};

/// One document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(clippy::large_enum_variant, reason = "a handful live at a time, and consumers match by value")]
pub enum Object {
    /// A service: containers of one image.
    Service(Service),
    /// A project: what its services share.
    Project(Project),
}

impl Object {
    /// The project the document belongs to.
    pub fn project(&self) -> &str {
        match self {
            Self::Service(service) => &service.metadata.project,
            Self::Project(project) => &project.metadata.name,
        }
    }
}

/// The version of this language.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first and only version.
    #[default]
    #[serde(rename = "composed.dev/v1")]
    V1,
}

/// The kind of a service document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceKind {
    /// A service.
    #[default]
    Service,
}

/// The kind of a project document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProjectKind {
    /// A project.
    #[default]
    Project,
}

/// A service of a Compose project: replicas of one container, kept running and rolled to each new revision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Service {
    /// The version of this language: `composed.dev/v1`.
    pub api_version: ApiVersion,
    /// What the document describes: `Service`.
    pub kind: ServiceKind,
    /// Whose service it is and how it is called.
    pub metadata: ServiceMetadata,
    /// What the service should be, in Compose's own words.
    pub spec: ServiceSpec,
}

impl Service {
    /// A service of `project` called `name`.
    pub fn new(project: impl Into<String>, name: impl Into<String>, spec: ServiceSpec) -> Self {
        let metadata = ServiceMetadata { project: project.into(), name: name.into(), hosts: Vec::new() };
        Self { metadata, spec, ..Self::default() }
    }
}

/// Whose service it is and how it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceMetadata {
    /// The Compose project: lowercase letters, digits, `-` and `_`, starting with a letter or digit.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]*$"))]
    pub project: String,
    /// The service: letters, digits, `.`, `_` and `-`, starting with a letter or digit.
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub name: String,
    /// The hosts that run it, by name; `*` stands for any characters, `?` for one. Default: every host that reads the
    /// document.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

impl ServiceMetadata {
    /// Whether it is for the host of this name. Upper and lower case are the same, as in DNS.
    pub fn is_for(&self, host: &str) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|pattern| fits(pattern, host))
    }
}

/// Whether a pattern with `*` and `?` stands for a name; upper and lower case are the same.
pub fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_ascii_lowercase(), name.to_ascii_lowercase());
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    // Where the last star was, and what it stood for up to there: it takes more when the rest does not fit.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, n));
                p += 1;
            }
            Some(one) if *one == b'?' || Some(one) == name.get(n) => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (p, n) = (after, taken + 1);
            }
        }
    }
    pattern.iter().skip(p).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn patterns_of_hosts() {
        for (pattern, name, wanted) in [
            ("web-1", "WEB-1", true),
            ("web-1", "web-10", false),
            ("web-?", "web-1", true),
            ("web-?", "web-", false),
            ("*", "", true),
            ("*.eu.*", "a.eu.b.eu.example", true),
            ("*.eu", "a.eu.example", false),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("", "a", false),
        ] {
            assert_eq!(fits(pattern, name), wanted, "{pattern} {name}");
        }
    }
}

/// What the services of a project share. Optional: without it each service joins the project's default network.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Project {
    /// The version of this language: `composed.dev/v1`.
    pub api_version: ApiVersion,
    /// What the document describes: `Project`.
    pub kind: ProjectKind,
    /// How the project is called.
    pub metadata: ProjectMetadata,
    /// What its services share.
    #[serde(default)]
    pub spec: ProjectSpec,
}

impl Project {
    /// A project called `name`.
    pub fn new(name: impl Into<String>, spec: ProjectSpec) -> Self {
        Self { metadata: ProjectMetadata { name: name.into() }, spec, ..Self::default() }
    }
}

/// How the project is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectMetadata {
    /// The Compose project: lowercase letters, digits, `-` and `_`, starting with a letter or digit.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9_-]*$"))]
    pub name: String,
}

/// Networks and volumes by name, and the rollout and update defaults of the project's services.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectSpec {
    /// Networks the services may join. A name without a value means all defaults.
    #[serde(
        deserialize_with = "via::<Named<Network, false>, _, _>",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Named<Network, false>")]
    pub networks: BTreeMap<String, Network>,
    /// Named volumes the services may mount. A name without a value means all defaults.
    #[serde(
        deserialize_with = "via::<Named<Volume, false>, _, _>",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Named<Volume, false>")]
    pub volumes: BTreeMap<String, Volume>,
    /// All services of the project are paused.
    #[serde(default, skip_serializing_if = "super::is_false")]
    pub paused: bool,
    /// Defaults for the `rollout` of every service; a service's own keys win one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// Defaults for the `update` of every service; a service's own keys win one by one, policy and range together.
    #[serde(deserialize_with = "via::<Short<Update>, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Short<Update>")]
    pub update: Option<Update>,
}
