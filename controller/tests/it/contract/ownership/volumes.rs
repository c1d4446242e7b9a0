//! An engine that fails at the volume of the key.

use super::*;

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
    assert_eq!(docker.claim().await.expect("claim"), LeaseState::Held);
    let first = key();
    with(&|volumes| {
        volumes.labels.clear();
        volumes.fails = Some("composed-key-i".to_owned());
    });
    let failed = docker.claim().await;
    assert!(failed.is_err(), "{failed:?}");
    with(&|volumes| volumes.fails = None);
    assert_eq!(docker.claim().await.expect("claim"), LeaseState::Held);
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
    assert_eq!(docker.claim().await.expect("claim"), LeaseState::Held);
    let asked = || volumes.lock().expect("no panic").asked;
    let before = asked();
    assert_eq!(docker.claim().await.expect("claim"), LeaseState::Held);
    assert_eq!(asked(), before, "one call while it is held");
    {
        let mut volumes = volumes.lock().expect("no panic");
        let lock = volumes.labels.get_mut("composed-lock-i").expect("a lock");
        lock["dev.composed.holder"] = json!("another");
        // No process has this number.
        lock["dev.composed.pid"] = json!("4194305");
        volumes.labels.get_mut("composed-key-i").expect("a key")["dev.composed.key"] = json!("1".repeat(64));
    }
    assert_eq!(docker.claim().await.expect("claim"), LeaseState::Held, "the other one is dead");
    assert!(asked() > before, "the key of the other one is known");
    engine.abort();
}
