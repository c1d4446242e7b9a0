//! What is seen now becomes part of what is remembered: a fold, without a plan or an engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crd_schema::status::Reason;
use crd_schema::{ContainerId, ImageRef, Revision};
use jiff::{SignedDuration, Timestamp};

use super::super::{
    DesiredService, Ending, Health, ImageState, Observed, Probe, Replica, State, describe_exit, describe_unhealthy,
    ending,
};
use super::{FailureStreak, MAX_REVISIONS, Outcome, ReplicaObservation, RevisionRecord, ServiceRecord, TagResolution};
use crate::redact::without_secrets;

/// From the stop signal to SIGKILL, where nothing is asked for (Docker, Compose).
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Failures further apart than this do not belong together (seconds): well beyond the longest backoff, so that waiting
/// does not make a crash loop look healed.
const FAILURE_STREAK_WINDOW: i64 = 900;

/// Looks further apart than this mean that nothing could be done in between: the engine or the controller was away.
const MAX_GAP: SignedDuration = SignedDuration::from_mins(3);

impl ServiceRecord {
    /// Takes in what is wanted and seen now. Called once before each plan; calling it twice with the same arguments
    /// changes nothing.
    pub fn observe(&mut self, desired: Option<&DesiredService>, observed: &Observed, now: Timestamp) {
        let first_look = self.process.observed_at.is_none();
        let lost = self.digest.is_empty();
        self.observe_time(now);
        if let Some(desired) = desired {
            self.observe_external_changes(observed, first_look, now);
            let paused = desired.spec.paused || self.control.paused.is_some();
            if paused {
                self.external_changes.clear();
            }
            // What is left alone cannot come nearer to its end.
            if paused || self.contended(now).is_some() {
                self.revisions.progress_since = Some(now);
            }
            self.observe_generation(desired, observed, now);
            self.observe_adopted(observed, now);
            if desired.once && first_look {
                self.begin_anew(&desired.revision, now);
            }
            self.observe_retained(desired, observed, now);
            self.observe_image(desired, observed);
            self.observe_wait(desired, observed, now);
        }
        if desired.is_none() {
            self.process.known = observed.replicas.iter().map(|replica| replica.id.clone()).collect();
        }
        for replica in &observed.replicas {
            let restarts = self.process.observations.get(&replica.id).map(|sighting| sighting.restart_count);
            // One that was there before the first look may have been restarted for other reasons, at any time.
            let known = restarts.or((!first_look).then_some(0)).unwrap_or(replica.restart_count);
            let served = self.replicas.serving.get(&replica.id) == Some(&replica.started_at);
            let believed = first_look && (lost || served);
            self.observe_replica(replica, believed, first_look && served, now);
            if self.ending_of(desired, replica) != Some(Ending::Completed) {
                self.observe_end(replica, known, now);
            }
        }
        if let Some(desired) = desired {
            self.observe_completed(desired, observed);
        }
        self.observe_post_start(observed, now);
        self.observe_pre_stop(observed);
        self.observe_hooks(observed, first_look, now);
        let there = |id: &ContainerId| observed.replicas.iter().any(|replica| replica.id == *id);
        self.process.observations.retain(|id, _| there(id));
        self.replicas.draining.retain(|id, _| there(id));
        self.replicas.adopted.retain(|id, _| there(id));
        self.replicas.post_start.retain(|id, _| there(id));
        self.process.own_post_start.retain(|id| there(id));
        self.process.told_pre_stop.retain(|id| there(id));
        self.process.cancellable.retain(|id| there(id));
    }

    /// What the end of a replica means, by what it was made of.
    fn ending_of(&self, desired: Option<&DesiredService>, replica: &Replica) -> Option<Ending> {
        let known = self.record(&replica.revision).map(|record| &record.spec);
        let spec = known.or(desired.map(|desired| &desired.spec))?;
        ending(replica, spec, desired.is_some_and(|desired| desired.one_shot))
    }

