//! `composed companion`: bridges to a front's runtime API (`bridge`), or counts the requests in flight in the network namespace that it was started in, and says so in
//! one line of JSON every 100 ms. No capability, no file, no network traffic of its own; ends by itself.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::EngineError;
use composed_docker::Docker;
use composed_platform::clock::Clock;
use crd_schema::ImageRef;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::bridge;
use super::inflight::{Among, Look, Requests, Talks, look};

/// Between two lines.
pub const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The word that makes a companion a bridge.
const BRIDGE: &str = "bridge";
/// The word for several requests at once on one connection.
const INTERLEAVED: &str = "interleaved";

/// How the network namespaces of replicas are entered.
#[derive(Clone, Debug, Default)]
pub enum NamespaceAccess {
    /// By this process where it can, else by a companion if composed is itself a container.
    #[default]
    Nearest,
    /// Always by a companion: a container of this image that runs this program as `program companion`.
    Companion {
        /// An image that the engine has.
        image: ImageRef,
        /// Where composed is in it.
        program: PathBuf,
    },
}

/// What companions are made of.
pub(super) struct CompanionImage {
    pub(super) docker: Arc<Docker>,
    pub(super) image: ImageRef,
    pub(super) program: PathBuf,
}

/// Finds out once what companions are made of.
pub(super) struct CompanionImages {
    way: NamespaceAccess,
    docker: Option<Arc<Docker>>,
    found: OnceCell<Option<CompanionImage>>,
}

impl CompanionImages {
    /// Nothing is known yet. Without an engine there are no companions.
    pub(super) fn new(way: NamespaceAccess, docker: Option<Arc<Docker>>) -> Self {
        Self { way, docker, found: OnceCell::new() }
    }

    /// Whether a namespace is entered by this process first, where it may.
    pub(super) fn are_second(&self) -> bool {
        matches!(self.way, NamespaceAccess::Nearest)
    }

    /// What they are made of; nothing where there can be none. An engine that does not say is asked again the next time.
    pub(super) async fn find(&self) -> Result<Option<&CompanionImage>, EngineError> {
        let found = self.found.get_or_try_init(|| async {
            let Some(docker) = self.docker.clone() else { return Ok(None) };
            let made = match &self.way {
                NamespaceAccess::Companion { image, program } => Some((image.clone(), program.clone())),
                NamespaceAccess::Nearest => docker.own_image().await?.zip(std::env::current_exe().ok()),
            };
            Ok(made.map(|(image, program)| CompanionImage { docker, image, program }))
        });
        Ok(found.await?.as_ref())
    }
}

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Look { busy: u32, open: u32, listening: u32 },
    Failed(String),
}

/// The words after the program's name, for one that lives so long.
pub(super) fn arguments(limit: Duration, requests: Requests) -> Vec<String> {
    let interleaved = (requests == Requests::Interleaved).then(|| INTERLEAVED.to_owned());
    ["companion".to_owned(), limit.as_secs().to_string()].into_iter().chain(interleaved).collect()
}

/// The words after the program's name, for one that is a bridge.
pub(super) fn bridge_arguments() -> [String; 2] {
    ["companion".to_owned(), BRIDGE.to_owned()]
}

/// The hidden verb; `words` are those after it: the seconds that it lives, `interleaved` after them or not, or `bridge`.
pub fn companion_main(words: &[String]) -> ExitCode {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (seconds, requests) = match words[..] {
        [BRIDGE] => return bridge::bridge_main(),
        [seconds] => (seconds, Requests::InTurn),
        [seconds, INTERLEAVED] => (seconds, Requests::Interleaved),
        _ => return usage(),
    };
    let Ok(seconds) = seconds.parse() else { return usage() };
    let among = Among { ports: None, requests };
    let clock = Clock::system();
    let end = clock.now().saturating_add(Duration::from_secs(seconds)).unwrap_or(jiff::Timestamp::MAX);
    let (mut out, mut talks) = (std::io::stdout(), Talks::default());
    while clock.now() < end {
        let line = match look(&among, &mut talks) {
            Ok(Look { busy, open, listening }) => Line::Look { busy, open, listening },
            Err(error) => Line::Failed(error.to_string()),
        };
        let written = serde_json::to_string(&line).map_err(std::io::Error::from);
        if written.and_then(|text| writeln!(out, "{text}")).and_then(|()| out.flush()).is_err() {
            break;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    ExitCode::SUCCESS
}

/// What a companion's line says.
pub(super) fn read(line: &str) -> Result<Look, String> {
    match serde_json::from_str(line) {
        Ok(Line::Look { busy, open, listening }) => Ok(Look { busy, open, listening }),
        Ok(Line::Failed(why)) => Err(why),
        Err(_) => Err(line.chars().take(200).collect()),
    }
}

fn usage() -> ExitCode {
    eprintln!("usage: composed companion SECONDS [interleaved]|bridge");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let line = serde_json::to_string(&Line::Look { busy: 3, open: 4, listening: 1 }).expect("a line");
        assert_eq!(read(&line), Ok(Look { busy: 3, open: 4, listening: 1 }));
        assert_eq!(read(r#"{"failed":"no room"}"#), Err("no room".to_owned()));
        assert_eq!(read("exec format error"), Err("exec format error".to_owned()));
    }
}
