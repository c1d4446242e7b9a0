//! What only a real engine can show: several networks, mounts, a registry, a lost connection, a dead holder of the lock.

use std::time::Duration;

use composed::engine::docker::Docker;
use composed::engine::{self, Claim, Context, Engine, Scope};
use composed::model::{HookEnd, ImageState, Key, State};
use composed::plan::action::{Target, Verb};
use crd_schema::{BindOptions, ContainerFile, Mount, MountKind, Network, Port, Volume};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use super::docker::{DockerStage, Run, docker};
use super::proxy::{Mode, Proxy};
use super::{Kind, Stage, Watched, apply, print, registry, rejected, replica, replicas, stale, started, until, web};

/// A context with these networks and a volume `data`.
fn context(stage: &DockerStage, networks: &[&str]) -> Context {
    let project = stage.project();
    let network = |key: &&str| ((*key).to_owned(), (format!("{project}_{key}"), Network::default()));
    Context {
        project: project.to_owned(),
        networks: networks.iter().map(network).collect(),
        volumes: [("data".to_owned(), (format!("{project}_data"), Volume::default()))].into(),
        ..Context::default()
    }
}

async fn create_network(stage: &DockerStage, context: &Context, key: &str) {
    let verb = Verb::CreateNetwork { key: key.to_owned(), name: context.networks[key].0.clone() };
    stage.engine().apply(&verb, context).await.expect("create network");
}

/// A replica whose creator died before it had joined `back`, the second of its two networks.
async fn half_made(stage: &DockerStage) -> (Context, Verb, Target) {
    let context = context(stage, &["back", "front"]);
    create_network(stage, &context, "front").await;
    create_network(stage, &context, "back").await;
    let mut print = print(stage, Kind::Serves, 1);
    print.spec.network_mode = None;
    let attachment = |priority| crd_schema::NetworkAttachment { priority, ..Default::default() };
    let networks = [("back".to_owned(), attachment(None)), ("front".to_owned(), attachment(Some(1)))];
    print.spec.networks = Some(networks.into());
    let create = Verb::Create(Box::new(print));
    stage.engine().apply(&create, &context).await.expect("create");
    let made = replicas(stage).await.remove(0);
    docker(&["network", "disconnect", &context.networks["back"].0, &made.id]).await.expect("disconnect");
    (context, create, Target { id: made.id, name: made.name })
}

