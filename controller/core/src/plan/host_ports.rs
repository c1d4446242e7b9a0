//! A host port that moves between services: who has it, whether it comes free, and what may be begun until then.
//!
//! ```text
//! a had 8080 and is gone, b gets 8080        -> b is created; a leaves; b starts when a has stopped
//! a 8080 -> 8081, b gets 8080                -> a's next one starts beside it; a's old one leaves; b starts
//! a 8080 -> 8081, b 8081 -> 8080             -> both are created; a (the first by name) leaves; b starts; b's old one leaves; a starts
//! a stranger has 8080                        -> b is created, and waits; what it has goes on
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crd_schema::status::WaitReason;
use crd_schema::{Order, Port, Revision, ServiceSpec};

use super::action::Plan;
use super::policy::Policy;
use super::replica_sets::{ClassifiedReplica, ReplicaSets};
use super::rollout::Step;
use super::scene::Scene;
use crate::model::{Desired, OtherServices, PortConflict, PortHolder, PortWishes, ServiceName, collide};

/// Nobody tells when a stranger's port comes free: it is looked at again after so long.
pub(super) const POLL_INTERVAL: Duration = Duration::from_secs(5);

fn fixed(ports: &[Port]) -> impl Iterator<Item = &Port> {
    ports.iter().filter(|port| port.published.is_some())
}

/// The host ports that a service is to have and others have.
pub fn conflicts(desired: &Desired, others: &OtherServices, holders: &[PortHolder]) -> Vec<PortConflict> {
    let Desired::Run(desired) = desired else { return Vec::new() };
    let (own, spec) = (&desired.name, desired.spec.of_replicas());
    let mut found: BTreeMap<(u16, &str), PortConflict> = BTreeMap::new();
    for port in fixed(&spec.ports) {
        let held = holders.iter().filter(|holder| holder.holds(port) && holder.service.as_ref() != Some(own));
        for holder in held {
            let known = holder.service.as_ref().and_then(|service| others.port_wishes.get_key_value(service));
            let (who, lasting) = describe(holder, port, known, own);
            let conflict = PortConflict {
                port: holder.port,
                who,
                lasting,
                yields: known.is_some_and(|(service, _)| must_yield(own, &spec.ports, service, others, holders)),
            };
            found.insert((holder.port, holder.id.as_str()), conflict);
        }
    }
    found.into_values().collect()
}

/// Who has it and what becomes of that, and whether it does not come free by waiting.
fn describe(
    holder: &PortHolder,
    port: &Port,
    known: Option<(&ServiceName, &PortWishes)>,
    own: &ServiceName,
) -> (String, bool) {
    let name = &holder.container;
    let Some((service, wishes)) = known else {
        let who = format!(
            "which the container {name} has, and composed does not manage that: stop it, or write another port"
        );
        return (who, true);
    };
    if let Some(why) = wishes.held.as_ref().filter(|_| wishes.ports.is_none()) {
        return (format!("which {name} of {service} has: {why}"), true);
    }
    let asks = wishes.ports.iter().flatten().any(|other| collide(other, port));
    if let Some(why) = wishes.stays.as_ref().filter(|_| !asks) {
        return (format!("which {name} of {service} keeps: {why}"), true);
    }
    let who = match &wishes.ports {
        None if service.project == own.project => format!(
            "which {name} of {service} has until it is removed: {} seems to be renamed to {}, which has the same host port",
            service.name, own.name
        ),
        None => format!("which {name} has until it is removed: {service} has no document any more"),
        Some(_) if asks => {
            format!(
                "which {name} has, and the document of {service} asks for it, too: write another port in one of them"
            )
        }
        Some(_) => format!("which {name} has until it is replaced: the document of {service} has another port by now"),
    };
    (who, asks)
}

/// Whether all that wait for each other's ports wait for this service: of each such circle the first by name gives up what it
/// has, when the others are ready to start.
fn must_yield(
    own: &ServiceName,
    ports: &[Port],
    holder: &ServiceName,
    others: &OtherServices,
    holders: &[PortHolder],
) -> bool {
    let wants = |service: &ServiceName| -> &[Port] {
        let of_others = || {
            let wishes = others.port_wishes.get(service).filter(|wishes| wishes.stays.is_none());
            wishes.and_then(|wishes| wishes.ports.as_deref())
        };
        if service == own { ports } else { of_others().unwrap_or_default() }
    };
    let waits_for = |service: &ServiceName| -> BTreeSet<&ServiceName> {
        let wanted = wants(service);
        let held = holders.iter().filter(|one| fixed(wanted).any(|port| one.holds(port)));
        held.filter_map(|one| one.service.as_ref()).filter(|other| *other != service).collect()
    };
    let reach = |from: &ServiceName| -> BTreeSet<ServiceName> {
        let (mut met, mut next) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(service) = next.pop() {
            next.extend(waits_for(&service).into_iter().filter(|other| met.insert((*other).clone())).cloned());
        }
        met
    };
    let of_circle = |service: &&ServiceName| reach(service).contains(own);
    let circle: BTreeSet<ServiceName> = reach(own).iter().filter(of_circle).cloned().collect();
    let ready =
        |service: &ServiceName| service == own || others.port_wishes.get(service).is_some_and(|wishes| wishes.waits);
    circle.contains(holder) && circle.first() == Some(own) && circle.iter().all(ready)
}

