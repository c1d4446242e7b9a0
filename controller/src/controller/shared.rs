//! What the passes and the other tasks of one loop share.

use crd_schema::ImageRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use composed_core::engine::{Engine, EngineError};
use composed_core::model::{Key, ReplicaHookFailure, ServiceName};
use composed_platform::clock::Clock;
use composed_registry::RegistryImages;
use composed_source::catalog::Catalog;
use composed_source::made_of::KnownProjects;
use composed_status::notifications::Notifier;
use composed_status::store::StatusStore;
use composed_traffic::TrafficMonitor;
use crd_schema::status::Event;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::command_queue::Commands;
use super::repeats::Repeats;
use super::store::Store;
use super::uses::Uses;
use super::world::{Moment, World};
use crate::act::ActionResult;
use crate::rollout_limiter::RolloutLimiter;

/// What the passes of one loop share.
pub(super) struct Shared {
    pub(super) c: Parts,
    pub(super) world: World,
    pub(super) store: Arc<Store>,
    pub(super) limiter: RolloutLimiter,
    pub(super) uses: Uses,
    /// None until the files were read for the first time: before that nothing is known, so nothing is done.
    pub(super) catalog: Mutex<Option<Arc<Catalog>>>,
    pub(super) read: watch::Sender<bool>,
    /// Held while what follows from the catalog is made up and passed on: what is passed on last is what is true last.
    pub(super) telling: Mutex<()>,
    /// What Compose projects were made of when the process before this one ended.
    pub(super) made_of: KnownProjects,
    /// Images that a look was not asked for and a pass needs, by service: the next look is.
    pub(super) unasked: Mutex<BTreeMap<ServiceName, BTreeSet<ImageRef>>>,
    /// What was done and not seen since.
    pub(super) repeats: Repeats,
    /// When services went for which no document is left.
    pub(super) gone: Mutex<BTreeMap<ServiceName, (Moment, Instant)>>,
    /// Keys to be looked at, for reasons of the loop's own.
    pub(super) woken: Mutex<BTreeSet<Key>>,
    pub(super) woke: Notify,
    /// Why what a project needs could not be made, by project.
    pub(super) refused: Mutex<BTreeMap<String, String>>,
    /// Since when the documents of services with containers are missed.
    pub(super) missed: Mutex<BTreeMap<ServiceName, jiff::Timestamp>>,
    /// Services with containers that Docker Compose made and that were adopted.
    pub(super) adopted: Mutex<BTreeSet<ServiceName>>,
    /// What people have asked for and the next pass does.
    pub(super) commands: Arc<Commands>,
    /// What was found or lost on the engine and not looked at since, with how often that failed.
    pub(super) open: Mutex<BTreeMap<Key, u32>>,
    /// What is to be looked at before it can be said that everything was, once; `None` before the first look.
    pub(super) first: Mutex<Option<BTreeSet<Key>>>,
}

/// What passes work with.
pub(super) struct Parts {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) monitor: Arc<dyn TrafficMonitor>,
    pub(super) clock: Clock,
    pub(super) statuses: Arc<StatusStore>,
    pub(super) images: Option<Arc<RegistryImages>>,
    pub(super) notifier: Option<Arc<Notifier>>,
    pub(super) confirm_deletion: bool,
}

impl Shared {
    pub(super) fn woken(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *self.woken.lock())
    }

    pub(super) fn wake(&self, keys: impl IntoIterator<Item = Key>) {
        let mut woken = self.woken.lock();
        woken.extend(keys);
        self.woke.notify_one();
    }

    /// Tells of hooks in containers that have failed.
    pub(super) fn report_hooks(&self, name: &ServiceName, failures: Vec<ReplicaHookFailure>) {
        for ReplicaHookFailure { hook, replica, why } in failures {
            tracing::warn!(service = %name, container = replica, "{hook}: {why}");
            let event = Event {
                at: self.c.clock.now(),
                project: name.project.clone(),
                service: name.name.clone(),
                action: format!("{hook} of {replica}"),
                cause: "it has ended".to_owned(),
                outcome: Some(why),
            };
            self.c.statuses.record(event, hook, false);
        }
    }

    pub(super) fn report(&self, name: &ServiceName, results: &[ActionResult]) {
        for result in results {
            let action = result.action.verb.to_string();
            let cause = &result.action.cause;
            let outcome = result.error.as_ref().map(ToString::to_string);
            match &result.error {
                None => tracing::info!(service = %name, %cause, "{action}"),
                Some(EngineError::Stale(why)) => tracing::debug!(service = %name, %cause, %why, "{action}"),
                Some(error) => tracing::warn!(service = %name, %cause, %error, "{action}"),
            }
            let event = Event {
                at: result.at,
                project: name.project.clone(),
                service: name.name.clone(),
                action,
                cause: cause.clone(),
                outcome,
            };
            self.c.statuses.record(event, result.action.verb.kind(), result.error.is_none());
        }
    }
}
