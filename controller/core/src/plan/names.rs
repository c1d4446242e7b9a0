//! The names and numbers of new replicas.

use std::collections::BTreeSet;

use super::target::Goal;
use crate::model::{Replica, ServiceName, ServiceRecord};

/// The `container_name` that the goal asks for.
pub(super) fn fixed_name<'a>(goal: &Goal<'a>) -> Option<&'a String> {
    goal.spec.and_then(|spec| spec.container_name.as_ref())
}

/// Whether no replica, in whatever state, has the name.
pub(super) fn names_free(replicas: &[Replica], name: &str) -> bool {
    replicas.iter().all(|replica| replica.name != name)
}

/// Names and numbers for new replicas: the lowest that no container of the service holds.
pub(super) struct ReplicaNames {
    taken: BTreeSet<String>,
    numbers: BTreeSet<u32>,
    next: u32,
}

impl ReplicaNames {
    /// Those that are there, or known to be others'.
    pub(super) fn of(replicas: &[Replica], memory: &ServiceRecord) -> Self {
        Self {
            taken: replicas
                .iter()
                .map(|replica| &replica.name)
                .chain(&memory.replicas.foreign_names)
                .cloned()
                .collect(),
            numbers: replicas.iter().filter(|r| r.name != r.service.kept_container()).map(|r| r.number).collect(),
            next: 1,
        }
    }

    /// The next one for a replica of the goal.
    pub(super) fn next(&mut self, service: &ServiceName, goal: &Goal<'_>) -> (u32, String) {
        let free = |number: &u32| !self.numbers.contains(number) && !self.taken.contains(&service.container(*number));
        let number = (self.next..u32::MAX).find(free).unwrap_or(u32::MAX);
        self.next = number.saturating_add(1);
        let fixed = fixed_name(goal).filter(|name| !self.taken.contains(*name)).cloned();
        let name = fixed.unwrap_or_else(|| service.container(number));
        self.numbers.insert(number);
        self.taken.insert(name.clone());
        (number, name)
    }
}
