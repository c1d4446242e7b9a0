//! Questions to a registry: what a tag stands for, by one HEAD request, and which tags there are. Source:
//! distribution/distribution `docs/spec/api.md` and `docs/spec/auth/token.md`.
//!
//! A registry names other servers: those that give tokens, and those that it redirects to. It is not trusted with where we
//! connect: another server than itself is spoken to by HTTPS only, and is at a public address or in the same special range
//! (loopback, 10.0.0.0/8, ...) as the address from which the registry has answered. Nor with how much it answers: each
//! question has bounds in bytes, pages, tags and time over all its requests.

mod bodies;
mod trust;
mod words;

use crd_schema::{ImageDigest, is_image_tag};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use composed_core::hex;
use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_platform::http_client::Body;
use composed_platform::transport::reach::AllowedAddresses;
use composed_platform::transport::{Answer, RequestError, Server, is_this_host};
use futures_util::future::{BoxFuture, FutureExt as _};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use self::bodies::{Manifest, Platform, Tags, TokenResponse, is_digest};
use self::trust::{own_reach, reach, trouble};
use self::words::{AuthScheme, Challenge, LONGEST_WAIT, challenge, next_page, wait};
use super::credentials::{Credentials, Login};
use super::{Platforms, RegistryClient, RegistryError};

/// What a tag may stand for: an index of platforms, or one image.
const KINDS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                     application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";
/// What a registry may send us on to.
const REDIRECTS: usize = 3;
/// Pages of tags, of so many each where the registry lets us choose.
const PAGES: usize = 50;
const PAGE: usize = 1000;
const MAX_TAGS: usize = PAGES * PAGE;
/// A token is good for so long where nothing is said. Source: distribution `token.md`.
const TOKEN_LIFE: u64 = 60;
/// A token that ends within so long is not used any more.
const TOKEN_MARGIN: Duration = Duration::from_secs(10);
/// The most that is read for one question: of all pages of tags together, of a manifest or a configuration, of a token.
const MAX_LIST: usize = 8 << 20;
const MAX_MANIFEST: usize = 4 << 20;
const MAX_GRANT: usize = 128 << 10;
/// The longest token, which becomes part of a head.
const MAX_TOKEN: usize = 32 << 10;
/// One question has an answer within so long, with all its pages, tokens and redirections.
const MAX_TIME: Duration = Duration::from_mins(1);
/// The platforms of one image.
const MAX_PLATFORMS: usize = 1000;

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
    Bearer { challenge: Challenge, token: String, until: Timestamp, peer: IpAddr },
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

impl Registries {
    /// With these credentials.
    pub fn new(credentials: Credentials, clock: Clock) -> Self {
        Self { credentials, clock, keys: Mutex::default(), encrypted: Mutex::default() }
    }

    async fn head(&self, image: &Reference) -> Result<ImageDigest, RegistryError> {
        let path = format!("/v2/{}/manifests/{}", image.repository, image.tag);
        let answer = self.get(Method::HEAD, image, &path, Body::Ignored).await?;
        if let Some(digest) = answer.header("docker-content-digest").filter(|digest| is_digest(digest)) {
            return Ok(ImageDigest::new(digest));
        }
        // Some registries tell it only of the whole.
        let answer = self.get(Method::GET, image, &path, Body::UpTo(MAX_MANIFEST)).await?;
        Ok(ImageDigest::new(format!("sha256:{}", hex::encode(Sha256::digest(&answer.body)))))
    }

    async fn kinds(&self, image: &Reference, digest: &ImageDigest) -> Result<Platforms, RegistryError> {
        let no = |_| RegistryError::Refused(format!("{}: its answer is not an image", image.domain));
        let path = format!("/v2/{}/manifests/{digest}", image.repository);
        let answer = self.get(Method::GET, image, &path, Body::UpTo(MAX_MANIFEST)).await?;
        let manifest: Manifest = serde_json::from_slice(&answer.body).map_err(no)?;
        if let Some(config) = manifest.config {
            if !is_digest(&config.digest) {
                return Err(RegistryError::Refused(format!("{}: its answer is not an image", image.domain)));
            }
            // One image for one platform, which only its configuration names.
            let path = format!("/v2/{}/blobs/{}", image.repository, config.digest);
            let answer = self.get(Method::GET, image, &path, Body::UpTo(MAX_MANIFEST)).await?;
            let platform: Platform = serde_json::from_slice(&answer.body).map_err(no)?;
            return Ok(platform.names().collect());
        }
        let entries = manifest.manifests.into_iter().filter_map(|one| one.platform);
        Ok(entries.take(MAX_PLATFORMS).flat_map(Platform::names).collect())
    }

