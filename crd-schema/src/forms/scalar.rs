//! Durations, sizes, shares and decimals as they are written: text, and numbers where a number says enough.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::with_help;
use crate::types::scalar::{
    BYTES_HELP, ByteSize, ComposeDuration, DURATION_HELP, Decimal, IntOrPercent, STATUS_HELP, ScalarError, StatusCodes,
};

impl ScalarError {
    pub(crate) fn into_error<E: de::Error>(self) -> E {
        let help = self.help();
        with_help(self, help)
    }
}

macro_rules! text_serde {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )*};
}
text_serde!(ComposeDuration, ByteSize, Decimal, StatusCodes);

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(count) => serializer.serialize_u32(*count),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

struct ScalarVisitor<T> {
    expecting: &'static str,
    whole: Option<fn(u64) -> Result<T, ScalarError>>,
    help: &'static str,
}

impl<T: FromStr<Err = ScalarError>> de::Visitor<'_> for ScalarVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(ScalarError::into_error)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        match self.whole {
            Some(make) => make(number).map_err(ScalarError::into_error),
            None => {
                Err(with_help(format_args!("`{number}` is not {}: the unit is missing", self.expecting), self.help))
            }
        }
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(with_help(format_args!("`{number}` is negative"), self.help)),
        }
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        if self.whole.is_some() {
            return self.visit_str(&number.to_string());
        }
        Err(with_help(format_args!("`{number}` is not {}: the unit is missing", self.expecting), self.help))
    }
}

impl<'de> Deserialize<'de> for ComposeDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let visitor = ScalarVisitor { expecting: "a duration", whole: None, help: DURATION_HELP };
        deserializer.deserialize_any(visitor)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole: fn(u64) -> Result<Self, ScalarError> = |bytes| bytes.to_string().parse();
        deserializer.deserialize_any(ScalarVisitor { expecting: "a byte size", whole: Some(whole), help: BYTES_HELP })
    }
}

impl<'de> Deserialize<'de> for StatusCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole: fn(u64) -> Result<Self, ScalarError> = |status| status.to_string().parse();
        deserializer.deserialize_any(ScalarVisitor {
            expecting: "HTTP statuses",
            whole: Some(whole),
            help: STATUS_HELP,
        })
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole: fn(u64) -> Result<Self, ScalarError> = |count| count.to_string().parse();
        let help = "write a whole number such as `1`, or a share such as `25%`";
        deserializer.deserialize_any(ScalarVisitor { expecting: "a count or a percentage", whole: Some(whole), help })
    }
}

impl<'de> Deserialize<'de> for Decimal {
    /// Asks for text, so that a YAML reader hands over the number as written.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole: fn(u64) -> Result<Self, ScalarError> = |number| number.to_string().parse();
        let help = "write a number such as `0.5` or `2`";
        deserializer.deserialize_str(ScalarVisitor { expecting: "a decimal number", whole: Some(whole), help })
    }
}

macro_rules! text_schema {
    ($($type:ident: $schema:tt),*) => {$(
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    )*};
}
text_schema!(
    ComposeDuration: { "type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h))+$", "examples": ["10s", "1m30s", "250ms"] },
    ByteSize: { "type": ["string", "integer"], "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?([bB]|[kKmMgGtTpP][iI]?[bB]?)?$", "examples": ["64m", "1gb"] },
    Decimal: { "type": ["string", "number"], "minimum": 0, "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["0.5", 2] },
    IntOrPercent: { "type": ["string", "integer"], "minimum": 0, "pattern": r"^[0-9]+%?$", "examples": [1, "25%"] },
    StatusCodes: { "type": ["string", "integer"], "minimum": 100, "maximum": 599, "pattern": r"^[1-5][0-9]{2}(-[1-5][0-9]{2})?(,[1-5][0-9]{2}(-[1-5][0-9]{2})?)*$", "examples": ["200-299", 204] }
);
