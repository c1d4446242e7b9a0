//! Who sends requests to the replicas: the front that composed runs for a service, or a proxy that people run themselves.

use crate::ImageRef;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Named, Refusal, Shorten, via};

use super::is_false;
use super::scalar::ComposeDuration;

/// A small long-lived proxy (HAProxy) of the service's own, `NAME-front`. It has the service's host ports, its name and
/// its aliases on the networks, and sends to replicas that serve and to nobody else. Written as `http`, `tcp` or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// How it treats what comes in, on every port that `ports` says nothing else of.
    pub mode: FrontMode,
    /// Its image: HAProxy 2.6 or later, built with Lua as the official images are. Default `haproxy:3.0-alpine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// Ports of the container, beside those of the service's `ports` and `expose`, or with a mode of their own.
    #[serde(
        deserialize_with = "via::<Named<FrontPort, false>, _, _>",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    #[schemars(with = "Named<FrontPort, false>")]
    pub ports: BTreeMap<String, FrontPort>,
    /// Tell the replicas the client's address by the PROXY protocol, which they must understand. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Expect the PROXY protocol from whoever connects; without it a connection is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accept_proxy: bool,
    /// The most connections at a time; more wait. Default 8192.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// How long it waits for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<FrontTimeouts>,
    /// Keep a client at the replica that served it first, for as long as that one serves. Only for `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

/// How a front treats what comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FrontMode {
    /// As HTTP/1.1, request by request, with `X-Forwarded-For`. WebSockets pass; gRPC needs `tcp`.
    #[default]
    Http,
    /// As bytes, connection by connection.
    Tcp,
}

/// One port of a front.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontPort {
    /// How it treats what comes in. Default: the front's mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<FrontMode>,
}

/// A version of the PROXY protocol. Source: haproxy `doc/proxy-protocol.txt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How long a front waits for what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FrontTimeouts {
    /// For a replica to accept a connection; then another is tried. Default `2s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect: Option<ComposeDuration>,
    /// For the client to go on. Default `1m` with `http`, `1h` with `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<ComposeDuration>,
    /// For the replica to go on. Default `1m` with `http`, `1h` with `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ComposeDuration>,
    /// For a replica that serves, when there is none. Default `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<ComposeDuration>,
    /// For the next request on a connection. Default `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_keep_alive: Option<ComposeDuration>,
}

/// How a client is known again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sticky {
    /// The name of the cookie that the front sets. Its value is the short id of a container.
    pub cookie: String,
}

/// The proxies that people run themselves and composed tells who serves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// A HAProxy, told by its runtime API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<HaproxyDriver>,
    /// What has to end before a replica that leaves is stopped. Default `requests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<Drain>,
}

/// What has to end before a replica that leaves is stopped, within `drain_timeout`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Drain {
    /// The requests in flight. Connections that are kept for later ones do not count.
    #[default]
    Requests,
    /// All connections: for WebSockets and protocols other than HTTP, where a silent connection is in use. Behind a proxy
    /// that keeps connections for later requests, each replica takes until they are closed, or `drain_timeout`.
    Connections,
}

/// A backend of a HAProxy (2.6 or later) that people run themselves. composed adds the replicas to it as servers, drains
/// those that leave and removes them; other servers are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HaproxyDriver {
    /// Its runtime API (`stats socket ... level admin`): the path of a socket, or `host:port`.
    pub socket: String,
    /// The backend. It needs a dynamic `balance`, such as `roundrobin` or `leastconn`.
    pub backend: String,
    /// The port of the replicas.
    pub server_port: u16,
    /// The network on which the replicas are reached: its key, or the name the engine knows it by. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Tell the replicas the client's address by the PROXY protocol. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// What composed itself adds to the specification of a service that it makes up; no document may say it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generated {
    /// The service of the same project that it is the front of.
    pub front_of: String,
    /// Files that are put into the container before its first start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<GeneratedFile>,
}

/// A file, readable for everybody in the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedFile {
    /// Its absolute path.
    pub path: String,
    /// Its text.
    pub content: String,
}

impl Shorten for Front {
    const EXPECTING: &'static str = "`http`, `tcp` or a map with `mode`";

    fn short(mode: &str) -> Result<Self, Refusal> {
        let mode = match mode {
            "http" => FrontMode::Http,
            "tcp" => FrontMode::Tcp,
            _ => return Err(Refusal::new(format!("`{mode}` is not a mode of a front"), "write `http` or `tcp`")),
        };
        Ok(Self { mode, ..Self::default() })
    }
}
