//! The judge's rules for what has ended, which is not run again, and for what never runs in two revisions.

use composed_core::model::{Replica, State};
use composed_core::plan::action::Verb;
use crd_schema::{Order, RestartPolicy, Revision};

use super::judge::{Judge, Verdict};

impl Judge<'_> {
    /// Whether it has ended for good: its work is done, or its restart policy has no further run for it.
    pub(super) fn is_over(&self, one: &Replica) -> bool {
        let State::Exited(code) = one.state else { return false };
        let spec = self.scene.spec();
        let serves = spec.healthcheck.is_some() || spec.readiness.is_some() || !spec.ports.is_empty();
        match spec.restart {
            _ if self.scene.service.one_shot && code == 0 => true,
            Some(RestartPolicy::No) => true,
            Some(RestartPolicy::OnFailure(_)) if code == 0 => !serves && !one.stopped_externally,
            Some(RestartPolicy::OnFailure(Some(times))) => one.restart_count >= times,
            _ => false,
        }
    }

    /// Whether an end can be the end of one.
    pub(super) fn is_job(&self) -> bool {
        let restart = self.scene.spec().restart;
        self.scene.service.one_shot || matches!(restart, Some(RestartPolicy::No | RestartPolicy::OnFailure(_)))
    }

    /// Of those that are over, those of a revision that nobody has taken out of traffic.
    pub(super) fn over<'s>(&'s self, revision: &'s Revision) -> impl Iterator<Item = &'s Replica> {
        let stays = move |one: &&Replica| one.revision == *revision && self.withdrawn(&one.id).is_none();
        let kept = |one: &Replica| one.name == one.service.kept_container();
        self.scene.observed.replicas.iter().filter(stays).filter(move |one| !kept(one) && self.is_over(one))
    }

    /// What is over stays over.
    pub(super) fn what_is_over(&self) -> Verdict {
        self.never_two_revisions()?;
        self.what_is_over_is_not_run_again()
    }

    /// All old ones go before the first new one starts.
    pub(super) fn recreates(&self) -> bool {
        self.scene.spec().rollout.as_ref().and_then(|rollout| rollout.order) == Some(Order::Recreate)
    }

    fn never_two_revisions(&self) -> Verdict {
        let starts = self.verbs().filter_map(|verb| match verb {
            Verb::Start(target) => self.scene.replica(&target.id),
            _ => None,
        });
        for start in starts.filter(|_| self.recreates()) {
            let mut others = self.scene.observed.replicas.iter().filter(|one| one.revision != start.revision);
            if let Some(other) = others.find(|one| one.state.is_live()) {
                return Err(format!("{} starts, and {} of another revision still runs", start.name, other.name));
            }
        }
        Ok(())
    }

    /// Each of a job has its one run: beside those that are over, only as many are made as are left.
    fn what_is_over_is_not_run_again(&self) -> Verdict {
        let wanted = self.scene.spec().replicas.unwrap_or(1) as usize;
        let blueprints = self.verbs().filter_map(|verb| match verb {
            Verb::Create(blueprint) if blueprint.hook.is_none() => Some(blueprint),
            _ => None,
        });
        let made: Vec<_> = blueprints.map(|blueprint| &blueprint.revision).collect();
        let Some(revision) = made.first() else { return Ok(()) };
        let over = self.over(revision).count();
        if over > 0 && made.len() + over > wanted {
            return Err(format!("{} of {revision} are made beside {over} that are over, of {wanted}", made.len()));
        }
        Ok(())
    }
}
