//! WHAT REGISTRIES SAY. Asks registries what tags stand for and which versions there are: each question once, however many
//! services it is for, spread over its interval, and less often while there is no answer. What it learns is a fact for the
//! next pass; it decides nothing and fetches nothing.

pub mod credentials;
mod query;
pub mod registry;
pub mod updates;
pub mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use composed_core::backoff::{Backoff, Jitter};
use composed_core::model::RegistryAnswer;
use composed_core::reference::Reference;
use composed_platform::clock::Clock;
use composed_platform::files;
use composed_platform::files::replace;
use composed_status::store::StatusStore;
use crd_schema::ImageDigest;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

pub use self::query::{ImageQuery, Platforms, QueryOptions, RegistryClient, RegistryError};

/// Questions to one registry on their way at once.
const SIDE_BY_SIDE: usize = 4;
/// A new question is asked within so long: not all of them in one moment.
const SPREAD: Duration = Duration::from_secs(1);
/// How much of an interval is left to chance.
const JITTER: f64 = 0.1;
/// When a registry that does not answer is asked again.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_secs(15), longest: Duration::from_mins(30), jitter: Jitter::None };
/// Of so many questions that are not asked any more the answers are remembered, in case they come back.
const MAX_OLD: usize = 1000;

/// Registries, as far as they were asked.
pub struct RegistryImages {
    ask: Arc<dyn RegistryClient>,
    statuses: Arc<StatusStore>,
    clock: Clock,
    file: Option<PathBuf>,
    inner: Mutex<RegistryState>,
    changed: Notify,
    news: broadcast::Sender<Reference>,
}

#[derive(Default)]
struct RegistryState {
    asked: BTreeMap<ImageQuery, QueryOptions>,
    known: BTreeMap<String, RegistryAnswer>,
    hosts: BTreeMap<String, Host>,
}

/// A registry that did not answer.
#[derive(Clone, Copy, Debug)]
struct Host {
    failures: u32,
    until: Timestamp,
}

/// What outlives the process.
#[derive(Default, Serialize, Deserialize)]
struct AnswersFile {
    images: BTreeMap<String, RegistryAnswer>,
}

impl RegistryState {
    /// Forgets what was known of questions that nobody asks, and of registries that nobody asks.
    fn forget(&mut self) {
        let asked: BTreeSet<String> = self.asked.keys().map(ImageQuery::key).collect();
        let mut surplus = self.known.len().saturating_sub(asked.len() + MAX_OLD);
        self.known.retain(|key, _| {
            let is_kept = surplus == 0 || asked.contains(key);
            surplus -= usize::from(!is_kept);
            is_kept
        });
        let hosts: BTreeSet<String> = self.asked.keys().map(|question| question.image().host().to_owned()).collect();
        self.hosts.retain(|host, _| hosts.contains(host));
    }
}

impl RegistryImages {
    /// Asks `ask`, and remembers the answers in `file`, if there is one.
    pub fn new(
        ask: Arc<dyn RegistryClient>,
        statuses: Arc<StatusStore>,
        clock: Clock,
        file: Option<PathBuf>,
    ) -> Arc<Self> {
        let kept: AnswersFile = files::load(file.as_deref(), "what registries have answered");
        let (news, _) = broadcast::channel(256);
        let inner = Mutex::new(RegistryState { known: kept.images, ..RegistryState::default() });
        Arc::new(Self { ask, statuses, clock, file, inner, changed: Notify::new(), news })
    }

    /// The questions from now on.
    pub fn follow(&self, questions: BTreeMap<ImageQuery, QueryOptions>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        if inner.asked == questions {
            return;
        }
        for (question, QueryOptions { interval, .. }) in &questions {
            let known = inner.known.entry(question.key()).or_default();
            // One that was asked long ago, or is to be asked more often than before, comes soon.
            let latest = now + interval.mul_f64(1.0 + JITTER);
            if known.next_at.is_none_or(|at| at < now || at > latest) {
                known.next_at = Some(now + SPREAD.min(*interval).mul_f64(fastrand::f64()));
            }
        }
        inner.asked = questions;
        inner.forget();
        drop(inner);
        self.changed.notify_one();
    }

