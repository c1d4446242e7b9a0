//! The pass of a service: look, decide, write down, act, tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use composed_core::engine::{DesiredContainer, ObserveRequest};
use composed_core::front;
use composed_core::model::{
    Desired, DesiredService, Key, Listing, Replica, RevisionRecord, Revisions, ServiceName, ServiceRecord, Snapshot,
    base_revision,
};
use composed_source::catalog::Catalog;
use composed_status::store::LabelsOf;
use crd_schema::status::{Condition, ConditionType, Reason, ServiceStatus, WaitReason};
use crd_schema::{ImageRef, Revision};
use tokio::time::Instant;

use super::outcome::{BACK_OFF, Next, next};
use super::shared::Shared;
use super::world::Look;
use crate::reconcile::{self, Pass};
use crate::subject::Subject;

impl Shared {
    /// The pass of a service, upon what is seen from `since` on.
    pub(super) async fn service(
        &self,
        name: &ServiceName,
        catalog: &Arc<Catalog>,
        look: &Look,
        listing: &Arc<Listing>,
    ) -> Next {
        let memory = self.store.recall(name).await;
        self.uses.meet(name, &memory);
        if !catalog.knows(name) && self.gone.lock().get(name).is_some_and(|(gone, _)| *gone > look.begun) {
            // This look has seen what has gone meanwhile.
            return Next::Again(Instant::now());
        }
        let scope = self.scope(name, catalog, &memory);
        let observed = self.c.engine.observe(&scope, listing).await;
        let newest = self.catalog();
        if !newest.wants_as(catalog, name) {
            // It took a while, and something else is wanted by now; what is held back of it must not be forgotten.
            return Next::Again(Instant::now());
        }
        let catalog = &newest;
        let snapshot = observed.unwrap_or_else(|error| Snapshot {
            listing: Arc::clone(listing),
            unknown: [(name.clone(), error.to_string())].into(),
            ..Snapshot::default()
        });
        self.decide(name, catalog, &snapshot, memory).await
    }

    /// What is asked of the engine for a service.
    fn scope(&self, name: &ServiceName, catalog: &Catalog, memory: &ServiceRecord) -> ObserveRequest {
        let mut scope = ObserveRequest { services: Some([name.clone()].into()), ..ObserveRequest::default() };
        if let Some(service) = catalog.service(name).map(|service| self.raised(service)) {
            scope.host_ports = has_host_ports(&service) && !self.is_at_rest(name, &service);
            scope.images.insert(service.spec.image.clone());
            scope.images.extend(service.spec.hook_images().cloned());
            scope.desired.insert(name.clone(), asked(catalog, &service));
            let earlier = memory.last_available(&memory.revision_of(&service));
            scope.images.extend(earlier.into_iter().flat_map(images));
            scope.images.extend(memory.revisions.history.last().into_iter().flat_map(images));
            // What runs may be gone back to as well, available or not.
            let back = |revisions: &Revisions| revisions.failure.is_some() || revisions.undone.is_some();
            let back = Some(memory).filter(|memory| back(&memory.revisions));
            scope.images.extend(back.into_iter().flat_map(|memory| &memory.revisions.history).flat_map(images));
        }
        scope.images.extend(self.unasked.lock().remove(name).unwrap_or_default());
        scope
    }

    /// Whether all of it runs as its document asks, as far as was shown last: then it has its ports.
    fn is_at_rest(&self, name: &ServiceName, service: &DesiredService) -> bool {
        self.c.statuses.status(name).is_some_and(|status| {
            let progressing = status.condition(ConditionType::Progressing);
            let done = progressing.is_some_and(|condition| condition.reason == Reason::NewRevisionAvailable);
            let whole = status.live == status.replicas && status.available == status.replicas;
            done && whole && status.waiting.is_empty() && base_revision(&status.revision) == service.revision
        })
    }

