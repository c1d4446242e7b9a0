//! The controller's senses on this host: a probing task for each replica that asks for readiness, and a counting one
//! for each that is leaving. `refresh` starts and ends them and reads what they have found; it decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{InFlight, Key, Probe, Propagation, Replica, ServiceName, ServiceRecord, State};
use composed_core::plan::policy::drain_timeout;
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use crd_schema::status::TrafficPath;
use crd_schema::{ContainerId, Drain, Readiness, Revision, ServiceSpec};
use futures_util::future::{BoxFuture, join_all};
use futures_util::stream::{self, BoxStream, StreamExt};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::companion::NamespaceAccess;
use super::counting::{self, CountObservation, Counter, Urgency};
use super::inflight::Requests;
use super::paths::{Followers, PropagationState, TrafficProvider};
use super::{TrafficMonitor, probe};

/// How long `refresh` waits for what it has only now begun to look at. Most answers come within a few, and a pass that
/// knows them saves another.
const FIRST_RESULT_TIMEOUT: Duration = Duration::from_millis(40);
/// A companion has so long beyond `drain_timeout`.
const COMPANION_MARGIN: Duration = Duration::from_mins(10);

/// Readiness probes and requests in flight, as seen from this process.
pub struct LocalMonitor {
    counter: Arc<Counter>,
    clock: Clock,
    statuses: Arc<StatusStore>,
    paths: Vec<Arc<dyn TrafficProvider>>,
    changes: broadcast::Sender<ServiceName>,
    tasks: Arc<Mutex<Tasks>>,
}

/// By container id. A task ends when its receiver here is dropped.
#[derive(Default)]
struct Tasks {
    probes: BTreeMap<ContainerId, Probing>,
    counts: BTreeMap<ContainerId, Counted>,
}

struct Probing {
    service: ServiceName,
    run: Run,
    asked: Readiness,
    addresses: Vec<IpAddr>,
    verdict: watch::Receiver<Probe>,
}

struct Counted {
    service: ServiceName,
    run: Run,
    how: (Drain, Requests),
    /// When all paths were first seen to have let go of it: a count from before that says nothing of what came since.
    let_go: Option<Timestamp>,
    seen: watch::Receiver<CountObservation>,
    hurry: Arc<Urgency>,
}

/// What tells one run of a container from the next.
type Run = (Option<Timestamp>, u32, u32);

impl LocalMonitor {
    /// Senses that have not looked yet, with the status on `board` as the only path. Without an engine there are no
    /// companions.
    pub fn new(docker: Option<Arc<Docker>>, clock: Clock, statuses: Arc<StatusStore>) -> Arc<Self> {
        Self::by(NamespaceAccess::Nearest, docker, clock, statuses, Vec::new())
    }

    /// As `new`, with a say in how requests are counted, and with more paths.
    pub fn by(
        way: NamespaceAccess,
        docker: Option<Arc<Docker>>,
        clock: Clock,
        statuses: Arc<StatusStore>,
        mut paths: Vec<Arc<dyn TrafficProvider>>,
    ) -> Arc<Self> {
        let (changes, _) = broadcast::channel(1024);
        let counter = Arc::new(Counter::new(way, docker, clock));
        paths.push(Arc::new(Followers(Arc::clone(&statuses))));
        Arc::new(Self { counter, clock, statuses, paths, changes, tasks: Arc::default() })
    }

