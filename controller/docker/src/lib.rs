//! The real engine: Docker, or what speaks its API from 1.41 on. The only user of bollard, which is pinned exactly: its
//! 0.21 leaves the API version out of every path, `wire` puts it in, and 0.22 would double it.

mod adopt;
mod background;
mod bounded;
mod companion;
mod connect;
mod container_state;
mod containers;
mod context;
mod create;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod create_tests;
mod devices;
mod endpoints;
mod errors;
mod events;
mod files;
mod hooks;
mod identity;
mod labels;
mod lease;
mod limits;
mod list;
mod mounts;
mod objects;
mod observe;
mod oneshot;
mod ownership;
mod parallel;
mod raw;
mod seal;
mod seen;
mod target_engine;
mod wire;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use bollard::{
    body_full,
    query_parameters::{CreateImageOptions, RemoveImageOptions},
};
use composed_core::engine::{ActionContext, Engine, EngineError, LeaseState, ObserveRequest};
use composed_core::model::{Key, ListedObjects, ListedService, Listing, ServiceName, Snapshot};
use composed_core::plan::action::Verb;
use composed_platform::clock::Clock;
use crd_schema::{ContainerId, ImageId, ImageRef};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture, stream::BoxStream};
use tokio::sync::Semaphore;

use self::{
    background::Background, connect::Api, lease::Lease, observe::Observer, ownership::Ownership, seen::InspectCache,
};

pub use self::context::EngineAddress;
pub use self::raw::{RawError, RawResult};

/// A Docker engine, seen as one instance of composed.
pub struct Docker {
    api: Api,
    instance: Arc<str>,
    lease: Lease,
    ownership: Arc<Ownership>,
    background: Arc<Background>,
    seen: Arc<InspectCache>,
    /// What answers may have that are passed on as they are, in KiB.
    room: Semaphore,
}

impl Docker {
    /// The name of the file for [`Self::connect_with`] in a state directory.
    pub const OWNERSHIP: &str = ownership::FILE;

    /// Connects to the engine at `host`, or where `DOCKER_HOST`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` say, and
    /// agrees on an API version. `instance` tells this controller's objects from those of others on the same engine.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers, `Rejected` when the address or the engine's version cannot be used.
    pub async fn connect(host: Option<&str>, instance: &str) -> Result<Self, EngineError> {
        let address = EngineAddress::resolve(host, None)?;
        Self::connect_with(&address, instance, "", None).await
    }

