//! Slow and idle clients.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_blocks_nobody_and_is_cut_off() {
    let Some(stand) = Stand::new().await else { return };
    let own = Some(stand.name.clone());
    let a = stand.container("a", own.as_deref(), true).await;
    stand.ready();
    let mut slow = stand.events("").await;
    let mut quick = stand.events("").await;
    let began = Instant::now();
    let rounds = 1500;
    for _ in 0..rounds {
        stand.shows(&[&a]);
        while quick.next(&[&a]).await.0 != "start" {}
        stand.shows(&[]);
        while quick.next(&[&a]).await.0 != "die" {}
    }
    let took = began.elapsed();
    eprintln!("{} events, one after another, in {took:?} beside one who does not read", rounds * 3);
    assert!(took < Duration::from_mins(1), "{took:?}");
    let mut lines = 0;
    while let Some(line) = slow.line().await {
        serde_json::from_str::<Value>(&line).expect("each line is whole");
        lines += 1;
    }
    assert!(lines < rounds * 3, "its stream ends before it has caught up: {lines}");
}

/// A figure of `/proc/PID/status`, in kB.
fn kilobytes(pid: u32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap()
}

/// The processor time that a process has taken, in hundredths of a second.
fn ticks(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_clients_cost_next_to_nothing() {
    const CLIENTS: u64 = 2000;
    let name = format!("idle{}", std::process::id());
    if engine_or_skip(&name).await.is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("desired")).unwrap();
    let at = |name: &str| dir.path().join(name);
    let mut controller = std::process::Command::new(env!("CARGO_BIN_EXE_composed"))
        .args(["--instance", &name, "--state-dir"])
        .arg(at("state"))
        .arg("--socket")
        .arg(at("s.sock"))
        .arg("run")
        .arg(at("desired"))
        .arg("--view")
        .arg(at("v.sock"))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let pid = controller.id();
    let figures = idle(&at("v.sock"), pid, CLIENTS).await;
    controller.kill().unwrap();
    controller.wait().unwrap();
    for kept in ["lock", "key"] {
        drop(docker(&["volume", "rm", &format!("composed-{kept}-{name}")]).await);
    }
    let (memory, ticks, took) = figures;
    eprintln!("{CLIENTS} idle event streams: {memory} kB more, {ticks}0 ms of processor time in {took:?}");
    assert!(memory / CLIENTS < 48, "{memory} kB for {CLIENTS} clients");
    assert!(ticks < 150, "{ticks}0 ms in {took:?}");
}

async fn idle(socket: &Path, pid: u32, clients: u64) -> (u64, u64, Duration) {
    let mut tries = 0;
    while client::get(socket, "/containers/json").await.is_err() {
        tries += 1;
        assert!(tries < 200, "the view answers");
        tokio::time::sleep(Duration::from_millis(50)).await; // The pace of looking.
    }
    let before = kilobytes(pid, "VmRSS:");
    let mut streams = Vec::new();
    for _ in 0..clients {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(b"GET /v1.41/events HTTP/1.1\r\nHost: d\r\nUser-Agent: idle\r\n\r\n").await.unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let (busy, began) = (ticks(pid), Instant::now());
    tokio::time::sleep(Duration::from_secs(5)).await; // So long it is measured.
    let figures = (kilobytes(pid, "VmRSS:").saturating_sub(before), ticks(pid) - busy, began.elapsed());
    // All of them are still heard.
    assert!(client::get(socket, "/_ping").await.is_ok());
    figures
}
