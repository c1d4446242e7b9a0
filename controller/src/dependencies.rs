//! Which dependencies of a service are not met, as the board shows them.

use std::collections::BTreeMap;

use crd_schema::DependencyCondition;
use crd_schema::status::{ConditionType, Reason, ReplicaStatus, RevisionOutcome, RevisionStatus, ServiceStatus};

use crate::board::Board;
use crate::front;
use crate::model::{Desired, DesiredService, Guest, Host, Hosts, Neighbours, ServiceName, unmarked};
use crate::source::catalog::Catalog;

/// The dependencies of a service that are not met, as the board shows them.
fn unmet(board: &Board, catalog: &Catalog, name: &ServiceName, desired: &Desired) -> BTreeMap<String, String> {
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
                // Whoever joins its namespaces moves with it: its old replicas wait for that.
                let joins = desired.spec.shares().any(|(_, service)| service == other);
                let wanted = wanted.filter(|_| !joins);
                let rolls = wanted.and_then(|wanted| rolling(dependency.condition, &status, wanted));
                let lacks = rolls.or_else(|| lacking(dependency.condition, &status));
                lacks.or_else(|| closed(desired, other, &status))
            }
        };
        if let Some(why) = why {
            unmet.insert(other.clone(), why);
        }
    }
    unmet
}

/// Why none of a service's namespaces can be joined, if they are to be.
fn closed(desired: &DesiredService, other: &str, status: &ServiceStatus) -> Option<String> {
    desired.spec.shares().find(|(_, service)| *service == other)?;
    let hosts = hosts_of(desired, other, status);
    let open = hosts.of.iter().any(|host| host.stays && host.open);
    (!open).then(|| "no replica of it that is to stay runs yet".to_owned())
}

/// Those with whom a service shares namespaces, as the board shows them.
pub(crate) fn neighbours(board: &Board, name: &ServiceName, desired: &Desired, catalog: &Catalog) -> Neighbours {
    let unseen = catalog.guests(name).filter(|guest| board.status(guest).is_none());
    let unseen = unseen.map(|guest| guest.name.clone()).collect();
    let mut neighbours = Neighbours { guests: guests(board, name), unseen, ..Neighbours::default() };
    if let Desired::Run(desired) = desired {
        for (_, other) in desired.spec.shares() {
            let status = board.status(&ServiceName::new(&name.project, other));
            let hosts = status.map(|status| hosts_of(desired, other, &status)).unwrap_or_default();
            neighbours.hosts.insert(other.to_owned(), hosts);
        }
    }
    neighbours
}

fn hosts_of(desired: &DesiredService, other: &str, status: &ServiceStatus) -> Hosts {
    // What its document asks for now was not looked at yet: who will stay is not known.
    let known = desired.beside.get(other).is_none_or(|revision| of_document(status) == revision);
    let host = |replica: &ReplicaStatus| Host {
        id: replica.id.clone(),
        name: replica.name.clone(),
        stays: !replica.leaves,
        open: known && !replica.idle && matches!(replica.phase.as_str(), "Pending" | "Joining" | "Available"),
        available: replica.phase == "Available",
        parting: replica.phase == "Draining",
    };
    Hosts { replicas: status.replicas, of: status.instances.iter().map(host).collect() }
}

/// The replicas of others in the namespaces of a service's, by container id.
fn guests(board: &Board, name: &ServiceName) -> BTreeMap<String, Vec<Guest>> {
    let mut guests: BTreeMap<String, Vec<Guest>> = BTreeMap::new();
    // Few share anything; each pass of each service asks.
    let shares = |status: &ServiceStatus| status.instances.iter().any(|replica| !replica.shares.is_empty());
    let others = board.statuses_of(&name.project, |other| other.name != name.name && shares(other));
    for status in &others {
        let resting = [ConditionType::Paused, ConditionType::Contended];
        let rests = status.conditions.iter().find(|condition| condition.status && resting.contains(&condition.kind));
        let unknown = status.condition(ConditionType::Progressing).filter(|one| one.reason == Reason::DeletionHeld);
        let held = rests.or(unknown).map(|condition| condition.message.clone());
        for replica in status.instances.iter().filter(|replica| !replica.idle) {
            let stays = replica.phase != "Draining";
            let guest = Guest { name: replica.name.clone(), stays, held: held.clone().filter(|_| stays) };
            for owner in &replica.shares {
                guests.entry(owner.clone()).or_default().push(guest.clone());
            }
        }
    }
    guests
}

