//! State directories that an earlier version has left, with real containers (`tests/states`): this one reads them with
//! nothing lost, finds everything as it wants it, and goes on from there. On the simulated engine with those containers, its
//! time stopped.

mod outside;
mod services;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use composed::cli::progress::{Convergence, convergence};
use composed::cli::session::{self, simulated};
use composed::state::StateDir;
use composed_core::model::{
    HookKind, HookState, Notification, Outcome, Replica, RolloutOptions, ServiceName, ServiceRecord, base_revision,
};
use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_registry::{ImageQuery, Platforms, QueryOptions, RegistryClient, RegistryError, RegistryImages};
use composed_simulator::{Behaviour, Sim, World};
use composed_source::compose::ComposeOptions;
use composed_source::files::{HostDir, Reading, Source};
use composed_source::git::{Access, Address, Follow, GitSource, Signed, WriteBack, watch};
use composed_source::host::HostName;
use composed_source::made_of;
use composed_status::commands::{Pause, PendingCommand, RollOut};
use composed_status::notifications::{Failure, Message, NotificationTarget, Notifier, Send};
use composed_status::store::StatusStore;
use crd_schema::settings::NotifySettings;
use crd_schema::status::{ConditionType, Reason, ReplicaPhase, ServiceStatus};
use crd_schema::{ContainerId, ImageDigest, ImageId, ImageRef, NetworkName, Revision, VolumeName};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::git::git_is_here;
use crate::undo::Running;

/// Where everything played that `tests/states/make` has made.
const ROOM: &str = "/tmp/earlier";
/// What has a reader of its own here, beside memories, statuses, `compose.json` and what is below `git`.
const WITH_READERS: [&str; 2] = ["images.json", "notify.json"];
/// Long enough for whatever is to be done.
const LONG: Duration = Duration::from_mins(10);

/// Every case of every earlier version.
fn cases() -> Vec<PathBuf> {
    let states = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/states");
    let cases = dirs(&states).iter().flat_map(|version| dirs(version)).collect::<Vec<_>>();
    assert!(cases.len() >= 7, "the states are elsewhere: {cases:?}");
    cases
}

/// Those of one name.
fn cases_of(name: &str) -> Vec<PathBuf> {
    let cases: Vec<_> = cases().into_iter().filter(|case| case.ends_with(name)).collect();
    assert!(!cases.is_empty(), "no version has {name}");
    cases
}

fn dirs(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path());
    let mut dirs: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    dirs.sort();
    dirs
}

/// Copies a directory, each text as `change` makes it.
fn copy(from: &Path, to: &Path, change: &dyn Fn(&Path, String) -> String) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to, change);
            continue;
        }
        match String::from_utf8(std::fs::read(&path).unwrap()) {
            Ok(text) => std::fs::write(to, change(&path, text)).unwrap(),
            Err(bytes) => std::fs::write(to, bytes.into_bytes()).unwrap(),
        }
    }
}

/// The files below a directory, by their paths in it.
fn files(dir: &Path) -> Vec<String> {
    fn gather(dir: &Path, root: &Path, into: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, root, into);
            } else {
                into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let mut files = Vec::new();
    gather(dir, dir, &mut files);
    files.sort();
    files
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Words that mean the same and are written otherwise now: field, then, now.
const RENAMED: [(&str, &str, &str); 1] = [("phase", "Kept", "Retained")];

/// Every value of `old` that is not in `new`, by its place. What is null or empty there may be missing here.
fn lost(old: &Value, new: &Value, place: &str, into: &mut Vec<String>) {
    match (old, new) {
        (Value::Object(all), Value::Object(_)) => {
            for (key, value) in all {
                lost(value, new.get(key).unwrap_or(&Value::Null), &format!("{place}.{key}"), into);
            }
        }
        (Value::Array(all), Value::Array(_)) => {
            for (at, value) in all.iter().enumerate() {
                lost(value, new.get(at).unwrap_or(&Value::Null), &format!("{place}[{at}]"), into);
            }
        }
        (Value::Object(all), Value::Null) if all.is_empty() => {}
        _ if old == new => {}
        _ if RENAMED.iter().any(|(field, then, now)| place.ends_with(field) && old == then && new == now) => {}
        // An undo is no failure any more.
        (Value::Object(all), Value::Null) if place.ends_with(".failure") && all["reason"] == "Undone" => {}
        _ => into.push(format!("{place}: {old} became {new}")),
    }
}

fn assert_kept(old: &Value, new: &Value, what: &str) {
    let mut without = Vec::new();
    lost(old, new, what, &mut without);
    assert!(without.is_empty(), "{}", without.join("\n"));
}

/// Nothing was set aside or complained of.
fn assert_silent(state: &StateDir, root: &Path) {
    assert_eq!(state.unreadable(), Vec::<String>::new());
    let aside: Vec<_> = files(root).into_iter().filter(|file| file.contains(".unreadable")).collect();
    assert!(aside.is_empty(), "{aside:?}");
}

/// The service of a file in one of the rooms of the state directory.
fn service_of(file: &str, room: &str) -> Option<ServiceName> {
    let (project, name) = file.strip_prefix(room)?.strip_suffix(".json")?.split_once('/')?;
    Some(ServiceName::new(project, name))
}

/// Text with each time that it names made later by so much.
fn later(text: &str, by: jiff::SignedDuration) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "-:.".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match word.parse::<Timestamp>() {
            Ok(at) => out += &(at + by).to_string(),
            Err(_) => out += word,
        }
        let end = after.find(is_part).unwrap_or(after.len());
        out += &after[..end];
        rest = &after[end..];
    }
    out
}

