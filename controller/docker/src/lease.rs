//! One controller at a time for each instance on an engine. The engine itself is the witness: creating a volume of a
//! name that exists answers with the labels of whoever made it first, which is an atomic test-and-set.

use std::{collections::HashMap, time::Duration};

use bollard::{models::VolumeCreateRequest, query_parameters::RemoveVolumeOptions};
use composed_core::engine::{EngineError, LeaseHolder, LeaseState};
use composed_platform::clock::Clock;
use tokio::sync::OnceCell;

use super::{
    connect::{Api, segment},
    identity::{
        self, BOOT, BY_SOCKET, COMMAND, CONTAINER, CONTAINER_STARTED, HOLDER, HOSTNAME, PID, PID_NAMESPACE, PID_START,
        ProcessLabels,
    },
    labels::{INSTANCE, Labels},
    observe,
};

const PREFIX: &str = "composed-lock-";
const SINCE: &str = "dev.composed.since";
/// Two that take over from the same dead holder may remove each other's lock in this time, not later.
const SETTLE: Duration = Duration::from_secs(1);

/// Whether a volume is somebody's lock.
pub(super) fn is_lock(volume: &str) -> bool {
    volume.starts_with(PREFIX)
}

/// The lock of one instance, and who we are.
pub(super) struct Lease {
    volume: String,
    instance: String,
    command: String,
    by_socket: bool,
    clock: Clock,
    me: OnceCell<ProcessLabels>,
}

impl Lease {
    /// The lock of `instance`.
    pub(super) fn new(instance: &str, command: &str, by_socket: bool, clock: Clock) -> Result<Self, EngineError> {
        let volume = format!("{PREFIX}{instance}");
        segment(&volume)?;
        let (instance, command) = (instance.to_owned(), command.to_owned());
        Ok(Self { volume, instance, command, by_socket, clock, me: OnceCell::new() })
    }

    /// Takes the lock, or confirms it: one call when it is held already. `anew` is called when it is held and was not
    /// before: what else the engine kept may be gone, or another holder's.
    pub(super) async fn claim(&self, api: &Api, anew: impl AsyncFnOnce()) -> Result<LeaseState, EngineError> {
        let me = self.me(api).await?;
        let (holder, was_there) = match self.read(api).await? {
            Some(holder) => (holder, true),
            None => (self.take(api, me).await?, false),
        };
        if is(me, &holder) {
            if !was_there {
                anew().await;
            }
            return Ok(LeaseState::Held);
        }
        let Some(reason) = self.is_dead(api, me, &holder).await? else {
            return Ok(LeaseState::HeldBy(self.other(&holder)));
        };
        // Somebody quicker may have replaced it meanwhile: then it is not the dead one's any more.
        let unchanged = self.read(api).await?.is_some_and(|now| now.get(HOLDER) == holder.get(HOLDER));
        if unchanged {
            tracing::info!(lock = self.volume, "taking over from {}: {reason}", name(&holder));
            self.remove(api).await?;
        }
        let first = self.take(api, me).await?;
        if !is(me, &first) {
            return Ok(LeaseState::HeldBy(self.other(&first)));
        }
        tokio::time::sleep(SETTLE).await;
        match self.read(api).await? {
            Some(settled) if is(me, &settled) => {
                anew().await;
                Ok(LeaseState::Held)
            }
            Some(other) => Ok(LeaseState::HeldBy(self.other(&other))),
            None => {
                let text = format!("the lock {} was removed; trying again", self.volume);
                Ok(LeaseState::HeldBy(LeaseHolder { command: None, text }))
            }
        }
    }

    /// Gives the lock back, if it is ours.
    pub(super) async fn release(&self, api: &Api) -> Result<(), EngineError> {
        let Some(me) = self.me.get() else { return Ok(()) };
        match self.read(api).await? {
            Some(holder) if is(me, &holder) => self.remove(api).await,
            _ => Ok(()),
        }
    }

    async fn me(&self, api: &Api) -> Result<&ProcessLabels, EngineError> {
        self.me
            .get_or_try_init(|| async {
                let mut facts = identity::facts(self.by_socket);
                // A container that this engine does not know is another engine's: it proves nothing here.
                if let Some(id) = facts.get(CONTAINER).cloned() {
                    match started(api, &id).await? {
                        Some(at) => facts.insert(CONTAINER_STARTED.to_owned(), at),
                        None => facts.remove(CONTAINER),
                    };
                }
                facts.insert(INSTANCE.to_owned(), self.instance.clone());
                facts.insert(COMMAND.to_owned(), self.command.clone());
                facts.insert(SINCE.to_owned(), self.clock.now().to_string());
                Ok(facts)
            })
            .await
    }

