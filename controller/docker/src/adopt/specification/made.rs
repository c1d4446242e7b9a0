//! What is known of a container that Docker Compose made.

use bollard::models::{ContainerConfig, ContainerInspectResponse, HostConfig, ImageConfig};
use composed_core::model::{JoinedNamespace, ServiceName};

/// A part of a container cannot be told in the words of a document.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) struct Untold;

/// What is known of a container.
#[derive(Clone, Copy)]
pub(in super::super) struct Made<'a> {
    pub(in super::super) service: &'a ServiceName,
    pub(in super::super) container: &'a ContainerInspectResponse,
    pub(in super::super) image: &'a ImageConfig,
    pub(in super::super) owners: &'a [JoinedNamespace],
}

impl Made<'_> {
    pub(super) fn config(&self) -> ContainerConfig {
        self.container.config.clone().unwrap_or_default()
    }

    pub(super) fn host(&self) -> HostConfig {
        self.container.host_config.clone().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.container.name.as_deref().unwrap_or_default().trim_start_matches('/')
    }

    /// The key by which Compose's name of a network or a volume of the project came about.
    pub(super) fn key(&self, name: &str) -> Option<String> {
        name.strip_prefix(&self.service.project)?.strip_prefix('_').map(str::to_owned)
    }

    pub(super) fn joins_several(&self) -> bool {
        let networks = self.container.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
        networks.is_some_and(|networks| networks.len() > 1)
    }
}
