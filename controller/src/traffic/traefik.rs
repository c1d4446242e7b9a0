//! Traefik's file and HTTP providers: its dynamic configuration, made of the services' own `traefik.*` labels and of who
//! serves, for people who cannot let Traefik read the endpoint view.

mod config;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crd_schema::status::{Proof, TrafficPath};
use tokio::time::Instant;

use super::paths::{Path, Standing};
use super::share::weights;
use crate::board::{Board, Shown};
use crate::model::{Replica, ServiceName};

/// From a file's change, or an answer, to Traefik's taking note of it, and from its new configuration to the last request
/// by the old one.
const MARGIN: Duration = Duration::from_millis(400);
/// Traefik's HTTP provider is expected to ask at least so often (its default is 5 s).
const POLL: Duration = Duration::from_secs(6);
/// One that has not asked for so long has gone. Until then it may send requests by what it was given last.
const GONE: Duration = Duration::from_mins(10);
/// What was not handed over is looked at again after so long.
const LOOK: Duration = MARGIN;
/// What is waited for where the file cannot be written.
const STALE: &str = "Traefik's file to be written (the log says why it cannot be)";
/// So many takings are remembered.
const REMEMBERED: usize = 64;

/// A generated configuration, and who has taken what of it.
pub struct Traefik {
    board: Arc<Board>,
    /// Traefik's `providers.providersThrottleDuration`.
    throttle: Duration,
    by_file: bool,
    began: Instant,
    taken: Mutex<Taken>,
}

/// When which version of the board was handed over, newest last.
#[derive(Debug, Default)]
struct Taken {
    at: VecDeque<(u64, Instant)>,
    /// The file cannot be written, and says what it said before.
    stale: bool,
}

impl Taken {
    fn add(&mut self, version: u64) {
        // The first time counts.
        if self.at.back().is_some_and(|(last, _)| *last == version) {
            return;
        }
        self.at.push_back((version, Instant::now()));
        if self.at.len() > REMEMBERED {
            self.at.pop_front();
        }
    }

    /// When a version that holds what `version` holds was first handed over.
    fn first_with(&self, version: u64) -> Option<Instant> {
        self.at.iter().find(|(handed, _)| *handed >= version).map(|(_, at)| *at)
    }
}

impl Traefik {
    /// A configuration of what `board` shows, for a Traefik that applies changes at most every `throttle`.
    pub fn new(board: Arc<Board>, throttle: Duration, by_file: bool) -> Arc<Self> {
        Arc::new(Self { board, throttle, by_file, began: Instant::now(), taken: Mutex::default() })
    }

    /// The configuration, for Traefik's HTTP provider. Nothing before all services were looked at: Traefik keeps what it
    /// has.
    pub fn poll(&self) -> Option<String> {
        let (version, text) = self.render()?;
        self.lock().add(version);
        Some(text)
    }

    /// Keeps a file for Traefik's file provider as the board says, whole or not at all. Ends when the board does.
    pub async fn keep_file(self: Arc<Self>, path: PathBuf) {
        let mut versions = self.board.version();
        let mut last = None;
        loop {
            versions.borrow_and_update();
            if let Some((version, text)) = self.render() {
                let differs = last.as_ref() != Some(&text);
                let written = if differs { write(&path, &text) } else { Ok(()) };
                match written {
                    Ok(()) => {
                        last = Some(text);
                        let mut taken = self.lock();
                        taken.add(version);
                        taken.stale = false;
                    }
                    Err(error) => {
                        self.lock().stale = true;
                        tracing::error!(path = %path.display(), %error, "Traefik's configuration cannot be written");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        continue;
                    }
                }
            }
            if versions.changed().await.is_err() {
                return;
            }
        }
    }