    async fn read(&self, api: &Api) -> Result<Option<Labels>, EngineError> {
        match api.call(api.client.inspect_volume(&self.volume)).await {
            Ok(volume) => Ok(Some(volume.labels)),
            Err(EngineError::Stale(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The labels of whoever was first.
    async fn take(&self, api: &Api, me: &ProcessLabels) -> Result<Labels, EngineError> {
        let request = VolumeCreateRequest {
            name: Some(self.volume.clone()),
            labels: Some(me.clone().into_iter().collect::<HashMap<_, _>>()),
            ..VolumeCreateRequest::default()
        };
        Ok(api.call(api.client.create_volume(request)).await?.labels)
    }

    async fn remove(&self, api: &Api) -> Result<(), EngineError> {
        match api.call(api.client.remove_volume(&self.volume, None::<RemoveVolumeOptions>)).await {
            Err(EngineError::Stale(_)) => Ok(()),
            other => other,
        }
    }

    /// Why the holder cannot be alive any more, if that is certain.
    async fn is_dead(&self, api: &Api, me: &ProcessLabels, holder: &Labels) -> Result<Option<String>, EngineError> {
        if let Some(id) = holder.get(CONTAINER) {
            let now = started(api, id).await?;
            if now.is_none() || now.as_ref() != holder.get(CONTAINER_STARTED) {
                return Ok(Some(format!("its container {} is gone or was restarted", id.get(..12).unwrap_or(id))));
            }
        }
        Ok(is_dead_here(me, holder, |pid| identity::lives(pid).then(|| identity::start_of(pid))))
    }

    fn other(&self, holder: &Labels) -> LeaseHolder {
        let volume = &self.volume;
        let text = format!("{}; if it is a leftover: docker volume rm {volume}", name(holder));
        // Of an older program nobody knows.
        LeaseHolder { command: holder.get(COMMAND).filter(|command| !command.is_empty()).cloned(), text }
    }
}

/// When a container's present run began; `None` when it does not run or is not there.
async fn started(api: &Api, id: &str) -> Result<Option<String>, EngineError> {
    let state = observe::inspect(api, id).await?.and_then(|container| container.state);
    Ok(state.filter(|state| state.running == Some(true)).and_then(|state| state.started_at))
}

/// What can be told without the engine. `look` gives, for a living process of this namespace, its start if readable.
fn is_dead_here(me: &ProcessLabels, holder: &Labels, look: impl Fn(u32) -> Option<Option<String>>) -> Option<String> {
    let same = |name: &str| me.get(name).is_some_and(|mine| holder.get(name) == Some(mine));
    let differ = |name: &str| me.get(name).zip(holder.get(name)).is_some_and(|(mine, other)| mine != other);
    if same(BOOT) && same(PID_NAMESPACE) {
        let pid = holder.get(PID).and_then(|pid| pid.parse().ok())?;
        return match (look(pid), holder.get(PID_START)) {
            (None, _) => Some(format!("its process {pid} is gone")),
            (Some(Some(now)), Some(then)) if now != *then => Some(format!("its process {pid} is another one now")),
            _ => None,
        };
    }
    // A socket file is on the engine's own host, or leads there from one: the same host name and another boot is a
    // reboot. Holders in containers are judged by the engine alone: their host name is not the host's.
    let by_socket = |facts: Option<&String>| facts.is_some_and(|by| by == "true");
    let both_by_socket = by_socket(me.get(BY_SOCKET)) && by_socket(holder.get(BY_SOCKET));
    if both_by_socket && differ(BOOT) && same(HOSTNAME) && !holder.contains_key(CONTAINER) {
        return Some("its host was booted again since".to_owned());
    }
    None
}

fn is(me: &ProcessLabels, holder: &Labels) -> bool {
    me.get(HOLDER).is_some() && me.get(HOLDER) == holder.get(HOLDER)
}

fn name(holder: &Labels) -> String {
    let of = |name: &str| holder.get(name).map_or("?", String::as_str);
    format!("pid {} on {} since {}", of(PID), of(HOSTNAME), of(SINCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(boot: &str, namespace: &str, host: &str) -> ProcessLabels {
        let pairs = [(BOOT, boot), (PID_NAMESPACE, namespace), (HOSTNAME, host), (BY_SOCKET, "true")];
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn holder(boot: &str, namespace: &str, host: &str) -> Labels {
        let mut labels: Labels = facts(boot, namespace, host).into_iter().collect();
        labels.insert(PID.to_owned(), "7".to_owned());
        labels.insert(PID_START.to_owned(), "100".to_owned());
        labels
    }

    #[test]
    fn a_holder_is_dead_only_when_that_is_certain() {
        let me = facts("boot", "ns", "host");
        let gone = |_: u32| None;
        let alive = |_: u32| Some(Some("100".to_owned()));
        let other = |_: u32| Some(Some("200".to_owned()));
        let unreadable = |_: u32| Some(None);
        let here = holder("boot", "ns", "host");
        assert!(is_dead_here(&me, &here, gone).is_some());
        assert!(is_dead_here(&me, &here, other).is_some());
        assert!(is_dead_here(&me, &here, alive).is_none());
        assert!(is_dead_here(&me, &here, unreadable).is_none());
        // In another namespace the number means another process.
        assert!(is_dead_here(&me, &holder("boot", "ns2", "host"), gone).is_none());
        // A reboot of this host, and another host.
        assert!(is_dead_here(&me, &holder("boot0", "ns", "host"), alive).is_some());
        assert!(is_dead_here(&me, &holder("boot0", "ns", "host2"), gone).is_none());
    }

    #[test]
    fn a_reboot_is_believed_only_of_sockets_and_outside_containers() {
        let me = facts("boot", "ns", "host");
        let mut by_tcp = holder("boot0", "ns", "host");
        by_tcp.insert(BY_SOCKET.to_owned(), "false".to_owned());
        assert!(is_dead_here(&me, &by_tcp, |_| None).is_none());
        let mut contained = holder("boot0", "ns", "host");
        contained.insert(CONTAINER.to_owned(), "c".to_owned());
        assert!(is_dead_here(&me, &contained, |_| None).is_none());
        let unknown = Labels::new();
        assert!(is_dead_here(&me, &unknown, |_| None).is_none());
    }
}
