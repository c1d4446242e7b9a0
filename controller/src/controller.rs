//! The loop: keys come due, the engine is looked at once for all of them, and each has its pass. Values move right,
//! only keys come back.

mod commands;
mod repeats;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crd_schema::status::{Condition, ConditionType, Event, Reason, ServiceStatus};
use futures_util::{StreamExt, stream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::commands::Commands;
use self::repeats::Repeats;
use crate::act::{self, Deed};
use crate::board::{Board, LabelsOf};
use crate::clock::Clock;
use crate::dependencies::{neighbours, waits_for};
use crate::engine::{Asked, Claim, Engine, EngineError, Scope};
use crate::front;
use crate::images::reference::Reference;
use crate::images::{How, Images, Question, updates};
use crate::model::{
    Desired, DesiredService, Key, Memory, Observed, Remote, Replica, RevisionRecord, ServiceName, Snapshot, follows,
};
use crate::notices::Notifier;
use crate::orders::Order;
use crate::plan;
use crate::reconcile::{self, Pass, Said};
use crate::source::catalog::Catalog;
use crate::source::files::Reading;
use crate::source::queue::Queue;
use crate::state::StateDir;
use crate::traffic::Senses;
use crate::turns::Turns;

/// Everything is looked at again after so long, whatever the events said.
const RESYNC: Duration = Duration::from_mins(1);
/// So many passes run side by side within one look at the engine, and so many looks.
const SIDE_BY_SIDE: usize = 16;
const LOOKS: usize = 4;
/// When another controller acts, or the engine does not answer, it is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// What fails so often in a row is not waited for.
const OPEN_FAILURES: u32 = 3;
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
    /// It failed: back off, beginning with this wait.
    Failed(Duration),
}

/// The first wait after an engine that did not answer or refused, and after a world that had changed meanwhile.
const BACK_OFF: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct Shared {
    c: Controller,
    turns: Turns,
    // None until the files were read for the first time: before that nothing is known, so nothing is done.
    catalog: Mutex<Option<Arc<Catalog>>>,
    memories: Mutex<BTreeMap<ServiceName, Memory>>,
    owned: Mutex<BTreeSet<ServiceName>>,
    // When the look began that says so: what an older one saw, and has told later, is not true any more.
    owned_as_of: Mutex<Option<Instant>>,
    // Images that a look was not asked for and a pass needs, by service: the next look is.
    unasked: Mutex<BTreeMap<ServiceName, BTreeSet<String>>>,
    // What was done and not seen since.
    repeats: Repeats,
    // When services went for which no document is left.
    gone: Mutex<BTreeMap<ServiceName, Instant>>,
    woken: Mutex<BTreeSet<Key>>,
    // Why what a project needs could not be made, by project.
    refused: Mutex<BTreeMap<String, String>>,
    // Since when the documents of services with containers are missed.
    missed: Mutex<BTreeMap<ServiceName, jiff::Timestamp>>,
    // Services with containers that Docker Compose made and that were adopted.
    adopted: Mutex<BTreeSet<ServiceName>>,
    // Those, and all that are wanted: the services of which what Compose made counts.
    compose: Mutex<Arc<BTreeSet<ServiceName>>>,
    // What people have asked for and the next pass does.
    commands: Arc<Commands>,
    // Memories that could not be saved, and why.
    unsaved: Mutex<BTreeMap<ServiceName, String>>,
    // Why the state directory takes nothing, as far as it was tried.
    unwritable: Mutex<Option<String>>,
    // What was found or lost on the engine and not looked at since, with how often that failed.
    open: Mutex<BTreeMap<Key, u32>>,
}

