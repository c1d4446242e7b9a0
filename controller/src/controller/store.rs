//! What is remembered of each service, and its file in the state directory. Files are read and written off the runtime's
//! workers: a slow disk delays only the passes that wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use composed_core::model::{ServiceName, ServiceRecord};
use composed_source::made_of::KnownProjects;
use composed_status::store::StatusStore;
use crd_schema::status::ServiceStatus;
use parking_lot::Mutex;

use super::writer::{Part, Writer, Written};
use crate::state::StateDir;

/// What has not been written after so long is told of.
const SLOW: Duration = Duration::from_secs(2);
/// Why a memory is not saved that is still being written.
const SILENT: &str = "it does not answer";

/// The memories of one controller.
pub(super) struct Store {
    state: StateDir,
    writer: Arc<Writer>,
    statuses: Arc<StatusStore>,
    memories: Mutex<BTreeMap<ServiceName, ServiceRecord>>,
    /// Memories of which the newest save has not ended well so far.
    unsaved: Mutex<BTreeMap<ServiceName, Unsaved>>,
    /// The number of the next save.
    next_save: AtomicU64,
    /// What is being written, where that takes long.
    slow: Mutex<BTreeSet<String>>,
    /// Why the state directory takes nothing, as far as it was tried.
    unwritable: Mutex<Option<String>>,
    /// Held while it is written what Compose projects are made of: what is written last is what is true last.
    made_of: tokio::sync::Mutex<()>,
}

/// The newest save of a memory that is not on the disk.
struct Unsaved {
    save: u64,
    why: String,
}

impl Store {
    pub(super) fn new(state: StateDir, statuses: Arc<StatusStore>) -> Arc<Self> {
        Arc::new(Self {
            writer: Writer::new(state.clone()),
            state,
            statuses,
            memories: Mutex::default(),
            unsaved: Mutex::default(),
            next_save: AtomicU64::default(),
            slow: Mutex::default(),
            unwritable: Mutex::default(),
            made_of: tokio::sync::Mutex::default(),
        })
    }

    /// What is remembered of a service, for its pass.
    pub(super) async fn recall(&self, name: &ServiceName) -> ServiceRecord {
        let memory = self.ask(name).await;
        self.memories.lock().entry(name.clone()).or_insert(memory).clone()
    }

    /// What is remembered of a service, for others. They keep nothing of it: it may be forgotten while they ask.
    pub(super) async fn ask(&self, name: &ServiceName) -> ServiceRecord {
        let known = self.memories.lock().get(name).cloned();
        if let Some(memory) = known {
            return memory;
        }
        let of = name.clone();
        let loaded = self.on_disk(move |state| state.load(&of)).await;
        let unreadable = self.state.unreadable();
        self.statuses.set_health(|health| health.unreadable = unreadable);
        // Its pass may have been quicker, and gone on.
        self.memories.lock().get(name).cloned().unwrap_or(loaded)
    }

    /// The status that was last shown of a service: its times outlive the process.
    pub(super) async fn last_status(&self, name: &ServiceName) -> Option<Arc<ServiceStatus>> {
        if let Some(status) = self.statuses.status(name) {
            return Some(status);
        }
        let of = name.clone();
        self.on_disk(move |state| state.load_status(&of)).await.map(Arc::new)
    }

    /// Keeps what lasts of a memory, if that differs from what was kept; with `spared`, it is for this process only. A disk that
    /// hangs is waited for as long as one that refuses: it is told, and nothing stops for it.
    pub(super) async fn save(
        self: &Arc<Self>,
        name: &ServiceName,
        before: &ServiceRecord,
        memory: &ServiceRecord,
        spared: bool,
    ) {
        // Those that are left alone have not begun what their documents say now.
        let due = !memory.persists_as(before) || self.unsaved.lock().contains_key(name);
        if !due || spared {
            return;
        }
        let (of, lasting) = (name.clone(), memory.persistent_part());
        let act = move |state: &StateDir| state.save(&of, &lasting);
        let save = self.next_save.fetch_add(1, Ordering::Relaxed);
        match self.writer.write(&name.to_string(), Part::Record, self.is_slow(), act).await {
            Written::Done(done) => self.saved(name, save, done),
            Written::Later(told) => {
                self.unsaved.lock().insert(name.clone(), Unsaved { save, why: SILENT.to_owned() });
                let (store, name) = (Arc::clone(self), name.clone());
                tokio::spawn(async move {
                    let ended = async { told.await.unwrap_or_else(|_| Err(io::Error::other("the writer has ended"))) };
                    let done = store.telling(&format!("the memory of {name}"), ended).await;
                    store.saved(&name, save, done);
                });
            }
        }
    }