/// The times that a text names.
fn times(text: &str) -> impl Iterator<Item = Timestamp> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "-:.".contains(c))).filter_map(|word| word.parse().ok())
}

/// What an engine has, as `tests/states/make` wrote it down.
#[derive(Deserialize)]
struct Engine {
    containers: Vec<ObservedRecord>,
    images: BTreeMap<ImageRef, Image>,
    networks: Vec<NetworkName>,
    volumes: Vec<VolumeName>,
}

#[derive(Deserialize)]
struct ObservedRecord {
    replica: Replica,
    hook: Option<HookKind>,
    ended_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Image {
    id: ImageId,
    digests: Vec<String>,
}

/// A case that goes on: the earlier controller was killed a minute ago, its containers are there.
struct Played {
    dir: tempfile::TempDir,
    /// Where its documents were.
    room: String,
    state: StateDir,
    sim: Arc<Sim>,
    clock: Clock,
    /// The ids of its containers.
    before: BTreeSet<ContainerId>,
}

impl Played {
    fn of(case: &Path) -> Self {
        let clock = Clock::system();
        let engine = std::fs::read_to_string(case.join("engine.json")).unwrap();
        let memories = files(&case.join("state")).into_iter().filter(|file| file.starts_with("services/"));
        let texts = memories.map(|file| std::fs::read_to_string(case.join("state").join(file)).unwrap());
        let newest = texts.chain([engine.clone()]).flat_map(|text| times(&text).collect::<Vec<_>>()).max().unwrap();
        let by = clock.now().duration_since(newest) - jiff::SignedDuration::from_mins(1);

        let dir = tempfile::tempdir().unwrap();
        let room = format!("{ROOM}/{}", case.file_name().unwrap().to_str().unwrap());
        let here = dir.path().to_str().unwrap().to_owned();
        let mut engine: Engine = serde_json::from_str(&later(&engine, by)).unwrap();
        let digests: Vec<_> =
            engine.images.values().flat_map(|image| image.digests.iter().map(|one| (one, &image.id))).collect();
        copy(case, dir.path(), &|path, text| match path.strip_prefix(case).unwrap() {
            // What is in commits stays as it is there.
            path if path.starts_with("state/git") || path.starts_with("desired") => text,
            // The simulated engine has no other digests than ids.
            _ => digests
                .iter()
                .fold(later(&text, by).replace(&room, &here), |text, (digest, id)| text.replace(*digest, id.as_str())),
        });
        let state = StateDir::open(&dir.path().join("state")).unwrap();

        let mut world = World::default();
        world.anything = Some(Behaviour::default());
        for (name, image) in &engine.images {
            world.tag(name, &image.id, Behaviour::default());
            if !image.digests.is_empty() {
                world.pulled.insert(image.id.clone());
            }
        }
        world.networks.extend(engine.networks.drain(..).map(|name| (name, Some("earlier".to_owned()))));
        world.volumes.extend(engine.volumes.drain(..).map(|name| (name, Some("earlier".to_owned()))));
        let before = engine.containers.iter().map(|one| one.replica.id.clone()).collect();
        for one in engine.containers {
            put(&mut world, one, &state);
        }
        Self { dir, room, state, sim: simulated(world, clock), clock, before }
    }

