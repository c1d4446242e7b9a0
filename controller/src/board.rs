//! What everybody may look at: the statuses, the last events and whether the controller itself is well. Written by the
//! loop, read by the API.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crd_schema::status::{Event, ServiceStatus};
use tokio::sync::watch;

use crate::model::ServiceName;

/// So many events are kept.
const EVENTS: usize = 1000;

/// The controller's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// The engine, for people.
    pub engine: String,
    /// Why it cannot act now: the engine does not answer, or another controller acts.
    pub blocked: Option<String>,
    /// The files were read and every service was looked at once.
    pub ready: bool,
    /// What is wrong with the desired-state files.
    pub problems: Vec<String>,
}

/// The board.
#[derive(Debug, Default)]
pub struct Board {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    statuses: BTreeMap<ServiceName, ServiceStatus>,
    events: VecDeque<Event>,
    recorded: u64,
    counts: BTreeMap<(&'static str, bool), u64>,
    health: Health,
}

impl Board {
    /// Changes with everything that is put on the board.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// All statuses.
    pub fn statuses(&self) -> Vec<ServiceStatus> {
        self.lock().statuses.values().cloned().collect()
    }

    /// The status of one service.
    pub fn status(&self, name: &ServiceName) -> Option<ServiceStatus> {
        self.lock().statuses.get(name).cloned()
    }

    /// The last events, oldest first.
    pub fn events(&self) -> Vec<Event> {
        self.lock().events.iter().cloned().collect()
    }

    /// The events after the first `seen` ones, and how many there were in all; those that are no longer kept are left
    /// out.
    pub fn events_since(&self, seen: u64) -> (Vec<Event>, u64) {
        let inner = self.lock();
        let total = inner.recorded;
        let new = usize::try_from(total.saturating_sub(seen)).unwrap_or(usize::MAX).min(inner.events.len());
        (inner.events.iter().skip(inner.events.len() - new).cloned().collect(), total)
    }

    /// How many actions of each kind were done (`true`) and failed.
    pub fn counts(&self) -> BTreeMap<(&'static str, bool), u64> {
        self.lock().counts.clone()
    }

    /// The controller's own state.
    pub fn health(&self) -> Health {
        self.lock().health.clone()
    }

    /// Puts a status up; tells whether it differs from the last one.
    pub fn publish(&self, name: &ServiceName, status: ServiceStatus) -> bool {
        let mut inner = self.lock();
        if inner.statuses.get(name) == Some(&status) {
            return false;
        }
        inner.statuses.insert(name.clone(), status);
        drop(inner);
        self.changed();
        true
    }

    /// Takes the status of a service down.
    pub fn withdraw(&self, name: &ServiceName) {
        if self.lock().statuses.remove(name).is_some() {
            self.changed();
        }
    }

    /// Writes an event down and counts it under `kind`.
    pub fn record(&self, event: Event, kind: &'static str, done: bool) {
        let mut inner = self.lock();
        *inner.counts.entry((kind, done)).or_default() += 1;
        inner.recorded += 1;
        inner.events.push_back(event);
        if inner.events.len() > EVENTS {
            inner.events.pop_front();
        }
        drop(inner);
        self.changed();
    }

    /// Changes the controller's own state; tells whether that made a difference.
    pub fn set_health(&self, change: impl FnOnce(&mut Health)) -> bool {
        let mut inner = self.lock();
        let before = inner.health.clone();
        change(&mut inner.health);
        let differs = before != inner.health;
        drop(inner);
        if differs {
            self.changed();
        }
        differs
    }

    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
