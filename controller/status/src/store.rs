//! What everybody may look at: the statuses, the last events and whether the controller itself is well. Written by the
//! loop, read by the API.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use composed_core::model::ServiceName;
use crd_schema::status::{Event, ReplicaPhase, ReplicaStatus, ServiceStatus};
use crd_schema::{ContainerId, Revision};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::commands::CommandQueue;

/// So many events are kept.
const EVENTS: usize = 1000;

/// The controller's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ControllerHealth {
    /// The engine, for people.
    pub engine: String,
    /// Why it cannot act now: the engine does not answer, or another controller acts.
    pub blocked: Option<String>,
    /// Since when it cannot.
    #[serde(default)]
    pub blocked_since: Option<jiff::Timestamp>,
    /// The files were read and every service was looked at once.
    pub ready: bool,
    /// Nothing that was found on the engine, or has just vanished from it, is still to be looked at.
    #[serde(default)]
    pub settled: bool,
    /// What is wrong with the desired-state files.
    pub problems: Vec<String>,
    /// Why changes of the files are noticed late.
    #[serde(default)]
    pub unnotified: Option<String>,
    /// Why what is remembered is lost with a restart: the state directory takes nothing.
    #[serde(default)]
    pub state: Option<String>,
    /// What the state directory has not taken for seconds, though it does not refuse it.
    #[serde(default)]
    pub state_slow: Option<String>,
    /// Memories that could not be read, and where they are kept.
    #[serde(default)]
    pub unreadable: Vec<String>,
    /// Containers whose labels name this instance or a service of it, without proof: they are not touched.
    #[serde(default)]
    pub foreign: Vec<String>,
}

/// The labels of a service's containers, by revision.
pub type LabelsOf = BTreeMap<Revision, BTreeMap<String, String>>;

/// What the status store says of one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointState {
    /// It serves: its endpoints are among the service's.
    pub serving: bool,
    /// Since this version of the status store.
    pub version: u64,
    /// Since then.
    pub since: Instant,
}

/// The status store.
#[derive(Debug, Default)]
pub struct StatusStore {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
    /// What people ask the loop for.
    pub commands: CommandQueue,
}

