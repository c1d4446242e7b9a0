//! The pass of a project: its networks and volumes.

use tokio::time::Instant;

use super::{Next, Shared, lock, next};
use crate::act;
use crate::model::{Key, Listing, Memory, Observed, ServiceName};
use crate::plan;
use crate::reconcile;
use crate::source::catalog::Catalog;

impl Shared {
    pub(super) async fn project(&self, name: &str, catalog: &Catalog, listing: &Listing) -> Next {
        let desired = catalog.project(name);
        let specs = catalog.specs(name);
        let wanted = catalog.names().any(|service| service.project == name);
        let empty = !wanted && !listing.owned.iter().any(|service| service.project == name) && !name.is_empty();
        let mut plan = plan::project::plan(name, &desired, &specs, listing, empty);
        let key = Key::Project(name.to_owned());
        let held = self.repeats.hold_back(&key, &mut plan, Instant::now());
        let context = reconcile::context(name, &desired, specs.into_iter());
        let mut none = Memory::default();
        let about = (&context, &Observed::default());
        let deeds = act::act(self.c.engine.as_ref(), &plan, about, &mut none, &|| self.c.clock.now()).await;
        self.report(&ServiceName::new(name, ""), &deeds);
        // Also those that are wanted only now.
        let catalog = self.catalog();
        if deeds.iter().any(|deed| deed.error.is_none()) {
            // Those that waited for a network or volume go on.
            let services = catalog.names().filter(|service| service.project == name);
            self.wake(services.cloned().map(Key::Service));
        }
        self.repeats.note(&key, &deeds, Instant::now());
        let refused = deeds.iter().find_map(|deed| Some(format!("{}: {}", deed.action.verb, deed.error.as_ref()?)));
        let refused = refused.or_else(|| self.repeats.unseen(&key));
        let news = match refused {
            Some(why) => lock(&self.refused).insert(name.to_owned(), why.clone()) != Some(why),
            None => lock(&self.refused).remove(name).is_some(),
        };
        if news {
            self.wake(catalog.names().filter(|service| service.project == name).cloned().map(Key::Service));
        }
        next(reconcile::worst(&deeds), !deeds.is_empty(), held)
    }
}
