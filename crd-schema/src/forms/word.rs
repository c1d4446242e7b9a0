//! Single words with a grammar of their own: restart and pull policies, swap limits, file modes.

use std::fmt;

use schemars::json_schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Refusal, Text, form_schema};
use crate::types::runtime::{PullPolicy, RestartPolicy, SwapLimit};

impl Serialize for RestartPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RestartPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(word) = Text::deserialize(deserializer)?;
        let (policy, times) =
            word.split_once(':').map_or((word.as_str(), None), |(policy, times)| (policy, Some(times)));
        let times = times.map(str::parse::<u32>).transpose();
        match (policy, times) {
            ("no", Ok(None)) => Ok(Self::No),
            ("always", Ok(None)) => Ok(Self::Always),
            ("unless-stopped", Ok(None)) => Ok(Self::UnlessStopped),
            ("on-failure", Ok(times)) => Ok(Self::OnFailure(times)),
            _ => {
                let help = "write `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:3`";
                Err(Refusal::new(format!("`{word}` is not a restart policy"), help).into_error())
            }
        }
    }
}
form_schema!(RestartPolicy, |_g| json_schema!({
    "type": "string",
    "pattern": "^(no|always|unless-stopped|on-failure(:[0-9]+)?)$",
    "examples": ["unless-stopped", "on-failure:3"]
}));

const BY_THE_CLOCK: &str = "write composed's own `update: {policy: digest, interval: 24h}` instead: it asks the registry, and rolls a new image \
                            out with health checks";

impl<'de> Deserialize<'de> for PullPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Text(word) = Text::deserialize(deserializer)?;
        let help = match word.as_str() {
            "always" => return Ok(Self::Always),
            "never" => return Ok(Self::Never),
            "missing" | "if_not_present" => return Ok(Self::Missing),
            "build" => "composed builds no images: build and push them, then name them in `image`",
            "refresh" | "daily" | "weekly" => BY_THE_CLOCK,
            every if every.starts_with("every_") => BY_THE_CLOCK,
            _ => "write `always`, `never` or `missing`",
        };
        Err(Refusal::new(format!("`{word}` is not supported"), help).into_error())
    }
}
form_schema!(PullPolicy, |_g| json_schema!({ "enum": ["always", "never", "missing", "if_not_present"] }));

impl Serialize for SwapLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => serializer.serialize_i64(-1),
            Self::Bytes(bytes) => bytes.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for SwapLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwapVisitor;

        impl de::Visitor<'_> for SwapVisitor {
            type Value = SwapLimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte size or -1")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SwapLimit, E> {
                if text == "-1" {
                    return Ok(SwapLimit::Unlimited);
                }
                text.parse().map(SwapLimit::Bytes).map_err(crate::ScalarError::into_error)
            }

            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<SwapLimit, E> {
                self.visit_str(&bytes.to_string())
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<SwapLimit, E> {
                self.visit_str(&bytes.to_string())
            }
        }

        deserializer.deserialize_any(SwapVisitor)
    }
}
form_schema!(SwapLimit, |_g| json_schema!({ "type": ["string", "integer"], "examples": ["1g", -1] }));

/// File modes, which people write in octal and YAML reads in decimal: only an octal spelling is taken.
pub(crate) mod octal {
    use super::{Deserialize, Deserializer, Refusal, Serializer, Text};

    /// Writes `0o1777`.
    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn serialize<S: Serializer>(mode: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
        match mode {
            Some(mode) => serializer.collect_str(&format_args!("{mode:#o}")),
            None => serializer.serialize_none(),
        }
    }

    /// Reads `0o1777` or `01777`.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
        let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok()).filter(|mode| *mode <= 0o7777);
        mode.map(Some).ok_or_else(|| {
            Refusal::new(
                format!("`{text}` is not a file mode in octal"),
                "start it with a zero, such as `0o1777` or `0755`",
            )
            .into_error()
        })
    }
}