/// The ports that keep a replica of the goal from being started.
pub(super) fn in_the_way<'a>(scene: &Scene<'a>, revision: &Revision) -> &'a [PortConflict] {
    let desired = *revision == scene.desired.revision;
    if desired { &scene.observed.port_conflicts } else { &[] }
}

/// A port that does not come free by waiting, where a replica that is created waits for it.
pub(super) fn in_vain(scene: &Scene<'_>, revision: &Revision, sets: &ReplicaSets<'_>) -> Option<String> {
    let waits = !sets.current.iter().all(ClassifiedReplica::started);
    let PortConflict { port, who, .. } = in_the_way(scene, revision).iter().find(|one| one.lasting && waits)?;
    Some(format!("host port {port}, {who}"))
}

/// Says what a replica waits for that is not started, created or not.
pub(super) fn plan_waits(plan: &mut Plan, scene: &Scene<'_>, revision: &Revision, sets: &ReplicaSets<'_>) {
    let held = in_the_way(scene, revision);
    let all = sets.current.len() >= scene.policy.replicas as usize;
    if held.is_empty() || (all && sets.current.iter().all(ClassifiedReplica::started)) {
        return;
    }
    for PortConflict { port, who, .. } in held {
        plan.wait(WaitReason::HostPort, format!("host port {port}, {who}"), None);
    }
    plan.wake(scene.now + POLL_INTERVAL);
}

/// The policy for what is there now: where the replicas that are to be replaced have none of the ports that their successors
/// are to have, no port keeps the two from running side by side.
pub(super) fn with_port_order(
    policy: Policy,
    scene: &Scene<'_>,
    revision: &Revision,
    sets: &ReplicaSets<'_>,
) -> Policy {
    let spec = &scene.desired.spec;
    let order = spec.rollout.as_ref().and_then(|rollout| rollout.order).unwrap_or_default();
    let own = *revision == scene.desired.revision;
    if !policy.stop_first || order != Order::Auto || !own || in_the_way(scene, revision).iter().any(|one| one.yields) {
        return policy;
    }
    let wanted = spec.of_replicas();
    let collides = |old: &ServiceSpec| {
        let old = old.of_replicas();
        fixed(&old.ports).any(|port| fixed(&wanted.ports).any(|other| collide(port, other)))
    };
    let mut leavers = sets.to_replace.iter().chain(&sets.terminating).chain(&sets.cancellable);
    let mut leavers = leavers.by_ref().filter(|member| member.started()).peekable();
    if leavers.peek().is_none() || fixed(&wanted.ports).next().is_none() {
        return policy;
    }
    // Of what nobody remembers nobody knows.
    let known = |member: &ClassifiedReplica<'_>| scene.memory.record(&member.replica.revision);
    if leavers.any(|member| known(member).is_none_or(|record| collides(&record.spec))) {
        return policy;
    }
    let mut without = (**spec).clone();
    for port in &mut without.ports {
        port.published = None;
    }
    let other = Policy::with(&without, &scene.observed.replicas);
    if other.stop_first {
        return policy;
    }
    let strategy = format!("{}: its predecessor has other host ports", other.strategy);
    Policy { replicas: policy.replicas, strategy, ..other }
}

