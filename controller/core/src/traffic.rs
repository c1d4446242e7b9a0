//! What the controller asks about requests: who can serve, what is in flight, and which way requests come.

use crd_schema::ServiceSpec;
use crd_schema::status::TrafficPath;
use futures_util::{future::BoxFuture, stream::BoxStream};

use crate::model::{Key, Replica, ServiceName, ServiceRecord};

/// The controller's own senses.
pub trait TrafficMonitor: Send + Sync {
    /// Fills in `probe` of the running replicas, as `spec` asks for it, and `in_flight` of those that `memory` says
    /// have left traffic. Returns promptly: what is not known yet is left unknown, and the key is woken when it is.
    fn refresh<'a>(
        &'a self,
        service: &'a ServiceName,
        spec: Option<&'a ServiceSpec>,
        memory: &'a ServiceRecord,
        replicas: &'a mut [Replica],
    ) -> BoxFuture<'a, ()>;

    /// Successors to some of these are about to be made: what has to be known of those who leave for them takes time, which
    /// begins now.
    fn prepare_drain(&self, _: &ServiceName, _: &ServiceSpec, _: &ServiceRecord, _: &[Replica]) {}

    /// The ways by which requests for a service come, as far as they are known.
    fn paths(&self, service: &ServiceName) -> Vec<TrafficPath>;

    /// Keys whose senses have changed: a probe that passes now, or fails. Hints, as the engine's events are.
    fn watch(&self) -> BoxStream<'static, Key>;
}
