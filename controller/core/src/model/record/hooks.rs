//! What is remembered of the hooks of revisions.

use crd_schema::Revision;
use crd_schema::status::Reason;
use jiff::Timestamp;

use super::super::{
    DesiredService, HookEnd, HookKind, HookRecord, HookState, Observed, Replica, State, describe_hook_failure,
};
use super::{Outcome, PostStartState, ReplicaHookFailure, RevisionRecord, ServiceRecord};

impl RevisionRecord {
    /// What is remembered of a hook of it.
    pub fn hook(&self, kind: HookKind) -> Option<&HookRecord> {
        match kind {
            HookKind::PreDeploy => self.pre_deploy.as_ref(),
            HookKind::PostDeploy => self.post_deploy.as_ref(),
        }
    }

    fn hook_mut(&mut self, kind: HookKind) -> &mut Option<HookRecord> {
        match kind {
            HookKind::PreDeploy => &mut self.pre_deploy,
            HookKind::PostDeploy => &mut self.post_deploy,
        }
    }

    /// Takes over what was known of the same revision when its document changes. What ran well is not run again; what did
    /// not is tried once more.
    pub(super) fn inherit_hooks(&mut self, old: &Self, goes_on: bool) {
        self.pre_deploy = old.pre_deploy.clone().filter(|hook| goes_on || hook.state == HookState::Done);
        self.post_deploy = old.post_deploy.clone().filter(|_| goes_on);
    }
}

impl ReplicaHookFailure {
    fn new(hook: &'static str, replica: &Replica, why: &str) -> Self {
        Self { hook, replica: replica.name.clone(), why: why.to_owned() }
    }
}

impl ServiceRecord {
    /// What is due is begun by this process or by none: who finds hooks begun by another cannot tell what they did.
    pub(super) fn observe_post_start(&mut self, observed: &Observed, now: Timestamp) {
        let (mut failures, mut failed) = (Vec::new(), Vec::new());
        for replica in &observed.replicas {
            let before = self.replicas.post_start.get(&replica.id);
            let next = match (before, replica.state, &replica.post_start) {
                (None, State::Created, _) => {
                    let has = |record: &RevisionRecord| !record.spec.post_start.is_empty();
                    self.record(&replica.revision).is_some_and(has).then_some(PostStartState::Due)
                }
                (Some(PostStartState::Due), State::Running, _) => {
                    self.process.own_post_start.insert(replica.id.clone());
                    Some(PostStartState::Begun)
                }
                (Some(PostStartState::Begun), _, Some(HookEnd::Done)) => Some(PostStartState::Done),
                (Some(PostStartState::Begun), _, Some(HookEnd::Failed(failure))) => {
                    let spec = self.record(&replica.revision).map(|record| &*record.spec);
                    let hooks = spec.map_or(&[][..], |spec| &spec.post_start);
                    let why = describe_hook_failure(failure, hooks, spec);
                    failures.push(ReplicaHookFailure::new("post_start", replica, &why));
                    failed.push((replica.revision.clone(), format!("post_start of {}: {why}", replica.name)));
                    Some(PostStartState::Failed(why))
                }
                (Some(PostStartState::Begun), _, None) if !self.process.own_post_start.contains(&replica.id) => {
                    Some(PostStartState::Interrupted)
                }
                _ => None,
            };
            if let Some(next) = next {
                self.replicas.post_start.insert(replica.id.clone(), next);
            }
        }
        self.process.hook_failures.append(&mut failures);
        // As an end of the replica: the next one is made after a while, and ever more slowly.
        for (revision, message) in failed {
            self.count_failure(&revision, Reason::StartFailed, message, now);
        }
    }

    /// A pre-stop hook that fails stops nothing, and is told once.
    pub(super) fn observe_pre_stop(&mut self, observed: &Observed) {
        for replica in &observed.replicas {
            let Some(failure) = &replica.pre_stop_failure else { continue };
            if self.process.told_pre_stop.insert(replica.id.clone()) {
                let spec = self.record(&replica.revision).map(|record| &*record.spec);
                let hooks = spec.map_or(&[][..], |spec| &spec.pre_stop);
                let why = describe_hook_failure(failure, hooks, spec);
                self.process.hook_failures.push(ReplicaHookFailure::new("pre_stop", replica, &why));
            }
        }
    }

    /// Takes in what is seen of hooks. That one was begun is known from its container on, which is made before it is
    /// started; one whose container is gone before its end was noted has been interrupted.
    pub(super) fn observe_hooks(&mut self, observed: &Observed, believed: bool, now: Timestamp) {
        let generation = self.generation;
        for run in &observed.hooks {
            let Some(record) = self.record_mut(&run.revision) else {
                continue;
            };
            let slot = record.hook_mut(run.kind);
            let begins = match slot {
                None if run.kind == HookKind::PreDeploy => run.counts(generation),
                None | Some(HookRecord { state: HookState::Due, .. }) => run.generation == generation,
                Some(HookRecord { state: HookState::Interrupted, attempts, .. }) => run.attempt > *attempts,
                Some(_) => false,
            };
            if begins {
                let begun = HookRecord { state: HookState::Begun, attempts: run.attempt, ..HookRecord::due(now) };
                *slot = Some(begun);
            }
            let begun = slot.as_mut().filter(|slot| slot.state == HookState::Begun && run.state != State::Created);
            if let Some(slot) = begun.filter(|slot| slot.running_since.is_none()) {
                let started = run.started_at.filter(|_| believed).map_or(now, |started| started.min(now));
                slot.running_since = Some(started);
            }
        }
        for record in &mut self.revisions.history {
            for kind in [HookKind::PreDeploy, HookKind::PostDeploy] {
                let there = observed.hooks.iter().any(|run| run.kind == kind && run.revision == record.revision);
                if let Some(slot) =
                    record.hook_mut(kind).as_mut().filter(|slot| slot.state == HookState::Begun && !there)
                {
                    slot.state = HookState::Interrupted;
                    slot.ended = Some(now);
                }
            }
        }
    }

    /// Whether the revision waits for something that is no progress of its own, and no lack of it.
    pub(super) fn waits_for_others(desired: &DesiredService, observed: &Observed) -> bool {
        let begun = observed.replicas.iter().any(|replica| replica.revision == desired.revision);
        (!begun && observed.waits_for_others()) || !observed.port_conflicts.is_empty()
    }

    /// Writes down how a hook ended.
    pub fn record_hook_result(&mut self, kind: HookKind, revision: &Revision, end: &HookRecord, now: Timestamp) {
        let Some(record) = self.record_mut(revision) else {
            return;
        };
        if let Some(slot) = record.hook_mut(kind) {
            (slot.state, slot.code, slot.ended) = (end.state, end.code, Some(now));
            slot.refused.clone_from(&end.refused);
            slot.output.clone_from(&end.output);
        }
        self.revisions.progress_since = Some(now);
    }

    /// After a rollout its post-deploy hook is due.
    pub(super) fn schedule_post_deploy(record: &mut RevisionRecord, now: Timestamp) {
        // One that this rollout has had is known by its container, if by nothing else.
        let has = HookKind::PostDeploy.spec_in(&record.spec).is_some() && record.post_deploy.is_none();
        if record.outcome == Outcome::Available && record.fresh && has {
            record.post_deploy = Some(HookRecord::due(now));
        }
    }
}
