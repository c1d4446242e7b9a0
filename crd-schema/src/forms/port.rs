//! Published ports: `[[ip:]host:]container[/protocol]`, ranges written out.

use std::{fmt, net::IpAddr};

use schemars::json_schema;
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::port_number::{one_of_a_range, port};
use super::{Refusal, form_schema};
use crate::types::port::{Port, Protocol};

/// A list of ports in short or long form.
pub(crate) struct Ports(Vec<Port>);

impl From<Ports> for Vec<Port> {
    fn from(ports: Ports) -> Self {
        ports.0
    }
}

/// How many ports a service may publish, ranges written out: enough for a telephone exchange, and a bound on what a
/// few characters can make of our memory.
const MAX_PORTS: usize = 20_000;

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PortsVisitor;

        impl<'de> Visitor<'de> for PortsVisitor {
            type Value = Ports;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of ports")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Ports, A::Error> {
                let mut ports = Vec::new();
                while let Some(Item(some)) = items.next_element()? {
                    if ports.len() + some.len() > MAX_PORTS {
                        let help = "publish fewer, or use `network_mode: host`";
                        return Err(Refusal::new(format!("more than {MAX_PORTS} ports"), help).into_error());
                    }
                    ports.extend(some);
                }
                Ok(Ports(ports))
            }
        }

        deserializer.deserialize_seq(PortsVisitor)
    }
}
form_schema!(Ports, |g| json_schema!({
    "type": "array",
    "items": { "anyOf": [
        { "type": "integer", "minimum": 1, "maximum": 65535 },
        { "type": "string", "examples": ["80", "8080:80", "127.0.0.1:8080:80/udp", "8000-8002:9000-9002"] },
        g.subschema_for::<Port>()
    ] }
}));

/// One item of the list: a range is several ports.
struct Item(Vec<Port>);

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;

        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port as `8080:80` or as a map")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Item, E> {
                short(text).map(Item).map_err(Refusal::into_error)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Item, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                Port::deserialize(MapAccessDeserializer::new(map)).map(|port| Item(vec![port]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Item, A::Error> {
                Err(de::Error::invalid_type(de::Unexpected::Seq, &self))
            }
        }

        deserializer.deserialize_any(ItemVisitor)
    }
}

fn range(text: &str, whole: &str) -> Result<std::ops::RangeInclusive<u16>, Refusal> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first, whole)?, port(last, whole)?);
    if first > last {
        return Err(Refusal::new(format!("the range `{text}` runs backwards"), "write the smaller port first"));
    }
    Ok(first..=last)
}

/// `[[ip:]host:]container[/protocol]`; `8000-8002:9000-9002` is three ports, `9000-9002` three without a host port.
pub(crate) fn short(text: &str) -> Result<Vec<Port>, Refusal> {
    let (ports, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        other => return Err(Refusal::new(format!("unknown protocol `{other}`"), "write `tcp`, `udp` or `sctp`")),
    };
    let (rest, target) = ports.rsplit_once(':').map_or((None, ports), |(rest, target)| (Some(rest), target));
    // `ip:host` or `host`; IPv6 stands in brackets or has more than one colon itself.
    let (ip, published) = match rest {
        None => (None, ""),
        Some(rest) => rest.rsplit_once(':').map_or((None, rest), |(ip, published)| (Some(ip), published)),
    };
    let host_ip = match ip {
        // `:8080:80` is on all addresses, too.
        None | Some("") => None,
        Some(ip) => {
            let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
            bare.parse::<IpAddr>().map_err(|_| {
                Refusal::new(
                    format!("`{ip}` is not an IP address to publish on"),
                    "write `ip:host:container`, such as `127.0.0.1:8080:80`",
                )
            })?;
            Some(bare.to_owned())
        }
    };
    let targets = range(target, text)?;
    let one = |target, published| Port { target, published, host_ip: host_ip.clone(), protocol, ..Port::default() };
    if published.is_empty() {
        return Ok(targets.map(|target| one(target, None)).collect());
    }
    let hosts = range(published, text)?;
    if hosts.len() != targets.len() {
        if targets.len() == 1 {
            return Err(one_of_a_range(published));
        }
        let message = format!("`{text}` has {} host ports for {} container ports", hosts.len(), targets.len());
        return Err(Refusal::new(message, "make both ranges the same length"));
    }
    Ok(targets.zip(hosts).map(|(target, host)| one(target, Some(host))).collect())
}
