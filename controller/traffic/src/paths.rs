//! The ways by which requests find replicas. The status store says who serves; each path takes that to those who send
//! requests, and says what it can prove of their having taken it in. A new proxy is one more file that implements
//! `TrafficProvider`.

use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{Key, Replica, ServiceName, ServiceRecord};
use composed_core::plan::hint;
use composed_status::store::{EndpointState, StatusStore};
use crd_schema::ServiceSpec;
use crd_schema::status::{Proof, TrafficPath};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::time::Instant;

/// A reader of the status in the last minute is expected to come back: twice the longest long poll.
const FOLLOWED: Duration = Duration::from_mins(1);
/// Those who follow the status have so long to act upon what they read.
const FOLLOWERS: Duration = Duration::from_millis(250);

/// What a path knows of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PropagationState {
    /// Nobody sends requests to it by this path.
    Unused,
    /// All who do have taken in what is shown.
    Settled,
    /// Some have not, or it cannot be proven before `until`; the text names them.
    Pending {
        /// For people: `Traefik to read the view`.
        what: String,
        /// By then they have, at the latest.
        until: Instant,
    },
}

impl PropagationState {
    /// Pending until a moment that ends the wait by itself, and settled from then on.
    pub fn before(until: Instant, what: &str) -> Self {
        if until <= Instant::now() { Self::Settled } else { Self::Pending { what: what.to_owned(), until } }
    }
}

/// A path.
pub trait TrafficProvider: Send + Sync {
    /// What is wanted of a service, what is remembered of it and all its replicas, before `propagation` is asked of them.
    fn notice(&self, _: &ServiceName, _: Option<&ServiceSpec>, _: &ServiceRecord, _: &[Replica]) {}

    /// Whether those who use this path know that `replica` serves, if `serves`, or that it does not serve any more.
    /// `shown` is what the status store says of it; nothing when it has never served.
    fn propagation(
        &self,
        service: &ServiceName,
        replica: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState;

    /// So many requests or connections are under way on `replica` by this path, where it counts them itself. Asked when all
    /// have let go of it.
    fn in_flight(&self, _: &ServiceName, _: &Replica) -> u32 {
        0
    }

    /// Whether this path counts what is under way on the service's replicas itself.
    fn counts(&self, _: &ServiceName) -> bool {
        false
    }

    /// What people are told of this path, if requests for the service come by it.
    fn about(&self, service: &ServiceName) -> Option<TrafficPath>;

    /// Services whose standing may have changed.
    fn watch(&self) -> BoxStream<'static, Key> {
        stream::pending().boxed()
    }
}

/// Those who read the endpoints in the status and send requests there themselves.
pub struct Followers(pub Arc<StatusStore>);

impl TrafficProvider for Followers {
    // One that has come to serve is one more choice; only one that has left must be known by everybody.
    fn propagation(
        &self,
        _: &ServiceName,
        _: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState {
        let followed = self.0.last_read().is_some_and(|at| at.elapsed() < FOLLOWED);
        match shown {
            Some(shown) if !serves && followed => {
                let until = if shown.serving { Instant::now() } else { shown.since } + FOLLOWERS;
                PropagationState::before(until, "the followers of the status")
            }
            _ if followed => PropagationState::Settled,
            _ => PropagationState::Unused,
        }
    }

    fn about(&self, _: &ServiceName) -> Option<TrafficPath> {
        self.0.last_read().filter(|at| at.elapsed() < FOLLOWED)?;
        let detail = format!("those who follow the endpoints in the status have {FOLLOWERS:?} to take a change in");
        Some(TrafficPath { path: hint::FOLLOWERS.to_owned(), proof: Proof::Bounded, detail })
    }
}
