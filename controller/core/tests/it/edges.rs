//! The edges of decisions: what has just begun, has just passed, or is missing one thing only. Each was found by a mutant that
//! nothing else noticed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{
    Comparison, Desired, DesiredService, ExternalChange, FailureStreak, Health, HookEnd, HookKind, HookRun, ImageState,
    Observed, Outcome, PostStartState, Replica, RunningOperation, ServiceRecord, State,
};
use composed_core::plan::Scene;
use composed_core::plan::action::{Plan, Verb};
use composed_core::plan::admission::{RolloutState, rollout_state};
use composed_core::plan::policy::Policy;
use composed_core::plan::status::status;
use composed_core::plan::{MISSING_GRACE, backoff, plan};
use crd_schema::status::{Reason, WaitReason};
use crd_schema::{Canary, ComposeDuration, ContainerId, Generated, Hook, Revision, Rollout, ServiceSpec};

use crate::memory::{replica, seen, start};

const HOUR: Duration = Duration::from_hours(1);

fn wish(change: impl FnOnce(&mut ServiceSpec)) -> DesiredService {
    let mut wish = crate::memory::wish("web:1");
    let spec = Arc::make_mut(&mut wish.spec);
    spec.pull_policy = Some(crd_schema::PullPolicy::Never);
    change(spec);
    let (name, source) = (wish.name.clone(), wish.source.clone());
    DesiredService::new(name, wish.spec, source)
}

/// Its replica, available since long before `start`.
fn one(wish: &DesiredService) -> Replica {
    Replica { restarts: false, ..replica(wish, Health::None, start() - HOUR) }
}

/// What is remembered after a look at these.
fn remembered(wish: &DesiredService, observed: &Observed) -> ServiceRecord {
    let mut memory = ServiceRecord::default();
    memory.observe(Some(wish), observed, start());
    memory.replicas.cautious_until = None;
    memory
}

fn planned(wish: &DesiredService, observed: &Observed, memory: &ServiceRecord) -> Plan {
    plan(&Desired::Run(Box::new(wish.clone())), observed, memory, start())
}

fn waits_for(plan: &Plan, what: &str) -> bool {
    plan.waiting.iter().any(|waiting| waiting.on.contains(what))
}

fn hook(revision: &Revision) -> HookRun {
    HookRun {
        id: ContainerId::new("hook"),
        name: "shop-web-pre-deploy".to_owned(),
        kind: HookKind::PreDeploy,
        revision: revision.clone(),
        generation: 1,
        attempt: 1,
        state: State::Running,
        started_at: Some(start()),
        ended_at: None,
        out_of_memory: false,
        stopping: false,
        stopped_externally: false,
        output: Vec::new(),
    }
}

