//! Labels are claims: what carries labels of this instance, or of Docker Compose, without having been made by it, is told
//! of and left as it is; what was made before there were seals stays ours. On a real engine only: the simulated one has no
//! labels.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use composed::engine::docker::Docker;
use composed::engine::{self, Asked, Claim, Engine, Scope};
use composed::model::{Comparison, Snapshot, State};
use composed::plan::action::{Target, Verb};
use serde_json::json;

use super::docker::{DockerStage, Run, docker};
use super::{Kind, Stage, apply, context, observe, print, rejected, replicas, stale, started, until, web};

/// Runs a container of an image, with these labels beside the image's; its id.
async fn run_container(stage: &DockerStage, suffix: &str, image: &str, labels: &[String]) -> String {
    let name = format!("{}-{suffix}", stage.project());
    let flags: Vec<String> = labels.iter().map(|label| format!("--label={label}")).collect();
    let mut words = vec!["run", "-d", "--name", &name, "--net", "none"];
    words.extend(flags.iter().map(String::as_str));
    words.push(image);
    docker(&words).await.expect("run")
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

async fn labels_of(id: &str) -> Vec<String> {
    let format = r#"{{range $name, $value := .Config.Labels}}{{$name}}={{$value}}{{"\n"}}{{end}}"#;
    let all = docker(&["inspect", "--format", format, id]).await.expect("inspect");
    all.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

async fn look(engine: &Docker, stage: &DockerStage) -> Snapshot {
    let scope = Scope { services: Some([web(stage)].into()), ..Scope::default() };
    engine::look(engine, &scope).await.expect("observe")
}

fn ids(snapshot: &Snapshot, stage: &DockerStage) -> BTreeSet<String> {
    snapshot.replicas.get(&web(stage)).into_iter().flatten().map(|replica| replica.id.clone()).collect()
}

/// What is foreign, and why.
fn why(snapshot: &Snapshot, id: &str) -> String {
    snapshot.listing.foreign.iter().find(|one| one.id == id).map_or_else(String::new, |one| one.why.clone())
}

/// Whatever is asked of a container that is not ours, nothing happens to it.
async fn is_untouchable(stage: &DockerStage, id: &str) {
    let target = Target { id: id.to_owned(), name: "x".to_owned() };
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

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_builds_of_a_replica_are_not_replicas() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let own = started(&stage, Kind::Serves, 1).await;
    let image = format!("{}:commit", run.image.trim_end_matches(":app"));
    docker(&["commit", &own.id, &image]).await.expect("commit");

    let committed = run_container(&stage, "commit", &image, &[]).await;
    // A step of a build of the commit, as long as it runs.
    let directory = tempfile::tempdir().expect("a directory");
    let dockerfile = format!("FROM {image}\nRUN [\"/composed\", \"demo-app\"]\n");
    std::fs::write(directory.path().join("Dockerfile"), dockerfile).expect("a Dockerfile");
    let mut build = tokio::process::Command::new("docker")
        .args(["build", "--network", "none", "."])
        .env("DOCKER_BUILDKIT", "0")
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("docker build");
    let label = format!("label=dev.composed.instance={}", stage.project());
    let step = async {
        loop {
            let all = docker(&["ps", "-q", "--no-trunc", "--filter", &label]).await.expect("ps");
            if let Some(step) = all.lines().find(|id| *id != own.id && *id != committed) {
                return step.to_owned();
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let step = tokio::time::timeout(super::PATIENCE, step).await.expect("a step of the build");

    let seen = look(stage.docker(), &stage).await;
    assert_eq!(ids(&seen, &stage), BTreeSet::from([own.id.clone()]));
    for id in [&committed, &step] {
        assert!(why(&seen, id).contains("commit"), "{:?}", seen.listing.foreign);
        is_untouchable(&stage, id).await;
    }
    // An image that says what only composed says is refused by name.
    let mut print = print(&stage, Kind::Serves, 2);
    print.spec.image.clone_from(&image);
    let refused = apply(&stage, Verb::Create(Box::new(print))).await;
    let text = format!("{refused:?}");
    assert!(rejected(&refused) && text.contains(&image) && text.contains("dev.composed."), "{text}");

    stage.remove(&step).await;
    drop(build.wait().await);
    stage.remove(&committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_copied_labels_prove_nothing() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);
    let own = started(&stage, Kind::Serves, 1).await;
    let forged = run_container(&stage, "forged", &run.image, &unsealed(&stage, 2)).await;
    // Labels, seal and image: as a tool does that makes a container anew beside the old one.
    let copied = run_container(&stage, "copied", &run.image, &labels_of(&own.id).await).await;
    let mut other = labels_of(&own.id).await;
    other.push("dev.composed.hook=pre-deploy".to_owned());
    let changed = run_container(&stage, "changed", &run.image, &other).await;

    let seen = look(stage.docker(), &stage).await;
    assert_eq!(ids(&seen, &stage), BTreeSet::from([own.id.clone()]), "{:?}", seen.listing.foreign);
    assert!(seen.hooks.is_empty());
    assert!(why(&seen, &forged).contains("no seal"), "{:?}", seen.listing.foreign);
    assert!(why(&seen, &copied).contains("copy of"), "{:?}", seen.listing.foreign);
    assert!(why(&seen, &changed).contains("seal"), "{:?}", seen.listing.foreign);
    for id in [&forged, &changed] {
        is_untouchable(&stage, id).await;
    }
    // One with the name of a replica that is to be made keeps it.
    let name = web(&stage).container(3);
    docker(&["rename", &forged, &name]).await.expect("rename");
    let refused = apply(&stage, Verb::Create(Box::new(print(&stage, Kind::Serves, 3)))).await;
    assert!(super::name_taken(&refused), "{refused:?}");
    assert_eq!(stage.peek(&forged).await.expect("it is there").0, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_label_names_no_place_outside_of_the_names_that_documents_can_have() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut wild = unsealed(&stage, 1);
    wild.push("dev.composed.service=../../../victim/daemon".to_owned());
    let of_ours = run_container(&stage, "wild", &run.image, &wild).await;
    // Made before there was a key: its labels are all that is known of it.
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);
    let seen = observe(&stage, Scope::default()).await;
    assert!(seen.replicas.is_empty() && seen.listing.owned.is_empty(), "{seen:?}");
    assert!(why(&seen, &of_ours).contains("no service"), "{:?}", seen.listing.foreign);
    is_untouchable(&stage, &of_ours).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_version_made_stays_ours_and_what_came_later_is_not() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let old = run_container(&stage, "web-1", &run.image, &unsealed(&stage, 1)).await;
    let network = format!("{}_default", stage.project());
    let labels = [
        format!("--label=dev.composed.instance={}", stage.project()),
        format!("--label=com.docker.compose.project={}", stage.project()),
    ];
    docker(&["network", "create", &labels[0], &labels[1], &network]).await.expect("network create");

    // A mere look, as `composed plan` has, counts it and writes nothing down.
    let key = format!("composed-key-{}", stage.project());
    assert_eq!(ids(&look(stage.docker(), &stage).await, &stage), BTreeSet::from([old.clone()]));
    assert!(docker(&["volume", "inspect", &key]).await.is_err(), "a look makes nothing");
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);

    let late = run_container(&stage, "late", &run.image, &unsealed(&stage, 2)).await;
    let elsewhere = format!("{}_late", stage.project());
    docker(&["network", "create", &labels[0], &labels[1], &elsewhere]).await.expect("network create");
    let again = Docker::connect(None, stage.project()).await.expect("connect");
    for engine in [stage.docker(), &again] {
        let seen = look(engine, &stage).await;
        assert_eq!(ids(&seen, &stage), BTreeSet::from([old.clone()]), "{:?}", seen.listing.foreign);
        assert!(why(&seen, &late).contains("no seal"), "{:?}", seen.listing.foreign);
        assert_eq!(seen.listing.networks[&network].as_deref(), Some(stage.project()));
        assert_eq!(seen.listing.networks[&elsewhere], None);
    }
    let kept = apply(&stage, Verb::RemoveNetwork { name: elsewhere }).await;
    assert!(rejected(&kept), "{kept:?}");
    apply(&stage, Verb::RemoveNetwork { name: network }).await.expect("a network of an earlier version");
    let target = Target { id: old, name: web(&stage).container(1) };
    apply(&stage, Verb::Stop { target: target.clone(), cut: 0 }).await.expect("stop");
    until(&stage, &target, "stopped", |replica| !replica.state.is_live()).await;
    apply(&stage, Verb::Remove(target)).await.expect("remove");
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_outlives_the_state_directory_or_the_engines_key() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join(Docker::OWNERSHIP);
    let connect = async || Docker::connect_with(None, stage.project(), Some(file.clone())).await.expect("connect");
    let first = connect().await;
    assert_eq!(first.claim().await.expect("claim"), Claim::Held);
    first.apply(&Verb::Create(Box::new(print(&stage, Kind::Serves, 1))), &context(&stage)).await.expect("create");
    let own = ids(&look(&first, &stage).await, &stage);
    assert_eq!(own.len(), 1);
    first.release().await.expect("release");
    assert_eq!(mode_of(&file), 0o600, "the key is for this user alone");

    std::fs::remove_file(&file).expect("remove");
    let second = connect().await;
    assert_eq!(second.claim().await.expect("claim"), Claim::Held);
    assert_eq!(ids(&look(&second, &stage).await, &stage), own, "the state directory is lost");
    assert!(file.exists(), "it is written there again");

    // `docker volume prune`, before and while it runs.
    let prune = async || {
        for kept in ["lock", "key"] {
            docker(&["volume", "rm", &format!("composed-{kept}-{}", stage.project())]).await.expect("volume rm");
        }
    };
    prune().await;
    let key = format!("composed-key-{}", stage.project());
    assert_eq!(second.claim().await.expect("claim"), Claim::Held);
    assert!(docker(&["volume", "inspect", &key]).await.is_ok(), "the engine has it again");
    assert_eq!(ids(&look(&second, &stage).await, &stage), own);
    prune().await;
    drop(second);
    let third = connect().await;
    assert_eq!(third.claim().await.expect("claim"), Claim::Held);
    assert_eq!(ids(&look(&third, &stage).await, &stage), own, "the engine's key is lost");
    third.release().await.expect("release");

    // A file that cannot be read is no reason to make strangers of all.
    std::fs::write(&file, "{").expect("write");
    let fourth = connect().await;
    assert_eq!(fourth.claim().await.expect("claim"), Claim::Held);
    assert_eq!(ids(&look(&fourth, &stage).await, &stage), own);
    fourth.release().await.expect("release");

    // What something else has put in the key's place is told, and nothing is done.
    docker(&["volume", "rm", &key]).await.expect("volume rm");
    docker(&["volume", "create", &key]).await.expect("volume create");
    let fifth = connect().await;
    let refused = fifth.claim().await;
    assert!(format!("{refused:?}").contains(&format!("docker volume rm {key}")), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_both_keys_lost_what_carries_a_seal_is_still_ours() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);
    let own = started(&stage, Kind::Serves, 1).await;
    let network = format!("{}_default", stage.project());
    apply(&stage, Verb::CreateNetwork { key: "default".to_owned(), name: network.clone() }).await.expect("a network");
    let image = format!("{}:commit", run.image.trim_end_matches(":app"));
    docker(&["commit", &own.id, &image]).await.expect("commit");
    let committed = run_container(&stage, "commit", &image, &[]).await;
    let copied = run_container(&stage, "copied", &run.image, &labels_of(&own.id).await).await;
    // What an older version made after a newer one: README says to remove the key.
    let late = run_container(&stage, "late", &run.image, &unsealed(&stage, 2)).await;
    stage.engine().release().await.expect("release");
    docker(&["volume", "rm", &format!("composed-key-{}", stage.project())]).await.expect("volume rm");

    let again = Docker::connect(None, stage.project()).await.expect("connect");
    let ours = BTreeSet::from([own.id.clone(), late]);
    assert_eq!(ids(&look(&again, &stage).await, &stage), ours, "a mere look");
    assert_eq!(again.claim().await.expect("claim"), Claim::Held);
    let seen = look(&again, &stage).await;
    assert_eq!(ids(&seen, &stage), ours, "{:?}", seen.listing.foreign);
    assert_eq!(seen.listing.networks[&network].as_deref(), Some(stage.project()));
    assert!(why(&seen, &committed).contains("commit"), "{:?}", seen.listing.foreign);
    assert!(why(&seen, &copied).contains("copy of"), "{:?}", seen.listing.foreign);
    let target = Target { id: own.id, name: own.name };
    again.apply(&Verb::Stop { target, cut: 0 }, &context(&stage)).await.expect("it can be stopped");
    again.release().await.expect("release");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_stops_nothing_while_the_engine_has_the_key() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);
    let own = started(&stage, Kind::Serves, 1).await;
    stage.engine().release().await.expect("release");
    // Reading a directory is an error, for root too.
    let directory = tempfile::tempdir().expect("a directory");
    let connect =
        async || Docker::connect_with(None, stage.project(), Some(directory.path().to_owned())).await.expect("connect");
    let engine = connect().await;
    assert_eq!(engine.claim().await.expect("claim"), Claim::Held);
    assert_eq!(ids(&look(&engine, &stage).await, &stage), BTreeSet::from([own.id]));
    engine.release().await.expect("release");
    // Without the engine's key nothing is done: a new one would be none of its containers'.
    docker(&["volume", "rm", &format!("composed-key-{}", stage.project())]).await.expect("volume rm");
    let refused = connect().await.claim().await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_companion_of_an_image_that_compose_has_built_is_ours() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let own = started(&stage, Kind::Serves, 1).await;
    // As `docker compose build` labels what it builds.
    let built = format!("{}:built", run.image.trim_end_matches(":app"));
    let base = docker(&["create", "--name", &format!("{}-base", stage.project()), &run.image]).await.expect("create");
    let change = |label: &str| format!("LABEL com.docker.compose.{label}");
    let changes = [change(&format!("project={}", stage.project())), change("service=web"), change("version=2.30.0")];
    docker(&["commit", "-c", &changes[0], "-c", &changes[1], "-c", &changes[2], &base, &built]).await.expect("commit");
    let companion = stage
        .docker()
        .start_companion(&built, &["/composed".to_owned(), "demo-app".to_owned()], &own.id)
        .await
        .expect("a companion");
    let scope = Scope { compose: Arc::new([web(&stage)].into()), ..Scope::default() };
    let seen = observe(&stage, scope).await;
    assert!(seen.listing.foreign.is_empty(), "{:?}", seen.listing.foreign);
    assert_eq!(ids(&seen, &stage), BTreeSet::from([own.id.clone()]));
    // Of one that has died without removing it.
    stage.docker().sweep_companions().await;
    assert!(stage.peek(&companion).await.is_none_or(|(_, state)| state == "removing"), "it is swept away");
    assert_eq!(stage.peek(&own.id).await.map(|(_, state)| state).as_deref(), Some("running"), "it is no companion");
}

fn mode_of(path: &std::path::Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_compose_made_counts_as_composes() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let project = stage.project();
    let image = run.image.trim_end_matches(":app");
    let of_compose = |hash: &str, number: &str| -> Vec<String> {
        [
            ("project", project),
            ("service", "web"),
            ("oneoff", "False"),
            ("config-hash", hash),
            ("container-number", number),
        ]
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("com.docker.compose.{name}={value}"))
        .collect()
    };
    let built = format!("{image}:built");
    let change = |label: &String| ["--change".to_owned(), format!("LABEL {label}")];
    let import = async |name: &str, labels: &[String]| {
        let base = docker(&["create", &run.image]).await.expect("create");
        let changes: Vec<String> = labels.iter().flat_map(change).collect();
        let mut words = vec!["commit"];
        words.extend(changes.iter().map(String::as_str));
        words.extend([base.as_str(), name]);
        docker(&words).await.expect("commit");
        docker(&["rm", &base]).await.expect("rm");
    };
    // As `docker compose build` labels its images, and as a commit of one of Compose's containers does.
    import(&built, &of_compose("", "")).await;
    let commit = format!("{image}:of-compose");
    import(&commit, &of_compose("abc", "1")).await;

    let real = run_container(&stage, "web-1", &run.image, &of_compose("abc", "1")).await;
    let by_image = run_container(&stage, "by-image", &built, &[]).await;
    let by_commit = run_container(&stage, "by-commit", &commit, &[]).await;
    // Compose's own container of an image that was built by Compose, and of one that was committed.
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &commit]).await.expect("inspect");
    let made_of = [of_compose("abc", "2"), vec![format!("com.docker.compose.image={id}")]].concat();
    let of_build = run_container(&stage, "web-3", &built, &of_compose("abc", "3")).await;
    let of_commit = run_container(&stage, "web-2", &commit, &made_of).await;

    let asked = Asked { spec: stage.spec(Kind::Serves), context: context(&stage) };
    let scope = Scope {
        services: Some([web(&stage)].into()),
        compose: Arc::new([web(&stage)].into()),
        asked: [(web(&stage), asked)].into(),
        ..Scope::default()
    };
    let seen = observe(&stage, scope).await;
    assert_eq!(ids(&seen, &stage), BTreeSet::from([real.clone(), of_build, of_commit]), "{:?}", seen.listing.foreign);
    assert!(seen.replicas[&web(&stage)].iter().all(|one| one.state == State::Running));
    assert!(seen.replicas[&web(&stage)].iter().all(|one| matches!(one.compose, Some(Comparison::Differs(_)))));
    assert!(why(&seen, &by_image).contains("lacks the labels"), "{:?}", seen.listing.foreign);
    assert!(why(&seen, &by_commit).contains("its image"), "{:?}", seen.listing.foreign);
    for id in [&by_image, &by_commit] {
        is_untouchable(&stage, id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_do_not_prove_for_each_other() {
    let Some(run) = Run::begin().await else { return };
    let (stage, other) = (run.stage(0).await, run.stage(1).await);
    let own = started(&stage, Kind::Serves, 1).await;
    // The labels of one instance, with the other's name: sealed, but not by it.
    let (from, to) = (format!("instance={}", stage.project()), format!("instance={}", other.project()));
    let labels: Vec<String> = labels_of(&own.id).await.iter().map(|label| label.replace(&from, &to)).collect();
    started(&other, Kind::Serves, 1).await;
    let copied = run_container(&other, "copied", &run.image, &labels).await;
    let seen = observe(&other, Scope::default()).await;
    assert!(why(&seen, &copied).contains("seal"), "{:?}", seen.listing.foreign);
    assert_eq!(seen.listing.owned, BTreeSet::from([web(&other)]));
    assert_eq!(replicas(&stage).await.len(), 1);
}

/// An engine with volumes and nothing else, by their names; `fails` is a volume that it cannot tell of.
#[derive(Default)]
struct Volumes {
    labels: BTreeMap<String, serde_json::Value>,
    fails: Option<String>,
    /// How often it was asked for the key.
    asked: usize,
}

impl Volumes {
    fn answer(&mut self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let volume = |name: &str, labels: &serde_json::Value| json!({"Name": name, "Driver": "local", "Mountpoint": "/x", "Labels": labels, "Scope": "local", "Options": {}});
        let name = path.rsplit('/').next().unwrap_or_default();
        self.asked += usize::from(name == "composed-key-i");
        match (method, path) {
            (_, "/version") => (200, json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"})),
            ("POST", "/volumes/create") => {
                let asked: serde_json::Value = serde_json::from_str(body).expect("JSON");
                let name = asked["Name"].as_str().expect("a name").to_owned();
                let labels = self.labels.entry(name.clone()).or_insert_with(|| asked["Labels"].clone());
                (201, volume(&name, labels))
            }
            _ if self.fails.as_deref() == Some(name) => (500, json!({"message": "the disk is busy"})),
            ("DELETE", _) => (if self.labels.remove(name).is_some() { 204 } else { 404 }, json!({})),
            ("GET", _) if path.starts_with("/volumes/") => match self.labels.get(name) {
                Some(labels) => (200, volume(name, labels)),
                None => (404, json!({"message": format!("get {name}: no such volume")})),
            },
            _ => (200, json!([])),
        }
    }
}

async fn serve(listener: tokio::net::UnixListener, volumes: Arc<Mutex<Volumes>>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut asked = Vec::new();
        let (head, body) = loop {
            let read = stream.read_buf(&mut asked).await.expect("a request");
            let text = String::from_utf8_lossy(&asked).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if read == 0 || body.len() >= length.unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let path = path.strip_prefix("/v1.41").unwrap_or(path);
        let (status, answer) = volumes.lock().expect("no panic").answer(method, path, &body);
        let answer = answer.to_string();
        let length = answer.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        drop(stream.write_all(format!("{head}{answer}").as_bytes()).await);
    }
}

/// `docker volume prune`, and then an engine that fails for a moment: what is left of the key is what this process knows.
#[tokio::test]
async fn a_failed_answer_loses_no_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("engine.sock");
    let volumes = Arc::new(Mutex::new(Volumes::default()));
    let engine = tokio::spawn(serve(tokio::net::UnixListener::bind(&path).expect("a socket"), Arc::clone(&volumes)));
    let docker = Docker::connect(Some(&format!("unix://{}", path.display())), "i").await.expect("connect");
    let with = |change: &dyn Fn(&mut Volumes)| change(&mut volumes.lock().expect("no panic"));
    let key = || volumes.lock().expect("no panic").labels["composed-key-i"]["dev.composed.key"].clone();
    assert_eq!(docker.claim().await.expect("claim"), Claim::Held);
    let first = key();
    with(&|volumes| {
        volumes.labels.clear();
        volumes.fails = Some("composed-key-i".to_owned());
    });
    let failed = docker.claim().await;
    assert!(failed.is_err(), "{failed:?}");
    with(&|volumes| volumes.fails = None);
    assert_eq!(docker.claim().await.expect("claim"), Claim::Held);
    assert_eq!(key(), first, "the engine has it again");
    engine.abort();
}

/// One that had the lock meanwhile may have made another key: after `docker volume prune`, with a state directory of its own.
#[tokio::test]
async fn whoever_takes_the_lock_over_learns_the_key_of_the_one_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("engine.sock");
    let volumes = Arc::new(Mutex::new(Volumes::default()));
    let engine = tokio::spawn(serve(tokio::net::UnixListener::bind(&path).expect("a socket"), Arc::clone(&volumes)));
    let docker = Docker::connect(Some(&format!("unix://{}", path.display())), "i").await.expect("connect");
    assert_eq!(docker.claim().await.expect("claim"), Claim::Held);
    let asked = || volumes.lock().expect("no panic").asked;
    let before = asked();
    assert_eq!(docker.claim().await.expect("claim"), Claim::Held);
    assert_eq!(asked(), before, "one call while it is held");
    {
        let mut volumes = volumes.lock().expect("no panic");
        let lock = volumes.labels.get_mut("composed-lock-i").expect("a lock");
        lock["dev.composed.holder"] = json!("another");
        // No process has this number.
        lock["dev.composed.pid"] = json!("4194305");
        volumes.labels.get_mut("composed-key-i").expect("a key")["dev.composed.key"] = json!("1".repeat(64));
    }
    assert_eq!(docker.claim().await.expect("claim"), Claim::Held, "the other one is dead");
    assert!(asked() > before, "the key of the other one is known");
    engine.abort();
}
