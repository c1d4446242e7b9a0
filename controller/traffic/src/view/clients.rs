//! Who reads the view, what they have read, and when it is in force with them. A client with an event stream that has
//! listed containers is a proxy. Clients are told apart by their process; one that cannot be seen from here (another
//! pid namespace) by what it calls itself and by its connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// A proxy reads the list so soon after an event, or is not waited for any longer; Traefik is, by who leaves.
const READER_TIMEOUT: Duration = Duration::from_secs(3);
/// A proxy whose event stream has ended comes back within this time, with an old state until then. Traefik tries again
/// after 0.5 s, then ever later.
const COMES_BACK: Duration = Duration::from_secs(30);
/// After the first proxy has come back to a controller that was restarted, the others have so long.
const OTHERS: Duration = Duration::from_secs(5);
/// From the end of a reading until a proxy sends requests by it, beside its throttle. Measured with Traefik 3.7 by the
/// end-to-end test with throttle 0, reading included: 65 to 674 ms from the event until its API shows it (41 times, 2
/// cores with a load of 8 to 10).
const MARGIN: Duration = Duration::from_millis(750);
/// The least that other proxies than Traefik take to have new configuration in force: they render a file and reload.
const RELOAD: Duration = Duration::from_secs(1);
/// An inspect so soon after the list or another inspect belongs to that list.
const INSPECTS: Duration = Duration::from_secs(1);
/// So many readings are remembered.
const READINGS: usize = 32;

/// Who a client is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    /// A process that can be seen from here, and its `User-Agent`.
    Process(i32, String),
    /// All those that call themselves so.
    Agent(String),
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    /// Whose it is.
    pub(super) name: Name,
    /// Its number.
    pub(super) connection: u64,
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    all: BTreeMap<Name, Client>,
    throttle: Duration,
    began: Instant,
    /// When the first proxy had come and listed.
    first: Option<Instant>,
}

#[derive(Debug, Default)]
struct Client {
    streams: usize,
    /// When the last of its streams ended.
    gone: Option<Instant>,
    /// By connection; one for a process.
    readers: BTreeMap<u64, Reader>,
    open: BTreeSet<u64>,
}

/// One that reads lists, each followed by inspects.
#[derive(Debug, Default)]
struct Reader {
    readings: VecDeque<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    /// The status store's version when it began.
    version: u64,
    /// When it ended, as far as one can see; nothing while the list is under way.
    ended: Option<Instant>,
    /// When Traefik let a configuration pass last before this reading's.
    passed: Option<Instant>,
}

/// What a change is to its readers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    /// The status store's version that shows it; nothing while it is not yet shown.
    pub(super) version: Option<u64>,
    /// Since when.
    pub(super) since: Instant,
    /// One that has served is to be let go.
    pub(super) leaves: bool,
}

/// Where the clients stand with a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ReadState {
    /// There are none.
    Nobody,
    /// By all.
    In,
    /// Not by these before then.
    NotBefore(Instant, String),
}

impl Clients {
    /// None yet. Traefik lets a configuration pass `throttle` after the one before at the earliest.
    pub(super) fn new(throttle: Duration) -> Self {
        Self { all: BTreeMap::new(), throttle, began: Instant::now(), first: None }
    }

    /// A connection is open.
    pub(super) fn connected(&mut self, caller: &Caller) {
        self.all.entry(caller.name.clone()).or_default().open.insert(caller.connection);
    }

    /// A connection has ended.
    pub(super) fn disconnected(&mut self, caller: &Caller) {
        if let Some(client) = self.all.get_mut(&caller.name) {
            client.open.remove(&caller.connection);
            if matches!(caller.name, Name::Agent(_)) && client.streams > 0 {
                client.readers.retain(|connection, _| client.open.contains(connection));
            }
        }
        self.forget();
    }

    /// An event stream is open. Answers the status store's version that the client has listed last, if it has.
    pub(super) fn listens(&mut self, caller: &Caller) -> Option<u64> {
        let client = self.all.entry(caller.name.clone()).or_default();
        client.streams += 1;
        client.gone = None;
        if !client.readers.is_empty() {
            self.first.get_or_insert_with(Instant::now);
        }
        client.readers.values().filter_map(Reader::listed).min()
    }

