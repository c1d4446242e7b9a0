//! Questions to a registry: what a tag stands for, by one HEAD request, and which tags there are. Source:
//! distribution/distribution `docs/spec/api.md` and `docs/spec/auth/token.md`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures_util::future::{BoxFuture, FutureExt as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::credentials::{Credentials, Login};
use super::reference::Reference;
use super::{Ask, Platforms, Trouble};
use crate::clock::Clock;
use crate::transport::{Answer, Server, is_this_host};

/// What a tag may stand for: an index of platforms, or one image.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// What a registry may send us on to.
const REDIRECTS: usize = 3;
/// Pages of tags, of so many each.
const PAGES: usize = 50;
const PAGE: usize = 1000;
/// A token is good for so long where nothing is said. Source: distribution `token.md`.
const TOKEN_LIFE: u64 = 60;
/// A token that ends within so long is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// The longest that a registry may make us wait.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// Registries.
#[derive(Debug)]
pub struct Registries {
    credentials: Credentials,
    clock: Clock,
    /// How each repository was last opened, so that one request is enough the next time.
    keys: Mutex<HashMap<String, Key>>,
    /// The registries on this host that were found to speak TLS.
    encrypted: Mutex<HashMap<String, bool>>,
}

/// How a repository is opened.
#[derive(Clone)]
enum Key {
    /// With nothing.
    Open,
    /// With name and password.
    Basic,
    /// With a token.
    Bearer { challenge: Challenge, token: String, until: Timestamp },
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// Where a token is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
    scope: String,
}

#[derive(Deserialize)]
struct Granted {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// An index of images, or one. Source: opencontainers/image-spec `image-index.md`, `manifest.md`.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Entry>,
    config: Option<Blob>,
}

#[derive(Deserialize)]
struct Entry {
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Blob {
    digest: String,
}

#[derive(Deserialize)]
struct Platform {
    os: String,
    architecture: String,
    variant: Option<String>,
}

impl Platform {
    /// What it goes by: with its variant, and without.
    fn names(self) -> impl Iterator<Item = String> {
        let name = format!("{}/{}", self.os, self.architecture);
        let whole = self.variant.map(|variant| format!("{name}/{variant}"));
        [Some(name), whole].into_iter().flatten()
    }
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

impl Registries {
    /// With these credentials.
    pub fn new(credentials: Credentials, clock: Clock) -> Self {
        Self { credentials, clock, keys: Mutex::default(), encrypted: Mutex::default() }
    }

    async fn head(&self, image: &Reference) -> Result<String, Trouble> {
        let path = format!("/v2/{}/manifests/{}", image.repository, image.tag);
        let answer = self.get(Method::HEAD, image, &path).await?;
        if let Some(digest) = answer.header("docker-content-digest").filter(|digest| digest.starts_with("sha")) {
            return Ok(digest.to_owned());
        }
        // Some registries tell it only of the whole.
        let answer = self.get(Method::GET, image, &path).await?;
        let hash: String = Sha256::digest(&answer.body).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("sha256:{hash}"))
    }

    async fn kinds(&self, image: &Reference, digest: &str) -> Result<Platforms, Trouble> {
        let no = |_| Trouble::Refused(format!("{}: its answer is no image", image.domain));
        let answer = self.get(Method::GET, image, &format!("/v2/{}/manifests/{digest}", image.repository)).await?;
        let manifest: Manifest = serde_json::from_slice(&answer.body).map_err(no)?;
        if let Some(config) = manifest.config {
            // One image for one platform, which only its configuration names.
            let path = format!("/v2/{}/blobs/{}", image.repository, config.digest);
            let answer = self.get(Method::GET, image, &path).await?;
            let platform: Platform = serde_json::from_slice(&answer.body).map_err(no)?;
            return Ok(platform.names().collect());
        }
        Ok(manifest.manifests.into_iter().filter_map(|one| one.platform).flat_map(Platform::names).collect())
    }

