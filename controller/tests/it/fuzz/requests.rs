//! Requests of strangers: to the webhooks, and to the endpoint view before an engine that is no better.

use std::sync::Arc;
use std::time::Duration;

use composed_api::webhook::{Provider, Webhook, serve_on};
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use composed_traffic::view::{View, ViewOptions};
use fastrand::Rng;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;

use super::engine;
use super::mutate::worse;

const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 1\r\nContent-Length: 2\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Expect: 100-continue\r\n",
    "Host: a\r\nHost: b\r\n",
    "Connection: upgrade\r\nUpgrade: h2c\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET /../../etc/passwd HTTP/1.1\r\n",
    "?filters=%7B%22label%22%3A%5B%22a%22%5D%7D",
    "?filters=[[[[[[[[[[[[[[[[[[[[",
    "&since=99999999999999999999999",
    "%00%ff%2e%2e%2f",
    "X-Hub-Signature-256: sha256=00\r\n",
    "{{{{{{{{",
];

const DELIVERIES: [&str; 3] = [
    "POST /shop HTTP/1.1\r\nHost: a\r\nX-Hub-Signature-256: sha256=0011\r\nX-GitHub-Delivery: 1\r\nContent-Length: 2\r\n\r\n{}",
    "POST /shop HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
];

const READS: [&str; 6] = [
    "GET /v1.41/containers/json?all=1&filters=%7B%22label%22%3A%7B%22traefik.enable%3Dtrue%22%3Atrue%7D%7D HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /v1.24/containers/aaaaaaaaaaaaaaaa/json?size=1 HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /networks HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /version HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /_ping HTTP/1.1\r\nHost: d\r\n\r\nGET /info HTTP/1.1\r\nHost: d\r\n\r\n",
    "GET /v1.41/events?since=1&filters=%7B%22type%22%3A%5B%22container%22%5D%7D HTTP/1.1\r\nHost: d\r\n\r\n",
];

/// Sends a text and reads what comes, for a moment: an event stream has no end.
async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, text: &[u8]) {
    let (mut answer, mut read) = (vec![0; 64 << 10], 0);
    let talk = async {
        stream.write_all(text).await?;
        stream.shutdown().await?;
        while let Ok(more @ 1..) = stream.read(&mut answer).await {
            read += more;
        }
        Ok::<_, std::io::Error>(())
    };
    drop(tokio::time::timeout(Duration::from_millis(300), talk).await);
}

fn text(rng: &mut Rng, good: &[&str]) -> Vec<u8> {
    let text = good[rng.usize(..good.len())].as_bytes();
    if rng.u8(..8) == 0 { text.to_vec() } else { worse(rng, text, WORDS) }
}

/// Deliveries of a forge that knows no secret.
pub(super) async fn webhooks(mut rng: Rng) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a socket");
    let address = listener.local_addr().expect("an address");
    let nudge = Arc::new(Notify::new());
    let provider = [Provider::Github, Provider::Gitlab, Provider::Gitea, Provider::Forgejo][rng.usize(..4)];
    let hook = Webhook::new("shop", provider, "a secret of the shop", Arc::clone(&nudge));
    let server = tokio::spawn(serve_on(listener, Arc::new(vec![hook])));
    let texts: Vec<_> = (0..8).map(|_| text(&mut rng, &DELIVERIES)).collect();
    let each = texts.iter().map(|text| async move {
        if let Ok(stream) = TcpStream::connect(address).await {
            talk(stream, text).await;
        }
    });
    futures_util::future::join_all(each).await;
    assert!(!server.is_finished(), "the listener goes on");
    let nudged = tokio::time::timeout(Duration::from_millis(1), nudge.notified()).await;
    assert!(nudged.is_err(), "nothing was signed");
    server.abort();
}

/// Reads of a proxy, in front of an engine whose answers are wrong.
pub(super) async fn view(mut rng: Rng) {
    let engine = engine::Wrong::begin(&mut rng);
    let docker = Docker::connect(Some(&engine.host), "fuzz").await.expect("the version is right");
    let options = ViewOptions { labels: Vec::new(), throttle: Duration::from_secs(2), traefik: None };
    let statuses = Arc::new(StatusStore::default());
    // Before the first look all requests wait for it.
    statuses.set_health(|health| health.ready = true);
    let view = View::new(Arc::new(docker), statuses, Clock::system(), options);
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("view.sock");
    let path = socket.clone();
    let server = tokio::spawn(async move { view.serve(&path).await });
    let up = async {
        while !socket.exists() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), up).await.expect("it is served");
    let texts: Vec<_> = (0..8).map(|_| text(&mut rng, &READS)).collect();
    let each = texts.iter().map(|text| async {
        if let Ok(stream) = UnixStream::connect(&socket).await {
            talk(stream, text).await;
        }
    });
    futures_util::future::join_all(each).await;
    assert!(!server.is_finished(), "the view goes on");
    server.abort();
}