    /// How many tasks there are: probing, counting.
    pub fn tasks(&self) -> (usize, usize) {
        let tasks = self.lock();
        (tasks.probes.len(), tasks.counts.len())
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, Tasks> {
        self.tasks.lock()
    }

    async fn look(
        &self,
        service: &ServiceName,
        spec: Option<&ServiceSpec>,
        memory: &ServiceRecord,
        replicas: &mut [Replica],
    ) {
        for path in &self.paths {
            path.notice(service, spec, memory, replicas);
        }
        let begin = self.clock.now();
        let named = spec.map(|spec| (spec, spec.revision()));
        let (mut probes, mut counts) = (BTreeSet::new(), BTreeSet::new());
        let succeeds = |replica: &Replica| spec.is_some() && succeeds(memory, replica);
        let is_made = |replica: &Replica| matches!(replica.state, State::Created | State::Running);
        let successors = replicas.iter().any(|replica| is_made(replica) && succeeds(replica));
        let mut awaited: Vec<BoxFuture<'static, ()>> = Vec::new();
        for replica in replicas.iter().filter(|replica| replica.state == State::Running) {
            let own = own_word(named.as_ref(), memory, replica);
            if memory.replicas.draining.contains_key(&replica.id) {
                counts.insert(replica.id.clone());
                awaited.push(self.count(service, own, replica, begin));
                if !memory.process.cancellable.contains(&replica.id) {
                    continue;
                }
            } else if successors && !succeeds(replica) {
                counts.insert(replica.id.clone());
                self.listen(service, own, replica);
            }
            if let Some((own, asked)) = own.and_then(|own| Some((own, own.readiness.as_ref()?))) {
                probes.insert(replica.id.clone());
                awaited.extend(self.probe(service, own, asked, replica));
            }
        }
        {
            let mut tasks = self.lock();
            tasks.probes.retain(|id, task| task.service != *service || probes.contains(id));
            tasks.counts.retain(|id, task| task.service != *service || counts.contains(id));
        }
        if !awaited.is_empty() {
            drop(tokio::time::timeout(FIRST_RESULT_TIMEOUT, join_all(awaited)).await);
        }
        for replica in replicas.iter_mut().filter(|replica| replica.state == State::Running) {
            let serves = !memory.replicas.draining.contains_key(&replica.id);
            replica.propagation = self.rotation(service, replica, serves);
        }
        let mut tasks = self.lock();
        for replica in replicas {
            if let Some(task) = tasks.probes.get(&replica.id) {
                replica.probe = task.verdict.borrow().clone();
            }
            if let Some(task) = tasks.counts.get_mut(&replica.id) {
                let pending = matches!(replica.propagation, Propagation::Pending { .. });
                let leaves = memory.replicas.draining.contains_key(&replica.id) && !pending;
                task.let_go = leaves.then(|| task.let_go.unwrap_or(begin));
                let known = self.paths.iter().map(|path| path.in_flight(service, replica)).max().unwrap_or_default();
                let counts = self.paths.iter().any(|path| path.counts(service));
                let seen = task.seen.borrow();
                replica.in_flight = match in_flight(&seen, replica, begin, task.let_go) {
                    // Nobody else tells a stream that pauses from a connection that is only kept.
                    InFlight::Count(0) if known == 0 && seen.too_new && !counts => InFlight::Unknown,
                    InFlight::Count(seen) => InFlight::Count(seen.max(known)),
                    _ if known > 0 => InFlight::Count(known),
                    unknown => unknown,
                };
            }
        }
    }

    /// What all paths together know of a replica.
    fn rotation(&self, service: &ServiceName, replica: &Replica, serves: bool) -> Propagation {
        let shown = self.statuses.shown(service, &replica.id);
        let mut followed = false;
        let mut pending: Vec<(String, Instant)> = Vec::new();
        for path in &self.paths {
            match path.propagation(service, replica, serves, shown) {
                PropagationState::Unused => {}
                PropagationState::Settled => followed = true,
                PropagationState::Pending { what, until } => pending.push((what, until)),
            }
        }
        match pending.iter().map(|(_, until)| *until).max() {
            Some(until) => {
                let who: Vec<_> = pending.into_iter().map(|(what, _)| what).collect();
                Propagation::Pending { who: who.join(" and "), until: self.clock.timestamp(until) }
            }
            None if followed => Propagation::Settled,
            None => Propagation::Unfollowed,
        }
    }

    fn waker(&self, service: &ServiceName) -> impl Fn() + Send + 'static {
        let (changes, service) = (self.changes.clone(), service.clone());
        // Nobody listening is fine: who looks later sees it itself.
        move || drop(changes.send(service.clone()))
    }

    /// Has a task probe this replica. Resolves with the first answer, if there was none yet.
    fn probe(
        &self,
        service: &ServiceName,
        own: &ServiceSpec,
        asked: &Readiness,
        replica: &Replica,
    ) -> Option<BoxFuture<'static, ()>> {
        let addresses = addresses(replica, own);
        let run = run(replica);
        let mut tasks = self.lock();
        let before = tasks.probes.get(&replica.id).filter(|task| task.run == run);
        if before.is_some_and(|task| task.asked == *asked && task.addresses == addresses) {
            return None;
        }
        // A new question to the same run: the last verdict stands until it is answered.
        let known = before.map(|task| task.verdict.borrow().clone());
        let is_new = known.is_none();
        let (verdict, mut answers) = watch::channel(known.unwrap_or(Probe::Unasked));
        let wake = self.waker(service);
        drop(tokio::spawn(probe::keep_asking(asked.clone(), addresses.clone(), verdict, wake)));
        let task = Probing { service: service.clone(), run, asked: asked.clone(), addresses, verdict: answers.clone() };
        tasks.probes.insert(replica.id.clone(), task);
        answers.mark_unchanged();
        is_new.then(|| -> BoxFuture<'static, ()> { Box::pin(async move { drop(answers.changed().await) }) })
    }

