//! What is remembered between two looks: the fold alone, without a plan or an engine.

use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{
    Comparison, DesiredService, Health, HookEnd, HookFailure, ImageState, InFlight, Observed, Outcome, Probe,
    Propagation, Replica, ServiceRecord, UndoDecision,
};
use composed_core::model::{ServiceName, State};
use crd_schema::status::Reason;
use crd_schema::{ContainerId, FailureAction, ImageId, ImageRef, ServiceSpec};
use jiff::Timestamp;

pub(crate) fn wish(image: &str) -> DesiredService {
    let spec = ServiceSpec { image: ImageRef::new(image), ..ServiceSpec::default() };
    DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1")
}

pub(crate) fn replica(wish: &DesiredService, health: Health, started_at: Timestamp) -> Replica {
    Replica {
        id: ContainerId::new("one"),
        name: "shop-web-1".to_owned(),
        number: 1,
        service: wish.name.clone(),
        revision: wish.revision.clone(),
        generation: 1,
        image: ImageId::default(),
        image_name: ImageRef::default(),
        created_at: started_at,
        state: State::Running,
        started_at: Some(started_at),
        restart_count: 0,
        restarts: true,
        health,
        probe: Probe::None,
        in_flight: InFlight::Unknown,
        propagation: Propagation::Unfollowed,
        busy_with: None,
        busy_until: None,
        pre_stop_failure: None,
        pre_stop_done: false,
        volumes: std::collections::BTreeMap::new(),
        post_start: None,
        data: std::collections::BTreeSet::new(),
        joined: Vec::new(),
        stopped_externally: false,
        created_by: None,
        compose: None,
        specification: None,
        failed_check: None,
        output: Vec::new(),
        out_of_memory: false,
        addresses: std::collections::BTreeMap::new(),
        ports: std::collections::BTreeMap::new(),
        pid: 7,
    }
}

pub(crate) fn seen(replicas: Vec<Replica>) -> Observed {
    Observed { replicas, ..Observed::default() }
}

pub(crate) fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_engine_that_begins_its_checks_anew_makes_nobody_unready() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::Healthy, now)]), now);
    let later = now + Duration::from_hours(5);
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::Starting, now)]), later);
    assert_eq!(memory.process.observations["one"].ready_since, Some(now), "it goes on in the same run");
    assert_eq!(memory.process.observations["one"].starting_since, Some(later), "and its deadline begins now");
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::Unhealthy, now)]), later + SECOND);
    assert_eq!(memory.process.observations["one"].ready_since, None, "a check that says otherwise is believed");
}

#[test]
fn a_restart_is_counted_once_and_never_again_for_another_revision() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![]), now);
    let mut again = replica(&wish, Health::None, now + SECOND);
    memory.observe(Some(&wish), &seen(vec![again.clone()]), now + SECOND);
    again.restart_count = 3;
    again.started_at = Some(now + 2 * SECOND);
    memory.observe(Some(&wish), &seen(vec![again.clone()]), now + 3 * SECOND);
    assert_eq!(memory.revisions.streak.as_ref().map(|trouble| trouble.count), Some(1));
    let newer = self::wish("web:2");
    for round in 4..8 {
        memory.observe(Some(&newer), &seen(vec![again.clone()]), now + round * SECOND);
    }
    assert_eq!(memory.revisions.streak, None, "an old restart says nothing about a new revision");
}

#[test]
fn what_the_last_one_to_fail_wrote_is_kept_without_secrets() {
    let mut wish = wish("web:1");
    Arc::make_mut(&mut wish.spec).environment.0.insert("KEY".to_owned(), "hunter2".to_owned());
    let (now, mut memory) = (start(), ServiceRecord::default());
    memory.observe(Some(&wish), &seen(vec![]), now);
    let mut ended = replica(&wish, Health::None, now + SECOND);
    ended.state = State::Exited(3);
    ended.output = vec!["connecting with hunter2".to_owned(), "refused".to_owned()];
    memory.observe(Some(&wish), &seen(vec![ended.clone()]), now + SECOND);
    let output = vec!["connecting with ***".to_owned(), "refused".to_owned()];
    assert_eq!(memory.revisions.streak.as_ref().map(|streak| &streak.output), Some(&output));
    memory.record_failure(&wish.revision, Reason::CrashLoop, "it has ended".to_owned(), now + SECOND);
    let fault = memory.record(&wish.revision).unwrap().fault.clone().unwrap();
    assert_eq!((fault.message.as_str(), &fault.output), ("it has ended", &output));
    // It lasts, and goes when the revision is well after all.
    let stored = serde_json::to_string(&memory).unwrap();
    let mut memory: ServiceRecord = serde_json::from_str(&stored).unwrap();
    assert_eq!(memory.record(&wish.revision).unwrap().fault, Some(fault));
    memory.record_outcome(&wish.revision, Outcome::Available);
    assert_eq!(memory.record(&wish.revision).unwrap().fault, None);
}

