//! The services around one, as they show themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{PortWishes, ServiceName};
use crd_schema::Revision;
use crd_schema::status::ServiceStatus;

/// Another service, as far as one that needs it may know.
#[derive(Clone, Debug, Default)]
pub struct OtherService {
    /// The revision that its document asks for, if there is a valid one.
    pub revision: Option<Revision>,
    /// How it stands; `None` if it was not looked at yet.
    pub status: Option<Arc<ServiceStatus>>,
}

/// The other services of a project that the plan of one looks at.
#[derive(Clone, Debug, Default)]
pub struct OtherServices {
    /// Those that it names, its front, and the one whose front it is, by name.
    pub named: BTreeMap<String, OtherService>,
    /// Those with replicas in the namespaces of others.
    pub joined: Vec<Arc<ServiceStatus>>,
    /// Services that join its replicas' namespaces, and of which nothing is known yet.
    pub unseen: Vec<String>,
    /// How it stands itself.
    pub own: Option<Arc<ServiceStatus>>,
    /// What becomes of the ports of services that have some.
    pub port_wishes: BTreeMap<ServiceName, PortWishes>,
    /// A document wants a front for it.
    pub front_wanted: bool,
}

impl OtherServices {
    /// How one of those that it names stands.
    pub fn status(&self, name: &str) -> Option<&ServiceStatus> {
        self.named.get(name)?.status.as_deref()
    }

    /// What the document of one of them asks for.
    pub fn revision(&self, name: &str) -> Option<&Revision> {
        self.named.get(name)?.revision.as_ref()
    }
}
