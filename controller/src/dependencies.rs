//! Which dependencies of a service are not met, as the board shows them.

use std::collections::BTreeMap;

use crd_schema::DependencyCondition;
use crd_schema::status::{ConditionType, Reason, ServiceStatus};

use crate::board::Board;
use crate::model::{Desired, ServiceName};

/// The dependencies of a service that are not met, as the board shows them.
pub(crate) fn unmet(board: &Board, name: &ServiceName, desired: &Desired) -> BTreeMap<String, String> {
    let Desired::Run(desired) = desired else {
        return BTreeMap::new();
    };
    let mut unmet = BTreeMap::new();
    for (other, dependency) in &desired.spec.depends_on {
        let status = board.status(&ServiceName::new(&name.project, other));
        let why = match status {
            None if !dependency.required => None,
            None => Some("it has no document, or was not looked at yet".to_owned()),
            Some(status) => lacking(dependency.condition, &status),
        };
        if let Some(why) = why {
            unmet.insert(other.clone(), why);
        }
    }
    unmet
}

/// What a dependency lacks of its condition.
fn lacking(condition: DependencyCondition, status: &ServiceStatus) -> Option<String> {
    let available = status.condition(ConditionType::Available).is_some_and(|condition| condition.status);
    let (met, word) = match condition {
        DependencyCondition::ServiceStarted => (status.live > 0, "started"),
        DependencyCondition::ServiceHealthy => (available, "available"),
        DependencyCondition::ServiceCompletedSuccessfully => {
            let done = |instance: &crd_schema::status::ReplicaStatus| instance.phase == "Completed";
            let rolled = status.conditions.iter().any(|c| c.reason == Reason::NewRevisionAvailable);
            (rolled && status.instances.iter().any(done), "completed")
        }
    };
    (!met).then(|| format!("it is not {word} yet"))
}
