//! The judge of what nobody could make again.

use std::collections::BTreeMap;

use composed_core::model::Replica;
use composed_core::plan::action::Verb;
use crd_schema::Revision;

use super::judge::{Judge, Verdict};

impl Judge<'_> {
    /// Those that Docker Compose made of what nobody knows, and that serve.
    pub(super) fn untold(&self) -> impl Iterator<Item = &Replica> {
        let known =
            |revision: &Revision| self.scene.memory.revisions.history.iter().any(|record| record.revision == *revision);
        let all = self.scene.observed.replicas.iter();
        all.filter(move |one| one.compose.is_some() && self.available(one) && !known(&one.revision))
    }

    /// Until all of one revision are there beside them.
    pub(super) fn what_nobody_can_make_again_stays(&self) -> Verdict {
        let wanted = self.scene.spec().replicas.unwrap_or(1) as usize;
        let goes = |one: &Replica| self.verbs().any(|verb| matches!(verb, Verb::Drain(target) if target.id == one.id));
        if self.exclusive() || self.may_take_turns() || !self.runs() || !self.untold().any(goes) {
            return Ok(());
        }
        let mut there: BTreeMap<&Revision, usize> = BTreeMap::new();
        for one in self.scene.observed.replicas.iter().filter(|one| self.available(one) && !goes(one)) {
            *there.entry(&one.revision).or_default() += 1;
        }
        let whole = there.values().any(|count| *count >= wanted);
        if wanted == 0 || whole {
            Ok(())
        } else {
            Err(format!("one goes that nobody can make again, and not all are there beside it: {there:?}"))
        }
    }
}
