//! Which services use which images, so that none removes what another has or may go back to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::lock;
use crate::model::{Memory, Replica, ServiceName};

/// The images that services have, or may go back to, by id, and those that their hooks name.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_image: BTreeMap<String, BTreeSet<ServiceName>>,
    by_service: BTreeMap<ServiceName, BTreeSet<String>>,
}

impl Uses {
    /// Notes what a service is remembered to use, unless more is known of it.
    pub(crate) fn meet(&self, name: &ServiceName, memory: &Memory) {
        if !lock(&self.0).by_service.contains_key(name) {
            self.note(name, memory, &[]);
        }
    }

    /// Notes what a service uses now, in place of what it did.
    pub(crate) fn note(&self, name: &ServiceName, memory: &Memory, replicas: &[Replica]) {
        let remembered = memory.history.iter().flat_map(|record| record.spec.hook_images().chain(&record.image));
        let now: BTreeSet<String> = remembered.chain(replicas.iter().map(|replica| &replica.image)).cloned().collect();
        let mut inner = lock(&self.0);
        if inner.by_service.get(name) == Some(&now) {
            return;
        }
        for image in inner.by_service.remove(name).unwrap_or_default().difference(&now) {
            inner.leave(image, name);
        }
        for image in &now {
            inner.by_image.entry(image.clone()).or_default().insert(name.clone());
        }
        if !now.is_empty() {
            inner.by_service.insert(name.clone(), now);
        }
    }

    /// The service is gone.
    pub(crate) fn forget(&self, name: &ServiceName) {
        let mut inner = lock(&self.0);
        for image in inner.by_service.remove(name).unwrap_or_default() {
            inner.leave(&image, name);
        }
    }

    /// Those of the images of a service that are to be spared, since others use them too: of what was fetched for it, and of
    /// what its revisions name.
    pub(crate) fn spared(&self, name: &ServiceName, memory: &Memory) -> BTreeSet<String> {
        if memory.brought.is_empty() {
            return BTreeSet::new();
        }
        let inner = lock(&self.0);
        let by_others =
            |image: &&String| inner.by_image.get(*image).is_some_and(|users| users.iter().any(|user| user != name));
        let named = memory.history.iter().map(|record| &record.spec.image);
        memory.brought.iter().chain(named).filter(by_others).cloned().collect()
    }
}

impl Inner {
    fn leave(&mut self, image: &str, name: &ServiceName) {
        if let Some(users) = self.by_image.get_mut(image) {
            users.remove(name);
            if users.is_empty() {
                self.by_image.remove(image);
            }
        }
    }
}
