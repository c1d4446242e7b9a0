//! Traefik's file and HTTP providers: its dynamic configuration, made of the services' own `traefik.*` labels and of who
//! serves, for people who cannot let Traefik read the endpoint view.
//!
//! Traefik takes a configuration whole or not at all, from everybody at once. So a service's labels are checked before they
//! become part of it (`schema`), a name belongs to one project (`names`), and where Traefik's API is given, what it has
//! loaded is seen there (`loaded`): without it, it can only be waited for.

mod config;
mod loaded;
mod names;
mod schema;
mod taken;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crd_schema::ServiceSpec;
use crd_schema::status::{Proof, TrafficPath};
use serde_json::Value;
use tokio::time::Instant;

use self::loaded::{Loaded, Said};
use self::names::Claims;
use self::taken::Taken;
use super::paths::{Path, Standing};
use super::share::weights;
use crate::board::{Board, Shown};
use crate::clock::Clock;
use crate::listen::Hosts;
use crate::model::{Memory, Replica, ServiceName};
use crate::state;

/// From a file's change, or an answer, to Traefik's taking note of it, and from its new configuration to the last request
/// by the old one.
const MARGIN: Duration = Duration::from_millis(400);
/// Traefik's HTTP provider is expected to ask at least so often (its default is 5 s).
const POLL: Duration = Duration::from_secs(6);
/// One that has not asked for so long has gone. Until then it may send requests by what it was given last.
const GONE: Duration = Duration::from_mins(10);
/// What was not handed over is looked at again after so long.
const LOOK: Duration = MARGIN;
/// What is waited for where the file cannot be written.
const STALE: &str = "Traefik's file to be written (the log says why it cannot be)";
/// Traefik's API is asked so often while something waits for it, and otherwise.
const ASK: Duration = Duration::from_millis(200);
const ASK_IDLE: Duration = Duration::from_secs(5);
/// A configuration that is not loaded for so much longer than Traefik may take is told as not loaded.
const LATE: Duration = Duration::from_secs(3);

/// How Traefik is given its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// Traefik's `providers.providersThrottleDuration`.
    pub throttle: Duration,
    /// By a file, else by answers to its HTTP provider.
    pub by_file: bool,
    /// Where its API answers, such as `http://127.0.0.1:8080`: then what it has loaded is seen, not waited for.
    pub api: Option<String>,
    /// Where it is remembered which project has which name; without it, the process remembers.
    pub names: Option<PathBuf>,
}

/// A generated configuration, and who has taken what of it.
pub struct Traefik {
    board: Arc<Board>,
    options: Options,
    clock: Clock,
    began: Instant,
    taken: Mutex<Taken>,
    made: Mutex<Made>,
    loaded: Option<Loaded>,
    /// The containers of each service that served when this process first heard of it.
    before: Mutex<BTreeMap<ServiceName, BTreeSet<String>>>,
    /// By which names its HTTP provider may ask.
    hosts: OnceLock<Hosts>,
}

/// What was made last.
#[derive(Default)]
struct Made {
    config: Value,
    /// Counts the different configurations.
    number: u64,
    problems: BTreeMap<ServiceName, Vec<String>>,
    claims: Claims,
}

impl Traefik {
    /// A configuration of what `board` shows.
    pub fn new(board: Arc<Board>, options: Options) -> Arc<Self> {
        let owners = state::read(options.names.as_deref(), "who has which name at Traefik");
        let made = Mutex::new(Made { claims: Claims::known(owners), ..Made::default() });
        let loaded = options.api.as_deref().map(|url| Loaded::new(url, options.by_file));
        let (clock, began) = (Clock::system(), Instant::now());
        let (taken, before, hosts) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Arc::new(Self { board, options, clock, began, taken, made, loaded, before, hosts })
    }

    /// Its HTTP provider is answered for these names only: who is refused there is told of.
    pub fn answers_for(&self, hosts: Hosts) {
        drop(self.hosts.set(hosts));
    }

    /// The configuration, for Traefik's HTTP provider. Nothing before all services were looked at: Traefik keeps what it
    /// has.
    pub fn poll(&self) -> Option<String> {
        let (version, number, text) = self.render()?;
        self.lock().add(version, number);
        Some(text)
    }

