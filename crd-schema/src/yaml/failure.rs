//! Why a node cannot be read. A failure knows its place, its key path and how to be skipped.

use std::fmt;

use serde::de;

use super::node::Place;

/// What kind of failure it is, where the reader can say more about it than serde does.
#[derive(Debug)]
pub(crate) enum Fault {
    /// Any other.
    Other,
    /// A key the map does not have, and those it has.
    UnknownKey { key: String, known: &'static [&'static str] },
    /// A word that is none of the choices.
    UnknownWord { word: String, known: &'static [&'static str] },
    /// A key that must be there.
    MissingKey(&'static str),
}

/// Why a node cannot be read.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) fault: Fault,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) place: Option<Place>,
    /// Keys from the root, such as `spec.volumes[0]`; innermost first while it is built.
    pub(super) names: Vec<String>,
    /// Positions from the root, innermost first.
    pub(super) steps: Vec<usize>,
}

impl Failure {
    pub(super) fn new(fault: Fault, message: String) -> Self {
        Self { fault, message, help: None, place: None, names: Vec::new(), steps: Vec::new() }
    }

    pub(super) fn empty() -> Self {
        Self {
            help: Some("write a value, or remove the key".to_owned()),
            ..Self::new(Fault::Other, "there is no value".to_owned())
        }
    }

    /// The keys from the root, such as `spec.volumes[0]`; empty at the root.
    pub(crate) fn path(&self) -> String {
        let mut path = String::new();
        for name in self.names.iter().rev() {
            if !path.is_empty() && !name.starts_with('[') {
                path.push('.');
            }
            path.push_str(name);
        }
        path
    }

    /// The positions to leave out of the next reading.
    pub(crate) fn steps(&self) -> Vec<usize> {
        self.steps.iter().rev().copied().collect()
    }

    pub(super) fn at(mut self, place: Place, name: String, step: usize) -> Self {
        self.place.get_or_insert(place);
        self.names.push(name);
        self.steps.push(step);
        self
    }
}

impl std::error::Error for Failure {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let text = message.to_string();
        let (message, help) = match text.split_once("\nhelp: ") {
            Some((message, help)) => (message.to_owned(), Some(help.to_owned())),
            None => (text, None),
        };
        Self { help, ..Self::new(Fault::Other, message) }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Bool(_) => "true or false",
            de::Unexpected::Unsigned(_) | de::Unexpected::Signed(_) => "a whole number",
            de::Unexpected::Float(_) => "a number",
            de::Unexpected::Seq => "a list",
            de::Unexpected::Map => "a map",
            de::Unexpected::Unit | de::Unexpected::Option => "nothing",
            _ => "text",
        };
        Self::new(Fault::Other, format!("expected {}, found {found}", plainly(&expected.to_string())))
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::new(Fault::Other, format!("expected {}", plainly(&expected.to_string())))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        let fault = Fault::UnknownKey { key: field.to_owned(), known: expected };
        Self::new(fault, format!("unknown key `{field}`"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let fault = Fault::UnknownWord { word: variant.to_owned(), known: expected };
        Self::new(fault, format!("`{variant}` is not one of the words known here"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::MissingKey(field), format!("`{field}` is missing"))
    }
}

/// serde's words for what it expects, as people say them.
fn plainly(expected: &str) -> String {
    match expected {
        "a string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        other if other.starts_with("struct ") => "a map".to_owned(),
        other => other.to_owned(),
    }
}
