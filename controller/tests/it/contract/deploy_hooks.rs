//! Cases about the containers of hooks: they are seen, and are no replicas.

use std::sync::Arc;

use composed_core::model::{HookKind, HookRun, State};
use crd_schema::{ContainerId, Healthcheck, Mount, MountKind, Network, NetworkName};
use futures_util::FutureExt as _;

use super::docker::{Run, docker};
use super::*;

pub(super) fn cases() -> Vec<Case> {
    promises![
        a_hook_is_seen_and_is_no_replica,
        a_hook_is_made_once_and_its_end_is_seen,
        a_hook_is_started_once,
        a_hook_that_takes_too_long_is_told_to_stop,
    ]
}

fn hook(stage: &dyn Stage, kind: Kind) -> Blueprint {
    let mut print = print(stage, kind, 1);
    print.hook = Some(HookKind::PreDeploy);
    print.name = HookKind::PreDeploy.container(&print.service);
    Arc::make_mut(&mut print.spec).healthcheck = Some(Healthcheck { disable: true, ..Healthcheck::default() });
    Arc::make_mut(&mut print.spec).expose.clear();
    print
}

async fn hooks(stage: &dyn Stage) -> Vec<HookRun> {
    let scope = ObserveRequest { services: Some([web(stage)].into()), ..ObserveRequest::default() };
    observe(stage, scope).await.hooks.remove(&web(stage)).unwrap_or_default()
}

async fn made(stage: &dyn Stage, kind: Kind) -> Target {
    let print = hook(stage, kind);
    let name = print.name.clone();
    apply(stage, Verb::Create(Box::new(print))).await.expect("create");
    let id = hooks(stage).await.into_iter().find(|run| run.name == name).expect("the hook's container").id;
    Target { id, name }
}

async fn until(stage: &dyn Stage, what: &str, wanted: impl Fn(&HookRun) -> bool) -> HookRun {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let now = hooks(stage).await;
        if let Some(run) = now.iter().find(|run| wanted(run)) {
            return run.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "the hook is not {what}: {now:?}");
        tokio::time::sleep(Duration::from_millis(30)).await; // The pace of looking.
    }
}

async fn a_hook_is_seen_and_is_no_replica(stage: &dyn Stage) {
    let replica = created(stage, Kind::Serves, 1).await;
    let target = made(stage, Kind::Serves).await;
    let seen = hooks(stage).await.remove(0);
    assert_eq!((seen.id.as_str(), seen.kind, seen.attempt), (target.id.as_str(), HookKind::PreDeploy, 1));
    assert_eq!((seen.revision.as_str(), seen.generation, seen.state), ("r1", 7, State::Created));
    assert_eq!((seen.started_at, seen.ended_at), (None, None));
    let there = replicas(stage).await;
    assert_eq!(there.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [replica.id.as_str()]);
    let all = observe(stage, ObserveRequest { services: Some([].into()), ..ObserveRequest::default() }).await;
    assert!(all.listing.owned.contains(&web(stage)) && all.hooks.is_empty());
    apply(stage, Verb::Remove(target)).await.expect("remove");
    apply(stage, Verb::Remove(replica)).await.expect("remove");
    assert!(hooks(stage).await.is_empty());
}

async fn a_hook_is_made_once_and_its_end_is_seen(stage: &dyn Stage) {
    let mut watched = Watched::begin(stage).await;
    let target = made(stage, Kind::Crashes).await;
    let again = apply(stage, Verb::Create(Box::new(hook(stage, Kind::Crashes)))).await;
    assert!(again.is_ok() || stale(&again), "{again:?}");
    assert_eq!(hooks(stage).await.len(), 1);
    watched.forget();
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    let service = Key::Service(web(stage));
    watched.next("the hook", |key| key.as_ref() == Some(&service)).await;
    let ended = until(stage, "at its end", |run| matches!(run.state, State::Exited(_))).await;
    assert_eq!((ended.state, ended.out_of_memory, ended.stopping), (State::Exited(1), false, false));
    assert!(ended.started_at.is_some() && ended.ended_at >= ended.started_at, "{ended:?}");
    assert!(!ended.output.is_empty(), "what it said is read");
    // It is not brought back, and stays until it is removed.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(hooks(stage).await.first().map(|run| run.state), Some(State::Exited(1)));
    apply(stage, Verb::Remove(target)).await.expect("remove");
    assert!(hooks(stage).await.is_empty());
}

async fn a_hook_is_started_once(stage: &dyn Stage) {
    let target = made(stage, Kind::Lingers).await;
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    let runs = until(stage, "running", |run| run.state == State::Running).await;
    let again = apply(stage, Verb::Start(target.clone())).await;
    assert!(again.is_ok() || stale(&again), "{again:?}");
    stage.kill(&target.id).await;
    until(stage, "at its end", |run| matches!(run.state, State::Exited(_))).await;
    let again = apply(stage, Verb::Start(target.clone())).await;
    assert!(stale(&again), "{again:?}");
    let ended = hooks(stage).await.remove(0);
    assert_eq!((ended.state, ended.started_at), (State::Exited(137), runs.started_at));
    apply(stage, Verb::Remove(target)).await.expect("remove");
}

async fn a_hook_that_takes_too_long_is_told_to_stop(stage: &dyn Stage) {
    let target = made(stage, Kind::Lingers).await;
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    until(stage, "running", |run| run.state == State::Running).await;
    apply(stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop");
    until(stage, "told to stop", |run| run.stopping || run.state != State::Running).await;
    let ended = until(stage, "at its end", |run| matches!(run.state, State::Exited(_))).await;
    assert!(!ended.stopped_externally, "it was our own doing: {ended:?}");
    apply(stage, Verb::Remove(target)).await.expect("remove");
}

/// What only a real engine shows: it is not found by the service's name, and leaves nothing behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_has_no_name_on_the_networks_and_its_volumes_without_one_go_with_it() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let name = NetworkName::new(format!("{}_default", stage.project()));
    let mut context = context(&stage);
    context.networks.insert("default".to_owned(), (name.clone(), Network::default()));
    let network = Verb::CreateNetwork { key: "default".to_owned(), name };
    stage.engine().apply(&network, &context).await.expect("create network");
    let mut print = hook(&stage, Kind::Serves);
    Arc::make_mut(&mut print.spec).network_mode = None;
    Arc::make_mut(&mut print.spec).volumes =
        vec![Mount { kind: MountKind::Volume, target: "/data".to_owned(), ..Mount::default() }];
    stage.engine().apply(&Verb::Create(Box::new(print)), &context).await.expect("create");
    let made = hooks(&stage).await.remove(0);
    let inspect = |format: &'static str, id: ContainerId| async move {
        docker(&["inspect", "--format", format, id.as_str()]).await.expect("inspect").trim().to_owned()
    };
    let aliases = inspect("{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}", made.id.clone()).await;
    assert!(!aliases.contains("web"), "{aliases}");
    let volume = inspect("{{range .Mounts}}{{.Name}}{{end}}", made.id.clone()).await;
    assert!(docker(&["volume", "inspect", &volume]).await.is_ok(), "it has one");
    apply(&stage, Verb::Remove(Target { id: made.id, name: made.name })).await.expect("remove");
    assert!(docker(&["volume", "inspect", &volume]).await.is_err(), "{volume} is left behind");
}
