//! What is on the engine, as a whole: one cheap list, shared by all who ask at the same time. Who wants to know more of a
//! service asks for it alone.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;
use crate::board::Board;
use crate::clock::Clock;
use crate::engine::{Claim, Engine};
use crate::model::{Listing, ServiceName};

/// A list that has not come after so long is told of: an engine answers within milliseconds.
const SLOW: Duration = Duration::from_secs(2);

/// The index of the world.
pub(super) struct World {
    engine: Arc<dyn Engine>,
    board: Arc<Board>,
    clock: Clock,
    /// The services of which what Compose made counts.
    compose: Mutex<Arc<BTreeSet<ServiceName>>>,
    /// The last look. Held while one is under way: who comes meanwhile shares the next one.
    last: tokio::sync::Mutex<Option<Look>>,
    /// The last good one.
    listing: Mutex<Arc<Listing>>,
    moments: AtomicU64,
}

/// A moment in the order of all: two are never the same, as two readings of a clock may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

/// One look at everything.
#[derive(Clone)]
pub(super) struct Look {
    /// When it was begun: what was done later may be missing.
    pub(super) begun: Moment,
    /// What it has seen, or why nothing may be done now.
    pub(super) listing: Result<Arc<Listing>, String>,
}

impl World {
    pub(super) fn new(engine: Arc<dyn Engine>, board: Arc<Board>, clock: Clock) -> Self {
        Self {
            engine,
            board,
            clock,
            compose: Mutex::default(),
            last: tokio::sync::Mutex::default(),
            listing: Mutex::default(),
            moments: AtomicU64::new(0),
        }
    }

    /// Of these services what Compose made counts.
    pub(super) fn count_composes(&self, services: BTreeSet<ServiceName>) {
        *lock(&self.compose) = Arc::new(services);
    }

    /// What was last seen.
    pub(super) fn seen(&self) -> Arc<Listing> {
        Arc::clone(&lock(&self.listing))
    }

    /// This moment.
    pub(super) fn now(&self) -> Moment {
        Moment(self.moments.fetch_add(1, Ordering::SeqCst))
    }

    /// A look that was begun after `since`. `seen` is called once for each, before anybody acts upon it: with the
    /// one before, and with it.
    pub(super) async fn look(&self, since: Moment, seen: impl FnOnce(&Listing, &Listing)) -> Look {
        let mut last = self.last.lock().await;
        if let Some(look) = last.as_ref().filter(|look| look.begun > since) {
            return look.clone();
        }
        let begun = self.now();
        let listing = self.list().await;
        match &listing {
            Ok(listing) => {
                let before = std::mem::replace(&mut *lock(&self.listing), Arc::clone(listing));
                if self.board.unblock() {
                    tracing::info!("acting on {}", self.engine.describe());
                }
                self.tell_of_foreign(listing);
                seen(&before, listing);
            }
            Err(why) => self.block(why),
        }
        let look = Look { begun, listing };
        *last = Some(look.clone());
        look
    }

    async fn list(&self) -> Result<Arc<Listing>, String> {
        let asked = self.clock.now();
        let answer = async {
            match self.engine.claim().await {
                Ok(Claim::Held) => {}
                Ok(Claim::HeldBy(other)) => return Err(format!("another controller acts on this engine: {other}")),
                Err(error) => return Err(error.to_string()),
            }
            let compose = Arc::clone(&lock(&self.compose));
            self.engine.list(&compose).await.map(Arc::new).map_err(|error| error.to_string())
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => return answer,
            () = tokio::time::sleep(SLOW) => {}
        }
        self.block(&format!("the engine does not answer: a list of containers was asked for at {asked:.0}"));
        answer.await
    }

    fn block(&self, why: &str) {
        if self.board.block(why, self.clock.now()) {
            tracing::warn!("nothing is done: {why}");
        }
    }

    /// Says which containers only claim to be ours.
    fn tell_of_foreign(&self, listing: &Listing) {
        let mut foreign: Vec<_> = listing.foreign.iter().map(ToString::to_string).collect();
        foreign.sort();
        let known = self.board.health().foreign;
        for one in foreign.iter().filter(|one| !known.contains(one)) {
            tracing::warn!("{one}");
        }
        self.board.set_health(|health| health.foreign = foreign);
    }
}