    /// Keeps a file for Traefik's file provider as the board says, whole or not at all. Ends when the board does.
    pub async fn keep_file(self: Arc<Self>, path: PathBuf) {
        let mut versions = self.board.version();
        let mut last = None;
        loop {
            versions.borrow_and_update();
            if let Some((version, number, text)) = self.render() {
                let differs = last.as_ref() != Some(&text);
                let written = if differs { write(&path, &text) } else { Ok(()) };
                match written {
                    Ok(()) => {
                        last = Some(text);
                        let mut taken = self.lock();
                        taken.add(version, number);
                        taken.stale = false;
                    }
                    Err(error) => {
                        self.lock().stale = true;
                        tracing::error!(path = %path.display(), %error, "Traefik's configuration cannot be written");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                }
            }
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    /// Asks Traefik's API what it has loaded, often while something waits for that. Ends at once where none is given.
    pub async fn keep_asking(self: Arc<Self>) {
        let Some(loaded) = &self.loaded else { return };
        let mut idle = Duration::ZERO;
        loop {
            tokio::time::sleep(ASK).await;
            idle += ASK;
            if std::mem::take(&mut self.lock().asks) || idle >= ASK_IDLE {
                idle = Duration::ZERO;
                loaded.ask().await;
            }
        }
    }

    /// The version of the board, and the configuration as of then or later, with its number.
    fn render(&self) -> Option<(u64, u64, String)> {
        let version = *self.board.version().borrow();
        if !self.board.health().ready {
            return None;
        }
        let labels = self.board.labels();
        let services = self.board.statuses().into_iter().filter_map(|status| {
            let name = ServiceName::new(&status.project, &status.name);
            let by_revision = labels.get(&name)?;
            let mut replicas: Vec<_> = status.instances.iter().filter(|instance| instance.serves()).collect();
            let serves = |revision: &&String| replicas.iter().any(|instance| instance.revision == **revision);
            let is_good =
                |revision: &String| by_revision.get(revision).is_none_or(|own| config::problems(own).is_empty());
            // The newest revision that serves is the one whose labels count, if Traefik takes them.
            let revisions = || [&status.revision].into_iter().chain(by_revision.keys()).filter(serves);
            let good = revisions().find(|revision| is_good(revision));
            let wanted = good.or_else(|| revisions().next()).unwrap_or(&status.revision).clone();
            let own = by_revision.get(&wanted)?.clone();
            if is_good(&wanted) {
                // Others are of programs that may listen elsewhere.
                replicas.retain(|replica| is_good(&replica.revision));
            }
            let since = replicas.iter().map(|replica| replica.since).min();
            let weights = status.canary.as_ref().map(|canary| weights(canary, &replicas, u32::MAX));
            let addresses = replicas.iter().map(|instance| (instance.addresses.clone(), instance.endpoints.clone()));
            Some(config::Service { name, labels: own, replicas: addresses.collect(), weights, since })
        });
        let services: Vec<_> = services.collect();
        let mut made = self.made();
        let before = made.claims.owners().clone();
        let config::Made { mut config, problems } = config::dynamic(&services, &mut made.claims);
        for (service, told) in problems.iter().filter(|(service, told)| made.problems.get(*service) != Some(*told)) {
            tracing::warn!(%service, "left out of Traefik's configuration: {}", told.join("; "));
        }
        made.problems = problems;
        if config != made.config {
            made.config.clone_from(&config);
            made.number += 1;
        }
        if let Some(file) = self.options.names.as_ref().filter(|_| before != *made.claims.owners())
            && let Ok(text) = serde_json::to_vec_pretty(made.claims.owners())
            && let Err(error) = state::replace(file, &text, false)
        {
            tracing::warn!(file = %file.display(), %error, "which project has which name in Traefik cannot be saved");
        }
        if let Some(loaded) = &self.loaded {
            loaded.mark(&mut config, made.number);
        }
        Some((version, made.number, config::text(&config)))
    }

    /// Until when what was handed over at `at` is applied, if nobody can be asked.
    fn bound(&self) -> Duration {
        self.options.throttle + MARGIN
    }

    /// Whether Traefik is given anything: its HTTP provider may never have asked.
    fn is_used(&self) -> bool {
        self.options.by_file || self.lock().at.back().is_some_and(|last| last.at.elapsed() < GONE)
    }

    /// What is waited for, and since when Traefik has not loaded what it was given, if that takes too long.
    fn late(&self, said: &Said) -> Option<String> {
        let api = self.loaded.as_ref().map(Loaded::authority).unwrap_or_default();
        let time = |at| self.clock.timestamp(at).strftime("%T").to_string();
        if let Some((since, why)) = &said.silent {
            let since = time(*since);
            return Some(format!(
                "its API at {api} does not answer since {since} ({why}): what it has loaded is not known"
            ));
        }
        let poll = if self.options.by_file { Duration::ZERO } else { POLL };
        let first = self.lock().first_after(said.number)?;
        let is_late = said.asked? > first.at + self.bound() + poll + LATE;
        is_late.then(|| {
            let path = if self.options.by_file { "its file" } else { "its HTTP provider's configuration" };
            let since = time(first.at);
            format!("Traefik has not loaded {path} since {since}: its log says why (asked at {api})")
        })
    }

    /// By the word of its API.
    fn seen(&self, loaded: &Loaded, service: &ServiceName, id: &str, shown: (bool, Option<Shown>)) -> Standing {
        let (serves, shown) = shown;
        // What was in traffic before this process stays: an API that is away holds rollouts, and takes nothing from anybody.
        if serves && self.before().get(service).is_some_and(|ids| ids.contains(id)) {
            return Standing::Settled;
        }
        let said = loaded.said();
        let wait = |what: String| {
            self.lock().asks = true;
            Standing::Pending { what, until: Instant::now() + LOOK }
        };
        let what = || match (self.late(&said), serves) {
            (Some(late), _) => format!("Traefik ({late})"),
            (None, true) => "Traefik to load its configuration with it".to_owned(),
            (None, false) => "Traefik to load its configuration without it".to_owned(),
        };
        let Some(shown) = shown else {
            // What is loaded of this process has never named it.
            return if !serves && said.highest.is_some() { Standing::Unused } else { wait(what()) };
        };
        let handed = self.lock().first_with(shown.version).filter(|_| shown.serving == serves);
        let is_loaded =
            handed.is_some_and(|handed| said.number >= Some(handed.number) && said.asked >= Some(handed.at));
        if is_loaded { Standing::Settled } else { wait(what()) }
    }

    /// Why Traefik would not take what the replica's own revision says, while another one serves of which it takes all: it
    /// is that one's labels that are in force.
    fn held(&self, service: &ServiceName, replica: &Replica) -> Option<String> {
        let labels = self.board.labels();
        let revisions = labels.get(service)?;
        let wrong = config::problems(revisions.get(&replica.revision)?);
        let first = wrong.first()?;
        let status = self.board.status(service)?;
        let mut others = status.instances.iter().filter(|other| other.serves());
        let is_good = |revision: &str| {
            revisions.get(revision).is_some_and(|own| config::concerns(own) && config::problems(own).is_empty())
        };
        others.any(|other| is_good(&other.revision)).then(|| format!("Traefik to take its labels: {first}"))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn before(&self) -> MutexGuard<'_, BTreeMap<ServiceName, BTreeSet<String>>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Path for Traefik {
    fn notice(&self, service: &ServiceName, _: Option<&ServiceSpec>, memory: &Memory, _: &[Replica]) {
        let served = || memory.serving.keys().cloned().collect();
        self.before().entry(service.clone()).or_insert_with(served);
    }

    /// The one who leaves is waited for: handed over, and then as long as Traefik may take to apply it, or until its API
    /// shows that. The one who comes need not be where no API is given, as long as things can be handed over: until it is
    /// applied, requests go to those who stay.
    fn standing(&self, service: &ServiceName, replica: &Replica, serves: bool, shown: Option<Shown>) -> Standing {
        // Whose labels are not known yet may be ours.
        if self.board.labels().get(service).is_some_and(|revisions| !revisions.values().any(config::concerns)) {
            return Standing::Unused;
        }
        if let Some(what) = self.held(service, replica).filter(|_| serves) {
            return Standing::Pending { what, until: Instant::now() + LOOK };
        }
        // What the process before this one handed over may be in force.
        let begin = self.began + POLL + self.options.throttle + MARGIN;
        let before_us = || match Standing::before(begin, "Traefik to hear of this controller") {
            pending @ Standing::Pending { .. } if !serves => pending,
            _ => Standing::Unused,
        };
        let is_stale = self.lock().stale;
        let is_used = self.is_used();
        if let Some(loaded) = self.loaded.as_ref().filter(|_| is_used && !is_stale) {
            return self.seen(loaded, service, &replica.id, (serves, shown));
        }
        let Some(shown) = shown else { return before_us() };
        if !is_used {
            return before_us();
        }
        // Until things can be handed over: `progress_deadline` and `drain_timeout` end that.
        if serves {
            return if is_stale { Standing::before(Instant::now() + LOOK, STALE) } else { Standing::Settled };
        }
        let handed = self.lock().first_with(shown.version).filter(|_| !shown.serving);
        let until = handed.map_or_else(|| Instant::now() + LOOK, |handed| handed.at + self.bound());
        let what = match (is_stale, self.options.by_file) {
            (true, _) => STALE,
            (false, true) => "Traefik to apply its file",
            (false, false) => "Traefik to ask and apply",
        };
        Standing::before(until, what)
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let labels = self.board.labels();
        labels.get(service).filter(|revisions| revisions.values().any(config::concerns))?;
        let path = if self.options.by_file { "Traefik's file" } else { "Traefik's HTTP provider" };
        if !self.is_used() {
            // It may be a stranger: that holds nothing.
            let host = self.hosts.get().and_then(Hosts::refused)?;
            let detail = format!(
                "it is not served: requests for the host {host} are refused, so that a Traefik which asks by that name keeps \
                 what it has; start composed with --allow-host {host}"
            );
            return Some(TrafficPath { path: path.to_owned(), proof: Proof::NotApplied, detail });
        }
        let (proof, mut detail) = match &self.loaded {
            _ if self.lock().stale => (Proof::NotApplied, "the file cannot be written: the log says why".to_owned()),
            Some(loaded) => match self.late(&loaded.said()) {
                Some(late) => (Proof::NotApplied, late),
                None => (Proof::Proven, "Traefik's own API shows which configuration it has loaded".to_owned()),
            },
            None => {
                let bound = self.bound();
                let detail = format!(
                    "Traefik applies what it was given within {bound:?}, if it takes it; --traefik-api proves that it has"
                );
                (Proof::Bounded, detail)
            }
        };
        // By the labels that are in force, and by those that are not for what is wrong with them.
        let status = self.board.status(service);
        let newest = status.and_then(|status| labels.get(service)?.get(&status.revision).map(config::problems));
        let mut wrong = self.made().problems.get(service).cloned().unwrap_or_default();
        for one in newest.unwrap_or_default() {
            if !wrong.contains(&one) {
                wrong.push(one);
            }
        }
        if !wrong.is_empty() {
            detail = format!("{detail}; left out: {}", wrong.join("; "));
        }
        Some(TrafficPath { path: path.to_owned(), proof, detail })
    }
}

fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(text.as_bytes())?;
    // Traefik is somebody else.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (Arc<Board>, ServiceName, Replica) {
        let replica = serde_json::from_value(serde_json::json!({
            "id": "id1", "name": "shop-web-1", "number": 1, "service": {"project": "shop", "name": "web"}, "revision": "r",
            "generation": 1, "created_at": "2026-01-01T00:00:00Z", "state": "running"
        }));
        (Arc::default(), ServiceName::new("shop", "web"), replica.unwrap())
    }

    fn options(throttle: Duration, by_file: bool) -> Options {
        Options { throttle, by_file, api: None, names: None }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_process_before_this_one_handed_over_is_waited_out() {
        let (board, service, replica) = scene();
        let throttle = Duration::from_secs(2);
        for by_file in [true, false] {
            let traefik = Traefik::new(Arc::clone(&board), options(throttle, by_file));
            assert_eq!(traefik.standing(&service, &replica, true, None), Standing::Unused);
            let leaving = || traefik.standing(&service, &replica, false, None);
            assert!(matches!(leaving(), Standing::Pending { .. }), "its labels are not even known yet");
            tokio::time::advance(POLL + throttle + MARGIN).await;
            assert_eq!(leaving(), Standing::Unused);
        }
        board.put_labels(&service, [("r".to_owned(), [("a".to_owned(), "b".to_owned())].into())].into());
        let traefik = Traefik::new(board, options(throttle, true));
        assert_eq!(traefik.standing(&service, &replica, false, None), Standing::Unused, "Traefik does not know it");
    }

    /// A replica that has left the board is not let go of before Traefik was told; nor does one count before it can be.
    #[tokio::test(start_paused = true)]
    async fn what_was_not_handed_over_is_waited_for() {
        let (board, service, replica) = scene();
        let labels = [("r".to_owned(), [("traefik.enable".to_owned(), "true".to_owned())].into())];
        board.put_labels(&service, labels.into());
        let traefik = Traefik::new(board, options(Duration::from_secs(2), true));
        let gone = || Some(Shown { serving: false, version: 7, since: Instant::now() });
        let there = || Some(Shown { serving: true, version: 7, since: Instant::now() });
        let held =
            |serves, shown| matches!(traefik.standing(&service, &replica, serves, shown), Standing::Pending { .. });
        traefik.lock().add(6, 1);
        assert_eq!(traefik.standing(&service, &replica, true, there()), Standing::Settled);
        traefik.lock().stale = true;
        tokio::time::advance(Duration::from_mins(5)).await;
        assert!(held(true, there()) && held(false, gone()), "the file says what it said before");
        traefik.lock().stale = false;
        traefik.lock().add(7, 2);
        assert!(!held(true, there()) && held(false, gone()), "Traefik may take its throttle");
        tokio::time::advance(Duration::from_secs(2) + MARGIN).await;
        assert!(!held(false, gone()));
    }

    /// A Traefik that asks by a name that is not allowed keeps what it has: that must be seen somewhere.
    #[tokio::test(start_paused = true)]
    async fn a_refused_name_is_told_of_and_holds_nothing() {
        let (board, service, replica) = scene();
        let labels = [("r".to_owned(), [("traefik.enable".to_owned(), "true".to_owned())].into())];
        board.put_labels(&service, labels.into());
        let traefik = Traefik::new(board, options(Duration::ZERO, false));
        let hosts = Hosts::new(&[]);
        traefik.answers_for(hosts.clone());
        assert_eq!(traefik.about(&service), None, "nobody asks");
        let request = hyper::Request::builder().header("host", "composed:9090").body(()).unwrap();
        assert!(hosts.check(&request).is_err());
        let about = traefik.about(&service).unwrap();
        assert_eq!(about.proof, Proof::NotApplied);
        assert!(about.detail.contains("--allow-host composed") && !about.detail.contains("9090"), "{about:?}");
        assert_eq!(traefik.standing(&service, &replica, true, None), Standing::Unused, "it may be a stranger");
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(traefik.about(&service), None);
    }

    fn status(instances: &[(&str, &str, &str)]) -> crd_schema::status::ServiceStatus {
        let instance = |(id, revision, phase): &(&str, &str, &str)| crd_schema::status::ReplicaStatus {
            name: (*id).to_owned(),
            id: (*id).to_owned(),
            revision: (*revision).to_owned(),
            phase: (*phase).to_owned(),
            since: jiff::Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: [("net".to_owned(), format!("10.0.0.{}", id.len()))].into(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        };
        crd_schema::status::ServiceStatus {
            project: "shop".to_owned(),
            name: "web".to_owned(),
            revision: "new".to_owned(),
            instances: instances.iter().map(instance).collect(),
            ..Default::default()
        }
    }

    fn labels(port: &str) -> BTreeMap<String, String> {
        [("traefik.http.services.s.loadbalancer.server.port".to_owned(), port.to_owned())].into()
    }

    /// While replicas serve whose labels Traefik takes, a revision with others does not get their place.
    #[tokio::test(start_paused = true)]
    async fn labels_that_traefik_does_not_take_hold_their_own_rollout() {
        let (board, service, replica) = scene();
        board.set_health(|health| health.ready = true);
        board.put_labels(&service, [("old".to_owned(), labels("80")), ("new".to_owned(), labels("eighty"))].into());
        board.publish(&service, status(&[("a", "old", "Available"), ("bb", "new", "Joining")]));
        let traefik = Traefik::new(Arc::clone(&board), options(Duration::from_secs(2), true));
        let (version, number, text) = traefik.render().expect("a configuration");
        traefik.lock().add(version, number);
        assert!(text.contains("http://10.0.0.1:80") && !text.contains("10.0.0.2"), "{text}");
        let standing = |id: &str, revision: &str| {
            let replica = Replica { id: id.to_owned(), revision: revision.to_owned(), ..replica.clone() };
            traefik.standing(&service, &replica, true, board.shown(&service, id))
        };
        let Standing::Pending { what, .. } = standing("bb", "new") else { panic!("it is let in") };
        assert!(what.contains("server.port") && what.contains("needs a port") && !what.contains("eighty"), "{what}");
        assert_eq!(standing("a", "old"), Standing::Settled);
        let about = traefik.about(&service).expect("a path").detail;
        assert!(about.contains("left out: its label `traefik.http.services.s.loadbalancer.server.port`"), "{about}");
        // Without any other there is nothing to protect: it is told only.
        board.publish(&service, status(&[("bb", "new", "Joining")]));
        assert_eq!(standing("bb", "new"), Standing::Settled);
    }

    #[tokio::test]
    async fn an_api_that_is_away_holds_rollouts_and_takes_nothing_from_those_who_serve() {
        let (board, service, replica) = scene();
        board.put_labels(&service, [("new".to_owned(), labels("80"))].into());
        board.publish(&service, status(&[("a", "new", "Available"), ("bb", "new", "Joining")]));
        // Nobody listens there.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let api = Some(format!("http://{gone}"));
        let traefik = Traefik::new(Arc::clone(&board), Options { api, ..options(Duration::ZERO, true) });
        let memory = |id: &str| Memory { serving: [(id.to_owned(), None)].into(), ..Memory::default() };
        traefik.notice(&service, None, &memory("a"), &[]);
        traefik.notice(&service, None, &memory("bb"), &[]);
        traefik.lock().add(*board.version().borrow(), 1);
        traefik.loaded.as_ref().unwrap().ask().await;
        let standing = |id: &str, serves| {
            let replica = Replica { id: id.to_owned(), revision: "new".to_owned(), ..replica.clone() };
            traefik.standing(&service, &replica, serves, board.shown(&service, id))
        };
        assert_eq!(standing("a", true), Standing::Settled, "it served before this process");
        for (id, serves) in [("bb", true), ("a", false), ("ccc", true), ("ccc", false)] {
            let Standing::Pending { what, .. } = standing(id, serves) else {
                panic!("{id} {serves} is not waited for")
            };
            assert!(what.contains("does not answer since"), "{what}");
        }
        assert_eq!(traefik.about(&service).map(|path| path.proof), Some(Proof::NotApplied));
    }

    #[tokio::test]
    async fn whose_a_name_is_outlives_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("traefik-names.json");
        let first = |projects: &[&str]| {
            let board = Arc::<Board>::default();
            board.set_health(|health| health.ready = true);
            for project in projects {
                let service = ServiceName::new(*project, "web");
                let rule = ("traefik.http.routers.r.rule".to_owned(), format!("Host(`{project}`)"));
                board.put_labels(&service, [("new".to_owned(), [rule].into())].into());
                let status = status(&[("a", "new", "Available")]);
                let status = crd_schema::status::ServiceStatus { project: (*project).to_owned(), ..status };
                board.publish(&service, status);
            }
            let names = Some(file.clone());
            Traefik::new(board, Options { names, ..options(Duration::ZERO, true) }).render().expect("a configuration").2
        };
        assert!(first(&["old"]).contains("Host(`old`)"));
        let both = first(&["a", "old"]);
        assert!(both.contains("Host(`old`)") && !both.contains("Host(`a`)"), "{both}");
    }
}
