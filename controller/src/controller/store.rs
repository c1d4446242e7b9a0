//! What is remembered of each service, and its file in the state directory. Files are read and written off the runtime's
//! workers: a slow disk delays only the passes that wait for it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use crd_schema::status::ServiceStatus;

use super::lock;
use crate::board::Board;
use crate::model::{Memory, ServiceName};
use crate::source::made_of::Remembered;
use crate::state::StateDir;

/// The memories of one controller.
pub(super) struct Store {
    state: StateDir,
    board: Arc<Board>,
    memories: Mutex<BTreeMap<ServiceName, Memory>>,
    /// Memories that could not be saved, and why.
    unsaved: Mutex<BTreeMap<ServiceName, String>>,
    /// Why the state directory takes nothing, as far as it was tried.
    unwritable: Mutex<Option<String>>,
    /// Held while it is written what Compose projects are made of: what is written last is what is true last.
    made_of: tokio::sync::Mutex<()>,
}

impl Store {
    pub(super) fn new(state: StateDir, board: Arc<Board>) -> Self {
        Self {
            state,
            board,
            memories: Mutex::default(),
            unsaved: Mutex::default(),
            unwritable: Mutex::default(),
            made_of: tokio::sync::Mutex::default(),
        }
    }

    /// What is remembered of a service, for its pass.
    pub(super) async fn recall(&self, name: &ServiceName) -> Memory {
        let memory = self.ask(name).await;
        lock(&self.memories).entry(name.clone()).or_insert(memory).clone()
    }

    /// What is remembered of a service, for others. They keep nothing of it: it may be forgotten while they ask.
    pub(super) async fn ask(&self, name: &ServiceName) -> Memory {
        let known = lock(&self.memories).get(name).cloned();
        if let Some(memory) = known {
            return memory;
        }
        let of = name.clone();
        let loaded = self.on_disk(move |state| state.load(&of)).await;
        let unreadable = self.state.unreadable();
        self.board.set_health(|health| health.unreadable = unreadable);
        // Its pass may have been quicker, and gone on.
        lock(&self.memories).get(name).cloned().unwrap_or(loaded)
    }

    /// The status that was last shown of a service: its times outlive the process.
    pub(super) async fn last_status(&self, name: &ServiceName) -> Option<ServiceStatus> {
        if let Some(status) = self.board.status(name) {
            return Some(status);
        }
        let of = name.clone();
        self.on_disk(move |state| state.load_status(&of)).await
    }

    /// Keeps what lasts of a memory, if that differs from what was kept; with `spared`, it is for this process only.
    pub(super) async fn save(&self, name: &ServiceName, before: &Memory, memory: &Memory, spared: bool) {
        // Those that are left alone have not begun what their documents say now.
        let due = !memory.lasts_as(before) || lock(&self.unsaved).contains_key(name);
        if !due || spared {
            return;
        }
        let (of, lasting) = (name.clone(), memory.lasting());
        let news = match self.on_disk(move |state| state.save(&of, &lasting)).await {
            Ok(()) => lock(&self.unsaved).remove(name).is_some(),
            Err(error) => {
                tracing::warn!(service = %name, %error, "the memory could not be saved");
                lock(&self.unsaved).insert(name.clone(), error.to_string());
                true
            }
        };
        if news {
            self.tell();
        }
    }

    /// Whether everything of a service is on the disk that was to be.
    pub(super) fn is_saved(&self, name: &ServiceName) -> bool {
        !lock(&self.unsaved).contains_key(name)
    }

    /// Puts a memory in the place of the one before.
    pub(super) fn put(&self, name: &ServiceName, memory: Memory) {
        lock(&self.memories).insert(name.clone(), memory);
    }

    /// Writes down what is shown of a service.
    pub(super) async fn save_status(&self, name: &ServiceName, status: ServiceStatus) {
        let of = name.clone();
        if let Err(error) = self.on_disk(move |state| state.save_status(&of, &status)).await {
            tracing::warn!(service = %name, %error, "the status could not be saved");
        }
    }

    /// Remembers what Compose projects are made of, as `now` tells when it is written.
    pub(super) async fn save_made_of(&self, now: impl FnOnce() -> Remembered) {
        let turn = self.made_of.lock().await;
        let made_of = now();
        let saved = self.on_disk(move |state| state.save_made_of(&made_of)).await;
        drop(turn);
        if let Err(error) = saved {
            tracing::warn!(%error, "what Compose projects are made of could not be saved");
        }
    }

    /// Forgets a service.
    pub(super) async fn forget(&self, name: &ServiceName) {
        lock(&self.memories).remove(name);
        lock(&self.unsaved).remove(name);
        let of = name.clone();
        self.on_disk(move |state| state.forget(&of)).await;
    }

    /// Tries whether the state directory takes anything; clears away what processes killed before `began` have left there.
    pub(super) async fn probe(&self, began: jiff::Timestamp) {
        let sweep = !self.board.health().ready;
        let probe = move |state: &StateDir| -> io::Result<()> {
            if sweep {
                state.sweep(began);
            }
            state.probe()
        };
        let result = self.on_disk(probe).await;
        *lock(&self.unwritable) = result.err().map(|error| error.to_string());
        self.tell();
    }

    fn tell(&self) {
        let unsaved = lock(&self.unsaved).first_key_value().map(|(name, why)| format!("the memory of {name}: {why}"));
        let why = unsaved.or_else(|| lock(&self.unwritable).clone());
        let state = why.map(|why| {
            format!(
                "the state directory cannot be written, so that what happens now is forgotten with a restart ({why}): free \
                 some space, or make it writable"
            )
        });
        if let Some(why) = state.as_ref().filter(|why| self.board.health().state.as_ref() != Some(*why)) {
            tracing::error!("{why}");
        }
        self.board.set_health(|health| health.state = state);
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

    fn paused() -> Memory {
        let mut memory = Memory::default();
        memory.pause(true, jiff::Timestamp::UNIX_EPOCH);
        memory
    }

    #[test]
    fn who_only_asks_brings_nothing_of_a_service_back_that_is_gone() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("a state directory");
        let name = ServiceName::new("shop", "web");
        state.save(&name, &paused().lasting()).expect("saved");
        let store = Store::new(state, Arc::default());
        on_a_disk_that_hangs(async |go| {
            let mut asks = pin!(store.ask(&name));
            assert!(futures_util::poll!(&mut asks).is_pending(), "it is to be read");
            go.send(()).expect("the disk");
            store.forget(&name).await;
            assert!(asks.await.paused.is_some(), "it was read before");
            assert!(store.recall(&name).await.paused.is_none(), "it is forgotten");
        });
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
            assert!(asks.await.paused.is_some());
        });
    }
}
