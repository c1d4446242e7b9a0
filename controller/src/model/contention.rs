//! Other hands: what somebody else did to the replicas of a service, and how often.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Memory, Observed, State};

/// What follows within this time is the same deed: `docker compose up` takes one container after the other. No deed is longer
/// than the second one.
const ONE_DEED: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_mins(2);
/// So many deeds within this time are no accident.
const DEEDS: usize = 3;
const WINDOW: Duration = Duration::from_mins(10);

/// Something that another hand did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When it was first noticed.
    pub at: Timestamp,
    /// When it was last seen to go on.
    pub last: Timestamp,
    /// What, for people.
    pub what: String,
}

impl Memory {
    /// Whether other hands keep changing what is put right: what they did last, and until when it is left alone.
    pub fn contended(&self, now: Timestamp) -> Option<(&str, Timestamp)> {
        let recent: Vec<&Deed> = self.deeds.iter().filter(|deed| now < deed.at + WINDOW).collect();
        let first = recent.len().checked_sub(DEEDS).and_then(|at| recent.get(at))?;
        Some((recent.last()?.what.as_str(), first.at + WINDOW))
    }

    /// Notices what was done between two looks that was not our doing.
    pub(super) fn notice_hands(&mut self, observed: &Observed, first_look: bool, now: Timestamp) {
        let ids: BTreeSet<&String> = observed.replicas.iter().map(|replica| &replica.id).collect();
        let mut seen = Vec::new();
        if !first_look {
            let ours = |id: &&String| !self.parting.contains(*id) && !self.withdrawn.contains_key(*id);
            let vanished = self.there.iter().filter(|id| !ids.contains(id)).filter(ours).count();
            if vanished > 0 {
                seen.push(format!("{vanished} of its containers were removed"));
            }
            let new = observed
                .replicas
                .iter()
                .filter(|one| !self.there.contains(&one.id) && !self.adopted.contains_key(&one.id));
            let made = new.filter_map(|one| Some((one.name.as_str(), one.maker.as_deref()?)));
            seen.extend(made.map(|(name, maker)| format!("{maker} made {name}")));
        }
        for replica in &observed.replicas {
            let by_hand = replica.by_hand && matches!(replica.state, State::Exited(_));
            // The time is that of the first look that finds it.
            let new = !self.ended_by_hand.contains_key(&replica.id);
            if by_hand && new && !self.withdrawn.contains_key(&replica.id) {
                self.ended_by_hand.insert(replica.id.clone(), now);
                seen.push(format!("{} was stopped", replica.name));
            }
        }
        let ended = |id: &String| observed.replicas.iter().any(|one| one.id == *id && !one.state.is_live());
        self.ended_by_hand.retain(|id, _| ended(id));
        self.there = ids.into_iter().cloned().collect();
        self.parting.retain(|id| self.there.contains(id));
        self.deeds.retain(|deed| now < deed.at + WINDOW);
        if seen.is_empty() {
            return;
        }
        let same = |deed: &&mut Deed| now < deed.last + ONE_DEED && now < deed.at + LONGEST;
        let Some(deed) = self.deeds.last_mut().filter(same) else {
            self.deeds.push(Deed { at: now, last: now, what: seen.join("; ") });
            return;
        };
        deed.last = now;
        if deed.what.len() < 300 {
            deed.what = format!("{}; {}", deed.what, seen.join("; "));
        }
    }
}