    async fn decide(
        &self,
        name: &ServiceName,
        catalog: &Catalog,
        snapshot: &Snapshot,
        mut memory: ServiceRecord,
    ) -> Next {
        let (statuses, images) = (&*self.c.statuses, self.c.images.as_deref());
        let subject = Subject { name, catalog, snapshot, statuses, images };
        self.look_for_renamed(name, catalog, &snapshot.listing).await;
        let desired = subject.desired(self.missed_since(name, catalog));
        if matches!(desired, Desired::Gone(_)) && !snapshot.listing.owned.contains(name) {
            // Nothing of it is left to be probed or counted.
            self.c.monitor.refresh(name, None, &ServiceRecord::default(), &mut []).await;
            return self.forget(name).await;
        }
        if !catalog.knows(name) && !snapshot.listing.owned.contains(name) && !catalog.may_ask_for(name) {
            // An event of what has gone, of a service that none of these files is about.
            self.c.statuses.withdraw(name);
            return Next::At(None);
        }
        if let Some(why) = snapshot.unknown.get(name) {
            return self.not_known(name, why).await;
        }
        if let Desired::Run(desired) = &desired {
            // The document has changed since the look was asked for: that an image was not asked for does not mean that it is
            // not here.
            let named = std::iter::once(&desired.spec.image).chain(desired.spec.hook_images());
            let unasked: BTreeSet<_> = named.filter(|image| !snapshot.images.contains_key(*image)).cloned().collect();
            if !unasked.is_empty() {
                self.unasked.lock().insert(name.clone(), unasked);
                return Next::Again(Instant::now());
            }
        }
        let project = catalog.project(&name.project);
        let before = self.store.last_status(name).await;
        let remembered = memory.clone();
        let commands = self.commands.of(name);
        self.apply_commands(&commands, name, &desired, subject.replicas(), &mut memory);
        let desired = subject.understood(desired, &mut memory);
        let early = self.is_early(name, catalog);
        let pass = Pass {
            refused: self.refused.lock().get(&name.project).cloned(),
            limiter: Some(&self.limiter),
            before: before.as_deref(),
            ..subject.pass(&desired, &project, self.spared(name, &memory), self.c.clock.now())
        };
        let mut decision = pass.decide(self.c.monitor.as_ref(), snapshot, &mut memory).await;
        self.report_hooks(name, std::mem::take(&mut memory.process.hook_failures));
        self.wake(self.limiter.released().into_iter().map(Key::Service));
        self.hand_over(name, &mut memory);
        self.c.statuses.put_labels(name, labels(&memory, &decision.observed.replicas));
        self.uses.note(name, &memory, &decision.observed.replicas);
        // What was noticed is saved, then shown, then acted upon: nobody is told of a generation that may be forgotten.
        self.store.save(name, &remembered, &memory, catalog.spares(name)).await;
        if !commands.is_empty() {
            // The next command is answered by what these have changed, however long the calls of this pass take.
            self.store.put(name, memory.clone());
        }
        if self.store.is_saved(name) {
            self.commands.done(name, &commands).await;
        }
        let decided = memory.clone();
        let mut news = self.publish(name, &decision.status);
        let key = Key::Service(name.clone());
        self.looked_at(&key);
        if early {
            // That they were not looked at yet says nothing of them: they wake this one when they were.
            decision.plan.actions.clear();
        }
        let held = self.repeats.hold_back(&key, &mut decision.plan, Instant::now());
        let mut outcome = pass.carry_out(decision, self.c.engine.as_ref(), &mut memory, &|| self.c.clock.now()).await;
        self.repeats.note(&key, &outcome.results, Instant::now());
        if let Some(unseen) = self.repeats.unseen(&key) {
            outcome.status.error = Some(unseen);
        }
        self.hand_over(name, &mut memory);
        self.store.save(name, &decided, &memory, catalog.spares(name)).await;
        self.note_adopted(name, &memory);
        self.store.put(name, memory);
        self.report(name, &outcome.results);
        let error = outcome.error().cloned();
        let acted = !outcome.results.is_empty();
        let wake_at = outcome.plan.wake_at.map(|at| self.c.clock.instant(at)).into_iter().chain(held).min();
        news |= self.publish(name, &outcome.status);
        if news {
            // Also those that are wanted only now.
            let catalog = self.catalog();
            self.wake(catalog.dependants(name).cloned().chain(catalog.hosts(name)).map(Key::Service));
            self.wake(self.waiting_for_ports().into_iter().filter(|other| other != name).map(Key::Service));
            // A service and its front wait for each other's ports.
            let other = front::owner(name).unwrap_or_else(|| front::name(name));
            if catalog.knows(&other) {
                self.wake([Key::Service(other)]);
            }
        }
        next(error.as_ref(), acted, wake_at)
    }

