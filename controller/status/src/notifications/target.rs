//! A receiver: where it is, which words it takes, and which outcomes it wants.

use std::path::PathBuf;
use std::time::Duration;

use composed_core::model::{Notification, NotificationKind};
use composed_platform::http_client::Body;
use composed_platform::secret::read_secret;
use composed_platform::transport::Server;
use composed_platform::transport::reach::AllowedAddresses;
use crd_schema::settings::{NotifyFormat, NotifyOn, NotifySettings};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::{Request, StatusCode};

use super::delivery::{Failure, Message};

/// A receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotificationTarget {
    /// Its name in messages.
    pub name: String,
    /// The words it takes.
    pub format: NotifyFormat,
    url: Url,
    token_file: Option<PathBuf>,
    projects: Vec<String>,
    on: Vec<NotifyOn>,
}

#[derive(Clone, PartialEq, Eq)]
enum Url {
    Given(String),
    In(PathBuf),
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl NotificationTarget {
    /// The receiver that settings describe; paths of files begin at `dir`.
    ///
    /// # Errors
    /// What is wrong with it, in words, and without the address.
    pub fn of(settings: &NotifySettings, dir: &std::path::Path) -> Result<Self, String> {
        let format = settings.format.unwrap_or_default();
        let word = match format {
            NotifyFormat::Json => "json",
            NotifyFormat::Slack => "slack",
            NotifyFormat::Discord => "discord",
            NotifyFormat::Ntfy => "ntfy",
            NotifyFormat::Gotify => "gotify",
        };
        let name = settings.name.clone().unwrap_or_else(|| word.to_owned());
        let secret_address = matches!(format, NotifyFormat::Slack | NotifyFormat::Discord);
        let url = match (&settings.url, &settings.url_file) {
            (Some(_), None) if secret_address => {
                return Err(format!("notify {name}: the address of {word} is a secret: write it into a `url_file`"));
            }
            (Some(url), None) => {
                place(url).ok_or_else(|| {
                    format!("notify {name}: its `url` is not http://... or https://..., without a password")
                })?;
                Url::Given(url.clone())
            }
            (None, Some(file)) => {
                let file = dir.join(file);
                // That it is there is told at once; it is read again each time.
                let url = read_secret(&file).map_err(|why| format!("notify {name}: {why}"))?;
                place(&url).ok_or_else(|| {
                    format!("notify {name}: {} holds no http://... or https://... without a password", file.display())
                })?;
                Url::In(file)
            }
            _ => return Err(format!("notify {name}: write `url` or `url_file`, one of the two")),
        };
        let token_file = settings.token_file.as_ref().map(|file| dir.join(file));
        if let Some(file) = &token_file {
            read_secret(file).map_err(|why| format!("notify {name}: {why}"))?;
        } else if format == NotifyFormat::Gotify {
            return Err(format!("notify {name}: gotify needs a `token_file` with the key of an application"));
        }
        Ok(Self { name, format, url, token_file, projects: settings.projects.clone(), on: settings.on.clone() })
    }

    /// Whether it wants to be told of an outcome.
    pub fn wants(&self, notice: &Notification) -> bool {
        let kind = match notice.event {
            NotificationKind::Deployed => NotifyOn::Deployed,
            NotificationKind::Failed => NotifyOn::Failed,
            NotificationKind::HookFailed => NotifyOn::HookFailed,
            NotificationKind::Contended => NotifyOn::Contended,
        };
        let about = self.projects.iter().any(|pattern| crd_schema::fits(pattern, &notice.project));
        (self.on.is_empty() || self.on.contains(&kind)) && (self.projects.is_empty() || about)
    }

    pub(super) async fn post(&self, message: &Message) -> Result<(), Failure> {
        let unread = |why| Failure::Away(why, None);
        let url = match &self.url {
            Url::Given(url) => url.clone(),
            Url::In(file) => read_secret(file).map_err(unread)?,
        };
        let token = self.token_file.as_ref().map(|file| read_secret(file)).transpose().map_err(unread)?;
        let (server, path) = place(&url).ok_or_else(|| Failure::Refused("its address is none".to_owned()))?;
        let host = server.host.clone();
        let path = format!("{}{}", path.trim_end_matches('/'), message.path);
        let mut request = Request::post(if path.is_empty() { "/" } else { &path });
        for (name, value) in &message.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = token {
            request = match self.format {
                NotifyFormat::Gotify => request.header("x-gotify-key", token),
                _ => request.header("authorization", format!("Bearer {token}")),
            };
        }
        let request = request.body(Full::new(Bytes::from(message.body.clone())));
        let request = request.map_err(|_| Failure::Refused(format!("{host}: its address cannot be asked")))?;
        // Nothing of its answer but the status counts, and no redirection is followed: it would have the secrets.
        let answer = server.ask(request, AllowedAddresses::Anywhere, Body::Ignored).await;
        let answer = answer.map_err(|silence| Failure::Away(silence.words(&host), None))?;
        let wait = answer.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let said = format!("{host} answered {}", answer.status);
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Away(said, wait))
            }
            status if status.is_server_error() => Err(Failure::Away(said, wait)),
            _ => Err(Failure::Refused(said)),
        }
    }
}

/// Where an address leads. In plain HTTP only where somebody has written so.
fn place(url: &str) -> Option<(Server, String)> {
    Server::of_url(url)
}
