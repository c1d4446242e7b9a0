//! Rollouts by hand: the name of a revision with the mark of its last one.

use std::time::Duration;

use crd_schema::{Revision, SpecDigest};
use jiff::Timestamp;

use super::super::manual_rollout::{rolled_out, rollout_number};
use super::super::{Comparison, Desired, DesiredService, ManualRollout, Replica, RolloutOptions};
use super::{Outcome, RevisionRecord, ServiceRecord};

impl ServiceRecord {
    /// The name of a service's revision, with the mark of its last rollout.
    pub fn revision_of(&self, desired: &DesiredService) -> Revision {
        Revision::new(self.numbered(desired.revision.as_str(), &desired.revision))
    }

    fn numbered(&self, name: &str, revision: &Revision) -> String {
        let manual_rollout =
            self.control.manual_rollout.as_ref().filter(|manual_rollout| manual_rollout.revision == *revision);
        manual_rollout.map_or_else(|| name.to_owned(), |manual_rollout| rolled_out(name, manual_rollout.number))
    }

    /// Has all of `replicas` replaced by new ones of the same document: from now on they are an earlier revision.
    pub fn begin_manual_rollout(
        &mut self,
        desired: &DesiredService,
        replicas: &[Replica],
        options: RolloutOptions,
        now: Timestamp,
    ) {
        self.recover_manual_rollout(&desired.revision, replicas);
        let before = self.revision_of(desired);
        // What Compose made as the document asks would be as good as new: it stands for the earlier revision.
        let same =
            |one: &&Replica| one.compose == Some(Comparison::Same) && !self.replicas.adopted.contains_key(&one.id);
        let adopted: Vec<_> = replicas.iter().filter(same).map(|one| (one.id.clone(), before.clone())).collect();
        if !adopted.is_empty() && self.record(&before).is_none() {
            self.revisions.history.push(RevisionRecord {
                revision: before.clone(),
                image: None,
                ..RevisionRecord::begun(desired, self.generation, now)
            });
        }
        self.replicas.adopted.extend(adopted);
        let known = self.revisions.history.iter().map(|record| &record.revision);
        let known = known.chain(replicas.iter().map(|one| &one.revision)).chain([&before]);
        let last = known.filter_map(|name| rollout_number(name, &desired.revision)).max().unwrap_or(0);
        self.control.manual_rollout =
            Some(ManualRollout { revision: desired.revision.clone(), number: last + 1, options });
    }

    /// What is wanted, with the mark of its last rollout. A change of the document is a revision of its own, without one.
    pub fn with_manual_rollout(&mut self, desired: Desired, replicas: &[Replica]) -> Desired {
        let Desired::Run(mut desired) = desired else { return desired };
        // What somebody goes back to is what it was, and no rollout.
        if let Some(manual_rollout) =
            self.control.manual_rollout.as_mut().filter(|manual_rollout| manual_rollout.revision != desired.revision)
        {
            manual_rollout.options = RolloutOptions::default();
        }
        if self.digest.is_empty() {
            self.recover_manual_rollout(&desired.revision, replicas);
        }
        desired.digest = SpecDigest::new(self.numbered(desired.digest.as_str(), &desired.revision));
        desired.revision = self.revision_of(&desired);
        if let Some(manual_rollout) = &self.control.manual_rollout {
            manual_rollout.options.apply(&mut desired, replicas);
        }
        Desired::Run(desired)
    }

    /// After the loss of the memory the replicas know how often they were replaced.
    fn recover_manual_rollout(&mut self, revision: &Revision, replicas: &[Replica]) {
        let last = replicas.iter().filter_map(|one| rollout_number(&one.revision, revision)).max();
        if let (None, Some(number)) = (&self.control.manual_rollout, last) {
            self.control.manual_rollout =
                Some(ManualRollout { revision: revision.clone(), number, options: RolloutOptions::default() });
        }
    }

    /// How long each new replica of a rollout by hand may take to become healthy, where somebody has said so: until then a report
    /// of its healthcheck is no failure, as with docker-rollout.
    pub fn health_timeout_of_rollout(&self, revision: &Revision) -> Option<Duration> {
        let timeout = self.control.manual_rollout.as_ref()?.options.timeout?;
        let last = self.revisions.history.last()?;
        let begun = last.revision == *revision && last.outcome == Outcome::Pending;
        begun.then_some(Duration::from_secs(timeout))
    }

