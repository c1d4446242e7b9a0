//! WHAT REGISTRIES SAY. Asks registries what tags stand for and which versions there are: each question once, however many
//! services it is for, spread over its interval, and less often while there is no answer. What it learns is a fact for the
//! next pass; it decides nothing and fetches nothing.

pub mod credentials;
pub mod reference;
pub mod registry;
pub mod updates;
pub mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, broadcast};

use crate::board::Board;
use crate::clock::Clock;
use crate::model::Remote;
use crate::state;
use crate::state::replace;

use reference::Reference;

/// Questions on their way at once.
const SIDE_BY_SIDE: usize = 4;
/// A new question is asked within so long: not all of them in one moment.
const SPREAD: Duration = Duration::from_secs(1);
/// How much of an interval is left to chance.
const JITTER: f64 = 0.1;
/// A registry that does not answer is asked again after so long, then twice as long, up to the limit.
const FIRST_WAIT: Duration = Duration::from_secs(15);
const LONGEST_WAIT: Duration = Duration::from_mins(30);
/// Of so many questions that are not asked any more the answers are remembered, in case they come back.
const MAX_OLD: usize = 1000;
const MAX_PROBLEM: usize = 500;

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Too many requests; wait, at least so long if it said so.
    Busy {
        /// For people.
        why: String,
        /// What it said.
        wait: Option<Duration>,
    },
    /// No answer, or an error of its own.
    Away(String),
    /// It answered no: there is no such image, or not for us.
    Refused(String),
    /// It answered more than is read.
    TooLong,
}

impl Trouble {
    /// For people, in so many characters at most: much of it are the registry's own words.
    fn words(self) -> String {
        let why = match self {
            Self::Busy { why, .. } | Self::Away(why) | Self::Refused(why) => why,
            Self::TooLong => "the registry answered more than is read".to_owned(),
        };
        why.chars().filter(|c| !c.is_control()).take(MAX_PROBLEM).collect()
    }
}

/// Who answers.
pub trait Ask: Send + Sync {
    /// The digest that a tag stands for.
    fn digest<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<String, Trouble>>;

    /// The platforms that the image of a digest is for: `linux/amd64`, `linux/arm/v7`.
    fn platforms<'a>(&'a self, image: &'a Reference, digest: &'a str) -> BoxFuture<'a, Result<Platforms, Trouble>>;

    /// All tags of a repository.
    fn tags<'a>(&'a self, image: &'a Reference) -> BoxFuture<'a, Result<Vec<String>, Trouble>>;
}

/// Platforms, as Docker writes them.
pub type Platforms = BTreeSet<String>;

/// How a question is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// How often.
    pub interval: Duration,
    /// A new digest is an answer only if its image is for all of these.
    pub platforms: Platforms,
}

impl How {
    /// Whoever asks the same for others asks for both.
    pub fn join(&mut self, other: Self) {
        self.interval = self.interval.min(other.interval);
        self.platforms.extend(other.platforms);
    }
}

/// What is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// What does this tag stand for?
    Digest(Reference),
    /// Which tag of this repository is the highest version in this range? A tag is spelt as the reference's is.
    Highest(Reference, String),
}

impl Question {
    /// The image that it is about.
    pub fn image(&self) -> &Reference {
        match self {
            Self::Digest(image) | Self::Highest(image, _) => image,
        }
    }

    fn key(&self) -> String {
        match self {
            Self::Digest(image) => image.to_string(),
            Self::Highest(image, range) => format!("{image} {range}"),
        }
    }
}

/// Registries, as far as they were asked.
pub struct Images {
    ask: Arc<dyn Ask>,
    board: Arc<Board>,
    clock: Clock,
    file: Option<PathBuf>,
    inner: Mutex<Inner>,
    changed: Notify,
    news: broadcast::Sender<Reference>,
}

