//! The open connections of a listener, and which one is closed for a new one.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::descriptors::ConnectionLimits;
use super::peer::Peer;
use super::slot::Slot;
use super::warnings::RateLimitedLog;

/// That a listener is full is said at most so often.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// A connection is not closed for a new one before it has waited for so long: its request may be on its way. Until then
/// new ones wait to be accepted, so that a burst of them closes none that is honest.
const GRACE: Duration = Duration::from_millis(10);
/// So many connections may be on their way to being closed, beyond the limit, before no further one is accepted.
const CLOSING: usize = 8;

/// All open connections of a listener.
#[derive(Debug)]
pub struct Connections {
    /// The listener, for people.
    pub(super) name: &'static str,
    limits: ConnectionLimits,
    open: Mutex<Open>,
    /// A connection has ended.
    ended: Notify,
    full: RateLimitedLog,
    refused: RateLimitedLog,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    slots: BTreeMap<u64, Arc<Slot>>,
    by_peer: BTreeMap<Peer, usize>,
    /// Those that are not closed yet: more than `slots`, which does not hold the ones that have to end.
    alive: usize,
}

/// A connection's place. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    pub(super) slot: Arc<Slot>,
    connections: Arc<Connections>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        open.remove(self.slot.number);
        open.alive = open.alive.saturating_sub(1);
        drop(open);
        self.connections.ended.notify_one();
    }
}

impl Open {
    fn remove(&mut self, number: u64) {
        let Some(slot) = self.slots.remove(&number) else { return };
        if let Some(count) = self.by_peer.get_mut(&slot.peer) {
            *count -= 1;
            if *count == 0 {
                self.by_peer.remove(&slot.peer);
            }
        }
    }

    /// Ends one connection: of the peer with the most, the one that has waited longest; first those without a request.
    fn evict(&mut self, of: Option<Peer>) -> Evicted {
        let (now, mut soonest) = (Instant::now(), None::<Instant>);
        let slots = self.slots.values().filter(|slot| of.is_none_or(|peer| slot.peer == peer));
        let candidates = slots.filter_map(|slot| {
            let (rank, since) = slot.lock().rank()?;
            let from = since + GRACE;
            if now < from {
                soonest = Some(soonest.map_or(from, |soonest| soonest.min(from)));
                return None;
            }
            let count = self.by_peer.get(&slot.peer).copied().unwrap_or_default();
            Some(((Reverse(count), rank, since, slot.number), Arc::clone(slot)))
        });
        let Some((_, slot)) = candidates.min_by_key(|(key, _)| *key) else {
            return soonest.map_or(Evicted::None, Evicted::From);
        };
        self.remove(slot.number);
        slot.close();
        Evicted::One
    }
}

/// Whether a connection was ended for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evicted {
    /// One was.
    One,
    /// One can be from then on.
    From(Instant),
    /// All are being answered.
    None,
}

impl Connections {
    /// None yet, of a listener that people call `name`.
    pub fn new(name: &'static str, limits: ConnectionLimits) -> Arc<Self> {
        let (full, refused) = (RateLimitedLog::new(SAY_EVERY), RateLimitedLog::new(SAY_EVERY));
        Arc::new(Self { name, limits, open: Mutex::default(), ended: Notify::new(), full, refused })
    }

    /// A place for a new connection of `peer`, for which another one may have to end; `None` if all are being answered.
    pub(super) async fn admit(self: &Arc<Self>, peer: Peer) -> Option<ConnectionPermit> {
        loop {
            match self.try_admit(peer) {
                Ok(place) => return place,
                Err(from) => tokio::select! {
                    () = self.ended.notified() => {}
                    () = sleep_until(from) => {}
                },
            }
        }
    }

    /// The same at once, or from when on it is worth trying again.
    fn try_admit(self: &Arc<Self>, peer: Peer) -> Result<Option<ConnectionPermit>, Instant> {
        let mut open = self.lock();
        let of_peer = open.by_peer.get(&peer).copied().unwrap_or_default();
        let evicted = if of_peer >= self.limits.per_peer {
            Some(open.evict(Some(peer)))
        } else if open.slots.len() >= self.limits.connections {
            Some(open.evict(None))
        } else {
            None
        };
        match evicted {
            Some(Evicted::From(from)) => return Err(from),
            Some(Evicted::None) => {
                drop(open);
                self.say_full(false);
                return Ok(None);
            }
            _ => {}
        }
        open.last += 1;
        let slot = Arc::new(Slot::new(open.last, peer, self.limits));
        open.slots.insert(slot.number, Arc::clone(&slot));
        *open.by_peer.entry(peer).or_default() += 1;
        open.alive += 1;
        drop(open);
        if evicted.is_some() {
            self.say_full(true);
        }
        Ok(Some(ConnectionPermit { slot, connections: Arc::clone(self) }))
    }

    /// Ends one connection that waits, for its descriptor.
    pub(super) fn give_one_back(&self) {
        self.lock().evict(None);
    }

    /// Resolves when those that were told to end have done so, but for a few.
    pub(super) async fn settled(&self) {
        while self.lock().alive >= self.limits.connections + CLOSING {
            self.ended.notified().await;
        }
    }

    fn say_full(&self, admitted: bool) {
        let (listener, most) = (self.name, self.limits.connections);
        if admitted {
            if let Some(times) = self.full.count() {
                tracing::warn!(
                    listener,
                    most,
                    times,
                    "too many connections: for each new one the one that has waited longest is closed"
                );
            }
        } else if let Some(times) = self.refused.count() {
            tracing::warn!(listener, most, times, "too many requests at once: new connections are closed");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock()
    }
}

#[cfg(test)]
mod tests;