    /// What has done its work stays done, also when its container is gone.
    fn observe_completed(&mut self, desired: &DesiredService, observed: &Observed) {
        let mut done: BTreeMap<&Revision, u32> = BTreeMap::new();
        let told = |replica: &&Replica| !self.replicas.draining.contains_key(&replica.id);
        for replica in observed.replicas.iter().filter(told) {
            if self.ending_of(Some(desired), replica) == Some(Ending::Completed) {
                *done.entry(&replica.revision).or_default() += 1;
            }
        }
        for (revision, count) in done {
            for record in self.revisions.history.iter_mut().filter(|record| record.revision == *revision) {
                record.completed = record.completed.max(count);
            }
        }
    }

    /// Waiting for others is no lack of progress of its own: that counts from the look that finds the wait over. Whose turn
    /// it is depends on the rest of what is noticed: once that is known, this is called again.
    pub fn observe_wait(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        let waits = Self::waits_for_others(desired, observed);
        if waits || self.process.was_waiting {
            self.revisions.progress_since = Some(now);
        }
        self.process.was_waiting = waits;
    }

    /// Takes in what the tag of a service stands for now.
    pub fn observe_tag(&mut self, name: &ImageRef, observed: &Observed, now: Timestamp) {
        let Some(ImageState::Present(id)) = observed.images.get(name) else { return };
        if self.images.tag.as_ref().is_none_or(|seen| seen.name != *name || seen.id != *id) {
            self.images.tag = Some(TagResolution { name: name.clone(), id: id.clone(), since: now });
        }
    }

    fn observe_time(&mut self, now: Timestamp) {
        if self.process.observed_at.is_none() {
            // The clock may have been set back meanwhile: what is remembered happened by now at the latest.
            let past = |at: &mut Timestamp| *at = (*at).min(now);
            self.replicas.draining.values_mut().for_each(past);
            self.revisions.progress_since.iter_mut().for_each(past);
            self.revisions.streak.iter_mut().for_each(|trouble| past(&mut trouble.last_at));
        }
        if self.process.observed_at.is_none_or(|at| now.duration_since(at) > MAX_GAP) {
            self.process.resumed_at = Some(now);
        }
        self.process.observed_at = Some(now);
    }

    fn observe_image(&mut self, desired: &DesiredService, observed: &Observed) {
        self.images.pulled.extend(observed.facts.pulled_images.iter().cloned());
        let Some(ImageState::Present(id)) = observed.images.get(&desired.spec.image) else { return };
        let id = desired.image.as_ref().unwrap_or(id);
        if self.process.pulling_for.as_ref() == Some(&desired.revision) {
            self.images.pulled_for = self.process.pulling_for.take();
        }
        let open = |record: &&mut RevisionRecord| record.revision == desired.revision && record.image.is_none();
        if let Some(record) = self.revisions.history.iter_mut().find(open) {
            record.image = Some(id.clone());
        }
    }

