//! The engine's knobs: restart and pull policies, limits, devices, logs.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::forms::{Options, via};

use super::scalar::ByteSize;

/// What the engine does when the container ends by itself. Source: compose-spec 05-services, "restart".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartPolicy {
    /// `no`.
    #[default]
    No,
    /// `always`.
    Always,
    /// `on-failure`, or `on-failure:3` for at most three times.
    OnFailure(Option<u32>),
    /// `unless-stopped`.
    UnlessStopped,
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("no"),
            Self::Always => f.write_str("always"),
            Self::OnFailure(None) => f.write_str("on-failure"),
            Self::OnFailure(Some(times)) => write!(f, "on-failure:{times}"),
            Self::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

/// When the image is pulled. Source: compose-spec 05-services, `pull_policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    /// Before each new replica of a revision.
    Always,
    /// Never; the image must be there.
    Never,
    /// When the engine does not have it (also `if_not_present`).
    #[default]
    Missing,
}

/// The limit of memory and swap together: bytes, or -1 for no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SwapLimit {
    /// `-1`: as much swap as the host has.
    Unlimited,
    /// So many bytes of memory and swap together.
    Bytes(ByteSize),
}

impl SwapLimit {
    /// The engine's number: bytes, or -1.
    pub fn get(self) -> i64 {
        match self {
            Self::Unlimited => -1,
            Self::Bytes(bytes) => i64::try_from(bytes.0).unwrap_or(i64::MAX),
        }
    }
}

/// The soft and hard limit of one resource; -1 is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ulimit {
    /// What the kernel enforces.
    pub soft: i64,
    /// How far the process may raise it.
    pub hard: i64,
}

/// A device of the host in the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// The device on the host.
    pub source: String,
    /// Its path in the container; default the same as on the host.
    #[serde(default)]
    pub target: String,
    /// Some of `r`, `w`, `m`; default `rwm`.
    #[serde(default = "Device::all")]
    pub permissions: String,
}

impl Device {
    /// Whether it is a name of the Container Device Interface, not a path.
    pub fn is_named(&self) -> bool {
        !self.source.starts_with('/') && self.source == self.target
    }

    fn all() -> String {
        "rwm".to_owned()
    }
}

/// Where the engine sends the container's output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Logging {
    /// The logging driver; default the engine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub options: BTreeMap<String, String>,
}
