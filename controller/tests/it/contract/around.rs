//! The cases about what surrounds the replicas: images, networks, volumes, the watch and the claim.

use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{LeaseState, ObserveRequest};
use composed_core::model::{ImageState, Key};
use composed_core::plan::action::Verb;
use crd_schema::{ImageId, ImageRef, NetworkName, VolumeName};
use futures_util::FutureExt;

use super::{
    Case, Kind, PATIENCE, Stage, Watched, apply, created, observe, print, promises, replicas, stale, started, until,
    web,
};

pub(super) fn cases() -> Vec<Case> {
    promises![
        an_image_is_present_or_absent,
        a_pull_of_nothing_fails_and_is_counted,
        nothing_is_created_from_an_absent_image,
        a_network_is_created_once,
        a_volume_is_created_once,
        a_network_in_use_is_not_removed,
        a_foreign_network_is_not_removed,
        the_watch_tells_of_a_life,
        the_watch_tells_of_health,
        the_watch_tells_of_the_end_of_a_stop,
        the_watch_keeps_quiet,
        only_one_controller_may_act,
    ]
}

async fn image(stage: &dyn Stage, name: &ImageRef) -> ImageState {
    let scope =
        ObserveRequest { services: Some([].into()), images: [name.clone()].into(), ..ObserveRequest::default() };
    observe(stage, scope).await.images.remove(name).expect("the image that was asked for")
}

async fn an_image_is_present_or_absent(stage: &dyn Stage) {
    let here = stage.spec(Kind::Serves).image;
    assert!(matches!(image(stage, &here).await, ImageState::Present(id) if !id.is_empty()));
    assert_eq!(image(stage, &stage.no_image()).await, ImageState::Absent);
}

async fn a_pull_of_nothing_fails_and_is_counted(stage: &dyn Stage) {
    let mut watched = Watched::begin(stage).await;
    let name = stage.no_image();
    for round in 1..=2 {
        watched.forget();
        let begin = tokio::time::Instant::now();
        apply(stage, Verb::Pull { image: name.clone(), platform: None, digest: None }).await.expect("pull");
        assert!(begin.elapsed() < Duration::from_secs(1), "it took {:?}", begin.elapsed());
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let failures = loop {
            match image(stage, &name).await {
                ImageState::PullFailed { count, message, .. } => {
                    assert!(!message.is_empty());
                    break count;
                }
                ImageState::Pulling(_) => tokio::time::sleep(Duration::from_millis(20)).await, // The pace of looking.
                other => panic!("after a pull it is {other:?}"),
            }
            assert!(tokio::time::Instant::now() < deadline, "the pull never ends");
        };
        assert_eq!(failures, round);
        watched.next("the end of a pull", |_| true).await;
    }
}

async fn nothing_is_created_from_an_absent_image(stage: &dyn Stage) {
    let mut print = print(stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).image = stage.no_image();
    let result = apply(stage, Verb::Create(Box::new(print))).await;
    assert!(stale(&result), "{result:?}");
    assert!(replicas(stage).await.is_empty());
    // Nor of what a name stands for by now, where another image was asked for.
    let mut other = super::print(stage, Kind::Serves, 1);
    other.image = Some(ImageId::new(format!("sha256:{}", "0".repeat(64))));
    let result = apply(stage, Verb::Create(Box::new(other))).await;
    assert!(stale(&result), "{result:?}");
    assert!(replicas(stage).await.is_empty());
}

async fn a_network_is_created_once(stage: &dyn Stage) {
    let name = NetworkName::new(format!("{}_default", stage.project()));
    for _ in 0..2 {
        let verb = Verb::CreateNetwork { key: "default".to_owned(), name: name.clone() };
        apply(stage, verb).await.expect("create network");
        assert_eq!(
            observe(stage, ObserveRequest::default()).await.listing.objects.networks.get(&name),
            Some(&Some(stage.project().to_owned()))
        );
    }
    for _ in 0..2 {
        // Were there two of the name, one would stay.
        apply(stage, Verb::RemoveNetwork { name: name.clone(), id: None }).await.expect("remove network");
        assert_eq!(observe(stage, ObserveRequest::default()).await.listing.objects.networks.get(&name), None);
    }
}

async fn a_volume_is_created_once(stage: &dyn Stage) {
    let name = VolumeName::new(format!("{}_data", stage.project()));
    for _ in 0..2 {
        let verb = Verb::CreateVolume { key: "data".to_owned(), name: name.clone() };
        apply(stage, verb).await.expect("create volume");
        assert_eq!(
            observe(stage, ObserveRequest::default()).await.listing.objects.volumes.get(&name),
            Some(&Some(stage.project().to_owned()))
        );
    }
}

