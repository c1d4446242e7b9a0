//! Labels are claims: what carries labels of this instance, or of Docker Compose, without having been made by it, is told
//! of and left as it is; what was made before there were seals stays ours. On a real engine only: the simulated one has no
//! labels.

mod compose;
mod copies;
mod keys;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use composed_core::engine::{self, DesiredContainer, Engine, LeaseState, ObserveRequest};
use composed_core::model::{Comparison, Snapshot, State};
use composed_core::plan::action::{Target, Verb};
use composed_docker::Docker;
use crd_schema::{ContainerId, ImageRef, NetworkName};
use serde_json::json;

use super::docker::{DockerStage, Run, docker};
use super::{Kind, Stage, apply, context, observe, print, rejected, replicas, stale, started, until, web};

/// Runs a container of an image, with these labels beside the image's; its id.
async fn run_container(stage: &DockerStage, suffix: &str, image: &str, labels: &[String]) -> ContainerId {
    let name = format!("{}-{suffix}", stage.project());
    let flags: Vec<String> = labels.iter().map(|label| format!("--label={label}")).collect();
    let mut words = vec!["run", "-d", "--name", &name, "--net", "none"];
    words.extend(flags.iter().map(String::as_str));
    words.push(image);
    ContainerId::new(docker(&words).await.expect("run"))
}

/// The labels that a version before seals gave a replica.
fn unsealed(stage: &DockerStage, number: u32) -> Vec<String> {
    let project = stage.project();
    [
        format!("dev.composed.instance={project}"),
        format!("dev.composed.service={project}/web"),
        "dev.composed.revision=r1".to_owned(),
        "dev.composed.generation=7".to_owned(),
        format!("com.docker.compose.project={project}"),
        "com.docker.compose.service=web".to_owned(),
        format!("com.docker.compose.container-number={number}"),
        "com.docker.compose.config-hash=r1".to_owned(),
    ]
    .into()
}

async fn labels_of(id: &ContainerId) -> Vec<String> {
    let format = r#"{{range $name, $value := .Config.Labels}}{{$name}}={{$value}}{{"\n"}}{{end}}"#;
    let all = docker(&["inspect", "--format", format, id.as_str()]).await.expect("inspect");
    all.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn look(engine: &Docker, stage: &DockerStage) -> Snapshot {
    let scope = ObserveRequest { services: Some([web(stage)].into()), ..ObserveRequest::default() };
    engine::observe_once(engine, &scope).await.expect("observe")
}

fn ids(snapshot: &Snapshot, stage: &DockerStage) -> BTreeSet<ContainerId> {
    snapshot.replicas.get(&web(stage)).into_iter().flatten().map(|replica| replica.id.clone()).collect()
}

/// What is foreign, and why.
fn why(snapshot: &Snapshot, id: &ContainerId) -> String {
    snapshot.listing.foreign.iter().find(|one| one.id == *id).map_or_else(String::new, |one| one.why.clone())
}

/// Whatever is asked of a container that is not ours, nothing happens to it.
async fn is_untouchable(stage: &DockerStage, id: &ContainerId) {
    let target = Target { id: id.clone(), name: "x".to_owned() };
    let verbs = [
        Verb::Stop { target: target.clone(), cut: 0 },
        Verb::DisableRestart(target.clone()),
        Verb::Rename { target: target.clone(), to: format!("{}-renamed", stage.project()) },
        Verb::Remove(target.clone()),
        Verb::Start(target),
    ];
    for verb in verbs {
        let done = apply(stage, verb.clone()).await;
        assert!(stale(&done), "{verb}: {done:?}");
    }
    assert_eq!(stage.peek(id).await.expect("it is there").1, "running");
}

fn mode_of(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}
