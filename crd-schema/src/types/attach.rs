//! What a service refers to: networks, other services, files of variables.

use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, json_schema};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};

use super::{is_false, is_true, yes};
use crate::forms::{Options, Refusal, Short, Shorten, collect, form_schema, via};

/// How the service joins one network. Source: compose-spec 05-services, "networks".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkAttachment {
    /// Further names of the service on this network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// A fixed IPv4 address; only with one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4_address: Option<String>,
    /// A fixed IPv6 address; only with one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    /// A fixed hardware address on this network; only with one replica.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<String>,
    /// Link-local addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local_ips: Vec<String>,
    /// Networks are joined in descending order of it; default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i32>,
    /// Options of the network's driver for this container.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub driver_opts: BTreeMap<String, String>,
    /// The network with the highest one has the default route (engine 28 and later); default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gw_priority: Option<i64>,
    /// The name of the network's interface in the container (engine 28.1 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_name: Option<String>,
}

/// A service that must be there first. Source: compose-spec 05-services, `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// What must hold of it; default `service_started`.
    #[serde(default)]
    pub condition: DependencyCondition,
    /// Restart this service, too, after the other one was replaced. Default false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub restart: bool,
    /// Wait for it even when it does not exist (yet). Default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub required: bool,
}

impl Default for Dependency {
    fn default() -> Self {
        Self { condition: DependencyCondition::default(), restart: false, required: true }
    }
}

/// What must hold of a service before one that depends on it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DependencyCondition {
    /// A replica of it runs.
    #[default]
    ServiceStarted,
    /// A replica of it is healthy.
    ServiceHealthy,
    /// A replica of it ended with exit code 0.
    ServiceCompletedSuccessfully,
}

/// A file of `NAME=value` lines, merged into the environment before `environment`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnvFile {
    /// The path, relative to the document's directory.
    pub path: String,
    /// Whether it must exist; default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub required: bool,
    /// `raw` takes the lines as they are, without quotes and interpolation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
}

impl Shorten for EnvFile {
    const EXPECTING: &'static str = "a path or a map with `path`";

    fn short(path: &str) -> Result<Self, Refusal> {
        Ok(Self { path: path.to_owned(), required: true, format: None })
    }
}

/// A path, or a list of paths and maps.
pub(crate) struct EnvFiles(Vec<Short<EnvFile>>);

impl From<EnvFiles> for Vec<EnvFile> {
    fn from(files: EnvFiles) -> Self {
        files.0.into_iter().map(|file| file.0).collect()
    }
}

impl<'de> Deserialize<'de> for EnvFiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvFilesVisitor;

        impl<'de> Visitor<'de> for EnvFilesVisitor {
            type Value = EnvFiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<EnvFiles, E> {
                let file = EnvFile { path: path.to_owned(), required: true, format: None };
                Ok(EnvFiles(vec![Short(file)]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<EnvFiles, A::Error> {
                collect(items).map(EnvFiles)
            }
        }

        deserializer.deserialize_any(EnvFilesVisitor)
    }
}
form_schema!(EnvFiles, |g| json_schema!({
    "anyOf": [{ "type": "string" }, { "type": "array", "items": g.subschema_for::<Short<EnvFile>>() }]
}));
