//! What is remembered of a service before the look that a plan is made upon.

use std::time::Duration;

use composed_core::model::{
    DesiredService, ExternalChange, FailureStreak, HookRecord, HookState, Outcome, RevisionFailure, RevisionRecord,
    ServiceRecord, Undone,
};
use crd_schema::status::Reason;
use crd_schema::{ImageRef, Revision, ServiceSpec, SpecDigest};
use jiff::Timestamp;

use super::dice::Dice;
use super::scene::{IMAGES, REVISIONS, secs};

/// The memory, but for what it holds of each replica.
pub(super) fn memory(dice: &mut Dice<'_>, service: &DesiredService, now: Timestamp) -> ServiceRecord {
    let ago = |secs: u64| now - Duration::from_secs(secs);
    let mut memory = ServiceRecord::default();
    if dice.happens(10) {
        // It is lost.
        return memory;
    }
    memory.generation = 3;
    memory.digest = SpecDigest::new(dice.seldom(20, service.digest.as_str(), &["another"]));
    let outcomes = [Outcome::Available, Outcome::Superseded, Outcome::Failed];
    for (at, often) in [(2, 100), (1, 220)] {
        if dice.happens(often) {
            let drain_timeout = dice.one(&[None, Some(secs(10)), Some(secs(60))]);
            let spec = ServiceSpec { image: ImageRef::new(IMAGES[at]), drain_timeout, ..(*service.spec).clone() };
            let outcome = likely(dice, outcomes);
            memory.revisions.history.push(revision(dice, REVISIONS[at], spec, outcome, now));
        }
    }
    let outcome = likely(dice, [Outcome::Pending, Outcome::Available, Outcome::Failed]);
    let mut newest = revision(dice, REVISIONS[0], (*service.spec).clone(), outcome, now);
    if dice.happens(64) {
        newest.post_deploy = Some(hook(dice, now));
    }
    memory.revisions.history.push(newest);
    if outcome == Outcome::Failed || dice.happens(6) {
        let reason = dice.one(&[Reason::Unhealthy, Reason::CrashLoop]);
        memory.revisions.failure = Some(RevisionFailure {
            digest: service.digest.clone(),
            revision: Revision::new(REVISIONS[0]),
            reason,
            message: "it has failed".to_owned(),
            at: ago(5),
        });
    }
    if dice.happens(40) {
        memory.revisions.undone = Some(Undone {
            digest: memory.digest.clone(),
            from: Revision::new(REVISIONS[0]),
            to: Revision::new(dice.one(&[REVISIONS[1], REVISIONS[2], REVISIONS[3]])),
            at: ago(5),
            by: None,
        });
    }
    if dice.happens(40) {
        memory.revisions.streak = Some(FailureStreak {
            revision: Revision::new(dice.one(&[REVISIONS[0], REVISIONS[0], REVISIONS[1]])),
            count: 1 + dice.below(5),
            last_at: ago(dice.one(&[0, 1, 30, 600])),
            reason: dice.one(&[Reason::Exited, Reason::Unhealthy, Reason::CreateFailed, Reason::StartFailed]),
            message: "web-1 exited with code 1".to_owned(),
            output: Vec::new(),
            counted: <_>::default(),
        });
    }
    memory.control.paused = dice.happens(10).then(|| ago(10));
    memory.replicas.cautious_until = dice.happens(10).then(|| now + Duration::from_secs(5));
    if dice.happens(8) {
        let change = |secs| ExternalChange { at: ago(secs), last: ago(secs), what: "one was removed".to_owned() };
        memory.external_changes = [300, 200, 100].map(change).to_vec();
    }
    memory.revisions.progress_since = Some(ago(dice.one(&[1, 60, 1000])));
    // Else this is the first look of a process.
    memory.process.observed_at = (!dice.happens(32)).then(|| ago(1));
    memory.process.resumed_at = memory.process.observed_at.map(|_| ago(dice.one(&[2000, 10])));
    memory.images.pulled_for = dice.happens(128).then(|| Revision::new(REVISIONS[0]));
    memory
}

fn likely(dice: &mut Dice<'_>, all: [Outcome; 3]) -> Outcome {
    dice.one(&[all[0], all[0], all[1], all[1], all[2]])
}

fn revision(dice: &mut Dice<'_>, name: &str, spec: ServiceSpec, outcome: Outcome, now: Timestamp) -> RevisionRecord {
    let since = now - Duration::from_hours(1);
    RevisionRecord {
        revision: Revision::new(name),
        generation: 2,
        pre_deploy: dice.happens(if spec.hooks.is_some() { 160 } else { 4 }).then(|| hook(dice, now)),
        spec: spec.into(),
        since,
        outcome,
        served: outcome == Outcome::Available || dice.happens(80),
        commit: None,
        image: None,
        document: None,
        begun: Some(since),
        ended: None,
        fresh: dice.happens(128),
        adopted: false,
        undone: None,
        fault: None,
        post_deploy: None,
        completed: 0,
        ends: Vec::new(),
    }
}

fn hook(dice: &mut Dice<'_>, now: Timestamp) -> HookRecord {
    use HookState::{Begun, Done, Due, Failed, Interrupted, TimedOut};
    let state = dice.one(&[Done, Begun, Due, Failed, TimedOut, Interrupted, Begun]);
    let running_since = (state != Due).then(|| now - Duration::from_secs(dice.one(&[10, 1000])));
    let attempts = if state == Due { 0 } else { 1 + dice.below(3) };
    HookRecord { state, attempts, running_since, ..HookRecord::due(now - Duration::from_mins(1)) }
}
