//! HTTP/1 on a listener. Nothing else is spoken: no client of these listeners needs HTTP/2, whose streams would need limits
//! of their own.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

use super::accept::{Acceptor, accept};
use super::connections::Connections;
use super::hosts::Hosts;
use super::slot::{self, Slot};
use super::stream::MonitoredStream;
use super::warnings::RateLimitedLog;

/// The largest request head in bytes: as many connections as there may be, all with such a head, fit into memory.
const MAX_HEAD: usize = 64 << 10;
/// Refused hosts are said at most so often.
static REFUSED: RateLimitedLog = RateLimitedLog::new(Duration::from_mins(1));

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// How HTTP is spoken on a listener.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The largest request head in bytes.
    pub max_head: usize,
    /// Whether a connection may carry several requests.
    pub keep_alive: bool,
    /// By which names the listener may be asked; `None`: by any.
    pub hosts: Option<Arc<Hosts>>,
}

impl HttpOptions {
    /// On a unix socket: names are of no meaning there.
    pub fn local() -> Self {
        Self { max_head: MAX_HEAD, keep_alive: true, hosts: None }
    }

    /// On TCP, asked by these names only.
    pub fn named(hosts: Hosts) -> Self {
        Self { hosts: Some(Arc::new(hosts)), ..Self::local() }
    }
}

/// Serves HTTP/1 for ever: `make` gives each connection its service. Every request carries its connection's slot as an
/// extension, an `Arc<Slot>`.
pub async fn serve_http<D, M, S, B>(door: D, connections: Arc<Connections>, http: HttpOptions, make: M) -> Infallible
where
    D: Acceptor,
    M: Fn(&Arc<Slot>) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + Sync + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<AnyError>,
{
    let name = connections.name;
    let serve = move |stream: MonitoredStream<D::Stream>, slot: Arc<Slot>| {
        let service = make(&slot);
        let http = http.clone();
        async move {
            let answer = service_fn(|mut request: Request<Incoming>| {
                let begun = slot.begin();
                let allowed = http.hosts.as_ref().map_or(Ok(()), |hosts| hosts.check(&request));
                let answer = match allowed {
                    Ok(()) => {
                        request.extensions_mut().insert(Arc::clone(&slot));
                        Ok(service.call(request))
                    }
                    Err(why) => Err(why),
                };
                async move {
                    let response = match answer {
                        Ok(answer) => answer.await?.map(|body| body.map_err(Into::into).boxed_unsync()),
                        Err(why) => refusal(name, why),
                    };
                    Ok::<_, Infallible>(response.map(|inner| Answer { inner, _begun: begun }))
                }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.keep_alive(http.keep_alive).max_buf_size(http.max_head);
            if let Err(error) = builder.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(listener = name, %error, "a connection has ended");
            }
        }
    };
    accept(door, connections, serve).await
}

fn refusal(listener: &str, why: String) -> Response<UnsyncBoxBody<Bytes, AnyError>> {
    if let Some(times) = REFUSED.count() {
        tracing::warn!(listener, times, "{}", why.trim_end());
    }
    let body = Full::new(Bytes::from(why)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The body of an answer; the request ends with it.
struct Answer {
    inner: UnsyncBoxBody<Bytes, AnyError>,
    _begun: slot::ActiveRequest,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = AnyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, AnyError>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
