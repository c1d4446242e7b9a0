//! What people want, resolved: defaults applied, environment files read, nothing left to look up.

use std::collections::BTreeMap;

use crd_schema::revision::together;
use crd_schema::status::CommitStatus;
use crd_schema::{Network, ServiceSpec, UpdatePolicy, Volume};
use jiff::Timestamp;

use super::ServiceName;

/// What is wanted of a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Desired {
    /// That it runs like this.
    Run(Box<DesiredService>),
    /// That it is gone: its document was removed, and missed since.
    Gone(Timestamp),
    /// Unknown, or not believed: nothing may be changed. The text says why and what to do.
    Held(String),
}

/// A service that shall run.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredService {
    /// Its name.
    pub name: ServiceName,
    /// Its specification, with the project's rollout defaults and the environment files merged in.
    pub spec: ServiceSpec,
    /// `spec.revision()`: two specifications with the same one make the same container.
    pub revision: String,
    /// `spec.digest()`: changes with every change of the document's meaning.
    pub digest: String,
    /// Another service waits for this one to complete: its exit with code 0 is success.
    pub one_shot: bool,
    /// The engine's id of the image that all its replicas are made of, where new images are followed; else they are made of
    /// what its name stands for at that moment.
    pub image: Option<String>,
    /// The image that the document names, where a higher version of it is wanted.
    pub raised_from: Option<String>,
    /// What the document alone is called, where its image has made another revision of it.
    pub document: Option<Names>,
    /// The dependencies that it is replaced with (`depends_on`, `restart: true`), with the revisions that must be there
    /// first.
    pub after: BTreeMap<String, String>,
    /// The services whose namespaces it joins, with the revisions that their documents ask for.
    pub beside: BTreeMap<String, String>,
    /// `file:line` of the document; from git, `repository@commit file:line`.
    pub source: String,
    /// The commit that asked for it, if it comes from git.
    pub commit: Option<CommitStatus>,
    /// An error in the newest version of the document, while this, the last valid one, stays in force.
    pub error: Option<String>,
}

/// What a wish is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// As `DesiredService::revision`.
    pub revision: String,
    /// As `DesiredService::digest`.
    pub digest: String,
}

impl DesiredService {
    /// Resolves a specification into what is wanted.
    pub fn new(name: ServiceName, spec: ServiceSpec, source: impl Into<String>) -> Self {
        Self {
            revision: spec.revision(),
            digest: spec.digest(),
            name,
            spec,
            one_shot: false,
            image: None,
            raised_from: None,
            document: None,
            after: BTreeMap::new(),
            beside: BTreeMap::new(),
            source: source.into(),
            commit: None,
            error: None,
        }
    }

    /// Ties it to the revisions of these dependencies: it changes with any of them.
    pub fn tie(&mut self, after: BTreeMap<String, String>) {
        (self.revision, self.digest) = (self.spec.revision(), self.spec.digest());
        if !after.is_empty() {
            self.revision = together(&self.revision, &after);
            self.digest = together(&self.digest, &after);
        }
        self.after = after;
    }

    /// This wish, for replicas of the image `id`. Under the document's own name, or as `of_image` calls it.
    #[must_use]
    pub fn with_image(mut self, id: &str, own_name: bool) -> Self {
        if !own_name {
            let other = Names { revision: of_image(&self.revision, id), digest: of_image(&self.digest, id) };
            let own = Names {
                revision: std::mem::replace(&mut self.revision, other.revision),
                digest: std::mem::replace(&mut self.digest, other.digest),
            };
            self.document.get_or_insert(own);
        }
        self.image = Some(id.to_owned());
        self
    }

    /// This wish, with another tag of its image.
    #[must_use]
    pub fn raised_to(mut self, image: String) -> Self {
        let own = Names { revision: self.revision.clone(), digest: self.digest.clone() };
        self.raised_from = Some(std::mem::replace(&mut self.spec.image, image));
        let after = std::mem::take(&mut self.after);
        self.tie(after);
        self.document.get_or_insert(own);
        self
    }

    /// What the document alone is called, whatever its image is.
    pub fn of_document(&self) -> (&str, &str) {
        let own = self.document.as_ref().map(|own| (own.revision.as_str(), own.digest.as_str()));
        own.unwrap_or((&self.revision, &self.digest))
    }

    /// The number of replicas wanted. Default 1.
    pub fn replicas(&self) -> u32 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// What a revision is called whose image is not the one that it was first made of.
pub fn of_image(own: &str, id: &str) -> String {
    together(own, [(&"image".to_owned(), &id.to_owned())])
}

/// Whether new images are followed.
pub fn follows(spec: &ServiceSpec) -> bool {
    spec.update.as_ref().is_some_and(|update| update.policy() != UpdatePolicy::None)
}

/// The networks and volumes of a project that its services use, by their key in the files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DesiredProject {
    /// Networks.
    pub networks: BTreeMap<String, Network>,
    /// Named volumes.
    pub volumes: BTreeMap<String, Volume>,
}

impl DesiredProject {
    /// The engine's name of a network: its own `name`, else `project_key`, as Compose names it.
    pub fn network_name(&self, project: &str, key: &str) -> String {
        let own = self.networks.get(key).and_then(|network| network.name.clone());
        own.unwrap_or_else(|| format!("{project}_{key}"))
    }

    /// The engine's name of a volume: its own `name`, else `project_key`, as Compose names it.
    pub fn volume_name(&self, project: &str, key: &str) -> String {
        let own = self.volumes.get(key).and_then(|volume| volume.name.clone());
        own.unwrap_or_else(|| format!("{project}_{key}"))
    }
}
