//! What Docker Compose has made.

use super::*;

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
        .start_companion(&ImageRef::new(&built), &["/composed".to_owned(), "demo-app".to_owned()], &own.id)
        .await
        .expect("a companion");
    let scope = ObserveRequest { compose: Arc::new([web(&stage)].into()), ..ObserveRequest::default() };
    let seen = observe(&stage, scope).await;
    assert!(seen.listing.foreign.is_empty(), "{:?}", seen.listing.foreign);
    assert_eq!(ids(&seen, &stage), BTreeSet::from([own.id.clone()]));
    // Of one that has died without removing it.
    stage.docker().sweep_companions().await;
    assert!(stage.peek(&companion).await.is_none_or(|(_, state)| state == "removing"), "it is swept away");
    assert_eq!(stage.peek(&own.id).await.map(|(_, state)| state).as_deref(), Some("running"), "it is no companion");
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

    let asked = DesiredContainer { spec: stage.spec(Kind::Serves).into(), context: context(&stage) };
    let scope = ObserveRequest {
        services: Some([web(&stage)].into()),
        compose: Arc::new([web(&stage)].into()),
        desired: [(web(&stage), asked)].into(),
        ..ObserveRequest::default()
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
