//! Webhooks of git servers: whoever knows the secret may ask for a look now. What they say is not used for anything else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use composed_core::hex;
use composed_platform::listen::{Connections, HttpOptions, Listener, Slot, serve_http};
use composed_platform::secret::Secret;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use parking_lot::Mutex;
use ring::hmac;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The largest body in bytes.
const MAX_BODY: usize = 1 << 20;
/// The largest head in bytes.
const MAX_HEAD: usize = 16 << 10;
/// A repository is looked at so often by webhooks within a `MINUTE`; its interval does the rest.
const LOOKS: usize = 10;
const MINUTE: Duration = Duration::from_mins(1);
/// So many deliveries are remembered of each repository.
const REMEMBERED: usize = 1000;

/// Whose words a webhook uses. One is set for each address: the sender does not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// GitHub: HMAC-SHA256 of the body.
    Github,
    /// GitLab: the secret itself.
    Gitlab,
    /// Gitea: HMAC-SHA256 of the body.
    Gitea,
    /// Forgejo: HMAC-SHA256 of the body.
    Forgejo,
}

/// The webhook of one repository.
pub struct Webhook {
    name: String,
    provider: Provider,
    key: hmac::Key,
    secret: Secret,
    nudge: Arc<Notify>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    deliveries: VecDeque<[u8; 32]>,
    looks: VecDeque<Instant>,
    refused: bool,
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// There will be a look.
    Taken,
    /// It was here before.
    Known,
    /// The sender does not know the secret.
    Refused,
    /// There were too many.
    TooMany,
}

impl Webhook {
    /// The webhook at the path `/name`. A delivery wakes `nudge`.
    pub fn new(name: &str, provider: Provider, secret: &str, nudge: Arc<Notify>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let secret = Secret::new(secret.as_bytes());
        Self { name: name.to_owned(), provider, key, secret, nudge, seen: Mutex::default() }
    }

    /// Takes a delivery.
    pub fn take(&self, headers: &HeaderMap, body: &[u8]) -> DeliveryResult {
        let mut seen = self.seen.lock();
        if !self.is_signed(headers, body) {
            if !std::mem::replace(&mut seen.refused, true) {
                tracing::warn!(repository = self.name, "a webhook without a valid signature was refused");
            }
            return DeliveryResult::Refused;
        }
        seen.refused = false;
        // The signature is of the body alone, so a body that was here is as old as an id that was.
        let id = header(headers, self.provider.words().1).map(|id| Sha256::digest(id).into());
        let each: Vec<[u8; 32]> = [Some(Sha256::digest(body).into()), id].into_iter().flatten().collect();
        if each.iter().any(|one| seen.deliveries.contains(one)) {
            return DeliveryResult::Known;
        }
        let now = Instant::now();
        seen.looks.retain(|look| now.duration_since(*look) < MINUTE);
        if seen.looks.len() >= LOOKS {
            return DeliveryResult::TooMany;
        }
        seen.looks.push_back(now);
        seen.deliveries.extend(each);
        let old = seen.deliveries.len().saturating_sub(REMEMBERED);
        seen.deliveries.drain(..old);
        self.nudge.notify_one();
        DeliveryResult::Taken
    }

    /// Compared in constant time, over the bytes as they came.
    fn is_signed(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some(given) = header(headers, self.provider.words().0) else { return false };
        match self.provider {
            Provider::Gitlab => self.secret.is(given),
            Provider::Github => match given.strip_prefix(b"sha256=") {
                Some(given) => self.verify(given, body),
                None => false,
            },
            Provider::Gitea | Provider::Forgejo => self.verify(given, body),
        }
    }

    fn verify(&self, hexadecimal: &[u8], body: &[u8]) -> bool {
        hex::decode(hexadecimal).is_some_and(|tag| hmac::verify(&self.key, body, &tag).is_ok())
    }
}

impl Provider {
    /// The headers with the signature and with the delivery's id.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Github => ("x-hub-signature-256", "x-github-delivery"),
            Self::Gitlab => ("x-gitlab-token", "x-gitlab-event-uuid"),
            Self::Gitea => ("x-gitea-signature", "x-gitea-delivery"),
            Self::Forgejo => ("x-forgejo-signature", "x-forgejo-delivery"),
        }
    }
}

/// The value of a header that is there once.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    Some(value.as_bytes())
}

/// Serves webhooks on an address.
///
/// # Errors
/// The address cannot be listened on.
pub async fn serve(address: SocketAddr, hooks: Arc<Vec<Webhook>>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "webhooks are taken");
    serve_on(listener, hooks).await
}

/// Serves webhooks to those who connect. They come through public names, so any `Host` will do: what is asked for is
/// proved by its signature, and nothing can be read here.
///
/// # Errors
/// None: it serves until it is dropped.
pub async fn serve_on(listener: TcpListener, hooks: Arc<Vec<Webhook>>) -> std::io::Result<()> {
    let connections = Connections::new("webhooks", Listener::Webhooks.limits());
    let http = HttpOptions { max_head: MAX_HEAD, keep_alive: false, hosts: None };
    let make = move |slot: &Arc<Slot>| {
        let (hooks, slot) = (Arc::clone(&hooks), Arc::clone(slot));
        service_fn(move |request| {
            let (hooks, slot) = (Arc::clone(&hooks), Arc::clone(&slot));
            async move {
                // Until the signature was checked: a body that comes byte by byte keeps nobody out.
                let _stranger = slot.distrust();
                Ok::<_, Infallible>(answer(&hooks, request).await)
            }
        })
    };
    match serve_http(listener, connections, http, make).await {}
}

async fn answer(hooks: &[Webhook], request: Request<Incoming>) -> Response<Full<Bytes>> {
    let name = request.uri().path().trim_matches('/');
    let Some(hook) = hooks.iter().find(|hook| hook.name == name) else {
        return reply(StatusCode::NOT_FOUND, "there is no such webhook\n");
    };
    if *request.method() != Method::POST {
        return reply(StatusCode::METHOD_NOT_ALLOWED, "webhooks are posted\n");
    }
    let (parts, body) = request.into_parts();
    if body.size_hint().lower() > MAX_BODY as u64 {
        return reply(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB\n");
    }
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return reply(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 1 MiB, or was cut short\n");
    };
    match hook.take(&parts.headers, &body.to_bytes()) {
        DeliveryResult::Taken => reply(StatusCode::ACCEPTED, "there will be a look\n"),
        DeliveryResult::Known => reply(StatusCode::OK, "it was here before\n"),
        DeliveryResult::Refused => reply(StatusCode::UNAUTHORIZED, "the signature is missing or wrong\n"),
        DeliveryResult::TooMany => {
            let mut response = reply(StatusCode::TOO_MANY_REQUESTS, "that is often enough\n");
            response.headers_mut().insert(RETRY_AFTER, MINUTE.as_secs().into());
            response
        }
    }
}

fn reply(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response
}
