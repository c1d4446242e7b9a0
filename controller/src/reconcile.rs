//! The loop's body: what was seen and what is wanted become a plan, the plan becomes deeds and a status. No branches on
//! the domain: those are in `plan`.

use std::collections::{BTreeMap, BTreeSet};

use crd_schema::Update;
use crd_schema::status::{PullStatus, ServiceStatus, UpdateStatus};
use jiff::Timestamp;

use crate::act::{Deed, Now, act};
use crate::board::Board;
use crate::dependencies::{neighbours, waits_for};
use crate::engine::{Context, Engine, EngineError};
use crate::images::reference::Reference;
use crate::images::{Images, Question, updates};
use crate::model::{
    Desired, DesiredProject, DesiredService, ImageState, Memory, Neighbours, Observed, Remote, Replica, ServiceName,
    Snapshot, follows,
};
use crate::plan::action::{Plan, Verb};
use crate::plan::{self, begin::Stand, image::Held, policy::Policy};
use crate::source::catalog::Catalog;
use crate::traffic::Senses;
use crate::turns::Turns;

/// Everything that one pass over one service is given.
pub struct Pass<'a> {
    /// The service.
    pub service: &'a ServiceName,
    /// What is wanted of it.
    pub desired: &'a Desired,
    /// Its project's networks and volumes.
    pub project: &'a DesiredProject,
    /// Its dependencies that are not met.
    pub unmet: BTreeMap<String, String>,
    /// Those with whom it shares namespaces.
    pub neighbours: Neighbours,
    /// Why what its project needs could not be made.
    pub refused: Option<String>,
    /// Who may begin to roll out, where that is limited.
    pub turns: Option<&'a Turns>,
    /// Its last status.
    pub before: Option<&'a ServiceStatus>,
    /// What registries say of its image.
    pub registry: Said,
    /// The ids of images that other services have, or may go back to.
    pub spared: BTreeSet<String>,
    /// The moment.
    pub now: Timestamp,
}

/// What registries say of the image of a service, as far as they are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// Of its tag.
    pub digest: Option<Remote>,
    /// Of higher versions.
    pub versions: Option<Remote>,
}

/// What a pass over a service is made of: the same for the loop, which acts, and for `plan`, which only says.
pub struct Subject<'a> {
    /// The service.
    pub name: &'a ServiceName,
    /// What is wanted.
    pub catalog: &'a Catalog,
    /// What is there.
    pub snapshot: &'a Snapshot,
    /// How all services stand.
    pub board: &'a Board,
    /// What registries say, if they are asked.
    pub images: Option<&'a Images>,
}

impl<'a> Subject<'a> {
    /// Its replicas on the engine.
    pub fn replicas(&self) -> &'a [Replica] {
        self.snapshot.replicas.get(self.name).map_or(&[], Vec::as_slice)
    }

    /// What its document asks for, with the highest version that it allows; `missed` is since when the document is, if it is.
    pub fn desired(&self, missed: Timestamp) -> Desired {
        match self.catalog.desired(self.name, &self.snapshot.listing.owned, missed) {
            Desired::Run(desired) => Desired::Run(Box::new(raised(self.images, &desired, self.replicas()))),
            other => other,
        }
    }

    /// The same, as what is remembered has it: a pause holds it, a rollout by hand marks it.
    pub fn understood(&self, desired: Desired, memory: &mut Memory) -> Desired {
        memory.marked(memory.unless_paused(desired), self.replicas())
    }

    /// The pass over it. Who acts adds what only the loop knows.
    pub fn pass(
        &self,
        desired: &'a Desired,
        project: &'a DesiredProject,
        spared: BTreeSet<String>,
        now: Timestamp,
    ) -> Pass<'a> {
        Pass {
            service: self.name,
            desired,
            project,
            unmet: waits_for(self.board, self.catalog, self.name, desired),
            neighbours: neighbours(self.board, self.name, desired, self.catalog),
            refused: None,
            turns: None,
            before: None,
            registry: match desired {
                Desired::Run(desired) => Said {
                    digest: self.said(updates::of_tag(desired)),
                    versions: self.said(updates::of_versions(desired)),
                },
                Desired::Gone(_) | Desired::Held(_) => Said::default(),
            },
            spared,
            now,
        }
    }

    fn said(&self, question: Option<Question>) -> Option<Remote> {
        said(self.images, question)
    }
}

