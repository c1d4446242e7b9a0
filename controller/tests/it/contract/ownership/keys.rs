//! What happens to the key.

use composed_docker::EngineAddress;

use super::*;

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
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);

    let late = run_container(&stage, "late", &run.image, &unsealed(&stage, 2)).await;
    let elsewhere = format!("{}_late", stage.project());
    docker(&["network", "create", &labels[0], &labels[1], &elsewhere]).await.expect("network create");
    let again = Docker::connect(None, stage.project()).await.expect("connect");
    for engine in [stage.docker(), &again] {
        let seen = look(engine, &stage).await;
        assert_eq!(ids(&seen, &stage), BTreeSet::from([old.clone()]), "{:?}", seen.listing.foreign);
        assert!(why(&seen, &late).contains("no seal"), "{:?}", seen.listing.foreign);
        assert_eq!(seen.listing.objects.networks[network.as_str()].as_deref(), Some(stage.project()));
        assert_eq!(seen.listing.objects.networks[elsewhere.as_str()], None);
    }
    let kept = apply(&stage, Verb::RemoveNetwork { name: NetworkName::new(elsewhere), id: None }).await;
    assert!(rejected(&kept), "{kept:?}");
    apply(&stage, Verb::RemoveNetwork { name: NetworkName::new(network), id: None })
        .await
        .expect("a network of an earlier version");
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
    let address = EngineAddress::resolve(None, None).expect("an engine");
    let connect =
        async || Docker::connect_with(&address, stage.project(), "run", Some(file.clone())).await.expect("connect");
    let first = connect().await;
    assert_eq!(first.claim().await.expect("claim"), LeaseState::Held);
    first.apply(&Verb::Create(Box::new(print(&stage, Kind::Serves, 1))), &context(&stage)).await.expect("create");
    let own = ids(&look(&first, &stage).await, &stage);
    assert_eq!(own.len(), 1);
    first.release().await.expect("release");
    assert_eq!(mode_of(&file), 0o600, "the key is for this user alone");

    std::fs::remove_file(&file).expect("remove");
    let second = connect().await;
    assert_eq!(second.claim().await.expect("claim"), LeaseState::Held);
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
    assert_eq!(second.claim().await.expect("claim"), LeaseState::Held);
    assert!(docker(&["volume", "inspect", &key]).await.is_ok(), "the engine has it again");
    assert_eq!(ids(&look(&second, &stage).await, &stage), own);
    prune().await;
    drop(second);
    let third = connect().await;
    assert_eq!(third.claim().await.expect("claim"), LeaseState::Held);
    assert_eq!(ids(&look(&third, &stage).await, &stage), own, "the engine's key is lost");
    third.release().await.expect("release");

    // A file that cannot be read is no reason to make strangers of all.
    std::fs::write(&file, "{").expect("write");
    let fourth = connect().await;
    assert_eq!(fourth.claim().await.expect("claim"), LeaseState::Held);
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
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);
    let own = started(&stage, Kind::Serves, 1).await;
    let network = format!("{}_default", stage.project());
    apply(&stage, Verb::CreateNetwork { key: "default".to_owned(), name: NetworkName::new(network.clone()) })
        .await
        .expect("a network");
    let image = format!("{}:commit", run.image.trim_end_matches(":app"));
    docker(&["commit", own.id.as_str(), &image]).await.expect("commit");
    let committed = run_container(&stage, "commit", &image, &[]).await;
    let copied = run_container(&stage, "copied", &run.image, &labels_of(&own.id).await).await;
    // What an older version made after a newer one: README says to remove the key.
    let late = run_container(&stage, "late", &run.image, &unsealed(&stage, 2)).await;
    stage.engine().release().await.expect("release");
    docker(&["volume", "rm", &format!("composed-key-{}", stage.project())]).await.expect("volume rm");

    let again = Docker::connect(None, stage.project()).await.expect("connect");
    let ours = BTreeSet::from([own.id.clone(), late]);
    assert_eq!(ids(&look(&again, &stage).await, &stage), ours, "a mere look");
    assert_eq!(again.claim().await.expect("claim"), LeaseState::Held);
    let seen = look(&again, &stage).await;
    assert_eq!(ids(&seen, &stage), ours, "{:?}", seen.listing.foreign);
    assert_eq!(seen.listing.objects.networks[network.as_str()].as_deref(), Some(stage.project()));
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
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);
    let own = started(&stage, Kind::Serves, 1).await;
    stage.engine().release().await.expect("release");
    // Reading a directory is an error, for root too.
    let directory = tempfile::tempdir().expect("a directory");
    let address = EngineAddress::resolve(None, None).expect("an engine");
    let connect = async || {
        Docker::connect_with(&address, stage.project(), "run", Some(directory.path().to_owned()))
            .await
            .expect("connect")
    };
    let engine = connect().await;
    assert_eq!(engine.claim().await.expect("claim"), LeaseState::Held);
    assert_eq!(ids(&look(&engine, &stage).await, &stage), BTreeSet::from([own.id]));
    engine.release().await.expect("release");
    // Without the engine's key nothing is done: a new one would be none of its containers'.
    docker(&["volume", "rm", &format!("composed-key-{}", stage.project())]).await.expect("volume rm");
    let refused = connect().await.claim().await;
    assert!(refused.is_err(), "{refused:?}");
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
    let seen = observe(&other, ObserveRequest::default()).await;
    assert!(why(&seen, &copied).contains("seal"), "{:?}", seen.listing.foreign);
    assert_eq!(seen.listing.owned, BTreeSet::from([web(&other)]));
    assert_eq!(replicas(&stage).await.len(), 1);
}
