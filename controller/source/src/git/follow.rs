//! Follows one repository: asks, fetches, checks, and takes a commit in whole or not at all. Whatever is away or wrong, the
//! last good commit stays in force.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use tokio::sync::{Notify, mpsc, watch};

use super::address::Kind;
use super::command::GitError;
use super::follower::{Follower, RepositoryState};
use super::hint::Hints;
use super::kept::AcceptedCommit;
use super::mirror::Mirror;
use super::refs::{Follow, Offer};
use super::source::{GitSource, of_host};
use super::verdict::AcceptedReading;
use super::write_back::VersionUpdate;
use crate::catalog::Catalog;
use crate::reading::Reading;

/// The first wait after a failure; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// The longest wait after failures, unless the interval is longer.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// Hints closer together than this are one.
const DEBOUNCE: Duration = Duration::from_millis(10);
/// A copy that another process uses is asked for again after so long.
const LOCK_RETRY_INTERVAL: Duration = Duration::from_secs(2);

/// What is asked of a follower.
pub(super) struct FollowerRequests {
    /// A look now.
    pub(super) nudge: Arc<Notify>,
    /// To write a version back.
    pub(super) raised: mpsc::Receiver<VersionUpdate>,
}

/// Follows a repository until nobody listens any more. `room` is its directory.
pub(super) async fn follow(
    source: GitSource,
    room: PathBuf,
    asks: FollowerRequests,
    standing: watch::Sender<RepositoryState>,
) {
    let mut busy = false;
    let mirror = loop {
        match Mirror::open(&room, &source.address, &source.access, source.signed.allowed_signers.as_deref()).await {
            Ok(Some(mirror)) => break mirror,
            Ok(None) if !std::mem::replace(&mut busy, true) => {
                let room = room.display();
                tracing::warn!(repository = source.name, %room, "another process uses the copy: this one waits");
            }
            Ok(None) => {}
            Err(error) => say(&standing, Some(source.problem(&error.to_string(), None))),
        }
        tokio::select! {
            () = tokio::time::sleep(LOCK_RETRY_INTERVAL) => {}
            () = standing.closed() => return,
        }
    };
    let follow = source.follow.clone();
    let mut follower =
        Follower { source, room, mirror, follow, kept: None, catalog: Catalog::empty(true), in_force: None, standing };
    follower.restore().await;
    follower.run(asks).await;
}

