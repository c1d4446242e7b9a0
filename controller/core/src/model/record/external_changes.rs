//! What other hands did to the replicas of a service: what is noted of it, and when it is too often.

use std::collections::BTreeSet;
use std::time::Duration;

use crd_schema::ContainerId;
use jiff::Timestamp;

use super::super::{ExternalChange, Observed, State};
use super::ServiceRecord;

/// What follows within this time is the same deed: `docker compose up` takes one container after the other. No deed is longer
/// than the second one.
const SAME_CHANGE_WITHIN: Duration = Duration::from_secs(30);
const MAX_CHANGE_DURATION: Duration = Duration::from_mins(2);
/// So many deeds within this time are no accident.
const MAX_CHANGES: usize = 3;
const CHANGES_WINDOW: Duration = Duration::from_mins(10);

impl ServiceRecord {
    /// Whether other hands keep changing what is put right: what they did last, and until when it is left alone.
    pub fn contended(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        let recent: Vec<&ExternalChange> =
            self.external_changes.iter().filter(|change| now < change.at + CHANGES_WINDOW).collect();
        let first = recent.len().checked_sub(MAX_CHANGES).and_then(|at| recent.get(at))?;
        Some((recent.last()?.what.as_str(), first.at + CHANGES_WINDOW))
    }

    /// Notices what was done between two looks that was not our doing.
    pub(super) fn observe_external_changes(&mut self, observed: &Observed, first_look: bool, now: Timestamp) {
        let ids: BTreeSet<&ContainerId> = observed.replicas.iter().map(|replica| &replica.id).collect();
        let mut seen = Vec::new();
        if !first_look {
            let ours =
                |id: &&ContainerId| !self.process.removing.contains(*id) && !self.replicas.draining.contains_key(*id);
            let vanished = self.process.known.iter().filter(|id| !ids.contains(id)).filter(ours).count();
            if vanished > 0 {
                seen.push(format!("{vanished} of its containers were removed"));
            }
            let new = observed
                .replicas
                .iter()
                .filter(|one| !self.process.known.contains(&one.id) && !self.replicas.adopted.contains_key(&one.id));
            let made = new.filter_map(|one| Some((one.name.as_str(), one.created_by.as_deref()?)));
            seen.extend(made.map(|(name, maker)| format!("{maker} made {name}")));
        }
        for replica in &observed.replicas {
            let by_hand = replica.stopped_externally && matches!(replica.state, State::Exited(_));
            // The time is that of the first look that finds it.
            let new = !self.process.stopped_externally.contains_key(&replica.id);
            if by_hand && new && !self.replicas.draining.contains_key(&replica.id) {
                self.process.stopped_externally.insert(replica.id.clone(), now);
                seen.push(format!("{} was stopped", replica.name));
            }
        }
        let ended = |id: &ContainerId| observed.replicas.iter().any(|one| one.id == *id && !one.state.is_live());
        self.process.stopped_externally.retain(|id, _| ended(id));
        self.process.known = ids.into_iter().cloned().collect();
        self.process.removing.retain(|id| self.process.known.contains(id));
        self.external_changes.retain(|change| now < change.at + CHANGES_WINDOW);
        if seen.is_empty() {
            return;
        }
        let same = |change: &&mut ExternalChange| {
            now < change.last + SAME_CHANGE_WITHIN && now < change.at + MAX_CHANGE_DURATION
        };
        let Some(change) = self.external_changes.last_mut().filter(same) else {
            self.external_changes.push(ExternalChange { at: now, last: now, what: seen.join("; ") });
            return;
        };
        change.last = now;
        if change.what.len() < 300 {
            change.what = format!("{}; {}", change.what, seen.join("; "));
        }
    }
}
