//! What a service waits for before anything of it is begun: its dependencies, and who still has its host ports. And whose
//! namespaces may be joined. Answered by what the other services show.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::status::{
    ConditionType, Reason, ReplicaPhase, ReplicaStatus, RevisionOutcome, RevisionStatus, ServiceStatus,
};
use crd_schema::{ContainerId, Dependency, DependencyCondition, Revision};

use crate::front;
use crate::model::{
    Desired, DesiredService, NamespaceMember, NamespaceNeighbours, NamespaceOwner, NamespaceOwners, OtherServices,
    base_revision,
};

/// What a service waits for before anything of it is begun, with the reason: dependencies, and the host ports that its front
/// has or is to have.
pub fn waits_for(desired: &Desired, others: &OtherServices) -> BTreeMap<String, String> {
    let Desired::Run(desired) = desired else {
        return BTreeMap::new();
    };
    let mut waits: BTreeMap<_, _> =
        unmet(desired, others).into_iter().map(|(other, unmet)| (other, unmet.why)).collect();
    waits.extend(in_the_way(desired, others));
    waits
}

/// Those of the dependencies that it waits for that will not come by waiting: they have failed, are paused, or there is no document
/// for them. It goes on as soon as that changes.
pub fn failed(desired: &Desired, others: &OtherServices) -> BTreeSet<String> {
    let Desired::Run(desired) = desired else {
        return BTreeSet::new();
    };
    unmet(desired, others).into_iter().filter(|(_, unmet)| unmet.failed).map(|(other, _)| other).collect()
}

/// A dependency that is not met.
struct Unmet {
    /// What it lacks, for people.
    why: String,
    /// It will not come by waiting.
    failed: bool,
}

/// Those with whom a service shares namespaces.
pub fn neighbours(desired: &Desired, others: &OtherServices) -> NamespaceNeighbours {
    let mut neighbours =
        NamespaceNeighbours { guests: guests(others), unseen: others.unseen.clone(), ..NamespaceNeighbours::default() };
    if let Desired::Run(desired) = desired {
        for (_, other) in desired.spec.shares() {
            let hosts = others.status(other).map(|status| hosts_of(desired, other, status)).unwrap_or_default();
            neighbours.hosts.insert(other.to_owned(), hosts);
        }
    }
    neighbours
}

/// The dependencies of a service that are not met. One that is not required holds nothing up when it has failed, or is not there
/// (compose-spec 05-services, `depends_on`, `required`).
fn unmet(desired: &DesiredService, others: &OtherServices) -> BTreeMap<String, Unmet> {
    let mut unmet = BTreeMap::new();
    for (other, dependency) in &desired.spec.depends_on {
        let Some(why) = lacks(desired, others, other, dependency) else { continue };
        let failed = match others.status(other) {
            None => others.revision(other).is_none(),
            Some(status) => will_not_come(status),
        };
        // Whose namespaces it joins, it cannot do without.
        let joins = desired.spec.shares().any(|(_, service)| service == other);
        if dependency.required || joins || !failed {
            unmet.insert(other.clone(), Unmet { why, failed });
        }
    }
    unmet
}

/// Whether a service that is not what its dependant needs will not become that by waiting. What is left alone here may be brought by
/// others.
fn will_not_come(status: &ServiceStatus) -> bool {
    let progressing = status.condition(ConditionType::Progressing);
    let ended = progressing.is_some_and(|condition| !condition.status && condition.reason != Reason::DeletionHeld);
    ended
        || (status.replicas == 0
            && progressing.is_some_and(|condition| condition.reason == Reason::NewRevisionAvailable))
}

/// What one dependency lacks.
fn lacks(desired: &DesiredService, others: &OtherServices, other: &str, dependency: &Dependency) -> Option<String> {
    match others.status(other) {
        None if others.revision(other).is_none() => Some("it has no document".to_owned()),
        None => Some("it was not looked at yet".to_owned()),
        Some(status) if desired.restart_after.get(other).is_some_and(|revision| !rolled_out(status, revision)) => {
            Some("its change is not rolled out yet".to_owned())
        }
        Some(status) => {
            // Whoever joins its namespaces moves with it: its old replicas wait for that.
            let joins = desired.spec.shares().any(|(_, service)| service == other);
            let wanted = others.revision(other).filter(|_| !joins);
            let rolls = wanted.and_then(|wanted| rolling(dependency.condition, status, wanted));
            let lacks = rolls.or_else(|| unmet_condition(dependency.condition, status));
            lacks.or_else(|| no_open_namespace(desired, other, status))
        }
    }
}

/// Why none of a service's namespaces can be joined, if they are to be.
fn no_open_namespace(desired: &DesiredService, other: &str, status: &ServiceStatus) -> Option<String> {
    desired.spec.shares().find(|(_, service)| *service == other)?;
    let hosts = hosts_of(desired, other, status);
    let open = hosts.of.iter().any(|host| host.stays && host.open);
    (!open).then(|| "no replica of it that is to stay runs yet".to_owned())
}

