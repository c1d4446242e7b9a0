//! WHO GETS REQUESTS. What the controller senses of a replica itself: whether it is ready, and how many requests are in
//! flight on it while it leaves. A proxy, later, is one more file here.

mod bridge;
pub mod companion;
mod counting;
pub mod haproxy;
pub mod inflight;
pub mod local;
pub mod names;
pub mod paths;
pub mod probe;
mod share;
pub mod traefik;
mod traefik_api;
pub mod view;

use crd_schema::ServiceSpec;
use crd_schema::status::TrafficPath;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::model::{Key, Memory, Replica, ServiceName, State};

/// The controller's own senses.
pub trait Senses: Send + Sync {
    /// Fills in `probe` of the running replicas, as `spec` asks for it, and `in_flight` of those that `memory` says
    /// have left traffic. Returns promptly: what is not known yet is left unknown, and the key is woken when it is.
    fn sense<'a>(
        &'a self,
        service: &'a ServiceName,
        spec: Option<&'a ServiceSpec>,
        memory: &'a Memory,
        replicas: &'a mut [Replica],
    ) -> BoxFuture<'a, ()>;

    /// Successors to some of these are about to be made: what has to be known of those who leave for them takes time, which
    /// begins now.
    fn foresee(&self, _: &ServiceName, _: &ServiceSpec, _: &Memory, _: &[Replica]) {}

    /// The ways by which requests for a service come, as far as they are known.
    fn paths(&self, service: &ServiceName) -> Vec<TrafficPath>;

    /// Keys whose senses have changed: a probe that passes now, or fails. Hints, as the engine's events are.
    fn watch(&self) -> BoxStream<'static, Key>;
}

impl Senses for crate::engine::sim::Sim {
    fn sense<'a>(
        &'a self,
        _service: &'a ServiceName,
        _spec: Option<&'a ServiceSpec>,
        memory: &'a Memory,
        replicas: &'a mut [Replica],
    ) -> BoxFuture<'a, ()> {
        for replica in replicas {
            if let Some(since) = memory.withdrawn.get(&replica.id) {
                replica.in_flight = self.in_flight(&replica.id, *since);
            }
            if replica.state == State::Running {
                let withdrawn = memory.withdrawn.contains_key(&replica.id);
                let serves = !withdrawn && memory.serving.contains_key(&replica.id);
                replica.rotation = self.with(|world, now| world.tell(&replica.id, serves, withdrawn, now));
            }
        }
        Box::pin(std::future::ready(()))
    }

    fn paths(&self, _: &ServiceName) -> Vec<TrafficPath> {
        Vec::new()
    }

    // The simulated engine's own events tell of it.
    fn watch(&self) -> BoxStream<'static, Key> {
        stream::pending().boxed()
    }
}