    /// What is known of a question.
    pub fn known(&self, question: &ImageQuery) -> Option<RegistryAnswer> {
        self.lock().known.get(&question.key()).cloned()
    }

    /// The images of which something new is known.
    pub fn news(&self) -> broadcast::Receiver<Reference> {
        self.news.subscribe()
    }

    /// Asks, until it is dropped. A registry that is slow holds up its own questions, and a disk that is slow none.
    pub async fn run(self: Arc<Self>) {
        let (mut on_their_way, mut asked) = (BTreeSet::new(), FuturesUnordered::new());
        let (mut writing, mut unwritten) = (None, false);
        loop {
            let (due, next) = self.due(&on_their_way);
            for question in due {
                on_their_way.insert(question.clone());
                let images = &self;
                asked.push(async move {
                    images.check(question.clone()).await;
                    question
                });
            }
            if unwritten && writing.is_none() {
                let images = Arc::clone(&self);
                writing = Some(tokio::task::spawn_blocking(move || images.keep()));
                unwritten = false;
            }
            tokio::select! {
                Some(question) = asked.next() => {
                    on_their_way.remove(&question);
                    unwritten = true;
                }
                () = ended(&mut writing) => writing = None,
                () = self.changed.notified() => {}
                () = self.clock.until(next) => {}
            }
        }
    }

    /// What is to be asked now beside what is on its way, and when the next is.
    fn due(&self, on_their_way: &BTreeSet<ImageQuery>) -> (Vec<ImageQuery>, Option<Timestamp>) {
        let now = self.clock.now();
        let inner = self.lock();
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        let mut busy: BTreeMap<&str, usize> = BTreeMap::new();
        for question in on_their_way {
            *busy.entry(question.image().host()).or_default() += 1;
        }
        for question in inner.asked.keys().filter(|question| !on_their_way.contains(question)) {
            let busy = busy.entry(question.image().host()).or_default();
            if *busy >= SIDE_BY_SIDE {
                // One of these ends first.
                continue;
            }
            let at = inner.known.get(&question.key()).and_then(|known| known.next_at).unwrap_or(now);
            let at = inner.hosts.get(question.image().host()).map_or(at, |host| at.max(host.until));
            if at <= now {
                *busy += 1;
                due.push(question.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (due, next)
    }

    async fn check(&self, question: ImageQuery) {
        let host = question.image().host().to_owned();
        let now = self.clock.now();
        // Another question may have found it away a moment ago.
        if self.lock().hosts.get(&host).is_some_and(|host| now < host.until) {
            return;
        }
        let answer = match &question {
            ImageQuery::Digest(image) => self.ask.digest(image).await.map(|digest| digest.to_string()),
            ImageQuery::Highest(image, range) => self.ask.tags(image).await.and_then(|tags| {
                let highest = versions::highest(&tags, range, &image.tag);
                highest.ok_or_else(|| RegistryError::Refused(format!("{} has no tag in {range}", image.familiar())))
            }),
        };
        let answer = match answer {
            Ok(answer) => self.complete(&question, answer).await,
            trouble => trouble,
        };
        self.statuses.count("registry_check", answer.is_ok());
        if self.learn(&question, answer, &host) {
            // Nobody listening is fine: who looks later sees it itself.
            drop(self.news.send(question.image().clone()));
        }
    }

    /// An answer, once its image is for all platforms that are wanted. What was known before is.
    async fn complete(&self, question: &ImageQuery, answer: String) -> Result<String, RegistryError> {
        let wanted = {
            let inner = self.lock();
            let known = inner.known.get(&question.key()).and_then(|known| known.answer.as_ref());
            let wanted = inner.asked.get(question).filter(|_| known != Some(&answer));
            wanted.map(|how| how.platforms.clone()).unwrap_or_default()
        };
        if wanted.is_empty() {
            return Ok(answer);
        }
        let (image, digest) = match question {
            ImageQuery::Digest(image) => (image.clone(), ImageDigest::new(&answer)),
            ImageQuery::Highest(image, _) => {
                let image = image.tagged(&answer);
                let digest = self.ask.digest(&image).await?;
                (image, digest)
            }
        };
        let there = self.ask.platforms(&image, &digest).await?;
        let missing: Vec<_> = wanted.difference(&there).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(answer);
        }
        Err(RegistryError::Refused(format!("the newest {image} is not for {}", missing.join(", "))))
    }

    /// Takes an answer in; true if it is new.
    fn learn(&self, question: &ImageQuery, answer: Result<String, RegistryError>, host: &str) -> bool {
        let now = self.clock.now();
        let mut inner = self.lock();
        let interval = inner.asked.get(question).map_or(BACKOFF.longest, |how| how.interval);
        let usual = interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64());
        let silent = matches!(answer, Err(RegistryError::Busy { .. } | RegistryError::Away(_)));
        let wait = if silent {
            let failures = inner.hosts.get(host).map_or(0, |host| host.failures).saturating_add(1);
            let growing = BACKOFF.after(failures as usize);
            let told = match &answer {
                Err(RegistryError::Busy { wait, .. }) => wait.unwrap_or(Duration::from_mins(1)),
                _ => Duration::ZERO,
            };
            let wait = growing.max(told).mul_f64(1.0 + JITTER * fastrand::f64());
            inner.hosts.insert(host.to_owned(), Host { failures, until: now + wait });
            wait
        } else {
            inner.hosts.remove(host);
            usual
        };
        let known = inner.known.entry(question.key()).or_default();
        known.next_at = Some(now + wait);
        let before = (known.answer.clone(), known.problem.clone());
        match answer {
            Ok(answer) => {
                known.checked_at = Some(now);
                known.problem = None;
                if known.answer.as_ref() != Some(&answer) {
                    known.first = known.answer.is_none();
                    known.moved_at = Some(now);
                    known.answer = Some(answer);
                }
            }
            Err(trouble) => known.problem = Some(trouble.words()),
        }
        let news = before != (known.answer.clone(), known.problem.clone());
        let (answer, problem) = (known.answer.clone(), known.problem.clone());
        drop(inner);
        let key = question.key();
        match problem {
            Some(problem) if news => tracing::warn!(image = key, "{problem}"),
            None if news => tracing::info!(image = key, answer, "the registry's answer"),
            _ => {}
        }
        news
    }

    fn keep(&self) {
        let Some(file) = &self.file else { return };
        let kept = {
            let inner = self.lock();
            let asked = inner.asked.keys().map(ImageQuery::key);
            AnswersFile {
                images: asked.filter_map(|key| Some((key.clone(), inner.known.get(&key)?.clone()))).collect(),
            }
        };
        let kept = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|text| replace(file, &text, false)) {
            tracing::warn!(file = %file.display(), %error, "what registries said could not be saved");
        }
    }

