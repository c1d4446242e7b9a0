//! What is remembered of a service between two passes: a fold over what was seen, persisted so that timers go on after
//! a restart. All of it may be lost: that makes the controller slower, never unsafe.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crd_schema::ServiceSpec;
use crd_schema::status::{CommitStatus, Reason};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    Deed, Desired, DesiredService, Health, HookEnd, HookRecord, ImageState, Mark, Notice, Observed, Probe, Replica,
    State,
};

/// How many revisions of a service are remembered (Kubernetes' `revisionHistoryLimit`).
pub const HISTORY: usize = 10;

/// From the stop signal to SIGKILL, where nothing is asked for (Docker, Compose).
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Failures further apart than this do not belong together (seconds): well beyond the longest backoff, so that waiting
/// does not make a crash loop look healed.
const TROUBLE_WINDOW: i64 = 900;

/// Looks further apart than this mean that nothing could be done in between: the engine or the controller was away.
const GAP: SignedDuration = SignedDuration::from_mins(3);

/// What is remembered of one service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Counts the meanings that the document has had; never decreases.
    pub generation: u64,
    /// The digest of the document that `generation` stands for.
    pub digest: String,
    /// The revisions that were wanted, newest last.
    pub history: Vec<RevisionRecord>,
    /// Why the present generation was given up, if it was.
    #[serde(default)]
    pub failure: Option<Failure>,
    /// Replicas taken out of traffic, by container id, and since when.
    #[serde(default)]
    pub withdrawn: BTreeMap<String, Timestamp>,
    /// Those of them that were withdrawn by this very process, with nothing further begun: they may be taken back. Not
    /// persisted: after a restart nobody can tell whether a stop was begun.
    #[serde(skip)]
    pub revocable: BTreeSet<String>,
    /// What the controller saw of each running replica with its own clock.
    #[serde(default)]
    pub sightings: BTreeMap<String, Sighting>,
    /// The replicas that served at the last look, by container id, with the start of their run: after a restart of the
    /// controller they are believed to have been ready since then, as long as the same run goes on.
    #[serde(default)]
    pub serving: BTreeMap<String, Option<Timestamp>>,
    /// Failures in a row.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// Names of our pattern that containers of others have: another number is used instead.
    #[serde(default)]
    pub foreign_names: BTreeSet<String>,
    /// The revision that an image was last fetched for, to the end.
    #[serde(default)]
    pub pulled: Option<String>,
    /// The revision whose image this process began to fetch.
    #[serde(skip)]
    pub pulling: Option<String>,
    /// The image that its tag stood for at the last look.
    #[serde(default)]
    pub tag: Option<TagSeen>,
    /// The last image that was fetched because the registry had it.
    #[serde(default)]
    pub fetched: Option<Fetched>,
    /// The images that were fetched for it and are not known to be gone, by id.
    #[serde(default)]
    pub brought: BTreeSet<String>,
    /// At the last look it waited for others: for its dependencies, its turn, a hook.
    #[serde(skip)]
    pub waited: bool,
    /// When this process last looked.
    #[serde(skip)]
    pub looked_at: Option<Timestamp>,
    /// Since when it has looked without a gap: what should have happened in a gap could not.
    #[serde(skip)]
    pub back_since: Option<Timestamp>,
    /// Until then nobody is taken out of traffic: the memory was lost, and what looks available may have been told to
    /// stop before that.
    #[serde(default)]
    pub cautious_until: Option<Timestamp>,
    /// When the rollout last came nearer to its end.
    #[serde(default)]
    pub progress_since: Option<Timestamp>,
    /// How far the post-start hooks of each container are that this controller starts and that has some.
    #[serde(default)]
    pub post_start: BTreeMap<String, PostStart>,
    /// Those of them that are this process's to run.
    #[serde(skip)]
    pub post_start_here: BTreeSet<String>,
    /// What other hands did to its replicas lately.
    #[serde(default)]
    pub deeds: Vec<Deed>,
    /// The containers that were there at the last look of this process.
    #[serde(skip)]
    pub there: BTreeSet<String>,
    /// Those that this process removes.
    #[serde(skip)]
    pub parting: BTreeSet<String>,
    /// Those that another hand has stopped, and when that was noticed.
    #[serde(skip)]
    pub ended_by_hand: BTreeMap<String, Timestamp>,
    /// Since when somebody has paused it by hand.
    #[serde(default)]
    pub paused: Option<Timestamp>,
    /// How many requests were ended because `drain_timeout` had passed.
    #[serde(default)]
    pub cut: u64,
    /// The containers that Docker Compose made and that are this controller's since, with the revision that each stands for.
    #[serde(default)]
    pub adopted: BTreeMap<String, String>,
    /// Which rollout of an unchanged document it is, if somebody asked for one.
    #[serde(default)]
    pub mark: Option<Mark>,
    /// What people are to be told, until that was handed over.
    #[serde(default)]
    pub outbox: Vec<Notice>,
    /// The last commands of people that were applied, by their ids: each is applied once.
    #[serde(default)]
    pub applied: Vec<u64>,
}