    async fn list(&self, image: &Reference) -> Result<Vec<String>, RegistryError> {
        let mut all = Vec::new();
        let mut path = format!("/v2/{}/tags/list?n={PAGE}", image.repository);
        let much = |what: String| {
            let name = image.familiar();
            RegistryError::Refused(format!(
                "{name}: {} lists more than {what}; the last answer stays in force",
                image.domain
            ))
        };
        let mut left = MAX_LIST;
        for _ in 0..PAGES {
            let answer = match self.get(Method::GET, image, &path, Body::UpTo(left)).await {
                Err(RegistryError::TooLong) => return Err(much(format!("{MAX_LIST} bytes of tags"))),
                answer => answer?,
            };
            left = left.saturating_sub(answer.body.len());
            let page: Tags = serde_json::from_slice(&answer.body)
                .map_err(|_| RegistryError::Refused(format!("{}: its answer is not a list of tags", image.domain)))?;
            // What cannot be a tag is none.
            all.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| is_image_tag(tag)));
            if all.len() > MAX_TAGS {
                return Err(much(format!("{MAX_TAGS} tags")));
            }
            match answer.header("link").and_then(next_page) {
                Some(next) => path = next,
                None => return Ok(all),
            }
        }
        Err(much(format!("{PAGES} pages of tags")))
    }

    /// Asks, opening what is closed.
    async fn get(&self, method: Method, image: &Reference, path: &str, body: Body) -> Result<Answer, RegistryError> {
        let place = format!("{}/{}", image.host(), image.repository);
        let known = self.keys.lock().get(&place).cloned().unwrap_or(Key::Open);
        let opened = match known {
            Key::Open => None,
            Key::Basic => self.basic(image).await?,
            Key::Bearer { challenge, token, until, peer } => {
                if self.clock.now() + TOKEN_MARGIN < until {
                    Some(format!("Bearer {token}"))
                } else {
                    Some(self.bearer(image, &place, challenge, peer).await?)
                }
            }
        };
        let asked = opened.is_some();
        let answer = self.send(&method, image, path, opened, body).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return checked(answer, image, asked);
        }
        let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        let challenge = challenges.iter().filter_map(|value| value.to_str().ok()).find_map(challenge);
        let opened = match challenge {
            Some(AuthScheme::Token(mut challenge)) => {
                if challenge.scope.is_empty() {
                    challenge.scope = format!("repository:{}:pull", image.repository);
                }
                Some(self.bearer(image, &place, challenge, answer.peer).await?)
            }
            Some(AuthScheme::Password) => {
                let opened = self.basic(image).await?;
                self.keys.lock().insert(place, Key::Basic);
                opened
            }
            None => None,
        };
        let asked = opened.is_some();
        if !asked {
            return checked(answer, image, asked);
        }
        checked(self.send(&method, image, path, opened, body).await?, image, asked)
    }

    async fn basic(&self, image: &Reference) -> Result<Option<String>, RegistryError> {
        let login = self.credentials.find(image.key()).await.map_err(RegistryError::Refused)?;
        Ok(login.and_then(|login| match login {
            Login::Password { user, password } => Some(basic(&user, &password)),
            Login::Token(_) => None,
        }))
    }

    /// Fetches a token and keeps it. `peer` is the address from which the registry has sent us for it.
    async fn bearer(
        &self,
        image: &Reference,
        place: &str,
        challenge: Challenge,
        peer: IpAddr,
    ) -> Result<String, RegistryError> {
        let login = self.credentials.find(image.key()).await.map_err(RegistryError::Refused)?;
        let (server, path) = self.sent_to(image, &challenge.realm, "for a token")?;
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
        let request = request
            .map_err(|_| RegistryError::Refused(format!("{}: its token server has no address", image.domain)))?;
        let reach = reach(image, &server, peer);
        let answer = server.ask(request, reach, Body::UpTo(MAX_GRANT)).await;
        let answer = answer.map_err(|silence| trouble(silence, image, &server))?;
        let answer = checked(answer, image, login.is_some())?;
        let granted: TokenResponse = serde_json::from_slice(&answer.body)
            .map_err(|_| RegistryError::Refused(format!("{}: its token server answered no token", image.domain)))?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(TOKEN_LIFE)).min(LONGEST_WAIT);
        let token =
            granted.token.or(granted.access_token).filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN);
        let token = token
            .ok_or_else(|| RegistryError::Refused(format!("{}: its token server answered no token", image.domain)))?;
        let until = self.clock.now() + life;
        self.keys.lock().insert(place.to_owned(), Key::Bearer { challenge, token: token.clone(), until, peer });
        Ok(format!("Bearer {token}"))
    }

    async fn send(
        &self,
        method: &Method,
        image: &Reference,
        path: &str,
        key: Option<String>,
        body: Body,
    ) -> Result<Answer, RegistryError> {
        let mut server = Server { host: image.host().to_owned(), plain: self.is_plain(image.host()) };
        let (mut path, mut key) = (path.to_owned(), key);
        let mut may = own_reach(&server);
        for _ in 0..=REDIRECTS {
            let mut answer = server.ask(request(method, &path, key.as_deref())?, may, body).await;
            // As Docker does on this host: encrypted or not, whichever is spoken.
            let garbled = match &answer {
                Ok(answer) => server.plain && answer.status == StatusCode::BAD_REQUEST,
                Err(silence) => matches!(silence, RequestError::Unavailable(_)),
            };
            if garbled && server.host == image.host() && is_this_host(&server.host) {
                self.encrypted.lock().insert(server.host.clone(), server.plain);
                server.plain = !server.plain;
                answer = server.ask(request(method, &path, key.as_deref())?, own_reach(&server), body).await;
            }
            let answer = answer.map_err(|silence| trouble(silence, image, &server))?;
            let to = answer.header("location").filter(|_| answer.status.is_redirection());
            let Some(to) = to else {
                if answer.status == StatusCode::UNAUTHORIZED && server.host != image.host() {
                    // Its question is for others: our key is the registry's.
                    return Err(RegistryError::Refused(format!(
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
            let (next, at) = self.sent_to(image, to, "on")?;
            // What opens one server is nothing to another. Where a third one sends us is judged by who sent us first.
            key = key.filter(|_| next == server);
            if !matches!(may, AllowedAddresses::Beside(_)) || next.host == image.host() {
                may = reach(image, &next, answer.peer);
            }
            (server, path) = (next, at);
        }
        Err(RegistryError::Refused(format!("{} sends us around in circles", image.domain)))
    }

    /// Another server that a registry names: encrypted, unless it is that registry itself on this host.
    fn sent_to(&self, image: &Reference, url: &str, what: &str) -> Result<(Server, String), RegistryError> {
        let place = |server: &Server| !server.plain || (server.host == image.host() && self.is_plain(&server.host));
        Server::of_url(url).filter(|(server, _)| place(server)).ok_or_else(|| {
            let url: String = url.chars().take(200).collect();
            let url = url.split_once('@').map_or(url.as_str(), |(_, rest)| rest);
            RegistryError::Refused(format!(
                "{} sends us {what} to `{url}`, which is not encrypted, or no address: plain HTTP is for a registry on this \
                 host itself only",
                image.domain
            ))
        })
    }

    fn is_plain(&self, host: &str) -> bool {
        is_this_host(host) && !self.encrypted.lock().get(host).copied().unwrap_or(false)
    }
}

impl RegistryClient for Registries {
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<ImageDigest, RegistryError>> {
        within(image, self.head(image)).boxed()
    }

    fn platforms<'a>(
        &'a self,
        image: &'a Reference,
        digest: &'a ImageDigest,
    ) -> BoxFuture<'a, Result<Platforms, RegistryError>> {
        within(image, self.kinds(image, digest)).boxed()
    }

    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, RegistryError>> {
        within(image, self.list(image)).boxed()
    }
}

/// One question, with all its requests, has so long.
async fn within<T>(
    image: &Reference,
    question: impl Future<Output = Result<T, RegistryError>>,
) -> Result<T, RegistryError> {
    let domain = &image.domain;
    match tokio::time::timeout(MAX_TIME, question).await {
        Ok(Err(RegistryError::TooLong)) => {
            Err(RegistryError::Refused(format!("{domain} sent a longer answer than composed reads")))
        }
        Ok(answer) => answer,
        Err(_) => Err(RegistryError::Away(format!("{domain} did not answer in full within {} s", MAX_TIME.as_secs()))),
    }
}

fn request(method: &Method, path: &str, key: Option<&str>) -> Result<Request<Full<Bytes>>, RegistryError> {
    let request = Request::builder().method(method).uri(path).header("accept", KINDS);
    let request = match key {
        Some(key) => request.header("authorization", key),
        None => request,
    };
    request.body(Full::default()).map_err(|_| RegistryError::Refused("an address that cannot be asked".to_owned()))
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// An answer that is one.
fn checked(answer: Answer, image: &Reference, opened: bool) -> Result<Answer, RegistryError> {
    let domain = &image.domain;
    let wait = answer.header("retry-after").and_then(wait);
    match answer.status {
        status if status.is_success() => Ok(answer),
        StatusCode::TOO_MANY_REQUESTS => {
            Err(RegistryError::Busy { why: format!("{domain} has had too many requests from here"), wait })
        }
        StatusCode::NOT_FOUND => {
            Err(RegistryError::Refused(format!("{domain} has no {image}, or does not show it to us")))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if opened => {
            Err(RegistryError::Refused(format!("{domain} does not accept our credentials for {}", image.repository)))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Refused(format!(
            "{domain} asks for credentials for {}: run `docker login {domain}` as the user that composed runs as",
            image.repository
        ))),
        status if status.is_server_error() && wait.is_some() => {
            Err(RegistryError::Busy { why: format!("{domain} answered {status}"), wait })
        }
        status if status.is_server_error() => Err(RegistryError::Away(format!("{domain} answered {status}"))),
        status => Err(RegistryError::Refused(format!("{domain} answered {status}"))),
    }
}