    /// Before one that has lost its document is judged: which of those that have are called something else by now.
    async fn look_for_renamed(&self, name: &ServiceName, catalog: &Catalog, listing: &Listing) {
        if catalog.knows(name) || !listing.owned.contains(name) {
            return;
        }
        for lost in catalog.lost(&listing.owned) {
            let memory = self.store.recall(lost).await;
            let was = memory.revisions.history.last();
            if let Some(news) = was.and_then(|was| catalog.take_for_renamed(lost, &was.spec, &listing.owned)) {
                tracing::warn!(service = %lost, "{news}, so its removal needs no confirmation");
            }
        }
    }

    /// The services that wait for a port of the host. There are hardly ever any.
    fn waiting_for_ports(&self) -> Vec<ServiceName> {
        let waits = |status: &ServiceStatus| status.waiting.iter().any(|wait| wait.reason == WaitReason::HostPort);
        let all = self.c.statuses.all().into_iter().filter(|status| waits(status));
        all.map(|status| ServiceName::new(&status.project, &status.name)).collect()
    }

    /// Whether one that it depends on was not looked at by this process yet.
    fn is_early(&self, name: &ServiceName, catalog: &Catalog) -> bool {
        let others = catalog.service(name).into_iter().flat_map(|service| service.spec.depends_on.keys());
        let mut others = others.map(|other| ServiceName::new(&name.project, other));
        others.any(|other| catalog.knows(&other) && self.c.statuses.status(&other).is_none())
    }

    /// A container of the service does not answer: what was known of it stays, and so does everything else.
    async fn not_known(&self, name: &ServiceName, why: &str) -> Next {
        let known = self.store.last_status(name).await;
        let mut status = known.map_or_else(
            || ServiceStatus { project: name.project.clone(), name: name.name.clone(), ..ServiceStatus::default() },
            Arc::unwrap_or_clone,
        );
        let same = |condition: &&Condition| condition.kind == ConditionType::Unknown;
        let since = status.conditions.iter().find(same).map(|condition| condition.last_transition);
        status.conditions.retain(|condition| condition.kind != ConditionType::Unknown);
        status.conditions.push(Condition {
            kind: ConditionType::Unknown,
            status: true,
            reason: Reason::InspectFailed,
            message: format!("{why}; nothing of {name} is changed until it answers"),
            last_transition: since.unwrap_or_else(|| self.c.clock.now()),
        });
        if since.is_none() {
            tracing::warn!(service = %name, "{why}");
        }
        self.publish(name, &status);
        Next::Failed(BACK_OFF)
    }

    /// Gives what people are to be told to whoever tells them. It stays here until that is written down there.
    fn hand_over(&self, name: &ServiceName, memory: &mut ServiceRecord) {
        let Some(notifier) = &self.c.notifier else { return memory.outbox.clear() };
        if let Some(notice) = memory.contention_notification(self.c.clock.now()) {
            notifier.take(&notice.of(name));
        }
        memory.outbox.retain(|notice| {
            let notice = notice.clone().of(name);
            notifier.take(&notice);
            !notifier.knows(&notice)
        });
    }

    fn missed_since(&self, name: &ServiceName, catalog: &Catalog) -> jiff::Timestamp {
        if catalog.is_once() {
            return jiff::Timestamp::UNIX_EPOCH;
        }
        let now = self.c.clock.now();
        let mut missed = self.missed.lock();
        if catalog.knows(name) {
            missed.remove(name);
            return now;
        }
        *missed.entry(name.clone()).or_insert(now)
    }

