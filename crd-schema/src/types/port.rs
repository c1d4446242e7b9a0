//! Published ports.

use crate::forms::{PortNumber, port_number, published_port};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One port of the container, published on the host. Source: compose-spec 05-services, "ports".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The port in the container.
    #[serde(deserialize_with = "port_number")]
    #[schemars(with = "PortNumber")]
    pub target: u16,
    /// The port on the host; absent, the engine takes a free one for each replica.
    #[serde(default, deserialize_with = "published_port", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PortNumber")]
    pub published: Option<u16>,
    /// The host's address to listen on; absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    /// The transport protocol; default `tcp`.
    #[serde(default, skip_serializing_if = "Protocol::is_tcp")]
    pub protocol: Protocol,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The application protocol, such as `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_protocol: Option<String>,
    /// Where it is published; `host` is the only one composed knows, `ingress` means the same on one host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<PortMode>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP, the default.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    const fn is_tcp(&self) -> bool {
        matches!(self, Self::Tcp)
    }

    /// The engine's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where a port is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PortMode {
    /// On this host.
    Host,
    /// Swarm's word; on one host the same.
    Ingress,
}
