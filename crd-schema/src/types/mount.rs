//! What is mounted into the container: host directories, named and anonymous volumes, memory.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_false, scalar::ByteSize};
use crate::forms::{Labels, via};

/// One mount. Source: compose-spec 05-services, "volumes".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// What is mounted.
    #[serde(rename = "type")]
    pub kind: MountKind,
    /// The host path of a bind, or the name of a volume; absent for an anonymous volume and for tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The absolute path in the container.
    pub target: String,
    /// The container may not write to it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub read_only: bool,
    /// Options of a bind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bind: Option<BindOptions>,
    /// Options of a volume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeOptions>,
    /// Options of a tmpfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tmpfs: Option<TmpfsOptions>,
}

/// What is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// A path of the host.
    Bind,
    /// A named volume of the project, or an anonymous one.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
}

/// Options of a bind mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BindOptions {
    /// How mounts below it spread: `private`, `rprivate`, `shared`, `rshared`, `slave` or `rslave`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<String>,
    /// Create the host directory when it is missing. Default: true for the short form, false for the long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_host_path: Option<bool>,
    /// Whether what is mounted below it comes along: `enabled` (default), `disabled`, and of a read-only one `writable` or
    /// `readonly` for those mounts (engine 25 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursive: Option<String>,
}

/// Options of a volume mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeOptions {
    /// Do not fill a new volume with what the image has at the target.
    #[serde(default, skip_serializing_if = "is_false")]
    pub nocopy: bool,
    /// The directory of the volume to mount instead of its root (engine 26 and later).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// Labels of an anonymous volume; those of a named one are written at the volume.
    #[serde(deserialize_with = "via::<Labels, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Labels")]
    pub labels: BTreeMap<String, String>,
}

/// Options of a tmpfs mount.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TmpfsOptions {
    /// The most it may hold, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<ByteSize>,
    /// The permission bits of its root, in octal, such as `0o1777`.
    #[serde(default, with = "crate::forms::octal", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub mode: Option<u32>,
}
