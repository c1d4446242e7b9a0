//! Networks and volumes, the things a project owns.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::is_false;
use crate::forms::{Labels, Options, via};

/// A network of the project. Source: compose-spec 06-networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The engine's name for it; default `<project>_<network>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It exists already and is neither created nor removed by composed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// The network driver; default the engine's (`bridge`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the network, as a map or a list of `name=value`.
    #[serde(deserialize_with = "via::<Labels, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Labels")]
    pub labels: BTreeMap<String, String>,
    /// No way out of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub internal: bool,
    /// Containers of other projects may join by hand (overlay networks).
    #[serde(default, skip_serializing_if = "is_false")]
    pub attachable: bool,
    /// Give addresses of IPv4. Default true; `false` needs engine 28 or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_ipv4: Option<bool>,
    /// Give addresses of IPv6, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enable_ipv6: Option<bool>,
    /// Address management.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipam: Option<Ipam>,
}

/// Address management of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ipam {
    /// The IPAM driver; default the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// The subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config: Vec<IpamConfig>,
    /// Options of the IPAM driver.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub options: BTreeMap<String, String>,
}

/// One subnet of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IpamConfig {
    /// The subnet in CIDR notation, such as `10.5.0.0/16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The gateway's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The part of the subnet containers get addresses from, in CIDR notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    /// Addresses the driver keeps for itself, by host name.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub aux_addresses: BTreeMap<String, String>,
}

/// A named volume of the project. Source: compose-spec 07-volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// The engine's name for it; default `<project>_<volume>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// It exists already and is neither created nor removed by composed.
    #[serde(default, skip_serializing_if = "is_false")]
    pub external: bool,
    /// The volume driver; default the engine's (`local`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub driver_opts: BTreeMap<String, String>,
    /// Labels of the volume, as a map or a list of `name=value`.
    #[serde(deserialize_with = "via::<Labels, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Labels")]
    pub labels: BTreeMap<String, String>,
}
