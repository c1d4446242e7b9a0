//! The events of the view: one subscription at the engine for all clients, and the status store's changes between. What a
//! client hears is decided here once; each client only filters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use composed_docker::{Docker, RawError};
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use crd_schema::ContainerId;
use futures_util::{StreamExt as _, stream::BoxStream};
use hyper::body::Bytes;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::sync::{broadcast, watch};

use super::event::Event;
use super::mask::Mask;
use super::own::{EventVisibility, InspectedContainer, OwnContainers};

/// A client that is so many events behind is cut off: it lists anew.
pub(super) const BEHIND: usize = 1024;
/// So many announcements are kept for those who come back.
const KEPT: usize = 512;
/// An engine that is away is asked again after so long.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// A dead connection is silent: asked on another one, so often, with this patience.
const PING: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// No proxy reads events of these, and their names are what the masks of mounts hide.
const UNTOLD: [&str; 4] = ["volume", "secret", "plugin", "builder"];
/// No event is longer.
const MAX_LINE: usize = 4 << 20;

/// The feed.
pub(super) struct Feed {
    docker: Arc<Docker>,
    statuses: Arc<StatusStore>,
    clock: Clock,
    mask: Mask,
    own: Mutex<OwnContainers>,
    told: broadcast::Sender<Arc<Event>>,
    execs: broadcast::Sender<Arc<Event>>,
    /// The announcements, with the status store's version of each.
    log: Mutex<VecDeque<(u64, Arc<Event>)>>,
    /// Nothing is told any more.
    silent: AtomicBool,
    /// There is a subscription at the engine.
    up: watch::Sender<bool>,
}

/// What a client listens to.
pub(super) struct Subscription {
    /// What everybody hears.
    pub(super) told: broadcast::Receiver<Arc<Event>>,
    /// `exec_*`, if it asks for them.
    pub(super) execs: Option<broadcast::Receiver<Arc<Event>>>,
    /// Ends when this changes.
    pub(super) up: watch::Receiver<bool>,
}

impl Feed {
    /// A feed that nobody runs yet.
    pub(super) fn new(docker: Arc<Docker>, statuses: Arc<StatusStore>, clock: Clock, mask: Mask) -> Self {
        Self {
            docker,
            statuses,
            clock,
            mask,
            own: Mutex::default(),
            told: broadcast::Sender::new(BEHIND),
            execs: broadcast::Sender::new(BEHIND),
            log: Mutex::default(),
            silent: AtomicBool::new(false),
            up: watch::Sender::new(false),
        }
    }

