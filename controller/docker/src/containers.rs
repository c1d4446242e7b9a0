//! The verbs that change containers. Each looks first whether the container is ours: nothing is ever changed that is
//! neither proven to be this instance's nor was made by Docker Compose, whatever the plan believes.

use std::borrow::Cow;
use std::sync::Arc;

use bollard::{
    errors::Error,
    models::{
        ContainerInspectResponse, ContainerUpdateBody, NetworkConnectRequest, RestartPolicy, RestartPolicyNameEnum,
    },
    query_parameters::{CreateContainerOptions, RemoveContainerOptions, RenameContainerOptions, StartContainerOptions},
};
use composed_core::engine::{ActionContext, EngineError};
use composed_core::model::{ServiceName, State};
use composed_core::plan::action::{Blueprint, Target};
use crd_schema::{ContainerId, Hook, ImageId};

use super::{
    Docker,
    connect::reference,
    container_state::state,
    create,
    endpoints::Endpoints,
    errors::{CallOrigin, reaction, rejected, start_reaction, words},
    labels::{self, Labels},
    observe::inspect,
    ownership::Owner,
    seal::Sealed,
    target_engine::Engine,
};

/// The image that a replica is made of.
struct ResolvedImage {
    id: ImageId,
    /// The name that the document has for it stands for it now.
    is_named: bool,
}

impl Docker {
    /// Creates a replica, or completes one that an earlier attempt left half-made.
    pub(super) async fn create(&self, print: &Blueprint, context: &ActionContext) -> Result<(), EngineError> {
        let record = self.ownership.keep(&self.api).await?;
        let image = self.image_of(print).await?;
        let engine = Engine { minor: self.api.minor(), instance: &self.instance, image_id: Some(&image.id) };
        let print = &self.with_cleared_command(print).await?;
        let print = &self.with_wanted_volumes(print).await?;
        let mut creation = create::creation(print, context, engine)?;
        record.seal(Sealed::Container { image: &image.id }, creation.body.labels.get_or_insert_default())?;
        // By its name, people can read of what it is made; by its id, it is that image whatever the name stands for by now.
        if !image.is_named {
            creation.body.image = Some(image.id.to_string());
        }
        let options = CreateContainerOptions { name: Some(print.name.clone()), platform: creation.platform };
        let call = self.api.client.create_container(Some(options), creation.body);
        let id = match self.api.answer(call).await? {
            Ok(created) => ContainerId::new(created.id),
            Err(error) => return self.not_created(&error, print).await,
        };
        if image.is_named {
            self.made_of(&id, &image.id, print).await?;
        }
        self.seen.container(&id, print.service.clone());
        self.join(&id, creation.later).await
    }

    /// The image that a replica is made of. One that carries labels of composed is refused: its containers would say what
    /// composed has never said.
    async fn image_of(&self, print: &Blueprint) -> Result<ResolvedImage, EngineError> {
        let named = self.api.answer(self.api.client.inspect_image(reference(print.spec.image.as_str())?)).await?;
        let named = match (named, &print.image) {
            (Ok(image), None) => (image, true),
            (Ok(image), Some(id)) if image.id.as_deref().is_some_and(|found| same_image(found, id.as_str())) => {
                (image, true)
            }
            (Err(error), None) => return Err(reaction(&error, CallOrigin::ForTheUser)),
            (_, Some(id)) => {
                let image = self.api.answer(self.api.client.inspect_image(reference(id.as_str())?)).await?;
                (image.map_err(|error| reaction(&error, CallOrigin::ForTheUser))?, false)
            }
        };
        let (image, is_named) = named;
        let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
        if let Some(label) = labels::of_ours(&labels) {
            return Err(rejected(format!(
                "the image {} carries the label `{label}`, which only composed writes, on containers: it was probably made \
                 of one by `docker commit`. Build it without that label",
                print.spec.image
            )));
        }
        Ok(ResolvedImage { id: ImageId::new(image.id.unwrap_or_default()), is_named })
    }

