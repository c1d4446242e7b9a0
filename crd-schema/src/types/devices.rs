//! Devices that a driver hands out, such as GPUs, and the limits of block devices.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::scalar::ByteSize;
use crate::forms::{Options, via};

/// Devices to be had from a driver. Source: compose-spec 05-services, `gpus`; deploy, `devices`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {
    /// What they must be able to do, such as `gpu` or `compute`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// How many, or `all`; default all, unless `device_ids` names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<DeviceCount>,
    /// Which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_ids: Vec<String>,
    /// The driver; default the one that has such devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Options of the driver.
    #[serde(deserialize_with = "via::<Options, _, _>", default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(with = "Options")]
    pub options: BTreeMap<String, String>,
}

/// A number of devices; -1 is all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceCount(pub i64);

impl DeviceCount {
    /// All that there are.
    pub const ALL: Self = Self(-1);
}

impl<'de> Deserialize<'de> for DeviceCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = DeviceCount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of devices or `all`")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<DeviceCount, E> {
                let known = number == -1 || number > 0;
                if known { Ok(DeviceCount(number)) } else { Err(E::invalid_value(de::Unexpected::Signed(0), &self)) }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<DeviceCount, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DeviceCount, E> {
                match text.parse() {
                    _ if text == "all" => Ok(DeviceCount::ALL),
                    Ok(number) => self.visit_i64(number),
                    Err(_) => Err(E::invalid_value(de::Unexpected::Str(""), &self)),
                }
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for DeviceCount {
    fn schema_name() -> Cow<'static, str> {
        "DeviceCount".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": -1 }, { "const": "all" }] })
    }
}

/// The share of block devices that a replica has, and how much it may read and write. Source: compose-spec 05-services,
/// `blkio_config`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlkioConfig {
    /// Its weight against other containers, 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// The same on single devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weight_device: Vec<WeightDevice>,
    /// The most bytes a second that it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// The most operations a second by which it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// The most bytes a second that it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// The most operations a second by which it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_write_iops: Vec<ThrottleDevice>,
}

/// The weight on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightDevice {
    /// The device on the host.
    pub path: String,
    /// 10 to 1000.
    pub weight: u16,
}

/// The limit on one device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThrottleDevice {
    /// The device on the host.
    pub path: String,
    /// So much a second.
    pub rate: ByteSize,
}
