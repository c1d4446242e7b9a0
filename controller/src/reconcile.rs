//! The loop's body: what was seen and what is wanted become a plan, the plan becomes deeds and a status. No branches on
//! the domain: those are in `plan`.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::engine::{ActionContext, Engine, EngineError};
use composed_core::model::{
    Desired, DesiredProject, DesiredService, ImageState, Observed, OtherServices, RegistryAnswer, Replica, ServiceName,
    ServiceRecord, Snapshot, follows_image,
};
use composed_core::plan::action::{Plan, Verb};
use composed_core::plan::{self, admission::RolloutState, image::UpdateHold, policy::Policy};
use composed_core::reference::Reference;
use composed_traffic::TrafficMonitor;
use crd_schema::status::{PullStatus, ServiceStatus, UpdateStatus};
use crd_schema::{ContainerId, ImageDigest, ImageRef, Revision, Update};
use jiff::Timestamp;

use crate::act::{ActionClock, ActionResult, act};
use crate::rollout_limiter::RolloutLimiter;

/// Everything that one pass over one service is given.
pub struct Pass<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// What is wanted of it.
    pub desired: &'a Desired,
    /// Its project's networks and volumes.
    pub project: &'a DesiredProject,
    /// The services around it.
    pub others: OtherServices,
    /// Why what its project needs could not be made.
    pub refused: Option<String>,
    /// Who may begin to roll out, where that is limited.
    pub limiter: Option<&'a RolloutLimiter>,
    /// Its last status.
    pub before: Option<&'a ServiceStatus>,
    /// What registries say of its image.
    pub registry: ImageAnswers,
    /// The ids of images that other services have, or may go back to.
    pub spared: BTreeSet<ImageRef>,
    /// The moment.
    pub now: Timestamp,
}

/// What registries say of the image of a service, as far as they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImageAnswers {
    /// Of its tag.
    pub digest: Option<RegistryAnswer>,
    /// Of higher versions.
    pub versions: Option<RegistryAnswer>,
}

/// What is to be done, and how things stand before it is.
#[derive(Debug)]
pub struct Decision {
    /// What is wanted, with the image that is.
    pub desired: Desired,
    /// What was seen.
    pub observed: Observed,
    /// The plan.
    pub plan: Plan,
    /// The status.
    pub status: ServiceStatus,
}

impl Decision {
    /// Whether something begins now, or goes on, that replaces what runs by another revision.
    pub fn begins_rollout(&self) -> bool {
        let Desired::Run(desired) = &self.desired else { return false };
        let before = |one: &Replica| one.state.is_live() && one.revision != desired.revision;
        let acts = self.plan.actions.iter().any(|action| !matches!(action.verb, Verb::Adopt { .. }));
        acts && self.observed.replicas.iter().any(before)
    }
}

/// What came of a pass.
#[derive(Debug)]
pub struct PassResult {
    /// The plan.
    pub plan: Plan,
    /// What was done of it.
    pub results: Vec<ActionResult>,
    /// The status after the deeds, as far as they are the controller's own: who was withdrawn is out of it at once.
    pub status: ServiceStatus,
}

impl PassResult {
    /// The worst error of the pass.
    pub fn error(&self) -> Option<&EngineError> {
        worst(&self.results)
    }
}

/// The error among these that asks for the most patience.
pub fn worst(results: &[ActionResult]) -> Option<&EngineError> {
    results.iter().filter_map(|result| result.error.as_ref()).max_by_key(|error| match error {
        EngineError::Stale(_) => 0,
        EngineError::Rejected { .. } => 1,
        EngineError::ServerError(_) => 2,
        EngineError::Unavailable(_) => 3,
    })
}

