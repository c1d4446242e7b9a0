//! What is known of each HAProxy, and of the services behind them.

use crd_schema::{ContainerId, NetworkName};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use composed_core::model::ServiceName;
use crd_schema::{Front, HaproxyDriver};
use tokio::sync::watch;
use tokio::time::Instant;

use super::super::super::paths::PropagationState;
use super::super::keeper::AppliedState;
use super::super::reach::RuntimeAddress;

/// A HAProxy that has not confirmed a change is looked at again after so long. It may go on by what it knew, so nobody comes
/// or leaves before it has: `progress_deadline` and `drain_timeout` end that. Only who comes to a service that nobody serves
/// yet is not held up for longer where no HAProxy listens.
pub(super) const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// After its start the controller has seen who serves by then; until it has, HAProxy keeps what it has.
pub(super) const STARTUP_GRACE: Duration = Duration::from_secs(30);

/// All of them.
#[derive(Default)]
pub(super) struct Inner {
    /// Services whose requests go by a HAProxy.
    pub(super) services: BTreeMap<ServiceName, ProxiedService>,
    /// Services that are fronts, by their own names.
    pub(super) fronts: BTreeMap<ServiceName, BTreeMap<ContainerId, ManagedProxy>>,
}

/// A service behind a HAProxy.
pub(super) struct ProxiedService {
    pub(super) way: ProxyKind,
    pub(super) members: BTreeMap<ContainerId, Member>,
    pub(super) since: Instant,
    /// The keeper of its own HAProxy, if it names one.
    pub(super) own: Option<ManagedProxy>,
}

/// How its requests go.
#[derive(Clone, PartialEq)]
pub(super) enum ProxyKind {
    Front(Front),
    Driver(HaproxyDriver),
}

/// A replica behind a HAProxy.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) addresses: BTreeMap<NetworkName, IpAddr>,
    pub(super) running: bool,
    pub(super) withdrawn: bool,
}

/// A HAProxy with its keeper; the keeper ends with it.
pub(super) struct ManagedProxy {
    pub(super) place: watch::Sender<RuntimeAddress>,
    pub(super) addresses: BTreeMap<NetworkName, IpAddr>,
    pub(super) taken: watch::Receiver<AppliedState>,
    pub(super) since: Instant,
}

impl ManagedProxy {
    /// Where it stands with what it `has` taken in. `at_first` ends the wait for one that does not run.
    pub(super) fn pending(
        &self,
        what: &str,
        has: impl Fn(&AppliedState) -> bool,
        at_first: Option<Instant>,
    ) -> PropagationState {
        let taken = self.taken.borrow();
        if has(&taken) {
            return PropagationState::Settled;
        }
        let who = match &*self.place.borrow() {
            RuntimeAddress::Front { .. } => "the front".to_owned(),
            RuntimeAddress::Socket(socket) => format!("HAProxy at {socket}"),
        };
        let why = taken.trouble.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
        let until = at_first.filter(|_| taken.nobody).unwrap_or_else(|| Instant::now() + CONFIRM_TIMEOUT);
        PropagationState::Pending { what: format!("{who} {what}{why}"), until }
    }
}

/// The part of a container's id that names it at HAProxy.
pub(super) fn short(id: &ContainerId) -> &str {
    id.as_str().get(..12).unwrap_or(id.as_str())
}
