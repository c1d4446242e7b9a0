//! What people want, resolved: defaults applied, environment files read, nothing left to look up.

use std::collections::BTreeMap;

use crd_schema::revision::together;
use crd_schema::status::CommitStatus;
use crd_schema::{Network, ServiceSpec, Volume};
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
    /// The dependencies that it is replaced with (`depends_on`, `restart: true`), with the revisions that must be there
    /// first.
    pub after: BTreeMap<String, String>,
    /// `file:line` of the document; from git, `repository@commit file:line`.
    pub source: String,
    /// The commit that asked for it, if it comes from git.
    pub commit: Option<CommitStatus>,
    /// An error in the newest version of the document, while this, the last valid one, stays in force.
    pub error: Option<String>,
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
            after: BTreeMap::new(),
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

    /// The number of replicas wanted. Default 1.
    pub fn replicas(&self) -> u32 {
        self.spec.replicas.unwrap_or(1)
    }
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
