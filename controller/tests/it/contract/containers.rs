//! The cases about the life of a replica.

use std::sync::Arc;

use composed_core::engine::ObserveRequest;
use composed_core::model::{Health, HookEnd, RunningOperation, ServiceName, State};
use composed_core::plan::action::{Blueprint, Target, Verb};
use crd_schema::{Hook, RestartPolicy, Revision};
use futures_util::FutureExt;

use super::{
    Case, Kind, Stage, apply, created, name_taken, observe, print, promises, rejected, replica, replicas, stale,
    started, until, web,
};

pub(super) fn cases() -> Vec<Case> {
    promises![
        what_is_created_is_observed,
        a_volume_without_a_name_is_handed_on,
        one_in_anothers_network_knows_when_that_has_ended,
        creating_twice_makes_one,
        a_started_one_runs_and_becomes_healthy,
        starting_twice_is_starting_once,
        an_unstartable_one_is_refused_and_stays_created,
        one_that_crashes_shows_its_exit_code,
        a_killed_one_shows_its_exit_code,
        a_stop_is_begun_promptly_and_observed,
        stopping_what_has_ended_is_done,
        a_running_one_is_not_removed,
        removing_twice_is_removing_once,
        observing_goes_on_during_a_removal,
        what_is_gone_is_stale,
        a_rename_is_observed,
        our_own_name_is_not_taken_away,
        a_foreign_name_is_not_taken_away,
        a_foreign_name_is_not_created_over,
        nothing_foreign_is_changed,
        post_start_hooks_run_up_to_the_first_that_fails,
        pre_stop_hooks_run_and_count_as_run_even_if_they_fail,
        a_restart_policy_can_be_switched_off,
        only_the_services_asked_for_are_shown_in_full,
        records_never_reach_the_engine,
    ]
}

async fn a_volume_without_a_name_is_handed_on(stage: &dyn Stage) {
    let mount = serde_json::json!({"type": "volume", "target": "/data"});
    let mut first = print(stage, Kind::Serves, 1);
    Arc::make_mut(&mut first.spec).volumes = vec![serde_json::from_value(mount).expect("a mount")];
    apply(stage, Verb::Create(Box::new(first.clone()))).await.expect("create");
    let volumes = replicas(stage).await.remove(0).volumes;
    assert_eq!(volumes.keys().collect::<Vec<_>>(), ["/data"]);
    let second = Blueprint { volumes: volumes.clone(), ..print(stage, Kind::Serves, 2) };
    let third = Blueprint { spec: Arc::clone(&first.spec), ..second.clone() };
    apply(stage, Verb::Create(Box::new(second)))
        .await
        .expect("create, where neither the document nor the image has it");
    let third = Blueprint { number: 3, name: third.service.container(3), ..third };
    apply(stage, Verb::Create(Box::new(third))).await.expect("create, where the document has it");
    let have: Vec<_> = replicas(stage).await.into_iter().map(|one| one.volumes).collect();
    assert_eq!(have, [volumes.clone(), std::collections::BTreeMap::new(), volumes]);
}

async fn one_in_anothers_network_knows_when_that_has_ended(stage: &dyn Stage) {
    let host = started(stage, Kind::Serves, 1).await;
    let mut guest = print(stage, Kind::Serves, 2);
    Arc::make_mut(&mut guest.spec).network_mode = Some("service:web".to_owned());
    Arc::make_mut(&mut guest.spec).expose.clear();
    Arc::make_mut(&mut guest.spec).environment = [("PORT".to_owned(), "8081".to_owned())].into_iter().collect();
    guest.joins.insert("web".to_owned(), host.clone());
    let third = Blueprint { number: 3, name: guest.service.container(3), ..guest.clone() };
    apply(stage, Verb::Create(Box::new(guest.clone()))).await.expect("create");
    let one = replicas(stage).await.into_iter().find(|one| one.name == guest.name).expect("the guest");
    let target = Target { id: one.id, name: one.name };
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    let seen = replica(stage, &target).await.expect("the guest");
    let owner = (seen.joined[0].id.as_str(), seen.joined[0].service.as_str());
    assert_eq!((owner, seen.lost_namespace()), ((host.id.as_str(), "web"), false), "{seen:?}");
    // In another run of its owner the namespace is another.
    stage.kill(&host.id).await;
    until(stage, &host, "ended", |one| !one.state.is_live()).await;
    assert!(replica(stage, &target).await.expect("the guest").lost_namespace(), "its owner does not run");
    apply(stage, Verb::Create(Box::new(third.clone()))).await.expect("create beside one that does not run");
    let third = replicas(stage).await.into_iter().find(|one| one.name == third.name).expect("the third");
    let third = Target { id: third.id, name: third.name };
    let refused = apply(stage, Verb::Start(third.clone())).await;
    assert!(stale(&refused), "{refused:?}");
    // The clock of the simulated engine goes in milliseconds.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    apply(stage, Verb::Start(host.clone())).await.expect("start again");
    until(stage, &host, "running", |one| one.state == State::Running).await;
    assert!(replica(stage, &target).await.expect("the guest").lost_namespace(), "it was started anew");
    apply(stage, Verb::Start(third.clone())).await.expect("start beside one that runs");
    assert!(!replica(stage, &third).await.expect("the third").lost_namespace(), "it has joined that run");
    stage.remove(&host.id).await;
    assert!(replica(stage, &third).await.expect("the third").lost_namespace(), "its owner is gone");
}