/// So many commands are known to have been applied.
const MAX_APPLIED: usize = 32;

/// How far the post-start hooks of a container are. Each step is written down before it is taken, so that they run once at
/// most, whatever happens to the controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PostStart {
    /// They will run when it runs.
    Due,
    /// They were begun.
    Begun,
    /// They have run.
    Done,
    /// One of them failed.
    Failed(String),
    /// The controller ended while they ran: nobody knows what they did.
    Interrupted,
}

/// One revision of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevisionRecord {
    /// Its name, the hash of what reaches the container.
    pub revision: String,
    /// The newest generation that asked for it.
    pub generation: u64,
    /// What it was made of: needed to make more of it during a rollback.
    pub spec: ServiceSpec,
    /// When it was first asked for.
    pub since: Timestamp,
    /// What became of it.
    pub outcome: Outcome,
    /// At least one replica of it was ready at some time.
    #[serde(default)]
    pub served: bool,
    /// The commit that asked for it, if it came from git.
    #[serde(default)]
    pub commit: Option<CommitStatus>,
    /// The engine's id of its image: the one that all its replicas are made of, where new images are followed; else the one
    /// that was first seen to be here.
    #[serde(default)]
    pub image: Option<String>,
    /// What its document alone was called, where its image has made another revision of it.
    #[serde(default)]
    pub document: Option<String>,
    /// When it was last begun; of old memories, when it was first asked for.
    #[serde(default)]
    pub begun: Option<Timestamp>,
    /// When it became what it is.
    #[serde(default)]
    pub ended: Option<Timestamp>,
    /// It was asked for when none of it ran, and is not there yet: its end is that of a rollout.
    #[serde(default)]
    pub fresh: bool,
    /// Its pre-deploy hook, from its container on.
    #[serde(default)]
    pub pre_deploy: Option<HookRecord>,
    /// The post-deploy hook of its last rollout.
    #[serde(default)]
    pub post_deploy: Option<HookRecord>,
}

/// What a tag stood for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagSeen {
    /// The tag, as the document names the image.
    pub name: String,
    /// The engine's id of the image.
    pub id: String,
    /// When it was first seen to stand for that.
    pub since: Timestamp,
}

/// An image that was fetched because the registry had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The digest that the registry gave.
    pub digest: String,
    /// When that was last begun.
    pub at: Timestamp,
    /// How often.
    pub count: u32,
}

/// What became of a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not known yet, or replaced before it was.
    Pending,
    /// All its replicas were available at once.
    Available,
    /// It was given up.
    Failed,
}

/// Why a generation was given up. It is not tried again until its document changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// The document's digest.
    pub digest: String,
    /// Its revision.
    pub revision: String,
    /// The kind of failure.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// The revision to go back to, if somebody has said.
    #[serde(default)]
    pub to: Option<String>,
}

/// What the controller saw of a replica's present run. Times are the controller's own, so that a jump of the engine's
/// clock cannot make a replica ready early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sighting {
    /// The run that this is about: a restart begins another.
    pub started_at: Option<Timestamp>,
    /// The engine's restart count in that run.
    pub restart_count: u32,
    /// Running since.
    pub running_since: Timestamp,
    /// Running, healthy and ready without a break since.
    pub ready_since: Option<Timestamp>,
    /// Without a verdict of its healthcheck since.
    #[serde(default)]
    pub starting_since: Option<Timestamp>,
}

