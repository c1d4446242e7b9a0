//! serde's view of the tree. A failure knows its place, its key path and how to be skipped, so that reading again
//! finds the next one. Three promises the types rely on:
//!
//! * asked for a *str* (`deserialize_str`), a scalar is its text as written: `1.10` stays `1.10`;
//! * asked for a *string* (`deserialize_string`, as `String` does), a plain number or boolean is refused;
//! * a message names keys, never a value that was text.

#![allow(clippy::result_large_err, reason = "a failure is built at most 20 times a document")]

use std::fmt;

use serde::de::{self, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer};

use super::{
    failure::{Failure, Fault},
    node::{Kind, Node},
};

/// The name under which a type asks for "a value or nothing"; elsewhere nothing is an error.
pub(crate) const MAYBE: &str = "composed::Maybe";

/// Reads a value from a node.
///
/// # Errors
/// The first failure met.
pub(crate) fn from_node<'n, T: de::Deserialize<'n>>(node: &'n Node) -> Result<T, Failure> {
    T::deserialize(Reader { node })
}

/// What a plain scalar means in YAML 1.2's core schema. Numbers with a leading zero are text: YAML 1.1 read them as
/// octal, YAML 1.2 does not, and guessing is not for us.
enum Meaning {
    Nothing,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

fn meaning(text: &str) -> Meaning {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Meaning::Nothing,
        "true" | "True" | "TRUE" => return Meaning::Bool(true),
        "false" | "False" | "FALSE" => return Meaning::Bool(false),
        ".inf" | ".Inf" | ".INF" | "+.inf" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Meaning::Float(f64::NAN),
        _ => {}
    }
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = text.strip_prefix(prefix)
            && digits.starts_with(|c: char| c.is_ascii_hexdigit())
            && let Ok(number) = i128::from_str_radix(digits, radix)
        {
            return Meaning::Int(number);
        }
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.");
    if leading_zero || !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Meaning::Text;
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_or(Meaning::Text, Meaning::Int);
    }
    if digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+')) {
        return text.parse().map_or(Meaning::Text, Meaning::Float);
    }
    Meaning::Text
}

#[derive(Clone, Copy)]
struct Reader<'n> {
    node: &'n Node,
}

impl Reader<'_> {
    fn meaning(self) -> Meaning {
        match &self.node.kind {
            Kind::Scalar { text, plain: true } => meaning(text),
            Kind::Scalar { .. } => Meaning::Text,
            Kind::List(_) | Kind::Map(_) => Meaning::Nothing,
        }
    }

    /// Nothing stands where something must: `image:` with no word behind it.
    fn something(self) -> Result<Self, Failure> {
        let nothing = self.node.text().is_some() && matches!(self.meaning(), Meaning::Nothing);
        if nothing { Err(Failure::empty()) } else { Ok(self) }
    }

    fn whole<T: TryFrom<i128> + fmt::Display + Copy>(self, min: T, max: T) -> Result<T, Failure> {
        let number = match self.something()?.meaning() {
            Meaning::Int(number) => T::try_from(number).ok(),
            _ => None,
        };
        number.ok_or_else(|| {
            let quoted = matches!(&self.node.kind, Kind::Scalar { plain: false, text } if text.parse::<i64>().is_ok());
            Failure {
                help: quoted.then(|| "remove the quotes".to_owned()),
                ..Failure::new(Fault::Other, format!("expected a whole number from {min} to {max}"))
            }
        })
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $type:ident),*) => {$(
        fn $method<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(self.whole($type::MIN, $type::MAX)?)
        }
    )*};
}

