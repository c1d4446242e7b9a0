//! Containers that run once around a rollout. They are no replicas: nothing counts them, and nothing is sent to them. Each
//! is made by one action, started by another, and its end is written down by a third, before anything follows from it.

use std::collections::BTreeMap;
use std::time::Duration;

use crd_schema::status::WaitReason;
use crd_schema::{DeployHook, Healthcheck, MountKind, NetworkAttachment, OnInterrupt, ServiceSpec};

use super::action::{Blueprint, Plan, Target, Verb, describe_hook_result};
use super::attempt;
use super::replica_sets::ReplicaSets;
use super::scene::Scene;
use super::shared;
use super::target::{Goal, GoalKind};
use crate::model::{HookKind, HookRecord, HookRun, HookState, ImageState, Outcome, State};
use crate::redact::without_secrets;

/// uncloud's, for its pre-deploy hooks.
const TIMEOUT: Duration = Duration::from_mins(5);
/// An interrupted one is run so often in all.
const ATTEMPTS: u32 = 3;
/// The codes of what was ended from outside: by SIGKILL, by SIGTERM, and with the engine or its host.
const SIGNAL_EXIT_CODES: [i64; 3] = [137, 143, 255];

/// The pre-deploy hook that `goal` has to pass before its first replica is made. A revision that has run before has.
pub fn due<'a>(scene: &Scene<'_>, goal: &Goal<'a>) -> Option<&'a DeployHook> {
    let hook = HookKind::PreDeploy.spec_in(goal.spec?)?;
    let passed = scene.memory.record(goal.revision).is_some_and(|record| {
        let done = record.pre_deploy.as_ref().is_some_and(|hook| hook.state == HookState::Done);
        done || record.served || record.outcome == Outcome::Available
    });
    (!passed).then_some(hook)
}

/// Why the revision has failed by its pre-deploy hook, if it has.
pub fn failure(scene: &Scene<'_>, goal: &Goal<'_>) -> Option<String> {
    let hook = due(scene, goal)?;
    let record = scene.memory.record(goal.revision)?.pre_deploy.as_ref()?;
    failed(record, hook).then(|| format!("pre_deploy {}", describe_hook_result(record)))
}

/// Whether nothing good can come of it any more.
fn failed(record: &HookRecord, hook: &DeployHook) -> bool {
    match record.state {
        HookState::Failed | HookState::TimedOut => true,
        HookState::Interrupted => !again(record, hook),
        HookState::Due | HookState::Begun | HookState::Done => false,
    }
}

/// Whether one that was interrupted is run again.
fn again(record: &HookRecord, hook: &DeployHook) -> bool {
    hook.on_interrupt.unwrap_or_default() == OnInterrupt::Rerun && record.attempts < ATTEMPTS
}

/// Writes down who has ended, and stops who has had its time.
pub(super) fn plan_results(plan: &mut Plan, scene: &Scene<'_>) {
    for run in &scene.observed.hooks {
        let record = scene.memory.record(&run.revision);
        let spec = record.map(|record| &record.spec);
        let timeout = spec.and_then(|spec| run.kind.spec_in(spec)).and_then(|hook| hook.timeout);
        let timeout = timeout.map_or(TIMEOUT, crd_schema::ComposeDuration::get);
        let slot = record.and_then(|record| record.hook(run.kind)).filter(|slot| slot.state == HookState::Begun);
        match run.state {
            State::Exited(_) | State::Dead => {
                if let Some((slot, spec)) = slot.zip(spec) {
                    let end = result(run, slot, spec, timeout);
                    let verb = Verb::RecordHookResult { kind: run.kind, revision: run.revision.clone(), end };
                    plan.act(verb, format!("{} has ended", run.name));
                }
            }
            State::Running | State::Paused | State::Restarting => {
                let since = slot.and_then(|slot| slot.running_since).or(run.started_at).unwrap_or(scene.now);
                let deadline = since + timeout;
                if run.stopping {
                    plan.wait(WaitReason::Stop, format!("{} to stop", run.name), None);
                } else if scene.now >= deadline {
                    plan.act(Verb::Stop { target: target(run), cut: 0 }, "its timeout has passed");
                } else {
                    plan.wait(WaitReason::Hook, format!("{} to end", run.name), Some(deadline));
                }
            }
            State::Created | State::Removing => {}
        }
    }
}

