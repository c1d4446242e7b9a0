//! The way to the engine: address and TLS as the docker CLI takes them, the API version both sides speak, and a time
//! limit round every call. The only place that opens connections.

use std::{
    env,
    future::Future,
    path::{Path, PathBuf},
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};
use composed_core::engine::EngineError;

use super::{
    bounded,
    context::EngineAddress,
    errors::{CallOrigin, chain, reaction, rejected},
    wire,
};

/// The oldest API that works: Docker 20.10.
const OLDEST: usize = 41;
/// The newest API that bollard's types know.
const NEWEST: usize = API_DEFAULT_VERSION.minor_version;
/// The most a plain call may take, body included: bollard's own limit ends when the headers arrive.
pub(super) const PLAIN: Duration = Duration::from_secs(30);
/// bollard's own limit, out of the way: it would cut a stop with a long grace period short.
const NEVER: u64 = 366 * 24 * 3600;

/// A negotiated connection. Clones share it.
#[derive(Clone)]
pub(super) struct Api {
    /// Requests of the negotiated version.
    pub(super) client: Docker,
    /// Requests without a version: only `/version` itself.
    raw: Docker,
    /// Where the engine is.
    pub(super) host: Arc<str>,
    minor: Arc<AtomicUsize>,
    engine: Arc<RwLock<String>>,
}

impl Api {
    /// Connects and negotiates.
    pub(super) async fn connect(address: &EngineAddress) -> Result<Self, EngineError> {
        let host = address.host.clone().unwrap_or_else(|| "unix:///var/run/docker.sock".to_owned());
        let raw = open(&host, address.certificates.as_deref())?;
        let minor = Arc::new(AtomicUsize::new(OLDEST));
        let negotiated = Arc::clone(&minor);
        let client = raw
            .clone()
            .with_request_modifier(move |request| wire::of_version(request, negotiated.load(Ordering::Relaxed)));
        let api = Self { client, raw, host: host.into(), minor, engine: Arc::default() };
        match api.negotiate().await {
            Ok(()) => Ok(api),
            Err(EngineError::Unavailable(why)) => Err(unreachable(&address.named(&api.host), &why)),
            Err(other) => Err(other),
        }
    }

    /// A client whose next requests all go to `target`, a path with its query, and nowhere else.
    pub(super) fn towards(&self, target: &str) -> Docker {
        let target = target.to_owned();
        self.raw.clone().with_request_modifier(move |request| wire::to_target(request, &target))
    }

    /// Asks for the engine's version and takes the newest that both know. Again after each lost connection: behind
    /// the same socket there may be another engine by then.
    pub(super) async fn negotiate(&self) -> Result<(), EngineError> {
        let version = self.call(self.raw.version()).await?;
        let name = version.version.unwrap_or_default();
        let newest = minor_of(version.api_version.as_deref());
        let oldest = minor_of(version.min_api_version.as_deref()).unwrap_or(0);
        let Some(newest) = newest else {
            return Err(rejected(format!("the engine at {} names no API version", self.host)));
        };
        if newest < OLDEST || oldest > NEWEST {
            return Err(rejected(format!(
                "composed speaks the Docker Engine API 1.{OLDEST} (Docker 20.10) to 1.{NEWEST}, but the engine {name} \
                 at {} speaks 1.{oldest} to 1.{newest}",
                self.host
            )));
        }
        self.minor.store(newest.min(NEWEST), Ordering::Relaxed);
        if let Ok(mut engine) = self.engine.write() {
            *engine = name;
        }
        Ok(())
    }

    /// The minor number of the negotiated API version.
    pub(super) fn minor(&self) -> usize {
        self.minor.load(Ordering::Relaxed)
    }

    /// `Docker 20.10.24 (API 1.41) at unix:///var/run/docker.sock`.
    pub(super) fn describe(&self) -> String {
        let engine = self.engine.read().map(|engine| engine.clone()).unwrap_or_default();
        format!("Docker {engine} (API 1.{}) at {}", self.minor(), self.host)
    }

    /// Whether the engine is reached by a socket file.
    pub(super) fn by_socket(&self) -> bool {
        self.host.starts_with("unix://")
    }

    /// A plain call, within 30 s.
    pub(super) async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, EngineError> {
        match self.answer(call).await? {
            Ok(value) => Ok(value),
            Err(error) => Err(reaction(&error, CallOrigin::Plainly)),
        }
    }

    /// A plain call, within 30 s, whose caller judges a refusal itself.
    pub(super) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Error>, EngineError> {
        tokio::time::timeout(PLAIN, call)
            .await
            .map_err(|_| EngineError::Unavailable(format!("no answer from {} within {} s", self.host, PLAIN.as_secs())))
    }
}

/// A name as part of a path: bollard does not escape it, and a `/` or `?` would make it another call.
pub(super) fn segment(name: &str) -> Result<&str, EngineError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | ':' | '@');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(rejected(format!("`{name}` is not a name that the engine's API can carry")));
    }
    Ok(name)
}

/// An image reference as the rest of a path.
pub(super) fn reference(image: &str) -> Result<&str, EngineError> {
    for part in image.split('/') {
        segment(part).map_err(|_| rejected(format!("`{image}` is not an image reference")))?;
    }
    Ok(image)
}

