//! One pull, to its end, and how far it has come.

use crd_schema::{ImageId, ImageRef};
use std::{collections::BTreeMap, time::Duration};

use bollard::{auth::DockerCredentials, models::CreateImageInfo, query_parameters::CreateImageOptions};
use composed_core::model::PullProgress;
use composed_core::reference::Reference;
use composed_registry::credentials::{Credentials, Login};
use futures_util::StreamExt as _;

use super::super::{
    connect::{self, Api},
    errors::chain,
};

/// A pull that says nothing for so long has failed; the engine itself sets no limit.
const SILENT_PULL: Duration = Duration::from_mins(10);

/// Why a pull has failed.
#[derive(Debug)]
pub(super) struct FailedPull {
    /// The engine's words.
    pub(super) message: String,
    /// The registry has no such image, or not for us: asking again changes nothing.
    pub(super) refused: bool,
}

impl FailedPull {
    /// One that may go well another time.
    fn now(message: String) -> Self {
        Self { message, refused: false }
    }

    /// As the engine says: the status of its answer, or, once that has begun, what registries say. Source: distribution's
    /// `api/errcode`, moby's `distribution/errors.go`.
    fn by(error: &bollard::errors::Error) -> Self {
        const REFUSALS: [&str; 8] = [
            "manifest unknown",
            "name unknown",
            "repository name not known",
            "pull access denied",
            "requested access to the resource is denied",
            "unauthorized",
            "no matching manifest for",
            "no basic auth credentials",
        ];
        let message = words(error);
        let status = match error {
            bollard::errors::Error::DockerResponseServerError { status_code, .. } => *status_code,
            _ => 0,
        };
        let lower = message.to_lowercase();
        let refused = [401, 403, 404].contains(&status) || REFUSALS.iter().any(|words| lower.contains(words));
        Self { message, refused }
    }
}

/// Fetches an image; its id, if it was not here before.
pub(super) async fn fetch(
    api: &Api,
    credentials: &Credentials,
    image: &ImageRef,
    platform: String,
    note: impl Fn(PullProgress),
) -> Result<Option<ImageId>, FailedPull> {
    let options = CreateImageOptions {
        from_image: Some(image.to_string()),
        // Without a tag the engine would fetch all of them.
        tag: (!has_tag(image)).then(|| "latest".to_owned()),
        platform,
        ..CreateImageOptions::default()
    };
    let login = match Reference::parse(image) {
        Some(reference) => login(credentials, &reference).await,
        None => None,
    };
    let mut progress = Box::pin(api.client.create_image(Some(options), None, login));
    let mut layers = Layers::default();
    let mut new = false;
    loop {
        match tokio::time::timeout(SILENT_PULL, progress.next()).await {
            Err(_) => return Err(FailedPull::now(format!("no progress within {} s", SILENT_PULL.as_secs()))),
            Ok(Some(Err(error))) => return Err(FailedPull::by(&error)),
            Ok(Some(Ok(line))) => {
                // The engine's last word; the other is "Image is up to date".
                new |= line.status.as_ref().is_some_and(|status| status.starts_with("Status: Downloaded newer image"));
                if let Some(progress) = layers.take_in(line) {
                    note(progress);
                }
            }
            Ok(None) => break,
        }
    }
    // An error may come in a form that bollard does not know, inside the answer with status 200.
    let name = connect::reference(image.as_str()).map_err(|error| FailedPull::now(error.to_string()))?;
    match api.answer(api.client.inspect_image(name)).await {
        Ok(Ok(image)) => Ok(image.id.filter(|_| new).map(ImageId::new)),
        Ok(Err(error)) => Err(FailedPull::now(format!("the pull ended without the image: {}", words(&error)))),
        Err(error) => Err(FailedPull::now(error.to_string())),
    }
}

/// Who we are to the registry of an image. Without an answer it may be open to all; the engine will say.
async fn login(credentials: &Credentials, image: &Reference) -> Option<DockerCredentials> {
    let found = credentials.find(image.key()).await.unwrap_or_else(|why| {
        tracing::warn!(%image, "{why}");
        None
    });
    let serveraddress = Some(image.key().to_owned());
    Some(match found? {
        Login::Password { user, password } => DockerCredentials {
            username: Some(user),
            password: Some(password),
            serveraddress,
            ..DockerCredentials::default()
        },
        Login::Token(token) => {
            DockerCredentials { identitytoken: Some(token), serveraddress, ..DockerCredentials::default() }
        }
    })
}

