//! Which containers of the engine's list count as replicas or hooks of this instance, and which only claim to. Reads only.

use crd_schema::{ContainerId, ImageId, Protocol};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bollard::{
    models::{ContainerSummary, PortSummaryTypeEnum},
    query_parameters::ListContainersOptions,
};
use composed_core::engine::EngineError;
use composed_core::model::{ForeignContainer, ListedContainer, MAX_FOREIGN, PortHolder, ServiceName};

use super::{
    labels::{self, Labels},
    observe::{Observer, inspect},
    ownership::{Owner, Record},
    seal::SEAL,
};

/// A container of the list, as far as it matters whose it is.
struct LabelledContainer {
    id: ContainerId,
    name: String,
    image: ImageId,
    labels: Labels,
}

impl LabelledContainer {
    fn read(one: ContainerSummary) -> Option<Self> {
        let name = one.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
        Some(Self {
            id: ContainerId::new(one.id?),
            name: name.trim_start_matches('/').to_owned(),
            image: ImageId::new(one.image_id.unwrap_or_default()),
            labels: one.labels?,
        })
    }
}

impl Observer<'_> {
    /// The containers that count, and those that only claim to: of this instance by their labels, or of one of the
    /// services `compose` by Docker Compose's. Of all services, or `of` one.
    pub(super) async fn containers(
        &self,
        of: Option<&ServiceName>,
        compose: &Arc<BTreeSet<ServiceName>>,
        record: &Record,
    ) -> Result<(BTreeMap<ServiceName, Vec<ListedContainer>>, Vec<ForeignContainer>), EngineError> {
        // Whatever is listed: events of what Compose made of these count from now on.
        self.seen.compose(compose);
        // Ours have Compose's labels, too.
        let labels = match of {
            None => vec![labels::COMPOSE_SERVICE.to_owned()],
            Some(service) => vec![
                format!("{}={}", labels::PROJECT, service.project),
                format!("{}={}", labels::COMPOSE_SERVICE, service.name),
            ],
        };
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), labels)])),
            ..ListContainersOptions::default()
        };
        let list = self.api.call(self.api.client.list_containers(Some(options))).await?;
        let list: Vec<LabelledContainer> = list.into_iter().filter_map(LabelledContainer::read).collect();
        let copies = self.copies(&list).await?;
        let (mut count, mut foreign) = (BTreeMap::<_, Vec<_>>::new(), Vec::new());
        for one in list {
            let owner = record.owner_of_container(self.instance, &one.id, &one.image, &one.labels);
            let (service, why) = match owner {
                // It accompanies a replica, and has Compose's labels of its image.
                Owner::Us if labels::accompanies(&one.labels) => continue,
                Owner::Us => {
                    let service = labels::service(&one.labels);
                    let why = match (copies.get(&one.id), &service) {
                        (Some(original), _) => Some(format!("it is a copy of {original}, seal and all")),
                        (None, None) => Some("its label names no service that there can be".to_owned()),
                        (None, Some(_)) => None,
                    };
                    (service, why)
                }
                Owner::Unproven(why) => (labels::service(&one.labels), Some(why)),
                Owner::Other => {
                    let service = labels::service_of_compose(&one.labels).filter(|service| compose.contains(service));
                    if service.is_none() {
                        continue;
                    }
                    (service, self.ownership.not_by_compose(self.api, &one.image, &one.labels).await?)
                }
            };
            match (service, why) {
                (Some(service), None) => {
                    let compose = !labels::are_ours(Some(&one.labels), self.instance);
                    let hook = if compose { None } else { labels::hook(&one.labels) };
                    count.entry(service).or_default().push(ListedContainer {
                        id: one.id,
                        name: one.name,
                        compose,
                        hook,
                    });
                }
                (service, why) if foreign.len() < MAX_FOREIGN => {
                    foreign.push(ForeignContainer {
                        service,
                        id: one.id,
                        name: one.name,
                        why: why.unwrap_or_default(),
                    });
                }
                _ => {}
            }
        }
        Ok((count, foreign))
    }

    /// The ports of the host that containers have, whoever made them.
    pub(super) async fn host_ports(&self) -> Result<Vec<PortHolder>, EngineError> {
        let list = self.api.call(self.api.client.list_containers(None::<ListContainersOptions>)).await?;
        let mut all = Vec::new();
        for one in list {
            let labels = one.labels.unwrap_or_default().into_iter().collect();
            let service = labels::service(&labels).or_else(|| labels::service_of_compose(&labels));
            let name = one.names.and_then(|names| names.into_iter().next()).unwrap_or_default();
            let id = ContainerId::new(one.id.unwrap_or_default());
            let published =
                one.ports.unwrap_or_default().into_iter().filter_map(|port| Some((port.public_port?, port)));
            all.extend(published.map(|(public, port)| PortHolder {
                port: public,
                protocol: match port.typ {
                    Some(PortSummaryTypeEnum::UDP) => Protocol::Udp,
                    Some(PortSummaryTypeEnum::SCTP) => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                address: port.ip.unwrap_or_default(),
                id: id.clone(),
                container: name.trim_start_matches('/').to_owned(),
                service: service.clone(),
            }));
        }
        Ok(all)
    }

    /// Those that carry the seal of an older container, with its name. A seal is made once, so there are hardly ever any.
    async fn copies(&self, list: &[LabelledContainer]) -> Result<HashMap<ContainerId, String>, EngineError> {
        let mut by_seal: BTreeMap<&String, Vec<&LabelledContainer>> = BTreeMap::new();
        for one in list.iter().filter(|one| labels::are_ours(Some(&one.labels), self.instance)) {
            if let Some(seal) = labels::get(&one.labels, SEAL) {
                by_seal.entry(seal).or_default().push(one);
            }
        }
        let mut copies = HashMap::new();
        for alike in by_seal.into_values().filter(|alike| alike.len() > 1) {
            let mut by_age = Vec::new();
            for one in alike {
                // The list tells whole seconds only.
                let created = inspect(self.api, one.id.as_str()).await?.and_then(|container| container.created);
                let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
                by_age.push((created.unwrap_or(jiff::Timestamp::MAX), one));
            }
            by_age.sort_by(|(a, one), (b, other)| (a, &one.id).cmp(&(b, &other.id)));
            let mut by_age = by_age.into_iter().map(|(_, one)| one);
            if let Some(original) = by_age.next() {
                copies.extend(by_age.map(|copy| (copy.id.clone(), original.name.clone())));
            }
        }
        Ok(copies)
    }
}