    /// The version of the board, and the configuration as of then or later.
    fn render(&self) -> Option<(u64, String)> {
        let version = *self.board.version().borrow();
        if !self.board.health().ready {
            return None;
        }
        let labels = self.board.labels();
        let serving = self.board.statuses().into_iter().filter_map(|status| {
            let name = ServiceName::new(&status.project, &status.name);
            let by_revision = labels.get(&name)?;
            // The newest revision that serves is the one whose labels count.
            let replicas: Vec<_> = status.instances.iter().filter(|instance| instance.serves()).collect();
            let serves = |revision: &&String| replicas.iter().any(|instance| instance.revision == **revision);
            let wanted = [&status.revision].into_iter().chain(by_revision.keys()).find(serves);
            let own = by_revision.get(wanted.unwrap_or(&status.revision))?.clone();
            let weights = status.canary.as_ref().map(|canary| weights(canary, &replicas, u32::MAX));
            let addresses = replicas.iter().map(|instance| (instance.addresses.clone(), instance.endpoints.clone()));
            Some(config::Service { name, labels: own, replicas: addresses.collect(), weights })
        });
        let config = config::dynamic(&serving.collect::<Vec<_>>());
        Some((version, serde_json::to_string_pretty(&config).ok()?))
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Path for Traefik {
    /// The one who leaves is waited for: handed over, and then as long as Traefik may take to apply it. The one who comes
    /// need not be, as long as things can be handed over: until it is applied, requests go to those who stay.
    fn standing(&self, service: &ServiceName, _: &Replica, serves: bool, shown: Option<Shown>) -> Standing {
        // Whose labels are not known yet may be ours.
        if self.board.labels().get(service).is_some_and(|revisions| !revisions.values().any(config::concerns)) {
            return Standing::Unused;
        }
        // What the process before this one handed over may be in force.
        let begin = self.began + POLL + self.throttle + MARGIN;
        let before_us = || match Standing::before(begin, "Traefik to hear of this controller") {
            pending @ Standing::Pending { .. } if !serves => pending,
            _ => Standing::Unused,
        };
        let Some(shown) = shown else { return before_us() };
        let taken = self.lock();
        let polled = taken.at.back().is_some_and(|(_, at)| at.elapsed() < GONE);
        if !self.by_file && !polled {
            return before_us();
        }
        // Until things can be handed over: `progress_deadline` and `drain_timeout` end that.
        if serves {
            return if taken.stale { Standing::before(Instant::now() + LOOK, STALE) } else { Standing::Settled };
        }
        let handed = taken.first_with(shown.version).filter(|_| !shown.serving);
        let until = handed.map_or_else(|| Instant::now() + LOOK, |at| at + self.throttle + MARGIN);
        let what = match (taken.stale, self.by_file) {
            (true, _) => STALE,
            (false, true) => "Traefik to apply its file",
            (false, false) => "Traefik to ask and apply",
        };
        Standing::before(until, what)
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let labels = self.board.labels();
        labels.get(service).filter(|revisions| revisions.values().any(config::concerns))?;
        if !self.by_file && self.lock().at.back().is_none_or(|(_, at)| at.elapsed() >= GONE) {
            return None;
        }
        let path = if self.by_file { "Traefik's file" } else { "Traefik's HTTP provider" };
        let detail = format!("Traefik applies what it was given within {:?}", self.throttle + MARGIN);
        Some(TrafficPath { path: path.to_owned(), proof: Proof::Bounded, detail })
    }
}

fn write(path: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(text.as_bytes())?;
    // Traefik is somebody else.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> (Arc<Board>, ServiceName, Replica) {
        let replica = serde_json::from_value(serde_json::json!({
            "id": "id1", "name": "shop-web-1", "number": 1, "service": {"project": "shop", "name": "web"}, "revision": "r",
            "generation": 1, "created_at": "2026-01-01T00:00:00Z", "state": "running"
        }));
        (Arc::default(), ServiceName::new("shop", "web"), replica.unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_process_before_this_one_handed_over_is_waited_out() {
        let (board, service, replica) = scene();
        let throttle = Duration::from_secs(2);
        for by_file in [true, false] {
            let traefik = Traefik::new(Arc::clone(&board), throttle, by_file);
            assert_eq!(traefik.standing(&service, &replica, true, None), Standing::Unused);
            let leaving = || traefik.standing(&service, &replica, false, None);
            assert!(matches!(leaving(), Standing::Pending { .. }), "its labels are not even known yet");
            tokio::time::advance(POLL + throttle + MARGIN).await;
            assert_eq!(leaving(), Standing::Unused);
        }
        board.put_labels(&service, [("r".to_owned(), [("a".to_owned(), "b".to_owned())].into())].into());
        let traefik = Traefik::new(board, throttle, true);
        assert_eq!(traefik.standing(&service, &replica, false, None), Standing::Unused, "Traefik does not know it");
    }

    /// A replica that has left the board is not let go of before Traefik was told; nor does one count before it can be.
    #[tokio::test(start_paused = true)]
    async fn what_was_not_handed_over_is_waited_for() {
        let (board, service, replica) = scene();
        let labels = [("r".to_owned(), [("traefik.enable".to_owned(), "true".to_owned())].into())];
        board.put_labels(&service, labels.into());
        let traefik = Traefik::new(board, Duration::from_secs(2), true);
        let gone = || Some(Shown { serving: false, version: 7, since: Instant::now() });
        let there = || Some(Shown { serving: true, version: 7, since: Instant::now() });
        let held =
            |serves, shown| matches!(traefik.standing(&service, &replica, serves, shown), Standing::Pending { .. });
        traefik.lock().add(6);
        assert_eq!(traefik.standing(&service, &replica, true, there()), Standing::Settled);
        traefik.lock().stale = true;
        tokio::time::advance(Duration::from_mins(5)).await;
        assert!(held(true, there()) && held(false, gone()), "the file says what it said before");
        traefik.lock().stale = false;
        traefik.lock().add(7);
        assert!(!held(true, there()) && held(false, gone()), "Traefik may take its throttle");
        tokio::time::advance(Duration::from_secs(2) + MARGIN).await;
        assert!(!held(false, gone()));
    }
}
