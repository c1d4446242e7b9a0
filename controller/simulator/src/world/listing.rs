//! What is on the simulated engine, listed.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::model::{ListedContainer, ListedObjects, ListedService, Listing, ServiceName};

use super::World;
use crate::container::Container;

impl World {
    /// The index.
    pub fn list(&self, compose: &BTreeSet<ServiceName>) -> Listing {
        let each = self.containers.services().map(|service| (service.clone(), self.listed(service, compose)));
        let containers: BTreeMap<_, _> = each.filter(|(_, listed)| !listed.is_empty()).collect();
        Listing {
            owned: containers.keys().cloned().collect(),
            containers,
            objects: self.list_objects(),
            // Here every container says who has made it.
            foreign: Vec::new(),
        }
    }

    /// Its part that is about one service. Here every container says who has made it.
    pub fn list_service(&self, service: &ServiceName, compose: &BTreeSet<ServiceName>) -> ListedService {
        ListedService { containers: self.listed(service, compose), foreign: Vec::new() }
    }

    /// Its part that is about networks and volumes.
    pub fn list_objects(&self) -> ListedObjects {
        let (networks, volumes) = (self.networks.clone(), self.volumes.clone());
        ListedObjects { networks, network_twins: BTreeMap::new(), volumes }
    }

    fn listed(&self, service: &ServiceName, compose: &BTreeSet<ServiceName>) -> Vec<ListedContainer> {
        let counts = |one: &&Container| one.replica.compose.is_none() || compose.contains(service);
        let listed = self.containers.of(service).filter(counts).map(|one| ListedContainer {
            id: one.replica.id.clone(),
            name: one.replica.name.clone(),
            compose: one.replica.compose.is_some(),
            hook: one.run().map(|run| run.kind),
        });
        listed.collect()
    }
}
