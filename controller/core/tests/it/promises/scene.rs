//! Scenes: a document, what is seen and what is remembered, by chance. Also what no run of the controller comes to: a plan
//! has to be safe whatever it is asked about.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use composed_core::model::{
    Desired, DesiredService, HookKind, HookRun, ImageState, NamespaceMember, NamespaceOwner, NamespaceOwners, Observed,
    PortConflict, Replica, ServiceName, ServiceRecord, State,
};
use crd_schema::{
    Canary, ComposeDuration, ContainerId, DeployHook, FailureAction, Healthcheck, Hook, Hooks, ImageId, ImageRef,
    IntOrPercent, Mount, OnInterrupt, Order, Port, PullPolicy, RestartPolicy, Revision, Rollout, ServiceSpec,
    SpecDigest,
};
use jiff::Timestamp;

use super::dice::Dice;
use super::past;
use super::replica::replica;

/// What a plan is made of.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) desired: Desired,
    /// The document, whether it is wanted or not.
    pub(super) service: DesiredService,
    pub(super) observed: Observed,
    pub(super) memory: ServiceRecord,
    pub(super) now: Timestamp,
}

/// The revisions there may be: the wanted one, those before it, and one that nobody remembers.
pub(super) const REVISIONS: [&str; 4] = ["new", "old", "older", "lost"];
/// The image of each.
pub(super) const IMAGES: [&str; 3] = ["web:3", "web:2", "web:1"];

static TEMPLATE: LazyLock<DesiredService> = LazyLock::new(|| {
    let name = ServiceName::new("shop", "web");
    let service = DesiredService::new(name, ServiceSpec::default(), "web.yaml:1");
    // Hashes are not what this is about, and take most of the time.
    DesiredService { revision: Revision::new(REVISIONS[0]), digest: SpecDigest::new("digest"), ..service }
});

