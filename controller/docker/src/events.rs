//! The engine's events as keys to look at again, together with the ends of our own background work. Lossy by contract,
//! so it only has to be quick and quiet: never stalled by a slow reader, never a storm of "look at everything".

use crd_schema::ContainerId;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bollard::{
    errors::Error,
    models::{EventMessage, EventMessageTypeEnum as Kind},
    query_parameters::EventsOptions,
};
use composed_core::{
    backoff::{Backoff, Jitter},
    model::Key,
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use tokio::{
    sync::{broadcast, mpsc},
    time::{Instant, MissedTickBehavior},
};

use super::{
    background::Background,
    connect::Api,
    labels::{self, Labels},
    lease,
    mounts::is_anonymous,
    ownership,
    seen::InspectCache,
};

/// Between two connections; with jitter, so that controllers do not come back in step.
const RECONNECT: Backoff =
    Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(5), jitter: Jitter::Random };
/// What changes a replica. `exec_*` must stay out: every healthcheck writes three of them.
const CONTAINER: &[&str] = &[
    "create",
    "start",
    "die",
    "destroy",
    "health_status",
    "kill",
    "oom",
    "pause",
    "unpause",
    "rename",
    "stop",
    "update",
];
/// What changes a network or volume; `mount` and `unmount` come with every start.
const OBJECT: &[&str] = &["create", "destroy", "remove", "connect", "disconnect"];
/// What may bring or take an image.
const IMAGE: &[&str] = &["tag", "untag", "delete", "load", "import", "pull"];
/// bollard ends the stream at a type that it does not know, so none may come.
const TYPES: &[&str] = &["container", "network", "volume", "image"];

/// "Look at everything" is said at most so often.
const EVERYTHING: Duration = Duration::from_secs(1);
/// A dead connection is silent: asked on another one, so often, with this patience.
const PING: Duration = Duration::from_secs(10);
const PING_PATIENCE: Duration = Duration::from_secs(5);

/// The watch of one adapter.
pub(super) struct Watch {
    /// The engine.
    pub(super) api: Api,
    /// Our instance.
    pub(super) instance: Arc<str>,
    /// Whose names and ids are whose.
    pub(super) seen: Arc<InspectCache>,
    /// Whose ends are announced.
    pub(super) background: Arc<Background>,
}

/// What an event asks to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Hint {
    Nothing,
    One(Key),
    Everything,
}

/// Why the stream has to be opened again.
enum StreamEnd {
    /// Nobody listens any more.
    Unwanted,
    /// The engine or the way to it.
    Lost(String),
}

