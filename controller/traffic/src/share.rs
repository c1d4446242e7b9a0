//! The share that a revision on trial has of the requests, as whole numbers for a proxy that weighs.

use crd_schema::status::{CanaryStatus, ReplicaStatus};

/// The weight of each replica, so that those on trial take their share together: with 10 % and 3 others 30 against 90, 90
/// and 90. No weight is above `most`; all are scaled for that, and none to nothing.
pub(super) fn weights(canary: &CanaryStatus, replicas: &[&ReplicaStatus], most: u32) -> Vec<u32> {
    let tried = |replica: &&&ReplicaStatus| replica.revision == canary.revision;
    let on_trial = u32::try_from(replicas.iter().filter(tried).count()).unwrap_or(u32::MAX);
    let others = u32::try_from(replicas.len()).unwrap_or(u32::MAX).saturating_sub(on_trial);
    // Alone, it takes everything.
    if on_trial == 0 || others == 0 {
        return vec![1; replicas.len()];
    }
    let share = u32::from(canary.weight.min(99));
    let (one_tried, one_other) = (share * others, (100 - share) * on_trial);
    let scale = one_tried.max(one_other).div_ceil(most).max(1);
    let weight = |replica: &&ReplicaStatus| if tried(&replica) { one_tried } else { one_other };
    replicas.iter().map(|replica| (weight(replica) / scale).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use crd_schema::status::ReplicaPhase;
    use crd_schema::{ContainerId, Revision};

    use super::*;

    fn shared(weight: u8, revisions: &[&str], most: u32) -> Vec<u32> {
        let replica = |revision: &&str| ReplicaStatus {
            name: String::new(),
            id: ContainerId::default(),
            revision: Revision::new(*revision),
            phase: ReplicaPhase::Available,
            since: jiff::Timestamp::UNIX_EPOCH,
            endpoints: Vec::new(),
            addresses: std::collections::BTreeMap::new(),
            reason: None,
            idle: false,
            leaves: false,
            shares: Vec::new(),
        };
        let all: Vec<_> = revisions.iter().map(replica).collect();
        let canary = CanaryStatus { revision: Revision::new("new"), weight, until: None };
        weights(&canary, &all.iter().collect::<Vec<_>>(), most)
    }

    #[test]
    fn those_on_trial_have_their_share_together() {
        assert_eq!(shared(10, &["old", "old", "old", "new"], u32::MAX), [90, 90, 90, 30]);
        assert_eq!(shared(50, &["old", "new", "new"], u32::MAX), [100, 50, 50]);
        assert_eq!(shared(100, &["old", "new"], u32::MAX), [1, 99], "who is left out gets nothing, so nobody is");
        assert_eq!(shared(10, &["new"], u32::MAX), [1]);
        assert_eq!(shared(10, &["old"], u32::MAX), [1]);
    }

    #[test]
    fn a_proxy_that_counts_less_far_has_the_same_shares() {
        let eleven = ["old"; 10].into_iter().chain(["new"]).collect::<Vec<_>>();
        assert_eq!(shared(90, &eleven, 256), [vec![2; 10], vec![225]].concat());
        let many = ["old"; 1000].into_iter().chain(["new"]).collect::<Vec<_>>();
        assert_eq!(shared(50, &many, 256), [vec![1; 1000], vec![255]].concat(), "as well as whole numbers can");
    }
}