fn hosts_of(desired: &DesiredService, other: &str, status: &ServiceStatus) -> NamespaceOwners {
    // What its document asks for now was not looked at yet: who will stay is not known.
    let known = desired.namespace_revisions.get(other).is_none_or(|revision| of_document(status) == *revision);
    let host = |replica: &ReplicaStatus| NamespaceOwner {
        id: replica.id.clone(),
        name: replica.name.clone(),
        stays: !replica.leaves,
        open: known
            && !replica.idle
            && matches!(replica.phase, ReplicaPhase::Pending | ReplicaPhase::Joining | ReplicaPhase::Available),
        available: replica.phase == ReplicaPhase::Available,
        parting: replica.phase == ReplicaPhase::Draining,
    };
    NamespaceOwners { replicas: status.replicas, of: status.instances.iter().map(host).collect() }
}

/// The replicas of others in the namespaces of a service's, by container id.
fn guests(others: &OtherServices) -> BTreeMap<ContainerId, Vec<NamespaceMember>> {
    let mut guests: BTreeMap<ContainerId, Vec<NamespaceMember>> = BTreeMap::new();
    for status in &others.joined {
        let resting = [ConditionType::Paused, ConditionType::Contended];
        let rests = status.conditions.iter().find(|condition| condition.status && resting.contains(&condition.kind));
        let unknown = status.condition(ConditionType::Progressing).filter(|one| one.reason == Reason::DeletionHeld);
        let held = rests.or(unknown).map(|condition| condition.message.clone());
        for replica in status.instances.iter().filter(|replica| !replica.idle) {
            let stays = replica.phase != ReplicaPhase::Draining;
            let guest = NamespaceMember { name: replica.name.clone(), stays, held: held.clone().filter(|_| stays) };
            for owner in &replica.shares {
                guests.entry(owner.clone()).or_default().push(guest.clone());
            }
        }
    }
    guests
}

/// Who has the host ports of a service while its front comes or goes.
fn in_the_way(desired: &DesiredService, others: &OtherServices) -> Option<(String, String)> {
    let lives_still = |status: Option<&ServiceStatus>| status.is_some_and(|status| status.live > 0);
    if desired.spec.ports.is_empty() {
        return None;
    }
    if let Some(generated) = &desired.spec.generated {
        if lives_still(others.own.as_deref()) {
            return None;
        }
        let why = match others.status(&generated.front_of) {
            None => "it was not looked at yet",
            // Replicas from before there was a front.
            Some(owner) if owner.instances.iter().any(|one| one.revision != owner.revision && lives(one)) => {
                "replicas without a front still have the ports"
            }
            Some(_) => return None,
        };
        return Some((generated.front_of.clone(), why.to_owned()));
    }
    let front = front::name(&desired.name).name;
    let leaves = !others.front_wanted && desired.spec.front.is_none() && lives_still(others.status(&front));
    leaves.then(|| (front, "the front still has the ports".to_owned()))
}

fn lives(replica: &ReplicaStatus) -> bool {
    !matches!(replica.phase, ReplicaPhase::Completed | ReplicaPhase::Exited | ReplicaPhase::Retained)
}

/// Whether this revision of a dependency, as its own document has it, is the one that runs.
fn rolled_out(status: &ServiceStatus, revision: &Revision) -> bool {
    let there = status.condition(ConditionType::Progressing);
    of_document(status) == *revision
        && there.is_some_and(|c| matches!(c.reason, Reason::NewRevisionAvailable | Reason::FailuresTolerated))
}

/// The revision that its document asks for: another image is no change of that.
fn of_document(status: &ServiceStatus) -> Revision {
    base_revision(status.update.as_ref().map_or(&status.revision, |update| &update.document))
}