/// Failures in a row, for backoff and flap limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trouble {
    /// The revision that failed.
    pub revision: String,
    /// How often.
    pub count: u32,
    /// When last.
    pub last_at: Timestamp,
    /// The kind of the last failure.
    pub reason: Reason,
    /// For people.
    pub message: String,
    /// Ends already counted: container id and restart count.
    pub counted: BTreeSet<String>,
}

impl Memory {
    /// Takes in what is wanted and seen now. Called once before each plan; calling it twice with the same arguments
    /// changes nothing.
    pub fn notice(&mut self, desired: Option<&DesiredService>, observed: &Observed, now: Timestamp) {
        let first_look = self.looked_at.is_none();
        let lost = self.digest.is_empty();
        self.notice_time(now);
        if let Some(desired) = desired {
            self.notice_hands(observed, first_look, now);
            let paused = desired.spec.paused || self.paused.is_some();
            if paused {
                self.deeds.clear();
            }
            // What is left alone cannot come nearer to its end.
            if paused || self.contended(now).is_some() {
                self.progress_since = Some(now);
            }
            self.notice_generation(desired, observed, now);
            self.notice_kept(desired, observed, now);
            self.notice_image(desired, observed);
            self.notice_wait(desired, observed, now);
        }
        if desired.is_none() {
            self.there = observed.replicas.iter().map(|replica| replica.id.clone()).collect();
        }
        for replica in &observed.replicas {
            let restarts = self.sightings.get(&replica.id).map(|sighting| sighting.restart_count);
            // One that was there before the first look may have been restarted for other reasons, at any time.
            let known = restarts.or((!first_look).then_some(0)).unwrap_or(replica.restart_count);
            let served = self.serving.get(&replica.id) == Some(&replica.started_at);
            let believed = first_look && (lost || served);
            self.notice_replica(replica, believed, first_look && served, now);
            self.notice_end(replica, known, now);
        }
        self.notice_post_start(observed);
        self.notice_hooks(observed, first_look, now);
        let there = |id: &String| observed.replicas.iter().any(|replica| replica.id == *id);
        self.sightings.retain(|id, _| there(id));
        self.withdrawn.retain(|id, _| there(id));
        self.adopted.retain(|id, _| there(id));
        self.post_start.retain(|id, _| there(id));
        self.post_start_here.retain(|id| there(id));
        self.revocable.retain(|id| there(id));
    }

    /// Waiting for others is no lack of progress of its own: that counts from the look that finds the wait over. Whose turn
    /// it is depends on the rest of what is noticed: once that is known, this is called again.
    pub fn notice_wait(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        let waits = Self::is_held(desired, observed);
        if waits || self.waited {
            self.progress_since = Some(now);
        }
        self.waited = waits;
    }

    /// Takes in what the tag of a service stands for now.
    pub fn notice_tag(&mut self, name: &str, observed: &Observed, now: Timestamp) {
        let Some(ImageState::Present(id)) = observed.images.get(name) else { return };
        if self.tag.as_ref().is_none_or(|seen| seen.name != name || seen.id != *id) {
            self.tag = Some(TagSeen { name: name.to_owned(), id: id.clone(), since: now });
        }
    }

    /// Notes that an image is fetched because the registry has it.
    pub fn fetch(&mut self, digest: &str, now: Timestamp) {
        let before = self.fetched.take().filter(|fetched| fetched.digest == digest);
        let count = before.map_or(0, |fetched| fetched.count).saturating_add(1);
        self.fetched = Some(Fetched { digest: digest.to_owned(), at: now, count });
    }