    fn running(&self) -> Running {
        let state = self.state.clone();
        Running::with(&self.sim, self.clock, self.state.clone(), |statuses| {
            session::images(statuses, self.clock, &state)
        })
    }

    fn write(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.dir.path().join("desired").join(file);
        std::fs::write(&path, change(std::fs::read_to_string(&path).unwrap())).unwrap();
    }

    fn reading(&self) -> Reading {
        let known = made_of::by_name(&self.state.load_made_of());
        let host = HostDir::At(format!("{}/desired", self.room).into());
        Source { known, host, ..Source::from(&self.dir.path().join("desired")) }.read()
    }

    fn log(&self) -> Vec<String> {
        self.sim.with(|world, _| world.log.clone())
    }

    /// Runs on its documents for a while, in which nothing may be done: all is as this version wants it.
    async fn rests(&self) -> Running {
        self.rests_on(self.reading()).await
    }

    async fn rests_on(&self, reading: Reading) -> Running {
        let (running, done) = self.acts_on(reading).await;
        assert_eq!(done, Vec::<String>::new(), "{:#?}", running.statuses.all());
        running
    }

    /// Runs on these documents for a while; what it has done.
    async fn acts_on(&self, reading: Reading) -> (Running, Vec<String>) {
        let running = self.running();
        running.readings.send(reading).await.unwrap();
        tokio::time::sleep(Duration::from_mins(5)).await; // Everything that may happen happens; time stands still but for this.
        assert_eq!(running.statuses.health().problems, Vec::<String>::new());
        assert_silent(&self.state, self.dir.path());
        (running, self.log())
    }

    fn memory(&self, name: &str) -> ServiceRecord {
        StateDir::existing(&self.dir.path().join("state")).load(&service(name))
    }
}

fn service(name: &str) -> ServiceName {
    ServiceName::new("earlier", name)
}

/// Puts a container into the simulated world, of the specification that its service's memory has for it.
fn put(world: &mut World, seen: ObservedRecord, state: &StateDir) {
    let ObservedRecord { replica, hook, ended_at } = seen;
    let memory = state.load(&replica.service);
    let revision = memory.replicas.adopted.get(&replica.id).unwrap_or(&replica.revision);
    let record = memory.revisions.history.iter().find(|record| record.revision == *revision);
    let record = record.unwrap_or_else(|| panic!("{} is of {revision}: {memory:#?}", replica.name));
    let spec = Arc::clone(&record.spec);
    // It is made as any, and then what it was.
    world.add_compose(&ServiceName::new("foreign", "any"), 1, &spec, replica.created_at);
    let made = world.containers.named("foreign-any-1").unwrap().replica.id.clone();
    let mut container = world.containers.remove(&made).unwrap();
    container.behaviour.never_ready = spec.environment.iter().any(|(_, value)| value == "never");
    (container.replica, container.hook, container.ended_at) = (replica, hook, ended_at);
    world.containers.insert(container);
}

async fn until(running: &Running, name: &str, what: &str, done: impl Fn(&ServiceStatus) -> bool) -> Arc<ServiceStatus> {
    let mut version = running.statuses.version();
    let wait = tokio::time::timeout(LONG, async {
        loop {
            if let Some(status) = running.statuses.status(&service(name)).filter(|status| done(status)) {
                return status;
            }
            version.changed().await.unwrap();
        }
    });
    wait.await.unwrap_or_else(|_| {
        panic!("{what}: {:#?}\n{:#?}", running.statuses.status(&service(name)), running.statuses.events())
    })
}

fn status(running: &Running, name: &str) -> Arc<ServiceStatus> {
    running.statuses.status(&service(name)).unwrap_or_else(|| panic!("no status of {name}"))
}

fn reason(status: &ServiceStatus, kind: ConditionType) -> Option<Reason> {
    status.condition(kind).map(|condition| condition.reason)
}

fn converged(status: &ServiceStatus) -> bool {
    convergence(status) == Convergence::Converged
}

async fn ask(
    running: &Running,
    order: impl FnOnce(oneshot::Sender<Result<String, String>>) -> PendingCommand,
) -> String {
    let (answer, answered) = oneshot::channel();
    running.statuses.commands.submit(order(answer));
    answered.await.unwrap().unwrap()
}
