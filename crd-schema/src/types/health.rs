//! How composed knows that a replica serves: the engine's healthcheck, composed's own probe, and the last words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Command, Test, via};

use super::{environment::Environment, is_false, scalar::ComposeDuration};

/// The engine's healthcheck. Source: compose-spec 05-services, "healthcheck".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Healthcheck {
    /// The command: `["CMD", ...]`, `["CMD-SHELL", "..."]` or `["NONE"]`; a string runs in the container's shell.
    /// Absent: the image's own command.
    #[serde(deserialize_with = "via::<Test, _, _>", default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Test")]
    pub test: Vec<String>,
    /// The time between two runs. Default: the image's, then `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ComposeDuration>,
    /// The most one run may take. Default: the image's, then `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ComposeDuration>,
    /// The time after the start in which failures do not count. Default: the image's, then `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_period: Option<ComposeDuration>,
    /// The time between two runs during the start period (engine 25 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_interval: Option<ComposeDuration>,
    /// How many failures in a row make it unhealthy. Default: the image's, then 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// Switch off the image's healthcheck.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disable: bool,
}

/// composed's own probe of a replica, over the network, for images without a healthcheck or for a quicker answer.
/// Exactly one of `http` and `tcp`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// Ready when a GET is answered with 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// Ready when a connection is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// The time between two probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<ComposeDuration>,
    /// The most one probe may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ComposeDuration>,
}

/// A probe by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// The path, starting with `/`.
    pub path: String,
    /// The port in the container.
    pub port: u16,
    /// The scheme; only `http` for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The `Host` header; default the replica's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

/// How an HTTP probe speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
}

/// A probe by connecting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// The port in the container.
    pub port: u16,
}

/// A command run in the container. Source: compose-spec 05-services, `pre_stop`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hook {
    /// The command and its arguments; a string is split as a shell would.
    #[serde(deserialize_with = "via::<Command, _, _>")]
    #[schemars(with = "Command")]
    pub command: Vec<String>,
    /// Who runs it; default the container's user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Run it with extended privileges.
    #[serde(default, skip_serializing_if = "is_false")]
    pub privileged: bool,
    /// Where it runs; default the container's working directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Further variables for it.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub environment: Environment,
}
