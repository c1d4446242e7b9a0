//! The simulated world: a state machine with the engine facts that the controller meets. No clock of its own, no async:
//! it is told the time and says when something would change next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crd_schema::{MountKind, ServiceSpec};
use jiff::Timestamp;

use super::container::{Behaviour, Container, Load};
use super::crowd::Crowd;
use crate::engine::{Claim, Context, EngineError, Scope};
use crate::model::{
    Comparison, Health, ImageFacts, ImageState, InFlight, Key, Listed, Listing, Owner, Probe, Replica, Rotation,
    ServiceName, Snapshot, State,
};
use crate::plan::action::{Blueprint, Target, Verb};

/// The whole simulated engine.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Containers by id.
    pub containers: Crowd,
    /// Images here, with their behaviour.
    pub images: BTreeMap<String, Behaviour>,
    /// What tags stand for that were moved, by name.
    pub tags: BTreeMap<String, String>,
    /// The images that have an id of their own.
    pub ids: BTreeMap<String, Behaviour>,
    /// Those of them that were pulled.
    pub pulled: BTreeSet<String>,
    /// What pulls brought, by the name that was pulled.
    pub brought: BTreeMap<String, BTreeSet<String>>,
    /// What the registry's tags stand for by now, with the ids that the images get here; others have their name for an id.
    pub offers: BTreeMap<String, (String, Behaviour)>,
    /// Images that a registry has: pulled in so long.
    pub registry: BTreeMap<String, (Duration, Behaviour)>,
    /// How an image behaves that `registry` does not name; `None`: there is no such image.
    pub anything: Option<Behaviour>,
    /// Pulls under way or failed.
    pub pulls: BTreeMap<String, Pull>,
    /// Networks; true for ours.
    pub networks: BTreeMap<String, Option<String>>,
    /// Volumes; true for ours.
    pub volumes: BTreeMap<String, Option<String>>,
    /// Who may act.
    pub holder: Option<String>,
    /// Every mutating call that took effect: the verb, for tests.
    pub log: Vec<String>,
    /// A pull has ended since this was last taken: whoever waits for it is not known here.
    pub(super) pull_ended: bool,
    next_id: u64,
}

/// A pull.
#[derive(Clone, Debug)]
pub struct Pull {
    since: Timestamp,
    ends_at: Option<Timestamp>,
    failures: u32,
}

impl World {
    /// Brings the world to `now`; returns the keys of all that changed visibly.
    pub fn advance(&mut self, now: Timestamp) -> Vec<Key> {
        let changed = self.containers.advance(now);
        let mut moved = Vec::new();
        for (image, pull) in &mut self.pulls {
            if pull.ends_at.is_some_and(|end| now >= end) {
                pull.ends_at = None;
                if let Some((id, behaviour)) = self.offers.get(image) {
                    moved.push((image.clone(), id.clone(), behaviour.clone()));
                    pull.failures = 0;
                    self.pull_ended = true;
                    continue;
                }
                match self.registry.get(image).map(|(_, behaviour)| behaviour).or(self.anything.as_ref()) {
                    Some(behaviour) => {
                        if self.images.insert(image.clone(), behaviour.clone()).is_none() {
                            let id = self.tags.get(image).cloned().unwrap_or_else(|| format!("sha256:{image}"));
                            self.brought.entry(image.clone()).or_default().insert(id);
                        }
                        pull.failures = 0;
                    }
                    None => pull.failures += 1,
                }
                self.pull_ended = true;
            }
        }
        for (name, id, behaviour) in moved {
            if !self.ids.contains_key(&id) {
                self.brought.entry(name.clone()).or_default().insert(id.clone());
            }
            self.tag(&name, &id, behaviour);
            self.pulled.insert(id);
        }
        changed.into_iter().map(Key::Service).collect()
    }

