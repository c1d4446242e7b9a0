//! WHO IS TOLD. Takes outcomes from the loop, and sends each once to everybody who asked for such: on its own time, with
//! retries, over restarts. The loop never waits for it; a receiver that is away costs nothing but its own notifications.

mod delivery;
mod format;
mod target;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use composed_core::model::Notification;
use composed_platform::clock::Clock;
use composed_platform::files;
use composed_platform::files::replace;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::store::StatusStore;

pub use delivery::{Failure, Message};
pub use format::message;
pub use target::NotificationTarget;

/// So many outcomes are remembered as told.
const TOLD: usize = 1000;
/// So many may wait for a receiver; beyond that the oldest are given up.
const QUEUE: usize = 1000;
/// One is tried so often.
const ATTEMPTS: u32 = 10;
/// Between two attempts.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(1), longest: Duration::from_mins(10), jitter: Jitter::None };
/// How much of a wait is added by chance, also where the receiver has named it.
const JITTER: f64 = 0.2;

/// Who sends.
pub trait Send: std::marker::Send + Sync {
    /// One attempt.
    fn send<'a>(&'a self, target: &'a NotificationTarget, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>>;
}

/// Sends over HTTP.
#[derive(Debug)]
pub struct HttpSender;

impl Send for HttpSender {
    fn send<'a>(&'a self, target: &'a NotificationTarget, message: &'a Message) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(target.post(message))
    }
}

/// Takes outcomes and sends them.
pub struct Notifier {
    targets: Vec<NotificationTarget>,
    host: String,
    sender: Arc<dyn Send>,
    statuses: Arc<StatusStore>,
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
    /// How often it has changed, and up to which change it is written down.
    #[serde(skip)]
    changes: u64,
    #[serde(skip)]
    saved: u64,
}

/// An outcome on its way to one receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    target: String,
    notice: Notification,
    attempts: u32,
    next_at: Timestamp,
}

impl Notifier {
    /// Tells these, from this host. What is on its way is kept in `file`.
    pub fn new(
        targets: Vec<NotificationTarget>,
        host: String,
        sender: Arc<dyn Send>,
        statuses: Arc<StatusStore>,
        clock: Clock,
        file: Option<PathBuf>,
    ) -> Arc<Self> {
        let mut kept: Kept = files::load(file.as_deref(), "what is still to be told");
        kept.jobs.retain(|job| targets.iter().any(|target| target.name == job.target));
        Arc::new(Self { targets, host, sender, statuses, clock, file, inner: Mutex::new(kept), changed: Notify::new() })
    }

    /// Takes an outcome, unless it was taken before.
    pub fn take(&self, notice: &Notification) {
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
        kept.changes += 1;
        drop(kept);
        self.changed.notify_one();
    }

    /// Whether an outcome was taken, and that is written down.
    pub fn knows(&self, notice: &Notification) -> bool {
        let kept = self.lock();
        kept.saved == kept.changes && kept.told.contains(&notice.id)
    }

    /// Sends, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            self.save().await;
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
                self.save().await;
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
        self.statuses.count("notify", sent.is_ok());
        let attempts = job.attempts + 1;
        let (about, name) = (&job.notice.id, &target.name);
        let again = match sent {
            Ok(()) => {
                tracing::info!(target = name, about, "told");
                None
            }
            Err(Failure::Away(why, asked)) if attempts < ATTEMPTS => {
                let wait = BACKOFF.after(attempts as usize).max(asked.unwrap_or_default().min(BACKOFF.longest));
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
        kept.changes += 1;
    }

    /// Writes down what is to be told, off the runtime's workers and without the lock: a disk that hangs holds up nobody who
    /// only hands an outcome over.
    async fn save(&self) {
        let (text, changes) = {
            let kept = self.lock();
            if kept.saved == kept.changes {
                return;
            }
            (serde_json::to_vec(&*kept), kept.changes)
        };
        let saved = match (text, self.file.clone()) {
            (Err(error), _) => Err(std::io::Error::from(error)),
            (Ok(_), None) => Ok(()),
            (Ok(text), Some(file)) => tokio::task::spawn_blocking(move || replace(&file, &text, true))
                .await
                .unwrap_or_else(|error| Err(std::io::Error::other(error))),
        };
        match saved {
            // What came meanwhile is written down the next time.
            Ok(()) => self.lock().saved = changes,
            Err(error) => tracing::warn!(%error, "the notification queue could not be saved"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.lock()
    }
}