/// A service with the highest version that its document allows, as far as registries have said.
pub fn raised(images: Option<&Images>, service: &DesiredService, replicas: &[Replica]) -> DesiredService {
    updates::raised(service, said(images, updates::of_versions(service)).as_ref(), replicas)
}

fn said(images: Option<&Images>, question: Option<Question>) -> Option<Remote> {
    images?.known(&question?)
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

/// What came of a pass.
#[derive(Debug)]
pub struct Outcome {
    /// The plan.
    pub plan: Plan,
    /// What was done of it.
    pub deeds: Vec<Deed>,
    /// The status after the deeds, as far as they are the controller's own: who was withdrawn is out of it at once.
    pub status: ServiceStatus,
}

impl Outcome {
    /// The worst error of the pass.
    pub fn error(&self) -> Option<&EngineError> {
        worst(&self.deeds)
    }
}

/// The error among these that asks for the most patience.
pub fn worst(deeds: &[Deed]) -> Option<&EngineError> {
    deeds.iter().filter_map(|deed| deed.error.as_ref()).max_by_key(|error| match error {
        EngineError::Stale(_) => 0,
        EngineError::Rejected { .. } => 1,
        EngineError::Unavailable(_) => 2,
    })
}

impl Pass<'_> {
    /// Observe and plan.
    pub async fn decide(&self, senses: &dyn Senses, snapshot: &Snapshot, memory: &mut Memory) -> Decision {
        let mut observed = self.observed(snapshot, memory);
        memory.identify(running(self.desired), &mut observed.replicas);
        senses.sense(self.service, self.spec(), memory, &mut observed.replicas).await;
        let (desired, held) = self.with_image(&observed, memory);
        memory.notice(running(&desired), &observed, self.now);
        observed.turn = self.turn(&desired, &observed, memory);
        if let Some(desired) = running(&desired) {
            memory.notice_wait(desired, &observed, self.now);
        }
        let mut plan = plan::plan(&desired, &observed, memory, self.now);
        if let Some(Held::Cooling(until)) = held {
            plan.wake(until);
        }
        if let Some(spec) = self.spec().filter(|_| plan.makes_replicas(&observed.replicas)) {
            senses.foresee(self.service, spec, memory, &observed.replicas);
        }
        let mut status = self.status(&desired, &observed, memory, &plan);
        status.update = update(&desired, &observed, held.as_ref());
        status.traffic = senses.paths(self.service);
        status.hint = self.spec().and_then(|spec| plan::hint::hint(spec, &status.traffic));
        let serving = status.instances.iter().filter(|instance| instance.serves());
        let serving: BTreeSet<&str> = serving.map(|instance| instance.id.as_str()).collect();
        let runs = observed.replicas.iter().filter(|replica| serving.contains(replica.id.as_str()));
        memory.serving = runs.map(|replica| (replica.id.clone(), replica.started_at)).collect();
        Decision { desired, observed, plan, status }
    }

    /// Act as decided; `now` tells the time as it goes on.
    pub async fn carry_out(
        &self,
        decision: Decision,
        engine: &dyn Engine,
        memory: &mut Memory,
        now: Now<'_>,
    ) -> Outcome {
        let Decision { desired, observed, plan, status: before } = decision;
        let context = self.context(&plan, &desired, memory);
        let deeds = act(engine, &plan, (&context, &observed), memory, now).await;
        let status = self.status(&desired, &observed, memory, &plan);
        let ServiceStatus { traffic, hint, update, .. } = before;
        let status = ServiceStatus { traffic, hint, update, ..status };
        Outcome { plan, deeds, status }
    }

    fn observed(&self, snapshot: &Snapshot, memory: &Memory) -> Observed {
        let spec = self.spec();
        // The snapshot is everybody's; this service's revisions name a few images of it.
        let specs = || spec.into_iter().chain(memory.history.iter().map(|record| &record.spec));
        let named = specs().flat_map(|spec| std::iter::once(&spec.image).chain(spec.hook_images()));
        let ids = memory.history.iter().filter_map(|record| record.image.as_ref());
        let images = named.chain(ids).filter_map(|image| Some((image.clone(), snapshot.images.get(image)?.clone())));
        let image = spec.map(|spec| &spec.image);
        let mut facts = image.and_then(|image| snapshot.facts.get(image)).cloned().unwrap_or_default();
        let reference = image.and_then(|image| Reference::parse(image));
        let own = reference.iter().flat_map(|image| image.digests(&facts.digests)).map(str::to_owned).collect();
        facts.digests = own;
        Observed {
            facts,
            spared: self.spared.clone(),
            remote: self.registry.digest.clone(),
            versions: self.registry.versions.clone(),
            replicas: self.replicas(snapshot, memory),
            images: images.collect(),
            missing: spec.map_or_else(Vec::new, |spec| {
                plan::project::missing(&self.service.project, self.project, spec, &snapshot.listing)
            }),
            refused: self.refused.clone(),
            unmet: self.unmet.clone(),
            neighbours: self.neighbours.clone(),
            turn: None,
            hooks: snapshot.hooks.get(self.service).cloned().unwrap_or_default(),
            foreign: snapshot.listing.foreign_to(self.service).cloned().collect(),
        }
    }

    /// Whom it has to let go first, if it has to.
    fn turn(&self, desired: &Desired, observed: &Observed, memory: &Memory) -> Option<String> {
        let stand = match desired {
            Desired::Run(desired) => plan::begin::stand(desired, observed, memory),
            Desired::Gone(_) | Desired::Held(_) => Stand::Rests,
        };
        self.turns.and_then(|turns| turns.ask(self.service, stand))
    }

    /// Those that Compose made count where the service is wanted, or where they were adopted before.
    fn replicas(&self, snapshot: &Snapshot, memory: &Memory) -> Vec<Replica> {
        let mut replicas = snapshot.replicas.get(self.service).cloned().unwrap_or_default();
        let wanted = running(self.desired).is_some();
        replicas.retain(|one| wanted || one.compose.is_none() || memory.adopted.contains_key(&one.id));
        replicas
    }

    /// What is wanted, with the image that its tag stands for made part of it.
    fn with_image(&self, observed: &Observed, memory: &mut Memory) -> (Desired, Option<Held>) {
        let Desired::Run(desired) = self.desired else { return (self.desired.clone(), None) };
        memory.notice_tag(&desired.spec.image, observed, self.now);
        let (desired, held) = plan::image::wanted(desired, observed, memory, self.now);
        (Desired::Run(Box::new(desired)), held)
    }

    fn status(&self, desired: &Desired, observed: &Observed, memory: &Memory, plan: &Plan) -> ServiceStatus {
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
        running(self.desired).map(|desired| &desired.spec)
    }

    fn context(&self, plan: &Plan, desired: &Desired, memory: &Memory) -> Context {
        // A rollback makes replicas of another specification than the desired one.
        let made = plan.actions.iter().filter_map(|action| match &action.verb {
            Verb::Create(blueprint) => Some(&blueprint.spec),
            _ => None,
        });
        let mut context = context(&self.service.project, self.project, made);
        if plan.actions.iter().any(|action| matches!(action.verb, Verb::Start(_))) {
            let remembered = memory.history.iter().map(|record| (&record.revision, &record.spec.files));
            let wanted = running(desired).map(|desired| (&desired.revision, &desired.spec.files));
            let files = remembered.chain(wanted).filter(|(_, files)| !files.is_empty());
            context.files = files.map(|(revision, files)| (revision.clone(), files.clone())).collect();
        }
        context
    }
}

