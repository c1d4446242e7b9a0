//! Commits, builds, copies and forged labels.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_builds_of_a_replica_are_not_replicas() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let own = started(&stage, Kind::Serves, 1).await;
    let image = format!("{}:commit", run.image.trim_end_matches(":app"));
    docker(&["commit", own.id.as_str(), &image]).await.expect("commit");

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
            if let Some(step) = all.lines().map(ContainerId::new).find(|id| *id != own.id && *id != committed) {
                return step;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await; // The pace of looking.
        }
    };
    let step = tokio::time::timeout(super::super::PATIENCE, step).await.expect("a step of the build");

    let seen = look(stage.docker(), &stage).await;
    assert_eq!(ids(&seen, &stage), BTreeSet::from([own.id.clone()]));
    for id in [&committed, &step] {
        assert!(why(&seen, id).contains("commit"), "{:?}", seen.listing.foreign);
        is_untouchable(&stage, id).await;
    }
    // An image that says what only composed says is refused by name.
    let mut print = print(&stage, Kind::Serves, 2);
    Arc::make_mut(&mut print.spec).image = ImageRef::new(&image);
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
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);
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
    docker(&["rename", forged.as_str(), &name]).await.expect("rename");
    let refused = apply(&stage, Verb::Create(Box::new(print(&stage, Kind::Serves, 3)))).await;
    assert!(super::super::name_taken(&refused), "{refused:?}");
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
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);
    let seen = observe(&stage, ObserveRequest::default()).await;
    assert!(seen.replicas.is_empty() && seen.listing.owned.is_empty(), "{seen:?}");
    assert!(why(&seen, &of_ours).contains("no service"), "{:?}", seen.listing.foreign);
    is_untouchable(&stage, &of_ours).await;
}