#[test]
fn a_post_start_hook_that_fails_is_a_failure_of_its_revision() {
    let mut wish = wish("web:1");
    Arc::make_mut(&mut wish.spec).post_start.push(crd_schema::Hook::default());
    let (now, mut memory) = (start(), ServiceRecord::default());
    memory.observe(Some(&wish), &seen(vec![]), now);
    for round in 1..=3 {
        let mut one = replica(&wish, Health::None, now);
        one.id = ContainerId::new(format!("{round}"));
        one.state = State::Created;
        memory.observe(Some(&wish), &seen(vec![one.clone()]), now + round * SECOND);
        one.state = State::Running;
        memory.observe(Some(&wish), &seen(vec![one.clone()]), now + round * SECOND);
        let failure = HookFailure { why: "it failed".to_owned(), output: Vec::new() };
        one.post_start = Some(HookEnd::Failed(failure));
        for _ in 0..2 {
            memory.observe(Some(&wish), &seen(vec![one.clone()]), now + round * SECOND);
        }
        assert_eq!(memory.revisions.streak.as_ref().map(|streak| streak.count), Some(round));
    }
}

#[test]
fn restarts_from_before_the_first_look_are_not_counted() {
    let (wish, now) = (wish("web:1"), start());
    let mut old = replica(&wish, Health::None, now);
    old.restart_count = 12;
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![old]), now + SECOND);
    assert_eq!(memory.revisions.streak, None);
}

#[test]
fn an_image_counts_as_fetched_when_it_has_come() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    let mut observed = seen(vec![]);
    memory.observe(Some(&wish), &observed, now);
    memory.process.pulling_for = Some(wish.revision.clone());
    observed.images.insert(ImageRef::new("web:1"), ImageState::Pulling(now));
    memory.observe(Some(&wish), &observed, now + SECOND);
    assert_eq!(memory.images.pulled_for, None);
    observed.images.insert(ImageRef::new("web:1"), ImageState::Present(ImageId::new("sha256:1")));
    memory.observe(Some(&wish), &observed, now + 2 * SECOND);
    assert_eq!(memory.images.pulled_for, Some(wish.revision));
}

#[test]
fn waiting_for_a_dependency_is_no_lack_of_progress() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    let mut observed = seen(vec![]);
    observed.unmet.insert("db".to_owned(), "it is not available yet".to_owned());
    memory.observe(Some(&wish), &observed, now);
    let later = now + Duration::from_hours(1);
    memory.observe(Some(&wish), &observed, later);
    assert_eq!(memory.revisions.progress_since, Some(later));
    observed.unmet.clear();
    let met = later + Duration::from_hours(1);
    memory.observe(Some(&wish), &observed, met);
    assert_eq!(memory.revisions.progress_since, Some(met), "the wait may have been long since the last look");
    memory.observe(Some(&wish), &observed, met + SECOND);
    assert_eq!(memory.revisions.progress_since, Some(met), "from then on it counts");
}

#[test]
fn a_clock_that_was_set_back_delays_nothing() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::None, now)]), now);
    memory.replicas.draining.insert(ContainerId::new("one"), now + Duration::from_hours(7));
    let mut remembered: ServiceRecord =
        serde_json::from_str(&serde_json::to_string(&memory.persistent_part()).unwrap()).unwrap();
    remembered.observe(Some(&wish), &seen(vec![replica(&wish, Health::None, now)]), now + SECOND);
    assert_eq!(remembered.replicas.draining["one"], now + SECOND);
}

