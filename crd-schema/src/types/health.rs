//! How composed knows that a replica serves: the engine's healthcheck, composed's own probe, and the last words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Command, Test, via};

use super::environment::Environment;
use super::is_false;
use super::scalar::{ComposeDuration, StatusCodes};

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
/// Exactly one of `http`, `tcp` and `grpc`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Readiness {
    /// Ready when a GET is answered with one of the wanted statuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// Ready when a connection is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// Ready when the gRPC health service answers SERVING.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<GrpcProbe>,
    /// The time between two probes. Default: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<ComposeDuration>,
    /// The most one probe may take. Default: `1s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ComposeDuration>,
    /// So many successes in a row make it ready. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
    /// So many failures in a row make a ready one unready. Default: 3, as in Kubernetes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
}

/// A probe by HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// The path, starting with `/`.
    pub path: String,
    /// The port in the container.
    pub port: u16,
    /// How it is spoken to. With `https` the certificate is not checked, as in Kubernetes: it is the replica's own address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// The `Host` header, and with `https` the name asked for; default the replica's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The statuses that mean ready, such as `200-299` or `200,204`. Default: `200-399`. A redirect is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusCodes>,
}

/// How an HTTP probe speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Plain HTTP.
    #[default]
    Http,
    /// HTTP over TLS.
    Https,
}

/// A probe by connecting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// The port in the container.
    pub port: u16,
}

/// A probe by the gRPC health checking protocol, without TLS. Source: `grpc.health.v1.Health`, `Check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrpcProbe {
    /// The port in the container.
    pub port: u16,
    /// The service asked about; default the server as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
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
