//! Which dependencies of a service are not met, as the board shows them.

use std::collections::BTreeMap;

use crd_schema::DependencyCondition;
use crd_schema::status::{ConditionType, Reason, ReplicaStatus, RevisionOutcome, ServiceStatus};

use crate::board::Board;
use crate::front;
use crate::model::{Desired, ServiceName, unmarked};
use crate::source::catalog::Catalog;

/// The dependencies of a service that are not met, as the board shows them.
pub(crate) fn unmet(
    board: &Board,
    catalog: &Catalog,
    name: &ServiceName,
    desired: &Desired,
) -> BTreeMap<String, String> {
    let Desired::Run(desired) = desired else {
        return BTreeMap::new();
    };
    let mut unmet = BTreeMap::new();
    for (other, dependency) in &desired.spec.depends_on {
        let other_name = ServiceName::new(&name.project, other);
        let wanted = catalog.service(&other_name).map(|service| service.revision.as_str());
        let status = board.status(&other_name);
        let why = match status {
            None if !dependency.required => None,
            None => Some("it has no document, or was not looked at yet".to_owned()),
            Some(status) if desired.after.get(other).is_some_and(|revision| !rolled_out(&status, revision)) => {
                Some("its change is not rolled out yet".to_owned())
            }
            Some(status) => {
                let rolls = wanted.and_then(|wanted| rolling(dependency.condition, &status, wanted));
                rolls.or_else(|| lacking(dependency.condition, &status))
            }
        };
        if let Some(why) = why {
            unmet.insert(other.clone(), why);
        }
    }
    unmet
}

/// Who has the host ports of a service while its front comes or goes; `lone` says that no document wants a front.
pub(crate) fn in_the_way(board: &Board, name: &ServiceName, desired: &Desired, lone: bool) -> Option<(String, String)> {
    let Desired::Run(desired) = desired else { return None };
    if desired.spec.ports.is_empty() {
        return None;
    }
    if let Some(generated) = &desired.spec.generated {
        if board.status(name).is_some_and(|status| status.live > 0) {
            return None;
        }
        let owner = board.status(&ServiceName::new(&name.project, &generated.front_of));
        let why = match owner {
            None => "it was not looked at yet",
            // Replicas from before there was a front.
            Some(owner) if owner.instances.iter().any(|one| one.revision != owner.revision && lives(one)) => {
                "replicas without a front still have the ports"
            }
            Some(_) => return None,
        };
        return Some((generated.front_of.clone(), why.to_owned()));
    }
    let front = front::name(name);
    let leaves = lone && desired.spec.front.is_none() && board.status(&front).is_some_and(|status| status.live > 0);
    leaves.then(|| (front.name, "the front still has the ports".to_owned()))
}

fn lives(replica: &ReplicaStatus) -> bool {
    !matches!(replica.phase.as_str(), "Completed" | "Exited" | "Kept")
}

/// Whether this revision of a dependency, as its own document has it, is the one that runs.
fn rolled_out(status: &ServiceStatus, revision: &str) -> bool {
    let there = status.condition(ConditionType::Progressing);
    // Another image of a dependency is no change of its document.
    let document = status.update.as_ref().map_or(&status.revision, |update| &update.document);
    unmarked(document) == revision && there.is_some_and(|c| c.reason == Reason::NewRevisionAvailable)
}

/// Why a changed dependency has to come first: what its document asks for is not there yet, or has failed. What somebody
/// has undone by hand is as it shall be; and where it begins for the first time, that it has started may be enough.
fn rolling(condition: DependencyCondition, status: &ServiceStatus, wanted: &str) -> Option<String> {
    let document = status.update.as_ref().map_or(&status.revision, |update| &update.document);
    let newest = status.history.first().filter(|record| record.revision == status.revision);
    let outcome = newest.map(|record| record.outcome).filter(|_| unmarked(document) == wanted);
    let first = condition == DependencyCondition::ServiceStarted && status.current_revision.is_none();
    let failure = status.condition(ConditionType::ReplicaFailure).map(|condition| condition.reason);
    let paused = status.condition(ConditionType::Paused).is_some();
    match outcome {
        Some(RevisionOutcome::Available) => None,
        _ if first || failure == Some(Reason::Undone) => None,
        Some(RevisionOutcome::Failed) => Some("its change has failed".to_owned()),
        _ if paused => Some("its change is not rolled out yet, and it is paused".to_owned()),
        _ => Some("its change is not rolled out yet".to_owned()),
    }
}

/// What a dependency lacks of its condition. One that is left as it is, because its document is not known, counts by
/// what is seen of it.
fn lacking(condition: DependencyCondition, status: &ServiceStatus) -> Option<String> {
    let progressing = status.condition(ConditionType::Progressing);
    let held = progressing.is_some_and(|condition| condition.reason == Reason::DeletionHeld);
    let available = match status.condition(ConditionType::Available) {
        Some(condition) => condition.status,
        None => held && status.instances.iter().any(ReplicaStatus::serves),
    };
    let (met, word) = match condition {
        DependencyCondition::ServiceStarted => (status.live > 0, "started"),
        DependencyCondition::ServiceHealthy => (available, "available"),
        DependencyCondition::ServiceCompletedSuccessfully => {
            let done = |instance: &ReplicaStatus| instance.phase == "Completed";
            let rolled = held || status.conditions.iter().any(|c| c.reason == Reason::NewRevisionAvailable);
            (rolled && status.instances.iter().any(done), "completed")
        }
    };
    (!met).then(|| format!("it is not {word} yet"))
}
