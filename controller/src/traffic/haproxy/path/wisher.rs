//! What one HAProxy is to know: which servers, in which of its backends, with what weight.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use crd_schema::ProxyProtocol;
use crd_schema::status::ServiceStatus;
use tokio::sync::broadcast;

use super::super::super::share;
use super::super::keeper::{Source, Wish};
use super::super::pool::{MOST_WEIGHT, Pool, Servers, WEIGHT, Want, Wanted};
use super::{Behind, By, FIRST_LOOK, Inner, Kept, Member, lock, short};
use crate::board::Board;
use crate::front;
use crate::model::ServiceName;

/// Says what one HAProxy is to know.
pub(super) struct Wisher {
    // The service behind it.
    pub(super) of: ServiceName,
    // The front's container.
    pub(super) front: Option<String>,
    pub(super) board: Arc<Board>,
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) changes: broadcast::Sender<ServiceName>,
}

impl Source for Wisher {
    fn wish(&self, backends: &[String]) -> Wish {
        let inner = lock(&self.inner);
        let behind = inner.services.get(&self.of)?;
        // Nobody who serves is taken out before their service was looked at.
        let weights = weights(&self.board.status(&self.of)?);
        let near = self.front.as_ref().and_then(|id| inner.fronts.get(&front::name(&self.of))?.get(id));
        let pools = pools(&self.of, &behind.way, backends);
        let servers = |port: u16| -> Servers {
            let members = behind.members.iter();
            members.filter_map(|(id, member)| self.wanted(behind, near, id, member, port, &weights)).collect()
        };
        Some(pools.into_iter().map(|(port, pool)| (pool, servers(port))).collect())
    }

    fn changed(&self) {
        // Nobody listening is fine: who looks later sees it itself.
        drop(self.changes.send(self.of.clone()));
    }
}

impl Wisher {
    /// What is wanted of one replica; nothing when it is to be gone.
    fn wanted(
        &self,
        behind: &Behind,
        near: Option<&Kept>,
        id: &str,
        member: &Member,
        port: u16,
        weights: &BTreeMap<String, u32>,
    ) -> Option<(String, Wanted)> {
        let address = match (&behind.way, near) {
            (By::Driver(driver), _) => member.on(driver.network.as_deref(), &self.of.project),
            (By::Front(_), Some(near)) => member.beside(&near.addresses),
            (By::Front(_), None) => None,
        };
        let address = SocketAddr::new(address.filter(|_| member.running)?, port);
        let state = match self.board.shown(&self.of, id) {
            Some(shown) if shown.serving => Want::Serve,
            Some(_) => Want::Leave,
            None if member.withdrawn || behind.since.elapsed() >= FIRST_LOOK => Want::Leave,
            None => Want::Stay,
        };
        let weight = weights.get(id).copied().unwrap_or(WEIGHT);
        Some((short(id).to_owned(), Wanted { address, state, weight }))
    }
}

/// The weights of those that serve while a revision is on trial, by container id.
fn weights(status: &ServiceStatus) -> BTreeMap<String, u32> {
    let Some(canary) = &status.canary else { return BTreeMap::new() };
    let serving: Vec<_> = status.instances.iter().filter(|instance| instance.serves()).collect();
    let weights = share::weights(canary, &serving, MOST_WEIGHT);
    serving.into_iter().map(|instance| instance.id.clone()).zip(weights).collect()
}

impl Member {
    /// Its address on a network that it shares with a front.
    fn beside(&self, front: &BTreeMap<String, IpAddr>) -> Option<IpAddr> {
        self.addresses.iter().find(|(network, _)| front.contains_key(*network)).map(|(_, address)| *address)
    }

    /// Its address on a network, or any.
    fn on(&self, network: Option<&str>, project: &str) -> Option<IpAddr> {
        let named = |name: &str| network.is_none_or(|key| name == key || name == format!("{project}_{key}"));
        self.addresses.iter().find(|(name, _)| named(name)).map(|(_, address)| *address)
    }
}

/// The pools of a HAProxy that has these backends, each with the port of its servers.
fn pools(of: &ServiceName, way: &By, backends: &[String]) -> Vec<(u16, Pool)> {
    let options = |protocol: Option<ProxyProtocol>| match protocol {
        None => "",
        Some(ProxyProtocol::V1) => " send-proxy",
        Some(ProxyProtocol::V2) => " send-proxy-v2",
    };
    match way {
        By::Driver(driver) => {
            let pool = Pool {
                backend: driver.backend.clone(),
                prefix: format!("{}-{}-", of.project, of.name),
                options: options(driver.proxy_protocol),
                // It may keep clients at their servers; nobody tells.
                persistent: true,
            };
            vec![(driver.server_port, pool)]
        }
        By::Front(front) => {
            let ports = backends.iter().filter_map(|name| name.strip_prefix("port-")?.parse::<u16>().ok());
            let pool = |port: u16| Pool {
                backend: front::section(port),
                prefix: String::new(),
                options: options(front.proxy_protocol),
                persistent: front.sticky.is_some(),
            };
            ports.map(|port| (port, pool(port))).collect()
        }
    }
}
