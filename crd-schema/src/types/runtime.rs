//! The engine's knobs: restart and pull policies, limits, devices, logs.

use std::{collections::BTreeMap, fmt};

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::forms::{Options, Refusal, Short, Shorten, form_schema, via};

use super::scalar::{ByteSize, ComposeDuration};

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

/// How soon and how often composed makes another replica for one that has ended by itself, in the place of the engine. Source:
/// compose-spec deploy, `restart_policy`; swarmkit `restart.go`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RestartRules {
    /// The wait from an end to the next start. Default: at once, then ever more slowly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<ComposeDuration>,
    /// So many further runs of each replica, then it has failed for good; 0 is no limit. Default: the number of `on-failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Only the ends of the last so long before an end count for `max_attempts`. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<ComposeDuration>,
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

impl Shorten for Ulimit {
    const EXPECTING: &'static str = "a whole number or a map with `soft` and `hard`";
    const WRITTEN: &'static str = "integer";

    fn short(number: &str) -> Result<Self, Refusal> {
        let limit = number.parse().ok().filter(|limit| *limit >= -1);
        let limit = limit
            .ok_or_else(|| Refusal::new(format!("`{number}` is not a limit"), "write a number, or -1 for no limit"))?;
        Ok(Self { soft: limit, hard: limit })
    }
}

impl Shorten for Device {
    const EXPECTING: &'static str = "a device as `source:target:permissions` or a map";

    fn complete(mut self) -> Self {
        if self.target.is_empty() {
            self.target.clone_from(&self.source);
        }
        self
    }

    fn short(text: &str) -> Result<Self, Refusal> {
        // A qualified name of the Container Device Interface.
        if let Some((class, name)) = text.split_once('=')
            && class.contains('/')
            && !text.starts_with('/')
            && !name.is_empty()
        {
            return Ok(Self { source: text.to_owned(), target: text.to_owned(), permissions: "rwm".to_owned() });
        }
        let mut parts = text.split(':');
        let source = parts.next().unwrap_or_default();
        let target = parts.next().unwrap_or(source);
        // `source:rw` is a target that is no path: the permissions.
        let (target, permissions) = match (target, parts.next()) {
            (word, None) if !word.starts_with('/') => (source, word),
            (target, permissions) => (target, permissions.unwrap_or("rwm")),
        };
        let known = !permissions.is_empty() && permissions.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
        if !source.starts_with('/') || !known || parts.next().is_some() {
            let help = "write `/dev/source[:/dev/target[:rwm]]`, or a name of the Container Device Interface: `vendor.com/class=name`";
            return Err(Refusal::new(format!("`{text}` is not a device"), help));
        }
        Ok(Self { source: source.to_owned(), target: target.to_owned(), permissions: permissions.to_owned() })
    }
}

/// Limits by resource, each a number or a map.
pub(crate) struct Ulimits(BTreeMap<String, Short<Ulimit>>);

impl From<Ulimits> for BTreeMap<String, Ulimit> {
    fn from(limits: Ulimits) -> Self {
        limits.0.into_iter().map(|(name, limit)| (name, limit.0)).collect()
    }
}

impl<'de> Deserialize<'de> for Ulimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}
form_schema!(Ulimits, |g| json_schema!({
    "type": "object",
    "additionalProperties": g.subschema_for::<Short<Ulimit>>()
}));
