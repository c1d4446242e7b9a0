//! The engine, watched.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_docker::Docker;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// An engine that notes when it is first asked to do something.
pub(super) struct Spy {
    pub(super) inner: Arc<Docker>,
    pub(super) first: Mutex<Option<Instant>>,
}

impl Engine for Spy {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        self.inner.watch()
    }
    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        self.first.lock().unwrap().get_or_insert_with(Instant::now);
        self.inner.list(compose)
    }
    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        self.inner.list_service(service, compose)
    }
    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        self.inner.list_objects()
    }
    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        self.inner.observe(scope, listing)
    }
    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        self.inner.apply(verb, context)
    }
    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        self.first.lock().unwrap().get_or_insert_with(Instant::now);
        self.inner.claim()
    }
    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.inner.release()
    }
}