    /// Whether something has not been written for so long that it is told.
    fn is_slow(&self) -> bool {
        !self.slow.lock().is_empty()
    }

    /// A save has ended. The end of an older one says nothing of a newer one that still waits.
    fn saved(&self, name: &ServiceName, save: u64, done: io::Result<()>) {
        let mut unsaved = self.unsaved.lock();
        let is_newest = unsaved.get(name).is_none_or(|newest| newest.save <= save);
        let news = match done {
            Ok(()) => is_newest && unsaved.remove(name).is_some(),
            Err(error) => {
                tracing::warn!(service = %name, %error, "the memory could not be saved");
                if is_newest {
                    unsaved.insert(name.clone(), Unsaved { save, why: error.to_string() });
                }
                is_newest
            }
        };
        drop(unsaved);
        if news {
            self.tell();
        }
    }

    /// Whether everything of a service is on the disk that was to be.
    pub(super) fn is_saved(&self, name: &ServiceName) -> bool {
        !self.unsaved.lock().contains_key(name)
    }

    /// Puts a memory in the place of the one before.
    pub(super) fn put(&self, name: &ServiceName, memory: ServiceRecord) {
        self.memories.lock().insert(name.clone(), memory);
    }

    /// Writes down what is shown of a service, some time soon: nothing depends on it.
    pub(super) fn save_status(&self, name: &ServiceName, status: ServiceStatus) {
        let of = name.clone();
        let act = move |state: &StateDir| {
            let saved = state.save_status(&of, &status);
            if let Err(error) = &saved {
                tracing::warn!(service = %of, %error, "the status could not be saved");
            }
            saved
        };
        drop(self.writer.queue(&name.to_string(), Part::Status, act));
    }

    /// Remembers what Compose projects are made of, as `now` tells when it is written.
    pub(super) async fn save_made_of(&self, now: impl FnOnce() -> KnownProjects) {
        let turn = self.made_of.lock().await;
        let made_of = now();
        let saved = self.write("what Compose projects are made of", move |state| state.save_made_of(&made_of)).await;
        drop(turn);
        if let Err(error) = saved {
            tracing::warn!(%error, "what Compose projects are made of could not be saved");
        }
    }

    /// Forgets a service.
    pub(super) async fn forget(&self, name: &ServiceName) {
        self.memories.lock().remove(name);
        self.unsaved.lock().remove(name);
        let of = name.clone();
        let act = move |state: &StateDir| {
            state.forget(&of);
            Ok(())
        };
        // A file that stays for a while is met again at the next save.
        drop(self.writer.write(&name.to_string(), Part::Nothing, self.is_slow(), act).await);
    }

    /// Tries whether the state directory takes anything; clears away what processes killed before `began` have left there.
    pub(super) async fn probe(&self, began: jiff::Timestamp) {
        let sweep = !self.statuses.health().ready;
        let probe = move |state: &StateDir| -> io::Result<()> {
            if sweep {
                state.sweep(began);
            }
            state.probe()
        };
        let result = self.write("a file to try it", probe).await;
        *self.unwritable.lock() = result.err().map(|error| error.to_string());
        self.tell();
    }

    fn tell(&self) {
        let slow = self.slow.lock().first().map(|what| {
            format!(
                "the state directory does not answer: {what} is being written, and what happens now may be forgotten with a \
                 restart until that is done"
            )
        });
        let failed = self
            .unsaved
            .lock()
            .iter()
            .find(|(_, unsaved)| unsaved.why != SILENT)
            .map(|(name, unsaved)| format!("the memory of {name}: {}", unsaved.why));
        let state = failed.or_else(|| self.unwritable.lock().clone()).map(|why| {
            format!(
                "the state directory cannot be written, so that what happens now is forgotten with a restart ({why}): free \
                 some space, or make it writable"
            )
        });
        let before = self.statuses.health();
        if let Some(why) = state.as_ref().filter(|why| before.state.as_ref() != Some(*why)) {
            tracing::error!("{why}");
        }
        // Which file it is changes all the time.
        if let Some(why) = slow.as_ref().filter(|_| before.state_slow.is_none()) {
            tracing::error!("{why}");
        }
        self.statuses.set_health(|health| (health.state, health.state_slow) = (state, slow));
    }