impl Pass<'_> {
    /// Observe and plan.
    pub async fn decide(
        &self,
        monitor: &dyn TrafficMonitor,
        snapshot: &Snapshot,
        memory: &mut ServiceRecord,
    ) -> Decision {
        let mut observed = self.observed(snapshot, memory);
        memory.identify(running(self.desired), &mut observed.replicas);
        monitor.refresh(self.service, self.spec(), memory, &mut observed.replicas).await;
        let (desired, held) = self.with_image(&observed, memory);
        memory.observe(running(&desired), &observed, self.now);
        observed.rollout_limit = self.turn(&desired, &observed, memory);
        if let Some(desired) = running(&desired) {
            memory.observe_wait(desired, &observed, self.now);
        }
        let mut plan = plan::plan(&desired, &observed, memory, self.now);
        if let Some(UpdateHold::Cooling(until)) = held {
            plan.wake(until);
        }
        if let Some(spec) = self.spec().filter(|_| plan.makes_replicas(&observed.replicas)) {
            monitor.prepare_drain(self.service, spec, memory, &observed.replicas);
        }
        let mut status = self.status(&desired, &observed, memory, &plan);
        status.update = update(&desired, &observed, held.as_ref());
        status.traffic = monitor.paths(self.service);
        status.hint = self.spec().and_then(|spec| plan::hint::hint(spec, &status.traffic));
        let serving = status.instances.iter().filter(|instance| instance.serves());
        let serving: BTreeSet<&ContainerId> = serving.map(|instance| &instance.id).collect();
        let runs = observed.replicas.iter().filter(|replica| serving.contains(&replica.id));
        memory.replicas.serving = runs.map(|replica| (replica.id.clone(), replica.started_at)).collect();
        Decision { desired, observed, plan, status }
    }

    /// Act as decided; `now` tells the time as it goes on.
    pub async fn carry_out(
        &self,
        decision: Decision,
        engine: &dyn Engine,
        memory: &mut ServiceRecord,
        now: ActionClock<'_>,
    ) -> PassResult {
        let Decision { desired, observed, plan, status: before } = decision;
        let context = self.context(&plan, &desired, memory);
        let results = act(engine, &plan, (&context, &observed), memory, now).await;
        let status = self.status(&desired, &observed, memory, &plan);
        let ServiceStatus { traffic, hint, update, .. } = before;
        let status = ServiceStatus { traffic, hint, update, ..status };
        PassResult { plan, results, status }
    }

    fn observed(&self, snapshot: &Snapshot, memory: &ServiceRecord) -> Observed {
        let spec = self.spec();
        // The snapshot is everybody's; this service's revisions name a few images of it.
        let specs = || spec.into_iter().chain(memory.revisions.history.iter().map(|record| &*record.spec));
        let named = specs().flat_map(|spec| std::iter::once(&spec.image).chain(spec.hook_images()));
        let ids = memory.revisions.history.iter().filter_map(|record| record.image.as_ref()).map(ImageRef::from);
        let all = named.cloned().chain(ids);
        let images = all.filter_map(|image| snapshot.images.get(&image).cloned().map(|state| (image, state)));
        let image = spec.map(|spec| &spec.image);
        let facts = image.and_then(|image| snapshot.facts.get(image)).cloned().unwrap_or_default();
        let reference = image.and_then(Reference::parse);
        let digests = reference.iter().flat_map(|image| image.digests(&facts.digests)).collect();
        let missing = spec.map_or_else(Vec::new, |spec| {
            plan::project::missing(&self.service.project, self.project, spec, &snapshot.listing.objects)
        });
        Observed {
            facts,
            digests,
            images_in_use: self.spared.clone(),
            tag_answer: self.registry.digest.clone(),
            version_answer: self.registry.versions.clone(),
            replicas: self.replicas(snapshot, memory),
            images: images.collect(),
            missing: missing.iter().filter(|one| !one.external).map(ToString::to_string).collect(),
            missing_external: missing
                .iter()
                .filter(|one| one.external)
                .map(|one| (one.to_string(), one.command()))
                .collect(),
            missing_earlier: self.missing_earlier(snapshot, memory),
            refused: self.refused.clone(),
            unmet: plan::dependencies::waits_for(self.desired, &self.others),
            failed_dependencies: plan::dependencies::failed(self.desired, &self.others),
            neighbours: plan::dependencies::neighbours(self.desired, &self.others),
            port_conflicts: plan::host_ports::conflicts(self.desired, &self.others, &snapshot.host_ports),
            rollout_limit: None,
            hooks: snapshot.hooks.get(self.service).cloned().unwrap_or_default(),
            foreign: snapshot.listing.foreign_to(self.service).cloned().collect(),
        }
    }

    /// What earlier revisions lack: what runs of them is healed while the desired one cannot begin.
    fn missing_earlier(&self, snapshot: &Snapshot, memory: &ServiceRecord) -> BTreeMap<Revision, Vec<String>> {
        let lacks = |spec: &crd_schema::ServiceSpec| {
            let all = plan::project::missing(&self.service.project, self.project, spec, &snapshot.listing.objects);
            all.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let all = memory.revisions.history.iter().map(|record| (record.revision.clone(), lacks(&record.spec)));
        all.filter(|(_, missing)| !missing.is_empty()).collect()
    }

    /// Whom it has to let go first, if it has to.
    fn turn(&self, desired: &Desired, observed: &Observed, memory: &ServiceRecord) -> Option<String> {
        let stand = match desired {
            Desired::Run(desired) => plan::admission::rollout_state(desired, observed, memory),
            Desired::Gone(_) | Desired::Held(_) => RolloutState::Idle,
        };
        self.limiter.and_then(|limiter| limiter.try_acquire(self.service, stand))
    }

    /// Those that Compose made count where the service is wanted, or where they were adopted before.
    fn replicas(&self, snapshot: &Snapshot, memory: &ServiceRecord) -> Vec<Replica> {
        let mut replicas = snapshot.replicas.get(self.service).cloned().unwrap_or_default();
        let wanted = running(self.desired).is_some();
        replicas.retain(|one| wanted || one.compose.is_none() || memory.replicas.adopted.contains_key(&one.id));
        replicas
    }

    /// What is wanted, with the image that its tag stands for made part of it.
    fn with_image(&self, observed: &Observed, memory: &mut ServiceRecord) -> (Desired, Option<UpdateHold>) {
        let Desired::Run(desired) = self.desired else { return (self.desired.clone(), None) };
        memory.observe_tag(&desired.spec.image, observed, self.now);
        let (desired, held) = plan::image::wanted(desired, observed, memory, self.now);
        (Desired::Run(Box::new(desired)), held)
    }

    fn status(&self, desired: &Desired, observed: &Observed, memory: &ServiceRecord, plan: &Plan) -> ServiceStatus {
        let held = match desired {
            Desired::Run(desired) => {
                let policy = &Policy::with(&desired.spec, &observed.replicas);
                let scene = plan::Scene { desired, observed, memory, policy, now: self.now };
                return plan::status::status(&scene, plan, self.before);
            }
            Desired::Gone(_) => None,
            Desired::Held(why) => Some(why.as_str()),
        };
        plan::status::unwanted(self.service, observed, memory, plan, held, self.before, self.now)
    }

    fn spec(&self) -> Option<&crd_schema::ServiceSpec> {
        running(self.desired).map(|desired| &*desired.spec)
    }

    fn context(&self, plan: &Plan, desired: &Desired, memory: &ServiceRecord) -> ActionContext {
        // A rollback makes replicas of another specification than the desired one.
        let made = plan.actions.iter().filter_map(|action| match &action.verb {
            Verb::Create(blueprint) => Some(&*blueprint.spec),
            _ => None,
        });
        let mut context = context(&self.service.project, self.project, made);
        if plan.actions.iter().any(|action| matches!(action.verb, Verb::Start(_))) {
            let remembered = memory.revisions.history.iter().map(|record| (&record.revision, &record.spec.files));
            let wanted = running(desired).map(|desired| (&desired.revision, &desired.spec.files));
            let files = remembered.chain(wanted).filter(|(_, files)| !files.is_empty());
            context.files = files.map(|(revision, files)| (revision.clone(), files.clone())).collect();
        }
        context
    }
}

