//! What is still to be looked at: when everything was once, the controller is ready; when nothing is open, it is settled.

use std::collections::BTreeSet;

use composed_core::model::{Key, Listing, ServiceName};

use super::outcome::{Next, RESYNC};
use super::shared::Shared;

/// What fails so often in a row is not waited for.
const OPEN_FAILURES: u32 = 3;

impl Shared {
    /// Takes note of what a look has seen, before anything is made for it.
    pub(super) fn take_stock(&self, found: Vec<ServiceName>, now: &Listing) {
        self.gone.lock().retain(|_, (_, at)| at.elapsed() < RESYNC);
        self.catalog().take_stock(&now.owned);
        self.open(found.into_iter().map(Key::Service));
        let mut first = self.first.lock();
        if first.is_none() {
            let catalog = self.catalog();
            let services = catalog.names().chain(&now.owned).cloned().map(Key::Service);
            let projects = catalog.names().map(|name| Key::Project(name.project.clone()));
            let all: BTreeSet<_> = services.chain(projects).collect();
            let none = all.is_empty();
            *first = Some(all);
            drop(first);
            self.open(self.leftovers(now));
            if none {
                self.begin_to_serve();
            }
        }
    }

    /// Asks for a look at `keys`; until then not everything is settled.
    pub(super) fn open(&self, keys: impl IntoIterator<Item = Key>) {
        let mut open = self.open.lock();
        for key in keys {
            self.wake([key.clone()]);
            open.insert(key, 0);
        }
        if !open.is_empty() {
            self.c.statuses.set_health(|health| health.settled = false);
        }
    }

    /// A pass has ended.
    pub(super) fn close(&self, key: &Key, next: &Next) {
        let mut open = self.open.lock();
        let again = match (key, next, open.get_mut(key)) {
            // It was not looked at; or it has done something, and comes again to see whether that was all.
            (_, Next::Again(_), _) | (Key::Project(_), Next::At(Some(_)), _) => true,
            (Key::Project(_), Next::Failed(_), Some(failures)) => {
                *failures += 1;
                *failures < OPEN_FAILURES
            }
            _ => false,
        };
        if !again && open.remove(key).is_some() && open.is_empty() {
            self.c.statuses.set_health(|health| health.settled = true);
        }
    }

    /// A key was looked at: when all were, the controller is ready.
    pub(super) fn looked_at(&self, key: &Key) {
        let mut first = self.first.lock();
        if let Some(keys) = first.as_mut().filter(|keys| !keys.is_empty())
            && keys.remove(key)
            && keys.is_empty()
        {
            self.begin_to_serve();
        }
    }

    /// Everything was looked at once.
    fn begin_to_serve(&self) {
        let open = self.open.lock();
        self.c.statuses.set_health(|health| (health.ready, health.settled) = (true, open.is_empty()));
    }

    /// Projects of which only networks are left: the controller before this one ended in between.
    fn leftovers(&self, listing: &Listing) -> Vec<Key> {
        let catalog = self.catalog();
        if catalog.removal_held(&listing.owned).is_some() {
            return Vec::new();
        }
        let projects: BTreeSet<&String> = listing.objects.networks.values().flatten().collect();
        let known = |project: &str| catalog.names().chain(&listing.owned).any(|name| name.project == project);
        projects.into_iter().filter(|project| !known(project)).map(|project| Key::Project(project.clone())).collect()
    }
}
