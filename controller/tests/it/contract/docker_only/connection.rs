//! Connections that break, and locks of others.

use super::*;

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
    let down = engine::observe_once(&engine, &ObserveRequest::default()).await;
    assert!(matches!(down, Err(engine::EngineError::Unavailable(_))), "{down:?}");
    tokio::time::sleep(Duration::from_millis(500)).await; // It is away for so long.
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
    tokio::time::sleep(Duration::from_secs(16)).await; // Longer than the ping waits.
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
    assert!(
        matches!(&held, LeaseState::HeldBy(other) if other.text.contains(&hint) && other.text.contains("elsewhere")),
        "{held:?}"
    );

    lay(&boot, no_process, "").await;
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held, "its process is gone");
    lay(&boot, "1", "").await;
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held, "its process number is another's now");
    lay("another", "1", &gone).await;
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held, "its container is gone");
    // Somebody removes the lock of a holder that lives: it is simply taken again.
    docker(&["volume", "rm", &lock]).await.expect("volume rm");
    assert_eq!(stage.engine().claim().await.expect("claim"), LeaseState::Held);
    stage.engine().release().await.expect("release");
    assert!(docker(&["volume", "inspect", &lock]).await.is_err(), "a released lock is gone");
}
