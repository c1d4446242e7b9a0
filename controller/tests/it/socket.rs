//! The status socket: nobody takes another's, and nothing but a leftover socket is removed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use composed_api::{client, serve_unix};
use composed_status::store::StatusStore;
use tokio::task::JoinHandle;

fn serve(path: &Path, engine: &str) -> JoinHandle<std::io::Result<()>> {
    let statuses = Arc::new(StatusStore::default());
    statuses.set_health(|health| engine.clone_into(&mut health.engine));
    let path = path.to_owned();
    tokio::spawn(async move { serve_unix(statuses, &path).await })
}

/// Who answers, within 10 s.
async fn answers(path: &Path) -> String {
    for _ in 0..1000 {
        if let Ok((_, body)) = client::get(path, "/v1/services").await {
            let overview: composed_api::Overview = serde_json::from_slice(&body).unwrap();
            return overview.health.engine;
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // The pace of looking.
    }
    panic!("nobody answers");
}

async fn end(server: JoinHandle<std::io::Result<()>>) {
    server.abort();
    assert!(server.await.is_err());
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/s.sock");
    (dir, path)
}

#[tokio::test]
async fn the_second_waits_until_the_first_has_gone() {
    let (_dir, path) = place();
    let first = serve(&path, "first");
    assert_eq!(answers(&path).await, "first");
    let second = serve(&path, "second");
    tokio::time::sleep(Duration::from_millis(300)).await; // It has its chance to take the place.
    assert_eq!(answers(&path).await, "first");
    let third = serve(&path, "third");
    tokio::time::sleep(Duration::from_millis(100)).await; // It waits by then.
    end(third).await;
    assert_eq!(answers(&path).await, "first", "one that waited and left took nothing with it");
    end(first).await;
    assert!(!path.exists(), "it takes its own away");
    assert_eq!(answers(&path).await, "second");
    end(second).await;
}

#[tokio::test]
async fn a_leftover_is_replaced_and_only_the_own_one_is_removed() {
    let (_dir, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = serve(&path, "here");
    assert_eq!(answers(&path).await, "here");
    // Somebody moves another one into its place.
    let other = path.with_extension("other");
    let listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
    std::fs::rename(&other, &path).unwrap();
    end(server).await;
    assert!(path.exists());
    drop(listener);
}

#[tokio::test]
async fn what_is_no_socket_stays() {
    let (_dir, path) = place();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let error = serve(&path, "never").await.unwrap().unwrap_err();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}
