//! The short and long forms Compose allows, each read into the one shape the types have.
//!
//! A *form* is what is written (it knows its JSON Schema), the target is what a type holds; [`via`] joins them on a
//! field: `#[serde(deserialize_with = "via::<Dict, _, _>")] #[schemars(with = "Dict")]`. Visitors, not untagged
//! enums: those can only say that nothing matched.

mod list;
mod map;
mod port;
mod port_number;
mod scalar;
mod short;
mod word;

use std::fmt;

use serde::{Deserialize, Deserializer, de};

pub(crate) use list::{Command, Hosts, OneOrMany, Test, Texts, collect};
pub(crate) use map::{Dict, Labels, Named, Options};
pub(crate) use port::{Ports, short as short_ports};
pub(crate) use port_number::{PortNumber, port_number, published_port};
pub(crate) use short::{Short, Shorten, Shorts};
pub(crate) use word::octal;

/// Reads a field by the form it is written in.
pub(crate) fn via<'de, F, T, D>(deserializer: D) -> Result<T, D::Error>
where
    F: Deserialize<'de> + Into<T>,
    D: Deserializer<'de>,
{
    F::deserialize(deserializer).map(Into::into)
}

/// A custom error with a second line `help: ...`, which [`crate::Diagnostic`] shows as the help.
pub(crate) fn with_help<E: de::Error>(message: impl fmt::Display, help: impl fmt::Display) -> E {
    E::custom(format_args!("{message}\nhelp: {help}"))
}

/// What is wrong with a short form, and what to write instead.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: String,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    pub(crate) fn into_error<E: de::Error>(self) -> E {
        with_help(self.message, self.help)
    }
}

/// A scalar as text: numbers and booleans exactly as written, where the reader can tell.
pub(crate) struct Text(pub(crate) String);

struct TextVisitor;

impl de::Visitor<'_> for TextVisitor {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Text, E> {
        Ok(Text(flag.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Text, E> {
        Ok(Text(number.to_string()))
    }
}

impl Text {
    /// Text or a whole number, for formats (JSON) that refuse a number where text is asked for.
    pub(crate) fn or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

/// Implements `JsonSchema` for a form by one expression, inlined where it is used.
macro_rules! form_schema {
    ($type:ty, |$generator:ident| $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(crate) use form_schema;