async fn what_is_created_is_observed(stage: &dyn Stage) {
    let mut print = print(stage, Kind::Serves, 3);
    Arc::make_mut(&mut print.spec).restart = Some(RestartPolicy::Always);
    apply(stage, Verb::Create(Box::new(print.clone()))).await.expect("create");
    let found = replicas(stage).await;
    assert_eq!(found.len(), 1);
    let seen = &found[0];
    assert_eq!(seen.name, print.name);
    assert_eq!((seen.number, seen.generation), (3, 7));
    assert_eq!(seen.revision, "r1");
    assert_eq!(seen.service, web(stage));
    assert_eq!(seen.state, State::Created);
    assert_eq!((seen.started_at, seen.restart_count, seen.pid), (None, 0, 0));
    assert!(seen.restarts && seen.busy_with.is_none() && !seen.pre_stop_done);
    assert!(seen.ports.contains_key("8080/tcp"), "{:?}", seen.ports);
    assert!(seen.id.as_str().len() == 64, "the full id: {}", seen.id);
}

async fn creating_twice_makes_one(stage: &dyn Stage) {
    let print = Box::new(print(stage, Kind::Serves, 1));
    apply(stage, Verb::Create(print.clone())).await.expect("create");
    let again = apply(stage, Verb::Create(print)).await;
    assert!(again.is_ok() || stale(&again), "{again:?}");
    assert_eq!(replicas(stage).await.len(), 1);
}

async fn a_started_one_runs_and_becomes_healthy(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    let seen = replica(stage, &target).await.expect("the replica");
    assert_eq!(seen.state, State::Running);
    assert!(seen.started_at.is_some_and(|at| at >= seen.created_at));
    assert!(matches!(seen.health, Health::Starting | Health::Healthy), "{:?}", seen.health);
    until(stage, &target, "healthy", |replica| replica.health == Health::Healthy).await;
}

async fn starting_twice_is_starting_once(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    let before = replica(stage, &target).await.expect("the replica");
    apply(stage, Verb::Start(target.clone())).await.expect("start again");
    let after = replica(stage, &target).await.expect("the replica");
    assert_eq!((before.started_at, before.restart_count), (after.started_at, after.restart_count));
}

async fn an_unstartable_one_is_refused_and_stays_created(stage: &dyn Stage) {
    let target = created(stage, Kind::Unstartable, 1).await;
    let started = apply(stage, Verb::Start(target.clone())).await;
    assert!(rejected(&started) && !name_taken(&started), "{started:?}");
    assert_eq!(replica(stage, &target).await.expect("the replica").state, State::Created);
}

async fn one_that_crashes_shows_its_exit_code(stage: &dyn Stage) {
    let target = started(stage, Kind::Crashes, 1).await;
    until(stage, &target, "exited with 1", |replica| replica.state == State::Exited(1)).await;
}

async fn a_killed_one_shows_its_exit_code(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    stage.kill(&target.id).await;
    until(stage, &target, "exited with 137", |replica| replica.state == State::Exited(137)).await;
}

