//! Worlds of a job: what is to run once, and when it has ended well, was run once.

use composed_core::model::State;

use super::*;

/// The containers that have ended with their work done, each by the wish that it was made for.
#[derive(Default)]
pub(super) struct Completed {
    /// How often the wish has changed, or was rolled out anew.
    wishes: u64,
    /// The most replicas that were wanted since.
    wanted: u32,
    made_for: BTreeMap<ContainerId, u64>,
    done: BTreeMap<(u64, Revision), BTreeSet<ContainerId>>,
}

impl Case {
    /// Makes a world of a job of it: all that it wants is other documents, so that whatever runs twice was run twice by us.
    pub(super) fn into_job(mut self) -> Self {
        for (name, behaviour) in &mut self.images {
            let ends = Duration::from_millis(self.rng.u64(100..30_000));
            let exit_code = if name.as_str().starts_with("bad") { 3 } else { 0 };
            *behaviour = Behaviour { exits_after: Some(ends), exit_code, ..Behaviour::default() };
        }
        self.script.retain(|(_, event)| matches!(event, Event::Wish(_)));
        (self.hooks, self.compose, self.healthcheck, self.canary) = (None, None, false, false);
        (self.job, self.fixed_name) = (true, None);
        self
    }
}

impl Run {
    /// Somebody asks for another one, or for another number of them.
    pub(super) fn ask_for_jobs(&mut self, changed: bool) {
        let wanted = self.wish.replicas;
        let completed = &mut self.completed;
        completed.wishes += u64::from(changed);
        completed.wanted = if changed { wanted } else { completed.wanted.max(wanted) };
    }

    /// S16: no more of one wish have done their work than were wanted.
    pub(super) fn judge_jobs(&mut self) {
        let Self { case, completed, sim, .. } = self;
        if !case.job {
            return;
        }
        sim.with(|world, _| {
            for container in world.containers.values().filter(|container| container.ours) {
                let id = &container.replica.id;
                let wish = *completed.made_for.entry(id.clone()).or_insert(completed.wishes);
                if container.replica.state == State::Exited(0) && container.replica.started_at.is_some() {
                    let done = completed.done.entry((wish, container.replica.revision.clone())).or_default();
                    done.insert(id.clone());
                    let most = completed.wanted as usize;
                    assert!(wish != completed.wishes || done.len() <= most, "S16: {done:?} did the work of {most}");
                }
            }
        });
    }

    /// L2: the job that is wanted has been done, all of it, or has failed and says so.
    pub(super) fn judge_job_at_the_end(&self) {
        if self.wish.gone || self.wish.held || self.wish.replicas == 0 {
            return;
        }
        let status = self.before.as_ref().expect("a status");
        let bad = self.wish.image.as_str().starts_with("bad");
        if bad {
            assert!(
                status.conditions.iter().any(|one| !one.status),
                "L2: a failed job must not look well: {status:#?}"
            );
        } else if self.memory.revisions.failure.is_none() {
            assert_eq!(status.completed, self.wish.replicas, "L2: {status:#?}");
        }
    }
}
