//! A replica of a scene, and what is remembered of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use composed_core::model::{
    Comparison, DesiredService, Health, HookEnd, InFlight, JoinedNamespace, Observed, PostStartState, Probe,
    Propagation, Replica, ReplicaObservation, RunningOperation, ServiceRecord, State,
};
use crd_schema::{ContainerId, ImageId, ImageRef, Revision, VolumeName};
use jiff::Timestamp;

use super::dice::Dice;
use super::scene::REVISIONS;

pub(super) fn replica(
    dice: &mut Dice<'_>,
    number: u32,
    service: &DesiredService,
    observed: &Observed,
    memory: &mut ServiceRecord,
    now: Timestamp,
) -> Replica {
    let ago = |secs: u64| now - Duration::from_secs(secs);
    let id = ContainerId::new(format!("id-{number}"));
    let state = dice.seldom(
        100,
        State::Running,
        &[
            State::Created,
            State::Created,
            State::Created,
            State::Exited(1),
            State::Exited(0),
            State::Paused,
            State::Restarting,
            State::Removing,
            State::Dead,
            State::Created,
            State::Exited(137),
        ],
    );
    let runs = state == State::Running;
    let [new, old, older, lost] = REVISIONS;
    let revision = dice.one(&[new, old, new, new, old, new, old, new, old, older, older, lost]);
    let started_at = (state != State::Created).then(|| ago(dice.one(&[60, 60, 20, 3])));
    let has_check = service.spec.healthcheck.is_some();
    let plain = if has_check { Health::Healthy } else { Health::None };
    let health = dice.seldom(if has_check { 50 } else { 10 }, plain, &[Health::Starting, Health::Unhealthy]);
    let fixed = memory.record(&Revision::new(revision)).and_then(|record| record.spec.container_name.as_ref());
    let fixed = fixed.is_some() && dice.happens(128);
    let (name, kept) = match dice.seldom(10, if fixed { 2 } else { 0 }, &[1, 2]) {
        1 if !state.is_live() => (service.name.kept_container(), true),
        2 => ("the-web".to_owned(), false),
        _ => (service.name.container(number), false),
    };
    let taken = |name: &str| observed.replicas.iter().any(|other| other.name == name);
    let (name, kept) = if taken(&name) { (service.name.container(number), false) } else { (name, kept) };
    remember(dice, &id, started_at, runs, memory, now);
    let mut one = Replica {
        id,
        name,
        number,
        service: service.name.clone(),
        revision: Revision::new(revision),
        generation: if revision == REVISIONS[0] { 3 } else { 2 },
        image: ImageId::default(),
        image_name: ImageRef::default(),
        created_at: ago(dice.one(&[3600, 5])),
        state,
        started_at,
        restart_count: u32::from(dice.happens(6)),
        restarts: service.spec.restart.is_some() != dice.happens(20),
        health,
        probe: if dice.happens(8) { Probe::Failing("no".to_owned()) } else { Probe::None },
        propagation: match dice.seldom(24, 0, &[1, 2]) {
            1 => Propagation::Pending { who: "the proxy".to_owned(), until: now + Duration::from_secs(3) },
            2 => Propagation::Settled,
            _ => Propagation::Unfollowed,
        },
        in_flight: dice.one(&[InFlight::Count(0), InFlight::Count(3), InFlight::Unknown, InFlight::Uncountable]),
        busy_with: None,
        busy_until: None,
        pre_stop_failure: None,
        pre_stop_done: dice.happens(20),
        volumes: BTreeMap::new(),
        post_start: None,
        data: BTreeSet::new(),
        joined: Vec::new(),
        stopped_externally: dice.happens(6),
        created_by: None,
        compose: None,
        specification: None,
        failed_check: None,
        output: Vec::new(),
        out_of_memory: false,
        addresses: BTreeMap::new(),
        ports: BTreeMap::new(),
        pid: 0,
    };
    if runs {
        let operations = [RunningOperation::Stop, RunningOperation::PreStop, RunningOperation::PostStart];
        one.busy_with = dice.seldom(16, None, &operations.map(Some));
        one.post_start = dice.happens(6).then_some(HookEnd::Done);
    }
    if !service.spec.volumes.is_empty() {
        one.volumes = BTreeMap::from([(
            "/data".to_owned(),
            VolumeName::new(format!("volume-{}", dice.one(&[number, number, 1]))),
        )]);
    }
    if dice.happens(8) && !kept {
        let differs = Comparison::Differs(vec!["image".to_owned()]);
        one.compose = Some(if dice.happens(128) { Comparison::Same } else { differs });
        one.created_by = Some("docker compose".to_owned());
        if dice.happens(170) {
            memory.replicas.adopted.insert(one.id.clone(), Revision::new(revision));
        } else if dice.happens(128) {
            // As one that is adopted and not what is asked for.
            one.revision = Revision::new("compose-0123456789");
        }
    }
    if let Some(hosts) = observed.neighbours.hosts.get("vpn").filter(|hosts| !hosts.of.is_empty()) {
        let host = &hosts.of[dice.below(4) as usize % hosts.of.len()];
        // Its run goes on, has ended, or has begun anew.
        let since = match dice.seldom(24, 0, &[1, 2]) {
            _ if !host.open => None,
            1 => None,
            2 => Some(ago(1)),
            _ => Some(ago(100)),
        };
        one.joined = vec![JoinedNamespace { id: host.id.clone(), service: "vpn".to_owned(), since }];
    }
    one
}

/// What is remembered of it.
fn remember(
    dice: &mut Dice<'_>,
    id: &ContainerId,
    started_at: Option<Timestamp>,
    runs: bool,
    memory: &mut ServiceRecord,
    now: Timestamp,
) {
    let ago = |secs: u64| now - Duration::from_secs(secs);
    memory.process.known.insert(id.to_owned());
    let ready = dice.one(&[Some(50), Some(50), Some(50), Some(1), None]);
    if runs && !dice.happens(10) {
        let running_since = started_at.unwrap_or(now);
        let ready_since = ready.map(|secs| running_since.max(ago(secs)));
        let starting_since = Some(running_since);
        let sighting = ReplicaObservation { started_at, restart_count: 0, running_since, ready_since, starting_since };
        memory.process.observations.insert(id.to_owned(), sighting);
    }
    if dice.happens(70) {
        memory.replicas.draining.insert(id.to_owned(), ago(dice.one(&[2, 12, 31, 70, 200])));
        if memory.process.observed_at.is_some() && dice.happens(100) {
            memory.process.cancellable.insert(id.to_owned());
        }
    }
    if dice.happens(20) {
        let step = dice.below(6);
        let state = match step {
            0 => PostStartState::Done,
            1 => PostStartState::Due,
            2 | 3 => PostStartState::Begun,
            4 => PostStartState::Failed("code 1".to_owned()),
            _ => PostStartState::Interrupted,
        };
        memory.replicas.post_start.insert(id.to_owned(), state);
        if step == 2 && memory.process.observed_at.is_some() {
            memory.process.own_post_start.insert(id.to_owned());
        }
    }
}
