//! The index of all our containers, networks and volumes; an inspect of each container that was asked for, and the images.
//! What Docker Compose made of services that are wanted counts, too.
//! Reads only, and remembers nothing that it decides by.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bollard::{
    models::{ContainerInspectResponse, NetworkSettings, PortMap},
    query_parameters::{InspectContainerOptions, ListNetworksOptions, ListVolumesOptions},
};
use composed_core::engine::{EngineError, ObserveRequest};
use composed_core::model::{
    HookKind, HookRun, ImageFacts, ImageState, InFlight, JoinedNamespace, ListedContainer, ListedObjects,
    ListedService, Listing, NetworkTwin, Probe, Propagation, Replica, RunningOperation, ServiceName, Snapshot, State,
};
use crd_schema::{ContainerId, ImageId, ImageRef, NetworkId, NetworkName, Revision, VolumeName};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{
    adopt,
    background::Jobs,
    connect::{Api, reference},
    container_state::{failed_check, failed_run, health, since, state, time},
    errors::{CallOrigin, reaction},
    labels::{self, Labels},
    mounts, oneshot,
    ownership::{Owner as Whose, Ownership, Record},
    parallel::{PARALLEL, each, owned_among},
    seen::InspectCache,
};

/// What an observation needs.
pub(super) struct Observer<'a> {
    /// The engine.
    pub(super) api: &'a Api,
    /// Our instance.
    pub(super) instance: &'a str,
    /// What proves that something is of it.
    pub(super) ownership: &'a Ownership,
    /// What was in flight before the look began: a stop that ends during the look is better reported once too often.
    pub(super) jobs: Jobs,
    /// What to remember for events.
    pub(super) seen: &'a InspectCache,
}

type Images = (BTreeMap<ImageRef, ImageState>, BTreeMap<ImageRef, ImageFacts>);