#[derive(Default)]
struct Inner {
    asked: BTreeMap<Question, How>,
    known: BTreeMap<String, Remote>,
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
struct Kept {
    images: BTreeMap<String, Remote>,
}

impl Inner {
    /// Forgets what was known of questions that nobody asks, and of registries that nobody asks.
    fn forget(&mut self) {
        let asked: BTreeSet<String> = self.asked.keys().map(Question::key).collect();
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

impl Images {
    /// Asks `ask`, and remembers the answers in `file`, if there is one.
    pub fn new(ask: Arc<dyn Ask>, board: Arc<Board>, clock: Clock, file: Option<PathBuf>) -> Arc<Self> {
        let kept: Kept = state::read(file.as_deref(), "what registries have answered");
        let (news, _) = broadcast::channel(256);
        let inner = Mutex::new(Inner { known: kept.images, ..Inner::default() });
        Arc::new(Self { ask, board, clock, file, inner, changed: Notify::new(), news })
    }

    /// The questions from now on.
    pub fn follow(&self, questions: BTreeMap<Question, How>) {
        let now = self.clock.now();
        let mut inner = self.lock();
        if inner.asked == questions {
            return;
        }
        for (question, How { interval, .. }) in &questions {
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
    pub fn known(&self, question: &Question) -> Option<Remote> {
        self.lock().known.get(&question.key()).cloned()
    }

    /// The images of which something new is known.
    pub fn news(&self) -> broadcast::Receiver<Reference> {
        self.news.subscribe()
    }

    /// Asks, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let (due, next) = self.due();
            if due.is_empty() {
                tokio::select! {
                    () = self.changed.notified() => {}
                    () = self.clock.until(next) => {}
                }
                continue;
            }
            stream::iter(due).for_each_concurrent(SIDE_BY_SIDE, |question| self.check(question)).await;
            self.keep();
        }
    }

    /// What is to be asked now, and when the next is.
    fn due(&self) -> (Vec<Question>, Option<Timestamp>) {
        let now = self.clock.now();
        let inner = self.lock();
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        for question in inner.asked.keys() {
            let at = inner.known.get(&question.key()).and_then(|known| known.next_at).unwrap_or(now);
            let at = inner.hosts.get(question.image().host()).map_or(at, |host| at.max(host.until));
            if at <= now {
                due.push(question.clone());
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        (due, next)
    }

    async fn check(&self, question: Question) {
        let host = question.image().host().to_owned();
        let now = self.clock.now();
        // Another question may have found it away a moment ago.
        if self.lock().hosts.get(&host).is_some_and(|host| now < host.until) {
            return;
        }
        let answer = match &question {
            Question::Digest(image) => self.ask.digest(image).await,
            Question::Highest(image, range) => self.ask.tags(image).await.and_then(|tags| {
                let highest = versions::highest(&tags, range, &image.tag);
                highest.ok_or_else(|| Trouble::Refused(format!("{} has no tag in {range}", image.familiar())))
            }),
        };
        let answer = match answer {
            Ok(answer) => self.complete(&question, answer).await,
            trouble => trouble,
        };
        self.board.count("registry_check", answer.is_ok());
        if self.learn(&question, answer, &host) {
            // Nobody listening is fine: who looks later sees it itself.
            drop(self.news.send(question.image().clone()));
        }
    }

    /// An answer, once its image is for all platforms that are wanted. What was known before is.
    async fn complete(&self, question: &Question, answer: String) -> Result<String, Trouble> {
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
            Question::Digest(image) => (image.clone(), answer.clone()),
            Question::Highest(image, _) => {
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
        Err(Trouble::Refused(format!("the newest {image} is not for {}", missing.join(", "))))
    }

    /// Takes an answer in; true if it is new.
    fn learn(&self, question: &Question, answer: Result<String, Trouble>, host: &str) -> bool {
        let now = self.clock.now();
        let mut inner = self.lock();
        let interval = inner.asked.get(question).map_or(LONGEST_WAIT, |how| how.interval);
        let usual = interval.mul_f64(1.0 - JITTER + 2.0 * JITTER * fastrand::f64());
        let silent = matches!(answer, Err(Trouble::Busy { .. } | Trouble::Away(_)));
        let wait = if silent {
            let failures = inner.hosts.get(host).map_or(0, |host| host.failures).saturating_add(1);
            let growing = FIRST_WAIT.saturating_mul(1 << (failures - 1).min(8)).min(LONGEST_WAIT);
            let told = match &answer {
                Err(Trouble::Busy { wait, .. }) => wait.unwrap_or(Duration::from_mins(1)),
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
            let asked = inner.asked.keys().map(Question::key);
            Kept { images: asked.filter_map(|key| Some((key.clone(), inner.known.get(&key)?.clone()))).collect() }
        };
        let kept = serde_json::to_vec_pretty(&kept).map_err(std::io::Error::from);
        if let Err(error) = kept.and_then(|text| replace(file, &text, false)) {
            tracing::warn!(file = %file.display(), %error, "what registries said could not be saved");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_old_questions_is_bounded() {
        let question = |n: usize| Question::Digest(Reference::parse(&format!("r{n}.example/a:1")).expect("a name"));
        let mut inner = Inner::default();
        for n in 0..3 * MAX_OLD {
            inner.known.insert(question(n).key(), Remote::default());
            let host = Host { failures: 1, until: Timestamp::UNIX_EPOCH };
            inner.hosts.insert(question(n).image().host().to_owned(), host);
        }
        let asked: BTreeMap<_, _> = (0..5).map(|n| (question(n), How::default())).collect();
        inner.asked = asked;
        inner.forget();
        assert_eq!(inner.known.len(), MAX_OLD + 5);
        assert!((0..5).all(|n| inner.known.contains_key(&question(n).key())), "those that are asked stay");
        assert_eq!(inner.hosts.len(), 5);
    }

    #[test]
    fn problems_are_short_and_one_line() {
        let words = Trouble::Refused(format!("a\u{1b}[31m\n{}", "b".repeat(10_000))).words();
        assert!(words.starts_with("a[31mb") && words.chars().count() == MAX_PROBLEM, "{words}");
    }
}