    // Removal is no special path: when the last replica is gone, so is everything else.
    async fn forget(&self, name: &ServiceName) -> Next {
        self.gone.lock().insert(name.clone(), (self.world.now(), Instant::now()));
        self.limiter.forget(name);
        self.repeats.forget(&Key::Service(name.clone()));
        self.uses.forget(name);
        self.wake(self.limiter.released().into_iter().map(Key::Service));
        self.missed.lock().remove(name);
        self.note_adopted(name, &ServiceRecord::default());
        // At once: a reading that asks for it again while the files are removed takes note of that anew.
        self.catalog().forget(name);
        self.commands.done(name, &self.commands.of(name)).await;
        self.store.forget(name).await;
        self.remember().await;
        self.open([Key::Project(name.project.clone())]);
        self.c.statuses.withdraw(name);
        Next::At(None)
    }

    /// The images that are not to be removed for a service, since others use them. Until every service was looked at, nobody
    /// knows who does.
    fn spared(&self, name: &ServiceName, memory: &ServiceRecord) -> BTreeSet<ImageRef> {
        if self.c.statuses.health().ready {
            self.uses.spared(name, memory)
        } else {
            memory.images.pulled.iter().map(ImageRef::from).collect()
        }
    }

    fn publish(&self, name: &ServiceName, status: &ServiceStatus) -> bool {
        let news = self.c.statuses.publish(name, status.clone());
        if news && !self.catalog().spares(name) {
            self.store.save_status(name, status.clone());
        }
        news
    }
}

/// Whether its replicas have ports of the host that were chosen for them.
pub fn has_host_ports(service: &DesiredService) -> bool {
    service.spec.of_replicas().ports.iter().any(|port| port.published.is_some())
}

/// What containers of a service are compared with that Docker Compose made.
pub fn asked(catalog: &Catalog, service: &DesiredService) -> DesiredContainer {
    let project = &service.name.project;
    let context = reconcile::context(project, &catalog.project(project), std::iter::once(&*service.spec));
    DesiredContainer { spec: Arc::clone(&service.spec), context }
}

/// The image of a revision, by name, and by id where it must be that one.
fn images(record: &RevisionRecord) -> impl Iterator<Item = ImageRef> {
    let id = record.fixed_image().map(ImageRef::from);
    std::iter::once(record.spec.image.clone()).chain(id).chain(record.spec.hook_images().cloned())
}

/// The labels of those revisions that somebody runs.
fn labels(memory: &ServiceRecord, replicas: &[Replica]) -> LabelsOf {
    let runs = |revision: &Revision| replicas.iter().any(|replica| replica.revision == *revision);
    let records =
        memory.revisions.history.iter().filter(|record| runs(&record.revision) && !record.spec.labels.is_empty());
    records.map(|record| (record.revision.clone(), record.spec.labels.clone().into_iter().collect())).collect()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::cli::session::simulated;
    use crate::controller::Controller;
    use crate::controller::store::tests::on_a_disk_that_hangs;
    use crate::state::StateDir;
    use composed_platform::clock::Clock;
    use composed_simulator::World;
    use composed_source::files::Source;

    #[test]
    fn a_service_that_comes_back_while_it_is_forgotten_came_from_here() {
        let (dir, kept) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let (db, name) = ("  db: {image: 'db:1'}\n", ServiceName::new("shop", "db"));
        on_a_disk_that_hangs(async |go| {
            let clock = Clock::system();
            let sim = simulated(World::default(), clock);
            let shared = Shared::new(Controller {
                engine: Arc::clone(&sim) as Arc<dyn composed_core::engine::Engine>,
                monitor: sim,
                clock,
                state: StateDir::open(kept.path()).expect("a state directory"),
                statuses: Arc::default(),
                images: None,
                notifier: None,
                max_rollouts: None,
                confirm_deletion: false,
            });
            let read = |more: &str| {
                let text = format!("name: shop\nservices:\n  web: {{image: 'web:1'}}\n{more}");
                std::fs::write(dir.path().join("compose.yaml"), text).expect("written");
                shared.read(&Source::from(dir.path()).read());
            };
            read(db);
            read("");
            let mut forgets = pin!(shared.forget(&name));
            assert!(futures_util::poll!(&mut forgets).is_pending(), "its files are to be removed");
            read(db);
            go.send(()).expect("the disk");
            forgets.await;
            read("");
            assert!(!shared.catalog().is_orphan(&name), "it is removed again");
        });
    }
}