async fn both_joined(stage: &DockerStage, target: &Target) {
    let seen = until(stage, target, "running", |replica| replica.state == State::Running).await;
    let joined: Vec<_> = seen.addresses.keys().cloned().collect();
    assert_eq!(joined, ["back", "front"].map(|key| format!("{}_{key}", stage.project())));
    let aliases =
        docker(&["inspect", "--format", "{{range .NetworkSettings.Networks}}{{.Aliases}}{{end}}", &target.id]).await;
    assert_eq!(aliases.expect("inspect").matches("web").count(), 2, "the service's name on both networks");
}

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
    print.spec.network_mode = None;
    let mount = |kind, source: Option<&str>, target: &str| Mount {
        kind,
        source: source.map(str::to_owned),
        target: target.to_owned(),
        ..Mount::default()
    };
    let creates = Some(BindOptions { create_host_path: Some(true), ..BindOptions::default() });
    print.spec.volumes = vec![
        Mount { bind: creates, ..mount(MountKind::Bind, Some(&path), "/bound") },
        mount(MountKind::Volume, Some("data"), "/data"),
        mount(MountKind::Tmpfs, None, "/memory"),
    ];
    print.spec.ports = vec![Port { target: 8080, host_ip: Some("127.0.0.1".to_owned()), ..Port::default() }];
    stage.engine().apply(&Verb::Create(Box::new(print)), &context).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let target = Target { id: made.id, name: made.name };
    apply(&stage, Verb::Start(target.clone())).await.expect("start");

    let format = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}}\n{{end}}";
    let mounts = docker(&["inspect", "--format", format, &target.id]).await.expect("inspect");
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
    let image = format!("{}:cmd", stage.project());
    let own = format!("FROM {}\nCMD [\"nonsense\"]\n", run.image);
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("Dockerfile"), own).expect("write");
    docker(&["build", "-q", "-t", &image, &directory.path().display().to_string()]).await.expect("build");
    let mut print = print(&stage, Kind::Serves, 1);
    print.spec.image.clone_from(&image);
    print.spec.command = Some(vec![]);
    apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let words = docker(&["inspect", "--format", "{{json .Config.Entrypoint}} {{json .Config.Cmd}}", &made.id]).await;
    apply(&stage, Verb::Remove(Target { id: made.id, name: made.name })).await.expect("remove");
    stage.docker().remove_image(&image).await.expect("remove the image");
    assert_eq!(words.expect("inspect"), r#"["/composed","demo-app"] []"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_brings_an_image_and_says_so() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let (image, _serving) = registry::serve(stage.project()).await;
    let scope = Scope { services: Some([].into()), images: [image.clone()].into(), ..Scope::default() };
    let look = || async { engine::look(stage.engine(), &scope).await.expect("observe").images.remove(&image) };
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
    let brought = || async { engine::look(stage.engine(), &scope).await.expect("observe").facts.remove(&image) };
    let brought = || async { brought().await.expect("it is here").brought };
    let known = brought().await;
    let id = known.first().cloned().unwrap_or_default();
    // One that somebody else has made a container of meanwhile is theirs; so it is forgotten.
    let theirs = docker(&["create", &image, "/x"]).await.expect("create");
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

/// Longer than the pauses between the attempts to connect again.
const QUIET: Duration = Duration::from_secs(7);

async fn next(keys: &mut BoxStream<'static, Option<Key>>, what: &str, within: u64) -> Option<Key> {
    let key = tokio::time::timeout(Duration::from_secs(within), keys.next()).await;
    key.unwrap_or_else(|_| panic!("no key {what}")).expect("the watch goes on")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_silent_connection_is_noticed_and_replaced() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let proxy = Proxy::begin("/var/run/docker.sock");
    let engine = Docker::connect(Some(&proxy.host()), stage.project()).await.expect("connect");
    let mut keys = engine.watch();
    for _ in 0..2 {
        assert_eq!(next(&mut keys, "at the beginning", 5).await, None);
    }
    // The engine goes away and comes back.
    proxy.set(Mode::Refuse);
    let down = engine::look(&engine, &Scope::default()).await;
    assert!(matches!(down, Err(engine::EngineError::Unavailable(_))), "{down:?}");
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.set(Mode::Pass);
    // At the loss, so that whoever looks learns of it, and when it is back.
    for _ in 0..2 {
        assert_eq!(next(&mut keys, "after the engine came back", 10).await, None);
    }
    // What is left of that, until the watch is quiet: the next key is of the silence.
    while let Ok(key) = tokio::time::timeout(QUIET, keys.next()).await {
        assert_eq!(key.expect("the watch goes on"), None);
    }
    // No byte comes any more, but nobody hangs up: found by the ping.
    proxy.set(Mode::Stall);
    let silent = tokio::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(16)).await;
    proxy.set(Mode::Pass);
    // What was connected in the silence stays silent: only a new connection brings keys.
    assert_eq!(next(&mut keys, "after the silence", 40).await, None);
    eprintln!("a silent connection was noticed after {:?}", silent.elapsed());
    while let Ok(key) = tokio::time::timeout(QUIET, keys.next()).await {
        assert_eq!(key.expect("the watch goes on"), None);
    }
    let target = started(&stage, Kind::Serves, 1).await;
    loop {
        if next(&mut keys, "of a start", 10).await == Some(Key::Service(web(&stage))) {
            break;
        }
    }
    drop(target);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_dead_process_is_taken_over_and_that_of_another_host_is_not() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let lock = format!("composed-lock-{}", stage.project());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let namespace = std::fs::read_link("/proc/self/ns/pid").expect("a namespace").display().to_string();
    let lay = async |boot: &str, pid: &str, container: &str| {
        docker(&["volume", "rm", "-f", &lock]).await.expect("volume rm");
        let labels = [
            ("holder", "somebody"),
            ("pid", pid),
            ("pid-start", "1"),
            ("boot", boot.trim()),
            ("pid-namespace", &namespace),
            ("hostname", "elsewhere"),
            ("container", container),
        ];
        let labels = labels.iter().filter(|(_, value)| !value.is_empty());
        let labels: Vec<String> = labels.map(|(name, value)| format!("--label=dev.composed.{name}={value}")).collect();
        let mut words = vec!["volume", "create"];
        words.extend(labels.iter().map(String::as_str));
        words.push(&lock);
        docker(&words).await.expect("volume create");
    };
    let no_process = "4194304";
    let gone = "0".repeat(64);

    lay("another", no_process, "").await;
    let held = stage.engine().claim().await.expect("claim");
    let hint = format!("docker volume rm {lock}");
    assert!(matches!(&held, Claim::HeldBy(text) if text.contains(&hint) && text.contains("elsewhere")), "{held:?}");

    lay(&boot, no_process, "").await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held, "its process is gone");
    lay(&boot, "1", "").await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held, "its process number is another's now");
    lay("another", "1", &gone).await;
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held, "its container is gone");
    // Somebody removes the lock of a holder that lives: it is simply taken again.
    docker(&["volume", "rm", &lock]).await.expect("volume rm");
    assert_eq!(stage.engine().claim().await.expect("claim"), Claim::Held);
    stage.engine().release().await.expect("release");
    assert!(docker(&["volume", "inspect", &lock]).await.is_err(), "a released lock is gone");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: cargo test -p composed --test it -- --ignored --nocapture fifty"]