impl Watch {
    /// The keys. Ends when it is dropped.
    pub(super) fn stream(self) -> BoxStream<'static, Option<Key>> {
        let (sender, receiver) = mpsc::channel(64);
        drop(tokio::spawn(self.run(sender)));
        stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|key| (key, receiver)) }).boxed()
    }

    async fn run(self, sender: mpsc::Sender<Option<Key>>) {
        let mut outbox = HintQueue::new(sender);
        let mut ends = self.background.ends();
        let mut delays = RECONNECT.waits();
        loop {
            let opened = Instant::now();
            let reason = match self.follow(&mut outbox, &mut ends).await {
                StreamEnd::Unwanted => return,
                StreamEnd::Lost(reason) => reason,
            };
            // A connection that has held for a while starts the backoff anew.
            if opened.elapsed() > PING {
                delays = RECONNECT.waits();
            }
            tracing::warn!(engine = %self.api.host, "events: {reason}; connecting again");
            // Whoever looks now learns that the engine is away, and says so.
            outbox.put(Hint::Everything);
            let again = Instant::now() + delays.next().unwrap_or(EVERYTHING);
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(again) => break,
                    alive = outbox.step() => if !alive { return },
                    end = ends.recv() => outbox.put(hint_of_end(end)),
                }
            }
        }
    }

    /// One connection, to its end.
    async fn follow(&self, outbox: &mut HintQueue, ends: &mut broadcast::Receiver<Option<Key>>) -> StreamEnd {
        match tokio::time::timeout(PING_PATIENCE, self.api.negotiate()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return StreamEnd::Lost(error.to_string()),
            Err(_) => return StreamEnd::Lost("no answer".to_owned()),
        }
        let mut events = Box::pin(self.api.client.events(Some(options())));
        self.background.forget_hands();
        // What happened while nobody listened: everything, now, and once more when the subscription, whose beginning
        // the engine does not tell, surely stands.
        outbox.put(Hint::Everything);
        outbox.put_at(Instant::now() + EVERYTHING);
        let mut ping = tokio::time::interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (answered, mut answers) = mpsc::channel::<Result<(), String>>(1);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => outbox.put(self.hint(&event)),
                    Some(Err(error)) => return StreamEnd::Lost(lost(&error)),
                    None => return StreamEnd::Lost("the engine closed the stream".to_owned()),
                },
                end = ends.recv() => outbox.put(hint_of_end(end)),
                alive = outbox.step() => if !alive { return StreamEnd::Unwanted },
                _ = ping.tick() => {
                    let (api, answered) = (self.api.clone(), answered.clone());
                    drop(tokio::spawn(async move {
                        let answer = match tokio::time::timeout(PING_PATIENCE, api.client.ping()).await {
                            Ok(Ok(_)) => Ok(()),
                            Ok(Err(error)) => Err(lost(&error)),
                            Err(_) => Err("no answer to a ping".to_owned()),
                        };
                        // Full only when an older answer has not been read yet: one is enough.
                        drop(answered.try_send(answer));
                    }));
                }
                Some(Err(reason)) = answers.recv() => return StreamEnd::Lost(reason),
            }
        }
    }

    fn hint(&self, event: &EventMessage) -> Hint {
        let action = event.action.as_deref().unwrap_or_default();
        let actor = event.actor.clone().unwrap_or_default();
        let id = actor.id.unwrap_or_default();
        let attributes = actor.attributes.unwrap_or_default();
        match event.typ {
            Some(Kind::CONTAINER) => {
                let hint = self.hint_of_container(&attributes);
                // Other signals are messages to the application.
                let ends = matches!(attributes.get("signal").map_or("15", String::as_str), "9" | "15");
                let told = matches!(action, "stop" | "start") || (action == "kill" && ends);
                if told && hint != Hint::Nothing {
                    self.background.heard(&ContainerId::new(id), action != "start");
                }
                hint
            }
            Some(Kind::NETWORK) if matches!(action, "connect" | "disconnect") => {
                let service = attributes.get("container").and_then(|id| self.seen.service_of(&ContainerId::new(id)));
                service.map_or(Hint::Nothing, |service| Hint::One(Key::Service(service)))
            }
            Some(Kind::NETWORK) => self.hint_of_object(attributes.get("name").map_or("", String::as_str)),
            Some(Kind::VOLUME) if lease::is_lock(&id) || ownership::is_key(&id) || is_anonymous(&id) => Hint::Nothing,
            Some(Kind::VOLUME) => self.hint_of_object(&id),
            // A reference has many spellings, and any service may wait for it: only the plans know.
            Some(Kind::IMAGE) => Hint::Everything,
            _ => Hint::Nothing,
        }
    }

    /// A container's event carries its labels.
    fn hint_of_container(&self, attributes: &Labels) -> Hint {
        let service = if labels::are_ours(Some(attributes), &self.instance) {
            labels::service(attributes)
        } else {
            labels::service_of_compose(attributes).filter(|service| self.seen.adopts(service))
        };
        service.map_or(Hint::Nothing, |service| Hint::One(Key::Service(service)))
    }

    /// A network's or volume's carries its name only. An unknown one may be the external one that a service waits for.
    fn hint_of_object(&self, name: &str) -> Hint {
        self.seen.project_of(name).map_or(Hint::Everything, |project| Hint::One(Key::Project(project)))
    }
}

/// Keys on their way out: each once, however often it is named before it is taken.
struct HintQueue {
    sender: mpsc::Sender<Option<Key>>,
    keys: BTreeSet<Key>,
    /// When "everything" is due.
    everything: BTreeSet<Instant>,
    /// When it was said last.
    said: Option<Instant>,
}

impl HintQueue {
    fn new(sender: mpsc::Sender<Option<Key>>) -> Self {
        Self { sender, keys: BTreeSet::new(), everything: BTreeSet::new(), said: None }
    }

    fn put(&mut self, hint: Hint) {
        match hint {
            Hint::Nothing => {}
            Hint::One(key) => {
                self.keys.insert(key);
            }
            Hint::Everything => {
                let now = Instant::now();
                let due = self.said.map_or(now, |said| now.max(said + EVERYTHING));
                // One that is due sooner, but still to come, covers this hint, too.
                if self.everything.first().is_none_or(|first| *first > due) {
                    self.everything.insert(due);
                }
            }
        }
    }

