//! Reads the status of a running controller from its unix socket.

use std::path::Path;
use std::time::Duration;

use composed_platform::http_client::{Body, ExchangeError, Head, exchange};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};

/// No answer is larger than this.
const MAX_ANSWER: usize = 64 << 20;
/// Longer than the longest answer that the API holds back.
const PATIENCE: Duration = Duration::from_secs(45);

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no controller answers on {path}: {why} (is `composed run` running, and with the same --socket?)")]
    Absent {
        /// The socket.
        path: String,
        /// The system's words.
        why: String,
    },
    /// Somebody listens, and does not answer as a controller does.
    #[error("the controller on {path} gave no useful answer: {why}")]
    Broken {
        /// The socket.
        path: String,
        /// What went wrong.
        why: String,
    },
}

/// `GET target` on the socket: the status code and the body.
pub async fn get(socket: &Path, target: &str) -> Result<(StatusCode, Vec<u8>), ClientError> {
    ask(socket, Method::GET, target).await
}

/// `POST target` on the socket, without a body: the status code and the answer's body.
pub async fn post(socket: &Path, target: &str) -> Result<(StatusCode, Vec<u8>), ClientError> {
    ask(socket, Method::POST, target).await
}

async fn ask(socket: &Path, method: Method, target: &str) -> Result<(StatusCode, Vec<u8>), ClientError> {
    let path = socket.display().to_string();
    let stream = tokio::net::UnixStream::connect(socket)
        .await
        .map_err(|error| ClientError::Absent { path: path.clone(), why: error.to_string() })?;
    let broken = |why: String| ClientError::Broken { path, why };
    let request = Request::builder().method(method).uri(target).header("host", "composed");
    let request = request.header("user-agent", AGENT).body(Empty::<Bytes>::new());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Err(broken(error.to_string())),
    };
    match exchange(stream, request, Head::default(), Body::UpTo(MAX_ANSWER), PATIENCE).await {
        Ok(answer) => Ok((answer.status, answer.body.to_vec())),
        Err(ExchangeError::TimedOut(_)) => Err(broken("it took too long".to_owned())),
        Err(error) => Err(broken(error.to_string())),
    }
}

/// What the program's own verbs call themselves: they show people who serves, and send no requests there.
pub(super) const AGENT: &str = "composed";
