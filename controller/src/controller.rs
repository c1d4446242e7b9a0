//! The loop: keys come due, and each has a pass of its own. Values move right, only keys come back.

mod command_queue;
mod commands;
mod opened;
mod outcome;
mod project;
mod reading;
mod repeats;
mod service;
mod shared;
mod slots;
mod store;
mod uses;
mod world;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::Engine;
use composed_core::model::Key;
use composed_platform::clock::Clock;
use composed_registry::RegistryImages;
use composed_source::files::Reading;
use composed_status::notifications::Notifier;
use composed_status::store::StatusStore;
use composed_traffic::TrafficMonitor;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::command_queue::Commands;
use self::outcome::{Next, RESYNC};
use self::repeats::Repeats;
use self::shared::{Parts, Shared};
use self::slots::Slots;
use self::store::Store;
use self::world::{Moment, Part, World};
use crate::queue::Queue;
use crate::rollout_limiter::RolloutLimiter;
use crate::state::StateDir;

pub use self::service::{asked, has_host_ports};
pub(crate) use self::uses::Uses;

/// When another controller acts, or the engine does not answer, it is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Passes under way get so long to end after a signal.
const FAREWELL: Duration = Duration::from_secs(8);

/// What the loop works with.
pub struct Controller {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The controller's own senses.
    pub monitor: Arc<dyn TrafficMonitor>,
    /// The clock.
    pub clock: Clock,
    /// Where memories are kept.
    pub state: StateDir,
    /// Where statuses go.
    pub statuses: Arc<StatusStore>,
    /// Who asks registries for new images, if anybody does.
    pub images: Option<Arc<RegistryImages>>,
    /// Who tells people outside what became of rollouts, if anybody does.
    pub notifier: Option<Arc<Notifier>>,
    /// How many services may roll out at once; `None`: all.
    pub max_rollouts: Option<u32>,
    /// Services may vanish all at once.
    pub confirm_deletion: bool,
}

impl Controller {
    /// Reconciles until `shutdown` says so. Readings of the files come in through `readings`.
    pub async fn run(self, readings: mpsc::Receiver<Reading>, mut shutdown: watch::Receiver<bool>) {
        let shared = Arc::new(Shared::new(self));
        let began = shared.c.clock.now();
        let mut queue = Queue::default();
        let mut slots = Slots::default();
        let mut events = shared.c.engine.watch();
        let mut felt = shared.c.monitor.watch();
        let mut said = shared.c.images.as_ref().map(|images| images.news());
        let mut probe: Option<JoinHandle<()>> = None;
        // They end with the loop.
        let mut beside = JoinSet::new();
        beside.spawn(reading::take_in(Arc::clone(&shared), readings));
        beside.spawn(commands::take_orders(Arc::clone(&shared)));
        let mut resync = tokio::time::interval(RESYNC);
        let engine = shared.c.engine.describe();
        shared.c.statuses.set_health(|health| health.engine = engine);
        loop {
            let now = Instant::now();
            let begins = queue.next_at().filter(|_| shared.begun()).and_then(|due| slots.begins(due, now));
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                (key, next) = slots.ended() => {
                    shared.close(&key, &next);
                    match next {
                        Next::At(at) => queue.done(&key, at),
                        Next::Again(at) => queue.done(&key, Some(at)),
                        Next::Failed(first) => queue.failed(&key, first, Instant::now()),
                    }
                }
                () = shared.woke.notified() => {
                    for key in shared.woken() {
                        queue.push(key, Instant::now());
                    }
                }
                image = reading::news(said.as_mut()) => {
                    for key in shared.heard(image.as_ref()) {
                        queue.push(key, Instant::now());
                    }
                }
                Some(key) = felt.next() => queue.push(key, Instant::now()),
                event = events.next() => match event {
                    Some(Some(key)) => {
                        if matches!(key, Key::Project(_)) {
                            shared.world.doubt_objects();
                        }
                        for key in shared.with_guests(key) {
                            queue.push(key, Instant::now());
                        }
                    }
                    Some(None) => shared.push_all(&mut queue),
                    None => events = shared.c.engine.watch(),
                },
                _ = resync.tick() => {
                    // A disk that hangs is asked once.
                    if probe.as_ref().is_none_or(JoinHandle::is_finished) {
                        let shared = Arc::clone(&shared);
                        probe = Some(tokio::spawn(async move { shared.store.probe(began).await }));
                    }
                    shared.push_all(&mut queue);
                }
                () = until(begins) => {
                    let now = Instant::now();
                    let since = shared.world.now();
                    for key in queue.take(now, slots.room(now)) {
                        let (shared, of) = (Arc::clone(&shared), key.clone());
                        slots.begin(key, now, async move { shared.pass(&of, since).await });
                    }
                }
            }
        }
        beside.shutdown().await;
        slots.end(FAREWELL).await;
        drop(tokio::time::timeout(ASK_AGAIN, shared.c.engine.release()).await);
    }
}

