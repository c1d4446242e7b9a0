//! The pass of a project: its networks and volumes.

use composed_core::model::{Key, Listing, Observed, ServiceName, ServiceRecord};
use composed_core::plan;
use composed_source::catalog::Catalog;
use tokio::time::Instant;

use super::outcome::{Next, next};
use super::shared::Shared;
use super::world::Look;
use crate::act;
use crate::reconcile;

impl Shared {
    pub(super) async fn project(&self, name: &str, catalog: &Catalog, look: &Look, listing: &Listing) -> Next {
        let desired = catalog.project(name);
        let specs = catalog.specs(name);
        let wanted = catalog.services_of(name).next().is_some();
        let empty = !wanted && !listing.owned.iter().any(|service| service.project == name) && !name.is_empty();
        if empty && !look.whole {
            // What is left of it goes only if nothing of it is left anywhere.
            return Next::Again(Instant::now());
        }
        let mut plan = plan::project::plan(name, &desired, &specs, listing, empty);
        let key = Key::Project(name.to_owned());
        let held = self.repeats.hold_back(&key, &mut plan, Instant::now());
        let context = reconcile::context(name, &desired, specs.into_iter());
        let mut none = ServiceRecord::default();
        let about = (&context, &Observed::default());
        let results = act::act(self.c.engine.as_ref(), &plan, about, &mut none, &|| self.c.clock.now()).await;
        if !results.is_empty() {
            // Before those who wait for them are woken.
            self.world.doubt_objects();
        }
        self.report(&ServiceName::new(name, ""), &results);
        // Also those that are wanted only now.
        let catalog = self.catalog();
        if results.iter().any(|result| result.error.is_none()) {
            // Those that waited for a network or volume go on.
            self.wake(catalog.services_of(name).cloned().map(Key::Service));
        }
        self.repeats.note(&key, &results, Instant::now());
        let refused =
            results.iter().find_map(|result| Some(format!("{}: {}", result.action.verb, result.error.as_ref()?)));
        let refused = refused.or_else(|| self.repeats.unseen(&key));
        let news = match refused {
            Some(why) => self.refused.lock().insert(name.to_owned(), why.clone()) != Some(why),
            None => self.refused.lock().remove(name).is_some(),
        };
        if news {
            self.wake(catalog.services_of(name).cloned().map(Key::Service));
        }
        next(reconcile::worst(&results), !results.is_empty(), held)
    }
}
