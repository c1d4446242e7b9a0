//! The simulated world: a state machine with the engine facts that the controller meets. No clock of its own, no async:
//! it is told the time and says when something would change next.

mod containers;
mod listing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use composed_core::engine::{ActionContext, EngineError, LeaseHolder, LeaseState, ObserveRequest};
use composed_core::model::{
    Comparison, ImageFacts, ImageState, InFlight, JoinedNamespace, Key, Listing, Propagation, Replica, ServiceName,
    Snapshot, State,
};
use composed_core::plan::action::{Blueprint, Verb};
use crd_schema::{ContainerId, ImageId, ImageRef, NetworkName, Revision, ServiceSpec, VolumeName};
use jiff::Timestamp;

use super::container::{Behaviour, Container, Load};
use super::crowd::Crowd;

/// The whole simulated engine.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// Containers by id.
    pub containers: Crowd,
    /// Images here, with their behaviour.
    pub images: BTreeMap<ImageRef, Behaviour>,
    /// What tags stand for that were moved, by name.
    pub tags: BTreeMap<ImageRef, ImageId>,
    /// The images that have an id of their own.
    pub ids: BTreeMap<ImageId, Behaviour>,
    /// Those of them that were pulled.
    pub pulled: BTreeSet<ImageId>,
    /// What pulls brought, by the name that was pulled.
    pub brought: BTreeMap<ImageRef, BTreeSet<ImageId>>,
    /// What the registry's tags stand for by now, with the ids that the images get here; others have their name for an id.
    pub offers: BTreeMap<ImageRef, (ImageId, Behaviour)>,
    /// Images that a registry has: pulled in so long.
    pub registry: BTreeMap<ImageRef, (Duration, Behaviour)>,
    /// How an image behaves that `registry` does not name; `None`: there is no such image.
    pub anything: Option<Behaviour>,
    /// Pulls under way or failed.
    pub pulls: BTreeMap<ImageRef, Pull>,
    /// Networks; true for ours.
    pub networks: BTreeMap<NetworkName, Option<String>>,
    /// Volumes; true for ours.
    pub volumes: BTreeMap<VolumeName, Option<String>>,
    /// Who may act.
    pub holder: Option<String>,
    /// Every mutating call that took effect: the verb, for tests.
    pub log: Vec<String>,
    /// A pull has ended since this was last taken: whoever waits for it is not known here.
    pub(super) pull_ended: bool,
    next_id: u64,
    /// Of what Compose's containers were made cannot be told in full.
    pub tells_no_specification: bool,
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
                            let id = self.tags.get(image).cloned().unwrap_or_else(|| own_id(image));
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

    /// What some services of a listing are like at `now`.
    pub fn observe(&self, scope: &ObserveRequest, listing: &Arc<Listing>, now: Timestamp) -> Snapshot {
        let mut snapshot = Snapshot {
            listing: Arc::clone(listing),
            images: scope.images.iter().map(|image| (image.clone(), self.image(image))).collect(),
            facts: scope.images.iter().map(|image| (image.clone(), self.facts(image))).collect(),
            host_ports: if scope.host_ports { self.host_ports() } else { Vec::new() },
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
            let shares = container.replica.joined.iter().map(|owner| self.owner(owner)).collect();
            let seen = Replica {
                joined: shares,
                health: container.health(now),
                probe: container.probe(now),
                busy_with: container.busy_with(),
                specification: container.replica.compose.as_ref().and_then(|_| self.specification(container, scope)),
                compose: container.replica.compose.as_ref().map(|_| compare(container, scope)),
                ..container.replica.clone()
            };
            snapshot.replicas.entry(service.clone()).or_default().push(seen);
        }
        snapshot
    }

    /// Of what another container can be made as one that Compose made, and that differs from what is asked for.
    fn specification(&self, container: &Container, scope: &ObserveRequest) -> Option<Arc<ServiceSpec>> {
        let told = !self.tells_no_specification && matches!(compare(container, scope), Comparison::Differs(_));
        told.then(|| Arc::clone(&container.spec))
    }

    /// A container whose namespaces another has joined, as it is now.
    fn owner(&self, owner: &JoinedNamespace) -> JoinedNamespace {
        let since = self.containers.get(&owner.id).and_then(|one| match one.replica.state {
            State::Running | State::Paused => one.replica.started_at,
            State::Restarting => one.ended_at.max(one.replica.started_at),
            _ => None,
        });
        JoinedNamespace { since, ..owner.clone() }
    }

    /// An image that came from a registry has a digest there that is its id.
    fn facts(&self, image: &ImageRef) -> ImageFacts {
        let name = image.as_str().rsplit_once(':').map_or(image.as_str(), |(name, _)| name);
        let pulled = Some(self.id_of(image)).filter(|id| self.pulled.contains(id));
        let failed = self.pulls.get(image).filter(|pull| pull.ends_at.is_none() && pull.failures > 0);
        ImageFacts {
            digests: pulled.map(|id| format!("{name}@{id}")).into_iter().collect(),
            failure: failed.map(|_| format!("manifest for {image} not found")),
            progress: None,
            pulled_images: self.brought.get(image).cloned().unwrap_or_default(),
        }
    }

    fn image(&self, image: &ImageRef) -> ImageState {
        // An id may stand for a name.
        let as_id = ImageId::new(image.as_str());
        match self.pulls.get(image) {
            Some(pull) if pull.ends_at.is_some() => ImageState::Pulling(pull.since),
            Some(pull) if pull.failures > 0 && !self.images.contains_key(image) => ImageState::PullFailed {
                at: pull.since,
                message: format!("manifest for {image} not found"),
                count: pull.failures,
                refused: true,
            },
            _ if self.images.contains_key(image) => ImageState::Present(self.id_of(image)),
            _ if self.behaviour_of(&as_id).is_some() => ImageState::Present(as_id),
            _ => ImageState::Absent,
        }
    }

    fn id_of(&self, name: &ImageRef) -> ImageId {
        self.tags.get(name).cloned().unwrap_or_else(|| own_id(name))
    }

    fn behaviour_of(&self, id: &ImageId) -> Option<&Behaviour> {
        let named = id.as_str().strip_prefix("sha256:").filter(|name| !self.tags.contains_key(*name));
        self.ids.get(id).or_else(|| self.images.get(named?))
    }

    /// Lets a tag stand for the image `id`, which behaves like this. What it stood for stays.
    pub fn tag(&mut self, name: &ImageRef, id: &ImageId, behaviour: Behaviour) {
        let before = self.id_of(name);
        if let Some(image) = self.images.insert(name.clone(), behaviour.clone()) {
            self.ids.entry(before).or_insert(image);
        }
        self.ids.insert(id.clone(), behaviour);
        self.tags.insert(name.clone(), id.clone());
        self.pull_ended = true;
    }

    /// Removes an image that was brought, unless a container is made of it.
    fn let_go(&mut self, id: &ImageId) {
        for brought in self.brought.values_mut() {
            brought.remove(id);
        }
        if self.containers.values().any(|container| container.replica.image == *id) {
            return;
        }
        let names: Vec<_> = self.images.keys().filter(|name| self.id_of(name) == *id).cloned().collect();
        for name in names {
            self.images.remove(&name);
            self.tags.remove(&name);
        }
        self.ids.remove(id);
        self.pulled.remove(id);
    }

    /// Requests in flight on a replica that left traffic at `since`. As long as a proxy sends it requests, there are some,
    /// unless they are rare.
    pub fn in_flight(&self, id: &ContainerId, since: Timestamp, now: Timestamp) -> InFlight {
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
    pub fn tell(&mut self, id: &ContainerId, serves: bool, withdrawn: bool, now: Timestamp) -> Propagation {
        let Some(container) = self.containers.get_mut(id) else { return Propagation::Unfollowed };
        let Some(lag) = container.behaviour.lag else { return Propagation::Unfollowed };
        let told = container.told.map(|(serves, _)| serves);
        // Of one that never served there is nothing to take back.
        if (serves && told != Some(true)) || (withdrawn && told == Some(true)) {
            container.told = Some((serves, now));
        }
        let until = match container.told {
            Some((told, since)) if told != withdrawn => {
                since + container.behaviour.says_left.filter(|_| withdrawn).unwrap_or(lag)
            }
            None if withdrawn => return Propagation::Settled,
            _ => now + lag,
        };
        Propagation::Pending { who: "the proxy".to_owned(), until }
    }

    /// One mutating call at `now`.
    pub fn apply(&mut self, verb: &Verb, context: &ActionContext, now: Timestamp) -> Result<(), EngineError> {
        let before = self.log.len();
        self.log.push(verb.to_string());
        let done = match verb {
            Verb::Drain(_)
            | Verb::UndoDrain(_)
            | Verb::Adopt { .. }
            | Verb::RecordOutcome { .. }
            | Verb::RecordHookResult { .. } => Ok(()),
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
            // Its calls are the engine's two renames: there is nothing left to move.
            Verb::MoveName { name, to, .. } if self.is_named(&to.id, name) => Ok(()),
            Verb::MoveName { name, from, .. } => {
                Err(EngineError::Stale(format!("{} is not named {name} any more", from.name)))
            }
            Verb::CreateNetwork { name, .. } => {
                self.networks.entry(name.clone()).or_insert_with(|| Some(context.project.clone()));
                Ok(())
            }
            Verb::CreateVolume { name, .. } => {
                self.volumes.entry(name.clone()).or_insert_with(|| Some(context.project.clone()));
                Ok(())
            }
            Verb::RemoveNetwork { name, .. } => self.remove_network(name),
        };
        if done.is_err() {
            self.log.truncate(before);
        }
        done
    }

    /// Takes the right to act.
    pub fn claim(&mut self, who: &str) -> LeaseState {
        match &self.holder {
            Some(holder) if holder != who => LeaseState::HeldBy(LeaseHolder { command: None, text: holder.clone() }),
            _ => {
                self.holder = Some(who.to_owned());
                LeaseState::Held
            }
        }
    }

    /// Ends a container's process behind the controller's back.
    pub fn kill(&mut self, id: &ContainerId, code: i64, now: Timestamp) {
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
            revision: Revision::new("compose-0123456789"),
            generation: 0,
            spec: Arc::new(spec.clone()),
            volumes: BTreeMap::new(),
            joins: BTreeMap::new(),
            image: None,
        };
        let behaviour = self.images.get(&spec.image).cloned().unwrap_or_default();
        self.insert(&blueprint, behaviour, true, since);
        let id = self.containers.named(&name).map(|one| one.replica.id.clone());
        if let Some(container) = id.and_then(|id| self.containers.get_mut(&id)) {
            container.replica.compose = Some(Comparison::Unknown);
            container.replica.created_by = Some("docker compose".to_owned());
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
            revision: Revision::default(),
            generation: 0,
            spec: Arc::default(),
            volumes: BTreeMap::new(),
            joins: BTreeMap::new(),
            image: None,
        };
        self.insert(&blueprint, Behaviour::default(), false, now);
    }
}

/// The id of an image that has none of its own.
fn own_id(name: &ImageRef) -> ImageId {
    ImageId::new(format!("sha256:{name}"))
}

/// How a container that Compose made compares with what is asked for.
fn compare(container: &Container, scope: &ObserveRequest) -> Comparison {
    match scope.desired.get(&container.replica.service) {
        None => Comparison::Unknown,
        Some(asked) if asked.spec.revision() == container.spec.revision() => Comparison::Same,
        Some(_) => Comparison::Differs(vec!["image".to_owned()]),
    }
}
