//! Maps that may be written as lists, and maps whose values may be missing.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use schemars::{JsonSchema, json_schema};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};

use super::{Refusal, Text, form_schema, with_help};
use crate::types::environment::Environment;

type Pairs = BTreeMap<String, String>;

/// Reads a map of text, or a list of `name=value`.
struct PairsVisitor {
    /// What one pair is called: "environment variable", "label".
    noun: &'static str,
    /// What a name without a value means; `None` when it is an error, with this help.
    bare: Result<&'static str, &'static str>,
    /// Whether a list will do.
    list: bool,
}

impl PairsVisitor {
    fn value<E: de::Error>(&self, name: &str, value: Option<String>) -> Result<String, E> {
        match (value, self.bare) {
            (Some(value), _) => Ok(value),
            (None, Ok(bare)) => Ok(bare.to_owned()),
            (None, Err(help)) if is_plain(name) => {
                Err(with_help(format_args!("{} `{name}` has no value", self.noun), help))
            }
            // `- "PASSWORD: hunter2"`: what was meant to be a value must not get into a message.
            (None, Err(help)) => Err(with_help(format_args!("one {} has no `=` and so no value", self.noun), help)),
        }
    }

    fn insert<E: de::Error>(&self, pairs: &mut Pairs, name: &str, value: Option<String>) -> Result<(), E> {
        let noun = self.noun;
        if name.is_empty() || name.contains('=') {
            let message = format_args!("the name of one {noun} is empty or has a `=`");
            return Err(with_help(message, "write `NAME: value`"));
        }
        let value = self.value(name, value)?;
        if pairs.insert(name.to_owned(), value).is_some() {
            return Err(with_help(format_args!("{noun} `{name}` is there twice"), "keep one of the two"));
        }
        Ok(())
    }
}

/// Whether a name looks like a name.
fn is_plain(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value of one name. A failure belongs to the value, so that it is shown at its key.
struct Value<'a>(&'a PairsVisitor, &'a str);

impl<'de> de::DeserializeSeed<'de> for Value<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let Maybe(value) = Maybe::<Text>::deserialize(deserializer)?;
        self.0.value(self.1, value.map(|text| text.0))
    }
}

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.list { "a map or a list of `name=value`" } else { "a map" })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Pairs::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Value(&self, &name))?;
            self.insert(&mut pairs, &name, Some(value))?;
        }
        Ok(pairs)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pairs, A::Error> {
        if !self.list {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut pairs = Pairs::new();
        while let Some(Text(item)) = items.next_element()? {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (item.as_str(), None),
            };
            self.insert(&mut pairs, name, value)?;
        }
        Ok(pairs)
    }
}

macro_rules! pairs_form {
    ($(#[$doc:meta])* $form:ident, $noun:literal, $bare:expr, $list:literal, $schema:tt) => {
        $(#[$doc])*
        pub(crate) struct $form(Pairs);

        impl From<$form> for Pairs {
            fn from(form: $form) -> Self {
                form.0
            }
        }

        impl<'de> Deserialize<'de> for $form {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let visitor = PairsVisitor { noun: $noun, bare: $bare, list: $list };
                deserializer.deserialize_any(visitor).map(Self)
            }
        }
        form_schema!($form, |_g| json_schema!($schema));
    };
}

pairs_form!(
    /// A map or list whose names need values.
    Dict, "option", Err("write `name: value`"), true,
    {
        "type": ["object", "array"],
        "additionalProperties": { "type": ["string", "number", "boolean"] },
        "items": { "type": "string", "pattern": "^[^=]+=" }
    }
);
pairs_form!(
    /// A map or list of labels; one without a value is empty, as the engine has it.
    Labels, "label", Ok(""), true,
    {
        "type": ["object", "array"],
        "additionalProperties": { "type": ["null", "string", "number", "boolean"] },
        "items": { "type": "string" }
    }
);
pairs_form!(
    /// A map only.
    Options, "option", Err("write `name: value`"), false,
    { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean"] } }
);

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bare = Err("write a value (`\"\"` for none): composed never passes its own environment on");
        let visitor = PairsVisitor { noun: "environment variable", bare, list: true };
        deserializer.deserialize_any(visitor).map(Self)
    }
}
form_schema!(Environment, |_g| json_schema!({
    "type": ["object", "array"],
    "additionalProperties": { "type": ["string", "number", "boolean"] },
    "items": { "type": "string", "pattern": "^[^=]+=" }
}));

/// A value, or nothing.
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaybeVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for MaybeVisitor<T> {
            type Value = Maybe<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value or nothing")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Maybe<T>, E> {
                Ok(Maybe(None))
            }

            fn visit_none<E: de::Error>(self) -> Result<Maybe<T>, E> {
                Ok(Maybe(None))
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Maybe<T>, D::Error> {
                T::deserialize(deserializer).map(|value| Maybe(Some(value)))
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Maybe<T>, D::Error> {
                deserializer.deserialize_option(self)
            }
        }

        // A newtype of this name asks our own reader, to which nothing is an error elsewhere; other formats pass on.
        deserializer.deserialize_newtype_struct(crate::yaml::MAYBE, MaybeVisitor(PhantomData))
    }
}

/// Things by name, each of which may be left empty for all defaults; a list of names too, when `LIST`.
pub(crate) struct Named<T, const LIST: bool>(BTreeMap<String, T>);

impl<T, const LIST: bool> From<Named<T, LIST>> for BTreeMap<String, T> {
    fn from(named: Named<T, LIST>) -> Self {
        named.0
    }
}

impl<T, const LIST: bool> From<Named<T, LIST>> for Option<BTreeMap<String, T>> {
    fn from(named: Named<T, LIST>) -> Self {
        Some(named.0)
    }
}

impl<'de, T: Deserialize<'de> + Default, const LIST: bool> Deserialize<'de> for Named<T, LIST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T, const LIST: bool>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + Default, const LIST: bool> Visitor<'de> for NamedVisitor<T, LIST> {
            type Value = Named<T, LIST>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(if LIST { "a list of names or a map" } else { "a map" })
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut named = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    let Maybe(value) = map.next_value()?;
                    named.insert(name, value.unwrap_or_default());
                }
                Ok(Named(named))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                if !LIST {
                    return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
                }
                let mut named = BTreeMap::new();
                while let Some(name) = items.next_element::<String>()? {
                    if named.contains_key(&name) {
                        return Err(
                            Refusal::new(format!("`{name}` is there twice"), "keep one of the two").into_error()
                        );
                    }
                    named.insert(name, T::default());
                }
                Ok(Named(named))
            }
        }

        deserializer.deserialize_any(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema, const LIST: bool> JsonSchema for Named<T, LIST> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}{}", T::schema_name(), if LIST { "OrList" } else { "" }).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = generator.subschema_for::<T>();
        let map = json_schema!({
            "type": "object",
            "additionalProperties": { "anyOf": [{ "type": "null" }, value] }
        });
        if !LIST {
            return map;
        }
        json_schema!({ "anyOf": [{ "type": "array", "items": { "type": "string" }, "uniqueItems": true }, map] })
    }
}
