//! What was learnt from the engine and stays true, to understand events that carry a name or an id only. Never used to
//! decide anything: an event is a hint, and a missing entry costs one look too many.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::model::ServiceName;

/// Names and ids, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    services: HashMap<String, ServiceName>,
    projects: HashMap<String, String>,
    compose: Arc<BTreeSet<ServiceName>>,
    outputs: HashMap<String, Vec<String>>,
}

impl Seen {
    /// Our containers of this moment, in place of those known before.
    pub(super) fn containers(&self, services: HashMap<String, ServiceName>) {
        let mut known = self.known();
        known.outputs.retain(|id, _| services.contains_key(id));
        known.services = services;
    }

    /// What a hook's container has said that has ended.
    pub(super) fn output(&self, id: &str) -> Option<Vec<String>> {
        self.known().outputs.get(id).cloned()
    }

    /// It has ended, and this is the last of it.
    pub(super) fn put_output(&self, id: &str, output: &[String]) {
        self.known().outputs.insert(id.to_owned(), output.to_vec());
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
    pub(super) fn container(&self, id: &str, service: ServiceName) {
        self.known().services.insert(id.to_owned(), service);
    }

    /// A network or volume of a project.
    pub(super) fn object(&self, name: &str, project: &str) {
        self.known().projects.insert(name.to_owned(), project.to_owned());
    }

    /// The service of a container.
    pub(super) fn service_of(&self, id: &str) -> Option<ServiceName> {
        self.known().services.get(id).cloned()
    }

    /// The project of a network or volume.
    pub(super) fn project_of(&self, name: &str) -> Option<String> {
        self.known().projects.get(name).cloned()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