impl Observer<'_> {
    /// The index.
    pub(super) async fn list(&self, compose: &Arc<BTreeSet<ServiceName>>) -> Result<Listing, EngineError> {
        let record = &*self.ownership.look(self.api).await?;
        let ((containers, foreign), objects) =
            futures_util::try_join!(self.containers(None, compose, record), self.objects(record))?;
        let each = containers.iter().flat_map(|(service, all)| all.iter().map(move |one| (service, one)));
        self.seen.containers(each.map(|(service, one)| (one.id.clone(), service.clone())).collect());
        let owned = containers.keys().cloned().collect();
        Ok(Listing { containers, owned, objects, foreign })
    }

    /// Its part that is about one service.
    pub(super) async fn list_service(
        &self,
        service: &ServiceName,
        compose: &Arc<BTreeSet<ServiceName>>,
    ) -> Result<ListedService, EngineError> {
        let record = &*self.ownership.look(self.api).await?;
        let (mut containers, mut foreign) = self.containers(Some(service), compose, record).await?;
        let containers = containers.remove(service).unwrap_or_default();
        foreign.retain(|one| one.service.as_ref() == Some(service));
        for one in &containers {
            self.seen.container(&one.id, service.clone());
        }
        Ok(ListedService { containers, foreign })
    }

    /// Its part that is about networks and volumes.
    pub(super) async fn list_objects(&self) -> Result<ListedObjects, EngineError> {
        let record = &*self.ownership.look(self.api).await?;
        self.objects(record).await
    }

    async fn objects(&self, record: &Record) -> Result<ListedObjects, EngineError> {
        let ((networks, network_twins), volumes) = futures_util::try_join!(self.networks(record), self.volumes())?;
        Ok(ListedObjects { networks, network_twins, volumes })
    }

    /// What is to be known of some services of a listing, and of images.
    pub(super) async fn look(&self, scope: &ObserveRequest, listing: &Arc<Listing>) -> Result<Snapshot, EngineError> {
        let services = scope.services.as_ref();
        let all: Vec<_> = match services {
            Some(services) => services.iter().filter_map(|service| listing.containers.get_key_value(service)).collect(),
            None => listing.containers.iter().collect(),
        };
        let wanted =
            all.into_iter().flat_map(|(service, all)| all.iter().map(move |one| (service.clone(), one.clone())));
        let (of_hooks, wanted): (Vec<_>, Vec<_>) = wanted.partition(|(_, one)| one.hook.is_some());
        let mut unknown = BTreeMap::new();
        let images = self.images(&scope.images);
        let containers = async {
            let hooks = each(of_hooks, &mut unknown, |_, one| self.hook(one)).await;
            let replicas = each(wanted, &mut unknown, |service, one| self.replica(service, one, scope)).await;
            Ok::<_, EngineError>((hooks, replicas))
        };
        let ((images, facts), (hooks, mut replicas)) = futures_util::try_join!(images, containers)?;
        let asked = owned_among(services, &listing.owned);
        if asked > 1 && unknown.len() == asked {
            // Not one of them answers: that is the engine.
            let why = unknown.into_values().next().unwrap_or_default();
            return Err(EngineError::Unavailable(why));
        }
        for group in replicas.values_mut() {
            group.sort_by(|a, b| (a.number, &a.name, &a.id).cmp(&(b.number, &b.name, &b.id)));
        }
        let host_ports = if scope.host_ports { self.host_ports().await? } else { Vec::new() };
        Ok(Snapshot { listing: Arc::clone(listing), replicas, hooks, images, facts, host_ports, unknown })
    }

    /// Few at a time have any.
    async fn hook(&self, one: ListedContainer) -> Result<Option<HookRun>, EngineError> {
        let found = inspect(self.api, one.id.as_str()).await?;
        let Some((kind, container)) = one.hook.zip(found) else { return Ok(None) };
        let mut run = hook_run(one.id, kind, container, &self.jobs);
        if matches!(run.state, State::Exited(_)) {
            run.output = oneshot::output(self.api, self.seen, &run.id, "").await;
        }
        Ok(Some(run))
    }

    /// `None` when it went away since the list.
    async fn replica(
        &self,
        service: ServiceName,
        listed: ListedContainer,
        scope: &ObserveRequest,
    ) -> Result<Option<Replica>, EngineError> {
        let Some(container) = inspect(self.api, listed.id.as_str()).await? else { return Ok(None) };
        let (owners, addresses) = self.owners(&container, &service).await?;
        let compared = match scope.desired.get(&service) {
            asked if listed.compose => Some(adopt::compared(self.api, &container, &service, asked, &owners).await?),
            _ => None,
        };
        let (compose, specification) =
            compared.map_or((None, None), |both| (Some(both.comparison), both.specification));
        let failed = failed_run(container.state.as_ref(), container.restart_count);
        let output = match failed {
            Some(run) => oneshot::output(self.api, self.seen, &listed.id, &run).await,
            None => Vec::new(),
        };
        let replica = replica(service, listed, container, &self.jobs);
        let mut replica = Replica { compose, specification, joined: owners, output, ..replica };
        // Its network is the other's, with the addresses.
        replica.addresses.extend(addresses);
        Ok(Some(replica))
    }

    /// The containers whose namespaces one has joined, and the addresses that it has from them.
    async fn owners(
        &self,
        container: &ContainerInspectResponse,
        service: &ServiceName,
    ) -> Result<(Vec<JoinedNamespace>, BTreeMap<NetworkName, String>), EngineError> {
        let mut owners: Vec<JoinedNamespace> = Vec::new();
        let mut addresses = BTreeMap::new();
        let host = container.host_config.as_ref();
        let network = host.and_then(|host| host.network_mode.as_deref());
        let others = host.and_then(|host| host.ipc_mode.as_deref()).into_iter();
        let others = others.chain(host.and_then(|host| host.pid_mode.as_deref()));
        for id in network.into_iter().chain(others).filter_map(|mode| mode.strip_prefix("container:")) {
            if owners.iter().any(|owner| owner.id == id) {
                continue;
            }
            let mut owner = JoinedNamespace { id: ContainerId::new(id), service: String::new(), since: None };
            if let Some(found) = inspect(self.api, id).await? {
                let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
                let here = labels.get(labels::PROJECT) == Some(&service.project);
                owner.service = labels.get(labels::COMPOSE_SERVICE).filter(|_| here).cloned().unwrap_or_default();
                owner.since = since(found.state.as_ref());
                if network.is_some_and(|mode| mode.ends_with(id)) {
                    addresses = addresses_of(found.network_settings.unwrap_or_default());
                }
            }
            owners.push(owner);
        }
        Ok((owners, addresses))
    }

    async fn images(&self, names: &BTreeSet<ImageRef>) -> Result<Images, EngineError> {
        let all: Vec<_> = stream::iter(names.iter().cloned())
            .map(|name| async move {
                let (id, digests) = self.image(&name).await?.unzip();
                let facts = ImageFacts {
                    digests: digests.unwrap_or_default(),
                    failure: self.jobs.failure(&name),
                    progress: self.jobs.progress(&name),
                    pulled_images: self.jobs.brought(&name),
                };
                Ok::<_, EngineError>((name.clone(), self.jobs.image(&name, id), facts))
            })
            .buffer_unordered(PARALLEL)
            .try_collect()
            .await?;
        let mut images = Images::default();
        for (name, state, facts) in all {
            images.0.insert(name.clone(), state);
            images.1.insert(name, facts);
        }
        Ok(images)
    }

    /// Its id, and where it came from.
    async fn image(&self, name: &ImageRef) -> Result<Option<(ImageId, Vec<String>)>, EngineError> {
        // What is no reference cannot be there; a pull will say so in the engine's words.
        let Ok(path) = reference(name.as_str()) else { return Ok(None) };
        match self.api.answer(self.api.client.inspect_image(path)).await? {
            Ok(image) => Ok(image.id.map(|id| (ImageId::new(id), image.repo_digests.unwrap_or_default()))),
            Err(error) => match reaction(&error, CallOrigin::Plainly) {
                EngineError::Stale(_) | EngineError::Rejected { .. } => Ok(None),
                unanswered @ (EngineError::Unavailable(_) | EngineError::ServerError(_)) => Err(unanswered),
            },
        }
    }

    /// The networks by name, and those of ours that have the name of an older one.
    async fn networks(
        &self,
        record: &Record,
    ) -> Result<(BTreeMap<NetworkName, Option<String>>, BTreeMap<NetworkId, NetworkTwin>), EngineError> {
        let mut list = self.api.call(self.api.client.list_networks(None::<ListNetworksOptions>)).await?;
        list.sort_by(|a, b| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        let (mut networks, mut twins) = (BTreeMap::new(), BTreeMap::new());
        for one in list {
            let (Some(name), id) = (one.name.map(NetworkName::new), NetworkId::new(one.id.unwrap_or_default())) else {
                continue;
            };
            let proven = |labels: &Labels| record.owner_of_network(self.instance, &id, &name, labels) == Whose::Us;
            let labels = one.labels.filter(proven);
            let project = self.object(name.as_str(), labels.as_ref());
            match (networks.contains_key(&name), project) {
                (false, project) => drop(networks.insert(name, project)),
                (true, Some(project)) => drop(twins.insert(id, NetworkTwin { name, project })),
                (true, None) => {}
            }
        }
        Ok((networks, twins))
    }

    async fn volumes(&self) -> Result<BTreeMap<VolumeName, Option<String>>, EngineError> {
        let list = self.api.call(self.api.client.list_volumes(None::<ListVolumesOptions>)).await?;
        let all = list.volumes.unwrap_or_default();
        let ours = all.into_iter().map(|one| (self.object(&one.name, Some(&one.labels)), one.name));
        Ok(ours.map(|(project, name)| (VolumeName::new(name), project)).collect())
    }

    fn object(&self, name: &str, labels: Option<&Labels>) -> Option<String> {
        let ours = labels.filter(|labels| labels::are_ours(Some(labels), self.instance));
        let project = ours.and_then(|labels| labels.get(labels::PROJECT));
        let project = project.filter(|project| crd_schema::is_project_name(project)).cloned();
        if let Some(project) = &project {
            self.seen.object(name, project);
        }
        project
    }
}