    fn observe_generation(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        // Without a memory of our own the containers know the generation they were made for.
        let hooks = observed.hooks.iter().map(|run| run.generation);
        let seen = observed.replicas.iter().map(|replica| replica.generation).chain(hooks).max();
        if self.digest == desired.digest {
            return;
        }
        let made = observed.replicas.iter().map(|replica| &replica.revision);
        let mut made = made.chain(observed.hooks.iter().map(|run| &run.revision));
        let adopted = self.digest.is_empty() && made.any(|revision| *revision == desired.revision);
        // What Docker Compose made proves nothing of a memory: this controller has begun nothing with it.
        let own = observed.replicas.iter().any(|replica| replica.compose.is_none()) || !observed.hooks.is_empty();
        if self.digest.is_empty() && own {
            let grace = desired.spec.stop_grace_period.map_or(STOP_GRACE, |asked| asked.get().max(STOP_GRACE));
            self.replicas.cautious_until = Some(now + grace + Duration::from_secs(1));
        }
        self.generation = self.generation.max(seen.unwrap_or(0));
        if !adopted || self.generation == 0 {
            self.generation += 1;
        }
        self.digest.clone_from(&desired.digest);
        self.revisions.failure = None;
        self.revisions.undone = None;
        self.revisions.streak = None;
        self.external_changes.clear();
        self.revisions.progress_since = Some(now);
        // A job that another one came after runs again when it is asked for again.
        let last = self.revisions.history.last().is_some_and(|record| record.revision == desired.revision);
        let known = self.revisions.history.iter().position(|record| record.revision == desired.revision);
        let mut record = RevisionRecord::begun(desired, self.generation, now);
        let runs = observed.replicas.iter().any(|r| r.revision == desired.revision && r.state.is_live());
        record.fresh = !runs;
        if let Some(old) = known.map(|at| self.revisions.history.remove(at)) {
            record.since = old.since;
            record.served = old.served;
            record.undone.clone_from(&old.undone);
            record.completed = if last { old.completed } else { 0 };
            record.ends = if last { old.ends.clone() } else { Vec::new() };
            // Its rollout goes on.
            record.fresh |= old.fresh && matches!(old.outcome, Outcome::Pending | Outcome::Superseded);
            record.inherit_hooks(&old, runs && old.outcome == Outcome::Available);
            // It has to prove itself again unless it still runs.
            if old.outcome == Outcome::Available && runs {
                record.outcome = Outcome::Available;
                (record.begun, record.ended) = (old.begun, old.ended);
                record.image = record.image.or(old.image);
            }
        }
        for before in self.revisions.history.iter_mut().filter(|one| one.outcome == Outcome::Pending && !one.adopted) {
            (before.outcome, before.ended) = (Outcome::Superseded, Some(now));
        }
        self.revisions.history.push(record);
        self.limit_history();
    }

    // A kept replica of the present generation is the world's own record that it has failed.
    fn observe_retained(&mut self, desired: &DesiredService, observed: &Observed, now: Timestamp) {
        let kept = observed.replicas.iter().find(|r| {
            r.name == r.service.kept_container() && r.revision == desired.revision && r.generation == self.generation
        });
        let available = self.record(&desired.revision).is_some_and(|record| record.outcome == Outcome::Available);
        let given_up = available || self.undone().is_some();
        if let (Some(kept), None, false) = (kept, &self.revisions.failure, given_up) {
            self.record_failure(&desired.revision, Reason::RevisionFailed, format!("{} is kept of it", kept.name), now);
        }
    }

    /// Forgets the oldest revisions. The last available one outlives the limit: a rollback needs it.
    pub(in super::super) fn limit_history(&mut self) {
        let mut surplus = self.revisions.history.len().saturating_sub(MAX_REVISIONS);
        let Some(current) = self.revisions.history.last().map(|record| record.revision.clone()) else { return };
        let keep = self.last_available(&current).map(|record| record.revision.clone());
        self.revisions.history.retain(|record| {
            let goes = surplus > 0 && Some(&record.revision) != keep.as_ref() && record.revision != current;
            surplus -= usize::from(goes);
            !goes
        });
    }