fn open(host: &str, certificates: Option<&Path>) -> Result<Docker, EngineError> {
    let tls = non_empty("DOCKER_TLS_VERIFY").is_some();
    let opened = match host.split_once("://") {
        Some(("unix", path)) => bounded::unix(Path::new(path), NEVER),
        Some(("tcp", _)) if tls || certificates.is_some() => open_tls(host, certificates),
        Some(("https", _)) => open_tls(host, certificates),
        Some(("tcp" | "http", address)) => bounded::tcp(address.trim_end_matches('/'), NEVER),
        _ => {
            return Err(rejected(format!(
                "the engine's address `{host}` is none of unix://, tcp://, http:// and https:// (for ssh, forward the \
                 socket: ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST)"
            )));
        }
    };
    opened.map_err(|error| unreachable(host, &chain(&error)))
}

fn unreachable(host: &str, why: &str) -> EngineError {
    EngineError::Unavailable(format!("cannot reach the engine at {host}: {why}"))
}

/// The certificates are those of the context, else where docker has them without one.
fn open_tls(host: &str, certificates: Option<&Path>) -> Result<Docker, Error> {
    let home = || PathBuf::from(non_empty("HOME").unwrap_or_default()).join(".docker");
    let usual =
        || non_empty("DOCKER_CERT_PATH").or_else(|| non_empty("DOCKER_CONFIG")).map_or_else(home, PathBuf::from);
    let directory = certificates.map_or_else(usual, Path::to_owned);
    let file = |name: &str| directory.join(name);
    let (key, cert, ca) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
    Docker::connect_with_ssl(host, &key, &cert, &ca, NEVER, API_DEFAULT_VERSION)
}

fn non_empty(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// `1.41` is 41. There has never been another major version.
fn minor_of(version: Option<&str>) -> Option<usize> {
    version?.strip_prefix("1.")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_go_into_paths() {
        for good in ["shop-web-1", "composed-lock-default", "a.b_c", "0123abc"] {
            assert!(segment(good).is_ok(), "{good}");
        }
        for bad in ["", "..", ".", "a/b", "a?force=1", "a#b", "a%2fb", "a b"] {
            assert!(segment(bad).is_err(), "{bad}");
        }
        assert!(reference("ghcr.io:5000/a/b:1@sha256:00").is_ok());
        assert!(reference("../containers/x").is_err());
        assert!(reference("a//b").is_err());
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(minor_of(Some("1.41")), Some(41));
        assert_eq!(minor_of(Some("2.0")), None);
        assert_eq!(minor_of(None), None);
    }

    #[tokio::test]
    async fn an_address_of_another_kind_is_refused_with_a_hint() {
        let refused = Api::connect(&EngineAddress::at("ssh://host")).await.err().map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.contains("forward the socket")));
    }

    /// An engine that gives this answer to everything and tells the paths it was asked for.
    async fn engine(versions: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let host = format!("tcp://{}", listener.local_addr().expect("an address"));
        let (asked, paths) = tokio::sync::mpsc::unbounded_channel();
        drop(tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let head = String::from_utf8_lossy(request.get(..read).unwrap_or_default()).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                let length = versions.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let answered = stream.write_all(format!("{head}{versions}").as_bytes()).await;
                if answered.is_err() || asked.send(path).is_err() {
                    return;
                }
            }
        }));
        (host, paths)
    }

    #[tokio::test]
    async fn both_sides_newest_common_version_is_in_every_path() {
        let (host, mut paths) = engine(r#"{"Version": "29.7.2", "ApiVersion": "1.55", "MinAPIVersion": "1.44"}"#).await;
        let api = Api::connect(&EngineAddress::at(&host)).await.expect("connect");
        assert_eq!(api.describe(), format!("Docker 29.7.2 (API 1.53) at {host}"));
        api.call(api.client.ping()).await.expect("ping");
        assert_eq!(
            (paths.recv().await.as_deref(), paths.recv().await.as_deref()),
            (Some("/version"), Some("/v1.53/_ping"))
        );

        let (host, _paths) = engine(r#"{"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12"}"#).await;
        assert_eq!(Api::connect(&EngineAddress::at(&host)).await.expect("connect").minor(), 41);
    }

    #[tokio::test]
    async fn an_engine_of_another_time_is_refused_with_both_versions() {
        for (versions, named) in [
            (r#"{"Version": "19.03", "ApiVersion": "1.40", "MinAPIVersion": "1.12"}"#, ["1.41", "1.40"]),
            (r#"{"Version": "40.0", "ApiVersion": "1.80", "MinAPIVersion": "1.70"}"#, ["1.53", "1.70"]),
        ] {
            let (host, _paths) = engine(versions).await;
            let refused = Api::connect(&EngineAddress::at(&host)).await.err();
            let text = refused.as_ref().map(ToString::to_string).unwrap_or_default();
            assert!(matches!(refused, Some(EngineError::Rejected { .. })), "{text}");
            assert!(named.iter().all(|version| text.contains(version)), "{text}");
        }
    }

    #[tokio::test]
    async fn an_engine_that_is_away_is_unavailable() {
        let refused = Api::connect(&EngineAddress::at("unix:///nowhere/docker.sock")).await.err();
        assert!(matches!(refused, Some(EngineError::Unavailable(text)) if text.contains("/nowhere/docker.sock")));
        let refused = Api::connect(&EngineAddress::at("tcp://127.0.0.1:1")).await.err();
        assert!(
            matches!(refused, Some(EngineError::Unavailable(text)) if text.contains("refused") && text.contains("tcp://127.0.0.1:1"))
        );
    }
}
