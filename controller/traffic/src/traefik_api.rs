//! One question to Traefik's API. Its answers are bounded: it is another program, and may be anything at all.

use std::time::Duration;

use composed_platform::http_client::{Body, ExchangeError, Head, HttpResponse, exchange};
use http_body_util::Empty;
use hyper::Request;
use hyper::body::Bytes;
use tokio::net::TcpStream;

/// An answer later than this is none.
pub(super) const TIMEOUT: Duration = Duration::from_secs(2);

/// Why there is no answer.
pub(super) type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// `127.0.0.1:8080` of `http://127.0.0.1:8080/`.
pub(super) fn authority(url: &str) -> String {
    url.trim_start_matches("http://").trim_end_matches('/').to_owned()
}

/// Asks for one path; no more than `most` bytes of the answer are read, an error if it has more.
pub(super) async fn get(authority: &str, path: &str, most: usize) -> Result<HttpResponse, AnyError> {
    let request = Request::get(path).header("host", authority).body(Empty::<Bytes>::new())?;
    let answer = async {
        let stream = TcpStream::connect(authority).await?;
        exchange(stream, request, Head::default(), Body::UpTo(most), TIMEOUT).await.map_err(|error| match error {
            ExchangeError::TooLong(error) => format!("{error} ({most} bytes)").into(),
            error => AnyError::from(error),
        })
    };
    let late = |_| Err(format!("no answer within {} s", TIMEOUT.as_secs()).into());
    tokio::time::timeout(TIMEOUT, answer).await.unwrap_or_else(late)
}
