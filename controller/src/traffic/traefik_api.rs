//! One question to Traefik's API. Its answers are bounded: it is another program, and may be anything at all.

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;

/// Why there is no answer.
pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// An answer.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The connection's task: it ends with the question, whatever became of that.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `127.0.0.1:8080` of `http://127.0.0.1:8080/`.
pub(super) fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Asks for one path; no more than `most` bytes of the answer are read, an error if it has more.
pub(super) async fn get(authority: &str, path: &str, most: usize) -> Result<Answer, AnyError> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let _ends_with_this = Connection(tokio::spawn(connection).abort_handle());
    let request = Request::get(path).header("host", authority).body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, most).collect().await.map_err(|error| format!("{error} ({most} bytes)"))?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}