    fn observe_replica(&mut self, replica: &Replica, believed: bool, served: bool, now: Timestamp) {
        if replica.state != State::Running {
            if let Some(sighting) = self.process.observations.get_mut(&replica.id) {
                sighting.ready_since = None;
            }
            return;
        }
        let same_run =
            |s: &ReplicaObservation| s.started_at == replica.started_at && s.restart_count == replica.restart_count;
        let known = self.process.observations.get(&replica.id).filter(|sighting| same_run(sighting));
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
        let ready = is_ready(replica) || (no_verdict && was_ready && remains_ready(replica));
        let starting_since = known.and_then(|sighting| sighting.starting_since).unwrap_or(now);
        let sighting = ReplicaObservation {
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
        if newly_ready && Some(&replica.revision) == self.revisions.history.last().map(|record| &record.revision) {
            self.revisions.progress_since = Some(now);
        }
        if ready {
            for record in self.revisions.history.iter_mut().filter(|record| record.revision == replica.revision) {
                record.served = true;
            }
        }
        self.process.observations.insert(replica.id.clone(), sighting);
    }

    fn observe_end(&mut self, replica: &Replica, known_restarts: u32, now: Timestamp) {
        // What somebody else has told to stop says nothing against its revision.
        let told = self.replicas.draining.contains_key(&replica.id)
            || (replica.stopped_externally && !replica.state.is_live());
        if told || replica.name == replica.service.kept_container() {
            return;
        }
        let ended = match replica.state {
            State::Exited(_) => Some(describe_exit(replica)),
            State::Dead => Some(format!("{} is dead", replica.name)),
            State::Running if replica.health == Health::Unhealthy => {
                if self.unhealthy_until(replica).is_some_and(|until| now < until) {
                    return;
                }
                let spec = self.record(&replica.revision).map(|record| &*record.spec);
                let message = format!("{} {}", replica.name, describe_unhealthy(replica, spec));
                return self.count_failure_once(replica, Reason::Unhealthy, message, now);
            }
            _ if replica.restart_count > known_restarts => {
                Some(format!("{} was restarted {} times", replica.name, replica.restart_count))
            }
            _ => None,
        };
        if let Some(message) = ended {
            self.count_failure_once(replica, Reason::Exited, message, now);
        }
    }

    /// Until when a replica may say that it is unhealthy, where somebody has given its rollout a time to become healthy.
    pub fn unhealthy_until(&self, replica: &Replica) -> Option<Timestamp> {
        let timeout = self.health_timeout_of_rollout(&replica.revision)?;
        Some(self.process.observations.get(&replica.id)?.running_since + timeout)
    }

    // Once for each run of a container.
    fn count_failure_once(&mut self, replica: &Replica, reason: Reason, message: String, now: Timestamp) {
        let run = format!("{} {} {:?} {reason}", replica.id, replica.restart_count, replica.started_at);
        if self.revisions.streak.as_ref().is_some_and(|trouble| trouble.counted.contains(&run)) {
            return;
        }
        self.count_failure(&replica.revision, reason, message, now);
        if reason == Reason::Exited {
            self.record_end(&replica.revision, now);
        }
        // Without the specification that it was made of nobody knows what to hide.
        let spec = self.record(&replica.revision).map(|record| Arc::clone(&record.spec));
        if let Some(trouble) = &mut self.revisions.streak {
            trouble.counted.insert(run);
            trouble.output = spec.map_or_else(Vec::new, |spec| without_secrets(&replica.output, &spec, None));
        }
    }

    pub(super) fn count_failure(&mut self, revision: &Revision, reason: Reason, message: String, now: Timestamp) {
        let recent = |t: &FailureStreak| {
            now.duration_since(t.last_at).as_secs() < FAILURE_STREAK_WINDOW && t.revision == *revision
        };
        let before = self.revisions.streak.take().filter(recent);
        let (count, counted) = before.map_or_else(Default::default, |t| (t.count, t.counted));
        self.revisions.streak = Some(FailureStreak {
            revision: revision.clone(),
            count: count + 1,
            last_at: now,
            reason,
            message,
            output: Vec::new(),
            counted,
        });
    }
}

/// Running, healthy if it has a healthcheck, passing its probe if it has one. Not yet: for how long.
pub(in super::super) fn is_ready(replica: &Replica) -> bool {
    replica.state == State::Running && matches!(replica.health, Health::None | Health::Healthy) && probe_passes(replica)
}

/// Whether nothing speaks against one that was ready: those that were asked anew have not answered yet.
fn remains_ready(replica: &Replica) -> bool {
    replica.state == State::Running
        && replica.health != Health::Unhealthy
        && matches!(replica.probe, Probe::None | Probe::Passing | Probe::Unasked)
}

fn probe_passes(replica: &Replica) -> bool {
    matches!(replica.probe, Probe::None | Probe::Passing)
}