async fn fifty_running_containers_are_observed_quickly() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    for number in 1..=50 {
        // Without its healthcheck, which would run 250 times a second.
        let mut print = print(&stage, Kind::Serves, number);
        print.spec.healthcheck = None;
        apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    }
    for made in replicas(&stage).await {
        apply(&stage, Verb::Start(Target { id: made.id, name: made.name })).await.expect("start");
    }
    let one = Scope { services: Some([].into()), ..Scope::default() };
    for (name, scope) in [("all of 50", Scope::default()), ("none of 50", one)] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..20 {
            let begin = tokio::time::Instant::now();
            engine::look(stage.engine(), &scope).await.expect("observe");
            times.push(begin.elapsed());
        }
        times.sort();
        println!("observe {name}: median {:?}, worst {:?}", times[10], times[19]);
    }
    // Watching, with nothing to see: the cost of waiting.
    let mut keys = stage.engine().watch();
    let (before, begin) = (processor_time(), tokio::time::Instant::now());
    drop(tokio::time::timeout(Duration::from_secs(30), async { while keys.next().await.is_some() {} }).await);
    println!("watching for {:?} took {:?} of processor time", begin.elapsed(), processor_time().saturating_sub(before));
}

/// What this process has used so far. Source: proc(5), `stat`, fields 14 and 15, in hundredths of a second.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("proc");
    let (_, rest) = stat.rsplit_once(')').expect("a command");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Compose: COMPOSE=/path/to/docker-compose cargo test -p composed --test it -- --ignored compose"]
async fn compose_sees_our_replicas() {
    let Some(run) = Run::begin().await else { return };
    let compose = std::env::var("COMPOSE").expect("COMPOSE=/path/to/docker-compose");
    let stage = run.stage(0).await;
    for number in 1..=2 {
        let target = started(&stage, Kind::Serves, number).await;
        until(&stage, &target, "running", |replica| replica.state == State::Running).await;
    }
    let ask = async |words: &[&str]| {
        let mut all = vec!["-p", stage.project()];
        all.extend(words);
        let output = tokio::process::Command::new(&compose).args(&all).output().await.expect("compose");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let list = ask(&["ps", "--format", "{{.Name}} {{.Service}} {{.State}}"]).await;
    let mut lines: Vec<_> = list.lines().map(str::to_owned).collect();
    lines.sort();
    let line = |number: u32| format!("{} web running", web(&stage).container(number));
    assert_eq!(lines, [line(1), line(2)]);
    ask(&["logs", "web"]).await;
    ask(&["exec", "-T", "--index", "2", "web", "/composed", "demo-app", "check"]).await;
    assert!(ask(&["ls", "-a"]).await.contains(stage.project()));
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_one_that_restarts_a_start_is_for_later_and_what_ran_there_is_cut_off() {
    let Some(run) = Run::begin().await else { return };
    let stage = run.stage(0).await;
    let mut host = print(&stage, Kind::Crashes, 1);
    host.spec.restart = Some(crd_schema::RestartPolicy::Always);
    apply(&stage, Verb::Create(Box::new(host))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let host = Target { id: made.id, name: made.name };
    let guest = |number| {
        let mut guest = print(&stage, Kind::Serves, number);
        guest.spec.network_mode = Some("service:web".to_owned());
        guest.spec.expose.clear();
        guest.joins.insert("web".to_owned(), host.clone());
        guest
    };
    let (old, next) = (guest(2), guest(3));
    for one in [&old, &next] {
        apply(&stage, Verb::Create(Box::new(one.clone()))).await.expect("create");
    }
    let target = |name: String, seen: &[composed::model::Replica]| {
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
    assert!(seen.shares[0].since.is_some() && !seen.alone(), "it can be started later: {seen:?}");
    assert!(replica(&stage, &old).await.expect("one that ran").alone());
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
    let Some(HookEnd::Failed(why)) = done.post_start else { panic!("{:?}", done.post_start) };
    assert_eq!(why, "`/composed` exited with code 2");
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
    print.spec.files = vec![
        file("/run/secrets/token", "hunter2\n"),
        ContainerFile { uid: Some(7), gid: Some(8), mode: Some(0o440), ..file("/composed.conf", "a: 1") },
    ];
    let (revision, files) = (print.revision.clone(), print.spec.files.clone());
    apply(&stage, Verb::Create(Box::new(print))).await.expect("create");
    let made = replicas(&stage).await.remove(0);
    let target = Target { id: made.id, name: made.name };
    let forgotten = apply(&stage, Verb::Start(target.clone())).await;
    assert!(rejected(&forgotten), "it does not start without them: {forgotten:?}");
    let context = Context { files: [(revision, files)].into(), ..super::context(&stage) };
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
    let inspected = docker(&["inspect", &target.id]).await.expect("inspect");
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
        print.spec.image.clone_from(&name);
        print.image = Some(image.to_owned());
        Verb::Create(Box::new(print))
    };
    docker(&["tag", &stage.spec(Kind::Serves).image, &name]).await.expect("tag");
    let first = id(name.clone()).await;
    apply(&stage, print(1, &first)).await.expect("create");
    // Of a container that composed has not made: what it has made is refused as an image.
    let base = docker(&["create", &stage.spec(Kind::Serves).image]).await.expect("create");
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