    fn lock(&self) -> MutexGuard<'_, RegistryState> {
        self.inner.lock()
    }
}

/// Ends when this has ended; never, if there is none.
async fn ended(writing: &mut Option<JoinHandle<()>>) {
    match writing {
        Some(writing) => drop(writing.await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use crd_schema::ImageRef;

    use super::*;

    #[test]
    fn what_is_remembered_of_old_questions_is_bounded() {
        let question = |n: usize| {
            ImageQuery::Digest(Reference::parse(&ImageRef::new(format!("r{n}.example/a:1"))).expect("a name"))
        };
        let mut inner = RegistryState::default();
        for n in 0..3 * MAX_OLD {
            inner.known.insert(question(n).key(), RegistryAnswer::default());
            let host = Host { failures: 1, until: Timestamp::UNIX_EPOCH };
            inner.hosts.insert(question(n).image().host().to_owned(), host);
        }
        let asked: BTreeMap<_, _> = (0..5).map(|n| (question(n), QueryOptions::default())).collect();
        inner.asked = asked;
        inner.forget();
        assert_eq!(inner.known.len(), MAX_OLD + 5);
        assert!((0..5).all(|n| inner.known.contains_key(&question(n).key())), "those that are asked stay");
        assert_eq!(inner.hosts.len(), 5);
    }

    #[test]
    fn problems_are_short_and_one_line() {
        let words = RegistryError::Refused(format!("a\u{1b}[31m\n{}", "b".repeat(10_000))).words();
        assert!(words.starts_with("a[31mb") && words.chars().count() == query::MAX_PROBLEM, "{words}");
    }
}
