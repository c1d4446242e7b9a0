//! Who is meant: the names that queue, store, events and status share.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A service of a project, displayed as `project/service`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceName {
    /// The Compose project.
    pub project: String,
    /// The service within it.
    pub name: String,
}

impl ServiceName {
    /// The service `name` of `project`.
    pub fn new(project: impl Into<String>, name: impl Into<String>) -> Self {
        Self { project: project.into(), name: name.into() }
    }

    /// As [`Self::new`], for names that come from outside of any document, such as labels: `None` for names that no
    /// document can have.
    pub fn checked(project: &str, name: &str) -> Option<Self> {
        (crd_schema::is_project_name(project) && crd_schema::is_service_name(name)).then(|| Self::new(project, name))
    }

    /// Compose's container name of the replica with this number: `shop-web-1`.
    pub fn container(&self, number: u32) -> String {
        format!("{}-{}-{number}", self.project, self.name)
    }

    /// The name under which the last failed replica is kept for looking at. One for each service, so such names never
    /// pile up.
    pub fn kept_container(&self) -> String {
        format!("{}-{}-failed", self.project, self.name)
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.project, self.name)
    }
}

/// What one reconcile pass is about. Projects own networks and volumes, services own containers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The networks and volumes of a project.
    Project(String),
    /// The replicas of a service.
    Service(ServiceName),
}

impl Key {
    /// The project that the key belongs to.
    pub fn project(&self) -> &str {
        match self {
            Self::Project(project) => project,
            Self::Service(service) => &service.project,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => f.write_str(project),
            Self::Service(service) => service.fmt(f),
        }
    }
}
