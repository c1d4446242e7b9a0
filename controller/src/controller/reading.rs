//! What is wanted comes in: readings of the files, and what registries say of images.

use std::collections::BTreeMap;
use std::sync::Arc;

use composed_core::model::{DesiredService, Key, ServiceName, ServiceRecord, follows_image};
use composed_core::reference::Reference;
use composed_registry::{QueryOptions, updates};
use composed_source::catalog::Catalog;
use composed_source::files::Reading;
use tokio::sync::{broadcast, mpsc};

use super::shared::Shared;
use crate::subject;

/// Takes readings in, one after the other, until there are no more. Judging many files takes its time, and holds up nobody.
pub(super) async fn take_in(shared: Arc<Shared>, mut readings: mpsc::Receiver<Reading>) {
    while let Some(reading) = readings.recv().await {
        let of = Arc::clone(&shared);
        let judged = tokio::task::spawn_blocking(move || of.read(&reading)).await;
        match judged {
            Ok(keys) => {
                // Who asked before there was anything to look at is heard before anything is.
                while !shared.begun()
                    && let Some(order) = shared.c.statuses.commands.take()
                {
                    shared.take(order).await;
                }
                shared.read.send_replace(true);
                shared.wake(keys);
            }
            Err(error) => {
                tracing::error!(%error, "a reading was not understood; this is a bug in composed, please report it");
            }
        }
        shared.remember().await;
    }
}

/// The next image of which a registry says something new; `None`: any.
pub(super) async fn news(said: Option<&mut broadcast::Receiver<Reference>>) -> Option<Reference> {
    let Some(said) = said else { return std::future::pending().await };
    match said.recv().await {
        Ok(image) => Some(image),
        Err(broadcast::error::RecvError::Lagged(_)) => None,
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
    }
}

impl Shared {
    pub(super) fn begun(&self) -> bool {
        *self.read.borrow()
    }

    /// Ends when the files were read for the first time.
    pub(super) async fn has_begun(&self) {
        // Its sender is here as long as this is.
        drop(self.read.subscribe().wait_for(|read| *read).await);
    }

    pub(super) fn catalog(&self) -> Arc<Catalog> {
        let begin = || Catalog::empty(self.c.confirm_deletion).knowing(self.made_of.clone());
        let empty = || Arc::new(begin());
        self.catalog.lock().clone().unwrap_or_else(empty)
    }

    /// Takes a reading in; returns whose turn it is therefore.
    pub(super) fn read(&self, reading: &Reading) -> Vec<Key> {
        let before = self.catalog();
        let catalog = Arc::new(Catalog::new(reading, &before));
        for problem in &catalog.problems {
            if !before.problems.contains(problem) {
                tracing::error!("{problem}");
            }
        }
        for note in catalog.notes.iter().filter(|note| !before.notes.contains(note)) {
            tracing::warn!("{note}");
        }
        let (problems, unnotified) = (catalog.problems.clone(), reading.unnotified.clone());
        if let Some(why) = unnotified.as_ref().filter(|why| self.c.statuses.health().unnotified.as_ref() != Some(*why))
        {
            tracing::warn!("{why}");
        }
        self.c.statuses.set_health(|health| (health.problems, health.unnotified) = (problems, unnotified));
        let (services, projects) = catalog.changed(&before);
        // Whether those are removed whose documents are gone depends on all of them.
        let doubtful = catalog.doubt_changed(&before) || !services.is_empty();
        let seen = self.world.seen();
        let orphans: Vec<_> = seen.owned.iter().filter(|name| doubtful && !catalog.knows(name)).cloned().collect();
        self.limiter.expect(catalog.names());
        let as_named = self.begun() && catalog.names().eq(before.names());
        *self.catalog.lock() = Some(catalog);
        if !as_named {
            self.count_composes();
        }
        self.follow();
        let services = services.into_iter().chain(orphans).map(Key::Service);
        services.chain(projects.into_iter().map(Key::Project)).collect()
    }

    /// Makes up anew of which services what Compose made counts.
    fn count_composes(&self) {
        let turn = self.telling.lock();
        let all = self.catalog().names().chain(&*self.adopted.lock()).cloned().collect();
        self.world.count_composes(all);
        drop(turn);
    }

    /// Notes whether a service has adopted containers.
    pub(super) fn note_adopted(&self, name: &ServiceName, memory: &ServiceRecord) {
        let mut adopted = self.adopted.lock();
        let any = !memory.replicas.adopted.is_empty();
        let news = if any { adopted.insert(name.clone()) } else { adopted.remove(name) };
        drop(adopted);
        if news && !self.catalog().knows(name) {
            self.count_composes();
        }
    }

    /// Writes down what Compose projects are made of.
    pub(super) async fn remember(&self) {
        self.store.save_made_of(|| self.catalog().made_of()).await;
    }

    /// Whose turn it is because a registry says something new of this image, or of any.
    pub(super) fn heard(&self, image: Option<&Reference>) -> Vec<Key> {
        // A higher version is another tag to be followed.
        self.follow();
        let catalog = self.catalog();
        let same = |name: &&ServiceName| {
            let service = catalog.service(name).filter(|service| follows_image(&service.spec));
            let own = service.and_then(|service| Reference::parse(&service.spec.image));
            own.is_some_and(|own| image.is_none_or(|image| image.tagged("") == own.tagged("")))
        };
        catalog.names().filter(same).cloned().map(Key::Service).collect()
    }

    /// Says what is to be asked of registries.
    fn follow(&self) {
        let Some(images) = &self.c.images else { return };
        let turn = self.telling.lock();
        let catalog = self.catalog();
        let mut questions = BTreeMap::new();
        for service in catalog.names().filter_map(|name| catalog.service(name)) {
            let versions = updates::of_versions(service);
            // Where no version is followed there is no higher one.
            let tag = match versions {
                Some(_) => updates::of_tag(&self.raised(service)),
                None => updates::of_tag(service),
            };
            for question in [versions, tag].into_iter().flatten() {
                let how = updates::how(service);
                questions.entry(question).and_modify(|known: &mut QueryOptions| known.join(how.clone())).or_insert(how);
            }
        }
        images.follow(questions);
        drop(turn);
    }

    /// What is wanted, with the highest version that its document allows.
    pub(super) fn raised(&self, service: &DesiredService) -> DesiredService {
        subject::raised(self.c.images.as_deref(), service, &[])
    }
}
