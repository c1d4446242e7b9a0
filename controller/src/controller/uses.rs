//! Which services use which images, so that none removes what another has or may go back to.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::model::{Replica, ServiceName, ServiceRecord};
use crd_schema::ImageRef;
use parking_lot::Mutex;

/// The images that services have, or may go back to, by id, and those that their hooks name.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    by_image: BTreeMap<ImageRef, BTreeSet<ServiceName>>,
    by_service: BTreeMap<ServiceName, BTreeSet<ImageRef>>,
}

impl Uses {
    /// Notes what a service is remembered to use, unless more is known of it.
    pub(crate) fn meet(&self, name: &ServiceName, memory: &ServiceRecord) {
        if !self.0.lock().by_service.contains_key(name) {
            self.note(name, memory, &[]);
        }
    }

    /// Notes what a service uses now, in place of what it did.
    pub(crate) fn note(&self, name: &ServiceName, memory: &ServiceRecord, replicas: &[Replica]) {
        let history = || memory.revisions.history.iter();
        let named = history().flat_map(|record| record.spec.hook_images()).cloned();
        let ids = history().filter_map(|record| record.image.as_ref()).chain(replicas.iter().map(|one| &one.image));
        let now: BTreeSet<ImageRef> = named.chain(ids.map(ImageRef::from)).collect();
        let mut inner = self.0.lock();
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
        let mut inner = self.0.lock();
        for image in inner.by_service.remove(name).unwrap_or_default() {
            inner.leave(&image, name);
        }
    }

    /// Those of the images of a service that are to be spared, since others use them too: of what was fetched for it, and of
    /// what its revisions name.
    pub(crate) fn spared(&self, name: &ServiceName, memory: &ServiceRecord) -> BTreeSet<ImageRef> {
        if memory.images.pulled.is_empty() {
            return BTreeSet::new();
        }
        let inner = self.0.lock();
        let by_others =
            |image: &ImageRef| inner.by_image.get(image).is_some_and(|users| users.iter().any(|user| user != name));
        let named = memory.revisions.history.iter().map(|record| record.spec.image.clone());
        memory.images.pulled.iter().map(ImageRef::from).chain(named).filter(by_others).collect()
    }
}

impl Inner {
    fn leave(&mut self, image: &ImageRef, name: &ServiceName) {
        if let Some(users) = self.by_image.get_mut(image) {
            users.remove(name);
            if users.is_empty() {
                self.by_image.remove(image);
            }
        }
    }
}
