//! What is on the engine: an index of everything. One who comes alone has the part of it that is about its service listed
//! anew, many at the same time share one list of everything. Who wants to know more of a service asks for it alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use composed_core::engine::{Engine, EngineError, LeaseState};
use composed_core::model::{ListedObjects, Listing, ServiceName};
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use parking_lot::Mutex;
use tokio::time::Instant;

/// A list that has not come after so long is told of: an engine answers within milliseconds.
const SLOW: Duration = Duration::from_secs(2);

/// So many at the same time have their own parts listed, one after the other; more share a list of everything.
const FEW: usize = 4;
/// So do they after a list of a part that has taken longer.
const QUICK: Duration = Duration::from_millis(250);

/// The index of the world.
pub(super) struct World {
    engine: Arc<dyn Engine>,
    statuses: Arc<StatusStore>,
    clock: Clock,
    /// The services of which what Compose made counts.
    compose: Mutex<Arc<BTreeSet<ServiceName>>>,
    /// The last looks. Held while one is under way: who comes meanwhile shares the next one at everything.
    last: tokio::sync::Mutex<LastLooks>,
    /// When networks and volumes were last said to have changed.
    objects_changed: AtomicU64,
    /// So many are looking, or wait for it.
    looking: AtomicUsize,
    /// What is known from all looks.
    listing: Mutex<Arc<Listing>>,
    moments: AtomicU64,
}

/// A moment in the order of all: two are never the same, as two readings of a clock may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// What a look is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part<'a> {
    /// Everything.
    Whole,
    /// A service.
    Service(&'a ServiceName),
    /// Networks and volumes.
    Objects,
}

/// What there is to know of the looks before.
#[derive(Default)]
struct LastLooks {
    /// When the last one that all share was begun, and why it failed, if it did.
    shared: Option<(Moment, Option<String>)>,
    /// When networks and volumes were last listed.
    objects: Option<Moment>,
    /// A list of a part has taken long.
    part_is_slow: bool,
}

/// One look.
pub(super) struct Look {
    /// When it was begun: what was done later may be missing.
    pub(super) begun: Moment,
    /// It was at everything, not only at a part.
    pub(super) whole: bool,
    /// What is known with it, or why nothing may be done now.
    pub(super) listing: Result<Arc<Listing>, String>,
}

impl World {
    pub(super) fn new(engine: Arc<dyn Engine>, statuses: Arc<StatusStore>, clock: Clock) -> Self {
        Self {
            engine,
            statuses,
            clock,
            compose: Mutex::default(),
            last: tokio::sync::Mutex::default(),
            objects_changed: AtomicU64::new(0),
            looking: AtomicUsize::new(0),
            listing: Mutex::default(),
            moments: AtomicU64::new(0),
        }
    }

    /// Of these services what Compose made counts.
    pub(super) fn count_composes(&self, services: BTreeSet<ServiceName>) {
        *self.compose.lock() = Arc::new(services);
    }