/// What of a step may be done: nothing is stopped before the port is sure to come free.
pub(super) fn within(
    step: Step,
    policy: &Policy,
    scene: &Scene<'_>,
    revision: &Revision,
    sets: &ReplicaSets<'_>,
) -> Step {
    let waits = in_the_way(scene, revision).iter().any(|conflict| !conflict.yields);
    // Those beyond the number that is wanted make room for nobody.
    let surplus = sets.started().saturating_sub(policy.replicas as usize);
    Step { drain: if policy.stop_first && waits { step.drain.min(surplus) } else { step.drain }, ..step }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crate::model::DesiredService;
    use crd_schema::{ContainerId, Protocol};

    fn name(service: &str) -> ServiceName {
        ServiceName::new("shop", service)
    }

    fn ports(published: &[u16]) -> Vec<Port> {
        let port = |published: &u16| Port { target: 80, published: Some(*published), ..Port::default() };
        published.iter().map(port).collect()
    }

    fn desired(service: &str, published: u16) -> Desired {
        let spec = ServiceSpec { ports: ports(&[published]), ..ServiceSpec::default() };
        Desired::Run(Box::new(DesiredService::new(name(service), spec, "a.yaml:1")))
    }

    fn holder(service: &str, port: u16) -> PortHolder {
        PortHolder {
            port,
            protocol: Protocol::Tcp,
            address: "0.0.0.0".to_owned(),
            id: ContainerId::new(format!("id-{service}")),
            container: format!("shop-{service}-1"),
            service: Some(name(service)),
        }
    }

    /// What services wish, by name: a port, or that they have no document; and whether they wait for a port.
    fn others(wishes: &[(&str, Option<u16>, bool)]) -> OtherServices {
        let wish = |(service, port, waits): &(&str, Option<u16>, bool)| {
            let ports = port.map(|port| ports(&[port]));
            (name(service), PortWishes { ports, waits: *waits, ..PortWishes::default() })
        };
        OtherServices { port_wishes: wishes.iter().map(wish).collect(), ..OtherServices::default() }
    }

    #[test]
    fn of_a_circle_the_first_by_name_yields_when_the_others_are_ready() {
        let yields = |service: &str, port: u16, wishes: &[(&str, Option<u16>, bool)], holders: &[PortHolder]| {
            let found = conflicts(&desired(service, port), &others(wishes), holders);
            assert_eq!(found.len(), 1, "{found:?}");
            found[0].yields
        };
        let two = [holder("a", 80), holder("b", 81)];
        assert!(yields("a", 81, &[("b", Some(80), true)], &two));
        assert!(!yields("a", 81, &[("b", Some(80), false)], &two), "b is not ready to start");
        assert!(!yields("b", 80, &[("a", Some(81), true)], &two));
        let three = [holder("a", 80), holder("b", 81), holder("c", 82)];
        assert!(yields("a", 81, &[("b", Some(82), true), ("c", Some(80), true)], &three));
        assert!(!yields("a", 81, &[("b", Some(82), true), ("c", Some(80), false)], &three));
        assert!(!yields("c", 80, &[("a", Some(81), true), ("b", Some(82), true)], &three));
        // A chain ends by itself: who has the last port gets one that is free.
        assert!(!yields("a", 81, &[("b", Some(82), true), ("c", Some(83), true)], &three));
        // What both are to have comes free for neither.
        assert!(!yields("a", 81, &[("b", Some(81), true)], &two));
    }

    #[test]
    fn people_are_told_who_has_the_port() {
        let told = |wishes: &[(&str, Option<u16>, bool)], holder: PortHolder| {
            conflicts(&desired("new", 80), &others(wishes), &[holder]).remove(0).who
        };
        assert!(told(&[("old", None, false)], holder("old", 80)).contains("old seems to be renamed to new"));
        assert!(told(&[("old", Some(81), false)], holder("old", 80)).contains("until it is replaced"));
        assert!(told(&[("old", Some(80), false)], holder("old", 80)).contains("asks for it, too"));
        let wishes = PortWishes {
            stays: Some("its own change has failed".to_owned()),
            ports: Some(ports(&[81])),
            ..PortWishes::default()
        };
        let others = OtherServices { port_wishes: [(name("old"), wishes)].into(), ..OtherServices::default() };
        let stays = conflicts(&desired("new", 80), &others, &[holder("old", 80)]).remove(0);
        assert!(stays.lasting && stays.who.ends_with("of shop/old keeps: its own change has failed"), "{stays:?}");
        let stranger = PortHolder { service: None, ..holder("old", 80) };
        assert!(told(&[], stranger).contains("the container shop-old-1 has, and composed does not manage that"));
        assert!(told(&[], holder("old", 80)).contains("does not manage"), "another program's");
    }

    #[test]
    fn only_what_meets_is_in_the_way() {
        let found = |holder: PortHolder| conflicts(&desired("new", 80), &OtherServices::default(), &[holder]).len();
        assert_eq!(found(holder("old", 80)), 1);
        assert_eq!(found(holder("old", 81)), 0);
        assert_eq!(found(holder("new", 80)), 0, "its own");
        assert_eq!(found(PortHolder { protocol: Protocol::Udp, ..holder("old", 80) }), 0);
        let one = PortHolder { address: "127.0.0.1".to_owned(), ..holder("old", 80) };
        assert_eq!(found(one.clone()), 1, "all addresses are asked for");
        let other = Port { published: Some(80), host_ip: Some("127.0.0.2".to_owned()), ..Port::default() };
        assert!(!one.holds(&other));
    }
}