#[derive(Debug, Default)]
struct Inner {
    statuses: BTreeMap<ServiceName, Arc<ServiceStatus>>,
    events: VecDeque<Event>,
    recorded: u64,
    counts: BTreeMap<(&'static str, bool), u64>,
    health: ControllerHealth,
    // By container id; those that have served, as long as they are there.
    shown: BTreeMap<ServiceName, BTreeMap<ContainerId, EndpointState>>,
    last_read: Option<Instant>,
    // What revisions say to proxies. Not shown: labels may hold password hashes.
    labels: Arc<BTreeMap<ServiceName, LabelsOf>>,
}

impl StatusStore {
    /// Changes with everything that is put on the status store.
    pub fn version(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// All statuses.
    pub fn all(&self) -> Vec<Arc<ServiceStatus>> {
        self.lock().statuses.values().cloned().collect()
    }

    /// Those statuses of a project that are wanted: the others are neither copied nor looked at, however many there are.
    pub fn statuses_of(&self, project: &str, wanted: impl Fn(&ServiceStatus) -> bool) -> Vec<Arc<ServiceStatus>> {
        let inner = self.lock();
        let from = inner.statuses.range(ServiceName::new(project, "")..);
        let of_project = from.take_while(|(name, _)| name.project == project).map(|(_, status)| status);
        of_project.filter(|status| wanted(status)).cloned().collect()
    }

    /// The status of one service.
    pub fn status(&self, name: &ServiceName) -> Option<Arc<ServiceStatus>> {
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
    pub fn health(&self) -> ControllerHealth {
        self.lock().health.clone()
    }

    /// Puts a status up; tells whether it differs from the last one.
    pub fn publish(&self, name: &ServiceName, status: ServiceStatus) -> bool {
        let mut inner = self.lock();
        if inner.statuses.get(name).is_some_and(|shown| **shown == status) {
            return false;
        }
        inner.show(name, &status, *self.version.borrow() + 1);
        inner.statuses.insert(name.clone(), Arc::new(status));
        self.changed();
        true
    }

    /// What it says of a replica; nothing of one that has never served.
    pub fn shown(&self, name: &ServiceName, id: &ContainerId) -> Option<EndpointState> {
        self.lock().shown.get(name)?.get(id).copied()
    }

    /// Puts down the labels of a service's revisions, for those who tell proxies; they are not part of any status.
    pub fn put_labels(&self, name: &ServiceName, labels: LabelsOf) {
        let mut inner = self.lock();
        if inner.labels.get(name) != Some(&labels) {
            Arc::make_mut(&mut inner.labels).insert(name.clone(), labels);
            self.changed();
        }
    }

    /// The labels of the revisions of each service.
    pub fn labels(&self) -> Arc<BTreeMap<ServiceName, LabelsOf>> {
        Arc::clone(&self.lock().labels)
    }

    /// Who serves, by container id, and the version of the status store that says so.
    pub fn serving(&self) -> (BTreeMap<ContainerId, ServiceName>, u64) {
        let inner = self.lock();
        let each = inner.shown.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
        let serving = each.filter(|(_, (_, shown))| shown.serving).map(|(name, (id, _))| (id.clone(), name.clone()));
        (serving.collect(), *self.version.borrow())
    }

    /// Whether the loop answers for a container: it serves or has served, or is on its way out.
    pub fn follows(&self, id: &ContainerId) -> bool {
        let inner = self.lock();
        let mut instances = inner.statuses.values().flat_map(|status| &status.instances);
        inner.shown.values().any(|all| all.contains_key(id))
            || instances.any(|instance| instance.id == *id && instance.phase == ReplicaPhase::Draining)
    }

    /// Notes that somebody reads the statuses who may send requests to the endpoints.
    pub fn note_reader(&self) {
        self.lock().last_read = Some(Instant::now());
    }

    /// When somebody last did.
    pub fn last_read(&self) -> Option<Instant> {
        self.lock().last_read
    }

    /// Takes the status of a service down.
    pub fn withdraw(&self, name: &ServiceName) {
        let mut inner = self.lock();
        inner.shown.remove(name);
        if inner.labels.contains_key(name) {
            Arc::make_mut(&mut inner.labels).remove(name);
        }
        if inner.statuses.remove(name).is_some() {
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
        self.changed();
    }

    /// Counts what is no event.
    pub fn count(&self, kind: &'static str, done: bool) {
        *self.lock().counts.entry((kind, done)).or_default() += 1;
    }

    /// Nothing can be done now, and why; tells whether that is news.
    pub fn block(&self, why: &str, now: jiff::Timestamp) -> bool {
        self.set_health(|health| {
            health.blocked = Some(why.to_owned());
            health.blocked_since.get_or_insert(now);
        })
    }

    /// It can be gone on; tells whether that is news.
    pub fn unblock(&self) -> bool {
        self.set_health(|health| (health.blocked, health.blocked_since) = (None, None))
    }

    /// Changes the controller's own state; tells whether that made a difference.
    pub fn set_health(&self, change: impl FnOnce(&mut ControllerHealth)) -> bool {
        let mut inner = self.lock();
        let before = inner.health.clone();
        change(&mut inner.health);
        let differs = before != inner.health;
        if differs {
            self.changed();
        }
        differs
    }

    // Called with `inner` locked: whoever reads the new version reads what belongs to it.
    fn changed(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }
}

impl Inner {
    fn show(&mut self, name: &ServiceName, status: &ServiceStatus, version: u64) {
        let before = self.shown.remove(name).unwrap_or_default();
        let now = |instance: &ReplicaStatus| {
            let serving = instance.serves();
            match before.get(&instance.id) {
                Some(shown) if shown.serving == serving => Some(*shown),
                None if !serving => None,
                _ => Some(EndpointState { serving, version, since: Instant::now() }),
            }
        };
        let shown =
            status.instances.iter().filter_map(|instance| Some((instance.id.clone(), now(instance)?))).collect();
        self.shown.insert(name.clone(), shown);
    }
}