#[test]
fn after_a_restart_only_those_that_served_are_believed_to_have_been_ready() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![]), now);
    memory.replicas.serving.insert(ContainerId::new("one"), Some(now));
    let restart = |memory: &ServiceRecord| -> ServiceRecord {
        serde_json::from_str(&serde_json::to_string(&memory.persistent_part()).unwrap()).unwrap()
    };
    let later = now + Duration::from_mins(1);
    let look = seen(vec![replica(&wish, Health::Healthy, now)]);
    let mut served = restart(&memory);
    served.observe(Some(&wish), &look, later);
    assert_eq!(served.process.observations["one"].ready_since, Some(now));
    memory.replicas.serving.clear();
    let mut fresh = restart(&memory);
    fresh.observe(Some(&wish), &look, later);
    assert_eq!(fresh.process.observations["one"].ready_since, Some(later), "it may have become ready this moment");
    let mut lost = ServiceRecord::default();
    lost.observe(Some(&wish), &look, later);
    assert_eq!(lost.process.observations["one"].ready_since, Some(now), "with nothing remembered all are believed");
}

#[test]
fn one_that_served_before_a_restart_serves_until_it_answers_otherwise() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![]), now);
    memory.replicas.serving.insert(ContainerId::new("one"), Some(now));
    let later = now + Duration::from_mins(1);
    let asked = |probe: Probe| seen(vec![Replica { probe, ..replica(&wish, Health::Healthy, now) }]);
    let restart = || -> ServiceRecord {
        serde_json::from_str(&serde_json::to_string(&memory.persistent_part()).unwrap()).unwrap()
    };
    let mut after = restart();
    after.observe(Some(&wish), &asked(Probe::Unasked), later);
    after.observe(Some(&wish), &asked(Probe::Unasked), later + SECOND);
    assert_eq!(after.process.observations["one"].ready_since, Some(now), "nobody has asked it yet");
    after.observe(Some(&wish), &asked(Probe::Failing("status 500".to_owned())), later + 2 * SECOND);
    assert_eq!(after.process.observations["one"].ready_since, None);
    let mut engine_too = restart();
    engine_too.observe(Some(&wish), &seen(vec![replica(&wish, Health::Starting, now)]), later);
    assert_eq!(
        engine_too.process.observations["one"].ready_since,
        Some(now),
        "the engine's checks begin anew, its run goes on"
    );
    let mut another_run = restart();
    another_run.observe(Some(&wish), &seen(vec![replica(&wish, Health::Starting, later)]), later);
    assert_eq!(another_run.process.observations["one"].ready_since, None, "another run has to prove itself");
}

#[test]
fn what_is_seen_again_after_a_restart_is_no_reason_to_save() {
    let (wish, now) = (wish("web:1"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::Healthy, now)]), now);
    let before = memory.clone();
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::Healthy, now)]), now + SECOND);
    assert!(memory != before && memory.persists_as(&before));
    memory.replicas.draining.insert(ContainerId::new("one"), now);
    assert!(!memory.persists_as(&before));
}

#[test]
fn what_was_gone_back_from_by_itself_is_not_undone_once_more() {
    let (first, second, now) = (wish("web:1"), wish("web:2"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&first), &seen(vec![]), now);
    memory.record_outcome(&first.revision, Outcome::Available);
    memory.observe(Some(&second), &seen(vec![]), now + SECOND);
    memory.record_failure(&second.revision, Reason::CrashLoop, "it has ended".to_owned(), now + SECOND);
    let undone = memory.undo(None, None, now + SECOND).unwrap();
    let UndoDecision::Nothing(why) = undone else { panic!("{undone:?}") };
    assert!(why.contains("has failed at") && why.contains("runs in its place"), "{why}");
    // Where a failure is left as it is, a person goes back.
    for record in &mut memory.revisions.history {
        let rollout = crd_schema::Rollout { failure_action: Some(FailureAction::Pause), ..Default::default() };
        Arc::make_mut(&mut record.spec).rollout = Some(rollout);
    }
    assert!(matches!(memory.undo(None, None, now + SECOND), Ok(UndoDecision::Back(..))));
}

#[test]
fn one_goes_back_only_to_what_was_whole() {
    let (first, second, now) = (wish("web:1"), wish("web:2"), start());
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&first), &seen(vec![replica(&first, Health::None, now)]), now);
    memory.observe(Some(&second), &seen(vec![replica(&second, Health::None, now)]), now + SECOND);
    assert!(memory.revisions.history.iter().all(|record| record.served), "{:?}", memory.revisions.history);
    let back = |from: &DesiredService| memory.last_available(&from.revision).map(|record| record.revision.clone());
    assert_eq!((back(&second), back(&first)), (None, None), "both served, and neither was there in full");
    let outcomes = || memory.revisions.history.iter().map(|record| record.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(), [Outcome::Superseded, Outcome::Pending]);
    memory.record_outcome(&first.revision, Outcome::Available);
    let back = |from: &DesiredService| memory.last_available(&from.revision).map(|record| record.revision.clone());
    assert_eq!((back(&second), back(&first)), (Some(first.revision.clone()), None));
}