    async fn list(&self, image: &Reference) -> Result<Vec<String>, Trouble> {
        let mut all = Vec::new();
        let mut path = format!("/v2/{}/tags/list?n={PAGE}", image.repository);
        for _ in 0..PAGES {
            let answer = self.get(Method::GET, image, &path).await?;
            let page: Tags = serde_json::from_slice(&answer.body)
                .map_err(|_| Trouble::Refused(format!("{}: its answer is no list of tags", image.domain)))?;
            all.extend(page.tags.unwrap_or_default());
            match answer.header("link").and_then(next_page) {
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
        Err(Trouble::Refused(format!("{} has more than {} tags", image.familiar(), PAGES * PAGE)))
    }

    /// Asks, opening what is closed.
    async fn get(&self, method: Method, image: &Reference, path: &str) -> Result<Answer, Trouble> {
        let place = format!("{}/{}", image.host(), image.repository);
        let known = lock(&self.keys).get(&place).cloned().unwrap_or(Key::Open);
        let opened = match known {
            Key::Open => None,
            Key::Basic => self.basic(image).await?,
            Key::Bearer { challenge, token, until } => {
                if self.clock.now() + TOKEN_MARGIN < until {
                    Some(format!("Bearer {token}"))
                } else {
                    Some(self.bearer(image, &place, challenge).await?)
                }
            }
        };
        let asked = opened.is_some();
        let answer = self.send(&method, image, path, opened).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return checked(answer, image, asked);
        }
        let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        let challenge = challenges.iter().filter_map(|value| value.to_str().ok()).find_map(challenge);
        let opened = match challenge {
            Some(Asks::Token(mut challenge)) => {
                if challenge.scope.is_empty() {
                    challenge.scope = format!("repository:{}:pull", image.repository);
                }
                Some(self.bearer(image, &place, challenge).await?)
            }
            Some(Asks::Password) => {
                let opened = self.basic(image).await?;
                lock(&self.keys).insert(place, Key::Basic);
                opened
            }
            None => None,
        };
        let asked = opened.is_some();
        if !asked {
            return checked(answer, image, asked);
        }
        checked(self.send(&method, image, path, opened).await?, image, asked)
    }

    async fn basic(&self, image: &Reference) -> Result<Option<String>, Trouble> {
        let login = self.credentials.find(image.key()).await.map_err(Trouble::Refused)?;
        Ok(login.and_then(|login| match login {
            Login::Password { user, password } => Some(basic(&user, &password)),
            Login::Token(_) => None,
        }))
    }

    /// Fetches a token and keeps it.
    async fn bearer(&self, image: &Reference, place: &str, challenge: Challenge) -> Result<String, Trouble> {
        let login = self.credentials.find(image.key()).await.map_err(Trouble::Refused)?;
        let (server, path) = Server::of_url(&challenge.realm, false).ok_or_else(|| {
            Trouble::Refused(format!("{}: its token server `{}` is not encrypted", image.domain, challenge.realm))
        })?;
        let mut fields = vec![("service", challenge.service.as_str()), ("scope", challenge.scope.as_str())];
        let request = match &login {
            Some(Login::Token(token)) => {
                let more = [("grant_type", "refresh_token"), ("client_id", "composed"), ("refresh_token", token)];
                fields.extend(more);
                let body = serde_urlencoded::to_string(&fields).unwrap_or_default();
                Request::post(path)
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(Full::new(Bytes::from(body)))
            }
            login => {
                let query = serde_urlencoded::to_string(&fields).unwrap_or_default();
                let separator = if path.contains('?') { '&' } else { '?' };
                let request = Request::get(format!("{path}{separator}{query}"));
                let request = match login {
                    Some(Login::Password { user, password }) => request.header("authorization", basic(user, password)),
                    _ => request,
                };
                request.body(Full::default())
            }
        };
        let request =
            request.map_err(|_| Trouble::Refused(format!("{}: its token server has no address", image.domain)))?;
        let answer = server.ask(request).await.map_err(Trouble::Away)?;
        let answer = checked(answer, image, login.is_some())?;
        let granted: Granted = serde_json::from_slice(&answer.body)
            .map_err(|_| Trouble::Refused(format!("{}: its token server answered no token", image.domain)))?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(TOKEN_LIFE)).min(LONGEST_WAIT);
        let token = granted.token.or(granted.access_token).filter(|token| !token.is_empty());
        let token =
            token.ok_or_else(|| Trouble::Refused(format!("{}: its token server answered no token", image.domain)))?;
        let until = self.clock.now() + life;
        lock(&self.keys).insert(place.to_owned(), Key::Bearer { challenge, token: token.clone(), until });
        Ok(format!("Bearer {token}"))
    }

    async fn send(
        &self,
        method: &Method,
        image: &Reference,
        path: &str,
        key: Option<String>,
    ) -> Result<Answer, Trouble> {
        let mut server = Server { host: image.host().to_owned(), plain: self.is_plain(image.host()) };
        let (mut path, mut key) = (path.to_owned(), key);
        for _ in 0..=REDIRECTS {
            let mut answer = server.ask(request(method, &path, key.as_deref())?).await;
            // As Docker does on this host: encrypted or not, whichever is spoken.
            let garbled =
                answer.as_ref().map_or(true, |answer| server.plain && answer.status == StatusCode::BAD_REQUEST);
            if garbled && server.host == image.host() && is_this_host(&server.host) {
                lock(&self.encrypted).insert(server.host.clone(), server.plain);
                server.plain = !server.plain;
                answer = server.ask(request(method, &path, key.as_deref())?).await;
            }
            let answer = answer.map_err(Trouble::Away)?;
            let to = answer.header("location").filter(|_| answer.status.is_redirection());
            let Some(to) = to else {
                if answer.status == StatusCode::UNAUTHORIZED && server.host != image.host() {
                    // Its question is for others: our key is the registry's.
                    return Err(Trouble::Refused(format!(
                        "{} sends us to {}, which is closed",
                        image.domain, server.host
                    )));
                }
                return Ok(answer);
            };
            if to.starts_with('/') {
                to.clone_into(&mut path);
                continue;
            }
            let (next, at) = Server::of_url(to, false).ok_or_else(|| {
                Trouble::Refused(format!("{} sends us to a place that is not encrypted", server.host))
            })?;
            // What opens one server is nothing to another.
            key = key.filter(|_| next == server);
            (server, path) = (next, at);
        }
        Err(Trouble::Refused(format!("{} sends us around in circles", image.domain)))
    }