/// What is known of new images, if they are followed.
fn update(desired: &Desired, observed: &Observed, held: Option<&Held>) -> Option<UpdateStatus> {
    let desired = running(desired).filter(|desired| follows(&desired.spec) || desired.document.is_some())?;
    let remote = observed.remote.as_ref();
    let policy = desired.spec.update.as_ref().map(Update::policy).unwrap_or_default();
    Some(UpdateStatus {
        policy,
        image: desired.spec.image.clone(),
        raised_from: desired.raised_from.clone(),
        image_id: desired.image.clone(),
        document: desired.of_document().0.to_owned(),
        newer: held.and(observed.images.get(&desired.spec.image)).and_then(|state| match state {
            ImageState::Present(id) => Some(id.clone()),
            _ => None,
        }),
        why_not: held.map(|held| match held {
            Held::Failed => "it has failed before, and is not tried again".to_owned(),
            Held::Cooling(_) => "its cooldown has not passed".to_owned(),
        }),
        not_before: held.and_then(|held| match held {
            Held::Cooling(until) => Some(*until),
            Held::Failed => None,
        }),
        registry: remote.and_then(|remote| remote.answer.clone()),
        checked_at: remote.and_then(|remote| remote.checked_at),
        next_check: remote.and_then(|remote| remote.next_at),
        problem: [remote, observed.versions.as_ref()]
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

fn running(desired: &Desired) -> Option<&DesiredService> {
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
) -> Context {
    let mut context = Context { project: project.to_owned(), ..Context::default() };
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