async fn a_network_in_use_is_not_removed(stage: &dyn Stage) {
    let name = NetworkName::new(format!("{}_default", stage.project()));
    apply(stage, Verb::CreateNetwork { key: "default".to_owned(), name: name.clone() }).await.expect("create network");
    let mut print = print(stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).network_mode = None;
    apply(stage, Verb::Create(Box::new(print))).await.expect("create");
    let replica = replicas(stage).await.remove(0);
    let target = composed_core::plan::action::Target { id: replica.id, name: replica.name };
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    assert!(apply(stage, Verb::RemoveNetwork { name: name.clone(), id: None }).await.is_err());
    assert_eq!(
        observe(stage, ObserveRequest::default()).await.listing.objects.networks.get(&name),
        Some(&Some(stage.project().to_owned()))
    );
    until(stage, &target, "reachable", |replica| !replica.addresses.is_empty()).await;
}

async fn a_foreign_network_is_not_removed(stage: &dyn Stage) {
    let name = NetworkName::new(format!("{}_foreign", stage.project()));
    stage.add_foreign_network(&name).await;
    assert_eq!(observe(stage, ObserveRequest::default()).await.listing.objects.networks.get(&name), Some(&None));
    assert!(apply(stage, Verb::RemoveNetwork { name: name.clone(), id: None }).await.is_err());
    assert_eq!(observe(stage, ObserveRequest::default()).await.listing.objects.networks.get(&name), Some(&None));
}

async fn the_watch_tells_of_a_life(stage: &dyn Stage) {
    let mut watched = Watched::begin(stage).await;
    let ours = |key: &Option<Key>| *key == Some(Key::Service(web(stage)));
    let target = created(stage, Kind::Serves, 1).await;
    watched.next("a creation", ours).await;
    watched.forget();
    apply(stage, Verb::Start(target.clone())).await.expect("start");
    watched.next("a start", ours).await;
    until(stage, &target, "healthy", |replica| replica.health == composed_core::model::Health::Healthy).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // What its start brings is over.
    watched.forget();
    stage.kill(&target.id).await;
    watched.next("a death", ours).await;
}

async fn the_watch_tells_of_health(stage: &dyn Stage) {
    let mut watched = Watched::begin(stage).await;
    let target = started(stage, Kind::Serves, 1).await;
    let ours = |key: &Option<Key>| *key == Some(Key::Service(web(stage)));
    // Woken by the keys alone, as the loop is: one of them must come when it is healthy, not before.
    for _ in 0..20 {
        watched.next("health", ours).await;
        let seen = super::replica(stage, &target).await.expect("the replica");
        if seen.health == composed_core::model::Health::Healthy {
            return;
        }
    }
    panic!("many keys, but none when it became healthy");
}

async fn the_watch_tells_of_the_end_of_a_stop(stage: &dyn Stage) {
    let target = started(stage, Kind::Lingers, 1).await;
    let mut watched = Watched::begin(stage).await;
    apply(stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop");
    let ours = |key: &Option<Key>| *key == Some(Key::Service(web(stage)));
    for _ in 0..20 {
        watched.next("the end of a stop", ours).await;
        let seen = super::replica(stage, &target).await.expect("the replica");
        if seen.busy_with.is_none() && !seen.state.is_live() {
            return;
        }
    }
    panic!("many keys, but none when it had ended");
}

async fn the_watch_keeps_quiet(stage: &dyn Stage) {
    let target = started(stage, Kind::Serves, 1).await;
    until(stage, &target, "healthy", |replica| replica.health == composed_core::model::Health::Healthy).await;
    let mut watched = Watched::begin(stage).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // What its start brings is over.
    watched.forget();
    // Its healthcheck runs some 10 times in the meantime, and each run is three events of the engine.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut told = 0;
    while let Ok(key) = watched.0.try_recv() {
        told += u32::from(key == Some(Key::Service(web(stage))));
    }
    assert_eq!(told, 0, "nothing happened to it");
}

async fn only_one_controller_may_act(stage: &dyn Stage) {
    let engine = stage.engine();
    assert_eq!(engine.claim().await.expect("claim"), LeaseState::Held);
    assert!(!stage.rival_claims().await);
    assert_eq!(engine.claim().await.expect("claim again"), LeaseState::Held);
    engine.release().await.expect("release");
    assert!(stage.rival_claims().await);
    let held = engine.claim().await.expect("claim while the rival has it");
    assert!(matches!(held, LeaseState::HeldBy(other) if !other.text.is_empty()));
    stage.rival_releases().await;
    assert_eq!(engine.claim().await.expect("claim after it"), LeaseState::Held);
    engine.release().await.expect("release");
}
