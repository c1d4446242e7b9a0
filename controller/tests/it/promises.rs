//! Promises of a single plan, whatever the replicas look like: any subset of its actions, in any order, keeps at least
//! `replicas - max_unavailable` available and at most `replicas + max_surge` started; and what is settled asks for
//! nothing. The arithmetic here is the judge's own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use composed::model::{
    Desired, DesiredService, Health, ImageState, InFlight, Memory, Observed, Probe, Replica, Rotation, ServiceName,
    Sighting, State,
};
use composed::plan::action::Verb;
use composed::plan::plan;
use crd_schema::{ComposeDuration, IntOrPercent, Order, Rollout, ServiceSpec};
use jiff::Timestamp;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Created,
    Pending,
    Available,
    Unhealthy,
    Paused,
    Exited,
    Draining,
    /// Draining, with nothing begun that cannot be undone.
    Revocable,
}

#[derive(Clone, Debug)]
struct Scene {
    replicas: u32,
    surge: u32,
    unavailable: u32,
    stop_first: bool,
    seen: Vec<(Shape, u8)>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    use Shape::{Available, Created, Draining, Exited, Paused, Pending, Revocable, Unhealthy};
    let shapes = vec![Created, Pending, Available, Available, Unhealthy, Paused, Exited, Draining, Revocable];
    let shape = proptest::sample::select(shapes);
    let seen = proptest::collection::vec((shape, 0_u8..3), 0..9);
    (0_u32..6, 0_u32..4, 0_u32..4, any::<bool>(), seen).prop_map(|(replicas, surge, unavailable, stop_first, seen)| {
        Scene { replicas, surge, unavailable, stop_first, seen }
    })
}

impl Scene {
    fn desired(&self) -> DesiredService {
        let spec = ServiceSpec {
            image: "web:2".to_owned(),
            replicas: Some(self.replicas),
            rollout: Some(Rollout {
                order: Some(if self.stop_first { Order::StopFirst } else { Order::StartFirst }),
                max_surge: Some(IntOrPercent::Int(self.surge)),
                max_unavailable: Some(IntOrPercent::Int(self.unavailable)),
                min_ready: Some(ComposeDuration::from_secs(5)),
                ..Rollout::default()
            }),
            ..ServiceSpec::default()
        };
        DesiredService::new(ServiceName::new("shop", "web"), spec, "web.yaml:1")
    }

    fn most(&self) -> usize {
        (self.replicas + if self.stop_first { 0 } else { self.surge }) as usize
    }

    fn least(&self) -> usize {
        let surge = if self.stop_first { 0 } else { self.surge };
        let unavailable = if surge == 0 { self.unavailable.max(1) } else { self.unavailable };
        self.replicas.saturating_sub(unavailable) as usize
    }

