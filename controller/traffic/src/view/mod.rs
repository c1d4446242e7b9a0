//! The endpoint view: Docker's API, read-only, for proxies that read labels (Traefik, caddy-docker-proxy, nginx-proxy).
//! They mount this socket instead of Docker's and see of composed's replicas only those that the status store shows as serving;
//! everybody else's containers pass. Says what the proxies have read. Changes nothing anywhere.

mod ask;
mod clients;
mod event;
mod feed;
mod filter;
mod mask;
mod own;
mod reads;
mod select;
mod server;
mod traefik;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{Key, Replica, ServiceName};
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_status::store::{EndpointState, StatusStore};
use crd_schema::ContainerId;
use crd_schema::status::{Proof, TrafficPath};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::Instant;

use self::clients::{Change, Clients, ReadState};
use self::feed::Feed;
use self::mask::Mask;
use self::traefik::Proof as Api;
use super::paths::{PropagationState, TrafficProvider};

/// Nobody reads who has not for so long.
const QUIET_PERIOD: Duration = Duration::from_millis(300);
/// Those who read when the controller ends have so long.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);

/// So many requests of clients are with the engine at once: each takes a connection to it.
const MAX_CONCURRENT_READS: usize = 32;

/// What people may say of the view.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Prefixes of labels that are let through beside those of the known proxies.
    pub labels: Vec<String>,
    /// How long after one configuration a proxy takes the next: Traefik's `providersThrottleDuration`.
    pub throttle: Duration,
    /// Where Traefik's API answers, such as `http://127.0.0.1:8080`.
    pub traefik: Option<String>,
}

/// The view.
pub struct View {
    docker: Arc<Docker>,
    statuses: Arc<StatusStore>,
    mask: Mask,
    feed: Feed,
    clients: Mutex<Clients>,
    proof: Option<Api>,
    pending: Mutex<Pending>,
    changes: broadcast::Sender<ServiceName>,
    reads: Semaphore,
}

/// Services that wait for a client.
#[derive(Debug, Default)]
struct Pending {
    services: BTreeSet<ServiceName>,
    /// The newest version of the status store that any of them waits with, and the one that Traefik's API was asked for.
    version: u64,
    asked: u64,
}

impl View {
    /// A view of an engine as `board` shows it. It is served by [`View::serve`].
    pub fn new(docker: Arc<Docker>, statuses: Arc<StatusStore>, clock: Clock, options: ViewOptions) -> Arc<Self> {
        let mask = Mask { labels: options.labels };
        let (changes, _) = broadcast::channel(1024);
        Arc::new(Self {
            feed: Feed::new(Arc::clone(&docker), Arc::clone(&statuses), clock, mask.clone()),
            docker,
            statuses,
            mask,
            clients: Mutex::new(Clients::new(options.throttle)),
            proof: options.traefik.as_deref().map(Api::new),
            pending: Mutex::default(),
            changes,
            reads: Semaphore::new(MAX_CONCURRENT_READS),
        })
    }

    /// Tells nothing new from now on, and resolves when all who were reading have done so, within 3 s: Traefik takes what
    /// it has listed and cannot inspect any more for gone, and would answer 404 until somebody serves here again.
    pub async fn end_readings(&self) {
        self.feed.fall_silent();
        let end = Instant::now() + SHUTDOWN_GRACE;
        loop {
            tokio::time::sleep(QUIET_PERIOD).await;
            if Instant::now() >= end || self.clients().are_quiet_since(Instant::now() - QUIET_PERIOD) {
                return;
            }
        }
    }

    /// Resolves when the controller has looked at everything and the engine's events are followed.
    async fn is_ready(&self) {
        let mut version = self.statuses.version();
        while !self.statuses.health().ready {
            if version.changed().await.is_err() {
                return;
            }
        }
        self.feed.is_up().await;
    }

    fn clients(&self) -> MutexGuard<'_, Clients> {
        self.clients.lock()
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }

    /// Has those looked at again that wait for a client.
    fn wake(&self) {
        let pending = std::mem::take(&mut self.pending().services);
        for service in pending {
            // Nobody listening is fine: who looks later sees it itself.
            drop(self.changes.send(service));
        }
    }

    /// Asks Traefik's API while something is pending.
    async fn ask_traefik(&self) {
        let Some(proof) = &self.proof else { return std::future::pending().await };
        loop {
            tokio::time::sleep(traefik::PERIOD).await;
            let version = self.pending().version;
            if self.pending().services.is_empty() {
                continue;
            }
            // Nothing new for those who have waited before is no reason to look at them again.
            let news = proof.look().await;
            let asked = std::mem::replace(&mut self.pending().asked, version);
            if news || asked < version {
                self.wake();
            }
        }
    }

    fn is_concerned(&self, id: &ContainerId) -> bool {
        // One that nobody has looked at yet may be.
        self.feed.own().facts(id).is_none_or(|facts| facts.is_concerned)
    }
}

impl TrafficProvider for View {
    fn propagation(
        &self,
        service: &ServiceName,
        replica: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState {
        if !self.is_concerned(&replica.id) {
            return PropagationState::Unused;
        }
        let change = match shown {
            Some(shown) if shown.serving == serves => {
                Change { version: Some(shown.version), since: shown.since, leaves: !serves }
            }
            // Nobody has ever been told of it by this process, and by the one before only if it was shown then.
            None if !serves => Change { version: Some(0), since: Instant::now(), leaves: true },
            _ => Change { version: None, since: Instant::now(), leaves: !serves },
        };
        let proven = self.proof.as_ref().filter(|proof| proof.has(replica, serves, change.since));
        let taken = self.clients().propagation(change, proven.map(|_| clients::TRAEFIK));
        match taken {
            ReadState::Nobody => PropagationState::Unused,
            ReadState::In => PropagationState::Settled,
            ReadState::NotBefore(until, who) => {
                let mut pending = self.pending();
                pending.services.insert(service.clone());
                pending.version = pending.version.max(change.version.unwrap_or_default());
                PropagationState::Pending { what: who, until }
            }
        }
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let status = self.statuses.status(service)?;
        status.instances.iter().find(|instance| self.is_concerned(&instance.id))?;
        let nothing = Change { version: Some(0), since: Instant::now(), leaves: false };
        if matches!(self.clients().propagation(nothing, None), ReadState::Nobody) {
            return None;
        }
        let (proof, detail) = if self.proof.is_some() {
            (Proof::Proven, "Traefik's own API shows who serves")
        } else {
            (Proof::Bounded, "proxies are seen to read who serves, and apply it within their throttle")
        };
        Some(TrafficPath { path: "endpoint view".to_owned(), proof, detail: detail.to_owned() })
    }

    fn watch(&self) -> BoxStream<'static, Key> {
        let changes = self.changes.subscribe();
        stream::unfold(changes, |mut changes| async move {
            loop {
                match changes.recv().await {
                    Ok(service) => return Some((Key::Service(service), changes)),
                    // Each of them is looked at again by its deadline.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        })
        .boxed()
    }
}
