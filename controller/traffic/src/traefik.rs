//! Traefik's file and HTTP providers: its dynamic configuration, made of the services' own `traefik.*` labels and of who
//! serves, for people who cannot let Traefik read the endpoint view.
//!
//! Traefik takes a configuration whole or not at all, from everybody at once. So a service's labels are checked before they
//! become part of it (`schema`), a name belongs to one project (`names`), and where Traefik's API is given, what it has
//! loaded is seen there (`loaded`): without it, it can only be waited for.

mod config;
mod loaded;
mod names;
mod path;
mod schema;
mod service;
mod taken;

use crd_schema::{ContainerId, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use composed_core::model::ServiceName;
use composed_platform::clock::Clock;
use composed_platform::files::{self, Mode};
use composed_platform::listen::Hosts;
use composed_status::store::StatusStore;
use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;
use tokio::time::Instant;

use self::loaded::ApiMonitor;
use self::names::Claims;
use self::service::Service;
use self::taken::HandedOver;
use super::share::weights;

/// From a file's change, or an answer, to Traefik's taking note of it, and from its new configuration to the last request
/// by the old one.
const MARGIN: Duration = Duration::from_millis(400);
/// Traefik's HTTP provider is expected to ask at least so often (its default is 5 s).
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(6);
/// One that has not asked for so long has gone. Until then it may send requests by what it was given last.
const PROVIDER_TIMEOUT: Duration = Duration::from_mins(10);
/// Traefik's API is asked so often while something waits for it, and otherwise.
const API_POLL_INTERVAL: Duration = Duration::from_millis(200);
const API_IDLE_POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How Traefik is given its configuration.
#[derive(Clone, Debug)]
pub struct TraefikOptions {
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
    statuses: Arc<StatusStore>,
    options: TraefikOptions,
    clock: Clock,
    began: Instant,
    taken: Mutex<HandedOver>,
    made: Mutex<Made>,
    loaded: Option<ApiMonitor>,
    /// The containers of each service that served when this process first heard of it.
    before: Mutex<BTreeMap<ServiceName, BTreeSet<ContainerId>>>,
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
    pub fn new(statuses: Arc<StatusStore>, options: TraefikOptions) -> Arc<Self> {
        let owners = files::load(options.names.as_deref(), "who has which name at Traefik");
        let made = Mutex::new(Made { claims: Claims::known(owners), ..Made::default() });
        let loaded = options.api.as_deref().map(|url| ApiMonitor::new(url, options.by_file));
        let (clock, began) = (Clock::system(), Instant::now());
        let (taken, before, hosts) = (Mutex::default(), Mutex::default(), OnceLock::new());
        Arc::new(Self { statuses, options, clock, began, taken, made, loaded, before, hosts })
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

    /// Keeps a file for Traefik's file provider as the status store says, whole or not at all. Ends when the status store does.
    pub async fn keep_file(self: Arc<Self>, path: PathBuf) {
        let mut versions = self.statuses.version();
        let mut last = None;
        loop {
            versions.borrow_and_update();
            if let Some((version, number, text)) = self.render() {
                let differs = last.as_ref() != Some(&text);
                // Traefik is another user.
                let replace = || files::replace_with_mode(&path, text.as_bytes(), Mode::Public, false);
                let written = if differs { replace() } else { Ok(()) };
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
            tokio::time::sleep(API_POLL_INTERVAL).await;
            idle += API_POLL_INTERVAL;
            if std::mem::take(&mut self.lock().asks) || idle >= API_IDLE_POLL_INTERVAL {
                idle = Duration::ZERO;
                loaded.ask().await;
            }
        }
    }

    /// The version of the status store, and the configuration as of then or later, with its number.
    fn render(&self) -> Option<(u64, u64, String)> {
        let version = *self.statuses.version().borrow();
        if !self.statuses.health().ready {
            return None;
        }
        let labels = self.statuses.labels();
        let services = self.statuses.all().into_iter().filter_map(|status| {
            let name = ServiceName::new(&status.project, &status.name);
            let by_revision = labels.get(&name)?;
            let mut replicas: Vec<_> = status.instances.iter().filter(|instance| instance.serves()).collect();
            let serves = |revision: &&Revision| replicas.iter().any(|instance| instance.revision == **revision);
            let is_good =
                |revision: &Revision| by_revision.get(revision).is_none_or(|own| config::problems(own).is_empty());
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
            Some(Service { name, labels: own, replicas: addresses.collect(), weights, since })
        });
        let services: Vec<_> = services.collect();
        let mut made = self.made();
        let before = made.claims.owners().clone();
        let config::Rendered { mut config, problems } = config::dynamic(&services, &mut made.claims);
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
            && let Err(error) = files::replace(file, &text, false)
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
        self.options.by_file || self.lock().at.back().is_some_and(|last| last.at.elapsed() < PROVIDER_TIMEOUT)
    }

    fn lock(&self) -> MutexGuard<'_, HandedOver> {
        self.taken.lock()
    }

    fn before(&self) -> MutexGuard<'_, BTreeMap<ServiceName, BTreeSet<ContainerId>>> {
        self.before.lock()
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock()
    }
}

#[cfg(test)]
mod tests {
    use composed_core::model::{Replica, ServiceRecord};
    use composed_status::store::EndpointState;
    use crd_schema::NetworkName;
    use crd_schema::status::{Proof, ReplicaPhase};

    use super::*;
    use crate::paths::{PropagationState, TrafficProvider};

    fn scene() -> (Arc<StatusStore>, ServiceName, Replica) {
        let replica = serde_json::from_value(serde_json::json!({
            "id": "id1", "name": "shop-web-1", "number": 1, "service": {"project": "shop", "name": "web"}, "revision": "r",
            "generation": 1, "created_at": "2026-01-01T00:00:00Z", "state": "running"
        }));
        (Arc::default(), ServiceName::new("shop", "web"), replica.unwrap())
    }

    fn options(throttle: Duration, by_file: bool) -> TraefikOptions {
        TraefikOptions { throttle, by_file, api: None, names: None }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_process_before_this_one_handed_over_is_waited_out() {
        let (statuses, service, replica) = scene();
        let throttle = Duration::from_secs(2);
        for by_file in [true, false] {
            let traefik = Traefik::new(Arc::clone(&statuses), options(throttle, by_file));
            assert_eq!(traefik.propagation(&service, &replica, true, None), PropagationState::Unused);
            let leaving = || traefik.propagation(&service, &replica, false, None);
            assert!(matches!(leaving(), PropagationState::Pending { .. }), "its labels are not even known yet");
            tokio::time::advance(MAX_POLL_INTERVAL + throttle + MARGIN).await;
            assert_eq!(leaving(), PropagationState::Unused);
        }
        statuses.put_labels(&service, [(Revision::new("r"), [("a".to_owned(), "b".to_owned())].into())].into());
        let traefik = Traefik::new(statuses, options(throttle, true));
        assert_eq!(
            traefik.propagation(&service, &replica, false, None),
            PropagationState::Unused,
            "Traefik does not know it"
        );
    }

    /// A replica that has left the status store is not let go of before Traefik was told; nor does one count before it can be.
    #[tokio::test(start_paused = true)]
    async fn what_was_not_handed_over_is_waited_for() {
        let (statuses, service, replica) = scene();
        let labels = [(Revision::new("r"), [("traefik.enable".to_owned(), "true".to_owned())].into())];
        statuses.put_labels(&service, labels.into());
        let traefik = Traefik::new(statuses, options(Duration::from_secs(2), true));
        let gone = || Some(EndpointState { serving: false, version: 7, since: Instant::now() });
        let there = || Some(EndpointState { serving: true, version: 7, since: Instant::now() });
        let held = |serves, shown| {
            matches!(traefik.propagation(&service, &replica, serves, shown), PropagationState::Pending { .. })
        };
        traefik.lock().add(6, 1);
        assert_eq!(traefik.propagation(&service, &replica, true, there()), PropagationState::Settled);
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
        let (statuses, service, replica) = scene();
        let labels = [(Revision::new("r"), [("traefik.enable".to_owned(), "true".to_owned())].into())];
        statuses.put_labels(&service, labels.into());
        let traefik = Traefik::new(statuses, options(Duration::ZERO, false));
        let hosts = Hosts::new(&[]);
        traefik.answers_for(hosts.clone());
        assert_eq!(traefik.about(&service), None, "nobody asks");
        let request = hyper::Request::builder().header("host", "composed:9090").body(()).unwrap();
        assert!(hosts.check(&request).is_err());
        let about = traefik.about(&service).unwrap();
        assert_eq!(about.proof, Proof::NotApplied);
        assert!(about.detail.contains("--allow-host composed") && !about.detail.contains("9090"), "{about:?}");
        assert_eq!(
            traefik.propagation(&service, &replica, true, None),
            PropagationState::Unused,
            "it may be a stranger"
        );
        tokio::time::advance(Duration::from_mins(2)).await;
        assert_eq!(traefik.about(&service), None);
    }

    fn status(instances: &[(&str, &str, ReplicaPhase)]) -> crd_schema::status::ServiceStatus {
        let instance = |(id, revision, phase): &(&str, &str, ReplicaPhase)| crd_schema::status::ReplicaStatus {
            name: (*id).to_owned(),
            id: ContainerId::new(*id),
            revision: Revision::new(*revision),
            phase: *phase,
            since: jiff::Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: [(NetworkName::new("net"), format!("10.0.0.{}", id.len()))].into(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        };
        crd_schema::status::ServiceStatus {
            project: "shop".to_owned(),
            name: "web".to_owned(),
            revision: Revision::new("new"),
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
        let (statuses, service, replica) = scene();
        statuses.set_health(|health| health.ready = true);
        statuses.put_labels(
            &service,
            [(Revision::new("old"), labels("80")), (Revision::new("new"), labels("eighty"))].into(),
        );
        statuses
            .publish(&service, status(&[("a", "old", ReplicaPhase::Available), ("bb", "new", ReplicaPhase::Joining)]));
        let traefik = Traefik::new(Arc::clone(&statuses), options(Duration::from_secs(2), true));
        let (version, number, text) = traefik.render().expect("a configuration");
        traefik.lock().add(version, number);
        assert!(text.contains("http://10.0.0.1:80") && !text.contains("10.0.0.2"), "{text}");
        let propagation = |id: &str, revision: &str| {
            let replica = Replica { id: ContainerId::new(id), revision: Revision::new(revision), ..replica.clone() };
            traefik.propagation(&service, &replica, true, statuses.shown(&service, &ContainerId::new(id)))
        };
        let PropagationState::Pending { what, .. } = propagation("bb", "new") else { panic!("it is let in") };
        assert!(what.contains("server.port") && what.contains("needs a port") && !what.contains("eighty"), "{what}");
        assert_eq!(propagation("a", "old"), PropagationState::Settled);
        let about = traefik.about(&service).expect("a path").detail;
        assert!(about.contains("left out: its label `traefik.http.services.s.loadbalancer.server.port`"), "{about}");
        // Without any other there is nothing to protect: it is told only.
        statuses.publish(&service, status(&[("bb", "new", ReplicaPhase::Joining)]));
        assert_eq!(propagation("bb", "new"), PropagationState::Settled);
    }

    #[tokio::test]
    async fn an_api_that_is_away_holds_rollouts_and_takes_nothing_from_those_who_serve() {
        let (statuses, service, replica) = scene();
        statuses.put_labels(&service, [(Revision::new("new"), labels("80"))].into());
        statuses
            .publish(&service, status(&[("a", "new", ReplicaPhase::Available), ("bb", "new", ReplicaPhase::Joining)]));
        // Nobody listens there.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let api = Some(format!("http://{gone}"));
        let traefik = Traefik::new(Arc::clone(&statuses), TraefikOptions { api, ..options(Duration::ZERO, true) });
        let memory = |id: &str| {
            let mut record = ServiceRecord::default();
            record.replicas.serving.insert(ContainerId::new(id), None);
            record
        };
        traefik.notice(&service, None, &memory("a"), &[]);
        traefik.notice(&service, None, &memory("bb"), &[]);
        traefik.lock().add(*statuses.version().borrow(), 1);
        traefik.loaded.as_ref().unwrap().ask().await;
        let propagation = |id: &str, serves| {
            let replica = Replica { id: ContainerId::new(id), revision: Revision::new("new"), ..replica.clone() };
            traefik.propagation(&service, &replica, serves, statuses.shown(&service, &ContainerId::new(id)))
        };
        assert_eq!(propagation("a", true), PropagationState::Settled, "it served before this process");
        for (id, serves) in [("bb", true), ("a", false), ("ccc", true), ("ccc", false)] {
            let PropagationState::Pending { what, .. } = propagation(id, serves) else {
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
            let statuses = Arc::<StatusStore>::default();
            statuses.set_health(|health| health.ready = true);
            for project in projects {
                let service = ServiceName::new(*project, "web");
                let rule = ("traefik.http.routers.r.rule".to_owned(), format!("Host(`{project}`)"));
                statuses.put_labels(&service, [(Revision::new("new"), [rule].into())].into());
                let status = status(&[("a", "new", ReplicaPhase::Available)]);
                let status = crd_schema::status::ServiceStatus { project: (*project).to_owned(), ..status };
                statuses.publish(&service, status);
            }
            let names = Some(file.clone());
            Traefik::new(statuses, TraefikOptions { names, ..options(Duration::ZERO, true) })
                .render()
                .expect("a configuration")
                .2
        };
        assert!(first(&["old"]).contains("Host(`old`)"));
        let both = first(&["a", "old"]);
        assert!(both.contains("Host(`old`)") && !both.contains("Host(`a`)"), "{both}");
    }
}
