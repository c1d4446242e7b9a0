//! The smallest registry that an engine can pull from: one image of one file.

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// Serves `name:1` on a free port of this host, for as long as the second value lives. Returns the reference.
pub(crate) async fn serve(name: &str) -> (String, tokio::task::JoinSet<()>) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "name", name.as_bytes()).expect("append");
    let layer = tar.into_inner().expect("a tar archive");
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config)},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.len(), "digest": digest(&layer)}],
    });
    let manifest = manifest.to_string().into_bytes();
    let blobs = [layer, config];
    let answer = move |uri: Uri| async move {
        // Slow enough for somebody to see it pulling.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let path = uri.path();
        if path == "/v2/" {
            return StatusCode::OK.into_response();
        }
        if path.contains("/manifests/") {
            return content(&manifest, MANIFEST);
        }
        let blob = blobs.iter().find(|blob| path.ends_with(&digest(blob)));
        blob.map_or(StatusCode::NOT_FOUND.into_response(), |blob| content(blob, "application/octet-stream"))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("an address").port();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.expect("serve") });
    (format!("localhost:{port}/{name}:1"), serving)
}

fn content(bytes: &[u8], kind: &'static str) -> Response {
    let headers = [(CONTENT_TYPE.as_str(), kind.to_owned()), ("Docker-Content-Digest", digest(bytes))];
    (headers, bytes.to_vec()).into_response()
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}