    /// What is known of this instance's containers.
    pub(super) fn own(&self) -> MutexGuard<'_, OwnContainers> {
        self.own.lock()
    }

    /// An ear that hears everything from now on.
    pub(super) fn listen(&self, execs: bool) -> Subscription {
        let up = self.up.subscribe();
        Subscription { told: self.told.subscribe(), execs: execs.then(|| self.execs.subscribe()), up }
    }

    /// From now on nothing is told.
    pub(super) fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    fn tell(&self, event: Arc<Event>) {
        if !self.silent.load(Ordering::SeqCst) {
            // Nobody listening is fine.
            drop(self.told.send(event));
        }
    }

    /// Waits until there is a subscription at the engine.
    pub(super) async fn is_up(&self) {
        // It is never closed: `self` holds the sender.
        drop(self.up.subscribe().wait_for(|up| *up).await);
    }

    /// The announcements that are not in a list of the status store's `version`.
    pub(super) fn since_version(&self, version: u64) -> Vec<Arc<Event>> {
        self.log().iter().filter(|(at, _)| *at > version).map(|(_, event)| Arc::clone(event)).collect()
    }

    /// What was told between two moments, in nanoseconds since 1970: the engine remembers its last 256 events.
    pub(super) async fn past(&self, since: &str, from: i64, to: i64) -> Result<Vec<Arc<Event>>, RawError> {
        let until = format!("{}.{:09}", to / 1_000_000_000, to % 1_000_000_000);
        let query = [("since", since), ("until", until.as_str())];
        let body = self.docker.get(&format!("/events?{}", encoded(&query))).await?;
        let mut events: Vec<_> = {
            let own = self.own();
            let lines = body.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
            let events = lines.filter_map(|value| Event::read(value, &self.mask));
            let is_own = |event: &Event| {
                let of = event.attributes.get("container").unwrap_or(&event.id);
                own.has(of) || self.owner(event)
            };
            let is_told = |event: &Event| !is_own(event) && !event.is_exec() && !UNTOLD.contains(&event.kind.as_str());
            events.filter(is_told).map(Arc::new).collect()
        };
        let log = self.log();
        events.extend(log.iter().map(|(_, event)| Arc::clone(event)).filter(|event| (from..to).contains(&event.nano)));
        events.sort_by_key(|event| event.nano);
        Ok(events)
    }

    /// Now, in nanoseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    /// Follows the engine and the status store, for ever.
    pub(super) async fn run(&self) {
        loop {
            let why = self.follow().await;
            if self.up.send_replace(false) {
                tracing::warn!("view: {why}; its clients will list again");
            }
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// One subscription, to its end.
    async fn follow(&self) -> String {
        let mut events = match self.subscribe().await {
            Ok(events) => events,
            Err(RawError::Status(_, why) | RawError::Unavailable(why)) => return why,
        };
        let mut version = self.statuses.version();
        version.mark_changed();
        self.up.send_replace(true);
        let mut rest = Vec::new();
        let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
        let mut answer: Option<tokio::task::JoinHandle<bool>> = None;
        loop {
            tokio::select! {
                piece = events.next() => match piece {
                    Some(Ok(piece)) => self.take(&mut rest, &piece).await,
                    Some(Err(RawError::Status(_, why) | RawError::Unavailable(why))) => return why,
                    None => return "the engine has ended its events".to_owned(),
                },
                changed = version.changed() => match changed {
                    Ok(()) => self.announce().await,
                    Err(_) => return "the board is gone".to_owned(),
                },
                _ = ping.tick(), if answer.is_none() => {
                    let docker = Arc::clone(&self.docker);
                    let ask = async move { tokio::time::timeout(PING_TIMEOUT, docker.get("/_ping")).await.is_ok_and(|answer| answer.is_ok()) };
                    answer = Some(tokio::spawn(ask));
                }
                well = async { match answer.as_mut() { Some(task) => task.await, None => std::future::pending().await } } => {
                    answer = None;
                    if !well.unwrap_or(false) {
                        return "the engine does not answer".to_owned();
                    }
                }
            }
            if rest.len() > MAX_LINE {
                return "an event does not end".to_owned();
            }
        }
    }

    /// The engine's events from a moment on that has passed, and all containers that there are then.
    async fn subscribe(&self) -> Result<BoxStream<'static, Result<Bytes, RawError>>, RawError> {
        // By the engine's own clock: it tells what it remembers since then, however late the subscription stands.
        let info: Value = json(&self.docker.get("/info").await?);
        let now = info.get("SystemTime").and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        let query = now.map(|now| format!("?since={}.{:09}", now.as_second(), now.subsec_nanosecond()));
        let events = self.docker.follow(&format!("/events{}", query.unwrap_or_default()));
        let filters = serde_json::json!({"label": [self.docker.own_label()]}).to_string();
        let query = encoded(&[("all", "1"), ("filters", &filters)]);
        let list: Value = json(&self.docker.get(&format!("/containers/json?{query}")).await?);
        let ids = list.as_array().into_iter().flatten().filter_map(|one| one.get("Id")?.as_str());
        let ids: Vec<_> = ids.map(ContainerId::new).collect();
        self.own().retain(|id| ids.iter().any(|there| there == id));
        for id in ids {
            self.learn(&id).await;
        }
        Ok(events)
    }

    async fn take(&self, rest: &mut Vec<u8>, piece: &[u8]) {
        rest.extend_from_slice(piece);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event = serde_json::from_slice(&line).ok().and_then(|value| Event::read(value, &self.mask));
            if let Some(event) = event {
                self.pass(event).await;
            }
        }
    }

    async fn pass(&self, event: Event) {
        let is_own = self.owner(&event);
        if event.is_exec() {
            if self.execs.receiver_count() > 0 && self.own().judge(&event, is_own, |_| false) == EventVisibility::Tell {
                drop(self.execs.send(Arc::new(event)));
            }
            return;
        }
        if UNTOLD.contains(&event.kind.as_str()) {
            return;
        }
        let (serving, _) = self.statuses.serving();
        let verdict = self.own().judge(&event, is_own, |id| serving.contains_key(id));
        if is_own && matches!(event.action.as_str(), "create" | "rename") {
            self.learn(&ContainerId::new(&event.id)).await;
        }
        if verdict == EventVisibility::Tell {
            self.tell(Arc::new(event));
        }
    }

    /// Whether an event is about a container of this instance: by its labels, or because it was adopted.
    fn owner(&self, event: &Event) -> bool {
        let label = |name: &str| event.attributes.get(name).map(String::as_str);
        event.kind == "container"
            && (self.docker.owner(label).is_some() || self.statuses.follows(&ContainerId::new(&event.id)))
    }

    /// Asks the engine what a container is. One that has gone meanwhile is known by its id alone.
    async fn learn(&self, id: &ContainerId) {
        let asked = tokio::time::timeout(PING_TIMEOUT, self.docker.get(&format!("/containers/{id}/json"))).await;
        let facts = asked.ok().and_then(Result::ok).map(|body| InspectedContainer::read(&json(&body)));
        self.own().learn(id, facts);
    }

    /// Tells what the status store shows since it was told last.
    async fn announce(&self) {
        if !self.statuses.health().ready {
            return;
        }
        let (serving, version) = self.statuses.serving();
        let (come, go) = self.own().differences(&serving);
        for (ids, comes) in [(come, true), (go, false)] {
            for id in ids {
                if self.own().facts(&id).is_none() {
                    self.learn(&id).await;
                }
                for event in self.announcement(&id, comes) {
                    let event = Arc::new(event);
                    self.keep(version, Arc::clone(&event));
                    self.tell(event);
                }
            }
        }
    }

    fn announcement(&self, id: &ContainerId, comes: bool) -> Vec<Event> {
        let mut own = self.own();
        own.announce(id, comes);
        let (mut attributes, has_health) =
            own.facts(id).map_or_else(Default::default, |facts| (facts.attributes.clone(), facts.has_health));
        drop(own);
        let actions = match comes {
            true if has_health => vec!["start", "health_status: healthy"],
            true => vec!["start"],
            false => {
                attributes.insert("exitCode".to_owned(), "0".to_owned());
                vec!["die"]
            }
        };
        let event = |action| Event::of_container(action, id.as_str(), &attributes, self.now(), &self.mask);
        actions.into_iter().map(event).collect()
    }

    fn keep(&self, version: u64, event: Arc<Event>) {
        let mut log = self.log();
        log.push_back((version, event));
        if log.len() > KEPT {
            log.pop_front();
        }
    }

    fn log(&self) -> MutexGuard<'_, VecDeque<(u64, Arc<Event>)>> {
        self.log.lock()
    }
}

/// A query of these pairs.
pub(super) fn encoded(pairs: &[(&str, &str)]) -> String {
    serde_urlencoded::to_string(pairs).unwrap_or_default()
}

/// What is no JSON is nothing.
pub(super) fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}