    /// Makes sure that a new container is made of this image: its name may have been moved in between. One that is not is
    /// taken back; it has never run.
    async fn made_of(&self, container: &ContainerId, image: &ImageId, print: &Blueprint) -> Result<(), EngineError> {
        let Some(made) = inspect(&self.api, container.as_str()).await? else {
            return Err(EngineError::Stale(format!("{} is gone", print.name)));
        };
        if made.image.as_deref().is_some_and(|made| same_image(made, image.as_str())) {
            return Ok(());
        }
        let options = RemoveContainerOptions { v: false, force: false, link: false };
        self.api.call(self.api.client.remove_container(container.as_str(), Some(options))).await?;
        Err(EngineError::Stale(format!("{} stands for another image by now", print.spec.image)))
    }

    /// Volumes are handed on to where the document or the image still has one.
    async fn with_wanted_volumes<'a>(&self, print: &'a Blueprint) -> Result<Cow<'a, Blueprint>, EngineError> {
        if print.volumes.is_empty() {
            return Ok(Cow::Borrowed(print));
        }
        // The name may stand for another image by now.
        let name = print.image.as_ref().map_or(print.spec.image.as_str(), ImageId::as_str);
        let image = self.api.call(self.api.client.inspect_image(reference(name)?)).await?;
        let declared = image.config.and_then(|config| config.volumes).unwrap_or_default();
        let same = |one: &str, other: &str| one.trim_end_matches('/') == other.trim_end_matches('/');
        let nameless =
            |mount: &&crd_schema::Mount| mount.kind == crd_schema::MountKind::Volume && mount.source.is_none();
        let mut print = print.clone();
        print.volumes.retain(|place, _| {
            let asked = print.spec.volumes.iter().filter(nameless).any(|mount| same(&mount.target, place));
            let short = print.spec.tmpfs.iter().filter_map(|entry| entry.split(':').next());
            let in_memory = short.into_iter().any(|target| same(target, place));
            (asked || declared.iter().any(|target| same(target, place))) && !in_memory
        });
        Ok(Cow::Owned(print))
    }

    /// `command: []` clears the image's command, but the engine reads an empty list as "not given", unless there is an
    /// entrypoint: so the image's own is given in full.
    async fn with_cleared_command<'a>(&self, print: &'a Blueprint) -> Result<Cow<'a, Blueprint>, EngineError> {
        let spec = &print.spec;
        if spec.entrypoint.is_some() || spec.command.as_ref().is_none_or(|command| !command.is_empty()) {
            return Ok(Cow::Borrowed(print));
        }
        let name = print.image.as_ref().map_or(spec.image.as_str(), ImageId::as_str);
        let image = self.api.call(self.api.client.inspect_image(reference(name)?)).await?;
        let mut print = print.clone();
        Arc::make_mut(&mut print.spec).entrypoint =
            Some(image.config.and_then(|config| config.entrypoint).unwrap_or_default());
        Ok(Cow::Owned(print))
    }

    /// Starts a replica. One that never was gets its files first. A hook's container is started once: the answer to the
    /// first start may have been lost, and the engine would start one that has ended again.
    pub(super) async fn start(&self, target: &Target, context: &ActionContext) -> Result<(), EngineError> {
        let (container, _) = self.ours(target).await?;
        let new = state(container.state.as_ref()) == State::Created;
        if !new && is_hook(&container) {
            return Err(EngineError::Stale(format!("{} was started before", target.name)));
        }
        if new {
            self.put_container_files(&container, context).await?;
        }
        self.complete(&container).await?;
        let call = self.api.client.start_container(target.id.as_str(), None::<StartContainerOptions>);
        self.api.answer(call).await?.map_err(|error| start_reaction(&error))
    }

    /// Begins to stop a replica.
    pub(super) async fn stop(&self, target: &Target) -> Result<(), EngineError> {
        let (container, service) = self.ours(target).await?;
        if state(container.state.as_ref()).is_live() {
            let grace = container.config.and_then(|config| config.stop_timeout);
            self.background.stop(&self.api, &target.id, service, grace);
        }
        Ok(())
    }

    /// Begins to run its post-start hooks.
    pub(super) async fn post_start(&self, target: &Target, hooks: &[Hook]) -> Result<(), EngineError> {
        let (_, service) = self.ours(target).await?;
        self.background.post_start(&self.api, &target.id, service, hooks.to_vec());
        Ok(())
    }

    /// Begins to run its pre-stop hooks.
    pub(super) async fn pre_stop(&self, target: &Target, hooks: &[Hook]) -> Result<(), EngineError> {
        let (_, service) = self.ours(target).await?;
        self.background.pre_stop(&self.api, &target.id, service, hooks.to_vec());
        Ok(())
    }

    /// Switches its restart policy off.
    pub(super) async fn disable_restart(&self, target: &Target) -> Result<(), EngineError> {
        self.ours(target).await?;
        let off = RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None };
        let update = ContainerUpdateBody { restart_policy: Some(off), ..ContainerUpdateBody::default() };
        self.api.call(self.api.client.update_container(target.id.as_str(), update)).await
    }

    /// Removes a container that does not run, never by force and never with its volumes; but what a hook's container has
    /// written into volumes without a name is nobody's.
    pub(super) async fn remove(&self, target: &Target) -> Result<(), EngineError> {
        let Some((container, _)) = self.find(target).await? else {
            return Ok(());
        };
        match state(container.state.as_ref()) {
            State::Running | State::Paused | State::Restarting => {
                return Err(EngineError::Stale(format!("{} is running", target.name)));
            }
            State::Removing => return Ok(()),
            State::Created | State::Exited(_) | State::Dead => {}
        }
        let options = RemoveContainerOptions { v: is_hook(&container), force: false, link: false };
        match self.api.answer(self.api.client.remove_container(target.id.as_str(), Some(options))).await? {
            Ok(()) => Ok(()),
            Err(error) if words(&error, &[404]).is_some() => Ok(()),
            Err(error) if words(&error, &[409]).is_some_and(|text| text.contains("already in progress")) => Ok(()),
            Err(error) => Err(reaction(&error, CallOrigin::OfOne)),
        }
    }

    /// Gives it another name.
    pub(super) async fn rename(&self, target: &Target, to: &str) -> Result<(), EngineError> {
        let (container, _) = self.ours(target).await?;
        if is_named(&container, to) {
            return Ok(());
        }
        self.call_it(target, to).await
    }

    /// Gives a name that one has to another one. All questions come first: between the two calls nobody answers to the name.
    pub(super) async fn move_name(
        &self,
        name: &str,
        from: &Target,
        spare: &str,
        to: &Target,
    ) -> Result<(), EngineError> {
        let (old, new) = (self.ours(from).await?.0, self.ours(to).await?.0);
        if is_named(&new, name) {
            return Ok(());
        }
        if !is_named(&old, name) {
            return Err(EngineError::Stale(format!("{} is not named {name} any more", from.name)));
        }
        self.call_it(from, spare).await?;
        self.call_it(to, name).await
    }

    async fn call_it(&self, target: &Target, to: &str) -> Result<(), EngineError> {
        let options = RenameContainerOptions { name: to.to_owned() };
        match self.api.answer(self.api.client.rename_container(target.id.as_str(), options)).await? {
            Ok(()) => Ok(()),
            Err(error) => match self.holder(&error, to).await? {
                Some(holder) if self.owns(&holder).await? => {
                    Err(EngineError::Stale(format!("another of ours is named {to}")))
                }
                Some(_) => Err(name_taken(&error)),
                None => Err(reaction(&error, CallOrigin::ForTheUser)),
            },
        }
    }

    /// The container of a target, if it is there and ours.
    async fn find(&self, target: &Target) -> Result<Option<(ContainerInspectResponse, ServiceName)>, EngineError> {
        let Some(container) = inspect(&self.api, target.id.as_str()).await? else {
            return Ok(None);
        };
        let labels = container_labels(&container).cloned().unwrap_or_default();
        let service = match self.whose(&container).await? {
            Owner::Us => labels::service(&labels),
            Owner::Unproven(_) => None,
            // One that was adopted: a plan names no other of these.
            Owner::Other => {
                let image = &ImageId::new(container.image.as_deref().unwrap_or_default());
                let stranger = self.ownership.not_by_compose(&self.api, image, &labels).await?.is_some();
                labels::service_of_compose(&labels).filter(|_| !stranger)
            }
        };
        match service {
            Some(service) => Ok(Some((container, service))),
            None => Err(EngineError::Stale(format!("{} is not ours to change", target.name))),
        }
    }

    async fn ours(&self, target: &Target) -> Result<(ContainerInspectResponse, ServiceName), EngineError> {
        let found = self.find(target).await?;
        found.ok_or_else(|| EngineError::Stale(format!("{} is gone", target.name)))
    }

    async fn whose(&self, container: &ContainerInspectResponse) -> Result<Owner, EngineError> {
        let record = self.ownership.look(&self.api).await?;
        let (id, image) = (container.id.as_deref().unwrap_or_default(), container.image.as_deref().unwrap_or_default());
        let labels = container_labels(container).cloned().unwrap_or_default();
        Ok(record.owner_of_container(&self.instance, &ContainerId::new(id), &ImageId::new(image), &labels))
    }

    async fn owns(&self, container: &ContainerInspectResponse) -> Result<bool, EngineError> {
        Ok(self.whose(container).await? == Owner::Us)
    }

    /// After a refused create: is the one that has the name the very replica that was to be made?
    async fn not_created(&self, error: &Error, print: &Blueprint) -> Result<(), EngineError> {
        let Some(holder) = self.holder(error, &print.name).await? else {
            return Err(reaction(error, CallOrigin::ForTheUser));
        };
        let found = container_labels(&holder).cloned().unwrap_or_default();
        let same_place = self.owns(&holder).await?
            && labels::service(&found).as_ref() == Some(&print.service)
            && labels::hook(&found) == print.hook
            && labels::number(&found) == print.number;
        if !same_place {
            return Err(name_taken(error));
        }
        if found.get(labels::REVISION).is_none_or(|revision| print.revision != *revision.as_str()) {
            return Err(EngineError::Stale(format!("{} is there, from another revision", print.name)));
        }
        self.complete(&holder).await
    }

    /// Who has a name that was refused with a conflict. `None`: it was no conflict, or the holder is gone by now.
    async fn holder(&self, error: &Error, name: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
        let conflict = words(error, &[409]).is_some_and(|text| text.contains("already in use"));
        if conflict { inspect(&self.api, name).await } else { Ok(None) }
    }

    /// Gives a never-started container of ours what it still lacks, files and networks: its creator may have died in
    /// between.
    async fn complete(&self, container: &ContainerInspectResponse) -> Result<(), EngineError> {
        if state(container.state.as_ref()) != State::Created {
            return Ok(());
        }
        let label = |name: &str| container_labels(container).and_then(|labels| labels::get(labels, name));
        if let (Some(files), Some(id)) = (label(labels::FILES), &container.id) {
            self.put_files(&ContainerId::new(id), files).await?;
        }
        let Some(wanted) = label(labels::ENDPOINTS) else { return Ok(()) };
        let mut missing: Endpoints = serde_json::from_str(wanted).unwrap_or_default();
        let joined = container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        missing.retain(|name, _| joined.is_none_or(|joined| !joined.contains_key(name)));
        match &container.id {
            Some(id) => self.join(&ContainerId::new(id), missing).await,
            None => Ok(()),
        }
    }

    async fn join(&self, id: &ContainerId, networks: Endpoints) -> Result<(), EngineError> {
        for (network, endpoint) in networks {
            let name = super::connect::segment(&network)?;
            let request = NetworkConnectRequest { container: id.to_string(), endpoint_config: Some(endpoint) };
            match self.api.answer(self.api.client.connect_network(name, request)).await? {
                Ok(()) => {}
                Err(error) if words(&error, &[403]).is_some_and(|text| text.contains("already exists")) => {}
                Err(error) => return Err(reaction(&error, CallOrigin::ForTheUser)),
            }
        }
        Ok(())
    }
}

/// Whether two ids are of one image: Podman leaves the prefix out in some of its answers.
fn same_image(one: &str, other: &str) -> bool {
    one.trim_start_matches("sha256:") == other.trim_start_matches("sha256:")
}

fn container_labels(container: &ContainerInspectResponse) -> Option<&Labels> {
    container.config.as_ref().and_then(|config| config.labels.as_ref())
}

fn is_hook(container: &ContainerInspectResponse) -> bool {
    container_labels(container).is_some_and(|labels| labels::hook(labels).is_some())
}

fn name_taken(error: &Error) -> EngineError {
    EngineError::Rejected { message: words(error, &[409]).unwrap_or_default().to_owned(), name_taken: true }
}

fn is_named(container: &ContainerInspectResponse, name: &str) -> bool {
    container.name.as_deref().map(|own| own.trim_start_matches('/')) == Some(name)
}
