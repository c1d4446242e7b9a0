//! Answers that last: a stream of pieces, a websocket, gRPC's health service (also watched).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{self, StreamExt as _};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::state::App;

/// The routes of all of them.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/stream", get(pieces))
        .route("/ws", get(websocket))
        .route("/grpc.health.v1.Health/Check", post(check))
        .route("/grpc.health.v1.Health/Watch", post(watch))
}

/// How long, and how often.
#[derive(Debug, Deserialize)]
struct Pace {
    /// Between two pieces.
    #[serde(default = "second")]
    ms: u64,
    /// How many.
    #[serde(default = "ten")]
    n: u64,
}

fn second() -> u64 {
    1000
}

fn ten() -> u64 {
    10
}

impl Pace {
    fn pause(&self) -> Duration {
        Duration::from_millis(self.ms)
    }
}

/// `/stream?ms=M&n=N`: N lines, one every M ms.
async fn pieces(State(app): State<Arc<App>>, Query(pace): Query<Pace>) -> Response {
    let version = app.version.clone();
    let (pause, lines) = (pace.pause(), stream::iter(1..=pace.n));
    let lines = lines.then(move |nth| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(format!("piece {nth}\n"))
    });
    ([("X-Version", version)], Body::from_stream(lines)).into_response()
}

/// The sample handshake of RFC 6455, section 1.3: this application serves nobody but tests, which send this key.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A text frame `tick`.
const TICK: &[u8] = b"\x81\x04tick";

/// `/ws?ms=M`: a websocket on which the server says `tick` every M ms, and says again whatever it is told, byte by byte.
async fn websocket(Query(pace): Query<Pace>, mut request: Request) -> Response {
    let wanted = request.headers().get(header::UPGRADE).is_some_and(|value| value.as_bytes() == b"websocket");
    if !wanted {
        return StatusCode::UPGRADE_REQUIRED.into_response();
    }
    let upgrade = hyper::upgrade::on(&mut request);
    drop(tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut peer = TokioIo::new(upgraded);
        let mut heard = [0; 256];
        let mut ticks = tokio::time::interval(pace.pause());
        loop {
            let said = tokio::select! {
                _ = ticks.tick() => TICK,
                read = peer.read(&mut heard) => match read {
                    Ok(0) | Err(_) => return,
                    Ok(length) => heard.get(..length).unwrap_or_default(),
                },
            };
            if peer.write_all(said).await.is_err() {
                return;
            }
        }
    }));
    let headers = [("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", ACCEPT)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// `grpc.health.v1.HealthCheckResponse` that says SERVING, as a message of gRPC.
const SERVING: &[u8] = &[0, 0, 0, 0, 2, 8, 1];

/// `grpc.health.v1.Health/Check`: SERVING, after the application's latency.
async fn check(State(app): State<Arc<App>>) -> Response {
    tokio::time::sleep(app.latency).await;
    grpc(&app.version, 1, Duration::ZERO)
}

/// `grpc.health.v1.Health/Watch`: SERVING at once and then every second, ten times, so that its end can be told from a cut.
async fn watch(State(app): State<Arc<App>>) -> Response {
    grpc(&app.version, ten(), Duration::from_secs(1))
}

fn grpc(version: &str, messages: u64, pause: Duration) -> Response {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", header::HeaderValue::from_static("0"));
    let messages = stream::iter(1..=messages).then(move |nth| async move {
        tokio::time::sleep(if nth > 1 { pause } else { Duration::ZERO }).await;
        Frame::data(Bytes::from_static(SERVING))
    });
    let frames = messages.chain(stream::iter([Frame::trailers(trailers)])).map(Ok::<_, Infallible>);
    let headers = [("content-type", "application/grpc"), ("x-version", version)];
    (headers, Body::new(StreamBody::new(frames))).into_response()
}
