//! One HTTP/1 request over a stream that is connected, and its bounded answer. All requests of the program go out here, but for
//! the gRPC probe's, which are HTTP/2.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::Builder;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

/// How the heads of a request and of its answer are written and read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// The most bytes of an answer's head that are read; without it hyper's own limit, about 400 KiB.
    pub max: Option<usize>,
    /// Names of headers are sent in `Title-Case`: simple servers may know no other.
    pub title_case: bool,
}

/// How much of the body of an answer is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it; an answer with more bytes is refused.
    UpTo(usize),
    /// Nothing.
    Ignored,
}

/// A whole answer.
#[derive(Debug)]
pub struct HttpResponse {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as far as it was asked for.
    pub body: Bytes,
}

/// Why there is no whole answer.
#[derive(Debug)]
pub enum ExchangeError {
    /// The connection broke, or the answer is not HTTP.
    Http(hyper::Error),
    /// The body is longer than was asked for.
    TooLong(Box<dyn Error + Send + Sync>),
    /// It took longer than this.
    TimedOut(Duration),
}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(error) => error.fmt(f),
            Self::TooLong(error) => error.fmt(f),
            Self::TimedOut(limit) => write!(f, "no answer within {} s", limit.as_secs()),
        }
    }
}

impl Error for ExchangeError {}

/// The task that keeps a connection going; it ends when this is dropped.
#[derive(Debug)]
pub struct Connection(Option<JoinHandle<()>>);

impl Connection {
    /// Leaves the task to itself: it ends with the answer's last byte, or when nobody reads on.
    pub fn detach(mut self) {
        self.0 = None;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Sends `request`, and returns its answer once the head is there. The body comes while the connection is kept.
///
/// # Errors
/// hyper's own: the connection broke, or the answer is not HTTP.
pub async fn send<S, B>(
    stream: S,
    request: Request<B>,
    head: Head,
) -> Result<(Response<Incoming>, Connection), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let mut builder = Builder::new();
    if let Some(max) = head.max {
        builder.max_buf_size(max);
    }
    builder.preserve_header_case(head.title_case).title_case_headers(head.title_case);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    // The output of an exec comes by an upgrade. What goes wrong, the sender hears.
    let connection = Connection(Some(tokio::spawn(async move { drop(connection.with_upgrades().await) })));
    Ok((sender.send_request(request).await?, connection))
}

/// Sends `request`, and reads its answer to the end, within this time.
///
/// # Errors
/// Why there is no whole answer.
pub async fn exchange<S, B>(
    stream: S,
    request: Request<B>,
    head: Head,
    body: Body,
    within: Duration,
) -> Result<HttpResponse, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: hyper::body::Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static,
{
    let whole = async {
        let (answer, _connection) = send(stream, request, head).await.map_err(ExchangeError::Http)?;
        let (head, rest) = answer.into_parts();
        let body = match body {
            Body::Ignored => Bytes::new(),
            Body::UpTo(most) => Limited::new(rest, most).collect().await.map_err(unread)?.to_bytes(),
        };
        Ok(HttpResponse { status: head.status, headers: head.headers, body })
    };
    tokio::time::timeout(within, whole).await.unwrap_or(Err(ExchangeError::TimedOut(within)))
}

fn unread(error: Box<dyn Error + Send + Sync>) -> ExchangeError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => ExchangeError::Http(*error),
        Err(error) => ExchangeError::TooLong(error),
    }
}
