//! An engine that does not answer for one container: the others are known, and the look names the one. By a fake engine, in
//! real time: what is tested is that the look does not wait for ever.

use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{self, EngineError, ObserveRequest};
use composed_core::model::ServiceName;
use composed_docker::Docker;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use crate::fuzz::engine::good;

async fn answer(mut stream: UnixStream, hangs: Arc<Vec<&'static str>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or_default() == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let path = path.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(path);
    if hangs.iter().any(|id| path.contains(id)) {
        return std::future::pending().await;
    }
    let body = good(path);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    drop(stream.write_all(head.as_bytes()).await);
    drop(stream.write_all(body.as_bytes()).await);
}

/// An engine with shop/web, ours, and shop/db, Compose's, of which some containers do not answer.
async fn look(hangs: Vec<&'static str>) -> (Result<composed_core::model::Snapshot, EngineError>, Duration) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let hangs = Arc::new(hangs);
    let engine = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(tokio::spawn(answer(stream, Arc::clone(&hangs))));
        }
    });
    let docker = Docker::connect(Some(&format!("unix://{}", path.display())), "fuzz").await.unwrap();
    let scope = ObserveRequest { services: None, compose: Arc::new([db()].into()), ..ObserveRequest::default() };
    let begin = tokio::time::Instant::now();
    let seen =
        tokio::time::timeout(Duration::from_secs(20), engine::observe_once(&docker, &scope)).await.expect("it ends");
    engine.abort();
    (seen, begin.elapsed())
}

fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

fn db() -> ServiceName {
    ServiceName::new("shop", "db")
}

#[tokio::test]
async fn one_container_that_does_not_answer_says_nothing_of_the_others() {
    let (seen, _) = look(Vec::new()).await;
    let seen = seen.unwrap();
    assert!(seen.unknown.is_empty() && seen.replicas.len() == 2, "{seen:?}");

    let (seen, took) = look(vec!["aaaaaaaaaaaaaaaa"]).await;
    let seen = seen.unwrap();
    assert!(seen.unknown[&web()].contains("shop-web-1 (aaaaaaaaaaaa)"), "{:?}", seen.unknown);
    assert!(seen.unknown[&web()].contains("no answer within"), "{:?}", seen.unknown);
    assert_eq!(seen.replicas.keys().collect::<Vec<_>>(), [&db()]);
    assert!(seen.listing.owned.contains(&web()), "it has not gone");
    assert!(took < Duration::from_secs(15), "{took:?}");

    let (seen, _) = look(vec!["aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"]).await;
    assert!(matches!(seen, Err(EngineError::Unavailable(_))), "none answers: {seen:?}");
}