impl Controller {
    /// Reconciles until `shutdown` says so. Readings of the files come in through `readings`.
    pub async fn run(self, mut readings: mpsc::Receiver<Reading>, mut shutdown: watch::Receiver<bool>) {
        let shared = Arc::new(Shared {
            adopted: Mutex::new(self.state.adopted()),
            commands: Arc::new(Commands::open(self.state.room(commands::FILE))),
            compose: Mutex::default(),
            turns: Turns::new(self.max_rollouts),
            c: self,
            catalog: Mutex::default(),
            memories: Mutex::default(),
            owned: Mutex::default(),
            owned_as_of: Mutex::default(),
            unasked: Mutex::default(),
            repeats: Repeats::default(),
            gone: Mutex::default(),
            woken: Mutex::default(),
            refused: Mutex::default(),
            missed: Mutex::default(),
            unsaved: Mutex::default(),
            unwritable: Mutex::default(),
            open: Mutex::default(),
        });
        let began = shared.c.clock.now();
        let mut probe: Option<tokio::task::JoinHandle<()>> = None;
        let mut queue = Queue::default();
        let mut events = shared.c.engine.watch();
        let mut felt = shared.c.senses.watch();
        let mut said = shared.c.images.as_ref().map(|images| images.news());
        let mut looks: JoinSet<Vec<(Key, Next)>> = JoinSet::new();
        let mut looked_for: HashMap<tokio::task::Id, Vec<Key>> = HashMap::new();
        let mut resync = tokio::time::interval(RESYNC);
        let engine = shared.c.engine.describe();
        shared.c.board.set_health(|health| health.engine = engine);
        loop {
            let due = looks.len() < LOOKS && shared.begun();
            let next_at = queue.next_at();
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|stop| *stop) => break,
                Some(reading) = readings.recv() => {
                    for key in shared.read(&reading) {
                        queue.push(key, Instant::now());
                    }
                }
                order = shared.c.board.orders.next(), if shared.begun() => {
                    queue.push(Key::Service(order.service().clone()), Instant::now());
                    match order {
                        Order::Undo(undo) => shared.undo(undo),
                        Order::Pause(pause) => shared.pause(pause),
                        Order::RollOut(order) => shared.roll_out(order),
                    }
                }
                Some(ended) = looks.join_next_with_id() => {
                    for (key, next) in ended_look(ended, &mut looked_for) {
                        match next {
                            Next::At(at) => queue.done(&key, at),
                            Next::Failed(first) => queue.failed(&key, first, Instant::now()),
                        }
                    }
                    for key in shared.woken() {
                        queue.push(key, Instant::now());
                    }
                }
                image = news(said.as_mut()) => {
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
                    if probe.as_ref().is_none_or(tokio::task::JoinHandle::is_finished) {
                        let shared = Arc::clone(&shared);
                        probe = Some(tokio::task::spawn_blocking(move || shared.probe_state(began)));
                    }
                    shared.push_all(&mut queue);
                }
                () = until(next_at), if due => {
                    let keys = queue.take(Instant::now());
                    let (shared, mine) = (Arc::clone(&shared), keys.clone());
                    let look = looks.spawn(async move { shared.look(mine).await });
                    looked_for.insert(look.id(), keys);
                }
            }
        }
        drop(tokio::time::timeout(FAREWELL, async { while looks.join_next().await.is_some() {} }).await);
        // Whoever comes next must not meet one that is still at work.
        looks.shutdown().await;
        drop(tokio::time::timeout(ASK_AGAIN, shared.c.engine.release()).await);
    }
}

/// What came of a look. One that panicked is a bug in here: it is said, and its keys come again.
fn ended_look(
    ended: Result<(tokio::task::Id, Vec<(Key, Next)>), tokio::task::JoinError>,
    looked_for: &mut HashMap<tokio::task::Id, Vec<Key>>,
) -> Vec<(Key, Next)> {
    match ended {
        Ok((id, next)) => {
            looked_for.remove(&id);
            next
        }
        Err(error) => {
            tracing::error!(%error, "a pass ended in the middle; this is a bug in composed, please report it");
            let keys = looked_for.remove(&error.id()).unwrap_or_default();
            keys.into_iter().map(|key| (key, Next::Failed(BACK_OFF))).collect()
        }
    }
}