/// What is known of new images, if they are followed.
fn update(desired: &Desired, observed: &Observed, held: Option<&UpdateHold>) -> Option<UpdateStatus> {
    let desired =
        running(desired).filter(|desired| follows_image(&desired.spec) || desired.document_names.is_some())?;
    let remote = observed.tag_answer.as_ref();
    let policy = desired.spec.update.as_ref().map(Update::policy).unwrap_or_default();
    Some(UpdateStatus {
        policy,
        image: desired.spec.image.clone(),
        raised_from: desired.raised_from.clone(),
        image_id: desired.image.clone(),
        document: desired.document_revision().0.clone(),
        newer: held.and(observed.images.get(&desired.spec.image)).and_then(|state| match state {
            ImageState::Present(id) => Some(id.clone()),
            _ => None,
        }),
        why_not: held.map(|held| match held {
            UpdateHold::Failed => "it has failed before, and is not tried again".to_owned(),
            UpdateHold::Cooling(_) => "its cooldown has not passed".to_owned(),
        }),
        not_before: held.and_then(|held| match held {
            UpdateHold::Cooling(until) => Some(*until),
            UpdateHold::Failed => None,
        }),
        registry: remote.and_then(|remote| remote.answer.clone()).map(ImageDigest::new),
        checked_at: remote.and_then(|remote| remote.checked_at),
        next_check: remote.and_then(|remote| remote.next_at),
        problem: [remote, observed.version_answer.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|remote| remote.problem.clone())
            .or_else(|| Some(format!("the last pull failed: {}", observed.facts.failure.as_ref()?))),
        pulling: match observed.images.get(&desired.spec.image) {
            Some(ImageState::Pulling(_)) => observed.facts.progress.map(|far| PullStatus {
                layers_done: far.layers_done,
                layers: far.layers,
                bytes: far.bytes,
                total: far.total,
            }),
            _ => None,
        },
    })
}

pub(crate) fn running(desired: &Desired) -> Option<&DesiredService> {
    match desired {
        Desired::Run(desired) => Some(desired),
        Desired::Gone(_) | Desired::Held(_) => None,
    }
}

/// The networks and volumes that these specifications use, with the names the engine knows them by.
pub fn context<'a>(
    project: &str,
    desired: &DesiredProject,
    specs: impl Iterator<Item = &'a crd_schema::ServiceSpec>,
) -> ActionContext {
    let mut context = ActionContext { project: project.to_owned(), ..ActionContext::default() };
    for spec in specs {
        let (networks, volumes) = plan::project::uses(spec);
        for key in networks {
            let network = desired.networks.get(&key).cloned().unwrap_or_default();
            let name = desired.network_name(project, &key);
            context.networks.insert(key, (name, network));
        }
        for key in volumes {
            let volume = desired.volumes.get(&key).cloned().unwrap_or_default();
            let name = desired.volume_name(project, &key);
            context.volumes.insert(key, (name, volume));
        }
    }
    context
}
