//! A rollout of a document that has not changed: a mark on the name of its revision. It reaches no container, so the new
//! containers are like the old ones; and it is part of their labels, so it is found again when the memory is lost.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Comparison, Desired, DesiredService, Health, Memory, Outcome, Replica, RevisionRecord};

/// Stands between the name of a revision and the number of its rollout.
const MARK: char = '-';

/// Without progress for so long beyond what was asked to be waited for, a rollout has failed.
const REST: Duration = Duration::from_mins(2);
/// The least time without progress after which a rollout has failed.
const PROGRESS: Duration = Duration::from_mins(10);

/// That the replicas of a revision were replaced by others of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// The revision, as its document has it.
    pub revision: String,
    /// How often, so far.
    pub number: u64,
    /// How; it holds for the replicas of this rollout.
    #[serde(default)]
    pub options: RolloutOptions,
}

/// How a rollout goes, where somebody wants it otherwise than the document says. All times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutOptions {
    /// A replica with a healthcheck that is not healthy by then has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// A replica without a healthcheck is available after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// A replica with one is available so long after it has become healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_after_healthy: Option<u64>,
    /// Run by a shell in each replica that is replaced, before it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop_hook: Option<String>,
}

/// The name of a revision, or of a digest, as the document alone has it.
pub fn unmarked(name: &str) -> &str {
    name.split_once(MARK).map_or(name, |(name, _)| name)
}

/// The number of the rollout of `revision` that `name` stands for.
fn number(name: &str, revision: &str) -> Option<u64> {
    name.strip_prefix(revision)?.strip_prefix(MARK)?.parse().ok()
}

impl Memory {
    /// The name of a service's revision, with the mark of its last rollout.
    pub fn revision_of(&self, desired: &DesiredService) -> String {
        self.with_mark(&desired.revision, &desired.revision)
    }

    fn with_mark(&self, name: &str, revision: &str) -> String {
        let mark = self.mark.as_ref().filter(|mark| mark.revision == revision);
        mark.map_or_else(|| name.to_owned(), |mark| format!("{name}{MARK}{}", mark.number))
    }

    /// Has all of `replicas` replaced by new ones of the same document: from now on they are an earlier revision.
    pub fn roll_out(
        &mut self,
        desired: &DesiredService,
        replicas: &[Replica],
        options: RolloutOptions,
        now: Timestamp,
    ) {
        self.find_mark(&desired.revision, replicas);
        let before = self.revision_of(desired);
        // What Compose made as the document asks would be as good as new: it stands for the earlier revision.
        let same = |one: &&Replica| one.compose == Some(Comparison::Same) && !self.adopted.contains_key(&one.id);
        let adopted: Vec<_> = replicas.iter().filter(same).map(|one| (one.id.clone(), before.clone())).collect();
        if !adopted.is_empty() && self.record(&before).is_none() {
            self.history.push(RevisionRecord {
                revision: before.clone(),
                generation: self.generation,
                spec: desired.spec.clone(),
                since: now,
                outcome: Outcome::Pending,
                served: false,
                commit: desired.commit.clone(),
                image: None,
                document: desired.document.as_ref().map(|own| own.revision.clone()),
                begun: Some(now),
                ended: None,
                fresh: false,
                pre_deploy: None,
                post_deploy: None,
            });
        }
        self.adopted.extend(adopted);
        let known = self.history.iter().map(|record| &record.revision);
        let known = known.chain(replicas.iter().map(|one| &one.revision)).chain([&before]);
        let last = known.filter_map(|name| number(name, &desired.revision)).max().unwrap_or(0);
        self.mark = Some(Mark { revision: desired.revision.clone(), number: last + 1, options });
    }

    /// What is wanted, with the mark of its last rollout. A change of the document is a revision of its own, without one.
    pub fn marked(&mut self, desired: Desired, replicas: &[Replica]) -> Desired {
        let Desired::Run(mut desired) = desired else { return desired };
        // What somebody goes back to is what it was, and no rollout.
        if let Some(mark) = self.mark.as_mut().filter(|mark| mark.revision != desired.revision) {
            mark.options = RolloutOptions::default();
        }
        if self.digest.is_empty() {
            self.find_mark(&desired.revision, replicas);
        }
        desired.digest = self.with_mark(&desired.digest, &desired.revision);
        desired.revision = self.revision_of(&desired);
        if let Some(mark) = &self.mark {
            mark.options.apply(&mut desired, replicas);
        }
        Desired::Run(desired)
    }

    /// After the loss of the memory the replicas know how often they were replaced.
    fn find_mark(&mut self, revision: &str, replicas: &[Replica]) {
        let last = replicas.iter().filter_map(|one| number(&one.revision, revision)).max();
        if let (None, Some(number)) = (&self.mark, last) {
            self.mark = Some(Mark { revision: revision.to_owned(), number, options: RolloutOptions::default() });
        }
    }

    /// The command to be run in a replica of `revision` before its stop, if a rollout that replaces it says so.
    pub fn pre_stop_of_rollout(&self, revision: &str) -> Option<&str> {
        let mark = self.mark.as_ref().filter(|mark| number(revision, &mark.revision) != Some(mark.number))?;
        mark.options.pre_stop_hook.as_deref()
    }
}

