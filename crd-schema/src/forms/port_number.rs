//! One port, as a number or as text.

use schemars::json_schema;
use serde::Deserializer;

use super::{Refusal, Text, form_schema};

/// A port of the long form, for the schema: a number, also as text.
pub(crate) struct PortNumber;
form_schema!(PortNumber, |_g| json_schema!({
    "type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": "^[1-9][0-9]{0,4}$"
}));

/// Reads one published port of the long form: a number, text, or (refused) a range.
pub(crate) fn port_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let Text(text) = Text::or_number(deserializer)?;
    port(&text, &text).map_err(Refusal::into_error)
}

/// As [`port_number`], for a key that may be absent.
pub(crate) fn published_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let Text(text) = Text::or_number(deserializer)?;
    if text.contains('-') {
        return Err(one_of_a_range(&text).into_error());
    }
    port(&text, &text).map(Some).map_err(Refusal::into_error)
}

pub(super) fn one_of_a_range(text: &str) -> Refusal {
    Refusal::new(
        format!("`{text}` publishes one port somewhere in a range"),
        "name one host port, or leave it out and the engine takes a free one for each replica",
    )
}

pub(super) fn port(text: &str, whole: &str) -> Result<u16, Refusal> {
    let help = "write ports from 1 to 65535, such as `8080:80` or `80/udp`";
    match text.parse() {
        Ok(0) => Err(Refusal::new("port 0 is not a port", "leave the host port out and the engine takes a free one")),
        Ok(port) => Ok(port),
        Err(_) if text.contains('$') => {
            let help = "composed fills in no variables here; write the value, or use a Compose file as the source";
            Err(Refusal::new(format!("`{whole}` is not a port"), help))
        }
        Err(_) => Err(Refusal::new(format!("`{whole}` is not a port"), help)),
    }
}
