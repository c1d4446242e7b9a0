//! STATUS GOES OUT: what the status store shows, read-only, as JSON and Prometheus text. The only user of axum.

pub mod client;
mod metrics;

pub mod webhook;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use composed_core::model::{RolloutOptions, ServiceName};
use composed_platform::listen::{Acceptor, Connections, Hosts, HttpOptions, Listener, Peer, Slot, serve_http};
use composed_status::commands::{Pause, RollOut, Undo};
use composed_status::store::{ControllerHealth, StatusStore};
use crd_schema::status::ServiceStatus;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A reader that asks for news is answered after so long at the latest.
const LONG_POLL: Duration = Duration::from_secs(30);

/// Everything on the status store at one moment.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Overview {
    /// Changes with everything on the status store: `GET /v1/services?after=VERSION` answers when it has changed.
    pub version: u64,
    /// The controller itself.
    pub health: ControllerHealth,
    /// The services.
    pub services: Vec<Arc<ServiceStatus>>,
}

/// Serves the status store on a unix socket that only its owner and group may use, and takes the socket away when it is dropped.
/// Waits while somebody else serves there; a leftover socket is replaced.
pub async fn serve_unix(statuses: Arc<StatusStore>, path: &Path) -> std::io::Result<()> {
    let (listener, _own) = composed_platform::listen::socket::bind(path, "--socket").await?;
    // Who may use the socket may use the controller; a TCP address only shows.
    let orders = Router::new()
        .route("/v1/services/{project}/{name}/undo", post(undo))
        .route("/v1/services/{project}/{name}/pause", post(async |state, service| pause(state, service, true).await))
        .route("/v1/services/{project}/{name}/resume", post(async |state, service| pause(state, service, false).await))
        .route("/v1/services/{project}/{name}/rollout", post(roll_out))
        .with_state(Arc::clone(&statuses));
    let connections = Connections::new("the API socket", Listener::Socket.limits());
    match serve(listener, connections, HttpOptions::local(), router(statuses).merge(orders)).await {}
}

/// Serves the status store on a loopback address, to those who ask for one of `hosts`: there is no authentication, so no other
/// address is taken, and no page in a browser may read it under a name of its own.
///
/// # Errors
/// The address is not a loopback address, or cannot be listened on.
pub async fn serve_tcp(statuses: Arc<StatusStore>, address: SocketAddr, hosts: Hosts) -> std::io::Result<()> {
    if !address.ip().is_loopback() {
        let message = format!("{address} is not a loopback address, and the status has no authentication");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
    }
    serve_tcp_on(TcpListener::bind(address).await?, statuses, hosts).await
}

/// Serves the status store to those who connect.
///
/// # Errors
/// None: it serves until it is dropped.
pub async fn serve_tcp_on(listener: TcpListener, statuses: Arc<StatusStore>, hosts: Hosts) -> std::io::Result<()> {
    let connections = Connections::new("the status address", Listener::Status.limits());
    match serve(listener, connections, HttpOptions::named(hosts), router(statuses)).await {}
}

/// Serves one JSON text on an address, whatever the path, to those who ask for one of `hosts`; 503 while there is none.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve_json(
    address: SocketAddr,
    hosts: Hosts,
    text: Arc<dyn Fn() -> Option<String> + Send + Sync>,
) -> std::io::Result<()> {
    serve_json_on(TcpListener::bind(address).await?, hosts, text).await
}

