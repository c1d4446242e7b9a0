//! What people want, resolved: defaults applied, environment files read, nothing left to look up.

use std::collections::BTreeMap;
use std::sync::Arc;

use crd_schema::status::CommitStatus;
use crd_schema::{
    ImageId, ImageRef, Network, NetworkName, Revision, ServiceSpec, SpecDigest, UpdatePolicy, Volume, VolumeName,
};
use jiff::Timestamp;

use super::ServiceName;

/// Names the image among what makes a revision.
const IMAGE: &str = "image";

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
    pub spec: Arc<ServiceSpec>,
    /// `spec.revision()`: two specifications with the same one make the same container.
    pub revision: Revision,
    /// `spec.digest()`: changes with every change of the document's meaning.
    pub digest: SpecDigest,
    /// Another service waits for this one to complete: its exit with code 0 is success.
    pub one_shot: bool,
    /// The engine's id of the image that all its replicas are made of, where new images are followed; else they are made of
    /// what its name stands for at that moment.
    pub image: Option<ImageId>,
    /// The image that the document names, where a higher version of it is wanted.
    pub raised_from: Option<ImageRef>,
    /// What the document alone is called, where its image has made another revision of it.
    pub document_names: Option<DocumentRevision>,
    /// The dependencies that it is replaced with (`depends_on`, `restart: true`), with the revisions that must be there
    /// first.
    pub restart_after: BTreeMap<String, Revision>,
    /// The services whose namespaces it joins, with the revisions that their documents ask for.
    pub namespace_revisions: BTreeMap<String, Revision>,
    /// `file:line` of the document; from git, `repository@commit file:line`.
    pub source: String,
    /// The commit that asked for it, if it comes from git.
    pub commit: Option<CommitStatus>,
    /// It is brought about once: what has failed and cannot be gone back from is taken away, and not tried again.
    pub once: bool,
    /// An error in the newest version of the document, while this, the last valid one, stays in force.
    pub error: Option<String>,
}

/// What a wish is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRevision {
    /// As `DesiredService::revision`.
    pub revision: Revision,
    /// As `DesiredService::digest`.
    pub digest: SpecDigest,
}

impl DesiredService {
    /// Resolves a specification into what is wanted.
    pub fn new(name: ServiceName, spec: impl Into<Arc<ServiceSpec>>, source: impl Into<String>) -> Self {
        let spec = spec.into();
        Self {
            revision: spec.revision(),
            digest: spec.digest(),
            name,
            spec,
            one_shot: false,
            image: None,
            raised_from: None,
            document_names: None,
            restart_after: BTreeMap::new(),
            namespace_revisions: BTreeMap::new(),
            source: source.into(),
            commit: None,
            once: false,
            error: None,
        }
    }

    /// Ties it to the revisions of these dependencies: it changes with any of them.
    pub fn link_dependencies(&mut self, after: BTreeMap<String, Revision>) {
        (self.revision, self.digest) = (self.spec.revision(), self.spec.digest());
        if !after.is_empty() {
            let revisions = || after.iter().map(|(name, revision)| (name.as_str(), revision.as_str()));
            self.revision = self.revision.with(revisions());
            self.digest = self.digest.with(revisions());
        }
        self.restart_after = after;
    }

    /// This wish, for replicas of the image `id`. Under the document's own name, or as `of_image` calls it.
    #[must_use]
    pub fn with_image(mut self, id: &ImageId, own_name: bool) -> Self {
        if !own_name {
            let other = DocumentRevision {
                revision: image_revision(&self.revision, id),
                digest: self.digest.with([(IMAGE, id.as_str())]),
            };
            let own = DocumentRevision {
                revision: std::mem::replace(&mut self.revision, other.revision),
                digest: std::mem::replace(&mut self.digest, other.digest),
            };
            self.document_names.get_or_insert(own);
        }
        self.image = Some(id.clone());
        self
    }

    /// This wish, with another tag of its image.
    #[must_use]
    pub fn with_newer_image(mut self, image: ImageRef) -> Self {
        let own = DocumentRevision { revision: self.revision.clone(), digest: self.digest.clone() };
        self.raised_from = Some(std::mem::replace(&mut Arc::make_mut(&mut self.spec).image, image));
        let after = std::mem::take(&mut self.restart_after);
        self.link_dependencies(after);
        self.document_names.get_or_insert(own);
        self
    }

    /// What the document alone is called, whatever its image is.
    pub fn document_revision(&self) -> (&Revision, &SpecDigest) {
        let own = self.document_names.as_ref().map(|own| (&own.revision, &own.digest));
        own.unwrap_or((&self.revision, &self.digest))
    }

    /// The number of replicas wanted. Default 1.
    pub fn replicas(&self) -> u32 {
        self.spec.replicas.unwrap_or(1)
    }
}

/// What a revision is called whose image is not the one that it was first made of.
pub fn image_revision(own: &Revision, id: &ImageId) -> Revision {
    own.with([(IMAGE, id.as_str())])
}

/// Whether new images are followed.
pub fn follows_image(spec: &ServiceSpec) -> bool {
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
    pub fn network_name(&self, project: &str, key: &str) -> NetworkName {
        let own = self.networks.get(key).and_then(|network| network.name.clone());
        NetworkName::new(own.unwrap_or_else(|| format!("{project}_{key}")))
    }

    /// The engine's name of a volume: its own `name`, else `project_key`, as Compose names it.
    pub fn volume_name(&self, project: &str, key: &str) -> VolumeName {
        let own = self.volumes.get(key).and_then(|volume| volume.name.clone());
        VolumeName::new(own.unwrap_or_else(|| format!("{project}_{key}")))
    }
}
