//! Host ports that several services ask for.

use std::collections::BTreeMap;

use composed_core::model::{ServiceName, collide};
use crd_schema::Port;

use super::Judge;

impl Judge<'_> {
    /// Tells of services that ask for one host port: only one of them can be started.
    pub(super) fn note_ports(&mut self) {
        let mut asked: BTreeMap<u16, Vec<(&ServiceName, &str, Port)>> = BTreeMap::new();
        let mut notes = Vec::new();
        for (name, entry) in &self.catalog.services {
            let Ok(desired) = &entry.desired else { continue };
            let spec = desired.spec.of_replicas();
            for port in spec.ports.iter().filter(|_| spec.replicas != Some(0)) {
                let Some(number) = port.published else { continue };
                let known = asked.entry(number).or_default();
                let other = known.iter().find(|(other, _, known)| *other != name && collide(known, port));
                if let Some((other, source, _)) = other {
                    notes.push(format!(
                        "warning: {}: {name} asks for host port {number}, and so does {other} ({source}): only one of them can \
                         be started; write another port in one of them",
                        desired.source
                    ));
                }
                known.push((name, &desired.source, port.clone()));
            }
        }
        self.catalog.notes.extend(notes);
    }
}
