//! The task that keeps one HAProxy as it should be: it holds a connection to its runtime API, brings what is wanted, and
//! tells what HAProxy itself says of it then. A HAProxy that restarted, or was somewhere else meanwhile, is filled anew.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

use super::pool::{Pool, ServerIntent, Servers};
use super::reach::{ConnectError, RuntimeAddress, RuntimeConnector};
use super::runtime::{Admin, Runtime, Server, first_line};

/// HAProxy is asked how it stands so often, whatever has happened; removals that were refused are tried again.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// And so often while requests on one that leaves are under way.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Between two attempts to reach it.
const RECONNECT: Backoff =
    Backoff { first: Duration::from_millis(20), longest: Duration::from_secs(1), jitter: Jitter::None };

/// What a HAProxy has taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AppliedState {
    /// Everything that was wanted at the last look.
    pub(super) complete: bool,
    /// The containers that take requests in every pool.
    pub(super) serving: BTreeSet<String>,
    /// Those that take requests in some pool, or may.
    pub(super) touched: BTreeSet<String>,
    /// Those that are to leave and have requests or connections under way, and how many.
    pub(super) busy: BTreeMap<String, u32>,
    /// It was looked at, and the connection lasts.
    pub(super) known: bool,
    /// What went wrong last, for people.
    pub(super) trouble: Option<String>,
    /// Nobody listens where its runtime API should be.
    pub(super) nobody: bool,
}

/// What is wanted of one HAProxy: for each of its pools the servers; nothing if that cannot be told yet.
pub(super) type DesiredServers = Option<Vec<(Pool, Servers)>>;

/// Where a keeper reads what it is to do.
pub(super) trait DesiredSource: Send + Sync {
    /// What is wanted of a HAProxy that has these backends.
    fn wish(&self, backends: &[String]) -> DesiredServers;

    /// Something was taken in, or lost.
    fn changed(&self);
}

/// A keeper's own things.
pub(super) struct Keeper<S> {
    pub(super) reach: Arc<RuntimeConnector>,
    pub(super) place: watch::Receiver<RuntimeAddress>,
    pub(super) source: S,
    /// Changes when the wish may have.
    pub(super) nudges: Vec<watch::Receiver<u64>>,
    pub(super) taken: watch::Sender<AppliedState>,
}

impl<S: DesiredSource> Keeper<S> {
    /// Until nobody wants to know what was taken in.
    pub(super) async fn keep(mut self) {
        let mut failures = 1;
        while !self.taken.is_closed() {
            let place = self.place.borrow_and_update().clone();
            let error: ConnectError = match Box::pin(self.reach.connect(&place)).await {
                Ok(mut runtime) => {
                    failures = 1;
                    match self.serve(&mut runtime).await {
                        Ok(End::Unwanted) => return,
                        Ok(End::Leaving) => {
                            drop(runtime);
                            tokio::select! {
                                () = news(&mut self.nudges) => continue,
                                () = self.taken.closed() => return,
                            }
                        }
                        Err(error) => error.into(),
                    }
                }
                Err(error) => error,
            };
            let ConnectError { why, nobody } = error;
            tracing::debug!(?place, "HAProxy's runtime API: {why}");
            // What was under way goes on, with nobody to count it.
            let busy = self.taken.borrow().busy.clone();
            self.tell(&AppliedState { trouble: Some(why), nobody, busy, ..AppliedState::default() });
            tokio::select! {
                () = sleep(RECONNECT.after(failures)) => failures += 1,
                // Another process of it, perhaps.
                changed = self.place.changed() => if changed.is_err() { return },
                () = self.taken.closed() => return,
            }
        }
    }

    /// Until the connection breaks or is to end.
    async fn serve(&mut self, runtime: &mut Runtime) -> io::Result<End> {
        let backends = runtime.backends().await?;
        let mut done: DesiredServers = None;
        let mut looked = Instant::now();
        loop {
            for nudge in &mut self.nudges {
                nudge.mark_unchanged();
            }
            let wish = self.source.wish(&backends);
            if wish != done || !self.taken.borrow().complete {
                if let Some(pools) = &wish {
                    let taken = bring(runtime, pools).await?;
                    self.tell(&taken);
                    looked = Instant::now();
                }
                done = wish;
            }
            if self.place.borrow().leaving() {
                return Ok(End::Leaving);
            }
            let pace = if self.taken.borrow().busy.is_empty() { POLL_INTERVAL } else { BUSY_POLL_INTERVAL };
            tokio::select! {
                look = timeout_at(looked + pace, news(&mut self.nudges)) => if look.is_err() {
                    looked = Instant::now();
                    if runtime.is_stopping().await? {
                        return Err(io::Error::other("this process of HAProxy is stopping: another has taken its place"));
                    }
                    done = None;
                },
                () = self.taken.closed() => return Ok(End::Unwanted),
            }
        }
    }

