//! Many services on the simulated engine, with what users have besides: files in a directory that is watched, the state on
//! disk, an image that is pulled. What one service costs must not grow with the number of the others.
//!
//! `cargo bench -p composed -- scale [NUMBER...]` takes 100 and 1,000 services, or so many, each in a process of its own, so
//! that its memory is its own. `SYNC_MS=10` has each sync of a file take so much longer, by strace, which must be there.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use composed::cli::progress::{Convergence, convergence};
use composed::controller::Controller;
use composed::state::StateDir;
use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Sim, World, tick};
use composed_source::watch::watch as watch_files;
use composed_status::store::StatusStore;
use crd_schema::ImageRef;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::docker::cpu_ticks;

/// So many services in each project, as on a busy host.
const PER_PROJECT: usize = 20;
/// What is looked at once a minute is within it.
const IDLE: Duration = Duration::from_secs(61);

fn name(at: usize) -> ServiceName {
    ServiceName::new(format!("p{}", at / PER_PROJECT), format!("s{at}"))
}

fn write(dir: &Path, at: usize, version: usize) {
    let ServiceName { project, name } = name(at);
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: {project}, name: {name}}}\nspec:\n  \
         image: app:1\n  replicas: 2\n  environment: {{V: '{version}'}}\n  rollout: {{min_ready: 0s}}\n"
    );
    let (file, new) = (dir.join(format!("{name}.yaml")), dir.join(format!(".{name}.new")));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn until(statuses: &StatusStore, mut done: impl FnMut() -> bool) {
    let mut version = statuses.version();
    let deadline = Instant::now() + Duration::from_mins(10);
    while !done() {
        assert!(Instant::now() < deadline, "not converged");
        drop(tokio::time::timeout(Duration::from_millis(50), version.changed()).await);
    }
}

/// The simulated engine, and the CPU that it takes for itself: a real one is another process.
struct Metered {
    sim: Arc<Sim>,
    nanos: AtomicU64,
    lists: AtomicU64,
}

impl Metered {
    /// The simulated engine does all of a call before it answers.
    fn meter<T>(&self, call: impl FnOnce() -> T) -> T {
        let before = thread_nanos();
        let done = call();
        self.nanos.fetch_add(thread_nanos() - before, Ordering::Relaxed);
        done
    }

    fn cpu(&self) -> f64 {
        self.nanos.load(Ordering::Relaxed) as f64 / 1e9
    }
}

fn thread_nanos() -> u64 {
    let at = clock_gettime(ClockId::ThreadCPUTime);
    u64::try_from(at.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(at.tv_nsec).unwrap()
}

impl Engine for Metered {
    fn describe(&self) -> String {
        self.sim.describe()
    }
    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.sim.watch()
    }
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.meter(|| self.sim.list(compose))
    }
    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.meter(|| self.sim.list_service(service, compose))
    }
    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        self.meter(|| self.sim.list_objects())
    }
    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        self.meter(|| self.sim.observe(scope, listing))
    }
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        self.meter(|| self.sim.apply(verb, context))
    }
    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        self.meter(|| self.sim.claim())
    }
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.sim.release()
    }
}

/// What so many services cost: wall clock and CPU in seconds, memory in MiB.
#[derive(Deserialize, Serialize)]
struct Cost {
    count: usize,
    first_start: f64,
    converge: f64,
    converge_cpu: f64,
    idle_cpu: f64,
    one: f64,
    one_cpu: f64,
    /// Of these, what the simulated engine took.
    engine_converge_cpu: f64,
    engine_idle_cpu: f64,
    engine_one_cpu: f64,
    /// Lists of containers for one change.
    one_lists: u64,
    rss: f64,
    peak: f64,
}

/// A line of what the system says of this process, in MiB.
fn memory(line: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let found = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    found.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
}

fn cpu() -> f64 {
    cpu_ticks(std::process::id()) as f64 / 100.0
}

fn is_converged(statuses: &StatusStore, at: usize) -> bool {
    statuses.status(&name(at)).is_some_and(|status| convergence(&status) == Convergence::Converged)
}

