//! The envelope: which kind of thing a document describes, and whose it is.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Named, via};

use super::{
    project::{Network, Volume},
    rollout::Rollout,
    service::ServiceSpec,
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
        let metadata = ServiceMetadata { project: project.into(), name: name.into() };
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

/// Networks and volumes by name, and the rollout defaults of the project's services.
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
    /// Defaults for the `rollout` of every service; a service's own keys win one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
}