/// The next image of which a registry says something new; `None`: any.
async fn news(said: Option<&mut broadcast::Receiver<Reference>>) -> Option<Reference> {
    let Some(said) = said else { return std::future::pending().await };
    match said.recv().await {
        Ok(image) => Some(image),
        Err(broadcast::error::RecvError::Lagged(_)) => None,
        Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
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
    fn begun(&self) -> bool {
        lock(&self.catalog).is_some()
    }

    fn catalog(&self) -> Arc<Catalog> {
        let begin = || Catalog::empty(self.c.confirm_deletion).knowing(self.c.state.load_made_of());
        let empty = || Arc::new(begin());
        lock(&self.catalog).clone().unwrap_or_else(empty)
    }

    /// Takes a reading in; returns whose turn it is therefore.
    fn read(&self, reading: &Reading) -> Vec<Key> {
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
        let problems = catalog.problems.clone();
        self.c.board.set_health(|health| health.problems = problems);
        let (services, projects) = catalog.changed(&before);
        let doubtful = catalog.doubt_changed(&before) || !services.is_empty();
        let known = if doubtful { lock(&self.owned).clone() } else { BTreeSet::new() };
        self.remember(&catalog);
        self.turns.expect(catalog.names());
        *lock(&self.catalog) = Some(catalog);
        self.count_composes();
        self.follow();
        let services = services.into_iter().chain(known).map(Key::Service);
        services.chain(projects.into_iter().map(Key::Project)).collect()
    }

    /// Makes up anew of which services what Compose made counts.
    fn count_composes(&self) {
        let all = self.catalog().names().chain(&*lock(&self.adopted)).cloned().collect();
        *lock(&self.compose) = Arc::new(all);
    }

    /// Notes whether a service has adopted containers.
    fn note_adopted(&self, name: &ServiceName, memory: &Memory) {
        let mut adopted = lock(&self.adopted);
        let any = !memory.adopted.is_empty();
        let news = if any { adopted.insert(name.clone()) } else { adopted.remove(name) };
        drop(adopted);
        if news && !self.catalog().knows(name) {
            self.count_composes();
        }
    }

    fn remember(&self, catalog: &Catalog) {
        if let Err(error) = self.c.state.save_made_of(&catalog.made_of()) {
            tracing::warn!(%error, "what Compose projects are made of could not be saved");
        }
    }

    /// Whose turn it is because a registry says something new of this image, or of any.
    fn heard(&self, image: Option<&Reference>) -> Vec<Key> {
        // A higher version is another tag to be followed.
        self.follow();
        let catalog = self.catalog();
        let same = |name: &&ServiceName| {
            let service = catalog.service(name).filter(|service| follows(&service.spec));
            let own = service.and_then(|service| Reference::parse(&service.spec.image));
            own.is_some_and(|own| image.is_none_or(|image| image.tagged("") == own.tagged("")))
        };
        catalog.names().filter(same).cloned().map(Key::Service).collect()
    }

    /// Says what is to be asked of registries.
    fn follow(&self) {
        let Some(images) = &self.c.images else { return };
        let catalog = self.catalog();
        let mut questions = BTreeMap::new();
        for service in catalog.names().filter_map(|name| catalog.service(name)) {
            let how = updates::how(service);
            let all = [updates::of_versions(service), updates::of_tag(&self.raised(service, &[]))];
            for question in all.into_iter().flatten() {
                let how = how.clone();
                questions.entry(question).and_modify(|known: &mut How| known.join(how.clone())).or_insert(how);
            }
        }
        images.follow(questions);
    }

    /// What is wanted, with the highest version that its document allows.
    fn raised(&self, service: &DesiredService, replicas: &[Replica]) -> DesiredService {
        updates::raised(service, self.said(updates::of_versions(service)).as_ref(), replicas)
    }

    fn said(&self, question: Option<Question>) -> Option<Remote> {
        self.c.images.as_ref()?.known(&question?)
    }

    fn registry_says(&self, desired: &Desired) -> Said {
        let Desired::Run(desired) = desired else { return Said::default() };
        Said { digest: self.said(updates::of_tag(desired)), versions: self.said(updates::of_versions(desired)) }
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
        let owned = lock(&self.owned).clone();
        for name in catalog.names().chain(&owned) {
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
        lock(&self.woken).extend(keys);
    }

    /// Looks at the engine once for all `keys`, and gives each its pass.
    async fn look(&self, keys: Vec<Key>) -> Vec<(Key, Next)> {
        let begun = Instant::now();
        let snapshot = match self.snapshot(&keys).await {
            Ok(snapshot) => snapshot,
            Err(blocked) => {
                let news = self.c.board.set_health(|health| health.blocked = Some(blocked.clone()));
                if news {
                    tracing::warn!("nothing is done: {blocked}");
                }
                let at = Instant::now() + ASK_AGAIN;
                return keys.into_iter().map(|key| (key, Next::At(Some(at)))).collect();
            }
        };
        if self.c.board.set_health(|health| health.blocked = None) {
            tracing::info!("acting on {}", self.c.engine.describe());
        }
        self.tell_of_foreign(&snapshot);
        let found = self.take_stock(&snapshot, begun);
        self.catalog().take_stock(&snapshot.owned);
        self.open(found.into_iter().map(Key::Service));
        if !self.c.board.health().ready {
            self.open(self.leftovers(&snapshot));
        }
        let passes = stream::iter(keys).map(|key| {
            let snapshot = &snapshot;
            async move {
                let next = match &key {
                    Key::Service(name) => self.service(name, snapshot, begun).await,
                    Key::Project(name) => self.project(name, snapshot).await,
                };
                (key, next)
            }
        });
        let ended: Vec<_> = passes.buffer_unordered(SIDE_BY_SIDE).collect().await;
        self.close(&ended);
        ended
    }

    /// Asks for a look at `keys`; until then not everything is settled.
    fn open(&self, keys: impl IntoIterator<Item = Key>) {
        let mut open = lock(&self.open);
        for key in keys {
            self.wake([key.clone()]);
            open.insert(key, 0);
        }
        if !open.is_empty() {
            self.c.board.set_health(|health| health.settled = false);
        }
    }

    fn close(&self, ended: &[(Key, Next)]) {
        let mut open = lock(&self.open);
        for (key, next) in ended {
            let again = match (key, next, open.get_mut(key)) {
                // It has done something, and comes again to see whether that was all.
                (Key::Project(_), Next::At(Some(_)), _) => true,
                (Key::Project(_), Next::Failed(_), Some(failures)) => {
                    *failures += 1;
                    *failures < OPEN_FAILURES
                }
                _ => false,
            };
            if !again {
                open.remove(key);
            }
        }
        let settled = open.is_empty();
        self.c.board.set_health(|health| (health.ready, health.settled) = (true, settled));
    }

    async fn snapshot(&self, keys: &[Key]) -> Result<Snapshot, String> {
        match self.c.engine.claim().await {
            Ok(Claim::Held) => {}
            Ok(Claim::HeldBy(other)) => return Err(format!("another controller acts on this engine: {other}")),
            Err(error) => return Err(error.to_string()),
        }
        let catalog = self.catalog();
        let compose = Arc::clone(&lock(&self.compose));
        let mut scope = Scope { services: Some(BTreeSet::new()), compose, ..Scope::default() };
        for key in keys {
            let Key::Service(name) = key else { continue };
            self.recall(name);
            if let Some(service) = catalog.service(name).map(|service| self.raised(service, &[])) {
                scope.images.insert(service.spec.image.clone());
                scope.images.extend(service.spec.hook_images().cloned());
                scope.asked.insert(name.clone(), asked(&catalog, &service));
                let memories = lock(&self.memories);
                let memory = memories.get(name);
                let earlier = memory.and_then(|memory| memory.last_available(&memory.revision_of(&service)));
                scope.images.extend(earlier.into_iter().flat_map(images));
                scope.images.extend(memory.and_then(|memory| memory.history.last()).into_iter().flat_map(images));
                // What runs may be gone back to as well, available or not.
                let failed = memory.filter(|memory| memory.failure.is_some());
                let history = failed.into_iter().flat_map(|memory| &memory.history);
                scope.images.extend(history.flat_map(images));
            }
            scope.images.extend(lock(&self.unasked).remove(name).unwrap_or_default());
            scope.services.get_or_insert_default().insert(name.clone());
        }
        self.c.engine.observe(&scope).await.map_err(|error| error.to_string())
    }

    /// Tries whether the state directory takes anything; clears away what killed processes have left there.
    fn probe_state(&self, began: jiff::Timestamp) {
        if !self.c.board.health().ready {
            self.c.state.sweep(began);
        }
        let result = self.c.state.probe().map_err(|error| error.to_string());
        *lock(&self.unwritable) = result.err();
        self.tell_of_state();
    }

    fn tell_of_state(&self) {
        let unsaved = lock(&self.unsaved).first_key_value().map(|(name, why)| format!("the memory of {name}: {why}"));
        let why = unsaved.or_else(|| lock(&self.unwritable).clone());
        let state = why.map(|why| {
            format!(
                "the state directory cannot be written, so that what happens now is forgotten with a restart ({why}): free \
                 some space, or make it writable"
            )
        });
        if let Some(why) = state.as_ref().filter(|why| self.c.board.health().state.as_ref() != Some(*why)) {
            tracing::error!("{why}");
        }
        self.c.board.set_health(|health| health.state = state);
    }

    /// Says which containers only claim to be ours.
    fn tell_of_foreign(&self, snapshot: &Snapshot) {
        let mut foreign: Vec<_> = snapshot.foreign.iter().map(ToString::to_string).collect();
        foreign.sort();
        let known = self.c.board.health().foreign;
        for one in foreign.iter().filter(|one| !known.contains(one)) {
            tracing::warn!("{one}");
        }
        self.c.board.set_health(|health| health.foreign = foreign);
    }

    /// Notes which services have containers, as a look that began at `begun` has seen it; returns those that were not known
    /// before.
    fn take_stock(&self, snapshot: &Snapshot, begun: Instant) -> Vec<ServiceName> {
        let mut as_of = lock(&self.owned_as_of);
        if as_of.is_some_and(|as_of| as_of > begun) {
            return Vec::new();
        }
        *as_of = Some(begun);
        lock(&self.gone).retain(|_, at| at.elapsed() < RESYNC);
        let mut owned = lock(&self.owned);
        let new = snapshot.owned.difference(&owned).cloned().collect();
        owned.clone_from(&snapshot.owned);
        new
    }

    /// Projects of which only networks are left: the controller before this one ended in between.
    fn leftovers(&self, snapshot: &Snapshot) -> Vec<Key> {
        let catalog = self.catalog();
        if catalog.removal_held(&snapshot.owned).is_some() {
            return Vec::new();
        }
        let projects: BTreeSet<&String> = snapshot.networks.values().flatten().collect();
        let known = |project: &str| catalog.names().chain(&snapshot.owned).any(|name| name.project == project);
        projects.into_iter().filter(|project| !known(project)).map(|project| Key::Project(project.clone())).collect()
    }

    fn recall(&self, name: &ServiceName) {
        let mut memories = lock(&self.memories);
        if !memories.contains_key(name) {
            memories.insert(name.clone(), self.c.state.load(name));
            let unreadable = self.c.state.unreadable();
            self.c.board.set_health(|health| health.unreadable = unreadable);
        }
    }

    async fn service(&self, name: &ServiceName, snapshot: &Snapshot, begun: Instant) -> Next {
        let catalog = self.catalog();
        if !catalog.knows(name) && lock(&self.gone).get(name).is_some_and(|gone| *gone >= begun) {
            // This look has seen what has gone meanwhile.
            return Next::At(Some(Instant::now()));
        }
        let desired = match catalog.desired(name, &snapshot.owned, self.missed_since(name, &catalog)) {
            Desired::Run(desired) => {
                let replicas = snapshot.replicas.get(name).map(Vec::as_slice).unwrap_or_default();
                Desired::Run(Box::new(self.raised(&desired, replicas)))
            }
            other => other,
        };
        if matches!(desired, Desired::Gone(_)) && !snapshot.owned.contains(name) {
            // Nothing of it is left to be probed or counted.
            self.c.senses.sense(name, None, &Memory::default(), &mut []).await;
            return self.forget(name);
        }
        if !catalog.knows(name) && !snapshot.owned.contains(name) && !catalog.may_ask_for(name) {
            // An event of what has gone, of a service that none of these files is about.
            self.c.board.withdraw(name);
            return Next::At(None);
        }
        if let Desired::Run(desired) = &desired {
            // The document has changed since the look was asked for: that an image was not asked for does not mean that it is
            // not here.
            let named = std::iter::once(&desired.spec.image).chain(desired.spec.hook_images());
            let unasked: BTreeSet<_> = named.filter(|image| !snapshot.images.contains_key(*image)).cloned().collect();
            if !unasked.is_empty() {
                lock(&self.unasked).insert(name.clone(), unasked);
                return Next::At(Some(Instant::now()));
            }
        }
        if let Some(why) = snapshot.unknown.get(name) {
            return self.not_known(name, why);
        }
        let project = catalog.project(&name.project);
        let before = self.c.board.status(name).or_else(|| self.c.state.load_status(name));
        let mut memory = lock(&self.memories).get(name).cloned().unwrap_or_default();
        let remembered = memory.clone();
        let replicas = snapshot.replicas.get(name).map_or(&[][..], Vec::as_slice);
        let commands = self.commands.of(name);
        self.apply_commands(&commands, name, &desired, replicas, &mut memory);
        let desired = memory.marked(memory.unless_paused(desired), replicas);
        let unmet = waits_for(&self.c.board, &catalog, name, &desired);
        let pass = Pass {
            service: name,
            desired: &desired,
            project: &project,
            unmet,
            neighbours: neighbours(&self.c.board, name, &desired, &catalog),
            refused: lock(&self.refused).get(&name.project).cloned(),
            turns: Some(&self.turns),
            before: before.as_ref(),
            registry: self.registry_says(&desired),
            spared: reconcile::spared(name, &memory, &lock(&self.memories), snapshot),
            now: self.c.clock.now(),
        };
        let mut decision = pass.decide(self.c.senses.as_ref(), snapshot, &mut memory).await;
        self.wake(self.turns.freed().into_iter().map(Key::Service));
        self.hand_over(name, &mut memory);
        self.c.board.put_labels(name, labels(&memory, &decision.observed.replicas));
        // What was noticed is saved, then shown, then acted upon: nobody is told of a generation that may be forgotten.
        self.save(name, &remembered, &memory);
        if !lock(&self.unsaved).contains_key(name) {
            self.commands.done(name, &commands);
        }
        let decided = memory.clone();
        let mut news = self.publish(name, &decision.status);
        let key = Key::Service(name.clone());
        let held = self.repeats.hold_back(&key, &mut decision.plan, Instant::now());
        let mut outcome = pass.carry_out(decision, self.c.engine.as_ref(), &mut memory, &|| self.c.clock.now()).await;
        self.repeats.note(&key, &outcome.deeds, Instant::now());
        if let Some(unseen) = self.repeats.unseen(&key) {
            outcome.status.error = Some(unseen);
        }
        self.hand_over(name, &mut memory);
        self.save(name, &decided, &memory);
        self.note_adopted(name, &memory);
        lock(&self.memories).insert(name.clone(), memory);
        self.report(name, &outcome.deeds);
        let error = outcome.error().cloned();
        let acted = !outcome.deeds.is_empty();
        let wake_at = outcome.plan.wake_at.map(|at| self.c.clock.instant(at)).into_iter().chain(held).min();
        news |= self.publish(name, &outcome.status);
        if news {
            self.wake(catalog.dependants(name).cloned().chain(catalog.hosts(name)).map(Key::Service));
            // A service and its front wait for each other's ports.
            let other = front::owner(name).unwrap_or_else(|| front::name(name));
            if catalog.knows(&other) {
                self.wake([Key::Service(other)]);
            }
        }
        next(error.as_ref(), acted, wake_at)
    }

    /// A container of the service does not answer: what was known of it stays, and so does everything else.
    fn not_known(&self, name: &ServiceName, why: &str) -> Next {
        let known = self.c.board.status(name).or_else(|| self.c.state.load_status(name));
        let mut status = known.unwrap_or_else(|| ServiceStatus {
            project: name.project.clone(),
            name: name.name.clone(),
            ..ServiceStatus::default()
        });
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
    fn hand_over(&self, name: &ServiceName, memory: &mut Memory) {
        let Some(notifier) = &self.c.notifier else { return memory.outbox.clear() };
        if let Some(notice) = memory.notice_of_contention(self.c.clock.now()) {
            notifier.take(&notice.of(name));
        }
        memory.outbox.retain(|notice| {
            let notice = notice.clone().of(name);
            notifier.take(&notice);
            !notifier.knows(&notice)
        });
    }

    async fn project(&self, name: &str, snapshot: &Snapshot) -> Next {
        let catalog = self.catalog();
        let desired = catalog.project(name);
        let specs = catalog.specs(name);
        let wanted = catalog.names().any(|service| service.project == name);
        let empty = !wanted && !snapshot.owned.iter().any(|service| service.project == name) && !name.is_empty();
        let mut plan = plan::project::plan(name, &desired, &specs, snapshot, empty);
        let key = Key::Project(name.to_owned());
        let held = self.repeats.hold_back(&key, &mut plan, Instant::now());
        let context = reconcile::context(name, &desired, specs.into_iter());
        let mut none = Memory::default();
        let about = (&context, &Observed::default());
        let deeds = act::act(self.c.engine.as_ref(), &plan, about, &mut none, &|| self.c.clock.now()).await;
        self.report(&ServiceName::new(name, ""), &deeds);
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

    fn missed_since(&self, name: &ServiceName, catalog: &Catalog) -> jiff::Timestamp {
        let now = self.c.clock.now();
        let mut missed = lock(&self.missed);
        if catalog.knows(name) {
            missed.remove(name);
            return now;
        }
        *missed.entry(name.clone()).or_insert(now)
    }

    // Removal is no special path: when the last replica is gone, so is everything else.
    fn forget(&self, name: &ServiceName) -> Next {
        lock(&self.gone).insert(name.clone(), Instant::now());
        lock(&self.memories).remove(name);
        self.turns.forget(name);
        self.repeats.forget(&Key::Service(name.clone()));
        self.wake(self.turns.freed().into_iter().map(Key::Service));
        lock(&self.missed).remove(name);
        lock(&self.unsaved).remove(name);
        self.commands.done(name, &self.commands.of(name));
        self.note_adopted(name, &Memory::default());
        self.c.state.forget(name);
        let catalog = self.catalog();
        catalog.forget(name);
        self.remember(&catalog);
        self.open([Key::Project(name.project.clone())]);
        self.c.board.withdraw(name);
        Next::At(None)
    }

    fn publish(&self, name: &ServiceName, status: &ServiceStatus) -> bool {
        let news = self.c.board.publish(name, status.clone());
        if news
            && !self.catalog().spares(name)
            && let Err(error) = self.c.state.save_status(name, status)
        {
            tracing::warn!(service = %name, %error, "the status could not be saved");
        }
        news
    }

    fn save(&self, name: &ServiceName, before: &Memory, memory: &Memory) {
        // Those that are left alone have not begun what their documents say now.
        let due = !memory.lasts_as(before) || lock(&self.unsaved).contains_key(name);
        if !due || self.catalog().spares(name) {
            return;
        }
        let news = match self.c.state.save(name, &memory.lasting()) {
            Ok(()) => lock(&self.unsaved).remove(name).is_some(),
            Err(error) => {
                tracing::warn!(service = %name, %error, "the memory could not be saved");
                lock(&self.unsaved).insert(name.clone(), error.to_string());
                true
            }
        };
        if news {
            self.tell_of_state();
        }
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

/// What containers of a service are compared with that Docker Compose made.
pub fn asked(catalog: &Catalog, service: &DesiredService) -> Asked {
    let project = &service.name.project;
    let context = reconcile::context(project, &catalog.project(project), std::iter::once(&service.spec));
    Asked { spec: service.spec.clone(), context }
}

/// The image of a revision, by name, and by id where it must be that one.
fn images(record: &RevisionRecord) -> impl Iterator<Item = String> {
    let id = record.image.clone().filter(|_| follows(&record.spec));
    std::iter::once(record.spec.image.clone()).chain(id).chain(record.spec.hook_images().cloned())
}

/// The labels of those revisions that somebody runs.
fn labels(memory: &Memory, replicas: &[Replica]) -> LabelsOf {
    let runs = |revision: &str| replicas.iter().any(|replica| replica.revision == revision);
    let records = memory.history.iter().filter(|record| runs(&record.revision) && !record.spec.labels.is_empty());
    records.map(|record| (record.revision.clone(), record.spec.labels.clone().into_iter().collect())).collect()
}

fn next(error: Option<&EngineError>, acted: bool, wake_at: Option<Instant>) -> Next {
    match error {
        Some(EngineError::Unavailable(_) | EngineError::Rejected { .. }) => Next::Failed(BACK_OFF),
        Some(EngineError::Stale(_)) => Next::Failed(LOOK_AGAIN),
        None if acted => Next::At(Some(Instant::now())),
        None => Next::At(wake_at),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