    /// When something changes by itself next, after `now`.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let pulls = self.pulls.values().filter_map(|pull| pull.ends_at).filter(|at| *at > now);
        pulls.chain(self.containers.next_change()).min()
    }

    /// The index.
    pub fn list(&self, compose: &BTreeSet<ServiceName>) -> Listing {
        let counts = |one: &&Container| one.replica.compose.is_none() || compose.contains(&one.replica.service);
        let mut containers: BTreeMap<ServiceName, Vec<Listed>> = BTreeMap::new();
        for service in self.containers.services() {
            let listed = self.containers.of(service).filter(counts).map(|one| Listed {
                id: one.replica.id.clone(),
                name: one.replica.name.clone(),
                compose: one.replica.compose.is_some(),
                hook: one.run().map(|run| run.kind),
            });
            let listed: Vec<_> = listed.collect();
            if !listed.is_empty() {
                containers.insert(service.clone(), listed);
            }
        }
        Listing {
            owned: containers.keys().cloned().collect(),
            containers,
            networks: self.networks.clone(),
            volumes: self.volumes.clone(),
            // Here every container says who has made it.
            foreign: Vec::new(),
        }
    }

    /// What some services of a listing are like at `now`.
    pub fn observe(&self, scope: &Scope, listing: &Arc<Listing>, now: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot {
            listing: Arc::clone(listing),
            images: scope.images.iter().map(|image| (image.clone(), self.image(image))).collect(),
            facts: scope.images.iter().map(|image| (image.clone(), self.facts(image))).collect(),
            ..Snapshot::default()
        };
        let all: Vec<_> = match &scope.services {
            Some(services) => services.iter().filter_map(|service| listing.containers.get(service)).collect(),
            None => listing.containers.values().collect(),
        };
        // What has gone since the list was made is not there.
        for container in all.into_iter().flatten().filter_map(|one| self.containers.get(&one.id)) {
            let service = &container.replica.service;
            if let Some(run) = container.run() {
                snapshot.hooks.entry(service.clone()).or_default().push(run);
                continue;
            }
            let shares = container.replica.shares.iter().map(|owner| self.owner(owner)).collect();
            let seen = Replica {
                shares,
                health: container.health(now),
                probe: container.probe(now),
                busy_with: container.busy_with(),
                compose: container.replica.compose.as_ref().map(|_| compare(container, scope)),
                ..container.replica.clone()
            };
            snapshot.replicas.entry(service.clone()).or_default().push(seen);
        }
        snapshot
    }

    /// A container whose namespaces another has joined, as it is now.
    fn owner(&self, owner: &Owner) -> Owner {
        let since = self.containers.get(&owner.id).and_then(|one| match one.replica.state {
            State::Running | State::Paused => one.replica.started_at,
            State::Restarting => one.ended_at.max(one.replica.started_at),
            _ => None,
        });
        Owner { since, ..owner.clone() }
    }

    /// An image that came from a registry has a digest there that is its id.
    fn facts(&self, image: &str) -> ImageFacts {
        let name = image.rsplit_once(':').map_or(image, |(name, _)| name);
        let pulled = Some(self.id_of(image)).filter(|id| self.pulled.contains(id));
        let failed = self.pulls.get(image).filter(|pull| pull.ends_at.is_none() && pull.failures > 0);
        ImageFacts {
            digests: pulled.map(|id| format!("{name}@{id}")).into_iter().collect(),
            failure: failed.map(|_| format!("manifest for {image} not found")),
            progress: None,
            brought: self.brought.get(image).cloned().unwrap_or_default(),
        }
    }

    fn image(&self, image: &str) -> ImageState {
        match self.pulls.get(image) {
            Some(pull) if pull.ends_at.is_some() => ImageState::Pulling(pull.since),
            Some(pull) if pull.failures > 0 && !self.images.contains_key(image) => ImageState::PullFailed {
                at: pull.since,
                message: format!("manifest for {image} not found"),
                count: pull.failures,
            },
            _ if self.images.contains_key(image) => ImageState::Present(self.id_of(image)),
            _ if self.behaviour_of(image).is_some() => ImageState::Present(image.to_owned()),
            _ => ImageState::Absent,
        }
    }

    fn id_of(&self, name: &str) -> String {
        self.tags.get(name).cloned().unwrap_or_else(|| format!("sha256:{name}"))
    }

    fn behaviour_of(&self, id: &str) -> Option<&Behaviour> {
        let named = id.strip_prefix("sha256:").filter(|name| !self.tags.contains_key(*name));
        self.ids.get(id).or_else(|| self.images.get(named?))
    }

    /// Lets a tag stand for the image `id`, which behaves like this. What it stood for stays.
    pub fn tag(&mut self, name: &str, id: &str, behaviour: Behaviour) {
        let before = self.id_of(name);
        if let Some(image) = self.images.insert(name.to_owned(), behaviour.clone()) {
            self.ids.entry(before).or_insert(image);
        }
        self.ids.insert(id.to_owned(), behaviour);
        self.tags.insert(name.to_owned(), id.to_owned());
        self.pull_ended = true;
    }

    /// Removes an image that was brought, unless a container is made of it.
    fn let_go(&mut self, id: &str) {
        for brought in self.brought.values_mut() {
            brought.remove(id);
        }
        if self.containers.values().any(|container| container.replica.image == id) {
            return;
        }
        let names: Vec<_> = self.images.keys().filter(|name| self.id_of(name) == id).cloned().collect();
        for name in names {
            self.images.remove(&name);
            self.tags.remove(&name);
        }
        self.ids.remove(id);
        self.pulled.remove(id);
    }

    /// Requests in flight on a replica that left traffic at `since`. As long as a proxy sends it requests, there are some,
    /// unless they are rare.
    pub fn in_flight(&self, id: &str, since: Timestamp, now: Timestamp) -> InFlight {
        match self.containers.get(id) {
            Some(container) if now < since + container.behaviour.busy_for => InFlight::Count(1),
            Some(one) if one.behaviour.lag.is_some() && one.behaviour.load == Load::Steady && one.in_rotation(now) => {
                InFlight::Count(1)
            }
            Some(_) => InFlight::Count(0),
            None => InFlight::Unknown,
        }
    }

    /// Tells the proxy of a replica whether it serves; says what the proxy is known to have taken in.
    pub fn tell(&mut self, id: &str, serves: bool, withdrawn: bool, now: Timestamp) -> Rotation {
        let Some(container) = self.containers.get_mut(id) else { return Rotation::Unfollowed };
        let Some(lag) = container.behaviour.lag else { return Rotation::Unfollowed };
        let told = container.told.map(|(serves, _)| serves);
        // Of one that never served there is nothing to take back.
        if (serves && told != Some(true)) || (withdrawn && told == Some(true)) {
            container.told = Some((serves, now));
        }
        let until = match container.told {
            Some((told, since)) if told != withdrawn => {
                since + container.behaviour.says_left.filter(|_| withdrawn).unwrap_or(lag)
            }
            None if withdrawn => return Rotation::Settled,
            _ => now + lag,
        };
        Rotation::Pending { who: "the proxy".to_owned(), until }
    }

    /// One mutating call at `now`.
    pub fn apply(&mut self, verb: &Verb, context: &Context, now: Timestamp) -> Result<(), EngineError> {
        let before = self.log.len();
        self.log.push(verb.to_string());
        let done = match verb {
            Verb::Withdraw(_)
            | Verb::Readmit(_)
            | Verb::Adopt { .. }
            | Verb::Conclude { .. }
            | Verb::EndHook { .. } => Ok(()),
            // One is under way: nothing more is begun.
            Verb::Pull { image, .. } if self.pulls.get(image).is_some_and(|pull| pull.ends_at.is_some()) => {
                self.log.truncate(before);
                Ok(())
            }
            Verb::Pull { image, .. } => {
                let takes = self.registry.get(image).map_or(Duration::from_secs(1), |(takes, _)| *takes);
                let failures = self.pulls.get(image).map_or(0, |pull| pull.failures);
                let pull = Pull { since: now, ends_at: Some(now + takes), failures };
                self.pulls.insert(image.clone(), pull);
                Ok(())
            }
            Verb::RemoveImage { id } => {
                self.let_go(id);
                Ok(())
            }
            Verb::Create(blueprint) => self.create(blueprint, context, now),
            Verb::Start(target) => self.start(&target.id, now),
            Verb::PostStart { target, .. } => {
                self.with(&target.id, |c| c.post_start_ends_at = Some(now + Duration::from_millis(50)))
            }
            Verb::PreStop { target, .. } => {
                self.with(&target.id, |c| c.hooks_end_at = Some(now + Duration::from_millis(50)))
            }
            Verb::DisableRestart(target) => self.with(&target.id, |c| c.replica.restarts = false),
            Verb::Stop { target, .. } => self.with(&target.id, |c| c.stop(now)),
            Verb::Remove(target) => self.remove(&target.id),
            Verb::Rename { target, to } => self.rename(&target.id, to),
            Verb::CreateNetwork { name, .. } => {
                self.networks.entry(name.clone()).or_insert_with(|| Some(context.project.clone()));
                Ok(())
            }
            Verb::CreateVolume { name, .. } => {
                self.volumes.entry(name.clone()).or_insert_with(|| Some(context.project.clone()));
                Ok(())
            }
            Verb::RemoveNetwork { name } => self.remove_network(name),
        };
        if done.is_err() {
            self.log.truncate(before);
        }
        done
    }

    /// Takes the right to act.
    pub fn claim(&mut self, who: &str) -> Claim {
        match &self.holder {
            Some(holder) if holder != who => Claim::HeldBy(holder.clone()),
            _ => {
                self.holder = Some(who.to_owned());
                Claim::Held
            }
        }
    }

    /// Ends a container's process behind the controller's back.
    pub fn kill(&mut self, id: &str, code: i64, now: Timestamp) {
        if let Some(container) = self.containers.get_mut(id) {
            container.exit(code, now);
        }
    }

    /// A container that Docker Compose made of a specification, running since then; its proxy, if there is one, knows it.
    pub fn add_compose(&mut self, service: &ServiceName, number: u32, spec: &ServiceSpec, since: Timestamp) {
        let name = service.container(number);
        let blueprint = Blueprint {
            service: service.clone(),
            hook: None,
            number,
            name: name.clone(),
            revision: "compose-0123456789".to_owned(),
            generation: 0,
            spec: spec.clone(),
            volumes: BTreeMap::new(),
            joins: BTreeMap::new(),
            image: None,
        };
        let behaviour = self.images.get(&spec.image).cloned().unwrap_or_default();
        self.insert(&blueprint, behaviour, true, since);
        let id = self.containers.named(&name).map(|one| one.replica.id.clone());
        if let Some(container) = id.and_then(|id| self.containers.get_mut(&id)) {
            container.replica.compose = Some(Comparison::Unknown);
            container.replica.maker = Some("docker compose".to_owned());
            container.replica.state = State::Running;
            container.replica.started_at = Some(since);
            container.told = container.behaviour.lag.map(|_| (true, since));
        }
    }

    /// A container of somebody else.
    pub fn add_foreign(&mut self, name: &str, now: Timestamp) {
        let service = ServiceName::new("foreign", name);
        let blueprint = Blueprint {
            service,
            hook: None,
            number: 1,
            name: name.to_owned(),
            revision: String::new(),
            generation: 0,
            spec: ServiceSpec::default(),
            volumes: BTreeMap::new(),
            joins: BTreeMap::new(),
            image: None,
        };
        self.insert(&blueprint, Behaviour::default(), false, now);
    }

    fn create(&mut self, blueprint: &Blueprint, context: &Context, now: Timestamp) -> Result<(), EngineError> {
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

    fn insert(&mut self, blueprint: &Blueprint, behaviour: Behaviour, ours: bool, now: Timestamp) {
        self.next_id += 1;
        let id = format!("{:064x}", self.next_id);
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
            restarts: !matches!(blueprint.spec.restart, None | Some(crd_schema::RestartPolicy::No)),
            health: Health::None,
            probe: Probe::None,
            in_flight: InFlight::Unknown,
            rotation: Rotation::Unfollowed,
            busy_with: None,
            pre_stop_done: false,
            volumes: volumes(blueprint, &id),
            post_start: None,
            data: BTreeSet::new(),
            shares: shares(blueprint),
            by_hand: false,
            maker: None,
            compose: None,
            addresses: BTreeMap::from([(
                "default".to_owned(),
                format!("10.0.{}.{}", self.next_id / 250, self.next_id % 250 + 2),
            )]),
            ports: ports.collect(),
            pid: 0,
        };
        let container = Container {
            replica,
            spec: blueprint.spec.clone(),
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

    fn start(&mut self, id: &str, now: Timestamp) -> Result<(), EngineError> {
        let owners = self.containers.get(id).map(|one| one.replica.shares.clone()).unwrap_or_default();
        let runs = |id: &str| {
            let state = self.containers.get(id).map(|one| one.replica.state);
            matches!(state, Some(State::Running | State::Paused))
        };
        let restarts = |id: &str| self.containers.get(id).is_some_and(|one| one.replica.state == State::Restarting);
        let idle = owners.into_iter().map(|owner| owner.id).find(|id| !runs(id));
        let waits = idle.as_deref().is_some_and(restarts);
        let container = self.find(id)?;
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
            container.replica.state = State::Running;
            container.replica.started_at = Some(now);
        }
        Ok(())
    }

    fn remove(&mut self, id: &str) -> Result<(), EngineError> {
        if self.find(id)?.replica.state.is_live() {
            return Err(EngineError::Stale("cannot remove a running container".to_owned()));
        }
        self.containers.remove(id);
        Ok(())
    }

    fn rename(&mut self, id: &str, to: &str) -> Result<(), EngineError> {
        if self.containers.named(to).is_some_and(|other| other.replica.id != id) {
            return Err(EngineError::Rejected {
                message: format!("the container name /{to} is already in use"),
                name_taken: true,
            });
        }
        self.find(id)?;
        self.containers.rename(id, to);
        Ok(())
    }

    fn remove_network(&mut self, name: &str) -> Result<(), EngineError> {
        if self.networks.get(name) == Some(&None) {
            let message = format!("network {name} is not ours");
            return Err(EngineError::Rejected { message, name_taken: false });
        }
        let used = self.containers.values().any(|c| name == format!("{}_default", c.replica.service.project));
        if used {
            return Err(EngineError::Stale(format!("network {name} has active endpoints")));
        }
        self.networks.remove(name);
        Ok(())
    }

    fn with(&mut self, id: &str, change: impl FnOnce(&mut Container)) -> Result<(), EngineError> {
        self.find(id).map(change)
    }

    fn find(&mut self, id: &str) -> Result<&mut Container, EngineError> {
        let found = self.containers.get_mut(id).filter(|container| container.ours);
        found.ok_or_else(|| EngineError::Stale(format!("no such container: {id}")))
    }
}

/// How a container that Compose made compares with what is asked for.
fn compare(container: &Container, scope: &Scope) -> Comparison {
    match scope.asked.get(&container.replica.service) {
        None => Comparison::Unknown,
        Some(asked) if asked.spec.revision() == container.spec.revision() => Comparison::Same,
        Some(_) => Comparison::Differs(vec!["image".to_owned()]),
    }
}

/// Whose namespaces a new container joins.
fn shares(blueprint: &Blueprint) -> Vec<Owner> {
    let owner =
        |(service, target): (&String, &Target)| Owner { id: target.id.clone(), service: service.clone(), since: None };
    blueprint.joins.iter().map(owner).collect()
}

/// The anonymous volumes of a new container: those that it is given, and new ones, named after it.
fn volumes(blueprint: &Blueprint, id: &str) -> BTreeMap<String, String> {
    let mounts = blueprint.spec.volumes.iter();
    let nameless = mounts.filter(|mount| mount.kind == MountKind::Volume && mount.source.is_none());
    let given = |target: &String| blueprint.volumes.get(target).cloned().unwrap_or_else(|| id.to_owned());
    nameless.map(|mount| (mount.target.clone(), given(&mount.target))).collect()
}