impl Follower {
    async fn run(&mut self, asks: FollowerRequests) {
        let FollowerRequests { nudge, mut raised } = asks;
        let mut failures = 0;
        let local = match self.source.address.kind() {
            Kind::Local(path) => Some(path.clone()),
            Kind::Web | Kind::Ssh => None,
        };
        loop {
            // Begun anew each time: what is watched may have been replaced, which its watch does not tell.
            let mut hints = local.as_deref().map(Hints::of);
            failures = match self.look().await {
                Ok(()) => 0,
                Err(error) => {
                    self.troubled(&error).await;
                    failures + 1
                }
            };
            let wait = wait(self.source.interval, failures);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = nudge.notified() => {}
                Some(raise) = raised.recv() => self.write_back(&raise).await,
                () = hinted(hints.as_mut()) => tokio::time::sleep(DEBOUNCE).await,
                () = self.standing.closed() => return,
            }
        }
    }

    /// What was good before this process began goes on, whether the repository can be reached or not.
    async fn restore(&mut self) {
        let Some(kept) = AcceptedCommit::load(&self.room.join("kept.json")) else { return };
        if self.follow == Follow::Default {
            self.follow = Follow::Ref(kept.name.clone());
        }
        let offer = Offer { name: kept.name.clone(), object: kept.object.clone() };
        self.kept = Some(kept);
        if !self.mirror.has(&offer.object).await.unwrap_or_default() {
            // It is fetched again; what is new must still come after it.
            return;
        }
        match self.judge(&offer, &offer.object).await {
            Ok(verdict) => self.settle(offer, verdict),
            Err(error) => self.troubled(&error).await,
        }
    }

    /// One look at the repository.
    async fn look(&mut self) -> Result<(), GitError> {
        let offer = self.offer().await?;
        // What was refused is judged again: the keys on this host may be others by now.
        if self.in_force.as_ref() == Some(&offer) && !self.variables_differ() {
            say(&self.standing, None);
            return Ok(());
        }
        let base = self.kept.as_ref().map(|kept| kept.commit.id.as_str());
        let seen = self.mirror.fetch(&offer, base).await?;
        let verdict = self.judge(&offer, &seen).await?;
        if verdict.is_ok() {
            self.mirror.keep(&seen).await?;
        }
        self.settle(Offer { object: seen, ..offer }, verdict);
        Ok(())
    }

    /// Whether a file of variables of this host is not what is in force any more.
    fn variables_differ(&self) -> bool {
        let good = self.standing.borrow().good.clone();
        let differs =
            |good: &Reading, file: PathBuf| good.env_files.get(&file).is_some_and(|held| *held != of_host(&file));
        good.is_some_and(|good| self.source.variables().any(|file| differs(&good, file)))
    }

    async fn offer(&mut self) -> Result<Offer, GitError> {
        let (offers, head) = self.mirror.offers(&self.follow).await?;
        if let Some(offer) = self.follow.choose(&offers) {
            return Ok(offer);
        }
        let followed = match (&self.follow, &self.source.follow) {
            (Follow::Default, _) => match head {
                Some(branch) => {
                    self.follow = Follow::Ref(branch);
                    return Box::pin(self.offer()).await;
                }
                None => return Err(GitError::Failed("it has no default branch: say which to follow (ref)".to_owned())),
            },
            (gone, Follow::Default) => {
                // It may have another one by now; whether that goes on from here is judged as ever.
                let gone = gone.to_string();
                self.follow = Follow::Default;
                gone
            }
            (gone, _) => gone.to_string(),
        };
        Err(GitError::Failed(format!("{followed} is not there")))
    }

    fn settle(&mut self, offer: Offer, verdict: Result<AcceptedReading, String>) {
        match verdict {
            Ok(AcceptedReading { reading, catalog, kept }) => {
                let commit = &kept.commit;
                tracing::info!(
                    repository = self.source.name,
                    author = commit.author,
                    subject = commit.subject,
                    "commit {} is in force",
                    commit.short()
                );
                if let Err(error) = kept.save(&self.room.join("kept.json")) {
                    tracing::warn!(repository = self.source.name, %error, "the good commit cannot be remembered over a restart");
                }
                self.kept = Some(kept);
                self.catalog = catalog;
                self.in_force = Some(offer);
                self.standing.send_replace(RepositoryState { good: Some(Arc::new(reading)), problem: None });
            }
            Err(why) => {
                let why = format!("{why}\n{}", self.stays());
                say(&self.standing, Some(why));
            }
        }
    }

    async fn troubled(&mut self, error: &GitError) {
        let broken = match error {
            GitError::Broken(_) | GitError::TooMuch(_) => true,
            GitError::Failed(_) => !self.mirror.is_whole().await,
            GitError::Absent(_) | GitError::Slow(..) => false,
        };
        if broken {
            // What is in force is in memory; the rest can be fetched again.
            self.in_force = None;
            if let Err(error) = self.mirror.begin("sha1").await {
                tracing::warn!(repository = self.source.name, %error, "the copy cannot be begun anew");
            }
        }
        let problem = self.source.problem(&error.to_string(), None);
        say(&self.standing, Some(format!("{problem}\n{}", self.stays())));
    }

    /// What is in force meanwhile, in words.
    fn stays(&self) -> String {
        let kept = self.kept.as_ref().filter(|_| self.standing.borrow().good.is_some());
        kept.map_or_else(
            || "  nothing of it is in force yet".to_owned(),
            |kept| format!("  commit {} stays in force", kept.commit),
        )
    }
}

fn say(standing: &watch::Sender<RepositoryState>, problem: Option<String>) {
    standing.send_if_modified(|standing| {
        let news = standing.problem != problem;
        standing.problem = problem;
        news
    });
}

async fn hinted(hints: Option<&mut Hints>) {
    match hints {
        Some(hints) => hints.next().await,
        None => std::future::pending().await,
    }
}

/// How long until the next look: the interval, or less after a failure, and each time a bit more or less.
fn wait(interval: Duration, failures: u32) -> Duration {
    let backoff = Backoff { first: FIRST_RETRY, longest: LONGEST_RETRY.max(interval), jitter: Jitter::None };
    let wait = if failures == 0 { interval } else { backoff.after(failures as usize) };
    wait.mul_f64(0.9 + 0.2 * fastrand::f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_retried_soon_and_then_ever_more_slowly() {
        let minute = Duration::from_mins(1);
        for (failures, about) in [(0, minute), (1, FIRST_RETRY), (3, 4 * FIRST_RETRY), (30, LONGEST_RETRY)] {
            let wait = wait(minute, failures);
            assert!(wait >= about.mul_f64(0.89) && wait <= about.mul_f64(1.11), "{failures}: {wait:?}");
        }
    }
}