    /// The command to be run in a replica of `revision` before its stop, if a rollout that replaces it says so.
    pub fn pre_stop_of_rollout(&self, revision: &Revision) -> Option<&str> {
        let manual_rollout = self.control.manual_rollout.as_ref().filter(|manual_rollout| {
            rollout_number(revision, &manual_rollout.revision) != Some(manual_rollout.number)
        })?;
        manual_rollout.options.pre_stop_hook.as_deref()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use std::time::Duration;

    use crd_schema::{ComposeDuration, ImageRef, Revision, ServiceSpec, SpecDigest};
    use jiff::Timestamp;

    use super::super::super::{
        Desired, DesiredService, RolloutOptions, ServiceName, ServiceRecord, base_digest, base_revision,
    };

    fn desired(image: &str) -> DesiredService {
        let spec = ServiceSpec { image: ImageRef::new(image), ..ServiceSpec::default() };
        DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1")
    }

    fn marked(memory: &mut ServiceRecord, desired: &DesiredService) -> DesiredService {
        match memory.with_manual_rollout(Desired::Run(Box::new(desired.clone())), &[]) {
            Desired::Run(desired) => *desired,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_rollout_has_a_name_of_its_own_until_the_document_changes() {
        let (mut memory, web) = (ServiceRecord::default(), desired("web:1"));
        assert_eq!(marked(&mut memory, &web), web);
        for number in 1..3 {
            let options = RolloutOptions { pre_stop_hook: Some("sync".to_owned()), ..RolloutOptions::default() };
            memory.begin_manual_rollout(&web, &[], options, Timestamp::UNIX_EPOCH);
            let now = marked(&mut memory, &web);
            assert_eq!(now.revision, Revision::new(format!("{}-{number}", web.revision)));
            assert_eq!(
                (base_revision(&now.revision), base_digest(&now.digest)),
                (web.revision.clone(), web.digest.clone())
            );
            assert_eq!(now.spec, web.spec, "nothing of it reaches the container");
        }
        let changed = desired("web:2");
        assert_eq!(marked(&mut memory, &changed), changed);
        let again = marked(&mut memory, &web);
        assert_eq!(again.revision, Revision::new(format!("{}-2", web.revision)), "what is gone back to is what it was");
        assert_eq!(memory.pre_stop_of_rollout(&changed.revision), None, "and nobody has asked how");
    }

    #[test]
    fn what_is_asked_of_one_rollout_is_no_change_of_the_document() {
        let (mut memory, mut web) = (ServiceRecord::default(), desired("web:1"));
        let options = RolloutOptions {
            timeout: Some(900),
            wait: Some(7),
            wait_after_healthy: Some(3),
            pre_stop_hook: Some("sync".to_owned()),
            to_file: false,
        };
        memory.begin_manual_rollout(&web, &[], options.clone(), Timestamp::UNIX_EPOCH);
        let now = marked(&mut memory, &web);
        assert_eq!(now.digest, SpecDigest::new(format!("{}-1", web.digest)));
        assert_eq!(now.revision, Revision::new(format!("{}-1", web.revision)));
        let secs = |asked: Option<ComposeDuration>| asked.map(|asked| asked.get().as_secs());
        let rollout = now.spec.rollout.clone().unwrap();
        assert_eq!((secs(rollout.min_ready), secs(rollout.health_deadline)), (Some(7), Some(900)));
        assert!(rollout.progress_deadline.is_some_and(|asked| asked.get() > Duration::from_secs(907)));
        assert_eq!(memory.pre_stop_of_rollout(&web.revision), Some("sync"), "those that are replaced");
        assert_eq!(memory.pre_stop_of_rollout(&now.revision), None, "not those that replace them");
        Arc::make_mut(&mut web.spec).healthcheck = Some(crd_schema::Healthcheck::default());
        web = DesiredService::new(web.name, web.spec, web.source);
        memory.begin_manual_rollout(&web, &[], options, Timestamp::UNIX_EPOCH);
        let rollout = marked(&mut memory, &web).spec.rollout.clone().unwrap();
        assert_eq!(secs(rollout.min_ready), Some(3), "with a healthcheck the other wait counts");
        memory.begin_manual_rollout(&web, &[], RolloutOptions::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(marked(&mut memory, &web).spec.rollout, None, "the next one is as the document says");
    }
}
