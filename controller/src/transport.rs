//! One HTTP request to one server, encrypted unless somebody has asked for plain text: for registries and notifications.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// From the connection to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most of an answer that is read: lists of tags are the longest.
const MOST: usize = 8 * 1024 * 1024;

/// A server: `registry.example` or `localhost:5000`, and whether it is spoken to in plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) plain: bool,
}

/// Its answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Server {
    /// Of `https://host:port/...`, with the path. Plain HTTP only where `may_be_plain` is true or the host is this one.
    pub(crate) fn of_url(url: &str, may_be_plain: bool) -> Option<(Self, String)> {
        let (plain, rest) = match url.split_once("://")? {
            ("https", rest) => (false, rest),
            ("http", rest) => (true, rest),
            _ => return None,
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let server = Self { host: host.to_owned(), plain };
        let allowed = !plain || may_be_plain || is_this_host(host);
        (allowed && !host.is_empty() && !host.contains('@')).then(|| (server, format!("/{path}")))
    }

    /// Asks it; `request` has a path only.
    pub(crate) async fn ask(&self, mut request: Request<Full<Bytes>>) -> Result<Answer, String> {
        if let Ok(host) = self.host.parse() {
            request.headers_mut().insert("host", host);
        }
        let agent = hyper::header::HeaderValue::from_static(concat!("composed/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert("user-agent", agent);
        tokio::time::timeout(PATIENCE, self.exchange(request))
            .await
            .unwrap_or_else(|_| Err(format!("{} did not answer within {} s", self.host, PATIENCE.as_secs())))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, String> {
        let (name, port) = self.address().ok_or_else(|| format!("{} is no address", self.host))?;
        let stream = TcpStream::connect((name, port)).await.map_err(|error| format!("{}: {error}", self.host))?;
        if self.plain {
            return over(stream, request).await.map_err(|why| format!("{}: {why}", self.host));
        }
        let named =
            ServerName::try_from(name.to_owned()).map_err(|_| format!("{} is no name of a server", self.host))?;
        let stream = TlsConnector::from(trust()?).connect(named, stream).await;
        let stream = stream.map_err(|error| format!("{}: TLS: {error}", self.host))?;
        over(stream, request).await.map_err(|why| format!("{}: {why}", self.host))
    }

    fn address(&self) -> Option<(&str, u16)> {
        let usual = if self.plain { 80 } else { 443 };
        let (name, port) = match self.host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
            _ => (self.host.as_str(), usual),
        };
        Some((name.trim_start_matches('[').trim_end_matches(']'), port))
    }
}

/// Whether a `host` or `host:port` is this machine: nobody listens in between. Source: moby `registry/config.go`.
pub(crate) fn is_this_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let _ends_with_this = Connection(tokio::spawn(connection).abort_handle());
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, MOST).collect().await.map_err(|error| error.to_string())?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body })
}

/// A connection's task: it ends with the question, whatever became of that.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The certificates that this host trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, else the system's). Read when they are first
/// needed: an image made from scratch may have none, and need none.
fn trust() -> Result<Arc<ClientConfig>, String> {
    static CONFIG: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err("this host has no root certificates: install ca-certificates, or set SSL_CERT_FILE".to_owned());
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| format!("TLS: {error}"))?;
        Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
    });
    config.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_is_spoken_to_in_plain_text() {
        for host in ["localhost", "localhost:5000", "127.0.0.1:5000", "127.1.2.3", "[::1]:5000", "[::1]"] {
            assert!(is_this_host(host), "{host}");
        }
        for host in ["localhost.example", "registry:5000", "10.0.0.1:5000", "128.0.0.1", "[::2]:5000", ""] {
            assert!(!is_this_host(host), "{host}");
        }
        assert_eq!(Server::of_url("http://registry.example/token", false), None);
        assert_eq!(Server::of_url("ftp://localhost/token", true), None);
        assert_eq!(Server::of_url("https://user@registry.example/token", true), None);
        let of = |url: &str| Server::of_url(url, false).map(|(server, path)| (server.host, server.plain, path));
        assert_eq!(of("http://localhost:5001/token"), Some(("localhost:5001".into(), true, "/token".into())));
        assert_eq!(of("https://auth.example"), Some(("auth.example".into(), false, "/".into())));
    }

    #[test]
    fn addresses_have_a_port() {
        let of = |host: &str, plain| Server { host: host.to_owned(), plain }.address().map(|(n, p)| (n.to_owned(), p));
        assert_eq!(of("a.example", false), Some(("a.example".to_owned(), 443)));
        assert_eq!(of("[::1]", true), Some(("::1".to_owned(), 80)));
        assert_eq!(of("[::1]:5000", true), Some(("::1".to_owned(), 5000)));
        assert_eq!(of("a:b", false), None);
    }
}