/// The layers of a pull, as its lines tell of them: bytes that are here, bytes in all, whether it is done.
#[derive(Debug, Default)]
struct Layers(BTreeMap<String, (u64, u64, bool)>);

impl Layers {
    fn take_in(&mut self, line: CreateImageInfo) -> Option<PullProgress> {
        let (id, status) = (line.id?, line.status?);
        // The tag has a line as well.
        if status.starts_with("Pulling from") {
            return None;
        }
        let (here, all, done) = self.0.entry(id).or_default();
        let size = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(0);
        match (status.as_str(), line.progress_detail) {
            ("Downloading", Some(detail)) => (*here, *all) = (size(detail.current), size(detail.total).max(*all)),
            ("Verifying Checksum" | "Download complete" | "Extracting", _) => *here = *all,
            ("Pull complete" | "Already exists", _) => (*here, *done) = (*all, true),
            _ => {}
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Some(PullProgress {
            layers_done: count(self.0.values().filter(|(.., done)| *done).count()),
            layers: count(self.0.len()),
            bytes: self.0.values().map(|(here, ..)| here).sum(),
            total: self.0.values().map(|(_, all, _)| all).sum(),
        })
    }
}

fn has_tag(image: &ImageRef) -> bool {
    let image = image.as_str();
    let name = image.rsplit('/').next().unwrap_or(image);
    image.contains('@') || name.contains(':')
}

fn words(error: &bollard::errors::Error) -> String {
    use bollard::errors::Error;
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => chain(other),
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_after_the_last_slash() {
        assert!(
            has_tag(&ImageRef::new("a:1"))
                && has_tag(&ImageRef::new("r:5000/a:1"))
                && has_tag(&ImageRef::new("a@sha256:00"))
        );
        assert!(!has_tag(&ImageRef::new("a")) && !has_tag(&ImageRef::new("r:5000/a")));
    }

    #[test]
    fn a_registry_that_refuses_is_told_from_one_that_is_away() {
        use bollard::errors::Error;
        let answer = |status_code: u16, message: &str| {
            FailedPull::by(&Error::DockerResponseServerError { status_code, message: message.to_owned() }).refused
        };
        let stream = |words: &str| FailedPull::by(&Error::DockerStreamError { error: words.to_owned() }).refused;
        assert!(answer(404, "manifest for shop/web:9 not found: manifest unknown: manifest unknown"));
        assert!(answer(
            404,
            "pull access denied for shop/web, repository does not exist or may require 'docker login'"
        ));
        assert!(answer(500, "Get \"https://r.example/v2/\": unauthorized: authentication required"));
        assert!(stream("no matching manifest for linux/arm64/v8 in the manifest list entries"));
        for away in
            ["dial tcp: lookup r.example: no such host", "net/http: TLS handshake timeout", "connection refused"]
        {
            assert!(!answer(500, away) && !stream(away), "{away}");
        }
        assert!(!answer(429, "toomanyrequests: You have reached your pull rate limit"));
        assert!(!answer(503, "service unavailable"));
    }

    #[test]
    fn lines_of_a_pull_come_to_layers_and_bytes() {
        let lines = [
            serde_json::json!({"id": "latest", "status": "Pulling from shop/web"}),
            serde_json::json!({"id": "a", "status": "Already exists"}),
            serde_json::json!({"id": "b", "status": "Pulling fs layer"}),
            serde_json::json!({"id": "b", "status": "Downloading", "progressDetail": {"current": 10, "total": 100}}),
            serde_json::json!({"id": "c", "status": "Downloading", "progressDetail": {"current": 5, "total": 50}}),
            serde_json::json!({"id": "c", "status": "Download complete"}),
            serde_json::json!({"id": "c", "status": "Pull complete"}),
            serde_json::json!({"status": "Digest: sha256:00"}),
        ];
        let mut layers = Layers::default();
        let all = lines.map(|line| layers.take_in(serde_json::from_value(line).expect("a line")));
        assert_eq!(all[0], None);
        assert_eq!(all[4], Some(PullProgress { layers_done: 1, layers: 3, bytes: 15, total: 150 }));
        assert_eq!(all[6], Some(PullProgress { layers_done: 2, layers: 3, bytes: 60, total: 150 }));
        assert_eq!(all[7], None);
    }
}
