//! What is left to the replicas of a service that has a front.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::attach::NetworkAttachment;
use super::front::{Front, FrontMode};
use super::port::Protocol;
use super::service::ServiceSpec;

impl ServiceSpec {
    /// The ports that the service's front listens on, and how; empty without a front. What is no TCP port is left out:
    /// documents with one are refused.
    pub fn front_ports(&self) -> BTreeMap<u16, FrontMode> {
        let Some(front) = &self.front else { return BTreeMap::new() };
        let published = self.ports.iter().filter(|port| port.protocol == Protocol::Tcp).map(|port| port.target);
        let exposed = self.expose.iter().filter_map(|entry| exposed(entry)).flatten();
        let named = front.ports.keys().filter_map(|port| port.parse().ok());
        let mode = |port: &u16| front.ports.get(&port.to_string()).and_then(|port| port.mode).unwrap_or(front.mode);
        published.chain(exposed).chain(named).map(|port| (port, mode(&port))).collect()
    }

    /// The specification as the replicas of a service with a front have it: host ports, names and fixed addresses are
    /// the front's. Without a front it is what it is.
    #[must_use]
    pub fn of_replicas(&self) -> Cow<'_, Self> {
        if self.front.is_none() {
            return Cow::Borrowed(self);
        }
        let mut own = self.clone();
        // How the front is made is nothing to them; that there is one is.
        own.front = Some(Front::default());
        own.expose.extend(own.ports.drain(..).map(|port| format!("{}/{}", port.target, port.protocol.as_str())));
        own.expose.sort();
        own.expose.dedup();
        for attachment in own.networks.iter_mut().flat_map(BTreeMap::values_mut) {
            *attachment = NetworkAttachment { priority: attachment.priority, ..NetworkAttachment::default() };
        }
        own.mac_address = None;
        Cow::Owned(own)
    }
}

/// How many ports an entry of `expose` is, of any protocol: 1 where it cannot be read.
pub(crate) fn ports_of(entry: &str) -> usize {
    let range = entry.split('/').next().unwrap_or_default();
    exposed(range).map_or(1, |ports| ports.len())
}

/// The TCP ports of an entry of `expose`.
fn exposed(entry: &str) -> Option<std::ops::RangeInclusive<u16>> {
    let range = entry.split_once('/').map_or(Some(entry), |(range, protocol)| (protocol == "tcp").then_some(range))?;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some(first.parse().ok()?..=last.parse().ok()?)
}