async fn a_stop_is_begun_promptly_and_observed(stage: &dyn Stage) {
    let target = started(stage, Kind::Lingers, 1).await;
    let begin = tokio::time::Instant::now();
    apply(stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop");
    assert!(begin.elapsed() < std::time::Duration::from_millis(700), "it took {:?}", begin.elapsed());
    let seen = replica(stage, &target).await.expect("the replica");
    assert_eq!((seen.state, seen.busy_with), (State::Running, Some(RunningOperation::Stop)));
    apply(stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop, while it stops");
    let ended = until(stage, &target, "stopped", |replica| replica.busy_with.is_none()).await;
    assert!(matches!(ended.state, State::Exited(_)), "{:?}", ended.state);
}

async fn stopping_what_has_ended_is_done(stage: &dyn Stage) {
    let target = started(stage, Kind::Crashes, 1).await;
    until(stage, &target, "exited", |replica| replica.state == State::Exited(1)).await;
    apply(stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop");
    until(stage, &target, "as it was", |replica| replica.state == State::Exited(1) && replica.busy_with.is_none())
        .await;
}

async fn a_running_one_is_not_removed(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    let removed = apply(stage, Verb::Remove(target.clone())).await;
    assert!(stale(&removed), "{removed:?}");
    assert_eq!(replica(stage, &target).await.expect("the replica").state, State::Running);
}

async fn removing_twice_is_removing_once(stage: &dyn Stage) {
    let (target, kept) = (created(stage, Kind::Serves, 1).await, created(stage, Kind::Serves, 2).await);
    apply(stage, Verb::Remove(target.clone())).await.expect("remove");
    let again = apply(stage, Verb::Remove(target.clone())).await;
    assert!(again.is_ok() || stale(&again), "{again:?}");
    assert_eq!(replicas(stage).await.into_iter().map(|replica| replica.id).collect::<Vec<_>>(), [kept.id]);
}

async fn observing_goes_on_during_a_removal(stage: &dyn Stage) {
    for number in 1..=4 {
        created(stage, Kind::Serves, number).await;
    }
    let all = replicas(stage).await;
    let removals = async {
        for replica in &all {
            let target = Target { id: replica.id.clone(), name: replica.name.clone() };
            apply(stage, Verb::Remove(target)).await.expect("remove");
        }
    };
    let looks = async {
        while !replicas(stage).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    futures_util::join!(removals, looks);
}

async fn what_is_gone_is_stale(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    stage.remove(&target.id).await;
    assert!(replicas(stage).await.is_empty());
    let to = web(stage).kept_container();
    for verb in [
        Verb::Start(target.clone()),
        Verb::Stop { target: target.clone(), cut: 0 },
        Verb::DisableRestart(target.clone()),
        Verb::PreStop { target: target.clone(), hooks: vec![] },
        Verb::Rename { target: target.clone(), to },
    ] {
        let text = verb.to_string();
        let result = apply(stage, verb).await;
        assert!(stale(&result), "{text}: {result:?}");
    }
}

async fn a_rename_is_observed(stage: &dyn Stage) {
    let target = created(stage, Kind::Serves, 1).await;
    let to = web(stage).kept_container();
    for _ in 0..2 {
        apply(stage, Verb::Rename { target: target.clone(), to: to.clone() }).await.expect("rename");
        assert_eq!(replica(stage, &target).await.expect("the replica").name, to);
    }
    // The old name is free again.
    created(stage, Kind::Serves, 1).await;
}

async fn our_own_name_is_not_taken_away(stage: &dyn Stage) {
    let (target, other) = (created(stage, Kind::Serves, 1).await, created(stage, Kind::Serves, 2).await);
    let renamed = apply(stage, Verb::Rename { target: target.clone(), to: other.name.clone() }).await;
    assert!(stale(&renamed), "{renamed:?}");
    let mut taken = print(stage, Kind::Serves, 3);
    taken.name.clone_from(&other.name);
    assert!(apply(stage, Verb::Create(Box::new(taken))).await.is_err());
    let names: Vec<_> = replicas(stage).await.into_iter().map(|replica| replica.name).collect();
    assert_eq!(names, [target.name, other.name]);
}

async fn a_foreign_name_is_not_taken_away(stage: &dyn Stage) {
    let name = format!("{}-foreign", stage.project());
    let foreign = stage.add_foreign(&name).await;
    let target = created(stage, Kind::Serves, 1).await;
    let renamed = apply(stage, Verb::Rename { target: target.clone(), to: name.clone() }).await;
    assert!(name_taken(&renamed), "{renamed:?}");
    assert_eq!(replica(stage, &target).await.expect("the replica").name, target.name);
    assert_eq!(stage.peek(&foreign).await, Some((name, "running".to_owned())));
}

async fn a_foreign_name_is_not_created_over(stage: &dyn Stage) {
    let print = print(stage, Kind::Serves, 1);
    let foreign = stage.add_foreign(&print.name).await;
    let name = print.name.clone();
    let result = apply(stage, Verb::Create(Box::new(print))).await;
    assert!(name_taken(&result), "{result:?}");
    assert!(replicas(stage).await.is_empty());
    assert_eq!(stage.peek(&foreign).await, Some((name, "running".to_owned())));
}

async fn nothing_foreign_is_changed(stage: &dyn Stage) {
    let name = format!("{}-foreign", stage.project());
    let id = stage.add_foreign(&name).await;
    let snapshot = observe(stage, ObserveRequest::default()).await;
    assert!(snapshot.replicas.values().flatten().all(|replica| replica.id != id));
    assert!(
        snapshot.listing.owned.iter().all(|service| service.project == stage.project()),
        "{:?}",
        snapshot.listing.owned
    );
    // Even if a plan should name it.
    let target = Target { id: id.clone(), name: name.clone() };
    for verb in [
        Verb::Start(target.clone()),
        Verb::Stop { target: target.clone(), cut: 0 },
        Verb::DisableRestart(target.clone()),
        Verb::PreStop { target: target.clone(), hooks: vec![] },
        Verb::Rename { target: target.clone(), to: format!("{name}-2") },
        Verb::Remove(target.clone()),
    ] {
        let text = verb.to_string();
        let result = apply(stage, verb).await;
        assert!(result.is_err(), "{text}: {result:?}");
    }
    assert_eq!(stage.peek(&id).await, Some((name, "running".to_owned())));
}

async fn pre_stop_hooks_run_and_count_as_run_even_if_they_fail(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    let hook =
        |command: &[&str]| Hook { command: command.iter().map(|&word| word.into()).collect(), ..Hook::default() };
    let hooks = vec![hook(&["/nowhere"]), hook(&["/composed", "demo-app", "check"])];
    let verb = Verb::PreStop { target: target.clone(), hooks };
    apply(stage, verb.clone()).await.expect("pre_stop");
    let seen = replica(stage, &target).await.expect("the replica");
    assert!(seen.busy_with == Some(RunningOperation::PreStop) || seen.pre_stop_done);
    let done = until(stage, &target, "done with its hooks", |replica| replica.pre_stop_done).await;
    assert_eq!(done.state, State::Running);
    until(stage, &target, "idle", |replica| replica.busy_with.is_none()).await;
}

async fn post_start_hooks_run_up_to_the_first_that_fails(stage: &dyn Stage) {
    let hook =
        |command: &[&str]| Hook { command: command.iter().map(|&word| word.into()).collect(), ..Hook::default() };
    let target = started(stage, Kind::Serves, 1).await;
    let verb = Verb::PostStart { target: target.clone(), hooks: vec![hook(&["/composed", "--version"])] };
    for _ in 0..2 {
        apply(stage, verb.clone()).await.expect("post_start");
    }
    let done = until(stage, &target, "done with its hooks", |replica| replica.post_start.is_some()).await;
    assert_eq!((done.post_start, done.state), (Some(HookEnd::Done), State::Running));
    assert_eq!(replica(stage, &target).await.expect("the replica").busy_with, None);
    assert!(!replica(stage, &target).await.expect("the replica").pre_stop_done, "other hooks");
}

async fn a_restart_policy_can_be_switched_off(stage: &dyn Stage) {
    let mut print = print(stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).restart = Some(RestartPolicy::UnlessStopped);
    apply(stage, Verb::Create(Box::new(print))).await.expect("create");
    let seen = replicas(stage).await.remove(0);
    assert!(seen.restarts);
    let target = Target { id: seen.id, name: seen.name };
    for _ in 0..2 {
        apply(stage, Verb::DisableRestart(target.clone())).await.expect("disable");
        assert!(!replica(stage, &target).await.expect("the replica").restarts);
    }
}

async fn only_the_services_asked_for_are_shown_in_full(stage: &dyn Stage) {
    created(stage, Kind::Serves, 1).await;
    let other = ServiceName::new(stage.project(), "other");
    let mut print = print(stage, Kind::Serves, 1);
    (print.name, print.service) = (other.container(1), other.clone());
    apply(stage, Verb::Create(Box::new(print))).await.expect("create");
    let shown = |snapshot: composed_core::model::Snapshot| snapshot.replicas.into_keys().collect::<Vec<_>>();

    let one =
        observe(stage, ObserveRequest { services: Some([other.clone()].into()), ..ObserveRequest::default() }).await;
    assert_eq!(one.listing.owned, [other.clone(), web(stage)].into());
    assert_eq!(shown(one), std::slice::from_ref(&other));
    let all = observe(stage, ObserveRequest::default()).await;
    assert_eq!(shown(all), [other, web(stage)]);
}

async fn records_never_reach_the_engine(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    apply(stage, Verb::Drain(target.clone())).await.expect("withdraw");
    let outcome = composed_core::model::Outcome::Available;
    apply(stage, Verb::RecordOutcome { revision: Revision::new("r1"), outcome, failure: None })
        .await
        .expect("conclude");
    assert_eq!(replica(stage, &target).await.expect("the replica").state, State::Running);
}