#[test]
fn a_pause_is_no_lack_of_progress_and_what_is_done_in_it_no_deed() {
    let mut paused = wish("web:1");
    Arc::make_mut(&mut paused.spec).paused = true;
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&paused), &seen(vec![replica(&paused, Health::None, start())]), start());
    // Somebody works on it: what was there has gone.
    let hour = start() + Duration::from_hours(1);
    memory.observe(Some(&paused), &seen(Vec::new()), hour);
    assert_eq!((memory.revisions.progress_since, memory.external_changes.len()), (Some(hour), 0));
    let open = wish("web:1");
    memory.observe(Some(&open), &seen(Vec::new()), hour + Duration::from_secs(1));
    assert_eq!(memory.revisions.progress_since, Some(hour), "the time of a rollout begins with the end of the pause");
}

#[test]
fn what_follows_at_once_is_one_deed_and_three_are_too_many() {
    let wish = wish("web:1");
    let one = |id: u32| Replica { id: ContainerId::new(id.to_string()), ..replica(&wish, Health::None, start()) };
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![one(0)]), start());
    // A slow `docker compose up`: one after the other, 25 s apart.
    for step in 1..=4_u32 {
        memory.observe(Some(&wish), &seen(vec![one(step)]), start() + Duration::from_secs(25) * step);
    }
    assert_eq!(memory.external_changes.len(), 1, "{:?}", memory.external_changes);
    let minute = |minute: u64| start() + Duration::from_mins(minute);
    memory.observe(Some(&wish), &seen(vec![one(5)]), minute(4));
    assert_eq!(memory.contended(minute(4)), None);
    memory.observe(Some(&wish), &seen(vec![one(6)]), minute(6));
    let (what, until) = memory.contended(minute(6)).expect("contended");
    assert!(what.contains("removed"), "{what}");
    assert_eq!(until, start() + Duration::from_secs(25) + Duration::from_mins(10));
    assert_eq!(memory.contended(until), None, "then it is tried again");
    // What is ours to remove is no deed.
    memory.external_changes.clear();
    memory.process.removing.insert(ContainerId::new("6"));
    memory.observe(Some(&wish), &seen(Vec::new()), minute(30));
    assert_eq!(memory.external_changes, []);
}

#[test]
fn one_that_somebody_has_stopped_has_ended_once() {
    let wish = wish("web:1");
    let stopped =
        Replica { state: State::Exited(143), stopped_externally: true, ..replica(&wish, Health::None, start()) };
    let second = |n: u64| start() + Duration::from_secs(n);
    let mut memory = ServiceRecord::default();
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::None, start())]), start());
    memory.observe(Some(&wish), &seen(vec![stopped.clone()]), second(1));
    memory.observe(Some(&wish), &seen(vec![stopped.clone()]), second(3));
    assert_eq!(
        memory.process.stopped_externally.get(&stopped.id),
        Some(&second(1)),
        "a later look does not begin the wait anew"
    );
    assert_eq!(
        (memory.external_changes.len(), &memory.revisions.streak),
        (1, &None),
        "a deed, and no failure of its revision"
    );
    memory.observe(Some(&wish), &seen(vec![replica(&wish, Health::None, second(4))]), second(4));
    assert!(memory.process.stopped_externally.is_empty(), "it was started again");
}

#[test]
fn only_containers_of_ones_own_prove_that_a_memory_was_lost() {
    let (wish, now) = (wish("web:1"), start());
    let made_by = |compose| Replica { compose, ..replica(&wish, Health::None, now) };
    for (compose, lost) in [(Some(Comparison::Same), false), (Some(Comparison::Unknown), false), (None, true)] {
        let mut memory = ServiceRecord::default();
        memory.observe(Some(&wish), &seen(vec![made_by(compose.clone())]), now);
        assert_eq!(memory.replicas.cautious_until.is_some(), lost, "{compose:?}");
    }
}