    /// What was last seen.
    pub(super) fn seen(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.lock())
    }

    /// This moment.
    pub(super) fn now(&self) -> Moment {
        Moment(self.moments.fetch_add(1, Ordering::SeqCst))
    }

    /// Networks or volumes are not as they were, or may not be: the next look lists them.
    pub(super) fn doubt_objects(&self) {
        self.objects_changed.store(self.now().0, Ordering::SeqCst);
    }

    /// A look that was begun after `since`, at no more than `part` if few look at the same time. `seen` is called with the
    /// services that have come by their first container, before anybody acts upon it, if it may be that some have.
    pub(super) async fn look(
        &self,
        since: Moment,
        part: Part<'_>,
        seen: impl FnOnce(Vec<ServiceName>, &Listing),
    ) -> Look {
        let _looking = Looking::begin(&self.looking);
        let mut last = self.last.lock().await;
        if let Some((begun, failed)) = last.shared.as_ref().filter(|(begun, _)| *begun > since) {
            return Look { begun: *begun, whole: true, listing: failed.clone().map_or_else(|| Ok(self.seen()), Err) };
        }
        let begun = self.now();
        let is_known = matches!(&last.shared, Some((_, None)));
        let alone = is_known && !last.part_is_slow && self.looking.load(Ordering::SeqCst) <= FEW;
        let part = if alone { part } else { Part::Whole };
        let objects = last.objects.is_none_or(|listed| listed.0 <= self.objects_changed.load(Ordering::SeqCst));
        let asked = Instant::now();
        let done = match part {
            Part::Whole => self.look_at_everything(seen).await,
            Part::Service(service) => self.look_at(service, objects, seen).await,
            Part::Objects => self.look_at_objects().await,
        };
        let whole = matches!(part, Part::Whole);
        if whole || done.is_err() {
            last.shared = Some((begun, done.clone().err()));
            last.part_is_slow = false;
        } else {
            last.part_is_slow = asked.elapsed() > QUICK;
        }
        if done.is_ok() && (objects || !matches!(part, Part::Service(_))) {
            last.objects = Some(begun);
        }
        Look { begun, whole, listing: done.map(|()| self.seen()) }
    }

    async fn look_at_everything(&self, seen: impl FnOnce(Vec<ServiceName>, &Listing)) -> Result<(), String> {
        let compose = Arc::clone(&self.compose.lock());
        let listing = Arc::new(self.ask(self.engine.list(&compose)).await?);
        let before = std::mem::replace(&mut *self.listing.lock(), Arc::clone(&listing));
        self.tell_of_foreign(&listing);
        seen(listing.owned.difference(&before.owned).cloned().collect(), &listing);
        Ok(())
    }

    async fn look_at(
        &self,
        service: &ServiceName,
        objects: bool,
        seen: impl FnOnce(Vec<ServiceName>, &Listing),
    ) -> Result<(), String> {
        let compose = Arc::clone(&self.compose.lock());
        let list = async {
            let objects = if objects { Some(self.engine.list_objects().await?) } else { None };
            Ok((objects, self.engine.list_service(service, &compose).await?))
        };
        let (objects, listed) = self.ask(list).await?;
        self.put_objects(objects);
        let mut known = self.listing.lock();
        let foreign = known.foreign_to(service).ne(&listed.foreign);
        let same = !foreign && known.containers.get(service).map_or(&[][..], Vec::as_slice) == listed.containers;
        if same {
            return Ok(());
        }
        // Copied only while another pass has it in hand.
        let owns = Arc::make_mut(&mut known).put(service, listed);
        let listing = Arc::clone(&known);
        drop(known);
        if foreign {
            self.tell_of_foreign(&listing);
        }
        if owns {
            seen(listing.owned.get(service).cloned().into_iter().collect(), &listing);
        }
        Ok(())
    }

    async fn look_at_objects(&self) -> Result<(), String> {
        let listed = self.ask(self.engine.list_objects()).await?;
        self.put_objects(Some(listed));
        Ok(())
    }

    fn put_objects(&self, listed: Option<ListedObjects>) {
        let mut known = self.listing.lock();
        if let Some(listed) = listed.filter(|listed| known.objects != *listed) {
            Arc::make_mut(&mut known).objects = listed;
        }
    }

    /// The answer to a list, if this controller may act. That it takes long is told meanwhile.
    async fn ask<T>(&self, list: impl Future<Output = Result<T, EngineError>>) -> Result<T, String> {
        let asked = self.clock.now();
        let answer = async {
            match self.engine.claim().await {
                Ok(LeaseState::Held) => {}
                Ok(LeaseState::HeldBy(other)) => {
                    return Err(format!("another controller acts on this engine: {other}"));
                }
                Err(error) => return Err(error.to_string()),
            }
            list.await.map_err(|error| error.to_string())
        };
        tokio::pin!(answer);
        let answer = tokio::select! {
            answer = &mut answer => answer,
            () = tokio::time::sleep(SLOW) => {
                self.block(&format!("the engine does not answer: a list of containers was asked for at {asked:.0}"));
                answer.await
            }
        };
        match &answer {
            Ok(_) if self.statuses.unblock() => tracing::info!("acting on {}", self.engine.describe()),
            Ok(_) => {}
            Err(why) => self.block(why),
        }
        answer
    }

    fn block(&self, why: &str) {
        if self.statuses.block(why, self.clock.now()) {
            tracing::warn!("blocked: {why}");
        }
    }

    /// Says which containers only claim to be ours.
    fn tell_of_foreign(&self, listing: &Listing) {
        let mut foreign: Vec<_> = listing.foreign.iter().map(ToString::to_string).collect();
        foreign.sort();
        let known = self.statuses.health().foreign;
        for one in foreign.iter().filter(|one| !known.contains(one)) {
            tracing::warn!("{one}");
        }
        self.statuses.set_health(|health| health.foreign = foreign);
    }
}

/// One who looks, or waits for it.
struct Looking<'a>(&'a AtomicUsize);

impl<'a> Looking<'a> {
    fn begin(all: &'a AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::SeqCst);
        Self(all)
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