    /// An event stream has ended.
    pub(super) fn hung_up(&mut self, caller: &Caller) {
        if let Some(client) = self.all.get_mut(&caller.name) {
            client.streams = client.streams.saturating_sub(1);
            if client.streams == 0 {
                client.gone = Some(Instant::now());
            }
        }
    }

    /// A list begins, with the status store at `version`.
    pub(super) fn lists(&mut self, caller: &Caller, version: u64) {
        let throttle = self.throttle;
        let client = self.all.entry(caller.name.clone()).or_default();
        let reader = client.readers.entry(reader_of(caller)).or_default();
        let passed = reader.readings.back().and_then(|last| last.passes(throttle).or(last.passed));
        reader.readings.push_back(Reading { version, ended: None, passed });
        if reader.readings.len() > READINGS {
            reader.readings.pop_front();
        }
    }

    /// A list, or an inspect after it, has been answered.
    pub(super) fn has_read(&mut self, caller: &Caller) {
        let now = Instant::now();
        let Some(client) = self.all.get_mut(&caller.name) else { return };
        let is_proxy = client.streams > 0;
        // Inspects may come by other connections than the list.
        let reader = match caller.name {
            Name::Process(..) => client.readers.get_mut(&0),
            Name::Agent(_) if client.readers.contains_key(&caller.connection) => {
                client.readers.get_mut(&caller.connection)
            }
            Name::Agent(_) => {
                client.readers.values_mut().max_by_key(|reader| reader.readings.back().map(|last| last.ended))
            }
        };
        if let Some(last) = reader.and_then(|reader| reader.readings.back_mut()) {
            // What comes later belongs to something else.
            if last.ended.is_none_or(|ended| now < ended + INSPECTS) {
                last.ended = Some(now);
            }
            if is_proxy {
                self.first.get_or_insert(now);
            }
        }
    }

    /// Whether nobody has begun or ended a reading since `moment`. Clients that are no proxies yet read, too.
    pub(super) fn are_quiet_since(&self, moment: Instant) -> bool {
        let mut last =
            self.all.values().flat_map(|client| client.readers.values()).filter_map(|one| one.readings.back());
        last.all(|last| last.ended.is_some_and(|ended| ended < moment))
    }

    /// Where they stand with a change. `proven` are those who are known to have it in force, by their `User-Agent`.
    pub(super) fn propagation(&self, change: Change, proven: Option<&str>) -> ReadState {
        let now = Instant::now();
        let proxies: Vec<_> = self.all.iter().filter(|(_, client)| client.is_proxy(now)).collect();
        let only = |agent: &str| proxies.iter().filter(|(name, _)| agent_of(name).starts_with(agent)).count() == 1;
        let mut pending: Vec<(Instant, String)> = Vec::new();
        for (name, client) in &proxies {
            let agent = agent_of(name);
            if proven.is_some_and(|proven| agent.starts_with(proven) && only(proven) && client.proxies(name) == 1) {
                continue;
            }
            let until = client.has_in_force(name, change, self.throttle);
            if until > now {
                pending.push((until, words(name)));
            }
        }
        // Before this controller there may have been another, whose proxies are still on their way back.
        let back = self.first.map_or(self.began + COMES_BACK, |first| (first + OTHERS).min(self.began + COMES_BACK));
        if change.leaves && now < back && pending.is_empty() {
            pending.push((back, "proxies to come back after the start of the controller".to_owned()));
        }
        match pending.iter().map(|(until, _)| *until).max() {
            Some(until) => {
                let who: BTreeSet<_> = pending.into_iter().map(|(_, who)| who).collect();
                ReadState::NotBefore(until, who.into_iter().collect::<Vec<_>>().join(" and "))
            }
            None if proxies.is_empty() => ReadState::Nobody,
            None => ReadState::In,
        }
    }

    /// Clients that are gone for good.
    fn forget(&mut self) {
        let now = Instant::now();
        // One that has just listed may be about to listen.
        let reads = |client: &Client| client.readers.values().filter_map(Reader::ended).any(|at| now < at + COMES_BACK);
        let there = |client: &Client| !client.open.is_empty() || client.streams > 0;
        self.all.retain(|_, client| there(client) || client.is_proxy(now) || reads(client));
    }
}

