//! The path through HAProxy: which of them there are, what each is to know, and whether it does.

mod state;
mod wisher;

use crd_schema::{ContainerId, NetworkName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use composed_core::front;
use composed_core::model::{Key, Replica, ServiceName, ServiceRecord, State};
use composed_core::plan::hint;
use composed_docker::Docker;
use composed_status::store::{EndpointState, StatusStore};
use crd_schema::ServiceSpec;
use crd_schema::status::TrafficPath;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use self::state::{CONFIRM_TIMEOUT, Inner, ManagedProxy, Member, ProxiedService, ProxyKind, short};
use self::wisher::ServerPlanner;
use super::super::companion::NamespaceAccess;
use super::super::paths::{PropagationState, TrafficProvider};
use super::keeper::{AppliedState, Keeper};
use super::reach::{RuntimeAddress, RuntimeConnector};

/// A service without a status for so long is gone.
const FORGET_AFTER: Duration = Duration::from_secs(10);

/// All of them: the fronts and those that people run themselves.
pub struct Haproxies {
    statuses: Arc<StatusStore>,
    reach: Arc<RuntimeConnector>,
    inner: Arc<Mutex<Inner>>,
    nudge: watch::Sender<u64>,
    changes: broadcast::Sender<ServiceName>,
}

impl Haproxies {
    /// None yet. Without an engine there are no companions to reach a front that is out of reach.
    pub fn new(way: NamespaceAccess, docker: Option<Arc<Docker>>, statuses: Arc<StatusStore>) -> Arc<Self> {
        let (changes, _) = broadcast::channel(1024);
        let reach = Arc::new(RuntimeConnector::new(way, docker));
        Arc::new(Self { statuses, reach, inner: Arc::default(), nudge: watch::Sender::default(), changes })
    }

    fn keep(
        &self,
        place: RuntimeAddress,
        addresses: BTreeMap<NetworkName, IpAddr>,
        of: &ServiceName,
        front: Option<&ContainerId>,
    ) -> ManagedProxy {
        let (place, places) = watch::channel(place);
        let (sender, taken) = watch::channel(AppliedState::default());
        let wisher = ServerPlanner {
            of: of.clone(),
            front: front.cloned(),
            statuses: Arc::clone(&self.statuses),
            inner: Arc::clone(&self.inner),
            changes: self.changes.clone(),
        };
        let nudges = vec![self.statuses.version(), self.nudge.subscribe()];
        let keeper = Keeper { reach: Arc::clone(&self.reach), place: places, source: wisher, nudges, taken: sender };
        drop(tokio::spawn(keeper.keep()));
        ManagedProxy { place, addresses, taken, since: Instant::now() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The containers of a front, as they run now.
    fn notice_front(&self, name: &ServiceName, owner: &ServiceName, memory: &ServiceRecord, replicas: &[Replica]) {
        let mut inner = self.lock();
        let kept = inner.fronts.entry(name.clone()).or_default();
        let running =
            |id: &ContainerId| replicas.iter().any(|replica| replica.id == *id && replica.state == State::Running);
        kept.retain(|id, _| running(id));
        for replica in replicas.iter().filter(|replica| replica.state == State::Running) {
            let addresses = addresses(replica);
            let place = RuntimeAddress::Front {
                id: replica.id.clone(),
                pid: replica.pid,
                addresses: addresses.values().copied().collect(),
                leaving: memory.replicas.draining.contains_key(&replica.id),
            };
            match kept.get_mut(&replica.id) {
                Some(one) => {
                    one.addresses = addresses;
                    one.place.send_if_modified(|old| std::mem::replace(old, place.clone()) != place);
                }
                None => drop(kept.insert(replica.id.clone(), self.keep(place, addresses, owner, Some(&replica.id)))),
            }
        }
    }

    /// Those behind a HAProxy, as they are now.
    fn notice_service(&self, name: &ServiceName, way: Option<ProxyKind>, memory: &ServiceRecord, replicas: &[Replica]) {
        let mut inner = self.lock();
        // While a front is there it must know who leaves, wanted or not.
        let leftover = inner.fronts.get(&front::name(name)).is_some_and(|kept| !kept.is_empty());
        let before = inner.services.remove(name);
        let last = before
            .as_ref()
            .map(|behind| behind.way.clone())
            .filter(|way| leftover && matches!(way, ProxyKind::Front(_)));
        let Some(way) = way.or(last) else { return };
        let members = replicas.iter().map(|replica| {
            let member = Member {
                addresses: addresses(replica),
                running: replica.state == State::Running,
                withdrawn: memory.replicas.draining.contains_key(&replica.id),
            };
            (replica.id.clone(), member)
        });
        let since = before.as_ref().map_or_else(Instant::now, |behind| behind.since);
        let own = match &way {
            ProxyKind::Front(_) => None,
            ProxyKind::Driver(driver) => {
                let same = before.filter(|behind| behind.way == way).and_then(|behind| behind.own);
                let place = RuntimeAddress::Socket(driver.socket.clone());
                Some(same.unwrap_or_else(|| self.keep(place, BTreeMap::new(), name, None)))
            }
        };
        inner.services.insert(name.clone(), ProxiedService { way, members: members.collect(), since, own });
    }

    fn sweep(&self) {
        let old = |name: &ServiceName, since: Instant| {
            since.elapsed() >= FORGET_AFTER && self.statuses.status(name).is_none()
        };
        let mut inner = self.lock();
        inner.services.retain(|name, behind| !old(name, behind.since));
        inner.fronts.retain(|name, kept| !kept.values().all(|one| old(name, one.since)) || kept.is_empty());
    }
}

impl TrafficProvider for Haproxies {
    fn notice(&self, service: &ServiceName, spec: Option<&ServiceSpec>, memory: &ServiceRecord, replicas: &[Replica]) {
        self.sweep();
        let spec = spec.or_else(|| memory.revisions.history.last().map(|record| &*record.spec));
        if let Some(generated) = spec.and_then(|spec| spec.generated.as_ref()) {
            let owner = ServiceName::new(&service.project, &generated.front_of);
            self.notice_front(service, &owner, memory, replicas);
        } else {
            let driver = spec.and_then(|spec| spec.traffic.as_ref()?.haproxy.clone()).map(ProxyKind::Driver);
            let way = spec.and_then(|spec| spec.front.clone()).map(ProxyKind::Front).or(driver);
            self.notice_service(service, way, memory, replicas);
        }
        self.nudge.send_modify(|version| *version += 1);
    }

    fn propagation(
        &self,
        service: &ServiceName,
        replica: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState {
        let inner = self.lock();
        if let Some(kept) = inner.fronts.get(service) {
            return match kept.get(&replica.id) {
                Some(one) if serves => one.pending("to be filled", |taken| taken.complete, None),
                _ => PropagationState::Unused,
            };
        }
        let Some(behind) = inner.services.get(service) else { return PropagationState::Unused };
        let others = behind.members.keys().filter(|id| **id != replica.id);
        let mut shown_others = others.filter_map(|id| self.statuses.shown(service, id));
        let first = serves && !shown_others.any(|other| other.serving);
        // What is not shown yet cannot have been taken in; the wait begins when it is.
        let at_first = first.then(|| match shown {
            Some(shown) if shown.serving => shown.since + CONFIRM_TIMEOUT,
            _ => Instant::now() + CONFIRM_TIMEOUT,
        });
        let id = short(&replica.id);
        let has = |taken: &AppliedState| {
            if serves { taken.serving.contains(id) } else { taken.known && !taken.touched.contains(id) }
        };
        let what = if serves { "to start routing to it" } else { "to stop routing to it" };
        let fronts = inner.fronts.get(&front::name(service));
        let all: Vec<&ManagedProxy> = match &behind.way {
            ProxyKind::Driver(_) => behind.own.iter().collect(),
            ProxyKind::Front(_) => {
                let Some(kept) = fronts else {
                    let until = behind.since + CONFIRM_TIMEOUT;
                    return PropagationState::Pending { what: "its front to be looked at".to_owned(), until };
                };
                kept.values().collect()
            }
        };
        if all.is_empty() {
            return PropagationState::Unused;
        }
        let each = all.into_iter().map(|one| one.pending(what, has, at_first));
        each.fold(PropagationState::Settled, |all, one| if all == PropagationState::Settled { one } else { all })
    }

    fn in_flight(&self, service: &ServiceName, replica: &Replica) -> u32 {
        let inner = self.lock();
        let Some(behind) = inner.services.get(service) else { return 0 };
        let fronts = inner.fronts.get(&front::name(service)).filter(|_| matches!(behind.way, ProxyKind::Front(_)));
        let all = behind.own.iter().chain(fronts.into_iter().flat_map(BTreeMap::values));
        all.map(|one| one.taken.borrow().busy.get(short(&replica.id)).copied().unwrap_or_default()).sum()
    }

    fn counts(&self, service: &ServiceName) -> bool {
        self.lock().services.contains_key(service)
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let inner = self.lock();
        Some(match &inner.services.get(service)?.way {
            ProxyKind::Front(_) => hint::front(),
            ProxyKind::Driver(_) => hint::haproxy(),
        })
    }

    fn watch(&self) -> BoxStream<'static, Key> {
        let names = stream::unfold(self.changes.subscribe(), |mut changes| async move {
            loop {
                match changes.recv().await {
                    Ok(name) => return Some((name, changes)),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        names.flat_map(|name| stream::iter([Key::Service(front::name(&name)), Key::Service(name)])).boxed()
    }
}

fn addresses(replica: &Replica) -> BTreeMap<NetworkName, IpAddr> {
    replica.addresses.iter().filter_map(|(name, text)| Some((name.clone(), text.parse().ok()?))).collect()
}
