//! Lists that may be written otherwise: commands, one string for many, host tables.

use std::fmt;

use schemars::json_schema;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};

use super::{Refusal, Text, form_schema};

/// Splits a command line as a shell would.
///
/// # Errors
/// When a quote is not closed.
fn split(line: &str) -> Result<Vec<String>, Refusal> {
    shlex::split(line).ok_or_else(|| {
        Refusal::new("the command has a quote that is not closed", "close it, or write the command as a list")
    })
}

/// The items of a list.
pub(crate) fn collect<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(mut items: A) -> Result<Vec<T>, A::Error> {
    let mut found = Vec::new();
    while let Some(item) = items.next_element()? {
        found.push(item);
    }
    Ok(found)
}

/// A command: text split as a shell would, a list, or nothing (Compose's "the image's own").
pub(crate) struct Command(Option<Vec<String>>);

impl From<Command> for Option<Vec<String>> {
    fn from(command: Command) -> Self {
        command.0
    }
}

impl From<Command> for Vec<String> {
    fn from(command: Command) -> Self {
        command.0.unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CommandVisitor;

        impl<'de> Visitor<'de> for CommandVisitor {
            type Value = Command;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command as text or as a list of text")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Command, E> {
                split(line).map(|words| Command(Some(words))).map_err(Refusal::into_error)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Command, A::Error> {
                collect(items).map(|words| Command(Some(words)))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Command, E> {
                Ok(Command(None))
            }
        }

        deserializer.deserialize_any(CommandVisitor)
    }
}
form_schema!(Command, |_g| json_schema!({
    "type": ["null", "string", "array"],
    "items": { "type": "string" }
}));

/// The test of a healthcheck: text for the container's shell, or a list that says how it is run.
pub(crate) struct Test(Vec<String>);

impl From<Test> for Vec<String> {
    fn from(test: Test) -> Self {
        test.0
    }
}

const TEST_HELP: &str = "write [\"CMD\", \"program\", \"argument\"], [\"CMD-SHELL\", \"command line\"], [\"NONE\"], or the command line as text";

impl<'de> Deserialize<'de> for Test {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TestVisitor;

        impl<'de> Visitor<'de> for TestVisitor {
            type Value = Test;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a command line as text or a list that starts with CMD, CMD-SHELL or NONE")
            }

            fn visit_str<E: de::Error>(self, line: &str) -> Result<Test, E> {
                if line.is_empty() {
                    return Err(Refusal::new("the healthcheck's test is empty", TEST_HELP).into_error());
                }
                Ok(Test(vec!["CMD-SHELL".to_owned(), line.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Test, A::Error> {
                let words: Vec<String> = collect(items)?;
                let wrong = match (words.first().map(String::as_str), words.len()) {
                    (Some("NONE"), 1) => return Ok(Test(words)),
                    (Some("CMD" | "CMD-SHELL"), count) if count > 1 => return Ok(Test(words)),
                    (None, _) => "the healthcheck's test is an empty list",
                    (Some("NONE"), _) => "`NONE` stands alone",
                    (Some("CMD-SHELL"), _) => "`CMD-SHELL` needs a command line",
                    (Some("CMD"), _) => "`CMD` needs a program",
                    (Some(_), _) => "the healthcheck's list must start with CMD, CMD-SHELL or NONE",
                };
                Err(Refusal::new(wrong, TEST_HELP).into_error())
            }
        }

        deserializer.deserialize_any(TestVisitor)
    }
}
form_schema!(Test, |_g| json_schema!({
    "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": { "type": "string" }, "minItems": 1 }
    ]
}));

/// Text, or a list of text.
pub(crate) struct OneOrMany(Vec<String>);

impl From<OneOrMany> for Vec<String> {
    fn from(many: OneOrMany) -> Self {
        many.0
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrManyVisitor;

        impl<'de> Visitor<'de> for OneOrManyVisitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<OneOrMany, A::Error> {
                collect(items).map(OneOrMany)
            }
        }

        deserializer.deserialize_any(OneOrManyVisitor)
    }
}
form_schema!(OneOrMany, |_g| json_schema!({ "type": ["string", "array"], "items": { "type": "string" } }));

/// A list of text or numbers.
pub(crate) struct Texts(Vec<Text>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(Self)
    }
}

impl From<Texts> for Vec<String> {
    fn from(texts: Texts) -> Self {
        texts.0.into_iter().map(|text| text.0).collect()
    }
}
form_schema!(Texts, |_g| json_schema!({ "type": "array", "items": { "type": ["string", "number"] } }));

/// Lines of a host table: a list of `host:ip` or `host=ip`, or a map of host to one or more addresses.
pub(crate) struct Hosts(Vec<String>);

impl From<Hosts> for Vec<String> {
    fn from(hosts: Hosts) -> Self {
        hosts.0
    }
}

/// `host:ip`, with the brackets some write around IPv6 removed. The address may also be `host-gateway`.
fn host_line(host: &str, address: &str) -> Result<String, Refusal> {
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let known = address == "host-gateway" || address.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || !known {
        let help = "write `name:address` with an IP address or `host-gateway`, such as `db:10.0.0.7`";
        return Err(Refusal::new(format!("`{host}` has no address that can be read"), help));
    }
    Ok(format!("{host}:{address}"))
}

impl<'de> Deserialize<'de> for Hosts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HostsVisitor;

        impl<'de> Visitor<'de> for HostsVisitor {
            type Value = Hosts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of `host:ip` or a map of host to address")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Hosts, A::Error> {
                let mut hosts = Vec::new();
                while let Some(HostLine(line)) = items.next_element()? {
                    hosts.push(line);
                }
                Ok(Hosts(hosts))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Hosts, A::Error> {
                let mut hosts = Vec::new();
                while let Some(host) = map.next_key::<String>()? {
                    let addresses: OneOrMany = map.next_value()?;
                    for address in addresses.0 {
                        hosts.push(host_line(&host, &address).map_err(Refusal::into_error)?);
                    }
                }
                Ok(Hosts(hosts))
            }
        }

        deserializer.deserialize_any(HostsVisitor)
    }
}
form_schema!(Hosts, |_g| json_schema!({
    "anyOf": [
        { "type": "array", "items": { "type": "string" } },
        { "type": "object", "additionalProperties": { "type": ["string", "array"], "items": { "type": "string" } } }
    ]
}));

struct HostLine(String);

impl<'de> Deserialize<'de> for HostLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let line = String::deserialize(deserializer)?;
        let (host, address) = line.split_once(['=', ':']).unwrap_or((&line, ""));
        host_line(host, address).map(Self).map_err(Refusal::into_error)
    }
}
