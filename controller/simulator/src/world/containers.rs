//! What the calls do to containers and networks of the simulated engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use composed_core::engine::{ActionContext, EngineError};
use composed_core::model::{Health, InFlight, JoinedNamespace, PortHolder, Probe, Propagation, Replica, State};
use composed_core::plan::action::{Blueprint, Target};
use crd_schema::{ContainerId, MountKind, NetworkName, VolumeName};
use jiff::Timestamp;

use super::World;
use crate::container::{Behaviour, Container};

impl World {
    pub(super) fn create(
        &mut self,
        blueprint: &Blueprint,
        context: &ActionContext,
        now: Timestamp,
    ) -> Result<(), EngineError> {
        if let Some(other) = self.containers.named(&blueprint.name) {
            let same = other.ours
                && other.replica.service == blueprint.service
                && (other.hook, other.replica.number) == (blueprint.hook, blueprint.number);
            let message = format!("the container name /{} is already in use", blueprint.name);
            return Err(if same {
                EngineError::Stale(message)
            } else {
                EngineError::Rejected { message, name_taken: true }
            });
        }
        let image = blueprint.image.clone().unwrap_or_else(|| self.id_of(&blueprint.spec.image));
        let Some(behaviour) = self.behaviour_of(&image).cloned() else {
            return Err(EngineError::Stale(format!("no such image: {image}")));
        };
        for (name, _) in context.networks.values() {
            if !self.networks.contains_key(name) {
                return Err(EngineError::Stale(format!("network {name} not found")));
            }
        }
        self.insert(blueprint, behaviour, true, now);
        Ok(())
    }

    pub(super) fn insert(&mut self, blueprint: &Blueprint, behaviour: Behaviour, ours: bool, now: Timestamp) {
        self.next_id += 1;
        let id = ContainerId::new(format!("{:064x}", self.next_id));
        let ports = blueprint.spec.expose.iter().map(|port| (format!("{port}/tcp"), Vec::new()));
        let replica = Replica {
            id: id.clone(),
            name: blueprint.name.clone(),
            number: blueprint.number,
            service: blueprint.service.clone(),
            revision: blueprint.revision.clone(),
            generation: blueprint.generation,
            image: blueprint.image.clone().unwrap_or_else(|| self.id_of(&blueprint.spec.image)),
            image_name: blueprint.spec.image.clone(),
            created_at: now,
            state: State::Created,
            started_at: None,
            restart_count: 0,
            restarts: !matches!(blueprint.spec.engine_restart(), None | Some(crd_schema::RestartPolicy::No)),
            health: Health::None,
            probe: Probe::None,
            in_flight: InFlight::Unknown,
            propagation: Propagation::Unfollowed,
            busy_with: None,
            busy_until: None,
            pre_stop_failure: None,
            pre_stop_done: false,
            volumes: volumes(blueprint, &id),
            post_start: None,
            data: BTreeSet::new(),
            joined: shares(blueprint),
            stopped_externally: false,
            created_by: None,
            compose: None,
            specification: None,
            failed_check: None,
            output: Vec::new(),
            out_of_memory: false,
            addresses: BTreeMap::from([(
                NetworkName::new("default"),
                format!("10.0.{}.{}", self.next_id / 250, self.next_id % 250 + 2),
            )]),
            ports: ports.collect(),
            pid: 0,
        };
        let container = Container {
            replica,
            spec: Arc::clone(&blueprint.spec),
            behaviour,
            stops_at: None,
            hooks_end_at: None,
            post_start_ends_at: None,
            hook: blueprint.hook,
            ended_at: None,
            ours,
            told: None,
            shown: None,
        };
        self.containers.insert(container);
    }