    /// Has a task count on this replica. Resolves with a look that began after `begin`.
    fn count(
        &self,
        service: &ServiceName,
        own: Option<&ServiceSpec>,
        replica: &Replica,
        begin: Timestamp,
    ) -> BoxFuture<'static, ()> {
        self.listen(service, own, replica);
        let tasks = self.lock();
        if let Some(task) = tasks.counts.get(&replica.id) {
            task.hurry.hurry();
        }
        let mut seen = tasks.counts.get(&replica.id).map(|task| task.seen.clone());
        Box::pin(async move {
            if let Some(seen) = &mut seen {
                drop(seen.wait_for(|seen| seen.since(begin)).await);
            }
        })
    }

    /// Has a task hear what is said on the connections of this replica, if none does.
    fn listen(&self, service: &ServiceName, own: Option<&ServiceSpec>, replica: &Replica) {
        let run = run(replica);
        let drain = own.and_then(|own| own.traffic.as_ref()?.drain).unwrap_or_default();
        let requests = own.map(counting::requests).unwrap_or_default();
        let how = (drain, requests);
        let mut tasks = self.lock();
        if tasks.counts.get(&replica.id).is_some_and(|task| task.run == run && task.how == how) {
            return;
        }
        let (sender, seen) = watch::channel(CountObservation::default());
        let hurry = Arc::<Urgency>::default();
        let leaving = counting::DrainingReplica {
            id: replica.id.clone(),
            pid: replica.pid,
            ports: tcp_ports(replica),
            requests,
            drain,
            limit: own.map_or_else(|| drain_timeout(&ServiceSpec::default()), drain_timeout) + COMPANION_MARGIN,
        };
        let wake = self.waker(service);
        let counter = Arc::clone(&self.counter);
        drop(tokio::spawn(counter.keep_counting(leaving, sender, Arc::clone(&hurry), wake)));
        tasks
            .counts
            .insert(replica.id.clone(), Counted { service: service.clone(), run, how, let_go: None, seen, hurry });
    }
}

impl TrafficMonitor for LocalMonitor {
    fn refresh<'a>(
        &'a self,
        service: &'a ServiceName,
        spec: Option<&'a ServiceSpec>,
        memory: &'a ServiceRecord,
        replicas: &'a mut [Replica],
    ) -> BoxFuture<'a, ()> {
        Box::pin(self.look(service, spec, memory, replicas))
    }

    fn prepare_drain(&self, service: &ServiceName, spec: &ServiceSpec, memory: &ServiceRecord, replicas: &[Replica]) {
        let named = (spec, spec.revision());
        let serves = |one: &&Replica| one.state == State::Running && !memory.replicas.draining.contains_key(&one.id);
        for replica in replicas.iter().filter(serves).filter(|replica| !succeeds(memory, replica)) {
            self.listen(service, own_word(Some(&named), memory, replica), replica);
        }
    }

    fn paths(&self, service: &ServiceName) -> Vec<TrafficPath> {
        self.paths.iter().filter_map(|path| path.about(service)).collect()
    }

    fn watch(&self) -> BoxStream<'static, Key> {
        let (changes, tasks) = (self.changes.subscribe(), Arc::clone(&self.tasks));
        let keys = stream::unfold((changes, tasks), |(mut changes, tasks)| async move {
            let services = match changes.recv().await {
                Ok(service) => BTreeSet::from([service]),
                // Some were missed: any of these may have changed.
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    let tasks = tasks.lock();
                    let (probed, counted) = (tasks.probes.values(), tasks.counts.values());
                    probed.map(|task| task.service.clone()).chain(counted.map(|task| task.service.clone())).collect()
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            };
            Some((stream::iter(services.into_iter().map(Key::Service)), (changes, tasks)))
        });
        let paths = self.paths.iter().map(|path| path.watch());
        stream::select(keys.flatten(), stream::select_all(paths)).boxed()
    }
}

/// Whether this replica is of the revision that is wanted: that has another name than the spec's own where a dependency is
/// part of it.
fn succeeds(memory: &ServiceRecord, replica: &Replica) -> bool {
    memory.revisions.history.last().is_some_and(|wanted| wanted.revision == replica.revision)
}

/// What a replica's own revision says of it, given the specification and the name of the one that is wanted: another may ask
/// at a place that this one does not have.
fn own_word<'a>(
    named: Option<&(&'a ServiceSpec, Revision)>,
    memory: &'a ServiceRecord,
    replica: &Replica,
) -> Option<&'a ServiceSpec> {
    match memory.record(&replica.revision) {
        Some(record) if named.is_none_or(|(_, name)| *name != replica.revision) => Some(&record.spec),
        _ => named.map(|(spec, _)| *spec),
    }
}

fn run(replica: &Replica) -> Run {
    (replica.started_at, replica.restart_count, replica.pid)
}

/// What a look says of a replica at `begin`. A zero must be a fresh one, and of after all had let go of it: a request may
/// have come in since.
fn in_flight(seen: &CountObservation, replica: &Replica, begin: Timestamp, let_go: Option<Timestamp>) -> InFlight {
    match seen.in_flight {
        InFlight::Count(0) if !seen.holds(begin, let_go) => InFlight::Unknown,
        // It speaks UDP and nothing else, where nobody can tell a request.
        InFlight::Count(0) if !seen.listens && replica.ports.keys().any(|port| port.ends_with("/udp")) => {
            InFlight::Uncountable
        }
        known => known,
    }
}

/// Where a replica can be asked: its address on each network, or this host itself if it shares the host's network.
fn addresses(replica: &Replica, own: &ServiceSpec) -> Vec<IpAddr> {
    let known: Vec<IpAddr> = replica.addresses.values().filter_map(|text| text.parse().ok()).collect();
    match own.network_mode.as_deref() {
        Some("host") if known.is_empty() => vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        _ => known,
    }
}

fn tcp_ports(replica: &Replica) -> BTreeSet<u16> {
    replica.ports.keys().filter_map(|port| port.strip_suffix("/tcp")?.parse().ok()).collect()
}