    /// What of it must last: what was seen with one's own eyes is seen again after a restart.
    #[must_use]
    pub fn lasting(&self) -> Self {
        Self {
            sightings: BTreeMap::new(),
            revocable: BTreeSet::new(),
            pulling: None,
            waited: false,
            looked_at: None,
            back_since: None,
            post_start_here: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// Whether the same of both must last. Asked in every pass, so nothing is copied for it.
    pub fn lasts_as(&self, other: &Self) -> bool {
        self.parts_that_last() == other.parts_that_last()
    }

    // Each field is named, so that a new one has to be put in its place here.
    fn parts_that_last(&self) -> impl PartialEq + '_ {
        let Self {
            generation,
            digest,
            history,
            failure,
            withdrawn,
            serving,
            trouble,
            foreign_names,
            pulled,
            tag,
            fetched,
            brought,
            cautious_until,
            progress_since,
            cut,
            adopted,
            mark,
            outbox,
            paused,
            deeds,
            there: _,
            parting: _,
            ended_by_hand: _,
            post_start,
            post_start_here: _,
            sightings: _,
            revocable: _,
            pulling: _,
            waited: _,
            looked_at: _,
            back_since: _,
            applied,
        } = self;
        let timers = (cautious_until, progress_since, withdrawn, serving);
        let images = (pulled, tag, fetched, brought);
        (
            generation,
            digest,
            history,
            failure,
            trouble,
            foreign_names,
            (images, cut, adopted, (paused, post_start, deeds, (mark, outbox, applied))),
            timers,
        )
    }

    /// The record of a revision.
    pub fn record(&self, revision: &str) -> Option<&RevisionRecord> {
        self.history.iter().rev().find(|record| record.revision == revision)
    }

    /// The revision to go back to from `except`: the newest that was available, else the newest that served at all
    /// and was replaced before all its replicas were there.
    pub fn last_available(&self, except: &str) -> Option<&RevisionRecord> {
        let others = || self.history.iter().rev().filter(|record| record.revision != except);
        let available = others().find(|record| record.outcome == Outcome::Available);
        available.or_else(|| others().find(|record| record.outcome == Outcome::Pending && record.served))
    }

    /// Counts a failure that is no replica's end: a pull, create or start that the engine refused.
    pub fn notice_refusal(&mut self, revision: &str, reason: Reason, message: String, now: Timestamp) {
        self.count(revision, reason, message, now);
    }

    /// Writes down what became of a revision.
    pub fn conclude(&mut self, revision: &str, outcome: Outcome) {
        let now = self.looked_at;
        if let Some(record) = self.history.iter_mut().rev().find(|record| record.revision == revision) {
            if record.outcome != outcome {
                record.ended = now;
            }
            record.outcome = outcome;
            if let Some(now) = now {
                Self::after_rollout(record, now);
            }
            record.fresh &= outcome != Outcome::Available;
        }
        if outcome == Outcome::Available {
            self.failure = None;
        }
    }

    /// Writes down that the present generation has failed with this revision.
    pub fn fail(&mut self, revision: &str, reason: Reason, message: String, now: Timestamp) {
        self.failure = Some(Failure {
            digest: self.digest.clone(),
            revision: revision.to_owned(),
            reason,
            message,
            at: now,
            to: None,
        });
        self.conclude(revision, Outcome::Failed);
    }

    /// Gives the present revision up for an earlier one, by hand: for `to`, or the beginning of its name, else for the last
    /// one that was available. That lasts until the document changes. Returns the two.
    ///
    /// # Errors
    /// Why that cannot be, in words.
    pub fn undo(&mut self, to: Option<&str>, now: Timestamp) -> Result<(&RevisionRecord, &RevisionRecord), String> {
        let Some(present) = self.history.last().map(|record| record.revision.clone()) else {
            return Err("no revision of it is remembered".to_owned());
        };
        let earlier = match to {
            None => self.last_available(&present).ok_or("no earlier revision of it was available")?,
            Some(to) => {
                // The whole name of one begins those of its rollouts.
                let whole = self.record(to).is_some();
                let is = |record: &&RevisionRecord| {
                    if whole { record.revision == to } else { record.revision.starts_with(to) }
                };
                let mut named = self.history.iter().filter(|record| !to.is_empty() && is(record));
                match (named.next(), named.next()) {
                    (Some(record), None) => record,
                    (Some(_), Some(_)) => return Err(format!("several revisions begin with {to}")),
                    (None, _) => return Err(format!("no revision {to} is remembered")),
                }
            }
        };
        let earlier = earlier.revision.clone();
        if earlier == present {
            return Err(format!("{earlier} is what the document asks for: change the document to have it tried again"));
        }
        self.fail(&present, Reason::Undone, "it was undone by hand".to_owned(), now);
        if let Some(failure) = &mut self.failure {
            failure.to = Some(earlier.clone());
        }
        let found = self.record(&present).zip(self.record(&earlier));
        found.ok_or_else(|| "no revision of it is remembered".to_owned())
    }

    /// A service that was paused by hand stays when its document is gone, too.
    pub fn unless_paused(&self, desired: Desired) -> Desired {
        match (desired, self.paused) {
            (Desired::Gone(_), Some(since)) => Desired::Held(format!(
                "its document is gone, but it was paused by hand at {since}: `composed resume` ends that"
            )),
            (desired, _) => desired,
        }
    }

    /// Whether a command was applied.
    pub fn has_applied(&self, command: u64) -> bool {
        self.applied.contains(&command)
    }

    /// Notes that a command was applied.
    pub fn note_applied(&mut self, command: u64) {
        self.applied.push(command);
        let over = self.applied.len().saturating_sub(MAX_APPLIED);
        self.applied.drain(..over);
    }

    /// Pauses it by hand, or ends that: then a rollout has the whole of its time again. Whether that changes anything.
    pub fn pause(&mut self, on: bool, now: Timestamp) -> bool {
        let changes = self.paused.is_some() != on;
        if !on {
            self.deeds.clear();
        }
        if changes {
            self.paused = on.then_some(now);
            self.progress_since = self.progress_since.map(|since| since.max(now));
        }
        changes
    }

    fn notice_time(&mut self, now: Timestamp) {
        if self.looked_at.is_none() {
            // The clock may have been set back meanwhile: what is remembered happened by now at the latest.
            let past = |at: &mut Timestamp| *at = (*at).min(now);
            self.withdrawn.values_mut().for_each(past);
            self.progress_since.iter_mut().for_each(past);
            self.trouble.iter_mut().for_each(|trouble| past(&mut trouble.last_at));
        }
        if self.looked_at.is_none_or(|at| now.duration_since(at) > GAP) {
            self.back_since = Some(now);
        }
        self.looked_at = Some(now);
    }

    /// What is due is begun by this process or by none: who finds hooks begun by another cannot tell what they did.
    fn notice_post_start(&mut self, observed: &Observed) {
        for replica in &observed.replicas {
            let before = self.post_start.get(&replica.id);
            let next = match (before, replica.state, &replica.post_start) {
                (None, State::Created, _) => {
                    let has = |record: &RevisionRecord| !record.spec.post_start.is_empty();
                    self.record(&replica.revision).is_some_and(has).then_some(PostStart::Due)
                }
                (Some(PostStart::Due), State::Running, _) => {
                    self.post_start_here.insert(replica.id.clone());
                    Some(PostStart::Begun)
                }
                (Some(PostStart::Begun), _, Some(HookEnd::Done)) => Some(PostStart::Done),
                (Some(PostStart::Begun), _, Some(HookEnd::Failed(why))) => Some(PostStart::Failed(why.clone())),
                (Some(PostStart::Begun), _, None) if !self.post_start_here.contains(&replica.id) => {
                    Some(PostStart::Interrupted)
                }
                _ => None,
            };
            if let Some(next) = next {
                self.post_start.insert(replica.id.clone(), next);
            }
        }
    }

    fn notice_image(&mut self, desired: &DesiredService, observed: &Observed) {
        self.brought.extend(observed.facts.brought.iter().cloned());
        let Some(ImageState::Present(id)) = observed.images.get(&desired.spec.image) else { return };
        let id = desired.image.as_ref().unwrap_or(id);
        if self.pulling.as_ref() == Some(&desired.revision) {
            self.pulled = self.pulling.take();
        }
        let open = |record: &&mut RevisionRecord| record.revision == desired.revision && record.image.is_none();
        if let Some(record) = self.history.iter_mut().find(open) {
            record.image = Some(id.clone());
        }
    }

    fn notice_generation(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        // Without a memory of our own the containers know the generation they were made for.
        let hooks = observed.hooks.iter().map(|run| run.generation);
        let seen = observed.replicas.iter().map(|replica| replica.generation).chain(hooks).max();
        if self.digest == desired.digest {
            return;
        }
        let made = observed.replicas.iter().map(|replica| &replica.revision);
        let mut made = made.chain(observed.hooks.iter().map(|run| &run.revision));
        let adopted = self.digest.is_empty() && made.any(|revision| *revision == desired.revision);
        if self.digest.is_empty() && seen.is_some() {
            let grace = desired.spec.stop_grace_period.map_or(STOP_GRACE, |asked| asked.get().max(STOP_GRACE));
            self.cautious_until = Some(now + grace + Duration::from_secs(1));
        }
        self.generation = self.generation.max(seen.unwrap_or(0));
        if !adopted || self.generation == 0 {
            self.generation += 1;
        }
        self.digest.clone_from(&desired.digest);
        self.failure = None;
        self.trouble = None;
        self.deeds.clear();
        self.progress_since = Some(now);
        let known = self.history.iter().position(|record| record.revision == desired.revision);
        let mut record = RevisionRecord {
            revision: desired.revision.clone(),
            generation: self.generation,
            spec: desired.spec.clone(),
            since: now,
            outcome: Outcome::Pending,
            served: false,
            commit: desired.commit.clone(),
            image: desired.image.clone(),
            document: desired.document.as_ref().map(|own| own.revision.clone()),
            begun: Some(now),
            ended: None,
            fresh: false,
            pre_deploy: None,
            post_deploy: None,
        };
        let runs = observed.replicas.iter().any(|r| r.revision == desired.revision && r.state.is_live());
        record.fresh = !runs;
        if let Some(old) = known.map(|at| self.history.remove(at)) {
            record.since = old.since;
            record.served = old.served;
            // Its rollout goes on.
            record.fresh |= old.fresh && old.outcome == Outcome::Pending;
            record.take_hooks(&old, runs && old.outcome == Outcome::Available);
            // It has to prove itself again unless it still runs.
            if old.outcome == Outcome::Available && runs {
                record.outcome = Outcome::Available;
                (record.begun, record.ended) = (old.begun, old.ended);
                record.image = record.image.or(old.image);
            }
        }
        self.history.push(record);
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.forget_oldest(surplus, &desired.revision);
    }

    // A kept replica of the present generation is the world's own record that it has failed.
    fn notice_kept(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        let kept = observed.replicas.iter().find(|r| {
            r.name == r.service.kept_container() && r.revision == desired.revision && r.generation == self.generation
        });
        let available = self.record(&desired.revision).is_some_and(|record| record.outcome == Outcome::Available);
        if let (Some(kept), None, false) = (kept, &self.failure, available) {
            self.fail(&desired.revision, Reason::RevisionFailed, format!("{} is kept of it", kept.name), now);
        }
    }

    // The last available revision outlives the limit: a rollback needs it.
    fn forget_oldest(&mut self, mut surplus: usize, current: &str) {
        let keep = self.last_available(current).map(|record| record.revision.clone());
        self.history.retain(|record| {
            let goes = surplus > 0 && Some(&record.revision) != keep.as_ref() && record.revision != current;
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn notice_replica(&mut self, replica: &Replica, believed: bool, served: bool, now: Timestamp) {
        if replica.state != State::Running {
            if let Some(sighting) = self.sightings.get_mut(&replica.id) {
                sighting.ready_since = None;
            }
            return;
        }
        let same_run = |s: &Sighting| s.started_at == replica.started_at && s.restart_count == replica.restart_count;
        let known = self.sightings.get(&replica.id).filter(|sighting| same_run(sighting));
        // At the first look after a start of the controller the engine's clock is believed of those that served, and of
        // all if nothing is remembered: what has run for long must not count as new. Later only our own clock is.
        let began = match replica.started_at {
            Some(started) if believed => started.min(now),
            _ => now,
        };
        // An engine that was restarted begins its healthchecks anew, under containers that went on: what was ready in
        // this run is ready until a check says otherwise.
        let starting = replica.health == Health::Starting;
        let was_ready = served || known.is_some_and(|sighting| sighting.ready_since.is_some());
        let no_verdict = starting || replica.probe == Probe::Unasked;
        let ready = is_ready(replica) || (no_verdict && was_ready && goes_on(replica));
        let starting_since = known.and_then(|sighting| sighting.starting_since).unwrap_or(now);
        let sighting = Sighting {
            started_at: replica.started_at,
            restart_count: replica.restart_count,
            running_since: known.map_or(began, |sighting| sighting.running_since),
            ready_since: match known {
                _ if !ready => None,
                Some(sighting) => Some(sighting.ready_since.unwrap_or(now)),
                None => Some(began),
            },
            starting_since: starting.then_some(starting_since),
        };
        let newly_ready = ready && known.is_none_or(|sighting| sighting.ready_since.is_none());
        if newly_ready && Some(&replica.revision) == self.history.last().map(|record| &record.revision) {
            self.progress_since = Some(now);
        }
        if ready {
            for record in self.history.iter_mut().filter(|record| record.revision == replica.revision) {
                record.served = true;
            }
        }
        self.sightings.insert(replica.id.clone(), sighting);
    }

    fn notice_end(&mut self, replica: &Replica, known_restarts: u32, now: Timestamp) {
        // What somebody else has told to stop says nothing against its revision.
        let told = self.withdrawn.contains_key(&replica.id) || (replica.by_hand && !replica.state.is_live());
        if told || replica.name == replica.service.kept_container() {
            return;
        }
        let ended = match replica.state {
            State::Exited(code) => Some(format!("{} exited with code {code}", replica.name)),
            State::Dead => Some(format!("{} is dead", replica.name)),
            State::Running if replica.health == Health::Unhealthy => {
                return self.count_once(replica, Reason::Unhealthy, format!("{} is unhealthy", replica.name), now);
            }
            _ if replica.restart_count > known_restarts => {
                Some(format!("{} was restarted {} times", replica.name, replica.restart_count))
            }
            _ => None,
        };
        if let Some(message) = ended {
            self.count_once(replica, Reason::Exited, message, now);
        }
    }

    // Once for each run of a container.
    fn count_once(&mut self, replica: &Replica, reason: Reason, message: String, now: Timestamp) {
        let run = format!("{} {} {:?} {reason}", replica.id, replica.restart_count, replica.started_at);
        if self.trouble.as_ref().is_some_and(|trouble| trouble.counted.contains(&run)) {
            return;
        }
        self.count(&replica.revision, reason, message, now);
        if let Some(trouble) = &mut self.trouble {
            trouble.counted.insert(run);
        }
    }

    fn count(&mut self, revision: &str, reason: Reason, message: String, now: Timestamp) {
        let recent = |t: &Trouble| now.duration_since(t.last_at).as_secs() < TROUBLE_WINDOW && t.revision == revision;
        let before = self.trouble.take().filter(recent);
        let (count, counted) = before.map_or_else(Default::default, |t| (t.count, t.counted));
        self.trouble =
            Some(Trouble { revision: revision.to_owned(), count: count + 1, last_at: now, reason, message, counted });
    }
}

/// Running, healthy if it has a healthcheck, passing its probe if it has one. Not yet: for how long.
fn is_ready(replica: &Replica) -> bool {
    replica.state == State::Running && matches!(replica.health, Health::None | Health::Healthy) && probe_passes(replica)
}

/// Whether nothing speaks against one that was ready: those that were asked anew have not answered yet.
fn goes_on(replica: &Replica) -> bool {
    replica.state == State::Running
        && replica.health != Health::Unhealthy
        && matches!(replica.probe, Probe::None | Probe::Passing | Probe::Unasked)
}

fn probe_passes(replica: &Replica) -> bool {
    matches!(replica.probe, Probe::None | Probe::Passing)
}