    /// As [`Self::connect`], with a file that keeps what proves which containers are this instance's: with it they are
    /// still known when the engine has lost the volume that keeps it, too. `command` is what this process does, for others
    /// that find it holding the lock.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_with(
        address: &EngineAddress,
        instance: &str,
        command: &str,
        ownership: Option<PathBuf>,
    ) -> Result<Self, EngineError> {
        let api = Api::connect(address).await?;
        let clock = Clock::system();
        let instance = Arc::from(instance);
        Ok(Self {
            lease: Lease::new(&instance, command, api.by_socket(), clock)?,
            ownership: Arc::new(Ownership::new(&instance, ownership)?),
            api,
            instance,
            background: Background::new(clock),
            seen: Arc::default(),
            room: Semaphore::new(raw::ROOM),
        })
    }

    /// Removes the volume that keeps the key of this instance: of one that is over. What cannot be removed stays.
    pub async fn remove_key(&self) {
        self.ownership.remove(&self.api).await;
    }

    /// Makes an image of a tar archive, named `reference`. `changes` are lines of a Dockerfile, such as
    /// `ENTRYPOINT ["/app"]`. Returns its id.
    pub async fn import_image(
        &self,
        tar: Vec<u8>,
        reference: &ImageRef,
        changes: &[String],
    ) -> Result<ImageId, EngineError> {
        let options = CreateImageOptions {
            from_src: Some("-".to_owned()),
            repo: Some(reference.to_string()),
            changes: changes.to_vec(),
            ..CreateImageOptions::default()
        };
        let import = self.api.client.create_image(Some(options), Some(body_full(tar.into())), None);
        self.api.call(import.try_for_each(|_| async { Ok(()) })).await?;
        let image = self.api.call(self.api.client.inspect_image(connect::reference(reference.as_str())?)).await?;
        Ok(ImageId::new(image.id.unwrap_or_default()))
    }

    /// Removes an image that no container uses. One that is not there is `Ok`.
    pub async fn remove_image(&self, reference: &ImageRef) -> Result<(), EngineError> {
        let name = connect::reference(reference.as_str())?;
        match self.api.answer(self.api.client.remove_image(name, None::<RemoveImageOptions>, None)).await? {
            Err(error) if errors::words(&error, &[404]).is_none() => {
                Err(errors::reaction(&error, errors::CallOrigin::Plainly))
            }
            _ => Ok(()),
        }
    }

    /// Removes an image that we brought, unless anybody uses it: then it is theirs.
    async fn let_go(&self, id: &ImageId) -> Result<(), EngineError> {
        self.background.let_go(id);
        match self.remove_image(&ImageRef::from(id)).await {
            // Used by a container, or by another name.
            Err(EngineError::Stale(why)) => {
                tracing::debug!(image = id.as_str(), why, "it stays");
                Ok(())
            }
            removed => removed,
        }
    }

    fn observer(&self) -> Observer<'_> {
        Observer {
            api: &self.api,
            instance: &self.instance,
            ownership: &self.ownership,
            jobs: self.background.jobs(),
            seen: &self.seen,
        }
    }

    async fn carry_out(&self, verb: &Verb, context: &ActionContext) -> Result<(), EngineError> {
        match verb {
            Verb::Pull { image, platform, .. } => {
                self.background.pull(&self.api, image, platform.as_deref());
                Ok(())
            }
            Verb::RemoveImage { id } => self.let_go(id).await,
            Verb::Create(print) => Box::pin(self.create(print, context)).await,
            Verb::Start(target) => self.start(target, context).await,
            Verb::PostStart { target, hooks } => self.post_start(target, hooks).await,
            Verb::PreStop { target, hooks } => self.pre_stop(target, hooks).await,
            Verb::DisableRestart(target) => self.disable_restart(target).await,
            Verb::Stop { target, .. } => self.stop(target).await,
            Verb::Remove(target) => self.remove(target).await,
            Verb::Rename { target, to } => self.rename(target, to).await,
            Verb::MoveName { name, from, spare, to } => Box::pin(self.move_name(name, from, spare, to)).await,
            Verb::CreateNetwork { key, name } => self.create_network(key, name, context).await,
            Verb::CreateVolume { key, name } => self.create_volume(key, name, context).await,
            Verb::RemoveNetwork { name, id } => self.remove_network(name, id.as_ref()).await,
            // Records of the loop: nothing for an engine to do.
            Verb::Drain(_)
            | Verb::UndoDrain(_)
            | Verb::Adopt { .. }
            | Verb::RecordOutcome { .. }
            | Verb::RecordHookResult { .. } => Ok(()),
        }
    }
}

impl Engine for Docker {
    fn describe(&self) -> String {
        self.api.describe()
    }

    fn watch(&self) -> BoxStream<'static, Option<Key>> {
        let watch = events::Watch {
            api: self.api.clone(),
            instance: Arc::clone(&self.instance),
            seen: Arc::clone(&self.seen),
            background: Arc::clone(&self.background),
        };
        watch.stream().boxed()
    }

    fn list<'a>(&'a self, compose: &'a Arc<BTreeSet<ServiceName>>) -> BoxFuture<'a, Result<Listing, EngineError>> {
        async move {
            let known = self.background.known();
            let listing = self.observer().list(compose).await?;
            let ids: HashSet<&ContainerId> = listing.containers.values().flatten().map(|one| &one.id).collect();
            // What was made since the list began is not in it.
            self.background.retain(|id| ids.contains(id) || !known.contains(id));
            Ok(listing)
        }
        .boxed()
    }

    fn list_service<'a>(
        &'a self,
        service: &'a ServiceName,
        compose: &'a Arc<BTreeSet<ServiceName>>,
    ) -> BoxFuture<'a, Result<ListedService, EngineError>> {
        async move { self.observer().list_service(service, compose).await }.boxed()
    }

    fn list_objects(&self) -> BoxFuture<'_, Result<ListedObjects, EngineError>> {
        async move { self.observer().list_objects().await }.boxed()
    }

    fn observe<'a>(
        &'a self,
        scope: &'a ObserveRequest,
        listing: &'a Arc<Listing>,
    ) -> BoxFuture<'a, Result<Snapshot, EngineError>> {
        async move { self.observer().look(scope, listing).await }.boxed()
    }

    fn apply<'a>(&'a self, verb: &'a Verb, context: &'a ActionContext) -> BoxFuture<'a, Result<(), EngineError>> {
        self.carry_out(verb, context).boxed()
    }

    fn claim(&self) -> BoxFuture<'_, Result<LeaseState, EngineError>> {
        async {
            let claim = self.lease.claim(&self.api, async || self.ownership.doubt().await).await?;
            if claim == LeaseState::Held {
                self.ownership.keep(&self.api).await?;
            }
            Ok(claim)
        }
        .boxed()
    }

    fn release(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.lease.release(&self.api).boxed()
    }
}