    fn world(&self, desired: &DesiredService, now: Timestamp) -> (Observed, Memory) {
        let mut memory = Memory::default();
        let mut observed = Observed::default();
        observed.images.insert("web:2".to_owned(), ImageState::Present("sha256:2".to_owned()));
        memory.notice(Some(desired), &observed, now);
        for (at, (shape, revision)) in self.seen.iter().enumerate() {
            let number = u32::try_from(at).unwrap() + 1;
            let id = format!("id-{number}");
            let long_ago = now - Duration::from_mins(1);
            let (state, ready) = match shape {
                Shape::Created => (State::Created, None),
                Shape::Pending => (State::Running, Some(now)),
                Shape::Available | Shape::Draining | Shape::Revocable | Shape::Unhealthy => {
                    (State::Running, Some(long_ago))
                }
                Shape::Paused => (State::Paused, None),
                Shape::Exited => (State::Exited(1), None),
            };
            let started_at = (state == State::Running).then_some(long_ago);
            let sighting = Sighting {
                started_at,
                restart_count: 0,
                running_since: long_ago,
                ready_since: ready,
                starting_since: None,
            };
            memory.sightings.insert(id.clone(), sighting);
            if matches!(shape, Shape::Draining | Shape::Revocable) {
                memory.withdrawn.insert(id.clone(), now);
            }
            if matches!(shape, Shape::Revocable) {
                memory.revocable.insert(id.clone());
            }
            observed.replicas.push(Replica {
                id,
                name: desired.name.container(number),
                number,
                service: desired.name.clone(),
                revision: if *revision == 0 { desired.revision.clone() } else { format!("old{revision}") },
                generation: 1,
                image: String::new(),
                image_name: String::new(),
                created_at: long_ago,
                state,
                started_at,
                restart_count: 0,
                restarts: false,
                health: if matches!(shape, Shape::Unhealthy) { Health::Unhealthy } else { Health::None },
                probe: Probe::None,
                rotation: Rotation::Unfollowed,
                in_flight: InFlight::Count(0),
                busy_with: None,
                pre_stop_done: false,
                volumes: BTreeMap::new(),
                post_start: None,
                data: BTreeSet::new(),
                shares: Vec::new(),
                by_hand: false,
                maker: None,
                compose: None,
                addresses: BTreeMap::new(),
                ports: BTreeMap::new(),
                pid: 0,
            });
        }
        (observed, memory)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_subset_of_a_plan_keeps_floor_and_ceiling(scene in scenes(), mask in any::<u64>()) {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let desired = scene.desired();
        let (observed, memory) = scene.world(&desired, now);
        let plan = plan(&Desired::Run(Box::new(desired)), &observed, &memory, now);

        let shape = |id: &str| scene.seen[observed.replicas.iter().position(|r| r.id == id).unwrap()].0;
        let started = |shape: Shape| matches!(shape, Shape::Pending | Shape::Available | Shape::Unhealthy | Shape::Paused);
        let available_before = scene.seen.iter().filter(|(s, _)| matches!(s, Shape::Available)).count();
        let started_before = scene.seen.iter().filter(|(s, _)| started(*s)).count();
        let draining = scene.seen.iter().filter(|(s, _)| matches!(s, Shape::Draining | Shape::Revocable)).count();

        let (mut starts, mut readmitted) = (0, 0);
        let mut available = available_before;
        let mut seen = BTreeSet::new();
        let chosen = plan.actions.iter().enumerate().filter(|(at, _)| mask >> (at % 64) & 1 == 1);
        for (_, action) in chosen {
            match &action.verb {
                Verb::Start(target) => {
                    prop_assert!(matches!(shape(&target.id), Shape::Created));
                    starts += 1;
                }
                Verb::Withdraw(target) => {
                    prop_assert!(seen.insert(target.id.clone()), "withdrawn twice");
                    available -= usize::from(matches!(shape(&target.id), Shape::Available));
                }
                Verb::Readmit(target) => {
                    prop_assert!(matches!(shape(&target.id), Shape::Revocable));
                    prop_assert!(seen.insert(target.id.clone()), "readmitted and something else");
                    readmitted += 1;
                }
                // Nobody in traffic is stopped or removed.
                Verb::Stop { target, .. } | Verb::DisableRestart(target) => {
                    prop_assert!(seen.insert(target.id.clone()), "stopped and something else");
                    prop_assert!(matches!(shape(&target.id), Shape::Draining | Shape::Revocable));
                }
                Verb::Remove(target) => prop_assert!(matches!(shape(&target.id), Shape::Created | Shape::Exited)),
                _ => {}
            }
        }
        prop_assert!(available >= scene.least().min(available_before), "{} available, at least {} promised: {plan:#?}", available, scene.least());
        let held = if scene.stop_first { draining } else { 0 };
        // Whoever comes back was among those that held a place.
        let comes = if scene.stop_first { starts } else { starts + readmitted };
        prop_assert!(comes == 0 || started_before + held + comes <= scene.most(), "{} started, at most {}: {plan:#?}", started_before + comes, scene.most());
        prop_assert!(readmitted == 0 || started_before + readmitted <= scene.most(), "{readmitted} readmitted: {plan:#?}");
        prop_assert!(!plan.settled() || plan.wake_at.is_none(), "settled, and yet it wants to wake: {plan:#?}");
    }
}
