//! Things with a short form of one word, such as mounts, devices, files of variables and limits: each type says its own.

use std::{borrow::Cow, fmt, marker::PhantomData};

use schemars::{JsonSchema, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::Refusal;

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