    /// "Everything", not before that time, whatever is said earlier.
    fn put_at(&mut self, at: Instant) {
        self.everything.insert(at);
    }

    /// Hands out one key, as soon as there is one and room for it. `false` when nobody listens any more.
    async fn step(&mut self) -> bool {
        if self.keys.is_empty() {
            let closed = self.sender.closed();
            match self.everything.first().copied() {
                None => {
                    closed.await;
                    return false;
                }
                Some(due) => tokio::select! {
                    () = closed => return false,
                    () = tokio::time::sleep_until(due) => {}
                },
            }
        }
        let Ok(room) = self.sender.reserve().await else {
            return false;
        };
        let now = Instant::now();
        if self.everything.first().is_some_and(|due| *due <= now) {
            self.everything.retain(|due| *due > now);
            self.said = Some(now);
            self.keys.clear();
            room.send(None);
        } else if let Some(key) = self.keys.pop_first() {
            room.send(Some(key));
        }
        true
    }
}

fn options() -> EventsOptions {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let actions: BTreeSet<String> = [CONTAINER, OBJECT, IMAGE].iter().flat_map(|words| owned(words)).collect();
    EventsOptions {
        since: None,
        until: None,
        // No label filter: it would hide all networks and volumes, whose events have no labels.
        filters: Some(HashMap::from([
            ("type".to_owned(), owned(TYPES)),
            ("event".to_owned(), actions.into_iter().collect()),
        ])),
    }
}

fn hint_of_end(end: Result<Option<Key>, broadcast::error::RecvError>) -> Hint {
    match end {
        Ok(Some(key)) => Hint::One(key),
        Ok(None) | Err(_) => Hint::Everything,
    }
}

fn lost(error: &Error) -> String {
    super::errors::chain(error)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use composed_core::model::ServiceName;

    fn outbox(room: usize) -> (HintQueue, mpsc::Receiver<Option<Key>>) {
        let (sender, receiver) = mpsc::channel(room);
        (HintQueue::new(sender), receiver)
    }

    fn key(name: &str) -> Key {
        Key::Service(ServiceName::new("p", name))
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_named_often_is_told_once() {
        let (mut outbox, mut keys) = outbox(8);
        for _ in 0..3 {
            outbox.put(Hint::One(key("a")));
        }
        outbox.put(Hint::One(key("b")));
        assert!(outbox.step().await && outbox.step().await);
        assert_eq!(keys.try_recv().ok(), Some(Some(key("a"))));
        assert_eq!(keys.try_recv().ok(), Some(Some(key("b"))));
        assert!(keys.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_told_at_most_once_a_second_and_never_forgotten() {
        let (mut outbox, mut keys) = outbox(8);
        let begin = Instant::now();
        outbox.put(Hint::Everything);
        assert!(outbox.step().await);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        outbox.put(Hint::Everything);
        outbox.put(Hint::Everything);
        assert!(outbox.step().await);
        assert_eq!(begin.elapsed(), EVERYTHING);
        assert_eq!((keys.try_recv().ok(), keys.try_recv().ok()), (Some(None), Some(None)));
        assert!(keys.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn everything_at_a_later_time_is_told_besides_the_one_now() {
        let (mut outbox, mut keys) = outbox(8);
        let begin = Instant::now();
        outbox.put(Hint::Everything);
        outbox.put_at(begin + EVERYTHING);
        assert!(outbox.step().await);
        assert_eq!((keys.try_recv().ok(), begin.elapsed()), (Some(None), Duration::ZERO));
        assert!(outbox.step().await);
        assert_eq!((keys.try_recv().ok(), begin.elapsed()), (Some(None), EVERYTHING));
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_reader() {
        let (mut outbox, keys) = outbox(1);
        drop(keys);
        assert!(!outbox.step().await);
    }

    #[test]
    fn the_filter_hides_healthchecks() {
        let filters = options().filters.expect("filters");
        assert!(filters["event"].iter().all(|event| !event.starts_with("exec")));
        assert!(filters["event"].contains(&"health_status".to_owned()));
        assert!(!filters.contains_key("label"));
    }

    #[test]
    fn anonymous_volumes_are_told_by_their_name() {
        assert!(is_anonymous(&"0a".repeat(32)));
        assert!(!is_anonymous("shop_data"));
    }
}
