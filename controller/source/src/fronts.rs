//! The fronts of services, which no document describes: made of those that do.

use std::sync::Arc;

use composed_core::front;
use composed_core::model::{Desired, ServiceName};

use super::catalog::Catalog;
use super::entry::Entry;
use super::judge::Judge;

impl Judge<'_> {
    /// Adds the front of each service that asks for one. A document that claims its name leaves both as they are.
    pub(super) fn fronts(&mut self) {
        let mut fronts = Vec::new();
        for entry in self.catalog.services.values() {
            let Some(desired) = entry.desired.as_ref().ok().filter(|desired| desired.spec.front.is_some()) else {
                continue;
            };
            let project = self.catalog.project(&desired.name.project);
            if let Some(front) = front::of(desired, &project) {
                fronts.push((desired.name.clone(), entry.file.clone(), front));
            }
        }
        for (name, file, front) in fronts {
            let claimed = match self.catalog.services.get(&front.name) {
                Some(Entry { desired: Ok(desired), file, .. }) => desired.spec.generated.is_none().then_some(file),
                Some(Entry { desired: Err(_), file, .. }) => Some(file),
                None => None,
            };
            if let Some(other) = claimed {
                let why = format!(
                    "error: {}: the front of {name} would be {}, which {other} describes, so both stay as they are: give \
                     that service another name, or remove `front`",
                    front.source, front.name
                );
                let other = other.clone();
                self.refuse(&name, &file, &why);
                self.keep(&front.name, &other, &why);
                continue;
            }
            let entry = Entry { desired: Ok(Arc::new(front.clone())), file, made: Arc::default(), resolved: None };
            self.catalog.services.insert(front.name, entry);
        }
        self.ended();
    }

    /// Those whose service goes on without one, as far as this process knows: nobody else's containers bear their names.
    fn ended(&mut self) {
        let generated = |entry: &Entry| entry.desired.as_ref().is_ok_and(|desired| desired.spec.generated.is_some());
        let fronts = self.before.services.iter().filter(|(_, entry)| generated(entry)).map(|(name, _)| name);
        let goes_on = |name: &ServiceName| {
            let owner = front::owner(name).and_then(|owner| self.catalog.services.get(&owner));
            !self.catalog.services.contains_key(name) && owner.is_some_and(|owner| owner.desired.is_ok())
        };
        let ended = fronts.chain(&self.before.ended_fronts).filter(|name| goes_on(name)).cloned().collect();
        self.catalog.ended_fronts = ended;
    }
}

impl Catalog {
    /// What is wanted of a service that no document claims, if it is a front: that it goes at once when its service goes
    /// on without one, and that it stays when nobody can tell.
    pub(super) fn leftover_front(&self, name: &ServiceName) -> Option<Desired> {
        if self.ended_fronts.contains(name) {
            return Some(Desired::Gone(jiff::Timestamp::UNIX_EPOCH));
        }
        let owner = self.services.get(&front::owner(name)?)?;
        owner.desired.as_ref().err().map(|why| Desired::Held(why.clone()))
    }
}