async fn measure(count: usize) -> Cost {
    let clock = Clock::system();
    let mut world = World::default();
    let quick = Behaviour {
        ready_after: Duration::ZERO,
        stop_takes: Duration::ZERO,
        busy_for: Duration::ZERO,
        ..Behaviour::default()
    };
    world.registry.insert(ImageRef::new("app:1"), (Duration::from_secs(1), quick));
    let sim = Arc::new(Sim::new(world, Arc::new(move || clock.now()), "bench"));
    let engine = Arc::new(Metered { sim: Arc::clone(&sim), nanos: AtomicU64::new(0), lists: AtomicU64::new(0) });
    let passes = {
        let (engine, mut tick) = (Arc::clone(&engine), Box::pin(tick(Arc::clone(&sim))));
        tokio::spawn(std::future::poll_fn(move |context| engine.meter(|| tick.as_mut().poll(context))))
    };
    // Beside the program: /tmp may be memory.
    let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let (files, state) = (tempfile::tempdir_in(&beside).unwrap(), tempfile::tempdir_in(&beside).unwrap());
    (0..count).for_each(|at| write(files.path(), at, 1));
    let statuses = Arc::new(StatusStore::default());
    let (stop, stopped) = watch::channel(false);
    let (readings, received) = mpsc::channel(1);
    let controller = Controller {
        engine: Arc::clone(&engine) as Arc<dyn Engine>,
        monitor: Arc::clone(&sim) as Arc<dyn composed_traffic::TrafficMonitor>,
        clock,
        state: StateDir::open(state.path()).unwrap(),
        statuses: Arc::clone(&statuses),
        images: None,
        notifier: None,
        max_rollouts: None,
        confirm_deletion: false,
    };
    let (begun, spent) = (Instant::now(), cpu());
    let watched = tokio::spawn(watch_files(files.path().to_owned(), readings));
    let controller = tokio::spawn(controller.run(received, stopped));
    until(&statuses, || statuses.counts().contains_key(&("start", true))).await;
    let first_start = begun.elapsed().as_secs_f64();
    let mut rest = 0;
    until(&statuses, || {
        rest += (rest..count).take_while(|at| is_converged(&statuses, *at)).count();
        rest == count
    })
    .await;
    let (converge, converge_cpu) = (begun.elapsed().as_secs_f64(), cpu() - spent);
    let engine_converge_cpu = engine.cpu();
    // What was noticed late is over.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (spent, of_engine) = (cpu(), engine.cpu());
    tokio::time::sleep(IDLE).await;
    let (idle_cpu, engine_idle_cpu) = (cpu() - spent, engine.cpu() - of_engine);
    let rss = memory("VmRSS:");
    let (mut ones, spent, of_engine) = (Vec::new(), cpu(), engine.cpu());
    let lists = engine.lists.load(Ordering::Relaxed);
    for round in 0..10 {
        let at = count / 2 + round;
        let before = statuses.status(&name(at)).unwrap().revision.clone();
        let begun = Instant::now();
        write(files.path(), at, 2);
        until(&statuses, || {
            is_converged(&statuses, at) && statuses.status(&name(at)).is_some_and(|status| status.revision != before)
        })
        .await;
        ones.push(begun.elapsed().as_secs_f64());
    }
    let (one_cpu, engine_one_cpu) = ((cpu() - spent) / 10.0, (engine.cpu() - of_engine) / 10.0);
    let one_lists = (engine.lists.load(Ordering::Relaxed) - lists) / 10;
    stop.send_replace(true);
    controller.await.unwrap();
    watched.abort();
    passes.abort();
    ones.sort_by(f64::total_cmp);
    Cost {
        count,
        first_start,
        converge,
        converge_cpu,
        idle_cpu,
        one: ones[5],
        one_cpu,
        engine_converge_cpu,
        engine_idle_cpu,
        engine_one_cpu,
        one_lists,
        rss,
        peak: memory("VmHWM:"),
    }
}

/// The figures of so many services, for the process that has asked.
pub(crate) async fn run_one(count: &str) {
    println!("{}", serde_json::to_string(&measure(count.parse().unwrap()).await).unwrap());
}

/// The same, of a process of its own.
fn ask(count: usize, sync: Option<&str>) -> Cost {
    let own = std::env::current_exe().unwrap();
    let mut command = match sync {
        Some(millis) => {
            let mut strace = Command::new("strace");
            // Only the calls that are delayed are stopped at.
            let delay = format!("inject=fsync,fdatasync:delay_exit={millis}000");
            strace.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fsync,fdatasync", "-e", &delay]);
            strace.arg(own);
            strace
        }
        None => Command::new(own),
    };
    let output = command.args(["scale-of", &count.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn run(counts: &[usize]) {
    let sync = std::env::var("SYNC_MS").ok();
    let slow = sync.as_ref().map(|millis| format!(", each sync {millis} ms longer")).unwrap_or_default();
    println!("scale: simulated engine, 2 replicas a service, files and state on disk, an image pulled in 1 s{slow}");
    let mut before: Option<Cost> = None;
    for &count in if counts.is_empty() { &[100, 1000] } else { counts } {
        let cost = ask(count, sync.as_deref());
        println!(
            "{count:6} services: first start {:.2} s, all after {:.2} s; RSS {:.1} MiB, at most {:.1} (under 60 at 1000)",
            cost.first_start, cost.converge, cost.rss, cost.peak
        );
        println!(
            "       CPU: converge {:.2} s, idle 61 s {:.2} s, one change {:.4} s (after {:.2} s, {} lists); of that \
             the engine: {:.2}, {:.2}, {:.4} s",
            cost.converge_cpu,
            cost.idle_cpu,
            cost.one_cpu,
            cost.one,
            cost.one_lists,
            cost.engine_converge_cpu,
            cost.engine_idle_cpu,
            cost.engine_one_cpu
        );
        if let Some(before) = &before {
            let own = |cost: &Cost| {
                [
                    cost.converge_cpu - cost.engine_converge_cpu,
                    cost.idle_cpu - cost.engine_idle_cpu,
                    cost.one_cpu - cost.engine_one_cpu,
                ]
            };
            let (now, then) = (own(&cost), own(before));
            println!(
                "       {count} over {}: converge {:.1} (at most 13), idle {:.1} (at most 13), one change {:.1} (at most 2); \
                 without the engine: {:.1}, {:.1}, {:.1}",
                before.count,
                cost.converge_cpu / before.converge_cpu,
                cost.idle_cpu / before.idle_cpu,
                cost.one_cpu / before.one_cpu,
                now[0] / then[0],
                now[1] / then[1],
                now[2] / then[2]
            );
        }
        before = Some(cost);
    }
}