#[test]
fn how_far_a_rollout_is() {
    let plain = wish(|_| {});
    let none = Observed::default();
    let there = seen(vec![one(&plain)]);
    let pending = remembered(&plain, &none);
    let state =
        |wish: &DesiredService, observed: &Observed, memory: &ServiceRecord| rollout_state(wish, observed, memory);
    assert_eq!(state(&plain, &none, &pending), RolloutState::Waiting);
    assert_eq!(state(&plain, &there, &pending), RolloutState::Rolling);
    let other = seen(vec![Replica { revision: Revision::new("other"), ..one(&plain) }]);
    assert_eq!(state(&plain, &other, &pending), RolloutState::Waiting, "it is of another revision");
    let mut unmet = Observed::default();
    unmet.unmet.insert("db".to_owned(), "it is not started".to_owned());
    assert_eq!(state(&plain, &unmet, &pending), RolloutState::Idle, "it waits for something else");

    let lacks = Observed { missing_external: external(), ..Observed::default() };
    assert_eq!(state(&plain, &lacks, &pending), RolloutState::Idle, "others have to create what it needs");
    let mut refused = pending.clone();
    refused.record_refusal(&plain.revision, Reason::MountMissing, "no such file".to_owned(), start());
    assert_eq!(state(&plain, &none, &refused), RolloutState::Idle, "and a file");

    // Whatever of these is true alone is enough.
    let mut paused = pending.clone();
    paused.pause(true, start());
    assert_eq!(state(&plain, &there, &paused), RolloutState::Idle);
    let mut failed = pending.clone();
    failed.record_failure(&Revision::new("other"), Reason::Unhealthy, "it is unhealthy".to_owned(), start());
    assert_eq!(state(&plain, &there, &failed), RolloutState::Idle);
    for idle in [wish(|spec| spec.paused = true), wish(|spec| spec.replicas = Some(0))] {
        let there = seen(vec![one(&idle)]);
        assert_eq!(state(&idle, &there, &remembered(&idle, &none)), RolloutState::Idle);
    }
    let mut done = pending.clone();
    done.record_outcome(&plain.revision, Outcome::Available);
    assert_eq!(state(&plain, &there, &done), RolloutState::Idle, "it is there");

    let hooked = |of: &Revision| Observed { hooks: vec![hook(of)], ..Observed::default() };
    assert_eq!(state(&plain, &hooked(&plain.revision), &pending), RolloutState::Rolling, "its hook runs");
    assert_eq!(state(&plain, &hooked(&Revision::new("other")), &pending), RolloutState::Waiting);
    let waits = Observed { unmet: unmet.unmet.clone(), ..hooked(&plain.revision) };
    assert_eq!(state(&plain, &waits, &pending), RolloutState::Rolling);
    // HAProxy looks at the configuration of a front while it waits for its ports.
    let front = wish(|spec| spec.generated = Some(Generated { front_of: "web".to_owned(), files: Vec::new() }));
    let pending = remembered(&front, &none);
    let waits = Observed { unmet: unmet.unmet, ..hooked(&front.revision) };
    assert_eq!(state(&front, &waits, &pending), RolloutState::Idle);
    assert_eq!(state(&front, &hooked(&front.revision), &pending), RolloutState::Rolling);
}

fn external() -> BTreeMap<String, String> {
    BTreeMap::from([("external network proxy".to_owned(), "docker network create proxy".to_owned())])
}

/// No deadline and no number of attempts ends it: it is no failure of the revision.
#[test]
fn what_others_have_to_create_is_waited_for() {
    let plain = wish(|_| {});
    let none = Observed::default();
    let lacks = Observed { missing_external: external(), ..Observed::default() };
    let mut refused = remembered(&plain, &none);
    for _ in 0..9 {
        refused.record_refusal(&plain.revision, Reason::MountMissing, "no such file".to_owned(), start() + HOUR);
    }
    let mut broken = remembered(&plain, &none);
    for _ in 0..9 {
        broken.record_refusal(&plain.revision, Reason::CreateFailed, "no such device".to_owned(), start() + HOUR);
    }
    let fails = |observed: &Observed, memory: &ServiceRecord| {
        let next = plan(&Desired::Run(Box::new(plain.clone())), observed, memory, start() + HOUR);
        next.actions.iter().any(|action| matches!(action.verb, Verb::RecordOutcome { .. }))
    };
    assert!(!fails(&lacks, &remembered(&plain, &none)));
    assert!(!fails(&none, &refused));
    assert!(fails(&none, &broken) && fails(&none, &remembered(&plain, &none)), "others do");
}

#[test]
fn the_longest_wait_comes_after_the_fifth_failure() {
    assert!(backoff::delay(5, 1) < backoff::MAX_DELAY);
    assert_eq!([6, 7, 100].map(|count| backoff::delay(count, 1)), [backoff::MAX_DELAY; 3]);
}

#[test]
fn a_document_is_missed_for_so_long_and_no_longer() {
    let plain = wish(|_| {});
    let observed = seen(vec![one(&plain)]);
    let memory = remembered(&plain, &observed);
    let after = |grace: Duration| plan(&Desired::Gone(start() - grace), &observed, &memory, start()).actions.len();
    assert_eq!(after(MISSING_GRACE.saturating_sub(Duration::from_nanos(1))), 0);
    assert_eq!(after(MISSING_GRACE), 1);
}

#[test]
fn what_is_paused_is_said_only_where_something_is_held_back() {
    let paused = wish(|spec| spec.paused = true);
    let observed = seen(vec![one(&paused)]);
    assert!(planned(&paused, &observed, &remembered(&paused, &observed)).settled());
    let none = Observed::default();
    assert!(waits_for(&planned(&paused, &none, &remembered(&paused, &none)), "it is paused"));
}

