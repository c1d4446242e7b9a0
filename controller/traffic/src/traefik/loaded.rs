//! What Traefik has loaded of what it was given, by the word of its own API. Each configuration has a number in it, as the
//! value of a header that a middleware of ours would set if any router named it; the API shows that middleware as it was
//! loaded.

use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::super::traefik_api;
use super::config::object;

/// One middleware is a few hundred bytes.
const MAX_ANSWER: usize = 64 << 10;
/// The header that holds the number.
const HEADER: &str = "composed-configuration";

/// An API that is asked which configuration is loaded.
pub(super) struct ApiMonitor {
    /// `127.0.0.1:8080`.
    authority: String,
    /// `file` or `http`.
    provider: &'static str,
    /// The name of the middleware: of this process alone, so that no other's number is taken for ours.
    name: String,
    said: Mutex<ApiAnswer>,
}

/// Its last answer.
#[derive(Clone, Debug, Default)]
pub(super) struct ApiAnswer {
    /// When the question was begun that this answers.
    pub(super) asked: Option<Instant>,
    /// The number of the configuration that is loaded; nothing if none of this process is, or if it did not answer.
    pub(super) number: Option<u64>,
    /// The highest number that was ever loaded.
    pub(super) highest: Option<u64>,
    /// Since when it does not answer, and why.
    pub(super) silent: Option<(Instant, String)>,
}

impl ApiMonitor {
    /// By the API at an `http://host:port`.
    pub(super) fn new(url: &str, by_file: bool) -> Self {
        let name = format!("composed-{:016x}", fastrand::u64(..));
        let provider = if by_file { "file" } else { "http" };
        Self { authority: traefik_api::authority(url), provider, name, said: Mutex::default() }
    }

    /// Puts the number into a configuration.
    pub(super) fn mark(&self, config: &mut Value, number: u64) {
        let header = json!({ HEADER: number.to_string() });
        if let Some(config) = config.as_object_mut() {
            let middlewares = object(object(config, "http"), "middlewares");
            middlewares.insert(self.name.clone(), json!({"headers": {"customResponseHeaders": header}}));
        }
    }

    /// Asks.
    pub(super) async fn ask(&self) {
        let asked = Instant::now();
        let path = format!("/api/http/middlewares/{}@{}", self.name, self.provider);
        let answer = match traefik_api::get(&self.authority, &path, MAX_ANSWER).await {
            Ok(answer) if answer.status.is_success() => serde_json::from_slice::<Value>(&answer.body)
                .map(|shown| number(&shown))
                .map_err(|_| "its answer is not JSON".to_owned()),
            // No such middleware: nothing of ours is loaded. A wrong address answers 404 to all.
            Ok(answer) if answer.status.as_u16() == 404 => Ok(None),
            Ok(answer) => Err(format!("it answered {}", answer.status)),
            Err(error) => Err(error.to_string()),
        };
        let mut said = self.lock();
        said.asked = Some(asked);
        match answer {
            Ok(number) => {
                (said.number, said.silent) = (number, None);
                said.highest = said.highest.max(number);
            }
            Err(why) => {
                let since = said.silent.as_ref().map_or(asked, |(since, _)| *since);
                (said.number, said.silent) = (None, Some((since, why)));
            }
        }
    }

    /// Its last answer.
    pub(super) fn said(&self) -> ApiAnswer {
        self.lock().clone()
    }

    /// The address that is asked.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    fn lock(&self) -> MutexGuard<'_, ApiAnswer> {
        self.said.lock()
    }
}

fn number(shown: &Value) -> Option<u64> {
    let headers = shown.pointer("/headers/customResponseHeaders")?.as_object()?;
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(HEADER))?.1.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_read_as_it_was_written() {
        let loaded = ApiMonitor::new("http://127.0.0.1:8080/", true);
        let mut config = json!({"tcp": {"routers": {"a": {}}}});
        loaded.mark(&mut config, 17);
        let written = &config["http"]["middlewares"][&loaded.name];
        assert_eq!(number(written), Some(17));
        assert_eq!(config["tcp"]["routers"]["a"], json!({}), "nothing else has changed");
        assert_eq!(number(&json!({"headers": {}})), None);
    }
}