/// Serves one JSON text to those who connect.
///
/// # Errors
/// None: it serves until it is dropped.
pub async fn serve_json_on(
    listener: TcpListener,
    hosts: Hosts,
    text: Arc<dyn Fn() -> Option<String> + Send + Sync>,
) -> std::io::Result<()> {
    let answer = async move || match text() {
        Some(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the first look is not done yet\n").into_response(),
    };
    let connections = Connections::new("Traefik's configuration", Listener::Traefik.limits());
    match serve(listener, connections, HttpOptions::named(hosts), Router::new().fallback(get(answer))).await {}
}

async fn serve(
    door: impl Acceptor,
    connections: Arc<Connections>,
    http: HttpOptions,
    routes: Router,
) -> std::convert::Infallible {
    let service = TowerToHyperService::new(routes);
    serve_http(door, connections, http, move |_| service.clone()).await
}

fn router(statuses: Arc<StatusStore>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/v1/services", get(services))
        .route("/v1/services/{project}/{name}", get(service))
        .route("/v1/events", get(async |State(statuses): State<Arc<StatusStore>>| Json(statuses.events())))
        .with_state(statuses)
}

/// An order that is not taken for so long is given up.
const ORDER: Duration = Duration::from_secs(10);

async fn undo(
    State(statuses): State<Arc<StatusStore>>,
    axum::extract::Path((project, name)): axum::extract::Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    Extension(slot): Extension<Arc<Slot>>,
) -> (StatusCode, String) {
    let (answer, answered) = oneshot::channel();
    let service = ServiceName::new(project, name);
    let by = match slot.peer {
        Peer::Process { user, .. } => Some(format!("user {user}")),
        Peer::Address(_) | Peer::Unknown => None,
    };
    statuses.commands.submit(Undo { service, to: query.get("to").cloned(), by, answer });
    answer_of(answered).await
}

async fn pause(
    State(statuses): State<Arc<StatusStore>>,
    axum::extract::Path((project, name)): axum::extract::Path<(String, String)>,
    on: bool,
) -> (StatusCode, String) {
    let (answer, answered) = oneshot::channel();
    statuses.commands.submit(Pause { service: ServiceName::new(project, name), on, answer });
    answer_of(answered).await
}

async fn roll_out(
    State(statuses): State<Arc<StatusStore>>,
    axum::extract::Path((project, name)): axum::extract::Path<(String, String)>,
    Query(options): Query<RolloutOptions>,
) -> (StatusCode, String) {
    let (answer, answered) = oneshot::channel();
    statuses.commands.submit(RollOut { service: ServiceName::new(project, name), options, answer });
    answer_of(answered).await
}

async fn answer_of(answered: oneshot::Receiver<Result<String, String>>) -> (StatusCode, String) {
    match tokio::time::timeout(ORDER, answered).await {
        Ok(Ok(Ok(done))) => (StatusCode::OK, done),
        Ok(Ok(Err(why))) => (StatusCode::CONFLICT, why),
        Ok(Err(_)) | Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the controller has not answered: it has not begun yet, or cannot write the command down. It may still carry it out: \
             look at `composed status`".to_owned()),
    }
}

async fn ready(State(statuses): State<Arc<StatusStore>>) -> (StatusCode, String) {
    let health = statuses.health();
    match health.blocked.or(health.state) {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        None if !health.ready => (StatusCode::SERVICE_UNAVAILABLE, "the first look is not done yet\n".to_owned()),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn metrics(State(statuses): State<Arc<StatusStore>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics::encode(&statuses) {
        Ok(text) => ([(header::CONTENT_TYPE, kind)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn services(
    State(statuses): State<Arc<StatusStore>>,
    Query(query): Query<BTreeMap<String, String>>,
    Extension(slot): Extension<Arc<Slot>>,
    headers: HeaderMap,
) -> Json<Overview> {
    let mut version = statuses.version();
    let note = || {
        if headers.get(header::USER_AGENT).is_none_or(|agent| agent != client::AGENT) {
            statuses.note_reader();
        }
    };
    note();
    if let Some(after) = query.get("after").and_then(|text| text.parse::<u64>().ok()) {
        let _lasting = slot.last();
        // Time out or news: both are answered with what is there.
        drop(tokio::time::timeout(LONG_POLL, version.wait_for(|now| *now != after)).await);
    }
    note();
    let now = *version.borrow_and_update();
    Json(Overview { version: now, health: statuses.health(), services: statuses.all() })
}

async fn service(
    State(statuses): State<Arc<StatusStore>>,
    axum::extract::Path((project, name)): axum::extract::Path<(String, String)>,
) -> Response {
    match statuses.status(&ServiceName::new(project, name)) {
        Some(status) => Json(status).into_response(),
        None => (StatusCode::NOT_FOUND, "no such service\n").into_response(),
    }
}
