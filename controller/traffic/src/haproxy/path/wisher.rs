//! What one HAProxy is to know: which servers, in which of its backends, with what weight.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use composed_core::front;
use composed_core::model::ServiceName;
use composed_status::store::StatusStore;
use crd_schema::status::ServiceStatus;
use crd_schema::{ContainerId, NetworkName, ProxyProtocol};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::super::super::share;
use super::super::keeper::{DesiredServers, DesiredSource};
use super::super::pool::{DesiredServer, MOST_WEIGHT, Pool, ServerIntent, Servers, WEIGHT};
use super::state::{Inner, ManagedProxy, Member, ProxiedService, ProxyKind, STARTUP_GRACE, short};

/// Says what one HAProxy is to know.
pub(super) struct ServerPlanner {
    // The service behind it.
    pub(super) of: ServiceName,
    // The front's container.
    pub(super) front: Option<ContainerId>,
    pub(super) statuses: Arc<StatusStore>,
    pub(super) inner: Arc<Mutex<Inner>>,
    pub(super) changes: broadcast::Sender<ServiceName>,
}

impl DesiredSource for ServerPlanner {
    fn wish(&self, backends: &[String]) -> DesiredServers {
        let inner = self.inner.lock();
        let behind = inner.services.get(&self.of)?;
        // Nobody who serves is taken out before their service was looked at.
        let status = self.statuses.status(&self.of)?;
        let weights = weights(&status);
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

impl ServerPlanner {
    /// What is wanted of one replica; nothing when it is to be gone.
    fn wanted(
        &self,
        behind: &ProxiedService,
        near: Option<&ManagedProxy>,
        id: &ContainerId,
        member: &Member,
        port: u16,
        weights: &BTreeMap<ContainerId, u32>,
    ) -> Option<(String, DesiredServer)> {
        let address = match (&behind.way, near) {
            (ProxyKind::Driver(driver), _) => member.on(driver.network.as_deref(), &self.of.project),
            (ProxyKind::Front(_), Some(near)) => member.beside(&near.addresses),
            (ProxyKind::Front(_), None) => None,
        };
        let address = SocketAddr::new(address.filter(|_| member.running)?, port);
        let state = match self.statuses.shown(&self.of, id) {
            Some(shown) if shown.serving => ServerIntent::Serve,
            Some(_) => ServerIntent::Leave,
            None if member.withdrawn || behind.since.elapsed() >= STARTUP_GRACE => ServerIntent::Leave,
            None => ServerIntent::Stay,
        };
        let weight = weights.get(id).copied().unwrap_or(WEIGHT);
        Some((short(id).to_owned(), DesiredServer { address, state, weight }))
    }
}

/// The weights of those that serve while a revision is on trial, by container id.
fn weights(status: &ServiceStatus) -> BTreeMap<ContainerId, u32> {
    let Some(canary) = &status.canary else { return BTreeMap::new() };
    let serving: Vec<_> = status.instances.iter().filter(|instance| instance.serves()).collect();
    let weights = share::weights(canary, &serving, MOST_WEIGHT);
    serving.into_iter().map(|instance| instance.id.clone()).zip(weights).collect()
}

impl Member {
    /// Its address on a network that it shares with a front.
    fn beside(&self, front: &BTreeMap<NetworkName, IpAddr>) -> Option<IpAddr> {
        self.addresses.iter().find(|(network, _)| front.contains_key(*network)).map(|(_, address)| *address)
    }

    /// Its address on a network, or any.
    fn on(&self, network: Option<&str>, project: &str) -> Option<IpAddr> {
        let named = |name: &NetworkName| {
            network.is_none_or(|key| name.as_str() == key || name.as_str() == format!("{project}_{key}"))
        };
        self.addresses.iter().find(|(name, _)| named(name)).map(|(_, address)| *address)
    }
}

/// The pools of a HAProxy that has these backends, each with the port of its servers.
fn pools(of: &ServiceName, way: &ProxyKind, backends: &[String]) -> Vec<(u16, Pool)> {
    let options = |protocol: Option<ProxyProtocol>| match protocol {
        None => "",
        Some(ProxyProtocol::V1) => " send-proxy",
        Some(ProxyProtocol::V2) => " send-proxy-v2",
    };
    match way {
        ProxyKind::Driver(driver) => {
            let pool = Pool {
                backend: driver.backend.clone(),
                prefix: format!("{}-{}-", of.project, of.name),
                options: options(driver.proxy_protocol),
                // It may keep clients at their servers; nobody tells.
                persistent: true,
            };
            vec![(driver.server_port, pool)]
        }
        ProxyKind::Front(front) => {
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
