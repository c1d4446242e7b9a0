//! One HTTP request to one server, encrypted unless somebody has asked for plain text: for registries and notifications.
//! Bounded in time and in bytes, and in the addresses that it may lead to.

pub mod reach;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use self::reach::AllowedAddresses;
use crate::http_client::{Body, ExchangeError, Head, exchange};

/// From the connection to the end of the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// So many addresses of one name are tried.
const MAX_ADDRESSES: usize = 16;
/// The most of the head of an answer that is read.
const MAX_HEAD: usize = 64 * 1024;

/// A server: `registry.example` or `localhost:5000`, and whether it is spoken to in plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name or address, with a port where it is not the usual one.
    pub host: String,
    /// Without TLS.
    pub plain: bool,
}

/// Its answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Bytes,
    /// The address that has answered.
    pub peer: IpAddr,
}

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The server is away, or speaks something else.
    Unavailable(String),
    /// Its answer is longer than what was asked for.
    TooLong,
    /// It has no address that may be connected to; what it has instead.
    Forbidden(String),
}

impl RequestError {
    /// For people; `host` is the server.
    pub fn words(self, host: &str) -> String {
        match self {
            Self::Unavailable(why) => why,
            Self::TooLong => format!("{host} sent a longer answer than composed reads"),
            Self::Forbidden(addresses) => format!("{host} resolves to {addresses}, where composed does not connect"),
        }
    }
}

impl Answer {
    /// A header, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Server {
    /// Of `https://host:port/...` or `http://...`, with the path. A name or password in it is not taken.
    pub fn of_url(url: &str) -> Option<(Self, String)> {
        let (plain, rest) = match url.split_once("://")? {
            ("https", rest) => (false, rest),
            ("http", rest) => (true, rest),
            _ => return None,
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (host, path) = rest.split_at_checked(end)?;
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let server = Self { host: host.to_owned(), plain };
        (!host.is_empty() && !host.contains(['@', '\\'])).then_some((server, path))
    }

    /// Asks it; `request` has a path only.
    pub async fn ask(
        &self,
        mut request: Request<Full<Bytes>>,
        reach: AllowedAddresses,
        body: Body,
    ) -> Result<Answer, RequestError> {
        if let Ok(host) = self.host.parse() {
            request.headers_mut().insert("host", host);
        }
        let agent = hyper::header::HeaderValue::from_static(concat!("composed/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert("user-agent", agent);
        tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(request, reach, body)).await.unwrap_or_else(|_| {
            Err(RequestError::Unavailable(format!(
                "{} did not answer within {} s",
                self.host,
                REQUEST_TIMEOUT.as_secs()
            )))
        })
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
        reach: AllowedAddresses,
        body: Body,
    ) -> Result<Answer, RequestError> {
        let away = |why: &dyn std::fmt::Display| RequestError::Unavailable(format!("{}: {why}", self.host));
        let (name, port) =
            self.address().ok_or_else(|| RequestError::Unavailable(format!("{} is not an address", self.host)))?;
        let stream = connect(name, port, reach).await.map_err(|silence| match silence {
            RequestError::Unavailable(why) => away(&why),
            other => other,
        })?;
        let peer = stream.peer_addr().map_err(|error| away(&error))?.ip();
        let answer = if self.plain {
            over(stream, request, body, peer).await
        } else {
            let named = ServerName::try_from(name.to_owned())
                .map_err(|_| RequestError::Unavailable(format!("{} is not the name of a server", self.host)))?;
            let stream = TlsConnector::from(trust().map_err(RequestError::Unavailable)?).connect(named, stream).await;
            let stream = stream.map_err(|error| away(&format!("TLS: {error}")))?;
            over(stream, request, body, peer).await
        };
        answer.map_err(|silence| match silence {
            RequestError::Unavailable(why) => away(&why),
            other => other,
        })
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
pub fn is_this_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Connects to an address of `name` that may be connected to: each name is asked for once, so that no other answer counts
/// than the one that was judged.
async fn connect(name: &str, port: u16, reach: AllowedAddresses) -> Result<TcpStream, RequestError> {
    let found =
        tokio::net::lookup_host((name, port)).await.map_err(|error| RequestError::Unavailable(error.to_string()))?;
    let (allowed, others): (Vec<_>, Vec<_>) = found.take(MAX_ADDRESSES).partition(|address| reach.allows(address.ip()));
    if allowed.is_empty() && !others.is_empty() {
        let others: Vec<_> = others.into_iter().map(|address| address.ip().to_string()).collect();
        return Err(RequestError::Forbidden(others.join(", ")));
    }
    TcpStream::connect(allowed.as_slice()).await.map_err(|error| RequestError::Unavailable(error.to_string()))
}

async fn over<S>(stream: S, request: Request<Full<Bytes>>, body: Body, peer: IpAddr) -> Result<Answer, RequestError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let head = Head { max: Some(MAX_HEAD), ..Head::default() };
    match exchange(stream, request, head, body, REQUEST_TIMEOUT).await {
        Ok(answer) => Ok(Answer { status: answer.status, headers: answer.headers, body: answer.body, peer }),
        Err(ExchangeError::TooLong(_)) => Err(RequestError::TooLong),
        Err(error) => Err(RequestError::Unavailable(error.to_string())),
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
        assert_eq!(Server::of_url("ftp://localhost/token"), None);
        for url in ["https://user@registry.example/token", "https://a.example\\@b.example/", "https://", "https:///x"] {
            assert_eq!(Server::of_url(url), None, "{url}");
        }
        let of = |url: &str| Server::of_url(url).map(|(server, path)| (server.host, server.plain, path));
        assert_eq!(of("http://localhost:5001/token"), Some(("localhost:5001".into(), true, "/token".into())));
        assert_eq!(of("https://auth.example"), Some(("auth.example".into(), false, "/".into())));
        assert_eq!(of("https://auth.example?a=b#c"), Some(("auth.example".into(), false, "/?a=b".into())));
    }

    #[tokio::test]
    async fn what_a_name_stands_for_is_judged_in_every_spelling() {
        let public = AllowedAddresses::Beside("1.1.1.1".parse().unwrap());
        for name in ["localhost", "127.1", "2130706433", "0x7f.0.0.1", "::ffff:127.0.0.1", "0", "169.254.169.254"] {
            let refused = connect(name, 9, public).await;
            assert!(matches!(&refused, Err(RequestError::Forbidden(_))), "{name}: {refused:?}");
        }
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
