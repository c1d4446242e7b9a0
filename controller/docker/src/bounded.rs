//! The way to the engine by a socket file or by plain TCP: one connection for each request, and a bound on the sum of its
//! answer. What others write into the engine's answers (labels, commands, names) is not ours to limit, but to refuse.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker, errors::Error};
use composed_platform::http_client::{Head, send};
use hyper::{
    Response, Uri,
    body::Incoming,
    header::{HOST, HeaderValue},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};

/// No plain answer is larger: 10,000 containers are some 20 MB.
pub(super) const MAX_ANSWER: usize = 32 << 20;
/// How the paths end of calls whose answers go on as long as something happens.
const STREAMS: [&str; 5] = ["/events", "/logs", "/attach", "/start", "/images/create"];

/// A client by the socket file at `path`.
pub(super) fn unix(path: &Path, timeout: u64) -> Result<Docker, Error> {
    let path = path.to_owned();
    let connect = move || {
        let path: PathBuf = path.clone();
        async move { UnixStream::connect(path).await }
    };
    client(connect, "localhost", timeout)
}

/// A client by plain TCP to `host:port`.
pub(super) fn tcp(address: &str, timeout: u64) -> Result<Docker, Error> {
    let to = address.to_owned();
    let connect = move || {
        let to = to.clone();
        async move {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        }
    };
    client(connect, address, timeout)
}

fn client<S, F>(
    connect: impl Fn() -> F + Clone + Send + Sync + 'static,
    host: &str,
    timeout: u64,
) -> Result<Docker, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    F: Future<Output = io::Result<S>> + Send + 'static,
{
    let name = HeaderValue::from_str(host).ok();
    let transport = move |request: BollardRequest| {
        let (connect, name) = (connect.clone(), name.clone());
        async move { exchange(connect().await?, request, name).await }
    };
    Docker::connect_with_custom_transport(transport, Some(format!("http://{host}")), timeout, API_DEFAULT_VERSION)
}

async fn exchange<S>(
    stream: S,
    mut request: BollardRequest,
    host: Option<HeaderValue>,
) -> Result<Response<Incoming>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let left = if is_stream(request.uri().path()) { None } else { Some(MAX_ANSWER) };
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    if let Ok(target) = target.parse::<Uri>() {
        *request.uri_mut() = target;
    }
    if let Some(host) = host {
        request.headers_mut().insert(HOST, host);
    }
    let (answer, connection) = send(Bounded { stream, left }, request, Head::default()).await?;
    // bollard reads the body, which may go on for as long as the engine does.
    connection.detach();
    Ok(answer)
}

fn is_stream(path: &str) -> bool {
    STREAMS.iter().any(|end| path.ends_with(end))
}

/// A connection from which no more than so many bytes are read, if that is limited.
struct Bounded<S> {
    stream: S,
    left: Option<usize>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        let (Poll::Ready(Ok(())), Some(left)) = (&read, self.left) else { return read };
        let Some(left) = left.checked_sub(buf.filled().len() - before) else {
            let why = format!("the engine's answer has more than {} MiB", MAX_ANSWER >> 20);
            return Poll::Ready(Err(io::Error::other(why)));
        };
        self.left = Some(left);
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn only_what_goes_on_has_no_bound() {
        for path in
            ["/v1.41/events", "/events", "/v1.41/containers/a/logs", "/v1.41/exec/a/start", "/v1.41/images/create"]
        {
            assert!(is_stream(path), "{path}");
        }
        for path in ["/v1.41/containers/json", "/v1.41/containers/a/json", "/version", "/v1.41/images/a/json"] {
            assert!(!is_stream(path), "{path}");
        }
    }

    /// The engine, or whoever listens in its place, sends for ever.
    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let engine = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.expect("a request");
            assert!(head[..read].starts_with(b"GET /"), "in origin form");
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[").await.expect("written");
            let mut sent = 0;
            let piece = vec![b' '; 1 << 20];
            while stream.write_all(&piece).await.is_ok() {
                sent += piece.len();
                assert!(sent < 4 * MAX_ANSWER, "it is read to no end");
            }
            sent
        });
        let client = unix(&path, 60).expect("a client");
        let answer = client.list_containers(None::<bollard::query_parameters::ListContainersOptions>).await;
        let why = super::super::errors::chain(&answer.expect_err("no answer"));
        assert!(why.contains("more than 32 MiB"), "{why}");
        assert!(engine.await.expect("the engine") >= MAX_ANSWER - (8 << 20));
    }
}