    fn is_plain(&self, host: &str) -> bool {
        is_this_host(host) && !lock(&self.encrypted).get(host).copied().unwrap_or(false)
    }
}

impl Ask for Registries {
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<String, Trouble>> {
        self.head(image).boxed()
    }

    fn platforms<'a>(&'a self, image: &'a Reference, digest: &'a str) -> BoxFuture<'a, Result<Platforms, Trouble>> {
        self.kinds(image, digest).boxed()
    }

    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, Trouble>> {
        self.list(image).boxed()
    }
}

fn request(method: &Method, path: &str, key: Option<&str>) -> Result<Request<Full<Bytes>>, Trouble> {
    let request = Request::builder().method(method).uri(path).header("accept", KINDS);
    let request = match key {
        Some(key) => request.header("authorization", key),
        None => request,
    };
    request.body(Full::default()).map_err(|_| Trouble::Refused("an address that cannot be asked".to_owned()))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// An answer that is one.
fn checked(answer: Answer, image: &Reference, opened: bool) -> Result<Answer, Trouble> {
    let domain = &image.domain;
    let wait = answer.header("retry-after").and_then(wait);
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(Trouble::Busy { why: format!("{domain} has had too many requests from here"), wait })
        }
        StatusCode::NOT_FOUND => Err(Trouble::Refused(format!("{domain} has no {image}, or does not show it to us"))),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if opened => {
            Err(Trouble::Refused(format!("{domain} does not accept our credentials for {}", image.repository)))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Refused(format!(
            "{domain} asks for credentials for {}: run `docker login {domain}` as the user that composed runs as",
            image.repository
        ))),
        status if status.is_server_error() && wait.is_some() => {
            Err(Trouble::Busy { why: format!("{domain} answered {status}"), wait })
        }
        status if status.is_server_error() => Err(Trouble::Away(format!("{domain} answered {status}"))),
        status => Err(Trouble::Refused(format!("{domain} answered {status}"))),
    }
}

/// `Retry-After`: seconds, or a date, which needs a clock that agrees with the server's; it is as good as said nothing.
fn wait(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs).map(|wait| wait.min(LONGEST_WAIT))
}

/// What a `WWW-Authenticate` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asks {
    Password,
    Token(Challenge),
}

fn challenge(text: &str) -> Option<Asks> {
    let (scheme, fields) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Asks::Password);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut challenge = Challenge { realm: String::new(), service: String::new(), scope: String::new() };
    let mut rest = fields.trim_start();
    // Values may hold commas: `scope="repository:a:pull,push"`.
    while let Some((name, after)) = rest.split_once('=') {
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        match name.trim().to_ascii_lowercase().as_str() {
            "realm" => value.clone_into(&mut challenge.realm),
            "service" => value.clone_into(&mut challenge.service),
            "scope" => value.clone_into(&mut challenge.scope),
            _ => {}
        }
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    (!challenge.realm.is_empty()).then_some(Asks::Token(challenge))
}

/// The path in `</v2/a/tags/list?n=1&last=b>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (target, rel) = link.split_once('>')?;
    let target = target.trim_start().strip_prefix('<')?;
    if !rel.contains("next") {
        return None;
    }
    // Some give the whole address; it is the same server's.
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
        None => target,
    };
    path.starts_with("/v2/").then(|| path.to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let read =
            challenge(r#"Bearer realm="https://a.example/token",service="r, x",scope="repository:a/b:pull,push""#);
        let expected = Challenge {
            realm: "https://a.example/token".to_owned(),
            service: "r, x".to_owned(),
            scope: "repository:a/b:pull,push".to_owned(),
        };
        assert_eq!(read, Some(Asks::Token(expected)));
        assert_eq!(challenge(r#"Basic realm="registry""#), Some(Asks::Password));
        assert_eq!(challenge("Negotiate"), None);
        assert_eq!(challenge("Bearer service=x"), None);
        assert_eq!(challenge(r#"Bearer realm="unfinished"#), None);
    }

    #[test]
    fn pages_follow_each_other_on_one_server() {
        let next = |link: &str| next_page(link);
        assert_eq!(next(r#"</v2/a/tags/list?n=1&last=b>; rel="next""#), Some("/v2/a/tags/list?n=1&last=b".to_owned()));
        assert_eq!(
            next(r#"<https://r.example/v2/a/tags/list?last=b>; rel="next""#),
            Some("/v2/a/tags/list?last=b".to_owned())
        );
        assert_eq!(next(r#"</v2/a/tags/list>; rel="prev""#), None);
        assert_eq!(next("</etc/passwd>; rel=next"), None);
    }

    #[test]
    fn a_wait_has_a_limit() {
        assert_eq!(wait("120"), Some(Duration::from_mins(2)));
        assert_eq!(wait("99999999999"), Some(LONGEST_WAIT));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), None);
    }
}