/// What became of one that does not run any more.
fn result(run: &HookRun, slot: &HookRecord, spec: &ServiceSpec, timeout: Duration) -> HookRecord {
    let code = match run.state {
        State::Exited(code) => Some(code),
        _ => None,
    };
    let took = run.started_at.zip(run.ended_at).and_then(|(from, to)| Duration::try_from(to.duration_since(from)).ok());
    let state = match code {
        _ if run.out_of_memory => HookState::Failed,
        // Whatever its code: many a program ends with 0 when it is told to stop, and has not done what it should.
        _ if took.is_some_and(|took| took >= timeout) => HookState::TimedOut,
        _ if run.stopped_externally => HookState::Interrupted,
        Some(0) => HookState::Done,
        Some(code) if !SIGNAL_EXIT_CODES.contains(&code) => HookState::Failed,
        _ => HookState::Interrupted,
    };
    HookRecord { state, code, output: shown(&run.output, spec, run.kind), ..slot.clone() }
}

/// What it said, without the values of its environment.
fn shown(output: &[String], spec: &ServiceSpec, kind: HookKind) -> Vec<String> {
    without_secrets(output, spec, kind.spec_in(spec).map(|hook| &hook.environment))
}

/// Removes those that nobody has to look at any more: of other revisions, of one that is available, of earlier attempts.
pub(super) fn plan_cleanup(plan: &mut Plan, scene: &Scene<'_>) {
    for run in scene.observed.hooks.iter().filter(|run| !run.state.is_live() && run.state != State::Removing) {
        let record = scene.memory.record(&run.revision);
        let slot = record.and_then(|record| record.hook(run.kind));
        let own = run.revision == scene.desired.revision;
        let ended = run.state != State::Created;
        let cause = match slot.map(|slot| slot.state) {
            // Its end is written down first.
            Some(HookState::Begun) if ended || own => continue,
            _ if !own => "it is an earlier revision's",
            None | Some(HookState::Due | HookState::Begun) => "it is of an earlier attempt",
            // There is nothing to look at.
            Some(HookState::Failed) if !ended => "it could not be started",
            Some(HookState::Interrupted) if will_rerun(scene, run, slot) => "it was interrupted, and is run again",
            Some(HookState::Done)
                if run.kind == HookKind::PreDeploy && record.is_some_and(|r| r.outcome == Outcome::Available) =>
            {
                "its revision is available"
            }
            Some(_) => continue,
        };
        plan.act(Verb::Remove(target(run)), cause);
    }
}

fn will_rerun(scene: &Scene<'_>, run: &HookRun, slot: Option<&HookRecord>) -> bool {
    slot.zip(run.kind.spec_in(&scene.desired.spec)).is_some_and(|(slot, hook)| again(slot, hook))
}

/// The next step of the hook that comes before the first replica of `goal`. With `open`, it may begin.
pub(super) fn plan_pre_deploy(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, hook: &DeployHook, open: bool) {
    let record = scene.memory.record(goal.revision).and_then(|record| record.pre_deploy.as_ref());
    if record.is_some_and(|record| failed(record, hook)) {
        let revision = goal.revision;
        let wait = format!("a changed document, or `composed rollout`: pre_deploy of revision {revision} has failed");
        plan.wait(WaitReason::ChangedDocument, wait, None);
    } else {
        plan_run(plan, scene, goal, HookKind::PreDeploy, hook, open);
    }
}

/// The next step of the hook that comes after a rollout.
pub(super) fn plan_post_deploy(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, sets: &ReplicaSets<'_>) {
    let wanted = matches!(goal.kind, GoalKind::Desired | GoalKind::Retry) && sets.complete(scene.policy);
    let Some(record) = scene.memory.record(goal.revision).filter(|record| record.outcome == Outcome::Available) else {
        return;
    };
    let hook = HookKind::PostDeploy.spec_in(&scene.desired.spec).filter(|_| wanted);
    let Some((hook, slot)) = hook.zip(record.post_deploy.as_ref()) else { return };
    if let Some(why) = image_missing_for_too_long(plan, scene, hook, slot) {
        let (kind, revision) = (HookKind::PostDeploy, goal.revision.clone());
        let end = HookRecord::refused(why, scene.now);
        plan.act(Verb::RecordHookResult { kind, revision, end }, "its image has had as long as a rollout has");
    } else if !failed(slot, hook) && slot.state != HookState::Done {
        plan_run(plan, scene, goal, HookKind::PostDeploy, hook, true);
    }
}

/// Why the image of one that is due after a rollout is not waited for any longer: nothing else ends that wait.
fn image_missing_for_too_long(
    plan: &mut Plan,
    scene: &Scene<'_>,
    hook: &DeployHook,
    slot: &HookRecord,
) -> Option<String> {
    let image = hook.image.as_ref().filter(|_| slot.state == HookState::Due)?;
    let why = match scene.observed.images.get(image) {
        Some(ImageState::Present(_)) => return None,
        Some(ImageState::Pulling(_)) => format!("image {image} is still being pulled"),
        Some(ImageState::PullFailed { message, .. }) => format!("image {image}: {message}"),
        Some(ImageState::Absent) | None => format!("image {image} is not on this host"),
    };
    let deadline = slot.since + scene.policy.progress_deadline;
    // What was not looked at was not tried.
    let deadline =
        scene.memory.process.resumed_at.map_or(deadline, |back| deadline.max(back + attempt::ATTEMPT_TIMEOUT));
    if scene.now < deadline {
        plan.wake(deadline);
        return None;
    }
    Some(why)
}

