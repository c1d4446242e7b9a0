//! WHO GETS REQUESTS. What the controller senses of a replica itself: whether it is ready, and how many requests are in
//! flight on it while it leaves. A proxy, later, is one more file here.

use crd_schema::ServiceSpec;
use futures_util::future::BoxFuture;

use crate::model::{Memory, Replica, ServiceName};

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
        }
        Box::pin(std::future::ready(()))
    }
}
