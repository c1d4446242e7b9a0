//! What is mounted into the container: host directories, named and anonymous volumes, memory.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{is_false, scalar::ByteSize};
use crate::forms::{Labels, Refusal, Shorten, via};

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
    /// How `SELinux` labels it: `z`, shared by containers, or `Z`, for this one alone. The engine does it when the container is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selinux: Option<SelinuxLabel>,
}

/// How `SELinux` labels what is mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelinuxLabel {
    /// For all containers.
    #[serde(rename = "z")]
    Shared,
    /// For one container.
    #[serde(rename = "Z")]
    Private,
}

impl SelinuxLabel {
    /// The word that the engine takes.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shared => "z",
            Self::Private => "Z",
        }
    }
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

const MOUNT_HELP: &str =
    "write `source:/target[:ro]`, where source is a host path (`/data`, `./data`) or the name of a volume";

impl Shorten for Mount {
    const EXPECTING: &'static str = "a mount as `source:target:ro` or a map";

    /// `[source:]target[:options]`, options separated by commas. Source: compose-spec 05-services, "Short syntax".
    fn short(text: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => return Err(Refusal::new(format!("`{text}` has too many parts for a mount"), MOUNT_HELP)),
        };
        if !target.starts_with('/') {
            return Err(Refusal::new(format!("the mount's target `{target}` is not an absolute path"), MOUNT_HELP));
        }
        let mut mount = Self { target: target.to_owned(), ..Self::default() };
        if let Some(source) = source {
            mount.kind = source_kind(source)?;
            mount.source = Some(source.to_owned());
        }
        if mount.kind == MountKind::Bind {
            mount.bind = Some(BindOptions { create_host_path: Some(true), ..BindOptions::default() });
        }
        for option in options.split(',').filter(|_| parts.len() == 3) {
            mount.apply(option)?;
        }
        Ok(mount)
    }
}

/// A path starts with `/` or `.`; anything else is the name of a volume.
fn source_kind(source: &str) -> Result<MountKind, Refusal> {
    if source.starts_with('~') {
        let help = "write the path in full; of a Compose file, --env HOME=/home/NAME says what `~` is";
        return Err(Refusal::new(format!("`{source}` starts with `~`"), help));
    }
    if source.starts_with(['/', '.']) {
        return Ok(MountKind::Bind);
    }
    if source.starts_with(|c: char| c.is_ascii_alphanumeric()) && !source.contains(['/', '\\']) {
        return Ok(MountKind::Volume);
    }
    Err(Refusal::new(format!("`{source}` is neither a host path nor the name of a volume"), MOUNT_HELP))
}

impl Mount {
    fn apply(&mut self, option: &str) -> Result<(), Refusal> {
        match (option, self.kind) {
            // Of a volume the engine sees to its label; and the last ones are for Docker Desktop, and mean nothing on Linux.
            ("rw" | "consistent" | "cached" | "delegated", _) | ("z" | "Z", MountKind::Volume | MountKind::Tmpfs) => {}
            ("ro", _) => self.read_only = true,
            ("nocopy", MountKind::Volume) => self.volume.get_or_insert_with(VolumeOptions::default).nocopy = true,
            ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave", MountKind::Bind) => {
                self.bind.get_or_insert_with(BindOptions::default).propagation = Some(option.to_owned());
            }
            ("z", MountKind::Bind) => {
                self.bind.get_or_insert_with(BindOptions::default).selinux = Some(SelinuxLabel::Shared);
            }
            ("Z", MountKind::Bind) => {
                self.bind.get_or_insert_with(BindOptions::default).selinux = Some(SelinuxLabel::Private);
            }
            _ => {
                let help =
                    "options are `ro`, `rw`, `nocopy` for a volume, and propagation (such as `rslave`) for a host path";
                return Err(Refusal::new(format!("unknown mount option `{option}`"), help));
            }
        }
        Ok(())
    }
}
