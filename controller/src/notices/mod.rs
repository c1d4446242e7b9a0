//! WHO IS TOLD. Takes outcomes from the loop, and sends each once to everybody who asked for such: on its own time, with
//! retries, over restarts. The loop never waits for it; a receiver that is away costs nothing but its own notifications.

mod format;
mod target;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::board::Board;
use crate::clock::Clock;
use crate::model::Notice;
use crate::state;
use crate::state::replace;

pub use format::message;
pub use target::Target;

/// So many outcomes are remembered as told.
const TOLD: usize = 1000;
/// So many may wait for a receiver; beyond that the oldest are given up.
const QUEUE: usize = 1000;
/// One is tried so often.
const ATTEMPTS: u32 = 10;
/// The wait after the first failure, then twice as long, up to the limit; and how much of it is left to chance.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(10);
const JITTER: f64 = 0.2;

/// What is to be sent: one POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What is added to the path of the address.
    pub path: &'static str,
    /// Headers, in lowercase.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: String,
}

/// Why it did not arrive. Says nothing of the address but its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Worth another try, after so long at least if it was said.
    Away(String, Option<Duration>),
    /// It was not taken, and will not be.
    Refused(String),
}

/// Who sends.
pub trait Send: std::marker::Send + Sync {
    /// One attempt.
    fn send<'a>(&'a self, target: &'a Target, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Sends over HTTP.
#[derive(Debug)]
pub struct Http;

impl Send for Http {
    fn send<'a>(&'a self, target: &'a Target, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(target.post(message))
    }
}

/// Takes outcomes and sends them.
pub struct Notifier {
    targets: Vec<Target>,
    host: String,
    sender: Arc<dyn Send>,
    board: Arc<Board>,
    clock: Clock,
    file: Option<PathBuf>,
    inner: Mutex<Kept>,
    changed: Notify,
}

impl std::fmt::Debug for Notifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notifier").field("targets", &self.targets).finish_non_exhaustive()
    }
}

/// What is remembered.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    /// The outcomes that were taken, oldest first.
    told: VecDeque<String>,
    /// Those on their way.
    jobs: VecDeque<Job>,
    /// There is something that was not written down yet.
    #[serde(skip)]
    unsaved: bool,
}

/// An outcome on its way to one receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    target: String,
    notice: Notice,
    attempts: u32,
    next_at: Timestamp,
}

impl Notifier {
    /// Tells these, from this host. What is on its way is kept in `file`.
    pub fn new(
        targets: Vec<Target>,
        host: String,
        sender: Arc<dyn Send>,
        board: Arc<Board>,
        clock: Clock,
        file: Option<PathBuf>,
    ) -> Arc<Self> {
        let mut kept: Kept = state::read(file.as_deref(), "what is still to be told");
        kept.jobs.retain(|job| targets.iter().any(|target| target.name == job.target));
        Arc::new(Self { targets, host, sender, board, clock, file, inner: Mutex::new(kept), changed: Notify::new() })
    }

    /// Takes an outcome, unless it was taken before.
    pub fn take(&self, notice: &Notice) {
        let mut kept = self.lock();
        if kept.told.contains(&notice.id) {
            return;
        }
        kept.told.push_back(notice.id.clone());
        let surplus = kept.told.len().saturating_sub(TOLD);
        kept.told.drain(..surplus);
        let now = self.clock.now();
        for target in self.targets.iter().filter(|target| target.wants(notice)) {
            let job = Job { target: target.name.clone(), notice: notice.clone(), attempts: 0, next_at: now };
            kept.jobs.push_back(job);
        }
        let surplus = kept.jobs.len().saturating_sub(QUEUE);
        if surplus > 0 {
            tracing::warn!(surplus, "too many notifications wait; the oldest are given up");
            kept.jobs.drain(..surplus);
        }
        kept.unsaved = true;
        drop(kept);
        self.changed.notify_one();
    }

    /// Whether an outcome was taken, and that is written down.
    pub fn knows(&self, notice: &Notice) -> bool {
        let kept = self.lock();
        !kept.unsaved && kept.told.contains(&notice.id)
    }

    /// Sends, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.save();
            let (due, next) = self.due();
            if due.is_empty() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = self.clock.until(next) => {}
                }
                continue;
            }
            // One receiver that is slow holds up no other one.
            let mut on_their_way =
                stream::iter(due).map(|job| self.attempt(job)).buffer_unordered(self.targets.len().max(1));
            while on_their_way.next().await.is_some() {
                self.save();
            }
        }
    }

    /// The next one for each receiver, if it is due: they arrive in their order.
    fn due(&self) -> (Vec<Job>, Option<Timestamp>) {
        let (now, kept) = (self.clock.now(), self.lock());
        let firsts = self.targets.iter().filter_map(|target| kept.jobs.iter().find(|job| job.target == target.name));
        let (due, later): (Vec<_>, Vec<_>) = firsts.cloned().partition(|job| job.next_at <= now);
        (due, later.into_iter().map(|job| job.next_at).min())
    }

    async fn attempt(&self, job: Job) {
        let Some(target) = self.targets.iter().find(|target| target.name == job.target) else { return };
        let message = message(target.format, &job.notice, &self.host);
        let sent = self.sender.send(target, &message).await;
        self.board.count("notify", sent.is_ok());
        let attempts = job.attempts + 1;
        let (about, name) = (&job.notice.id, &target.name);
        let again = match sent {
            Ok(()) => {
                tracing::info!(target = name, about, "told");
                None
            }
            Err(Failure::Away(why, asked)) if attempts < ATTEMPTS => {
                let growing = FIRST_WAIT.saturating_mul(1 << (attempts - 1).min(16)).min(LONGEST_WAIT);
                let wait = growing.max(asked.unwrap_or_default().min(LONGEST_WAIT));
                tracing::debug!(target = name, about, why, "not told yet");
                Some(self.clock.now() + wait.mul_f64(1.0 + JITTER * fastrand::f64()))
            }
            Err(Failure::Away(why, _) | Failure::Refused(why)) => {
                tracing::warn!(target = name, about, attempts, why, "a notification is given up");
                None
            }
        };
        let mut kept = self.lock();
        let place = kept.jobs.iter().position(|one| one.target == job.target && one.notice.id == job.notice.id);
        if let Some(place) = place {
            match again {
                Some(next_at) => {
                    if let Some(job) = kept.jobs.get_mut(place) {
                        (job.attempts, job.next_at) = (attempts, next_at);
                    }
                }
                None => drop(kept.jobs.remove(place)),
            }
        }
        kept.unsaved = true;
    }

    fn save(&self) {
        let mut kept = self.lock();
        if !kept.unsaved {
            return;
        }
        let saved = match &self.file {
            Some(file) => {
                serde_json::to_vec(&*kept).map_err(std::io::Error::from).and_then(|text| replace(file, &text, true))
            }
            None => Ok(()),
        };
        match saved {
            Ok(()) => kept.unsaved = false,
            Err(error) => tracing::warn!(%error, "what is to be told could not be saved"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