/// What a service waits for before anything of it is begun, with the reason: dependencies, and the host ports that its front
/// has or is to have. The same for the loop and for `plan`.
pub(crate) fn waits_for(
    board: &Board,
    catalog: &Catalog,
    name: &ServiceName,
    desired: &Desired,
) -> BTreeMap<String, String> {
    let lone = !catalog.knows(&front::name(name));
    let mut waits = unmet(board, catalog, name, desired);
    waits.extend(in_the_way(board, name, desired, lone));
    waits
}

/// Who has the host ports of a service while its front comes or goes; `lone` says that no document wants a front.
fn in_the_way(board: &Board, name: &ServiceName, desired: &Desired, lone: bool) -> Option<(String, String)> {
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
    of_document(status) == revision && there.is_some_and(|c| c.reason == Reason::NewRevisionAvailable)
}

/// The revision that its document asks for: another image is no change of that.
fn of_document(status: &ServiceStatus) -> &str {
    unmarked(status.update.as_ref().map_or(&status.revision, |update| &update.document))
}

/// Why a changed dependency has to come first: what its document asks for is not there yet, or has failed. What somebody
/// has undone by hand is as it shall be; and where it begins for the first time, that it has started may be enough. An image
/// that came later and has failed is no change of the document: that is rolled out, with the image before.
fn rolling(condition: DependencyCondition, status: &ServiceStatus, wanted: &str) -> Option<String> {
    let document = status.update.as_ref().map_or(&status.revision, |update| &update.document);
    let newest = status.history.first().filter(|record| record.revision == status.revision);
    let outcome = newest.map(|record| record.outcome).filter(|_| unmarked(document) == wanted);
    let first = condition == DependencyCondition::ServiceStarted && status.current_revision.is_none();
    let failure = status.condition(ConditionType::ReplicaFailure).map(|condition| condition.reason);
    let paused = status.condition(ConditionType::Paused).is_some();
    let of_it = |record: &RevisionStatus| unmarked(record.document.as_ref().unwrap_or(&record.revision)) == wanted;
    let current = status.history.iter().find(|record| Some(&record.revision) == status.current_revision.as_ref());
    match outcome {
        Some(RevisionOutcome::Available) => None,
        Some(RevisionOutcome::Failed) if current.is_some_and(of_it) => None,
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

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

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
    fn hosts_and_guests_are_as_the_board_shows_them() {
        let board = Board::default();
        let (vpn, app) = (ServiceName::new("shop", "vpn"), ServiceName::new("shop", "app"));
        let put =
            |name: &ServiceName, instances: &serde_json::Value| board.publish(name, status(&name.name, instances));
        put(
            &vpn,
            &serde_json::json!([
                instance("vpn-1", "Available", &serde_json::json!({"leaves": true})),
                instance("vpn-2", "Pending", &serde_json::json!({"idle": true})),
            ]),
        );
        put(&app, &serde_json::json!([instance("app-1", "Draining", &serde_json::json!({"shares": ["vpn-1"]}))]));
        let spec = serde_json::from_value(serde_json::json!({"image": "a", "network_mode": "service:vpn"}));
        let mut desired = DesiredService::new(app.clone(), spec.expect("a specification"), "a.yaml:1");
        let of_app = |desired: &DesiredService| {
            neighbours(&board, &app, &Desired::Run(Box::new(desired.clone())), &Catalog::default())
        };
        let hosts = of_app(&desired).hosts.remove("vpn").expect("hosts").of;
        assert!(!hosts[0].stays && hosts[0].open && hosts[0].available && !hosts[0].parting, "{hosts:?}");
        assert!(hosts[1].stays && !hosts[1].open, "{hosts:?}");
        // As long as its document's change was not looked at, who will stay is not known.
        desired.beside.insert("vpn".to_owned(), "r2".to_owned());
        assert!(!of_app(&desired).hosts["vpn"].of[0].open);
        let gone = Desired::Held("any".to_owned());
        let guests = neighbours(&board, &vpn, &gone, &Catalog::default()).guests;
        let guest = Guest { name: "shop-app-1".to_owned(), stays: false, held: None };
        assert_eq!(guests, BTreeMap::from([("vpn-1".to_owned(), vec![guest])]));
    }
}