/// A container in full; `None` when there is none of that id or name.
pub(super) async fn inspect(api: &Api, id: &str) -> Result<Option<ContainerInspectResponse>, EngineError> {
    let id = super::connect::segment(id)?;
    match api.call(api.client.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(container) => Ok(Some(container)),
        Err(EngineError::Stale(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn hook_run(id: ContainerId, kind: HookKind, container: ContainerInspectResponse, jobs: &Jobs) -> HookRun {
    let labels = container.config.and_then(|config| config.labels).unwrap_or_default();
    let current = container.state.as_ref();
    HookRun {
        name: container.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        kind,
        revision: labels.get(labels::REVISION).map(Revision::new).unwrap_or_default(),
        generation: labels.get(labels::GENERATION).and_then(|text| text.parse().ok()).unwrap_or(0),
        attempt: labels::number(&labels),
        state: state(current),
        started_at: time(current.and_then(|state| state.started_at.as_deref())),
        ended_at: time(current.and_then(|state| state.finished_at.as_deref())),
        out_of_memory: current.and_then(|state| state.oom_killed).unwrap_or(false),
        stopping: jobs.busy_with(&id) == Some(RunningOperation::Stop),
        stopped_externally: jobs.by_hand(&id, state(current).is_live()),
        output: Vec::new(),
        id,
    }
}

fn replica(service: ServiceName, listed: ListedContainer, container: ContainerInspectResponse, jobs: &Jobs) -> Replica {
    let config = container.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let network = container.network_settings.unwrap_or_default();
    let policy = container.host_config.and_then(|host| host.restart_policy).and_then(|policy| policy.name);
    let current = container.state.as_ref();
    let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
    let bound = network.ports.clone().unwrap_or_default();
    Replica {
        name: container.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned(),
        number: labels::number(&labels),
        revision: if listed.compose {
            labels::revision_of_compose(&labels)
        } else {
            Revision::new(label(labels::REVISION))
        },
        generation: label(labels::GENERATION).parse().unwrap_or(0),
        image: ImageId::new(container.image.unwrap_or_default()),
        image_name: ImageRef::new(config.image.unwrap_or_default()),
        created_at: time(container.created.as_deref()).unwrap_or(Timestamp::UNIX_EPOCH),
        state: state(current),
        started_at: time(current.and_then(|state| state.started_at.as_deref())),
        restart_count: container.restart_count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0),
        restarts: policy.is_some_and(|name| !matches!(name.to_string().as_str(), "" | "no")),
        health: health(current),
        probe: Probe::None,
        in_flight: InFlight::Unknown,
        propagation: Propagation::Unfollowed,
        busy_with: jobs.busy_with(&listed.id),
        busy_until: jobs.busy_until(&listed.id),
        pre_stop_done: jobs.hooks_done(&listed.id),
        pre_stop_failure: jobs.pre_stop_failure(&listed.id),
        post_start: jobs.post_start(&listed.id),
        addresses: addresses_of(network),
        ports: ports(config.exposed_ports.unwrap_or_default(), bound),
        pid: current.and_then(|state| state.pid).and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        volumes: container.mounts.iter().flatten().filter_map(mounts::anonymous).collect(),
        joined: Vec::new(),
        data: config.volumes.unwrap_or_default().into_iter().collect(),
        stopped_externally: jobs.by_hand(&listed.id, state(current).is_live()),
        created_by: listed.compose.then(|| labels::maker(&labels)),
        compose: None,
        specification: None,
        failed_check: failed_check(current),
        output: Vec::new(),
        out_of_memory: current.and_then(|state| state.oom_killed).unwrap_or(false),
        service,
        id: listed.id,
    }
}

fn addresses_of(settings: NetworkSettings) -> BTreeMap<NetworkName, String> {
    let each = settings.networks.unwrap_or_default().into_iter().filter_map(|(name, endpoint)| {
        let address = [endpoint.ip_address, endpoint.global_ipv6_address].into_iter().flatten();
        Some((NetworkName::new(name), address.into_iter().find(|address| !address.is_empty())?))
    });
    each.collect()
}

fn ports(exposed: Vec<String>, bound: PortMap) -> BTreeMap<String, Vec<String>> {
    let mut ports: BTreeMap<String, Vec<String>> = exposed.into_iter().map(|port| (port, Vec::new())).collect();
    let bound: BTreeMap<_, _> = bound.into_iter().collect();
    for (port, bindings) in bound {
        let addresses = bindings.unwrap_or_default().into_iter().filter_map(|binding| {
            let host_port = binding.host_port.filter(|port| !port.is_empty())?;
            let host = binding.host_ip.filter(|host| !host.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            let bracketed = if host.contains(':') { format!("[{host}]") } else { host };
            Some(format!("{bracketed}:{host_port}"))
        });
        ports.entry(port).or_default().extend(addresses);
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_exposed_ports_are_there_with_the_addresses_they_are_published_at() {
        let bound: PortMap = serde_json::from_value(serde_json::json!({
            "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}],
            "53/udp": null,
        }))
        .expect("a port map");
        let ports = ports(vec!["8080/tcp".to_owned(), "9090/tcp".to_owned()], bound);
        let expected = [("53/udp", vec![]), ("8080/tcp", vec!["127.0.0.1:80", "[::]:80"]), ("9090/tcp", vec![])];
        let expected = expected.map(|(port, all)| (port.to_owned(), all.into_iter().map(str::to_owned).collect()));
        assert_eq!(ports, BTreeMap::from(expected));
    }
}
