//! The judge of fixed names.

use composed_core::model::{Desired, Replica};
use composed_core::plan::action::Verb;
use crd_schema::ContainerId;

use super::judge::{Judge, Verdict, holds};
use super::scene::Scene;

impl Judge<'_> {
    /// Who asks for the fixed name reaches one that serves: it moves from one that was withdrawn to one that is available, before the
    /// first of them is stopped.
    pub(super) fn a_fixed_name_answers(&self) -> Verdict {
        let Scene { observed, .. } = self.scene;
        let fixed = |one: &Replica| self.scene.memory.record(&one.revision)?.spec.container_name.clone();
        let heir = |holder: &Replica| {
            let mut others = observed.replicas.iter().filter(|one| one.id != holder.id && self.available(one));
            others.any(|one| fixed(one).as_ref() == Some(&holder.name))
        };
        let holds_it =
            |name: &str, but: &ContainerId| observed.replicas.iter().any(|one| one.name == name && one.id != *but);
        for verb in self.verbs() {
            match verb {
                Verb::Rename { target, to } => {
                    let Some(one) = self.scene.replica(&target.id) else { continue };
                    let gives = fixed(one).as_ref() == Some(&one.name) && one.state.is_live();
                    holds!(!gives, "{verb}: it still is who answers to that name");
                    let goes = to == &self.scene.service.name.kept_container();
                    holds!(goes || !holds_it(to, &target.id), "{verb}: another one has that name");
                }
                Verb::MoveName { name, from, spare, to } => {
                    let Some(holder) = self.scene.replica(&from.id) else { continue };
                    holds!(holder.name == *name && from.id != to.id, "{verb}: {} has that name", holder.name);
                    holds!(!holds_it(spare, &from.id), "{verb}: another one is {spare}");
                    let serves = !holder.state.is_live() || heir(holder);
                    holds!(self.withdrawn(&from.id).is_some() && serves, "{verb}: its successor does not serve yet");
                    let steps = self.verbs().filter(
                        |verb| matches!(verb, Verb::Stop { target, .. } | Verb::Remove(target) if target.id == from.id),
                    );
                    holds!(steps.count() == 0, "{verb}: and it is stopped");
                }
                Verb::Stop { target, .. } => {
                    let Some(holder) = self.scene.replica(&target.id) else { continue };
                    let stays = |one: &Replica| self.is_what_is_wanted(one) && self.available(one);
                    let one = observed.replicas.iter().filter(|one| stays(one)).count() == 1;
                    let keeps = heir(holder) && one && !self.is_what_is_wanted(holder);
                    holds!(!keeps, "{verb}: it is stopped with the name that its successor is to have");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Nobody starts against a host port that others have, and who serves goes on until it is sure to come free.
    pub(super) fn a_port_that_others_have(&self) -> Verdict {
        let Scene { observed, .. } = self.scene;
        let Desired::Run(wanted) = &self.scene.desired else { return Ok(()) };
        if observed.port_conflicts.is_empty() {
            return Ok(());
        }
        let yields = observed.port_conflicts.iter().all(|conflict| conflict.yields);
        let live =
            observed.replicas.iter().filter(|one| one.state.is_live() && self.withdrawn(&one.id).is_none()).count();
        let mut withdrawn = 0;
        for verb in self.verbs() {
            match verb {
                Verb::Start(target) => {
                    let new = self.scene.replica(&target.id).is_some_and(|one| one.revision == wanted.revision);
                    holds!(!new, "{verb}: others have its host port");
                }
                Verb::Drain(_) => withdrawn += 1,
                _ => {}
            }
        }
        let least = live.min(wanted.replicas() as usize);
        let waits = self.exclusive() && !yields && !self.given_up();
        holds!(
            !waits || live - withdrawn >= least,
            "{withdrawn} of {live} make room for one that has no port to start with"
        );
        Ok(())
    }

    fn given_up(&self) -> bool {
        let memory = &self.scene.memory;
        memory.revisions.failure.is_some() || memory.revisions.undone.is_some()
    }

    /// Whether it is the one replica of a revision that nothing speaks against.
    fn is_what_is_wanted(&self, replica: &Replica) -> bool {
        let Desired::Run(wanted) = &self.scene.desired else { return false };
        wanted.replicas() == 1 && replica.revision == wanted.revision && !self.given_up()
    }
}
