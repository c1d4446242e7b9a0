//! Golden plans: one folder a case under `tests/golden`, `desired.yaml` + `observed.yaml` -> `plan.txt`. The folder is
//! the specification. `UPDATE_GOLDEN=1` writes the plans anew: read the difference before you commit it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use composed::model::{
    Comparison, Deed, Desired, DesiredService, Health, HookKind, HookRecord, HookRun, HookState, ImageState, InFlight,
    Memory, Neighbours, Observed, Outcome, Owner, Pending, Probe, Replica, RevisionRecord, Rotation, ServiceName,
    Sighting, State, Trouble,
};
use composed::plan::action::{Plan, Verb};
use composed::plan::policy::Policy;
use composed::plan::{Scene, plan, status};
use composed::source::catalog::Catalog;
use composed::source::files::read;
use crd_schema::status::Reason;
use crd_schema::{ComposeDuration, Object, ServiceSpec};
use jiff::Timestamp;
use serde::Deserialize;

/// What a case says of the world. Times are so long ago.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "a case says what is special about the world")]
struct World {
    /// The document is gone, or held for this reason.
    gone: bool,
    missed: Option<ComposeDuration>,
    held: Option<String>,
    replicas: Vec<Seen>,
    /// Images that are here; absent: both.
    images: Option<Vec<String>>,
    pull_failed: Option<ComposeDuration>,
    missing: Vec<String>,
    /// Why it could not be made.
    refused: Option<String>,
    /// The image was fetched for the new revision.
    pulled: bool,
    /// This process has looked for so long only.
    back: Option<ComposeDuration>,
    /// Another service waits for this one to complete.
    one_shot: bool,
    unmet: BTreeMap<String, String>,
    neighbours: Neighbours,
    /// The old revision's image. What else the old revision has is as in the document.
    old_image: Option<String>,
    /// Whether the old revision was available, and the new one.
    old_available: bool,
    new_available: bool,
    /// The desired revision has failed for this reason.
    failed: Option<String>,
    /// So many failures of the desired revision in a row, the last so long ago.
    trouble: Option<(u32, ComposeDuration)>,
    /// Others removed containers of it so long ago, each time.
    removed_by_others: Vec<ComposeDuration>,
    /// The rollout last came nearer to its end so long ago.
    progress: Option<ComposeDuration>,
    /// Who has to roll out first.
    turn: Option<String>,
    /// Containers of its hooks.
    hooks: Vec<SeenHook>,
    /// What is remembered of the hooks of the new revision.
    pre_deploy: Option<HookState>,
    post_deploy: Option<HookState>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeenHook {
    kind: HookKind,
    /// `new` or `old`.
    revision: String,
    #[serde(default)]
    created: bool,
    /// Running for so long.
    #[serde(default)]
    running: Option<ComposeDuration>,
    #[serde(default)]
    exited: Option<i64>,
    /// It took so long.
    #[serde(default)]
    took: Option<ComposeDuration>,
    #[serde(default)]
    stopping: bool,
    #[serde(default)]
    by_hand: bool,
    #[serde(default)]
    output: Vec<String>,
}

impl SeenHook {
    fn run(&self, desired: &DesiredService, old: &ServiceSpec, now: Timestamp) -> HookRun {
        let name = self.kind.container(&desired.name);
        let began = now - self.running.or(self.took).unwrap_or(ComposeDuration::from_secs(1)).get();
        HookRun {
            id: format!("id-{name}"),
            name,
            kind: self.kind,
            revision: if self.revision == "new" { desired.revision.clone() } else { old.revision() },
            generation: if self.revision == "new" { 2 } else { 1 },
            attempt: 1,
            state: match (self.created, self.exited) {
                (true, _) => State::Created,
                (_, Some(code)) => State::Exited(code),
                _ => State::Running,
            },
            started_at: (!self.created).then_some(began),
            ended_at: self.exited.map(|_| now),
            out_of_memory: false,
            stopping: self.stopping,
            by_hand: self.by_hand,
            output: self.output.clone(),
        }
    }
}

fn hook(state: Option<HookState>, world: &World, kind: HookKind, now: Timestamp) -> Option<HookRecord> {
    let run = world.hooks.iter().find(|run| run.kind == kind && run.revision == "new");
    let since = run.and_then(|run| run.running.or(run.took)).map(|ago| now - ago.get());
    let ended = |state| !matches!(state, HookState::Due | HookState::Begun);
    let code = |state| match state {
        HookState::Done => Some(0),
        HookState::Failed => Some(3),
        _ => None,
    };
    state.map(|state| HookRecord {
        state,
        attempts: u32::from(state != HookState::Due),
        running_since: since,
        ended: ended(state).then_some(now),
        code: code(state),
        ..HookRecord::due(now)
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a case says what is special about a replica")]
struct Seen {
    number: u32,
    /// `new`, `old`, or another revision's name.
    revision: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    created: bool,
    /// Made so long ago; absent: long ago.
    #[serde(default)]
    made: Option<ComposeDuration>,
    #[serde(default)]
    exited: Option<i64>,
    #[serde(default)]
    paused: bool,
    /// Running for so long.
    #[serde(default)]
    running: Option<ComposeDuration>,
    /// Ready for so long, too.
    #[serde(default)]
    ready: Option<ComposeDuration>,
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    withdrawn: Option<ComposeDuration>,
    /// Withdrawn by this process, with nothing further begun.
    #[serde(default)]
    revocable: bool,
    #[serde(default)]
    in_flight: Option<u32>,
    #[serde(default)]
    uncountable: bool,
    #[serde(default)]
    stopping: bool,
    #[serde(default)]
    restarts: bool,
    #[serde(default)]
    pre_stop_done: bool,
    /// Those who send requests take in what is shown of it within so long.
    #[serde(default)]
    rotation: Option<ComposeDuration>,
    /// Its anonymous volumes, by where they are mounted.
    #[serde(default)]
    volumes: BTreeMap<String, String>,
    /// Docker Compose made it; it differs in these keys.
    #[serde(default)]
    compose: Option<Vec<String>>,
    /// Where its image says that it keeps data.
    #[serde(default)]
    data: BTreeSet<String>,
    /// It has joined the network of this container of vpn, which has run for so long.
    #[serde(default)]
    beside: Option<(String, Option<ComposeDuration>)>,
    /// Somebody else has told it to stop.
    #[serde(default)]
    by_hand: bool,
    /// That was noticed so long ago.
    #[serde(default)]
    stopped: Option<ComposeDuration>,
    /// It was adopted as what its revision says.
    #[serde(default)]
    adopted: bool,
}

struct Case {
    desired: Desired,
    observed: Observed,
    memory: Memory,
    now: Timestamp,
}

impl Case {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("desired.yaml")).unwrap();
        let mut objects = crd_schema::parse("desired.yaml", &text).unwrap_or_else(|problems| {
            panic!("{}: {}", folder.display(), problems.iter().map(ToString::to_string).collect::<String>())
        });
        let Object::Service(service) = objects.remove(0).object else { panic!("a service document") };
        let world: World = serde_saphyr::from_str(&std::fs::read_to_string(folder.join("observed.yaml")).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let name = ServiceName::new(&service.metadata.project, &service.metadata.name);
        let mut desired = DesiredService::new(name.clone(), service.spec, "desired.yaml:1");
        desired.one_shot = world.one_shot;
        let old_image = world.old_image.clone().unwrap_or_else(|| "web:1".to_owned());
        let old = ServiceSpec { image: old_image.clone(), ..desired.spec.clone() };
        let mut memory = memory(&desired, &old, &world, now);
        let known = [desired.spec.image.clone(), old_image.clone()].map(|image| (image, ImageState::Absent));
        let here = world.images.clone().unwrap_or_else(|| vec![desired.spec.image.clone(), old_image]);
        let here = here.into_iter().map(|image| (image.clone(), ImageState::Present(format!("sha256:{image}"))));
        let mut images: BTreeMap<_, _> = known.into_iter().chain(here).collect();
        if let Some(ago) = world.pull_failed {
            let failed =
                ImageState::PullFailed { at: now - ago.get(), message: "manifest unknown".to_owned(), count: 1 };
            images.insert(desired.spec.image.clone(), failed);
        }
        let mut replicas: Vec<Replica> = world.replicas.iter().map(|seen| seen.replica(&desired, &old, now)).collect();
        let adopted = world.replicas.iter().zip(&replicas).filter(|(seen, _)| seen.adopted);
        memory.adopted = adopted.map(|(_, replica)| (replica.id.clone(), replica.revision.clone())).collect();
        memory.identify(Some(&desired), &mut replicas);
        let stopped = world.replicas.iter().zip(&replicas);
        let stopped = stopped.filter_map(|(seen, replica)| Some((replica.id.clone(), now - seen.stopped?.get())));
        memory.ended_by_hand = stopped.collect();
        let deed = |ago: &ComposeDuration| Deed {
            at: now - ago.get(),
            last: now - ago.get(),
            what: "3 of its containers were removed".to_owned(),
        };
        memory.deeds = world.removed_by_others.iter().map(deed).collect();
        let observed = Observed {
            replicas,
            images,
            missing: world.missing.clone(),
            refused: world.refused.clone(),
            unmet: world.unmet.clone(),
            neighbours: world.neighbours.clone(),
            turn: world.turn.clone(),
            hooks: world.hooks.iter().map(|run| run.run(&desired, &old, now)).collect(),
            ..Observed::default()
        };
        let desired = match (world.gone, world.held) {
            (true, _) => Desired::Gone(now - world.missed.unwrap_or(ComposeDuration::from_secs(60)).get()),
            (_, Some(why)) => Desired::Held(why),
            _ => Desired::Run(Box::new(desired)),
        };
        Self { desired, observed, memory, now }
    }

    fn plan(&self) -> String {
        let plan = plan(&self.desired, &self.observed, &self.memory, self.now);
        let mut text = String::new();
        if let Desired::Run(desired) = &self.desired {
            let policy = &Policy::with(&desired.spec, &self.observed.replicas);
            let scene = Scene { desired, observed: &self.observed, memory: &self.memory, policy, now: self.now };
            let status = status::status(&scene, &plan, None);
            text += &format!("{}\n", status.strategy);
            for condition in &status.conditions {
                let message =
                    if condition.message.is_empty() { String::new() } else { format!(": {}", condition.message) };
                text += &format!("{}={} {}{message}\n", condition.kind, condition.status, condition.reason);
            }
        }
        for action in &plan.actions {
            if let Verb::EndHook { end, .. } = &action.verb {
                text += &end.output.iter().map(|line| format!("said {line}\n")).collect::<String>();
            }
            text += &format!("do   {}  because: {}\n", action.verb, action.cause);
        }
        for waiting in &plan.waiting {
            let until = waiting.until.map(|at| format!("  until +{}ms", at.duration_since(self.now).as_millis()));
            text += &format!("wait {}{}\n", waiting.on, until.unwrap_or_default());
        }
        match plan.wake_at {
            Some(at) => text += &format!("wake +{}ms\n", at.duration_since(self.now).as_millis()),
            None => text += "wake when something happens\n",
        }
        // Hashes would change with every key that is added to a case.
        let Desired::Run(desired) = &self.desired else { return text };
        text = text.replace(&desired.revision, "NEW");
        for record in &self.memory.history {
            text = text.replace(&record.revision, "OLD");
        }
        text
    }
}

fn memory(desired: &DesiredService, old: &ServiceSpec, world: &World, now: Timestamp) -> Memory {
    let hour_ago = now - std::time::Duration::from_hours(1);
    let record = |spec: &ServiceSpec, generation, outcome| RevisionRecord {
        revision: spec.revision(),
        generation,
        spec: spec.clone(),
        since: hour_ago,
        outcome,
        served: outcome == Outcome::Available,
        commit: None,
        image: None,
        document: None,
        begun: None,
        ended: None,
        fresh: false,
        pre_deploy: None,
        post_deploy: None,
    };
    let mut memory = Memory { generation: 2, digest: desired.digest.clone(), ..Memory::default() };
    if old.revision() != desired.revision {
        let outcome = if world.old_available { Outcome::Available } else { Outcome::Pending };
        memory.history.push(record(old, 1, outcome));
    }
    let outcome = if world.new_available { Outcome::Available } else { Outcome::Pending };
    memory.history.push(record(&desired.spec, 2, outcome));
    if let Some(record) = memory.history.last_mut() {
        record.pre_deploy = hook(world.pre_deploy, world, HookKind::PreDeploy, now);
        record.post_deploy = hook(world.post_deploy, world, HookKind::PostDeploy, now);
        record.served &= outcome == Outcome::Available;
    }
    memory.pulled = world.pulled.then(|| desired.revision.clone());
    memory.back_since = world.back.map(|ago| now - ago.get());
    memory.progress_since = Some(now - world.progress.map_or(std::time::Duration::ZERO, ComposeDuration::get));
    if let Some(message) = &world.failed {
        memory.fail(&desired.revision, Reason::Unhealthy, message.clone(), now);
    }
    memory.trouble = world.trouble.map(|(count, ago)| Trouble {
        revision: desired.revision.clone(),
        count,
        last_at: now - ago.get(),
        reason: Reason::Exited,
        message: "web-1 exited with code 1".to_owned(),
        counted: BTreeSet::new(),
    });
    for seen in &world.replicas {
        let id = format!("id-{}", seen.number);
        if let Some(ago) = seen.withdrawn {
            memory.withdrawn.insert(id.clone(), now - ago.get());
        }
        if seen.revocable {
            memory.revocable.insert(id.clone());
        }
        if let Some(running) = seen.running.or(seen.ready) {
            let sighting = Sighting {
                started_at: Some(now - running.get()),
                restart_count: 0,
                running_since: now - running.get(),
                ready_since: seen.ready.map(|ready| now - ready.get()),
                starting_since: Some(now - running.get()),
            };
            memory.sightings.insert(id, sighting);
        }
    }
    memory
}

impl Seen {
    fn rotation(&self, now: Timestamp) -> Rotation {
        let pending =
            |within: ComposeDuration| Rotation::Pending { who: "the proxy".to_owned(), until: now + within.get() };
        self.rotation.map_or_else(Rotation::default, pending)
    }

    fn replica(&self, desired: &DesiredService, old: &ServiceSpec, now: Timestamp) -> Replica {
        let revision = match self.revision.as_str() {
            "new" => desired.revision.clone(),
            "old" => old.revision(),
            other => other.to_owned(),
        };
        let state = match (self.created, self.exited, self.paused) {
            (true, ..) => State::Created,
            (_, Some(code), _) => State::Exited(code),
            (.., true) => State::Paused,
            _ => State::Running,
        };
        let healthy = if desired.spec.healthcheck.is_some() { Health::Healthy } else { Health::None };
        Replica {
            id: format!("id-{}", self.number),
            name: self.name.clone().unwrap_or_else(|| desired.name.container(self.number)),
            number: self.number,
            service: desired.name.clone(),
            generation: if self.revision == "new" { 2 } else { 1 },
            revision,
            image: String::new(),
            image_name: String::new(),
            created_at: now
                - self.made.map_or(std::time::Duration::from_secs(1000 - u64::from(self.number)), ComposeDuration::get),
            state,
            started_at: self.running.or(self.ready).map(|ago| now - ago.get()),
            restart_count: 0,
            restarts: self.restarts,
            health: self.health.unwrap_or(if self.ready.is_some() { healthy } else { Health::None }),
            probe: Probe::None,
            rotation: self.rotation(now),
            in_flight: match (self.uncountable, self.in_flight) {
                (true, _) => InFlight::Uncountable,
                (_, Some(count)) => InFlight::Count(count),
                _ => InFlight::Unknown,
            },
            busy_with: self.stopping.then_some(Pending::Stop),
            pre_stop_done: self.pre_stop_done,
            post_start: None,
            addresses: BTreeMap::new(),
            ports: BTreeMap::new(),
            pid: 0,
            volumes: self.volumes.clone(),
            data: self.data.clone(),
            shares: self.beside.iter().map(|(id, runs)| owner(id, runs.map(|runs| now - runs.get()))).collect(),
            by_hand: self.by_hand,
            maker: self.compose.as_ref().map(|_| "docker compose 5.6.1".to_owned()),
            compose: self
                .compose
                .clone()
                .map(|differs| if differs.is_empty() { Comparison::Same } else { Comparison::Differs(differs) }),
        }
    }
}

fn owner(id: &str, since: Option<Timestamp>) -> Owner {
    Owner { id: id.to_owned(), service: "vpn".to_owned(), since }
}

#[test]
fn plans_are_as_their_folders_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut folders: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 20, "{} cases", folders.len());
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut wrong = Vec::new();
    for folder in folders {
        let text = Case::read(&folder).plan();
        let file = folder.join("plan.txt");
        if update {
            std::fs::write(&file, &text).unwrap();
        }
        let golden = std::fs::read_to_string(&file).unwrap_or_default();
        if golden != text {
            wrong.push(format!("{}\n--- golden\n{golden}--- now\n{text}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// While a change is held, those that are there are what others may join.
#[test]
fn while_a_rollout_is_held_what_is_kept_stays() {
    let table: [(&str, &[&str]); 5] = [
        ("9a-waits-for-its-turn", &["shop-web-4"]),
        ("9d-held-in-the-middle-of-another-rollout", &[]),
        ("9e-held-for-its-turn-while-its-network-goes", &["shop-app-1"]),
        ("9f-held-for-its-turn-and-its-successor-is-not-available", &["shop-app-1"]),
        ("09-new-one-available", &["shop-web-1", "shop-web-2", "shop-web-3"]),
    ];
    for (folder, expected) in table {
        let case = Case::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder));
        let Desired::Run(desired) = &case.desired else { panic!("{folder}") };
        let policy = &Policy::with(&desired.spec, &case.observed.replicas);
        let scene = Scene { desired, observed: &case.observed, memory: &case.memory, policy, now: case.now };
        let status = status::status(&scene, &Plan::default(), None);
        let leave: Vec<_> = status.instances.iter().filter(|one| one.leaves).map(|one| one.name.as_str()).collect();
        assert_eq!(leave, expected, "{folder}");
    }
}

/// What the first look at an empty host would make of the examples.
#[test]
fn the_examples_plan_as_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalog = Catalog::new(&read(&root.join("../examples/services")), &Catalog::empty(false));
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    let mut text = String::new();
    for name in catalog.names() {
        let desired = catalog.desired(name, &BTreeSet::new(), now);
        let Desired::Run(wanted) = &desired else { panic!("{name}: {desired:?}") };
        let present = ImageState::Present("sha256:1".to_owned());
        let observed = Observed { images: [(wanted.spec.image.clone(), present)].into(), ..Observed::default() };
        let mut memory = Memory::default();
        memory.notice(Some(wanted), &observed, now);
        let plan = plan(&desired, &observed, &memory, now);
        text += &format!("{name}: {}\n", Policy::of(&wanted.spec).strategy);
        text += &plan
            .actions
            .iter()
            .map(|action| format!("  {}  because: {}\n", action.verb, action.cause))
            .collect::<String>();
        text = text.replace(&wanted.revision, "REVISION");
    }
    let file = root.join("tests/golden-examples.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap_or_default(), text);
}