    fn tell(&self, taken: &AppliedState) {
        let news = self.taken.send_if_modified(|old| std::mem::replace(old, taken.clone()) != *taken);
        if news {
            self.source.changed();
        }
    }
}

/// Why a connection is to end.
enum End {
    /// Nobody wants to know.
    Unwanted,
    /// HAProxy is about to be stopped.
    Leaving,
}

/// Something that may change the wish.
async fn news(nudges: &mut [watch::Receiver<u64>]) {
    drop(futures_util::future::select_all(nudges.iter_mut().map(|nudge| Box::pin(nudge.changed()))).await);
}

/// Brings what is wanted, and looks what came of it.
async fn bring(runtime: &mut Runtime, pools: &[(Pool, Servers)]) -> io::Result<AppliedState> {
    let mut there = runtime.servers().await?;
    let mut trouble = None;
    let mut asked = false;
    for (pool, wanted) in pools {
        for step in pool.steps(wanted, &there) {
            asked = true;
            let answer = runtime.ask(&step).await?;
            let refused =
                !answer.is_empty() && !answer.starts_with("New server") && !answer.starts_with("Server deleted");
            // HAProxy says something of changes that it makes, too: what came of them is looked at below.
            tracing::debug!("{step}: {answer}");
            // While connections last, a server cannot be removed.
            if refused && !step.starts_with("del ") {
                trouble = Some(format!("{step}: {}", first_line(&answer)));
            }
        }
    }
    if asked {
        there = runtime.servers().await?;
    }
    let mut taken = judge(pools, &there, trouble);
    // After they have let go: what is counted now can only become less.
    if pools.iter().any(|(_, wanted)| wanted.values().any(|one| one.state == ServerIntent::Leave)) {
        match runtime.sessions().await {
            Ok(sessions) => taken.busy = busy(pools, &sessions),
            // The connections of the replica itself are counted in any case.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => tracing::debug!("no sessions: {error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// The sessions of those that are to leave.
fn busy(pools: &[(Pool, Servers)], sessions: &[(String, String, u32)]) -> BTreeMap<String, u32> {
    let mut busy = BTreeMap::new();
    for (pool, wanted) in pools {
        for (backend, server, count) in sessions.iter().filter(|(.., count)| *count > 0) {
            let leaving =
                pool.of(backend, server).filter(|id| wanted.get(*id).is_some_and(|w| w.state == ServerIntent::Leave));
            if let Some(id) = leaving {
                *busy.entry(id.to_owned()).or_default() += count;
            }
        }
    }
    busy
}

/// What these servers say of what was wanted.
fn judge(pools: &[(Pool, Servers)], there: &[Server], trouble: Option<String>) -> AppliedState {
    let ready = |pool: &Pool| -> BTreeSet<String> {
        let ready = there.iter().filter(|server| server.admin == Admin::Ready);
        ready.filter_map(|server| pool.container(server)).map(str::to_owned).collect()
    };
    let sets: Vec<_> = pools.iter().map(|(pool, _)| ready(pool)).collect();
    let touched: BTreeSet<String> = sets.iter().flatten().cloned().collect();
    let serving: BTreeSet<String> =
        touched.iter().filter(|id| sets.iter().all(|set| set.contains(*id))).cloned().collect();
    let as_wanted = |(pool, wanted): &(Pool, Servers)| {
        let ready = ready(pool);
        wanted.iter().all(|(id, one)| match one.state {
            ServerIntent::Serve => ready.contains(id),
            ServerIntent::Leave => !ready.contains(id),
            ServerIntent::Stay => true,
        }) && ready.iter().all(|id| wanted.contains_key(id))
    };
    let complete = pools.iter().all(as_wanted);
    let trouble = trouble.filter(|_| !complete);
    AppliedState { complete, serving, touched, known: true, trouble, ..AppliedState::default() }
}

#[cfg(test)]
mod tests;
