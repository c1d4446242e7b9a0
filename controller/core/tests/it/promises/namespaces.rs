//! The judge of shared namespaces.

use std::collections::BTreeMap;

use composed_core::model::Replica;
use composed_core::plan::action::Verb;
use crd_schema::ContainerId;
use jiff::Timestamp;

use super::judge::{Judge, Verdict};

impl Judge<'_> {
    /// No more in one network than each has to have, if all are spread evenly.
    pub(super) fn one_network_has_its_share(&self) -> Verdict {
        let Some(hosts) = self.scene.observed.neighbours.hosts.get("vpn").filter(|_| self.may_take_turns()) else {
            return Ok(());
        };
        let share = self.scene.spec().replicas.unwrap_or(1).div_ceil(hosts.replicas.max(1)) as usize;
        let mut starts: BTreeMap<&ContainerId, usize> = BTreeMap::new();
        for verb in self.verbs() {
            let Verb::Start(target) = verb else { continue };
            for owner in self.scene.replica(&target.id).into_iter().flat_map(|one| &one.joined) {
                *starts.entry(&owner.id).or_default() += 1;
            }
        }
        for (host, starts) in starts {
            let lives = |one: &&Replica| {
                let there = |since: Option<Timestamp>| since.is_some_and(|since| one.started_at >= Some(since));
                one.state.is_live() && one.joined.iter().any(|owner| owner.id == *host && there(owner.since))
            };
            let there = self.scene.observed.replicas.iter().filter(lives).count();
            if there + starts > share.max(1) {
                return Err(format!("{there} and {starts} more in the network of {host}, of {share}"));
            }
        }
        Ok(())
    }
}
