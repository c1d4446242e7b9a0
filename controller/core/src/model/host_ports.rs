//! The ports of the host, and who has them.

use crd_schema::{ContainerId, Port, Protocol};
use serde::{Deserialize, Serialize};

use super::ServiceName;

/// A container that runs and has a port of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// The port.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The host's address that it is bound to.
    pub address: String,
    /// The container's id.
    pub id: ContainerId,
    /// The container's name.
    pub container: String,
    /// The service that its labels name: a claim, good for words and for waiting.
    pub service: Option<ServiceName>,
}

/// What becomes of the host ports of another service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortWishes {
    /// Those that its document asks for; `None`: it has no document.
    pub ports: Option<Vec<Port>>,
    /// Why it is not removed, though it has no document.
    pub held: Option<String>,
    /// Why what it has stays, though its document has another: its change has failed, or is not to be made now.
    pub stays: Option<String>,
    /// It waits for a port.
    pub waits: bool,
}

/// A host port that a service is to have, and somebody else has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConflict {
    /// The port.
    pub port: u16,
    /// Who has it, and what becomes of that, for people.
    pub who: String,
    /// It comes free only when this service gives up the ports that it has itself, such as where two services swap theirs.
    #[serde(default)]
    pub yields: bool,
    /// It does not come free by waiting: somebody has to do something about it.
    #[serde(default)]
    pub lasting: bool,
}

/// Whether two ports of containers cannot both be published.
pub fn collide(one: &Port, other: &Port) -> bool {
    let address = |port: &Port| port.host_ip.clone().unwrap_or_default();
    let same = one.published.is_some() && one.published == other.published && one.protocol == other.protocol;
    same && addresses_meet(&address(one), &address(other))
}

impl PortHolder {
    /// Whether it is in the way of this port.
    pub fn holds(&self, port: &Port) -> bool {
        port.published == Some(self.port)
            && port.protocol == self.protocol
            && addresses_meet(&self.address, port.host_ip.as_deref().unwrap_or_default())
    }
}

fn addresses_meet(one: &str, other: &str) -> bool {
    let all = |address: &str| matches!(address, "" | "0.0.0.0" | "::");
    one == other || all(one) || all(other)
}
