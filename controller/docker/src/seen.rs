//! What was learnt from the engine and stays true, to understand events that carry a name or an id only. Never used to
//! decide anything: an event is a hint, and a missing entry costs one look too many.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use composed_core::model::ServiceName;
use crd_schema::ContainerId;
use parking_lot::{Mutex, MutexGuard};

/// Names and ids, and whose they are.
#[derive(Debug, Default)]
pub(super) struct InspectCache(Mutex<CachedInspect>);

/// The last lines of a container, and of which run of it they are.
#[derive(Debug)]
struct LastOutput {
    run: String,
    lines: Vec<String>,
}

#[derive(Debug, Default)]
struct CachedInspect {
    services: HashMap<ContainerId, ServiceName>,
    projects: HashMap<String, String>,
    compose: Arc<BTreeSet<ServiceName>>,
    outputs: HashMap<ContainerId, LastOutput>,
}

impl InspectCache {
    /// Our containers of this moment, in place of those known before.
    pub(super) fn containers(&self, services: HashMap<ContainerId, ServiceName>) {
        let mut known = self.known();
        known.outputs.retain(|id, _| services.contains_key(id));
        known.services = services;
    }

    /// What a container has said in this run of it.
    pub(super) fn output(&self, id: &ContainerId, run: &str) -> Option<Vec<String>> {
        self.known().outputs.get(id).filter(|known| known.run == run).map(|known| known.lines.clone())
    }

    /// It has ended, or is not well, and this is the last of it.
    pub(super) fn put_output(&self, id: &ContainerId, run: &str, output: &[String]) {
        let last = LastOutput { run: run.to_owned(), lines: output.to_vec() };
        self.known().outputs.insert(id.clone(), last);
    }

    /// The services whose containers count if Docker Compose made them.
    pub(super) fn compose(&self, services: &Arc<BTreeSet<ServiceName>>) {
        self.known().compose = Arc::clone(services);
    }

    /// Whether a container of this service counts if Docker Compose made it.
    pub(super) fn adopts(&self, service: &ServiceName) -> bool {
        self.known().compose.contains(service)
    }

    /// One container of ours.
    pub(super) fn container(&self, id: &ContainerId, service: ServiceName) {
        self.known().services.insert(id.clone(), service);
    }

    /// A network or volume of a project.
    pub(super) fn object(&self, name: &str, project: &str) {
        self.known().projects.insert(name.to_owned(), project.to_owned());
    }

    /// The service of a container.
    pub(super) fn service_of(&self, id: &ContainerId) -> Option<ServiceName> {
        self.known().services.get(id).cloned()
    }

    /// The project of a network or volume.
    pub(super) fn project_of(&self, name: &str) -> Option<String> {
        self.known().projects.get(name).cloned()
    }

    fn known(&self) -> MutexGuard<'_, CachedInspect> {
        self.0.lock()
    }
}
