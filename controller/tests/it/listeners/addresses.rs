//! Other hosts, and wide addresses.

use super::*;

/// What a browser sends for a page whose own name was made to resolve to this host.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_host_reads_nothing() {
    let program = Program::start(None);
    program.until("it serves", |status| status.available == 1).await;
    for (address, path) in [(program.listen, "/v1/services"), (program.listen, "/metrics"), (program.traefik, "/")] {
        for good in ["localhost", "127.0.0.1", &address.to_string(), "[::1]:80", "Composed.example.org:80", "proxy"] {
            assert!(get(address, path, good).await.starts_with("HTTP/1.1 200"), "{path} {good}");
        }
        for bad in ["evil.example", "evil.example:9797", "localhost.evil.example"] {
            let answer = get(address, path, bad).await;
            assert!(
                answer.starts_with("HTTP/1.1 421") && answer.contains("--allow-host NAME"),
                "{path} {bad}: {answer}"
            );
            assert!(!answer.contains("shop") && !answer.contains("composed_service"), "{answer}");
        }
        let ask = async |request: &str| ask(TcpStream::connect(address).await.unwrap(), request).await;
        let whole = format!("GET http://evil.example{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        assert!(ask(&whole).await.starts_with("HTTP/1.1 421"));
        assert!(ask(&format!("GET {path} HTTP/1.0\r\n\r\n")).await.starts_with("HTTP/1.0 421"));
        // HTTP/2 is not spoken, so no `:authority` is believed.
        let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0";
        let answer = ask(preface).await;
        assert!(!answer.contains("200") && !answer.contains("web"), "{answer:?}");
    }
    // One message for many of them, with what to do.
    let log = program.log();
    assert_eq!(log.lines().filter(|line| line.contains("--allow-host NAME")).count(), 1, "{log}");
    // On the unix socket the program's own verbs call themselves `composed`.
    assert!(client::get(&program.socket(), "/v1/services").await.is_ok());
}

/// What a wide address opens to whom is said at the start, and in the help.
#[tokio::test(flavor = "multi_thread")]
async fn a_wide_address_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("desired")).unwrap();
    let program = Command::new(env!("CARGO_BIN_EXE_composed"))
        .args([
            "run",
            "--engine",
            "simulated",
            "--dns",
            "0.0.0.0:0,127.0.0.1:0",
            "--traefik-http",
            "[::]:0",
            "--socket",
        ])
        .arg(dir.path().join("s.sock"))
        .arg(dir.path().join("desired"))
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
        .spawn();
    let mut program = program.unwrap();
    let began = Instant::now();
    while client::get(&dir.path().join("s.sock"), "/healthz").await.is_err()
        && began.elapsed() < Duration::from_secs(30)
    {
        sleep(Duration::from_millis(20)).await; // The pace of looking.
    }
    let mut log = String::new();
    while !log.contains("composed runs") && began.elapsed() < Duration::from_secs(30) {
        log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        sleep(Duration::from_millis(20)).await; // The pace of looking.
    }
    program.kill().unwrap();
    program.wait().unwrap();
    let warned = |words: &str| log.lines().filter(|line| line.contains("WARN") && line.contains(words)).count();
    assert_eq!(warned("the names of all services and the addresses of their replicas"), 1, "{log}");
    assert_eq!(warned("the whole routing configuration"), 1, "{log}");
    assert_eq!(warned("without authentication"), 2, "{log}");
    let help = Command::new(env!("CARGO_BIN_EXE_composed")).args(["run", "--help"]).output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "can read the names of all services and the addresses of their replicas",
        "can read the whole routing configuration",
        "All that can open the socket can read",
        "--allow-host <NAME>",
    ] {
        assert!(help.contains(words), "{words}");
    }
}
