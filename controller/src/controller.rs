//! The loop: keys come due, and each has a pass of its own. Values move right, only keys come back.

mod commands;
mod opened;
mod project;
mod reading;
mod repeats;
mod service;
mod slots;
mod store;
mod uses;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crd_schema::status::Event;
use futures_util::StreamExt as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

use self::commands::Commands;
use self::repeats::Repeats;
use self::slots::Slots;
use self::store::Store;
use self::world::{Moment, World};
use crate::act::Deed;
use crate::board::Board;
use crate::clock::Clock;
use crate::engine::{Engine, EngineError};
use crate::images::Images;
use crate::model::{Key, ServiceName};
use crate::notices::Notifier;
use crate::source::catalog::Catalog;
use crate::source::files::Reading;
use crate::source::made_of::Remembered;
use crate::source::queue::Queue;
use crate::state::StateDir;
use crate::traffic::Senses;
use crate::turns::Turns;

pub use self::service::asked;
pub(crate) use self::uses::Uses;

/// Everything is looked at again after so long, whatever the events said.
const RESYNC: Duration = Duration::from_mins(1);
/// When another controller acts, or the engine does not answer, it is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Passes under way get so long to end after a signal.
const FAREWELL: Duration = Duration::from_secs(8);

/// What the loop works with.
pub struct Controller {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The controller's own senses.
    pub senses: Arc<dyn Senses>,
    /// The clock.
    pub clock: Clock,
    /// Where memories are kept.
    pub state: StateDir,
    /// Where statuses go.
    pub board: Arc<Board>,
    /// Who asks registries for new images, if anybody does.
    pub images: Option<Arc<Images>>,
    /// Who tells people outside what became of rollouts, if anybody does.
    pub notifier: Option<Arc<Notifier>>,
    /// How many services may roll out at once; `None`: all.
    pub max_rollouts: Option<u32>,
    /// Services may vanish all at once.
    pub confirm_deletion: bool,
}

/// How one key's pass ended.
enum Next {
    /// Look again then, or when something happens.
    At(Option<Instant>),
    /// Nothing could be decided: look again then.
    Again(Instant),
    /// It failed: back off, beginning with this wait.
    Failed(Duration),
}

/// The first wait after an engine that did not answer or refused, and after a world that had changed meanwhile.
const BACK_OFF: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct Shared {
    c: Parts,
    world: World,
    store: Store,
    turns: Turns,
    uses: Uses,
    // None until the files were read for the first time: before that nothing is known, so nothing is done.
    catalog: Mutex<Option<Arc<Catalog>>>,
    read: watch::Sender<bool>,
    // Held while what follows from the catalog is made up and passed on: what is passed on last is what is true last.
    telling: Mutex<()>,
    // What Compose projects were made of when the process before this one ended.
    made_of: Remembered,
    // Images that a look was not asked for and a pass needs, by service: the next look is.
    unasked: Mutex<BTreeMap<ServiceName, BTreeSet<String>>>,
    // What was done and not seen since.
    repeats: Repeats,
    // When services went for which no document is left.
    gone: Mutex<BTreeMap<ServiceName, (Moment, Instant)>>,
    // Keys to be looked at, for reasons of the loop's own.
    woken: Mutex<BTreeSet<Key>>,
    woke: Notify,
    // Why what a project needs could not be made, by project.
    refused: Mutex<BTreeMap<String, String>>,
    // Since when the documents of services with containers are missed.
    missed: Mutex<BTreeMap<ServiceName, jiff::Timestamp>>,
    // Services with containers that Docker Compose made and that were adopted.
    adopted: Mutex<BTreeSet<ServiceName>>,
    // What people have asked for and the next pass does.
    commands: Arc<Commands>,
    // What was found or lost on the engine and not looked at since, with how often that failed.
    open: Mutex<BTreeMap<Key, u32>>,
    // What is to be looked at before it can be said that everything was, once; `None` before the first look.
    first: Mutex<Option<BTreeSet<Key>>>,
}

/// What passes work with.
struct Parts {
    engine: Arc<dyn Engine>,
    senses: Arc<dyn Senses>,
    clock: Clock,
    board: Arc<Board>,
    images: Option<Arc<Images>>,
    notifier: Option<Arc<Notifier>>,
    confirm_deletion: bool,
}

impl Controller {
    /// Reconciles until `shutdown` says so. Readings of the files come in through `readings`.
    pub async fn run(self, readings: mpsc::Receiver<Reading>, mut shutdown: watch::Receiver<bool>) {
        let shared = Arc::new(Shared::new(self));
        let began = shared.c.clock.now();
        let mut queue = Queue::default();
        let mut slots = Slots::default();
        let mut events = shared.c.engine.watch();
        let mut felt = shared.c.senses.watch();
        let mut said = shared.c.images.as_ref().map(|images| images.news());
        let mut probe: Option<JoinHandle<()>> = None;
        // They end with the loop.
        let mut beside = JoinSet::new();
        beside.spawn(reading::take_in(Arc::clone(&shared), readings));
        beside.spawn(commands::take_orders(Arc::clone(&shared)));
        let mut resync = tokio::time::interval(RESYNC);
        let engine = shared.c.engine.describe();
        shared.c.board.set_health(|health| health.engine = engine);
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
        let Controller { engine, senses, clock, state, board, images, notifier, max_rollouts, confirm_deletion } =
            controller;
        Self {
            adopted: Mutex::new(state.adopted()),
            commands: Arc::new(Commands::open(&state)),
            made_of: state.load_made_of(),
            world: World::new(Arc::clone(&engine), Arc::clone(&board), clock),
            store: Store::new(state, Arc::clone(&board)),
            turns: Turns::new(max_rollouts),
            uses: Uses::default(),
            c: Parts { engine, senses, clock, board, images, notifier, confirm_deletion },
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
        let look = self.world.look(since, |before, now| self.take_stock(before, now)).await;
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
            Key::Project(name) => self.project(name, &catalog, listing).await,
        };
        if !matches!(next, Next::Again(_)) {
            self.looked_at(key);
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

    fn woken(&self) -> BTreeSet<Key> {
        std::mem::take(&mut *lock(&self.woken))
    }

    fn wake(&self, keys: impl IntoIterator<Item = Key>) {
        let mut woken = lock(&self.woken);
        woken.extend(keys);
        self.woke.notify_one();
    }

    fn report(&self, name: &ServiceName, deeds: &[Deed]) {
        for deed in deeds {
            let action = deed.action.verb.to_string();
            let cause = &deed.action.cause;
            let outcome = deed.error.as_ref().map(ToString::to_string);
            match &deed.error {
                None => tracing::info!(service = %name, %cause, "{action}"),
                Some(EngineError::Stale(why)) => tracing::debug!(service = %name, %cause, %why, "{action}"),
                Some(error) => tracing::warn!(service = %name, %cause, %error, "{action}"),
            }
            let event = Event {
                at: deed.at,
                project: name.project.clone(),
                service: name.name.clone(),
                action,
                cause: cause.clone(),
                outcome,
            };
            self.c.board.record(event, deed.action.verb.kind(), deed.error.is_none());
        }
    }
}

fn next(error: Option<&EngineError>, acted: bool, wake_at: Option<Instant>) -> Next {
    match error {
        Some(EngineError::Unavailable(_) | EngineError::Rejected { .. }) => Next::Failed(BACK_OFF),
        Some(EngineError::Stale(_)) => Next::Failed(LOOK_AGAIN),
        None if acted => Next::At(Some(Instant::now())),
        None => Next::At(wake_at),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
