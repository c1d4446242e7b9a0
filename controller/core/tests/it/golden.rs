//! Golden plans: one folder a case under `tests/golden`, `desired.yaml` + `observed.yaml` -> `plan.txt`. The folder is
//! the specification. `UPDATE_GOLDEN=1` writes the plans anew: read the difference before you commit it.

mod input;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use composed_core::model::{
    Comparison, Desired, DesiredService, ExternalChange, FailureStreak, Health, HookKind, HookRecord, HookRun,
    HookState, ImageState, InFlight, JoinedNamespace, NamespaceNeighbours, Observed, Outcome, PortConflict, Probe,
    Propagation, Replica, ReplicaObservation, RevisionRecord, RunningOperation, ServiceName, ServiceRecord, State,
};
use composed_core::plan::action::{Plan, Verb};
use composed_core::plan::policy::Policy;
use composed_core::plan::{Scene, plan, status};
use crd_schema::status::Reason;
use crd_schema::{ComposeDuration, ContainerId, ImageId, ImageRef, Object, Revision, ServiceSpec, VolumeName};
use jiff::Timestamp;
use serde::Deserialize;

use self::input::World;

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

struct Case {
    desired: Desired,
    observed: Observed,
    memory: ServiceRecord,
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
        (desired.one_shot, desired.once) = (world.one_shot, world.once);
        let old_image = world.old_image.clone().unwrap_or_else(|| ImageRef::new("web:1"));
        let mut old = ServiceSpec { image: old_image.clone(), ..(*desired.spec).clone() };
        for port in old.ports.iter_mut().filter(|_| world.old_port.is_some()) {
            port.published = world.old_port;
        }
        let mut memory = memory(&desired, &old, &world, now);
        let hooks = desired.spec.hook_images().cloned();
        let known = [desired.spec.image.clone(), old_image.clone()].into_iter().chain(hooks);
        let known: Vec<_> = known.map(|image| (image, ImageState::Absent)).collect();
        let here = world.images.clone().unwrap_or_else(|| vec![desired.spec.image.clone(), old_image]);
        let here =
            here.into_iter().map(|image| (image.clone(), ImageState::Present(ImageId::new(format!("sha256:{image}")))));
        let mut images: BTreeMap<_, _> = known.into_iter().chain(here).collect();
        if let Some(ago) = world.pull_failed {
            let failed = ImageState::PullFailed {
                at: now - ago.get(),
                message: "manifest unknown".to_owned(),
                count: world.pulls_failed.unwrap_or(1),
                refused: true,
            };
            images.insert(desired.spec.image.clone(), failed);
        }
        let mut replicas: Vec<Replica> = world.replicas.iter().map(|seen| seen.replica(&desired, &old, now)).collect();
        let adopted = world.replicas.iter().zip(&replicas).filter(|(seen, _)| seen.adopted);
        memory.replicas.adopted = adopted.map(|(_, replica)| (replica.id.clone(), replica.revision.clone())).collect();
        memory.identify(Some(&desired), &mut replicas);
        let stopped = world.replicas.iter().zip(&replicas);
        let stopped = stopped.filter_map(|(seen, replica)| Some((replica.id.clone(), now - seen.stopped?.get())));
        memory.process.stopped_externally = stopped.collect();
        let deed = |ago: &ComposeDuration| ExternalChange {
            at: now - ago.get(),
            last: now - ago.get(),
            what: "3 of its containers were removed".to_owned(),
        };
        memory.external_changes = world.removed_by_others.iter().map(deed).collect();
        let observed = Observed {
            replicas,
            images,
            missing: world.missing.clone(),
            missing_external: world.missing_external.clone(),
            missing_earlier: world.missing_earlier(&old),
            refused: world.refused.clone(),
            unmet: world.unmet.clone(),
            port_conflicts: world.port_conflicts.clone(),
            failed_dependencies: world.unmet_for_good.clone(),
            neighbours: world.neighbours.clone(),
            rollout_limit: world.turn.clone(),
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
            if let Verb::RecordHookResult { end, .. } = &action.verb {
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
        text = text.replace(desired.revision.as_str(), "NEW");
        for record in &self.memory.revisions.history {
            text = text.replace(record.revision.as_str(), "OLD");
        }
        text
    }
}

fn memory(desired: &DesiredService, old: &ServiceSpec, world: &World, now: Timestamp) -> ServiceRecord {
    let hour_ago = now - std::time::Duration::from_hours(1);
    let record = |spec: &ServiceSpec, generation, outcome| RevisionRecord {
        revision: spec.revision(),
        generation,
        spec: spec.clone().into(),
        since: hour_ago,
        outcome,
        served: outcome == Outcome::Available,
        commit: None,
        image: None,
        document: None,
        begun: None,
        ended: None,
        fresh: false,
        adopted: false,
        undone: None,
        fault: None,
        completed: 0,
        ends: Vec::new(),
        pre_deploy: None,
        post_deploy: None,
    };
    let mut memory = ServiceRecord { generation: 2, digest: desired.digest.clone(), ..ServiceRecord::default() };
    if old.revision() != desired.revision {
        let outcome = if world.old_available { Outcome::Available } else { Outcome::Pending };
        memory.revisions.history.push(RevisionRecord { completed: world.old_completed, ..record(old, 1, outcome) });
    }
    let told = world.replicas.iter().filter(|seen| seen.is_told()).map(|seen| seen.revision.as_str());
    for revision in told.collect::<BTreeSet<_>>() {
        let (revision, adopted) = (Revision::new(revision), true);
        memory.revisions.history.push(RevisionRecord { revision, adopted, ..record(old, 0, Outcome::Available) });
    }
    let outcome = if world.new_available { Outcome::Available } else { Outcome::Pending };
    memory.revisions.history.push(record(&desired.spec, 2, outcome));
    if let Some(record) = memory.revisions.history.last_mut() {
        record.pre_deploy = hook(world.pre_deploy, world, HookKind::PreDeploy, now);
        record.post_deploy = hook(world.post_deploy, world, HookKind::PostDeploy, now);
        record.completed = world.completed;
        record.ends = world.ends.iter().map(|ago| now - ago.get()).collect();
        record.served &= outcome == Outcome::Available;
    }
    memory.images.pulled_for = world.pulled.then(|| desired.revision.clone());
    memory.process.resumed_at = world.back.map(|ago| now - ago.get());
    memory.revisions.progress_since =
        Some(now - world.progress.map_or(std::time::Duration::ZERO, ComposeDuration::get));
    if let Some(message) = &world.failed {
        memory.record_failure(&desired.revision, world.failed_by.unwrap_or(Reason::Unhealthy), message.clone(), now);
    }
    memory.revisions.streak = world.trouble.map(|(count, ago)| FailureStreak {
        revision: desired.revision.clone(),
        count,
        last_at: now - ago.get(),
        reason: Reason::Exited,
        message: "web-1 exited with code 1".to_owned(),
        output: Vec::new(),
        counted: BTreeSet::new(),
    });
    for seen in &world.replicas {
        let id = ContainerId::new(format!("id-{}", seen.number));
        if let Some(ago) = seen.withdrawn {
            memory.replicas.draining.insert(id.clone(), now - ago.get());
        }
        if seen.revocable {
            memory.process.cancellable.insert(id.clone());
        }
        if let Some(running) = seen.running.or(seen.ready) {
            let sighting = ReplicaObservation {
                started_at: Some(now - running.get()),
                restart_count: 0,
                running_since: now - running.get(),
                ready_since: seen.ready.map(|ready| now - ready.get()),
                starting_since: Some(now - running.get()),
            };
            memory.process.observations.insert(id, sighting);
        }
    }
    memory
}

fn owner(id: &str, since: Option<Timestamp>) -> JoinedNamespace {
    JoinedNamespace { id: ContainerId::new(id), service: "vpn".to_owned(), since }
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