    pub(super) fn start(&mut self, id: &ContainerId, now: Timestamp) -> Result<(), EngineError> {
        let owners = self.containers.get(id).map(|one| one.replica.joined.clone()).unwrap_or_default();
        let runs = |id: &ContainerId| {
            let state = self.containers.get(id).map(|one| one.replica.state);
            matches!(state, Some(State::Running | State::Paused))
        };
        let restarts =
            |id: &ContainerId| self.containers.get(id).is_some_and(|one| one.replica.state == State::Restarting);
        let idle = owners.into_iter().map(|owner| owner.id).find(|id| !runs(id));
        let waits = idle.as_ref().is_some_and(restarts);
        let held = self.host_ports();
        let container = self.find(id)?;
        let wanted = container.spec.of_replicas().ports.clone();
        let taken = wanted.iter().find(|port| held.iter().any(|one| one.holds(port))).and_then(|port| port.published);
        if container.hook.is_some() && container.replica.state != State::Created {
            return Err(EngineError::Stale(format!("{} was started before", container.replica.name)));
        }
        if container.behaviour.unstartable {
            let message = "OCI runtime create failed: exec: \"/app\": no such file or directory".to_owned();
            return Err(EngineError::Rejected { message, name_taken: false });
        }
        if let Some(id) = idle.as_ref().filter(|_| waits) {
            let message = format!("Container {id} is restarting, wait until the container is running");
            return Err(EngineError::Stale(message));
        }
        if let Some(id) = idle {
            return Err(EngineError::Stale(format!("cannot join network of a non running container: {id}")));
        }
        if !container.replica.state.is_live() {
            if let Some(port) = taken {
                let message = format!("Bind for 0.0.0.0:{port} failed: port is already allocated");
                return Err(EngineError::Rejected { message, name_taken: false });
            }
            container.replica.state = State::Running;
            container.replica.started_at = Some(now);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &ContainerId) -> Result<(), EngineError> {
        if self.find(id)?.replica.state.is_live() {
            return Err(EngineError::Stale("cannot remove a running container".to_owned()));
        }
        self.containers.remove(id);
        Ok(())
    }

    pub(super) fn rename(&mut self, id: &ContainerId, to: &str) -> Result<(), EngineError> {
        if let Some(other) = self.containers.named(to).filter(|other| other.replica.id != *id) {
            if other.ours {
                return Err(EngineError::Stale(format!("another of ours is named {to}")));
            }
            return Err(EngineError::Rejected {
                message: format!("the container name /{to} is already in use"),
                name_taken: true,
            });
        }
        self.find(id)?;
        self.containers.rename(id, to);
        Ok(())
    }

    /// The ports of the host that containers have.
    pub(super) fn host_ports(&self) -> Vec<PortHolder> {
        let live = self.containers.values().filter(|one| one.replica.state.is_live());
        let held = live.flat_map(|one| {
            let ports = one.spec.of_replicas().ports.clone();
            ports.into_iter().filter_map(move |port| {
                Some(PortHolder {
                    port: port.published?,
                    protocol: port.protocol,
                    address: port.host_ip.unwrap_or_default(),
                    id: one.replica.id.clone(),
                    container: one.replica.name.clone(),
                    service: one.ours.then(|| one.replica.service.clone()),
                })
            })
        });
        held.collect()
    }

    /// Whether a container has this name.
    pub fn is_named(&self, id: &ContainerId, name: &str) -> bool {
        self.containers.get(id).is_some_and(|one| one.replica.name == name)
    }

    pub(super) fn remove_network(&mut self, name: &NetworkName) -> Result<(), EngineError> {
        if self.networks.get(name) == Some(&None) {
            let message = format!("network {name} is not ours");
            return Err(EngineError::Rejected { message, name_taken: false });
        }
        let used = self.containers.values().any(|c| name.as_str() == format!("{}_default", c.replica.service.project));
        if used {
            return Err(EngineError::Stale(format!("network {name} has active endpoints")));
        }
        self.networks.remove(name);
        Ok(())
    }

    pub(super) fn with(&mut self, id: &ContainerId, change: impl FnOnce(&mut Container)) -> Result<(), EngineError> {
        self.find(id).map(change)
    }

    pub(super) fn find(&mut self, id: &ContainerId) -> Result<&mut Container, EngineError> {
        let found = self.containers.get_mut(id).filter(|container| container.ours);
        found.ok_or_else(|| EngineError::Stale(format!("no such container: {id}")))
    }
}

/// Whose namespaces a new container joins.
fn shares(blueprint: &Blueprint) -> Vec<JoinedNamespace> {
    let owner = |(service, target): (&String, &Target)| JoinedNamespace {
        id: target.id.clone(),
        service: service.clone(),
        since: None,
    };
    blueprint.joins.iter().map(owner).collect()
}

/// The anonymous volumes of a new container: those that it is given, and new ones, named after it.
fn volumes(blueprint: &Blueprint, id: &ContainerId) -> BTreeMap<String, VolumeName> {
    let mounts = blueprint.spec.volumes.iter();
    let nameless = mounts.filter(|mount| mount.kind == MountKind::Volume && mount.source.is_none());
    let given =
        |target: &String| blueprint.volumes.get(target).cloned().unwrap_or_else(|| VolumeName::new(id.as_str()));
    nameless.map(|mount| (mount.target.clone(), given(&mount.target))).collect()
}
