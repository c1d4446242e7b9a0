//! What documents say of other services: who waits for whom, who is replaced with whom, who joins whose namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use composed_core::model::ServiceName;
use crd_schema::DependencyCondition::ServiceHealthy;
use crd_schema::ServiceSpec;

use super::Judge;
use crate::entry::Entry;

impl Judge<'_> {
    /// Notes the dependants of each service.
    pub(super) fn link(&mut self) {
        use crd_schema::DependencyCondition::ServiceCompletedSuccessfully as Completed;
        let mut one_shots = BTreeSet::new();
        for (name, entry) in &self.catalog.services {
            let Ok(desired) = &entry.desired else { continue };
            for (other, dependency) in &desired.spec.depends_on {
                let other = ServiceName::new(&name.project, other);
                if dependency.condition == Completed {
                    one_shots.insert(other.clone());
                }
                self.catalog.dependants.entry(other).or_default().push(name.clone());
            }
        }
        for (name, entry) in &mut self.catalog.services {
            // What is as it was stays shared with the catalog before.
            if let Ok(desired) = &mut entry.desired
                && desired.one_shot != one_shots.contains(name)
            {
                let desired = Arc::make_mut(desired);
                desired.one_shot = !desired.one_shot;
            }
        }
        self.tie();
    }

    /// Tells of dependants that wait for the health of a service whose document has no check of it.
    pub(super) fn note_health(&mut self) {
        let unchecked = |name: &ServiceName| {
            let spec = self.catalog.service(name).map(|desired| &desired.spec);
            let check = |spec: &ServiceSpec| spec.healthcheck.as_ref().is_some_and(|check| !check.disable);
            spec.is_some_and(|spec| !check(spec) && spec.readiness.is_none())
        };
        let mut notes = Vec::new();
        for (name, entry) in &self.catalog.services {
            let Ok(desired) = &entry.desired else { continue };
            let healthy = desired.spec.depends_on.iter().filter(|(_, one)| one.condition == ServiceHealthy);
            for (other, _) in healthy.filter(|(other, _)| unchecked(&ServiceName::new(&name.project, *other))) {
                notes.push(format!(
                    "warning: {}: {} waits for {other} to be healthy (service_healthy), and {other} has neither a healthcheck nor \
                     a readiness probe in its document: unless its image has a healthcheck, it counts as healthy when it has \
                     run for `min_ready`; add a `healthcheck` to {other}",
                    desired.source, name.name
                ));
            }
        }
        self.catalog.notes.extend(notes);
    }

    /// `restart: true` of a dependency: a change of it is a change of its dependant, too.
    fn tie(&mut self) {
        // What each still waits for, and who waits for it: those that wait for nothing are tied, one after the other. What is
        // left is a circle, or lacks a dependency. Most are tied to nothing, which is said of them at once.
        let (mut tied, mut loose) = (BTreeMap::new(), Vec::new());
        for (name, entry) in &self.catalog.services {
            let Ok(desired) = &entry.desired else { continue };
            let others: Vec<_> = self.ties(name).collect();
            if !others.is_empty() {
                tied.insert(name.clone(), others);
            } else if !desired.restart_after.is_empty() {
                loose.push(name.clone());
            }
        }
        for name in loose {
            if let Some(Ok(desired)) = self.catalog.services.get_mut(&name).map(|entry| &mut entry.desired) {
                Arc::make_mut(desired).link_dependencies(BTreeMap::new());
            }
        }
        let mut open = BTreeMap::new();
        let mut waited_for: BTreeMap<ServiceName, Vec<ServiceName>> = BTreeMap::new();
        let mut next = Vec::new();
        for (name, others) in &tied {
            let waits =
                others.iter().filter(|other| tied.contains_key(*other) || self.catalog.service(other).is_none());
            let waits: Vec<_> = waits.cloned().collect();
            if waits.is_empty() {
                next.push(name.clone());
            }
            open.insert(name.clone(), waits.len());
            for other in waits {
                waited_for.entry(other).or_default().push(name.clone());
            }
        }
        while let Some(name) = next.pop() {
            open.remove(&name);
            let of = |other: &ServiceName| Some((other.name.clone(), self.catalog.service(other)?.revision.clone()));
            let after: BTreeMap<_, _> = self.ties(&name).filter_map(|other| of(&other)).collect();
            let entry = self.catalog.services.get_mut(&name).and_then(|entry| entry.desired.as_mut().ok());
            if let Some(desired) = entry.filter(|desired| desired.restart_after != after) {
                Arc::make_mut(desired).link_dependencies(after);
            }
            for waits in waited_for.remove(&name).unwrap_or_default() {
                let left = open.get_mut(&waits);
                if left.is_some_and(|left| {
                    *left -= 1;
                    *left == 0
                }) {
                    next.push(waits);
                }
            }
        }
        self.sit();
        for name in open.into_keys() {
            let place = self.catalog.service(&name).map(|desired| desired.source.clone()).unwrap_or_default();
            let why = format!(
                "error: {place}: {name} is replaced together with a dependency (`restart: true`) whose document is not \
                 here, is not valid, or depends on {name}: put both under one directory and apply that"
            );
            self.refuse(&name, &place, &why);
        }
    }

    /// The services that one is replaced together with. One that may be missing, and is, does not count.
    fn ties(&self, name: &ServiceName) -> impl Iterator<Item = ServiceName> {
        let desired = self.catalog.service(name);
        // Who has joined a namespace moves with its replicas, one by one.
        let shares =
            move |other: &str| desired.is_some_and(|desired| desired.spec.shares().any(|(_, one)| one == other));
        let all = desired.into_iter().flat_map(|desired| &desired.spec.depends_on);
        let tied = all.filter(move |(other, dependency)| dependency.restart && !shares(other));
        let named = tied.map(|(other, dependency)| (ServiceName::new(&name.project, other), dependency));
        named.filter(|(other, dependency)| dependency.required || self.catalog.knows(other)).map(|(other, _)| other)
    }

    /// Notes which revisions of the services whose namespaces they join are wanted.
    fn sit(&mut self) {
        let revision = |name: &ServiceName| Some(self.catalog.service(name)?.revision.clone());
        let sits = |(name, entry): (&ServiceName, &Entry)| {
            let desired = entry.desired.as_ref().ok()?;
            let others = desired.spec.shares().map(|(_, other)| other.to_owned());
            let beside =
                others.filter_map(|other| Some((other.clone(), revision(&ServiceName::new(&name.project, &other))?)));
            Some((name.clone(), beside.collect::<BTreeMap<_, _>>()))
        };
        let all: Vec<_> =
            self.catalog.services.iter().filter_map(sits).filter(|(_, beside)| !beside.is_empty()).collect();
        for (name, beside) in all {
            if let Some(Ok(desired)) = self.catalog.services.get_mut(&name).map(|entry| &mut entry.desired) {
                Arc::make_mut(desired).namespace_revisions = beside;
            }
        }
    }
}