impl RolloutOptions {
    fn apply(&self, desired: &mut DesiredService, replicas: &[Replica]) {
        let min_ready = if is_checked(desired, replicas) { self.wait_after_healthy } else { self.wait };
        if min_ready.is_none() && self.timeout.is_none() {
            return;
        }
        let rollout = desired.spec.rollout.get_or_insert_default();
        let secs = |number: u64| Duration::from_secs(number).into();
        rollout.min_ready = min_ready.map(secs).or(rollout.min_ready);
        rollout.health_deadline = self.timeout.map(secs).or(rollout.health_deadline);
        let waits =
            [rollout.min_ready, rollout.health_deadline].into_iter().flatten().map(crd_schema::ComposeDuration::get);
        let least = waits.fold(REST, Duration::saturating_add);
        let asked = rollout.progress_deadline.map_or(PROGRESS, crd_schema::ComposeDuration::get);
        rollout.progress_deadline = Some(asked.max(least).into());
    }
}

/// Whether anything tells that a replica is well; an image's own healthcheck is seen on those that run.
fn is_checked(desired: &DesiredService, replicas: &[Replica]) -> bool {
    let none = |check: &crd_schema::Healthcheck| check.disable || check.test.first().is_some_and(|word| word == "NONE");
    let own = desired.spec.healthcheck.as_ref().is_some_and(|check| !none(check));
    own || desired.spec.readiness.is_some() || replicas.iter().any(|one| one.health != Health::None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::time::Duration;

    use crd_schema::{ComposeDuration, ServiceSpec};
    use jiff::Timestamp;

    use super::super::{Desired, DesiredService, Memory, ServiceName};
    use super::{RolloutOptions, unmarked};

    fn desired(image: &str) -> DesiredService {
        let spec = ServiceSpec { image: image.to_owned(), ..ServiceSpec::default() };
        DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1")
    }

    fn marked(memory: &mut Memory, desired: &DesiredService) -> DesiredService {
        match memory.marked(Desired::Run(Box::new(desired.clone())), &[]) {
            Desired::Run(desired) => *desired,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_rollout_has_a_name_of_its_own_until_the_document_changes() {
        let (mut memory, web) = (Memory::default(), desired("web:1"));
        assert_eq!(marked(&mut memory, &web), web);
        for number in 1..3 {
            let options = RolloutOptions { pre_stop_hook: Some("sync".to_owned()), ..RolloutOptions::default() };
            memory.roll_out(&web, &[], options, Timestamp::UNIX_EPOCH);
            let now = marked(&mut memory, &web);
            assert_eq!(now.revision, format!("{}-{number}", web.revision));
            assert_eq!((unmarked(&now.revision), unmarked(&now.digest)), (&*web.revision, &*web.digest));
            assert_eq!(now.spec, web.spec, "nothing of it reaches the container");
        }
        let changed = desired("web:2");
        assert_eq!(marked(&mut memory, &changed), changed);
        let again = marked(&mut memory, &web);
        assert_eq!(again.revision, format!("{}-2", web.revision), "what is gone back to is what it was");
        assert_eq!(memory.pre_stop_of_rollout(&changed.revision), None, "and nobody has asked how");
    }

    #[test]
    fn what_is_asked_of_one_rollout_is_no_change_of_the_document() {
        let (mut memory, mut web) = (Memory::default(), desired("web:1"));
        let options = RolloutOptions {
            timeout: Some(900),
            wait: Some(7),
            wait_after_healthy: Some(3),
            pre_stop_hook: Some("sync".to_owned()),
        };
        memory.roll_out(&web, &[], options.clone(), Timestamp::UNIX_EPOCH);
        let now = marked(&mut memory, &web);
        assert_eq!((&*now.digest, &now.revision), (&*format!("{}-1", web.digest), &format!("{}-1", web.revision)));
        let secs = |asked: Option<ComposeDuration>| asked.map(|asked| asked.get().as_secs());
        let rollout = now.spec.rollout.clone().unwrap();
        assert_eq!((secs(rollout.min_ready), secs(rollout.health_deadline)), (Some(7), Some(900)));
        assert!(rollout.progress_deadline.is_some_and(|asked| asked.get() > Duration::from_secs(907)));
        assert_eq!(memory.pre_stop_of_rollout(&web.revision), Some("sync"), "those that are replaced");
        assert_eq!(memory.pre_stop_of_rollout(&now.revision), None, "not those that replace them");
        web.spec.healthcheck = Some(crd_schema::Healthcheck::default());
        web = DesiredService::new(web.name, web.spec, web.source);
        memory.roll_out(&web, &[], options, Timestamp::UNIX_EPOCH);
        let rollout = marked(&mut memory, &web).spec.rollout.unwrap();
        assert_eq!(secs(rollout.min_ready), Some(3), "with a healthcheck the other wait counts");
        memory.roll_out(&web, &[], RolloutOptions::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(marked(&mut memory, &web).spec.rollout, None, "the next one is as the document says");
    }
}
