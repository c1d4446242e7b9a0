//! The verbs that change networks and volumes. There is none that removes a volume.

use std::collections::HashMap;

use bollard::{
    models::{Ipam, IpamConfig, Network, NetworkCreateRequest, VolumeCreateRequest},
    query_parameters::ListNetworksOptions,
};
use composed_core::engine::{ActionContext, EngineError};
use crd_schema::{NetworkId, NetworkName, VolumeName};

use super::{
    Docker,
    errors::{CallOrigin, reaction, rejected, words},
    labels, lease,
    ownership::{self, Owner},
    seal::Sealed,
    target_engine::{Engine, list, map},
};

impl Docker {
    /// Creates a network of a project. One that is there already, whoever made it, is `Ok`.
    pub(super) async fn create_network(
        &self,
        key: &str,
        name: &NetworkName,
        context: &ActionContext,
    ) -> Result<(), EngineError> {
        let spec = context.networks.get(key).map(|(_, network)| network.clone()).unwrap_or_default();
        if spec.enable_ipv4 == Some(false) {
            Engine { minor: self.api.minor(), instance: &self.instance, image_id: None }
                .since(48, "enable_ipv4: false")?;
        }
        let mut labels = labels::of_object("network", key, &context.project, &self.instance, &spec.labels)?;
        self.ownership.keep(&self.api).await?.seal(Sealed::Network { name }, &mut labels)?;
        let request = NetworkCreateRequest {
            name: name.to_string(),
            driver: spec.driver,
            internal: spec.internal.then_some(true),
            attachable: spec.attachable.then_some(true),
            // Older engines do not know it, and give them.
            enable_ipv4: spec.enable_ipv4.filter(|on| !on),
            enable_ipv6: spec.enable_ipv6,
            options: map(spec.driver_opts),
            labels: Some(labels),
            ipam: spec.ipam.map(ipam),
            ..NetworkCreateRequest::default()
        };
        self.seen.object(name.as_str(), &context.project);
        match self.api.answer(self.api.client.create_network(request)).await? {
            Ok(_) => Ok(()),
            Err(error) if words(&error, &[409]).is_some_and(|text| text.contains("already exists")) => Ok(()),
            Err(error) => Err(reaction(&error, CallOrigin::ForTheUser)),
        }
    }

    /// Removes a network of ours that no container uses: of that name, and with that id if one is given.
    pub(super) async fn remove_network(&self, name: &NetworkName, id: Option<&NetworkId>) -> Result<(), EngineError> {
        let options =
            ListNetworksOptions { filters: Some(HashMap::from([("name".to_owned(), vec![name.to_string()])])) };
        let named = self.api.call(self.api.client.list_networks(Some(options))).await?;
        // The filter finds parts of names, too.
        let meant = |one: &Network| {
            one.name.as_deref() == Some(name.as_str()) && id.is_none_or(|id| one.id.as_deref() == Some(id.as_str()))
        };
        let Some(network) = named.into_iter().find(meant) else {
            return Ok(());
        };
        let id = NetworkId::new(network.id.unwrap_or_default());
        let record = self.ownership.look(&self.api).await?;
        let labels = network.labels.unwrap_or_default();
        if record.owner_of_network(&self.instance, &id, name, &labels) != Owner::Us {
            return Err(rejected(format!("the network {name} was not made by this instance, and stays")));
        }
        match self.api.call(self.api.client.remove_network(super::connect::segment(id.as_str())?)).await {
            Err(EngineError::Stale(_)) => Ok(()),
            other => other,
        }
    }

    /// Creates a named volume of a project. One that is there already, whoever made it, is `Ok`.
    pub(super) async fn create_volume(
        &self,
        key: &str,
        name: &VolumeName,
        context: &ActionContext,
    ) -> Result<(), EngineError> {
        if lease::is_lock(name.as_str()) || ownership::is_key(name.as_str()) {
            return Err(rejected(format!("a volume `{name}` would pass for composed's own: name it otherwise")));
        }
        let spec = context.volumes.get(key).map(|(_, volume)| volume.clone()).unwrap_or_default();
        let request = VolumeCreateRequest {
            name: Some(name.to_string()),
            driver: spec.driver,
            driver_opts: map(spec.driver_opts),
            labels: Some(labels::of_object("volume", key, &context.project, &self.instance, &spec.labels)?),
            cluster_volume_spec: None,
        };
        self.seen.object(name.as_str(), &context.project);
        match self.api.answer(self.api.client.create_volume(request)).await? {
            Ok(_) => Ok(()),
            // There, but with another driver: no repetition helps.
            Err(error) => Err(match words(&error, &[409]) {
                Some(text) => rejected(text),
                None => reaction(&error, CallOrigin::ForTheUser),
            }),
        }
    }
}

fn ipam(ipam: crd_schema::Ipam) -> Ipam {
    let subnets = ipam.config.into_iter().map(|subnet| IpamConfig {
        subnet: subnet.subnet,
        ip_range: subnet.ip_range,
        gateway: subnet.gateway,
        auxiliary_addresses: map(subnet.aux_addresses),
    });
    Ipam { driver: ipam.driver, config: list(subnets.collect()), options: map(ipam.options) }
}
