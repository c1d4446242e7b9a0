//! The contract on the simulated engine, in no time.

use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::Engine;
use composed_core::model::State;
use composed_platform::clock::Clock;
use composed_simulator::{Behaviour, Sim, World, tick};
use crd_schema::{ComposeDuration, ContainerId, Healthcheck, ImageRef, NetworkName, ServiceSpec};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::{Kind, Stage, cases};

/// Promises that the simulation does not keep yet. The end of a pull wakes nobody when the service has no container, and
/// a network of somebody else's is removed.
const OPEN: &[&str] = &[];

struct SimStage {
    sim: Arc<Sim>,
    project: String,
}

fn image(kind: Kind) -> ImageRef {
    ImageRef::new(format!("{kind:?}").to_lowercase())
}

impl SimStage {
    fn new() -> Self {
        let mut world = World::default();
        let plain = Behaviour::default();
        let hook = (Duration::from_mins(10), 0);
        let lingers = Behaviour { stop_takes: Duration::from_secs(2), hook, ..plain.clone() };
        let hook = (Duration::from_millis(200), 1);
        let crashes = Behaviour { exits_after: Some(Duration::from_millis(200)), hook, ..plain.clone() };
        let unstartable = Behaviour { unstartable: true, ..plain.clone() };
        world.images.insert(image(Kind::Serves), plain);
        world.images.insert(image(Kind::Lingers), lingers);
        world.images.insert(image(Kind::Crashes), crashes);
        world.images.insert(image(Kind::Unstartable), unstartable);
        world.networks.insert(NetworkName::new("c_default"), Some("c".to_owned()));
        let clock = Clock::system();
        Self { project: "c".to_owned(), sim: Arc::new(Sim::new(world, Arc::new(move || clock.now()), "me")) }
    }
}

impl Stage for SimStage {
    fn engine(&self) -> &dyn Engine {
        &*self.sim
    }

    fn project(&self) -> &str {
        &self.project
    }

    fn spec(&self, kind: Kind) -> ServiceSpec {
        let interval = Some(ComposeDuration::from_millis(200));
        let healthcheck = Healthcheck { test: vec!["CMD".into(), "true".into()], interval, ..Healthcheck::default() };
        ServiceSpec {
            image: image(kind),
            expose: vec!["8080".into()],
            healthcheck: Some(healthcheck),
            ..ServiceSpec::default()
        }
    }

    fn no_image(&self) -> ImageRef {
        ImageRef::new("nowhere")
    }

    fn kill<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()> {
        async { self.sim.with(|world, now| world.kill(id, 137, now)) }.boxed()
    }

    fn remove<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, ()> {
        async { self.sim.with(|world, _| drop(world.containers.remove(id))) }.boxed()
    }

    fn add_foreign<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ContainerId> {
        async move {
            self.sim.with(|world, now| {
                world.add_foreign(name, now);
                let id = world.containers.named(name).expect("the foreign container").replica.id.clone();
                world.containers.get_mut(&id).expect("it was just found").replica.state = State::Running;
                id
            })
        }
        .boxed()
    }

    fn peek<'a>(&'a self, id: &'a ContainerId) -> BoxFuture<'a, Option<(String, String)>> {
        async {
            self.sim.with(|world, _| {
                let replica = &world.containers.get(id)?.replica;
                Some((replica.name.clone(), format!("{:?}", replica.state).to_lowercase()))
            })
        }
        .boxed()
    }

    fn add_foreign_network<'a>(&'a self, name: &'a NetworkName) -> BoxFuture<'a, ()> {
        async {
            self.sim.with(|world, _| {
                world.networks.insert(name.clone(), None);
            });
        }
        .boxed()
    }

    fn rival_claims(&self) -> BoxFuture<'_, bool> {
        async { self.sim.with(|world, _| world.claim("rival")) == composed_core::engine::LeaseState::Held }.boxed()
    }

    fn rival_releases(&self) -> BoxFuture<'_, ()> {
        async { self.sim.with(|world, _| world.holder = None) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_engine_keeps_the_contract() {
    let mut broken = Vec::new();
    for case in cases() {
        let stage = SimStage::new();
        let ticking = tokio::spawn(tick(Arc::clone(&stage.sim)));
        let run = std::panic::AssertUnwindSafe((case.run)(&stage));
        if run.catch_unwind().await.is_err() {
            broken.push(case.name);
        }
        ticking.abort();
    }
    assert_eq!(broken, OPEN, "the promises broken now, and those known to be");
}
