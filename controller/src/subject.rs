//! A service, and what the program knows of it: what a pass over it is made of.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::front;
use composed_core::model::{
    Desired, DesiredProject, DesiredService, OtherService, OtherServices, PortWishes, RegistryAnswer, Replica,
    ServiceName, ServiceRecord, Snapshot,
};
use composed_registry::{ImageQuery, RegistryImages, updates};
use composed_source::catalog::Catalog;
use composed_status::store::StatusStore;
use crd_schema::ImageRef;
use crd_schema::status::{ConditionType, Reason, ServiceStatus, WaitReason};
use jiff::Timestamp;

use crate::reconcile::{ImageAnswers, Pass, running};

/// What a pass over a service is made of: the same for the loop, which acts, and for `plan`, which only says.
pub struct Subject<'a> {
    /// The service.
    pub name: &'a ServiceName,
    /// What is wanted.
    pub catalog: &'a Catalog,
    /// What is there.
    pub snapshot: &'a Snapshot,
    /// How all services stand.
    pub statuses: &'a StatusStore,
    /// What registries say, if they are asked.
    pub images: Option<&'a RegistryImages>,
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
    pub fn understood(&self, desired: Desired, memory: &mut ServiceRecord) -> Desired {
        memory.with_manual_rollout(memory.held_if_paused(desired), self.replicas())
    }

    /// The pass over it. Who acts adds what only the loop knows.
    pub fn pass(
        &self,
        desired: &'a Desired,
        project: &'a DesiredProject,
        spared: BTreeSet<ImageRef>,
        now: Timestamp,
    ) -> Pass<'a> {
        Pass {
            service: self.name,
            desired,
            project,
            others: self.others(desired),
            refused: None,
            limiter: None,
            before: None,
            registry: match desired {
                Desired::Run(desired) => ImageAnswers {
                    digest: self.said(updates::of_tag(desired)),
                    versions: self.said(updates::of_versions(desired)),
                },
                Desired::Gone(_) | Desired::Held(_) => ImageAnswers::default(),
            },
            spared,
            now,
        }
    }

    /// The services around it, as they show themselves.
    fn others(&self, desired: &Desired) -> OtherServices {
        let name = self.name;
        let of = |other: &str| ServiceName::new(&name.project, other);
        let front = front::name(name);
        let mut named = BTreeSet::new();
        if let Some(desired) = running(desired) {
            let spec = &desired.spec;
            named.extend(spec.depends_on.keys().map(String::as_str).chain(spec.shares().map(|(_, other)| other)));
            named.extend(spec.generated.iter().map(|generated| generated.front_of.as_str()));
            named.insert(&front.name);
        }
        let other = |other: &str| OtherService {
            revision: self.catalog.service(&of(other)).map(|service| service.revision.clone()),
            status: self.statuses.status(&of(other)),
        };
        let unseen = self.catalog.guests(name).filter(|guest| self.statuses.status(guest).is_none());
        // Few share anything; each pass of each service asks.
        let shares = |status: &ServiceStatus| status.instances.iter().any(|replica| !replica.shares.is_empty());
        OtherServices {
            named: named.into_iter().map(|name| (name.to_owned(), other(name))).collect(),
            joined: self.statuses.statuses_of(&name.project, |other| other.name != name.name && shares(other)),
            unseen: unseen.map(|guest| guest.name.clone()).collect(),
            own: self.statuses.status(name),
            port_wishes: self.port_wishes(),
            front_wanted: self.catalog.knows(&front),
        }
    }

    /// What becomes of the ports of this instance's services that have some.
    fn port_wishes(&self) -> BTreeMap<ServiceName, PortWishes> {
        let mut wishes = BTreeMap::new();
        for service in self.snapshot.host_ports.iter().filter_map(|holder| holder.service.as_ref()) {
            let document = self.catalog.service(service);
            if document.is_none() && !self.snapshot.listing.owned.contains(service) || *service == *self.name {
                continue;
            }
            let ports = document.map(|document| document.spec.of_replicas().ports.clone());
            let status = self.statuses.status(service);
            let waits = status
                .as_ref()
                .is_some_and(|status| status.waiting.iter().any(|wait| wait.reason == WaitReason::HostPort));
            let stays = document.and_then(|document| stays(document, status.as_deref()));
            let held = if ports.is_some() { None } else { self.catalog.removal_held(&self.snapshot.listing.owned) };
            wishes.insert(service.clone(), PortWishes { ports, held, stays, waits });
        }
        wishes
    }

    fn said(&self, question: Option<ImageQuery>) -> Option<RegistryAnswer> {
        said(self.images, question)
    }
}

/// Why what runs of a service stays as it is, though its document asks for something else.
fn stays(document: &DesiredService, status: Option<&ServiceStatus>) -> Option<String> {
    let status =
        status.filter(|status| composed_core::model::base_digest(&status.digest) == *document.document_revision().1)?;
    let progressing = status.condition(ConditionType::Progressing)?;
    match progressing.reason {
        Reason::RolledBack | Reason::RollingBack | Reason::RevisionFailed | Reason::RollbackImpossible => {
            Some("its own change has failed".to_owned())
        }
        Reason::Undone => Some("its own change was undone by hand".to_owned()),
        Reason::Paused => Some("it is paused".to_owned()),
        _ => None,
    }
}

/// A service with the highest version that its document allows, as far as registries have said.
pub fn raised(images: Option<&RegistryImages>, service: &DesiredService, replicas: &[Replica]) -> DesiredService {
    updates::raised(service, said(images, updates::of_versions(service)).as_ref(), replicas)
}

fn said(images: Option<&RegistryImages>, question: Option<ImageQuery>) -> Option<RegistryAnswer> {
    images?.known(&question?)
}