    /// Writes something; that it takes long is told meanwhile.
    async fn write<T: Send + 'static>(&self, what: &str, act: impl FnOnce(&StateDir) -> T + Send + 'static) -> T {
        self.telling(what, self.on_disk(act)).await
    }

    /// Waits for the end of a write; that it takes long is told meanwhile.
    async fn telling<T>(&self, what: &str, ended: impl Future<Output = T>) -> T {
        let mut ended = pin!(ended);
        tokio::select! {
            done = &mut ended => return done,
            () = tokio::time::sleep(SLOW) => {}
        }
        self.slow.lock().insert(what.to_owned());
        self.tell();
        let done = ended.await;
        self.slow.lock().remove(what);
        self.tell();
        done
    }

    async fn on_disk<T: Send + 'static>(&self, act: impl FnOnce(&StateDir) -> T + Send + 'static) -> T {
        if !self.state.is_kept() {
            return act(&self.state);
        }
        let state = self.state.clone();
        let done = tokio::task::spawn_blocking(move || act(&state)).await;
        match done.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(done) => done,
            Err(Ok(panic)) => std::panic::resume_unwind(panic),
            // The runtime ends, and this with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::pin::pin;
    use std::sync::mpsc;

    use super::*;

    /// Plays with a disk that does one thing after the other, and nothing before it is let go.
    pub(in super::super) fn on_a_disk_that_hangs(play: impl AsyncFnOnce(mpsc::Sender<()>)) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().expect("a runtime");
        runtime.block_on(async {
            let (go, waits) = mpsc::channel();
            drop(tokio::task::spawn_blocking(move || waits.recv()));
            play(go).await;
        });
    }

    fn paused() -> ServiceRecord {
        let mut memory = ServiceRecord::default();
        memory.pause(true, jiff::Timestamp::UNIX_EPOCH);
        memory
    }

    #[test]
    fn who_only_asks_brings_nothing_of_a_service_back_that_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("a state directory");
        let name = ServiceName::new("shop", "web");
        state.save(&name, &paused().persistent_part()).expect("saved");
        let store = Store::new(state, Arc::default());
        on_a_disk_that_hangs(async |go| {
            let mut asks = pin!(store.ask(&name));
            assert!(futures_util::poll!(&mut asks).is_pending(), "it is to be read");
            go.send(()).expect("the disk");
            store.forget(&name).await;
            assert!(asks.await.control.paused.is_some(), "it was read before");
            assert!(store.recall(&name).await.control.paused.is_none(), "it is forgotten");
        });
    }

    #[test]
    fn the_end_of_an_older_save_is_not_the_end_of_a_newer_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(StateDir::open(dir.path()).expect("a state directory"), Arc::default());
        let name = ServiceName::new("shop", "web");
        let (before, first) = (ServiceRecord::default(), paused());
        on_a_disk_that_hangs(async |go| {
            store.save(&name, &before, &first, false).await;
            let (go_on, waits) = mpsc::channel();
            drop(tokio::task::spawn_blocking(move || waits.recv()));
            // A person resumes it while the pause is not on the disk.
            store.save(&name, &first, &before, false).await;
            go.send(()).expect("the disk");
            let saved = async {
                while !store.is_saved(&name) {
                    tokio::task::yield_now().await;
                }
            };
            let mut saved = pin!(saved);
            let early = tokio::time::timeout(Duration::from_millis(300), &mut saved).await;
            assert!(early.is_err(), "only the first of both is on the disk");
            assert!(store.state.load(&name).control.paused.is_some(), "that one is");
            go_on.send(()).expect("the disk");
            saved.await;
        });
        assert!(store.state.load(&name).control.paused.is_none(), "both are");
    }

    #[test]
    fn who_asks_is_told_what_a_pass_has_made_of_it_meanwhile() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(StateDir::open(dir.path()).expect("a state directory"), Arc::default());
        let name = ServiceName::new("shop", "web");
        on_a_disk_that_hangs(async |go| {
            let mut asks = pin!(store.ask(&name));
            assert!(futures_util::poll!(&mut asks).is_pending(), "it is to be read");
            store.put(&name, paused());
            go.send(()).expect("the disk");
            assert!(asks.await.control.paused.is_some());
        });
    }
}