#[test]
fn each_wait_of_a_rollout_says_until_when() {
    let plain = wish(|spec| spec.pull_policy = None);
    let mut observed = seen(vec![]);
    observed.images.insert(plain.spec.image.clone(), ImageState::Pulling(start()));
    observed.missing = vec!["network shop_default".to_owned()];
    let memory = remembered(&plain, &observed);
    let policy = &Policy::from_spec(&plain.spec);
    let scene = Scene { desired: &plain, observed: &observed, memory: &memory, policy, now: start() };
    let shown = status(&scene, &planned(&plain, &observed, &memory), None).waiting;
    let deadline = Some(start() + policy.progress_deadline);
    assert!(shown.len() > 1 && shown.iter().all(|wait| wait.until == deadline), "{shown:#?}");
    // Others end their own waits.
    observed.unmet.insert("db".to_owned(), "it is not available yet".to_owned());
    let scene = Scene { desired: &plain, observed: &observed, memory: &memory, policy, now: start() };
    let shown = status(&scene, &planned(&plain, &observed, &memory), None).waiting;
    assert!(shown.iter().any(|wait| wait.reason == WaitReason::Dependency && wait.until.is_none()), "{shown:#?}");
}

#[test]
fn what_is_complete_has_not_failed() {
    let plain = wish(|_| {});
    let observed = seen(vec![one(&plain)]);
    let mut memory = remembered(&plain, &observed);
    memory.revisions.streak = Some(FailureStreak {
        revision: plain.revision.clone(),
        count: 9,
        last_at: start(),
        reason: Reason::Exited,
        message: "it has ended".to_owned(),
        output: Vec::new(),
        counted: <_>::default(),
    });
    let outcome = |plan: &Plan| {
        plan.actions.iter().find_map(|action| match &action.verb {
            Verb::RecordOutcome { outcome, .. } => Some(*outcome),
            _ => None,
        })
    };
    assert_eq!(outcome(&planned(&plain, &observed, &memory)), Some(Outcome::Available));
    // Of what is not to run nothing can fail.
    let nothing = wish(|spec| spec.replicas = Some(0));
    let observed = seen(vec![one(&nothing)]);
    let mut memory = remembered(&nothing, &observed);
    (memory.revisions.progress_since, memory.process.resumed_at) = (Some(start() - HOUR), None);
    assert_eq!(outcome(&planned(&nothing, &observed, &memory)), None);
}

#[test]
fn docker_compose_is_waited_for_between_its_create_and_its_start() {
    let plain = wish(|spec| spec.stop_grace_period = Some(ComposeDuration::from_secs(10)));
    let patience = Duration::from_secs(70);
    let made = |state: State, ago: Duration| {
        let created_at = start() - ago;
        let (compose, created_by) = (Some(Comparison::Unknown), Some("docker compose".to_owned()));
        Replica { state, created_at, compose, created_by, ..one(&plain) }
    };
    let waits = |one: Replica| {
        let observed = seen(vec![one]);
        let memory = ServiceRecord { external_changes: Vec::<ExternalChange>::new(), ..remembered(&plain, &observed) };
        waits_for(&planned(&plain, &observed, &memory), "docker compose to start")
    };
    assert!(waits(made(State::Created, Duration::from_secs(1))));
    assert!(waits(made(State::Created, patience.saturating_sub(Duration::from_nanos(1)))));
    assert!(!waits(made(State::Created, patience)), "it has had its time");
    assert!(!waits(made(State::Running, Duration::from_secs(1))), "it is started");
    let mut ahead = made(State::Created, Duration::ZERO);
    ahead.created_at = start() + HOUR;
    assert!(!waits(ahead), "the engine's clock is ahead");
}