impl Client {
    fn is_proxy(&self, now: Instant) -> bool {
        let listens = self.streams > 0 || self.gone.is_some_and(|gone| now < gone + COMES_BACK);
        listens && !self.readers.is_empty()
    }

    /// When all of it have a change in force, at the latest.
    fn has_in_force(&self, name: &Name, change: Change, throttle: Duration) -> Instant {
        let agent = agent_of(name);
        let bound = match self.gone {
            Some(gone) => gone + COMES_BACK,
            None => change.since + READER_TIMEOUT + throttle.max(least(agent)) + MARGIN,
        };
        let Some(version) = change.version else { return bound };
        let read =
            self.readers.values().filter_map(|reader| reader.has_taken_in(agent, version, change.leaves, throttle));
        let read: Vec<Instant> = read.collect();
        // Traefik lists at each event. While it has not, it sends by what it knew: `drain_timeout` ends the wait.
        if change.leaves && self.gone.is_none() && agent.starts_with(TRAEFIK) && read.is_empty() {
            return bound.max(Instant::now() + MARGIN);
        }
        // Several that cannot be told apart have read when as many connections have.
        if read.len() < self.proxies(name) {
            return bound;
        }
        read.into_iter().max().map_or(bound, |until| until.min(bound))
    }
}

impl Client {
    /// How many proxies it is.
    fn proxies(&self, name: &Name) -> usize {
        match name {
            Name::Process(..) => 1,
            Name::Agent(_) => self.streams.max(1),
        }
    }
}

impl Reader {
    fn listed(&self) -> Option<u64> {
        self.readings.iter().filter(|reading| reading.ended.is_some()).map(|reading| reading.version).max()
    }

    fn ended(&self) -> Option<Instant> {
        self.readings.back()?.ended
    }

    /// When it sends no more requests to one that leaves, or has read of one that comes. That is enough: whatever it has
    /// in force without one that leaves later has the new one in it, too.
    fn has_taken_in(&self, agent: &str, version: u64, leaves: bool, throttle: Duration) -> Option<Instant> {
        let read = self.readings.iter().filter(|reading| reading.version >= version);
        let in_force = read.filter_map(|reading| {
            if !leaves {
                reading.ended
            } else if agent.starts_with(TRAEFIK) {
                Some(reading.passes(throttle)? + MARGIN)
            } else {
                Some(reading.ended? + throttle.max(RELOAD) + MARGIN)
            }
        });
        in_force.min()
    }
}

/// What Traefik's docker provider calls itself begins so. Source: traefik `pkg/provider/docker/shared.go`.
pub(super) const TRAEFIK: &str = "Traefik";

impl Reading {
    /// When Traefik lets the configuration of this reading pass: at once, if none has passed for `throttle`; else
    /// `throttle` after that. One that still waits then is replaced by this. Source: traefik
    /// `pkg/provider/aggregator/aggregator.go`, `ring_channel.go`.
    fn passes(&self, throttle: Duration) -> Option<Instant> {
        let ended = self.ended?;
        Some(match self.passed {
            // One waits, and not so shortly before its turn that this one may miss it.
            Some(passed) if passed >= ended + MARGIN => passed,
            Some(passed) => ended.max(passed + throttle),
            None => ended,
        })
    }
}

fn reader_of(caller: &Caller) -> u64 {
    match caller.name {
        Name::Process(..) => 0,
        Name::Agent(_) => caller.connection,
    }
}

fn agent_of(name: &Name) -> &str {
    match name {
        Name::Process(_, agent) | Name::Agent(agent) => agent,
    }
}

fn least(agent: &str) -> Duration {
    if agent.starts_with(TRAEFIK) { Duration::ZERO } else { RELOAD }
}

fn words(name: &Name) -> String {
    let short = |agent: &str| match agent {
        "" => "a proxy".to_owned(),
        agent => agent.chars().filter(|c| !c.is_control()).take(40).collect(),
    };
    match name {
        Name::Process(pid, agent) => format!("{} (pid {pid})", short(agent)),
        Name::Agent(agent) => short(agent),
    }
}

#[cfg(test)]
mod tests;
