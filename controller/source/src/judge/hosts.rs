//! Which services are for this host.

use composed_core::model::ServiceName;
use crd_schema::Service;

use super::Judge;
use crate::host::HostName;

impl Judge<'_> {
    /// Whether a service is for this host. Where that cannot be told, it stays as it is.
    pub(super) fn is_for_here(&mut self, service: &Service, file: &str, line: usize) -> bool {
        let name = &ServiceName::new(&service.metadata.project, &service.metadata.name);
        match &self.reading.host_name {
            HostName::Is(host) if !service.metadata.is_for(host) => {
                let hosts = service.metadata.hosts.join(", ");
                self.catalog.elsewhere.insert(name.clone(), format!("is for {hosts}, and this host is {host}"));
                false
            }
            HostName::Unknown if !service.metadata.hosts.is_empty() => {
                let why = format!(
                    "error: {file}:{line}: {name} is for some hosts only, and composed does not know what this one is \
                     called: start it with --host-name NAME (COMPOSED_HOST_NAME)"
                );
                self.refuse(name, file, &why);
                false
            }
            HostName::Any | HostName::Is(_) | HostName::Unknown => true,
        }
    }
}