/// Ends at `at`, or never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Shared {
    fn new(controller: Controller) -> Self {
        let Controller { engine, monitor, clock, state, statuses, images, notifier, max_rollouts, confirm_deletion } =
            controller;
        Self {
            adopted: Mutex::new(state.adopted()),
            commands: Arc::new(Commands::open(&state)),
            made_of: state.load_made_of(),
            world: World::new(Arc::clone(&engine), Arc::clone(&statuses), clock),
            store: Store::new(state, Arc::clone(&statuses)),
            limiter: RolloutLimiter::new(max_rollouts),
            uses: Uses::default(),
            c: Parts { engine, monitor, clock, statuses, images, notifier, confirm_deletion },
            catalog: Mutex::default(),
            read: watch::Sender::default(),
            telling: Mutex::default(),
            unasked: Mutex::default(),
            repeats: Repeats::default(),
            gone: Mutex::default(),
            woken: Mutex::default(),
            woke: Notify::default(),
            refused: Mutex::default(),
            missed: Mutex::default(),
            open: Mutex::default(),
            first: Mutex::default(),
        }
    }

    /// The pass of a key, upon what is there from `since` on.
    async fn pass(&self, key: &Key, since: Moment) -> Next {
        let before = self.catalog();
        let part = match key {
            Key::Service(name) => Part::Service(name),
            Key::Project(name) if before.services_of(name).next().is_some() => Part::Objects,
            // What is left of it may go.
            Key::Project(_) => Part::Whole,
        };
        let look = self.world.look(since, part, |found, now| self.take_stock(found, now)).await;
        let Ok(listing) = &look.listing else { return Next::Again(Instant::now() + ASK_AGAIN) };
        let catalog = self.catalog();
        if !Arc::ptr_eq(&before, &catalog) {
            // As for any other look: what is new must not make what has vanished look few.
            catalog.take_stock(&listing.owned);
            if let Key::Service(name) = key
                && !catalog.wants_as(&before, name)
            {
                // A wish that this look knows nothing of.
                return Next::Again(Instant::now());
            }
        }
        let next = match key {
            Key::Service(name) => self.service(name, &catalog, &look, listing).await,
            Key::Project(name) => self.project(name, &catalog, &look, listing).await,
        };
        if !matches!(next, Next::Again(_)) {
            self.looked_at(key);
        }
        if matches!(next, Next::Failed(_)) {
            // It may be that a network or volume has gone unheard.
            self.world.doubt_objects();
        }
        next
    }

    /// A key that something has happened to, and those whose replicas share namespaces of its.
    fn with_guests(&self, key: Key) -> Vec<Key> {
        let catalog = self.catalog();
        let guests: Vec<_> = match &key {
            Key::Service(name) => catalog.guests(name).cloned().map(Key::Service).collect(),
            Key::Project(_) => Vec::new(),
        };
        std::iter::once(key).chain(guests).collect()
    }

    fn push_all(&self, queue: &mut Queue) {
        let now = Instant::now();
        let catalog = self.catalog();
        let seen = self.world.seen();
        for name in catalog.names().chain(&seen.owned) {
            queue.push(Key::Project(name.project.clone()), now);
            queue.push(Key::Service(name.clone()), now);
        }
        // The first look finds the services that have containers and no document.
        queue.push(Key::Project(String::new()), now);
    }
}