impl<'n> de::Deserializer<'n> for Reader<'n> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Kind::Map(entries) => visitor.visit_map(Entries { entries: entries.iter().enumerate(), value: None }),
            Kind::Scalar { text, .. } => match self.meaning() {
                Meaning::Nothing => visitor.visit_unit(),
                Meaning::Bool(flag) => visitor.visit_bool(flag),
                Meaning::Float(number) => visitor.visit_f64(number),
                Meaning::Text => visitor.visit_borrowed_str(text),
                Meaning::Int(number) => match (u64::try_from(number), i64::try_from(number)) {
                    (Ok(number), _) => visitor.visit_u64(number),
                    (_, Ok(number)) => visitor.visit_i64(number),
                    _ => Err(Failure::new(Fault::Other, "the number is too large".to_owned())),
                },
            },
        }
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.something()?.node.kind {
            Kind::Scalar { text, .. } => visitor.visit_borrowed_str(text),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        let kind = match (&self.node.kind, self.meaning()) {
            (Kind::Scalar { .. }, Meaning::Bool(_)) => "true or false",
            (Kind::Scalar { .. }, Meaning::Int(_) | Meaning::Float(_)) => "a number",
            _ => return self.deserialize_str(visitor),
        };
        Err(Failure {
            help: Some(format!("put it in quotes: \"{}\"", self.node.text().unwrap_or_default())),
            ..Failure::new(Fault::Other, format!("expected text, found {kind}"))
        })
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.something()?.meaning() {
            Meaning::Bool(flag) => visitor.visit_bool(flag),
            _ => Err(Failure {
                help: Some("write `true` or `false`".to_owned()),
                ..Failure::new(Fault::Other, "expected true or false".to_owned())
            }),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self.something()?)
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.something()?.node.kind {
            // serde would read a list as the fields in their order.
            Kind::List(_) => Err(de::Error::invalid_type(de::Unexpected::Seq, &"a map")),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.something()?.deserialize_any(visitor)
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_struct("", &[], visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(self, name: &'static str, visitor: V) -> Result<V::Value, Failure> {
        match (&self.node.kind, self.meaning()) {
            (Kind::Scalar { .. }, Meaning::Nothing) if name == MAYBE => visitor.visit_none(),
            _ if name == MAYBE => visitor.visit_some(self),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.kind {
            Kind::Scalar { .. } if matches!(self.meaning(), Meaning::Nothing) => Err(Failure::empty()),
            Kind::Scalar { text, .. } => visitor.visit_enum(text.as_str().into_deserializer()),
            Kind::List(_) | Kind::Map(_) => Err(Failure::new(Fault::Other, "expected a word".to_owned())),
        }
    }

    whole_numbers! {
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>>
        f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'n> {
    items: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'n> de::SeqAccess<'n> for Items<'n> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'n>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let Some((index, node)) = self.items.by_ref().find(|(_, node)| !node.skip) else {
            return Ok(None);
        };
        let value = seed.deserialize(Reader { node });
        value.map(Some).map_err(|failure| failure.at(node.first(), format!("[{index}]"), index))
    }
}

struct Entries<'n> {
    entries: std::iter::Enumerate<std::slice::Iter<'n, (Node, Node)>>,
    value: Option<(usize, &'n str, &'n Node, &'n Node)>,
}

impl<'n> de::MapAccess<'n> for Entries<'n> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'n>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        let Some((index, (key, value))) = self.entries.by_ref().find(|(_, (_, value))| !value.skip) else {
            return Ok(None);
        };
        let name = key.text().unwrap_or_default();
        self.value = Some((index, name, key, value));
        let text: StrDeserializer<'n, Failure> = name.into_deserializer();
        seed.deserialize(text).map(Some).map_err(|mut failure| {
            failure.place.get_or_insert(key.place);
            failure.steps.push(index);
            failure
        })
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        let Some((index, name, key, value)) = self.value.take() else {
            return Err(Failure::new(Fault::Other, "a value without a key".to_owned()));
        };
        let reader = Reader { node: value };
        seed.deserialize(reader).map_err(|failure| {
            let written = matches!(value.kind, Kind::Scalar { .. }) && !matches!(reader.meaning(), Meaning::Nothing);
            let point_at_value = written && !matches!(failure.fault, Fault::MissingKey(_));
            failure.at(if point_at_value { value.place } else { key.place }, name.to_owned(), index)
        })
    }
}