static PORT: LazyLock<Port> = LazyLock::new(|| serde_json::from_str(r#"{"target": 80}"#).unwrap());
static MOUNT: LazyLock<Mount> =
    LazyLock::new(|| serde_json::from_str(r#"{"type": "volume", "target": "/data"}"#).unwrap());
static NOW: LazyLock<Timestamp> = LazyLock::new(|| "2026-01-01T00:00:00Z".parse().unwrap());

pub(super) fn secs(secs: u64) -> ComposeDuration {
    ComposeDuration::from_secs(secs)
}

impl Scene {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let dice = &mut Dice::new(bytes);
        let now = *NOW;
        let count = dice.below(8);
        let mut service = TEMPLATE.clone();
        service.spec = spec(dice).into();
        service.one_shot = dice.happens(12);
        let mut observed = around(dice, &service, now);
        let mut memory = past::memory(dice, &service, now);
        for number in 1..=count {
            let one = replica(dice, number, &service, &observed, &mut memory, now);
            if dice.happens(16) && one.state.is_live() {
                observed.neighbours.guests.insert(one.id.clone(), vec![guest(dice)]);
            }
            observed.replicas.push(one);
        }
        observed.hooks = hook_runs(dice, &service, now);
        let desired = match dice.seldom(12, 0, &[1, 2, 3]) {
            1 => Desired::Gone(now - Duration::from_mins(1)),
            2 => Desired::Gone(now - Duration::from_secs(1)),
            3 => Desired::Held("its document is invalid".to_owned()),
            _ => Desired::Run(Box::new(service.clone())),
        };
        let wanted = matches!(desired, Desired::Run(_)).then_some(&service);
        memory.identify(wanted, &mut observed.replicas);
        memory.observe(wanted, &observed, now);
        Self { desired, service, observed, memory, now }
    }

    /// It in a few lines: the whole of it fills pages.
    pub(super) fn told(&self) -> String {
        let spec = self.spec();
        let wanted = match &self.desired {
            Desired::Run(_) => format!("{:?} replicas", spec.replicas.unwrap_or(1)),
            other => format!("{other:?}"),
        };
        let default = ServiceSpec::default();
        let rest = [
            ("paused", spec.paused),
            ("one-shot", self.service.one_shot),
            ("port", spec.ports != default.ports),
            ("name", spec.container_name.is_some()),
            ("data", spec.volumes != default.volumes),
            ("shares", spec.network_mode.is_some()),
            ("post_start", !spec.post_start.is_empty()),
        ];
        let rest: Vec<&str> = rest.into_iter().filter(|(_, is)| *is).map(|(what, _)| what).collect();
        let mut text = format!("{wanted}, {rest:?}, {:?}\n{:?}\n", spec.rollout, spec.hooks);
        let bare = |replica: &Replica| {
            format!("{replica:?}").replace("service: ServiceName { project: \"shop\", name: \"web\" }, ", "")
        };
        text += &self.observed.replicas.iter().map(|one| bare(one) + "\n").collect::<String>();
        text += &self.observed.hooks.iter().map(|run| format!("{run:?}\n")).collect::<String>();
        let mut memory = self.memory.clone();
        for record in std::mem::take(&mut memory.revisions.history) {
            text += &format!("{:?}\n", composed_core::model::RevisionRecord { spec: default.clone().into(), ..record });
        }
        let Observed { images, missing, unmet, neighbours, rollout_limit, .. } = &self.observed;
        text += &format!("{memory:?}\n{images:?} {missing:?} {unmet:?} {rollout_limit:?} {neighbours:?}");
        let whole = format!("{default:?}");
        text.replace(&whole, "...").replace("None", "-")
    }

    pub(super) fn spec(&self) -> &ServiceSpec {
        &self.service.spec
    }

    pub(super) fn replica(&self, id: &ContainerId) -> Option<&Replica> {
        self.observed.replicas.iter().find(|replica| replica.id == *id)
    }

    pub(super) fn hook(&self, id: &ContainerId) -> Option<&HookRun> {
        self.observed.hooks.iter().find(|run| run.id == *id)
    }
}

fn spec(dice: &mut Dice<'_>) -> ServiceSpec {
    let replicas = dice.one(&[1, 2, 3, 4, 0, 1, 2, 5]);
    let mut spec = ServiceSpec { image: ImageRef::new(IMAGES[0]), replicas: Some(replicas), ..ServiceSpec::default() };
    spec.rollout = Some(Rollout {
        order: Some(dice.one(&[Order::Auto, Order::StartFirst, Order::StopFirst, Order::Auto, Order::Recreate])),
        max_surge: Some(IntOrPercent::Int(dice.one(&[1, 0, 2, 3]))),
        max_unavailable: Some(IntOrPercent::Int(dice.one(&[0, 1, 0, 2, 3]))),
        min_ready: Some(secs(5)),
        progress_deadline: Some(secs(120)),
        failure_action: Some(dice.seldom(24, FailureAction::Rollback, &[FailureAction::Pause])),
        canary: dice.happens(40).then(|| Canary { weight: 10, hold: secs(30) }),
        ..Rollout::default()
    });
    let command = |word: &str| vec![word.to_owned()];
    if dice.happens(80) {
        spec.healthcheck =
            Some(Healthcheck { test: command("check"), interval: Some(secs(1)), ..Healthcheck::default() });
    }
    if dice.happens(80) {
        use RestartPolicy::{Always, No, OnFailure};
        spec.restart = Some(dice.one(&[Always, Always, Always, No, OnFailure(None), OnFailure(Some(1))]));
    }
    if dice.happens(40) {
        spec.post_start = vec![Hook { command: command("warm"), ..Hook::default() }];
    }
    if dice.happens(60) {
        spec.pre_stop = vec![Hook { command: command("leave"), ..Hook::default() }];
    }
    if dice.happens(50) {
        let on_interrupt = dice.one(&[None, Some(OnInterrupt::Rerun), Some(OnInterrupt::Fail)]);
        let hook = DeployHook { command: Some(command("migrate")), on_interrupt, ..DeployHook::default() };
        let both = dice.one(&[(true, false), (false, true), (true, true)]);
        let of_another = dice.happens(64).then(|| ImageRef::new("tool:1"));
        spec.hooks = Some(Hooks {
            pre_deploy: both.0.then(|| hook.clone()),
            post_deploy: both.1.then_some(DeployHook { image: of_another, ..hook }),
        });
    }
    match dice.seldom(60, 0, &[1, 1, 2, 2, 3, 4, 4]) {
        1 => spec.ports = vec![Port { published: Some(80), ..PORT.clone() }],
        2 if replicas <= 1 => spec.container_name = Some("the-web".to_owned()),
        3 => {
            spec.volumes = vec![MOUNT.clone()];
        }
        4 => spec.network_mode = Some("service:vpn".to_owned()),
        _ => {}
    }
    spec.pull_policy = dice.seldom(24, None, &[Some(PullPolicy::Always), Some(PullPolicy::Never)]);
    spec.drain_timeout = dice.one(&[None, Some(secs(10)), Some(secs(60))]);
    spec.paused = dice.happens(6);
    spec
}

fn image(dice: &mut Dice<'_>, name: &str, now: Timestamp) -> ImageState {
    match dice.seldom(20, 0, &[1, 2, 3, 4]) {
        1 => ImageState::Absent,
        2 => ImageState::Pulling(now - Duration::from_secs(2)),
        3 => ImageState::PullFailed { at: now, message: "no such manifest".to_owned(), count: 1, refused: true },
        4 => ImageState::PullFailed {
            at: now - Duration::from_mins(9),
            message: "timeout".to_owned(),
            count: 3,
            refused: dice.happens(128),
        },
        _ => ImageState::Present(ImageId::new(format!("sha256:{name}"))),
    }
}

/// What there is around the replicas.
fn around(dice: &mut Dice<'_>, service: &DesiredService, now: Timestamp) -> Observed {
    let mut observed = Observed::default();
    for name in IMAGES.iter().chain(&["tool:1"]) {
        observed.images.insert(ImageRef::new(*name), image(dice, name, now));
    }
    if dice.happens(8) {
        observed.missing = vec!["network shop_default".to_owned()];
    }
    if dice.happens(16) {
        observed.unmet = BTreeMap::from([("db".to_owned(), "it is not healthy".to_owned())]);
    }
    if service.spec.ports.iter().any(|port| port.published.is_some()) && dice.happens(64) {
        let who = "which shop-other-1 has".to_owned();
        observed.port_conflicts =
            vec![PortConflict { port: 80, who, yields: dice.happens(64), lasting: dice.happens(64) }];
    }
    if dice.happens(16) {
        observed.rollout_limit = Some("shop/api".to_owned());
    }
    if service.spec.shares_network() {
        let replicas = dice.one(&[1, 2, 3]);
        let of = (1..=dice.below(4)).map(|number| host(dice, number)).collect();
        observed.neighbours.hosts.insert("vpn".to_owned(), NamespaceOwners { replicas, of });
    }
    if dice.happens(6) {
        observed.neighbours.unseen = vec!["shop/side".to_owned()];
    }
    observed
}

fn host(dice: &mut Dice<'_>, number: u32) -> NamespaceOwner {
    // Serves, serves not yet, is to be started, is to be replaced, goes.
    let (stays, open, available, parting) = dice.one(&[
        (true, true, true, false),
        (true, true, false, false),
        (true, false, false, false),
        (false, true, true, false),
        (false, false, false, true),
    ]);
    let (id, name) = (ContainerId::new(format!("vpn-{number}")), format!("shop-vpn-{number}"));
    NamespaceOwner { id, name, stays, open, available, parting }
}

fn guest(dice: &mut Dice<'_>) -> NamespaceMember {
    let held = dice.seldom(40, None, &[Some("it is paused")]).map(str::to_owned);
    NamespaceMember { name: "shop-side-1".to_owned(), stays: dice.one(&[true, false]), held }
}

/// Containers of its hooks.
fn hook_runs(dice: &mut Dice<'_>, service: &DesiredService, now: Timestamp) -> Vec<HookRun> {
    let mut runs = Vec::new();
    for kind in [HookKind::PreDeploy, HookKind::PostDeploy] {
        if !dice.happens(if kind.spec_in(&service.spec).is_some() { 128 } else { 4 }) {
            continue;
        }
        let states =
            [State::Running, State::Created, State::Exited(0), State::Exited(1), State::Exited(137), State::Dead];
        let state = dice.one(&states);
        let began = now - Duration::from_secs(dice.one(&[10, 1000]));
        let ended = matches!(state, State::Exited(_) | State::Dead);
        let name = kind.container(&service.name);
        runs.push(HookRun {
            id: ContainerId::new(format!("id-{name}")),
            name,
            kind,
            revision: Revision::new(dice.one(&[REVISIONS[0], REVISIONS[0], REVISIONS[1], REVISIONS[3]])),
            generation: 3,
            attempt: 1,
            state,
            started_at: (state != State::Created).then_some(began),
            ended_at: ended.then_some(now),
            out_of_memory: dice.happens(10),
            stopping: state == State::Running && dice.happens(40),
            stopped_externally: dice.happens(20),
            output: Vec::new(),
        });
    }
    runs
}
