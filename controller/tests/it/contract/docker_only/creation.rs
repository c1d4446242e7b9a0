//! What a create call makes.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_half_made_replica_is_completed_by_its_next_create_or_start() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let (context, create, target) = half_made(&stage).await;
    stage.engine().apply(&create, &context).await.expect("create again");
    apply(&stage, Verb::Start(target.clone())).await.expect("start");
    both_joined(&stage, &target).await;

    let stage = run.stage(1).await;
    let (_, _, target) = half_made(&stage).await;
    apply(&stage, Verb::Start(target.clone())).await.expect("start");
    both_joined(&stage, &target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounts_and_ports_are_made() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("made/by/the/engine").display().to_string();
    let context = context(&stage, &["default"]);
    create_network(&stage, &context, "default").await;
    let verb = Verb::CreateVolume { key: "data".to_owned(), name: context.volumes["data"].0.clone() };
    stage.engine().apply(&verb, &context).await.expect("create volume");

    let mut print = print(&stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).network_mode = None;
    let mount = |kind, source: Option<&str>, target: &str| Mount {
        kind,
        source: source.map(str::to_owned),
        target: target.to_owned(),
        ..Mount::default()
    };
    let creates = Some(BindOptions { create_host_path: Some(true), ..BindOptions::default() });
    Arc::make_mut(&mut print.spec).volumes = vec![
        Mount { bind: creates, ..mount(MountKind::Bind, Some(&path), "/bound") },
        mount(MountKind::Volume, Some("data"), "/data"),
        mount(MountKind::Tmpfs, None, "/memory"),
    ];
    Arc::make_mut(&mut print.spec).ports =
        vec![Port { target: 8080, host_ip: Some("127.0.0.1".to_owned()), ..Port::default() }];
    stage.engine().apply(&Verb::Create(Box::new(print)), &context).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let target = Target { id: made.id, name: made.name };
    apply(&stage, Verb::Start(target.clone())).await.expect("start");

    let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}\n{{end}}";
    let mounts = docker(&["inspect", "--format", format, target.id.as_str()]).await.expect("inspect");
    let mut lines: Vec<_> = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    lines.retain(|line| !line.is_empty());
    lines.sort();
    let volume = format!("volume {}_data /data", stage.project());
    assert_eq!(lines, ["bind /bound".to_owned(), "tmpfs /memory".to_owned(), volume]);
    assert!(std::path::Path::new(&path).is_dir(), "the missing host directory was made");

    let seen = replica(&stage, &target).await.expect("the replica");
    let published = seen.ports["8080/tcp"].first().expect("a published port");
    let port = published.strip_prefix("127.0.0.1:").expect("on the address asked for");
    assert!(port.parse::<u16>().is_ok_and(|port| port > 0), "{published}");
    assert!(seen.pid > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_driver_is_refused_and_not_tried_for_ever() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut context = context(&stage, &["default"]);
    let driver = Some("nope".to_owned());
    context.volumes.get_mut("data").expect("data").1.driver.clone_from(&driver);
    context.networks.get_mut("default").expect("default").1.driver = driver;
    let name = context.volumes["data"].0.clone();
    let volume = stage.engine().apply(&Verb::CreateVolume { key: "data".to_owned(), name }, &context).await;
    assert!(rejected(&volume), "{volume:?}");
    let name = context.networks["default"].0.clone();
    let network = stage.engine().apply(&Verb::CreateNetwork { key: "default".to_owned(), name }, &context).await;
    assert!(rejected(&network), "{network:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_command_clears_the_images_own() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let image = ImageRef::new(format!("{}:cmd", stage.project()));
    let own = format!("FROM {}\nCMD [\"nonsense\"]\n", run.image);
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("Dockerfile"), own).expect("write");
    docker(&["build", "-q", "-t", image.as_str(), &directory.path().display().to_string()]).await.expect("build");
    let mut print = print(&stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).image.clone_from(&image);
    Arc::make_mut(&mut print.spec).command = Some(vec![]);
    apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let words =
        docker(&["inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}", made.id.as_str()]).await;
    apply(&stage, Verb::Remove(Target { id: made.id, name: made.name })).await.expect("remove");
    stage.docker().remove_image(&image).await.expect("remove the image");
    assert_eq!(words.expect("inspect"), r#"["/composed","demo-app"] []"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_one_that_restarts_a_start_is_for_later_and_what_ran_there_is_cut_off() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut host = print(&stage, Kind::Crashes, 1);
    Arc::make_mut(&mut host.spec).restart = Some(crd_schema::RestartPolicy::Always);
    apply(&stage, Verb::Create(Box::new(host))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let host = Target { id: made.id, name: made.name };
    let guest = |number| {
        let mut guest = print(&stage, Kind::Serves, number);
        Arc::make_mut(&mut guest.spec).network_mode = Some("service:web".to_owned());
        Arc::make_mut(&mut guest.spec).expose.clear();
        guest.joins.insert("web".to_owned(), host.clone());
        guest
    };
    let (old, next) = (guest(2), guest(3));
    for one in [&old, &next] {
        apply(&stage, Verb::Create(Box::new(one.clone()))).await.expect("create");
    }
    let target = |name: String, seen: &[composed_core::model::Replica]| {
        let id = seen.iter().find(|one| one.name == name).expect("a guest").id.clone();
        Target { id, name }
    };
    let seen = replicas(&stage).await;
    let (old, next) = (target(old.name, &seen), target(next.name, &seen));
    apply(&stage, Verb::Start(host.clone())).await.expect("start");
    apply(&stage, Verb::Start(old.clone())).await.expect("start in its first run");
    // Each time the engine waits twice as long.
    until(&stage, &host, "between two of its runs", |one| one.restart_count >= 4 && one.state == State::Restarting)
        .await;
    let seen = replica(&stage, &next).await.expect("one that never ran");
    assert!(seen.joined[0].since.is_some() && !seen.lost_namespace(), "it can be started later: {seen:?}");
    assert!(replica(&stage, &old).await.expect("one that ran").lost_namespace());
    let refused = apply(&stage, Verb::Start(next.clone())).await;
    assert!(stale(&refused), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_start_hook_that_fails_is_told_and_ends_the_others() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let target = started(&stage, Kind::Serves, 1).await;
    let hook = |words: &[&str]| crd_schema::Hook {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        ..crd_schema::Hook::default()
    };
    let hooks = vec![hook(&["/composed", "no-such-verb"]), hook(&["/composed", "--version"])];
    apply(&stage, Verb::PostStart { target: target.clone(), hooks }).await.expect("post_start");
    let done = until(&stage, &target, "done with its hooks", |replica| replica.post_start.is_some()).await;
    let Some(HookEnd::Failed(failure)) = done.post_start else { panic!("{:?}", done.post_start) };
    assert_eq!(failure.why, "`/composed` exited with code 2");
    assert!(failure.output.iter().any(|line| line.contains("no-such-verb")), "{failure:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_by_itself_tells_its_last_lines() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut print = print(&stage, Kind::Serves, 1);
    Arc::make_mut(&mut print.spec).command = Some(vec!["no-such-verb".to_owned()]);
    Arc::make_mut(&mut print.spec).entrypoint = Some(vec!["/composed".to_owned()]);
    apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    assert_eq!(made.output, Vec::<String>::new());
    let target = Target { id: made.id, name: made.name };
    apply(&stage, Verb::Start(target.clone())).await.expect("start");
    let ended = until(&stage, &target, "ended", |replica| matches!(replica.state, State::Exited(_))).await;
    assert_eq!(ended.state, State::Exited(2));
    assert!(ended.output.iter().any(|line| line.contains("no-such-verb")), "{:?}", ended.output);
}

/// Configs and secrets: in the container before it starts, in no label, also when another process starts it.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_put_into_a_container_before_its_first_start() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut print = print(&stage, Kind::Serves, 1);
    let file = |path: &str, content: &str| ContainerFile {
        path: path.to_owned(),
        content: content.to_owned(),
        ..ContainerFile::default()
    };
    Arc::make_mut(&mut print.spec).files = vec![
        file("/run/secrets/token", "hunter2\n"),
        ContainerFile { uid: Some(7), gid: Some(8), mode: Some(0o440), ..file("/composed.conf", "a: 1") },
    ];
    let (revision, files) = (print.revision.clone(), print.spec.files.clone());
    apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let target = Target { id: made.id, name: made.name };
    let forgotten = apply(&stage, Verb::Start(target.clone())).await;
    assert!(rejected(&forgotten), "it does not start without them: {forgotten:?}");
    let context = ActionContext { files: [(revision, files)].into(), ..super::super::context(&stage) };
    stage.engine().apply(&Verb::Start(target.clone()), &context).await.expect("start");
    until(&stage, &target, "running", |replica| replica.state == State::Running).await;
    let directory = tempfile::tempdir().expect("a directory");
    for (path, content, mode) in [("/run/secrets/token", "hunter2\n", 0o444), ("/composed.conf", "a: 1", 0o440)] {
        use std::os::unix::fs::PermissionsExt as _;
        let here = directory.path().join("copy");
        docker(&["cp", "-a", &format!("{}:{path}", target.id), here.to_str().expect("UTF-8")]).await.expect("copy");
        assert_eq!(std::fs::read_to_string(&here).expect("read"), content);
        let about = std::fs::metadata(&here).expect("there");
        assert_eq!(about.permissions().mode() & 0o7777, mode, "{path}");
        std::fs::remove_file(&here).expect("removed");
    }
    let inspected = docker(&["inspect", target.id.as_str()]).await.expect("inspect");
    assert!(!inspected.contains("hunter2"), "{inspected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_made_of_the_image_that_was_asked_for_whatever_its_name_stands_for() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let name = format!("{}:moving", stage.project());
    let id = |image: String| async move {
        docker(&["image", "inspect", "--format", "{{.Id}}", &image]).await.expect("inspect")
    };
    let print = |number: u32, image: &str| {
        let mut print = print(&stage, Kind::Serves, number);
        Arc::make_mut(&mut print.spec).image = ImageRef::new(&name);
        print.image = Some(ImageId::new(image));
        Verb::Create(Box::new(print))
    };
    docker(&["tag", stage.spec(Kind::Serves).image.as_str(), &name]).await.expect("tag");
    let first = id(name.clone()).await;
    apply(&stage, print(1, &first)).await.expect("create");
    // Of a container that composed has not made: what it has made is refused as an image.
    let base = docker(&["create", stage.spec(Kind::Serves).image.as_str()]).await.expect("create");
    docker(&["commit", "--change", "ENV VERSION=2", &base, &name]).await.expect("commit");
    docker(&["rm", &base]).await.expect("rm");
    let second = id(name.clone()).await;
    assert_ne!(first, second);
    apply(&stage, print(2, &first)).await.expect("create of the image before");
    apply(&stage, print(3, &second)).await.expect("create of the newer image");
    let all = replicas(&stage).await;
    for replica in &all {
        let target = Target { id: replica.id.clone(), name: replica.name.clone() };
        apply(&stage, Verb::Remove(target)).await.expect("remove");
    }
    docker(&["rmi", &name]).await.expect("rmi");
    let all: Vec<_> = all.iter().map(|replica| (replica.image.as_str(), replica.image_name.as_str())).collect();
    let (name, first, second) = (name.as_str(), first.as_str(), second.as_str());
    assert_eq!(all, [(first, name), (first, first), (second, name)], "by name where that says the same, else by id");
}
