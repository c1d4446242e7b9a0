//! What only a real engine can show: several networks, mounts, a registry, a lost connection, a dead holder of the lock.

mod connection;
mod creation;
mod figures;

use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{self, ActionContext, Engine, LeaseState, ObserveRequest};
use composed_core::model::{HookEnd, ImageState, Key, State};
use composed_core::plan::action::{Target, Verb};
use composed_docker::Docker;
use crd_schema::{
    BindOptions, ContainerFile, ImageId, ImageRef, Mount, MountKind, Network, NetworkName, Port, Volume, VolumeName,
};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::docker::{DockerStage, Run, docker};
use super::proxy::{Mode, Proxy};
use super::{Kind, Stage, Watched, apply, print, registry, rejected, replica, replicas, stale, started, until, web};

/// A context with these networks and a volume `data`.
fn context(stage: &DockerStage, networks: &[&str]) -> ActionContext {
    let project = stage.project();
    let network = |key: &&str| ((*key).to_owned(), (NetworkName::new(format!("{project}_{key}")), Network::default()));
    ActionContext {
        project: project.to_owned(),
        networks: networks.iter().map(network).collect(),
        volumes: [("data".to_owned(), (VolumeName::new(format!("{project}_data")), Volume::default()))].into(),
        ..ActionContext::default()
    }
}

async fn create_network(stage: &DockerStage, context: &ActionContext, key: &str) {
    let verb = Verb::CreateNetwork { key: key.to_owned(), name: context.networks[key].0.clone() };
    stage.engine().apply(&verb, context).await.expect("create network");
}

/// A replica whose creator died before it had joined `back`, the second of its two networks.
async fn half_made(stage: &DockerStage) -> (ActionContext, Verb, Target) {
    let context = context(stage, &["back", "front"]);
    create_network(stage, &context, "front").await;
    create_network(stage, &context, "back").await;
    let mut print = print(stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).network_mode = None;
    let attachment = |priority| crd_schema::NetworkAttachment { priority, ..Default::default() };
    let networks = [("back".to_owned(), attachment(None)), ("front".to_owned(), attachment(Some(1)))];
    Arc::make_mut(&mut print.spec).networks = Some(networks.into());
    let create = Verb::Create(Box::new(print));
    stage.engine().apply(&create, &context).await.expect("create");
    let made = replicas(stage).await.remove(0);
    docker(&["network", "disconnect", context.networks["back"].0.as_str(), made.id.as_str()])
        .await
        .expect("disconnect");
    (context, create, Target { id: made.id, name: made.name })
}

async fn both_joined(stage: &DockerStage, target: &Target) {
    let seen = until(stage, target, "running", |replica| replica.state == State::Running).await;
    let joined: Vec<_> = seen.addresses.keys().cloned().collect();
    assert_eq!(joined, ["back", "front"].map(|key| NetworkName::new(format!("{}_{key}", stage.project()))));
    let aliases =
        docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}", target.id.as_str()])
            .await;
    assert_eq!(aliases.expect("inspect").matches("web").count(), 2, "the service's name on both networks");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_brings_an_image_and_says_so() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let (image, _serving) = registry::serve(stage.project()).await;
    let image = ImageRef::new(image);
    let scope =
        ObserveRequest { services: Some([].into()), images: [image.clone()].into(), ..ObserveRequest::default() };
    let look = || async { engine::observe_once(stage.engine(), &scope).await.expect("observe").images.remove(&image) };
    let mut watched = Watched::begin(&stage).await;
    assert_eq!(look().await, Some(ImageState::Absent));
    apply(&stage, Verb::Pull { image: image.clone(), platform: None, digest: None }).await.expect("pull");
    assert!(matches!(look().await, Some(ImageState::Pulling(_))));
    let present = async {
        // Only keys wake it, as in the loop.
        while watched.0.recv().await.is_some() {
            if matches!(look().await, Some(ImageState::Present(_))) {
                return true;
            }
        }
        false
    };
    let present = tokio::time::timeout(super::PATIENCE, present).await;
    let brought =
        || async { engine::observe_once(stage.engine(), &scope).await.expect("observe").facts.remove(&image) };
    let brought = || async { brought().await.expect("it is here").pulled_images };
    let known = brought().await;
    let id = known.first().cloned().unwrap_or_default();
    // One that somebody else has made a container of meanwhile is theirs; so it is forgotten.
    let theirs = docker(&["create", image.as_str(), "/x"]).await.expect("create");
    let kept = apply(&stage, Verb::RemoveImage { id: id.clone() }).await;
    let (still, forgotten) = (look().await, brought().await);
    docker(&["rm", &theirs]).await.expect("rm");
    let removed = apply(&stage, Verb::RemoveImage { id: id.clone() }).await;
    let gone = look().await;
    let again = apply(&stage, Verb::RemoveImage { id: id.clone() }).await;
    stage.docker().remove_image(&image).await.expect("remove the image");
    assert_eq!(present, Ok(true));
    for result in [kept, removed, again] {
        result.expect("remove the image");
    }
    assert_eq!((still, forgotten.len(), gone), (Some(ImageState::Present(id)), 0, Some(ImageState::Absent)));
}
