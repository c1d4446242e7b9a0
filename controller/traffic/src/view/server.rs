//! The socket: a client is known by its connection, and an idle one costs nothing.

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use composed_platform::listen::socket;
use composed_platform::listen::{Connections, HttpOptions, Listener, LongLivedResponse, Peer, Slot, serve_http};
use futures_util::{StreamExt as _, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use super::View;
use super::ask::{ANSWERED, ViewEndpoint, ViewRequest};
use super::clients::{Caller, Name};
use super::event::Event;
use super::feed::Subscription;
use super::filter::Filter;
use super::reads::refused;

/// A request is held so long until the controller has looked and the engine answers.
const READY_TIMEOUT: Duration = Duration::from_secs(10);

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl View {
    /// Serves it on a unix socket that only its owner and group may use, and takes the socket away when it is dropped.
    /// Waits while somebody else serves there; a leftover socket is replaced.
    pub async fn serve(self: Arc<Self>, path: &Path) -> std::io::Result<()> {
        tokio::select! {
            () = self.feed.run() => Ok(()),
            () = self.ask_traefik() => Ok(()),
            ended = serve(Arc::clone(&self), path) => ended,
        }
    }
}

/// Serves the view on a unix socket that only its owner and group may use.
async fn serve(view: Arc<View>, path: &Path) -> std::io::Result<()> {
    let (listener, _own) = socket::bind(path, "--view").await?;
    let connections = Connections::new("the view", Listener::View.limits());
    let make = move |slot: &Arc<Slot>| {
        let known = Arc::new(KnownCaller { view: Arc::clone(&view), caller: OnceLock::new() });
        let slot = Arc::clone(slot);
        service_fn(move |request: Request<Incoming>| {
            let (view, slot) = (Arc::clone(&known.view), Arc::clone(&slot));
            let caller = known.caller(&slot, &request);
            // The connection lasts as long as its requests do.
            let known = Arc::clone(&known);
            async move {
                let answer = answer(view, caller, &slot, request).await;
                drop(known);
                Ok::<_, Infallible>(answer)
            }
        })
    };
    match serve_http(listener, connections, HttpOptions::local(), make).await {}
}

/// The client at the other end of a connection, from its first request to the connection's end.
struct KnownCaller {
    view: Arc<View>,
    caller: OnceLock<Caller>,
}

impl KnownCaller {
    fn caller(&self, slot: &Slot, request: &Request<Incoming>) -> Caller {
        let begun = self.caller.get_or_init(|| {
            let agent = request.headers().get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
            let name = match slot.peer {
                Peer::Process { pid, .. } => Name::Process(pid, agent.to_owned()),
                Peer::Address(_) | Peer::Unknown => Name::Agent(agent.to_owned()),
            };
            let caller = Caller { name, connection: slot.number };
            self.view.clients().connected(&caller);
            caller
        });
        begun.clone()
    }
}

impl Drop for KnownCaller {
    fn drop(&mut self) {
        if let Some(caller) = self.caller.get() {
            self.view.clients().disconnected(caller);
        }
    }
}

async fn answer(view: Arc<View>, caller: Caller, slot: &Arc<Slot>, request: Request<Incoming>) -> Response<Body> {
    let (method, uri) = (request.method(), request.uri());
    let ask = ViewRequest::parse(uri.path(), uri.query().unwrap_or_default());
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let Some(ask) = ask.filter(|_| reads) else {
        return error(
            403,
            &format!(
                "composed: this is a read-only view for proxies, which answers {ANSWERED}; not {method} {}",
                uri.path()
            ),
        );
    };
    let shows = matches!(
        ask.what,
        ViewEndpoint::List
            | ViewEndpoint::Inspect(_)
            | ViewEndpoint::Events
            | ViewEndpoint::Networks
            | ViewEndpoint::Network(_)
    );
    if shows && tokio::time::timeout(READY_TIMEOUT, view.is_ready()).await.is_err() {
        return error(503, "composed: the controller has not looked at its services yet");
    }
    match ask.what {
        ViewEndpoint::Ping => ping(&view, &ask).await,
        ViewEndpoint::Events if *method == Method::GET => events(view, caller, slot, &ask).await,
        ViewEndpoint::List => {
            let version = *view.statuses.version().borrow();
            view.clients().lists(&caller, version);
            let reply = view.read(&ask).await;
            if reply.is_ok() {
                view.clients().has_read(&caller);
                view.wake();
            }
            whole(reply)
        }
        ViewEndpoint::Inspect(_) => {
            let reply = view.read(&ask).await;
            view.clients().has_read(&caller);
            whole(reply)
        }
        _ => whole(view.read(&ask).await),
    }
}

/// What clients agree on a version by.
async fn ping(view: &View, ask: &ViewRequest) -> Response<Body> {
    let version = ViewRequest { what: ViewEndpoint::Version, ..ask.clone() };
    match view.read(&version).await {
        Err((status, words)) => error(status, &words),
        Ok(version) => {
            let text = |name: &str| version.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let mut response = response(StatusCode::OK, "text/plain; charset=utf-8", full("OK"));
            for (name, value) in [
                ("api-version", text("ApiVersion")),
                ("ostype", text("Os")),
                ("docker-experimental", "false".to_owned()),
                ("swarm", "inactive".to_owned()),
                ("server", format!("Docker/{} (composed)", text("Version"))),
            ] {
                if let Ok(value) = value.parse() {
                    response.headers_mut().insert(name, value);
                }
            }
            response
        }
    }
}

/// An event stream. Whoever has its head hears of everything that happens from then on.
async fn events(view: Arc<View>, caller: Caller, slot: &Arc<Slot>, ask: &ViewRequest) -> Response<Body> {
    let filter = match Filter::parse(ask.query.get("filters").map(String::as_str)) {
        Ok(filter) => filter,
        Err(why) => return error(400, &why),
    };
    let moment = |name: &str| ask.query.get(name).filter(|text| !text.is_empty());
    let until = match moment("until").map(|text| nanos(text).ok_or(text)).transpose() {
        Ok(until) => until,
        Err(text) => return error(400, &format!("invalid until: {text}")),
    };
    let since = match moment("since").map(|text| nanos(text).map(|from| (text, from)).ok_or(text)).transpose() {
        Ok(since) => since,
        Err(text) => return error(400, &format!("invalid since: {text}")),
    };
    let ear = view.feed.listen(filter.asks_for_execs());
    let listening = Listening::begin(Arc::clone(&view), caller, slot);
    let now = view.feed.now();
    let before = match since {
        Some((text, from)) => match view.feed.past(text, from, until.unwrap_or(now).min(now)).await {
            Ok(events) => events,
            Err(refusal) => {
                let (status, words) = refused(refusal);
                return error(status, &words);
            }
        },
        // Some list before they listen: what was told between is told now.
        None => listening.missed.map_or_else(Vec::new, |version| view.feed.since_version(version)),
    };
    let end = until.map(|until| Duration::from_nanos(u64::try_from(until - now).unwrap_or(0)));
    let before: Vec<_> = before.into_iter().filter(|event| filter.wants(event)).collect();
    let told =
        stream::iter(before.into_iter().map(|event| event.line.clone())).chain(live(ear, filter, listening, end));
    let body = StreamBody::new(told.map(|line| Ok(Frame::data(line))));
    response(StatusCode::OK, "application/json", body.boxed_unsync())
}

/// What happens from now on; ends with the engine's own events, for one who is too slow, and at `end`.
fn live(
    ear: Subscription,
    filter: Filter,
    listening: Listening,
    end: Option<Duration>,
) -> impl futures_util::Stream<Item = Bytes> + Send {
    let end = end.map(|end| tokio::time::Instant::now() + end);
    stream::unfold((ear, filter, listening), move |(mut ear, filter, listening)| async move {
        let line = loop {
            if !*ear.up.borrow() {
                return None;
            }
            let event = tokio::select! {
                event = ear.told.recv() => event,
                event = exec(&mut ear.execs) => event,
                _ = ear.up.changed() => return None,
                () = over(end) => return None,
            };
            match event {
                Ok(event) if filter.wants(&event) => break event.line.clone(),
                Ok(_) => {}
                Err(_) => {
                    tracing::info!(client = %listening.caller.connection, "view: a client reads too slowly; its events end");
                    return None;
                }
            }
        };
        Some((line, (ear, filter, listening)))
    })
}

async fn exec(execs: &mut Option<broadcast::Receiver<Arc<Event>>>) -> Result<Arc<Event>, broadcast::error::RecvError> {
    match execs {
        Some(execs) => execs.recv().await,
        None => std::future::pending().await,
    }
}

async fn over(end: Option<tokio::time::Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// An event stream that is open until this is dropped.
struct Listening {
    view: Arc<View>,
    caller: Caller,
    /// The status store's version of the client's last list, if there was one.
    missed: Option<u64>,
    _lasting: LongLivedResponse,
}

impl Listening {
    fn begin(view: Arc<View>, caller: Caller, slot: &Arc<Slot>) -> Self {
        let missed = view.clients().listens(&caller);
        Self { view, caller, missed, _lasting: slot.last() }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.view.clients().hung_up(&self.caller);
    }
}

/// A Unix time as Docker takes it: `1700000000.000000005`, in nanoseconds.
fn nanos(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn whole(reply: Result<Value, (u16, String)>) -> Response<Body> {
    match reply {
        Ok(value) => response(StatusCode::OK, "application/json", full(format!("{value}\n"))),
        Err((status, words)) => error(status, &words),
    }
}

/// An error in Docker's own shape.
fn error(status: u16, message: &str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response(status, "application/json", full(format!("{}\n", json!({"message": message}))))
}

fn response(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, hyper::header::HeaderValue::from_static("no-store"));
    response
}

fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::nanos;

    #[test]
    fn a_moment_is_read_as_docker_writes_it() {
        assert_eq!(nanos("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(nanos("1700000000.000000005"), Some(1_700_000_000_000_000_005));
        assert_eq!(nanos("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(nanos("yesterday"), None);
    }
}
