//! What the simulated engine's own load says of requests.

use composed_core::model::{Key, Replica, ServiceName, ServiceRecord, State};
use composed_core::traffic::TrafficMonitor;
use crd_schema::ServiceSpec;
use crd_schema::status::TrafficPath;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use super::Sim;

impl TrafficMonitor for Sim {
    fn refresh<'a>(
        &'a self,
        _service: &'a ServiceName,
        _spec: Option<&'a ServiceSpec>,
        memory: &'a ServiceRecord,
        replicas: &'a mut [Replica],
    ) -> BoxFuture<'a, ()> {
        for replica in replicas {
            if let Some(since) = memory.replicas.draining.get(&replica.id) {
                replica.in_flight = self.in_flight(&replica.id, *since);
            }
            if replica.state == State::Running {
                let withdrawn = memory.replicas.draining.contains_key(&replica.id);
                let serves = !withdrawn && memory.replicas.serving.contains_key(&replica.id);
                replica.propagation = self.with(|world, now| world.tell(&replica.id, serves, withdrawn, now));
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