/// The post-start hooks of a replica that are begun, if they are.
fn begun(change: impl FnOnce(&mut Replica, &mut ServiceRecord)) -> bool {
    let hooked = wish(|spec| spec.post_start = vec![Hook { command: vec!["warm".to_owned()], ..Hook::default() }]);
    let mut there = one(&hooked);
    let mut memory = remembered(&hooked, &seen(vec![there.clone()]));
    memory.replicas.post_start.insert(there.id.clone(), PostStartState::Begun);
    memory.process.own_post_start.insert(there.id.clone());
    change(&mut there, &mut memory);
    let plan = planned(&hooked, &seen(vec![there]), &memory);
    plan.actions.iter().any(|action| matches!(action.verb, Verb::PostStart { .. }))
}

#[test]
fn post_start_hooks_are_begun_once_by_whoever_has_started_it() {
    assert!(begun(|_, _| {}));
    assert!(!begun(|one, _| one.state = State::Paused), "it does not run");
    assert!(!begun(|one, _| one.busy_with = Some(RunningOperation::PostStart)), "they run");
    assert!(!begun(|one, _| one.post_start = Some(HookEnd::Done)), "they have run");
    assert!(!begun(|one, memory| memory.replicas.draining = [(one.id.clone(), start())].into()), "it leaves");
    assert!(!begun(|_, memory| memory.process.own_post_start.clear()), "another process has begun them");
    let done =
        |state: PostStartState| begun(|one, memory| drop(memory.replicas.post_start.insert(one.id.clone(), state)));
    assert!(!done(PostStartState::Done) && !done(PostStartState::Due));
}

/// A revision that was available before the wanted one.
fn with_an_earlier_one(wish: &DesiredService, observed: &Observed) -> ServiceRecord {
    let mut memory = remembered(wish, observed);
    let mut earlier = memory.revisions.history[0].clone();
    earlier.revision = Revision::new("old");
    earlier.outcome = Outcome::Available;
    memory.revisions.history.insert(0, earlier);
    memory
}

#[test]
fn the_way_back_waits_for_no_turn() {
    let plain = wish(|_| {});
    let observed = Observed { rollout_limit: Some("shop/db rolls out".to_owned()), ..Observed::default() };
    let mut memory = with_an_earlier_one(&plain, &observed);
    assert!(waits_for(&planned(&plain, &observed, &memory), "its turn"));
    memory.record_failure(&plain.revision, Reason::Unhealthy, "it is unhealthy".to_owned(), start());
    assert!(!waits_for(&planned(&plain, &observed, &memory), "its turn"));
}

#[test]
fn a_trial_is_held_only_beside_those_who_serve() {
    let tried = wish(|spec| {
        let canary = Canary { weight: 10, hold: ComposeDuration::from_secs(7200) };
        spec.rollout = Some(Rollout { canary: Some(canary), ..Rollout::default() });
        spec.replicas = Some(2);
    });
    let old =
        |state: State| Replica { id: ContainerId::new("two"), revision: Revision::new("old"), state, ..one(&tried) };
    for (state, held) in [(State::Running, true), (State::Paused, false)] {
        let observed = seen(vec![one(&tried), old(state)]);
        let memory = with_an_earlier_one(&tried, &observed);
        let plan = planned(&tried, &observed, &memory);
        assert_eq!(waits_for(&plan, "the canary to be held"), held, "{state:?}: {plan:?}");
    }
}

#[test]
fn of_a_failed_revision_one_is_kept() {
    let failed = wish(|_| {});
    let ended = |id: &str, name: &str| Replica {
        id: ContainerId::new(id),
        name: name.to_owned(),
        state: State::Exited(1),
        ..one(&failed)
    };
    let removed = |kept: Option<Replica>| {
        let old = Replica { id: ContainerId::new("old"), revision: Revision::new("old"), ..one(&failed) };
        let observed = seen([ended("two", "shop-web-2"), old].into_iter().chain(kept).collect());
        let mut memory = with_an_earlier_one(&failed, &observed);
        memory.record_failure(&failed.revision, Reason::CrashLoop, "it has ended".to_owned(), start());
        let plan = planned(&failed, &observed, &memory);
        plan.actions.iter().any(|action| matches!(&action.verb, Verb::Remove(target) if target.id == "two"))
    };
    assert!(!removed(None), "it is the one");
    assert!(removed(Some(ended("one", "shop-web-failed"))), "there is one");
}