fn plan_run(plan: &mut Plan, scene: &Scene<'_>, goal: &Goal<'_>, kind: HookKind, hook: &DeployHook, open: bool) {
    let Scene { observed, memory, now, .. } = *scene;
    let name = kind.container(scene.service());
    // There is one of the name: it may be of another revision, whose end is waited for.
    if let Some(run) = observed.hooks.iter().find(|run| run.kind == kind) {
        let record = memory.record(&run.revision).and_then(|record| record.hook(kind));
        let begun = record.is_some_and(|record| record.state == HookState::Begun);
        match run.state {
            State::Created if begun && run.revision == *goal.revision => {
                let backoff = attempt::backoff_until(scene, goal).filter(|until| now < *until);
                if backoff.is_none() && open {
                    plan.act(Verb::Start(target(run)), cause(kind));
                } else if let Some(until) = backoff {
                    plan.wait(WaitReason::Backoff, "the backoff after failures in a row", Some(until));
                }
            }
            // Said already.
            State::Running | State::Paused | State::Restarting => {}
            _ if begun => {}
            _ => plan.wait(WaitReason::Hook, format!("{name} to make place"), None),
        }
        return;
    }
    let Some(spec) = goal.spec.filter(|_| open) else { return };
    if hook.image.as_ref().is_some_and(|image| !attempt::is_here(plan, scene, spec, image, false)) {
        return;
    }
    let Some(joins) = shared::join_any(plan, scene, spec) else { return };
    let attempts = memory.record(goal.revision).and_then(|record| record.hook(kind)).map_or(0, |slot| slot.attempts);
    let blueprint = Blueprint {
        service: scene.service().clone(),
        hook: Some(kind),
        number: attempts + 1,
        name,
        revision: goal.revision.clone(),
        generation: memory.generation,
        spec: specification(spec, hook).into(),
        volumes: BTreeMap::new(),
        joins,
        image: goal.image.filter(|_| hook.image.is_none()).cloned(),
    };
    plan.act(Verb::Create(Box::new(blueprint)), cause(kind));
}

fn cause(kind: HookKind) -> &'static str {
    match kind {
        HookKind::PreDeploy => "it comes before the first replica of a changed revision",
        HookKind::PostDeploy => "the rollout has succeeded",
    }
}

/// The service's own specification, without all by which others find or count its replicas.
fn specification(spec: &ServiceSpec, hook: &DeployHook) -> ServiceSpec {
    let mut own = spec.clone();
    own.ports.clear();
    own.expose.clear();
    own.labels.clear();
    own.depends_on.clear();
    (own.front, own.traffic, own.readiness, own.container_name, own.hostname) = (None, None, None, None, None);
    (own.restart, own.mac_address, own.hooks) = (None, None, None);
    own.healthcheck = Some(Healthcheck { disable: true, ..Healthcheck::default() });
    for attachment in own.networks.iter_mut().flat_map(BTreeMap::values_mut) {
        *attachment = NetworkAttachment { priority: attachment.priority, ..NetworkAttachment::default() };
    }
    // What has no name belongs to a replica.
    own.volumes.retain(|mount| mount.kind != MountKind::Volume || mount.source.is_some());
    if let Some(image) = &hook.image {
        own.image.clone_from(image);
        (own.command, own.entrypoint, own.user, own.working_dir) = (None, None, None, None);
    }
    own.command = hook.command.clone().or(own.command);
    own.entrypoint = hook.entrypoint.clone().or(own.entrypoint);
    for (name, value) in hook.environment.iter() {
        own.environment.0.insert(name.clone(), value.clone());
    }
    own
}

/// Takes all of them away, whatever became of them: nothing is wanted of the service any more.
pub(super) fn terminate(plan: &mut Plan, runs: &[HookRun]) {
    for run in runs {
        match run.state {
            _ if run.stopping => plan.wait(WaitReason::Stop, format!("{} to stop", run.name), None),
            State::Running | State::Paused | State::Restarting => {
                plan.act(Verb::Stop { target: target(run), cut: 0 }, "its service is gone");
            }
            State::Removing => plan.wait(WaitReason::Removal, format!("{} to be removed", run.name), None),
            State::Created | State::Exited(_) | State::Dead => {
                plan.act(Verb::Remove(target(run)), "it does not run");
            }
        }
    }
}

fn target(run: &HookRun) -> Target {
    Target { id: run.id.clone(), name: run.name.clone() }
}