/// Why a changed dependency has to come first: what its document asks for is not there yet, or has failed. What somebody
/// has undone by hand is as it shall be; and where it begins for the first time, that it has started may be enough. An image
/// that came later and has failed is no change of the document: that is rolled out, with the image before.
fn rolling(condition: DependencyCondition, status: &ServiceStatus, wanted: &Revision) -> Option<String> {
    let document = status.update.as_ref().map_or(&status.revision, |update| &update.document);
    let newest = status.history.first().filter(|record| record.revision == status.revision);
    let outcome = newest.map(|record| record.outcome).filter(|_| base_revision(document) == *wanted);
    let first = condition == DependencyCondition::ServiceStarted && status.current_revision.is_none();
    let progressing = status.condition(ConditionType::Progressing).map(|condition| condition.reason);
    let failed = newest.is_some_and(|record| record.outcome == RevisionOutcome::Failed);
    let undone = progressing == Some(Reason::Undone) || (progressing == Some(Reason::RollingBack) && !failed);
    let paused = status.condition(ConditionType::Paused).is_some();
    let of_it =
        |record: &RevisionStatus| base_revision(record.document.as_ref().unwrap_or(&record.revision)) == *wanted;
    let current = status.history.iter().find(|record| Some(&record.revision) == status.current_revision.as_ref());
    match outcome {
        Some(RevisionOutcome::Available) => None,
        Some(RevisionOutcome::Failed) if current.is_some_and(of_it) => None,
        _ if first || undone => None,
        Some(RevisionOutcome::Failed) if status.current_revision.is_none() => Some("it has failed".to_owned()),
        Some(RevisionOutcome::Failed) => Some("its change has failed".to_owned()),
        _ if paused => Some("its change is not rolled out yet, and it is paused".to_owned()),
        _ => Some("its change is not rolled out yet".to_owned()),
    }
}

/// What a dependency lacks of its condition. One that is left as it is, because its document is not known, counts by
/// what is seen of it.
fn unmet_condition(condition: DependencyCondition, status: &ServiceStatus) -> Option<String> {
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
            let done = |instance: &ReplicaStatus| instance.phase == ReplicaPhase::Completed;
            let rolled = held
                || progressing
                    .is_some_and(|c| matches!(c.reason, Reason::NewRevisionAvailable | Reason::FailuresTolerated));
            (rolled && (status.completed > 0 || status.instances.iter().any(done)), "completed")
        }
    };
    let failed = progressing.filter(|one| !one.status && !matches!(one.reason, Reason::DeletionHeld | Reason::Paused));
    (!met).then(|| match failed {
        Some(_) => format!("it is not {word}, and has failed"),
        None if status.replicas == 0 && !held => format!("it is not {word}: none of it is wanted (`replicas: 0`)"),
        None => format!("it is not {word} yet"),
    })
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{OtherService, ServiceName};

    fn status(service: &str, instances: &serde_json::Value) -> ServiceStatus {
        let status = serde_json::json!({
            "project": "shop", "name": service, "generation": 1, "observedGeneration": 1, "revision": "r1", "replicas": 1,
            "live": 1, "updated": 1, "available": 1, "instances": instances,
        });
        serde_json::from_value(status).expect("a status")
    }

    fn instance(id: &str, phase: &str, more: &serde_json::Value) -> serde_json::Value {
        let mut all = serde_json::json!({
            "name": format!("shop-{id}"), "id": id, "revision": "r1", "phase": phase, "since": "2026-01-01T00:00:00Z",
        });
        all.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        all
    }

    #[test]
    fn owners_and_members_are_as_the_statuses_show_them() {
        let (vpn, app) = (ServiceName::new("shop", "vpn"), ServiceName::new("shop", "app"));
        let vpn = Arc::new(status(
            &vpn.name,
            &serde_json::json!([
                instance("vpn-1", "Available", &serde_json::json!({"leaves": true})),
                instance("vpn-2", "Pending", &serde_json::json!({"idle": true})),
            ]),
        ));
        let drains = instance("app-1", "Draining", &serde_json::json!({"shares": ["vpn-1"]}));
        let joined = vec![Arc::new(status(&app.name, &serde_json::json!([drains])))];
        let other = OtherService { revision: None, status: Some(vpn) };
        let of_app = OtherServices { named: BTreeMap::from([("vpn".to_owned(), other)]), ..OtherServices::default() };
        let of_vpn = OtherServices { joined, ..OtherServices::default() };
        let spec: crd_schema::ServiceSpec =
            serde_json::from_value(serde_json::json!({"image": "a", "network_mode": "service:vpn"}))
                .expect("a specification");
        let mut desired = DesiredService::new(app, spec, "a.yaml:1");
        let hosts_of_app = |desired: &DesiredService| {
            neighbours(&Desired::Run(Box::new(desired.clone())), &of_app).hosts.remove("vpn").expect("hosts").of
        };
        let hosts = hosts_of_app(&desired);
        assert!(!hosts[0].stays && hosts[0].open && hosts[0].available && !hosts[0].parting, "{hosts:?}");
        assert!(hosts[1].stays && !hosts[1].open, "{hosts:?}");
        // As long as its document's change was not looked at, who will stay is not known.
        desired.namespace_revisions.insert("vpn".to_owned(), Revision::new("r2"));
        assert!(!hosts_of_app(&desired)[0].open);
        let gone = Desired::Held("any".to_owned());
        let guests = neighbours(&gone, &of_vpn).guests;
        let guest = NamespaceMember { name: "shop-app-1".to_owned(), stays: false, held: None };
        assert_eq!(guests, BTreeMap::from([(ContainerId::new("vpn-1"), vec![guest])]));
    }
}
