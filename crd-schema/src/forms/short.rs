//! Things with a short form of one word: mounts, devices, files of variables, limits.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::Refusal;
use crate::types::{
    attach::EnvFile,
    front::{Front, FrontMode},
    mount::{BindOptions, Mount, MountKind, VolumeOptions},
    runtime::{Device, Ulimit},
    update::{Update, UpdatePolicy},
};

/// What has a short form.
pub(crate) trait Shorten: Sized {
    /// What is expected, for messages.
    const EXPECTING: &'static str;
    /// The JSON type of the short form.
    const WRITTEN: &'static str = "string";

    fn short(text: &str) -> Result<Self, Refusal>;

    /// Fills in what the long form left open and a default cannot know.
    fn complete(self) -> Self {
        self
    }
}

/// A thing in its short or its long form.
pub(crate) struct Short<T>(pub(crate) T);

impl<'de, T: Shorten + Deserialize<'de>> Deserialize<'de> for Short<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShortVisitor<T>(PhantomData<T>);

        impl<'de, T: Shorten + Deserialize<'de>> Visitor<'de> for ShortVisitor<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTING)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                if T::WRITTEN == "integer" {
                    return Err(E::invalid_type(de::Unexpected::Str(""), &self));
                }
                T::short(text).map_err(Refusal::into_error)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
                if T::WRITTEN == "string" {
                    return Err(E::invalid_type(de::Unexpected::Unsigned(0), &self));
                }
                T::short(&number.to_string()).map_err(Refusal::into_error)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
                if T::WRITTEN == "string" {
                    return Err(E::invalid_type(de::Unexpected::Signed(0), &self));
                }
                T::short(&number.to_string()).map_err(Refusal::into_error)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(T::complete)
            }
        }

        deserializer.deserialize_any(ShortVisitor(PhantomData)).map(Self)
    }
}

impl<T: JsonSchema + Shorten> JsonSchema for Short<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Short{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({ "anyOf": [{ "type": T::WRITTEN }, generator.subschema_for::<T>()] })
    }
}

impl<T> From<Short<T>> for Option<T> {
    fn from(short: Short<T>) -> Self {
        Some(short.0)
    }
}

/// A list of such things.
pub(crate) struct Shorts<T>(Vec<Short<T>>);

impl<T> From<Shorts<T>> for Vec<T> {
    fn from(shorts: Shorts<T>) -> Self {
        shorts.0.into_iter().map(|short| short.0).collect()
    }
}

impl<'de, T: Shorten + Deserialize<'de>> Deserialize<'de> for Shorts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl<T: JsonSchema + Shorten> JsonSchema for Shorts<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Shorts{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({ "type": "array", "items": generator.subschema_for::<Short<T>>() })
    }
}

impl Shorten for EnvFile {
    const EXPECTING: &'static str = "a path or a map with `path`";

    fn short(path: &str) -> Result<Self, Refusal> {
        Ok(Self { path: path.to_owned(), required: true, format: None })
    }
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

impl Shorten for Update {
    const EXPECTING: &'static str = "`digest`, `none` or a map with `policy`";

    fn short(policy: &str) -> Result<Self, Refusal> {
        let policy = match policy {
            "digest" => UpdatePolicy::Digest,
            "none" => UpdatePolicy::None,
            "semver" => {
                let help = "write `update: {semver: \"~1.4\"}`";
                return Err(Refusal::new("`semver` needs a range of versions", help));
            }
            _ => {
                let help = "write `digest`, `none` or `{semver: \"~1.4\"}`";
                return Err(Refusal::new(format!("`{policy}` is not a policy for new images"), help));
            }
        };
        Ok(Self { policy: Some(policy), ..Self::default() })
    }
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

/// A path starts with `/`, `./` or `../`; anything else is the name of a volume.
fn source_kind(source: &str) -> Result<MountKind, Refusal> {
    if source.starts_with('~') {
        let help = "write the path in full: composed has no home directory";
        return Err(Refusal::new(format!("`{source}` starts with `~`"), help));
    }
    if source.starts_with('/')
        || source.starts_with("./")
        || source.starts_with("../")
        || source == "."
        || source == ".."
    {
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
            ("rw", _) => {}
            ("ro", _) => self.read_only = true,
            ("nocopy", MountKind::Volume) => self.volume.get_or_insert_with(VolumeOptions::default).nocopy = true,
            ("private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave", MountKind::Bind) => {
                self.bind.get_or_insert_with(BindOptions::default).propagation = Some(option.to_owned());
            }
            ("z" | "Z", _) => {
                let help = "label the directory once with `chcon -Rt container_file_t`, or use `security_opt: [\"label=disable\"]`";
                return Err(Refusal::new(format!("the SELinux option `{option}` is not supported"), help));
            }
            ("consistent" | "cached" | "delegated", _) => {
                let help = "remove it: it only ever meant something on Docker Desktop";
                return Err(Refusal::new(format!("the mount option `{option}` is not supported"), help));
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
