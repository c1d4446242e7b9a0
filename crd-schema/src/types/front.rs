//! Who sends requests to the replicas: the front that composed runs for a service, or a proxy that people run themselves.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Named, via};

use super::attach::NetworkAttachment;
use super::is_false;
use super::port::Protocol;
use super::scalar::ComposeDuration;
use super::service::ServiceSpec;

/// A small long-lived proxy (HAProxy) of the service's own, `NAME-front`. It has the service's host ports, its name and
/// its aliases on the networks, and sends to replicas that serve and to nobody else. Written as `http`, `tcp` or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// How it treats what comes in, on every port that `ports` says nothing else of.
    pub mode: FrontMode,
    /// Its image: HAProxy 2.6 or later, built with Lua as the official images are. Default `haproxy:3.0-alpine`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
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

impl ServiceSpec {
    /// The ports that the service's front listens on, and how; empty without a front. What is no TCP port is left out:
    /// documents with one are refused.
    pub fn front_ports(&self) -> BTreeMap<u16, FrontMode> {
        let Some(front) = &self.front else { return BTreeMap::new() };
        let published = self.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.target);
        let exposed = self.expose.iter().filter_map(|entry| exposed(entry)).flatten();
        let named = front.ports.keys().filter_map(|port| port.parse().ok());
        let mode = |port: &u16| front.ports.get(&port.to_string()).and_then(|port| port.mode).unwrap_or(front.mode);
        published.chain(exposed).chain(named).map(|port| (port, mode(&port))).collect()
    }

    /// The specification as the replicas of a service with a front have it: host ports, names and fixed addresses are
    /// the front's. Without a front it is what it is.
    #[must_use]
    pub fn of_replicas(&self) -> Cow<'_, Self> {
        if self.front.is_none() {
            return Cow::Borrowed(self);
        }
        let mut own = self.clone();
        // How the front is made is nothing to them; that there is one is.
        own.front = Some(Front::default());
        own.expose.extend(own.ports.drain(..).map(|port| format!("{}/{}", port.target, port.protocol.as_str())));
        own.expose.sort();
        own.expose.dedup();
        for attachment in own.networks.iter_mut().flat_map(BTreeMap::values_mut) {
            *attachment = NetworkAttachment { priority: attachment.priority, ..NetworkAttachment::default() };
        }
        own.mac_address = None;
        Cow::Owned(own)
    }
}

/// How many ports an entry of `expose` is, of any protocol: 1 where it cannot be read.
pub(crate) fn ports_of(entry: &str) -> usize {
    let range = entry.split('/').next().unwrap_or_default();
    exposed(range).map_or(1, |ports| ports.len())
}

/// The TCP ports of an entry of `expose`.
fn exposed(entry: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let range = entry.split_once('/').map_or(Some(entry), |(range, protocol)| (protocol == "tcp").then_some(range))?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
