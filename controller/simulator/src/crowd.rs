//! The simulated containers, indexed so that a change of one costs the same however many there are.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::model::ServiceName;
use crd_schema::ContainerId;
use jiff::Timestamp;

use super::container::Container;

/// Containers by id, by service, and by when they change next.
#[derive(Clone, Debug, Default)]
pub struct Crowd {
    all: BTreeMap<ContainerId, Container>,
    by_service: BTreeMap<ServiceName, BTreeSet<ContainerId>>,
    names: BTreeMap<String, ContainerId>,
    due: BTreeSet<(Timestamp, ContainerId)>,
    touched: BTreeSet<ContainerId>,
}

impl Crowd {
    /// All of them.
    pub fn values(&self) -> impl Iterator<Item = &Container> {
        self.all.values()
    }

    /// One.
    pub fn get(&self, id: &ContainerId) -> Option<&Container> {
        self.all.get(id)
    }

    /// One by its name.
    pub fn named(&self, name: &str) -> Option<&Container> {
        self.names.get(name).and_then(|id| self.all.get(id))
    }

    /// One, to be changed; for its name there is `rename`.
    pub fn get_mut(&mut self, id: &ContainerId) -> Option<&mut Container> {
        let found = self.all.get_mut(id);
        if found.is_some() {
            self.touched.insert(id.clone());
        }
        found
    }

    /// Gives one another name.
    pub fn rename(&mut self, id: &ContainerId, to: &str) {
        if let Some(container) = self.all.get_mut(id) {
            self.names.remove(&container.replica.name);
            self.names.insert(to.to_owned(), id.clone());
            to.clone_into(&mut container.replica.name);
            self.touched.insert(id.clone());
        }
    }

    /// Our containers of a service.
    pub fn of(&self, service: &ServiceName) -> impl Iterator<Item = &Container> {
        self.by_service.get(service).into_iter().flatten().filter_map(|id| self.all.get(id))
    }

    /// The services that have a container of ours.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.by_service.keys()
    }

    /// Adds one.
    pub fn insert(&mut self, container: Container) {
        let id = container.replica.id.clone();
        if container.ours {
            self.by_service.entry(container.replica.service.clone()).or_default().insert(id.clone());
        }
        self.names.insert(container.replica.name.clone(), id.clone());
        self.touched.insert(id.clone());
        self.all.insert(id, container);
    }

    /// Removes one.
    pub fn remove(&mut self, id: &ContainerId) -> Option<Container> {
        let container = self.all.remove(id)?;
        self.names.remove(&container.replica.name);
        if let Some(ids) = self.by_service.get_mut(&container.replica.service) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_service.remove(&container.replica.service);
            }
        }
        Some(container)
    }

    /// Brings those that change by `now`, or were changed, to the present; returns the services of ours that look
    /// different since.
    pub(super) fn advance(&mut self, now: Timestamp) -> BTreeSet<ServiceName> {
        let mut ids = std::mem::take(&mut self.touched);
        while let Some((at, id)) = self.due.pop_first() {
            if at > now {
                self.due.insert((at, id));
                break;
            }
            ids.insert(id);
        }
        let mut changed = BTreeSet::new();
        for id in ids {
            let Some(container) = self.all.get_mut(&id) else { continue };
            container.advance(now);
            let shown = (container.replica.state, container.health(now), container.probe(now));
            if container.shown.as_ref() != Some(&shown) {
                container.shown = Some(shown);
                if container.ours {
                    changed.insert(container.replica.service.clone());
                }
            }
            if let Some(at) = container.changes_after(now) {
                self.due.insert((at, id));
            }
        }
        changed
    }

    /// When one changes by itself next; may be early, never late.
    pub(super) fn next_change(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }
}
