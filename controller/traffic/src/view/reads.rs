//! The answers that are whole bodies: what the engine says, without what is not shown, masked.

use std::collections::BTreeMap;

use composed_core::model::ServiceName;
use composed_docker::RawError;
use crd_schema::ContainerId;
use serde_json::Value;

use super::View;
use super::ask::{ViewEndpoint, ViewRequest};
use super::feed::{encoded, json as parsed};
use super::mask::{self, Mask};
use super::select::Selection;

/// An answer, or a status code and words.
pub(super) type Reply = Result<Value, (u16, String)>;

/// Docker's own words to somebody who asks a node that is none. Source: moby `daemon/cluster/errors.go`.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
                        this node to swarm and try again.";

impl View {
    /// Answers whatever is a whole body.
    pub(super) async fn read(&self, ask: &ViewRequest) -> Reply {
        match &ask.what {
            ViewEndpoint::Ping | ViewEndpoint::Events => Ok(Value::Null),
            ViewEndpoint::Swarm => Err((503, NO_SWARM.to_owned())),
            ViewEndpoint::Version => self.engine(ask, "/version", &[]).await,
            ViewEndpoint::Info => {
                let mut info = self.engine(ask, "/info", &[]).await?;
                Mask::info(&mut info);
                Ok(info)
            }
            ViewEndpoint::List => self.list(ask).await,
            ViewEndpoint::Inspect(name) => self.inspect(ask, name).await,
            ViewEndpoint::Networks => {
                let selection = Selection::of_networks(ask.query.get("filters").map(String::as_str))?;
                let query: Vec<_> = selection.query().map(|filters| ("filters", filters)).into_iter().collect();
                let mut networks = self.engine(ask, "/networks", &query).await?;
                if let Some(networks) = networks.as_array_mut() {
                    for network in networks.iter_mut() {
                        self.mask_network(network);
                    }
                    selection.apply(networks, &[])?;
                }
                Ok(networks)
            }
            ViewEndpoint::Network(name) => {
                // With `verbose` it would tell of tasks.
                let scope = ask.query.get("scope").map(|scope| ("scope", scope.clone()));
                let query: Vec<_> = scope.into_iter().collect();
                let mut network = self.engine(ask, &format!("/networks/{name}"), &query).await?;
                self.mask_network(&mut network);
                Ok(network)
            }
        }
    }

    async fn list(&self, ask: &ViewRequest) -> Reply {
        let selection = Selection::of_containers(ask.query.get("filters").map(String::as_str))?;
        // Counted after some are left out; the engine shows the stopped ones, too, if it is asked for so many.
        let limit = ask.query.get("limit").and_then(|text| text.parse::<usize>().ok()).filter(|limit| *limit > 0);
        let all = limit.map(|_| "1".to_owned()).or_else(|| ask.query.get("all").cloned());
        let mut containers = self.containers(ask, all, selection.query()).await?;
        let mut compared = Vec::new();
        if selection.compares() {
            compared = self.containers(ask, Some("1".to_owned()), None).await?;
        }
        selection.apply(&mut containers, &compared)?;
        containers.truncate(limit.unwrap_or(usize::MAX));
        Ok(Value::Array(containers))
    }

    /// The containers that are shown, masked.
    async fn containers(
        &self,
        ask: &ViewRequest,
        all: Option<String>,
        filters: Option<String>,
    ) -> Result<Vec<Value>, (u16, String)> {
        let query: Vec<_> =
            [("all", all), ("filters", filters)].into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let Value::Array(mut containers) = self.engine(ask, "/containers/json", &query).await? else {
            return Ok(Vec::new());
        };
        let (serving, _) = self.statuses.serving();
        containers.retain_mut(|container| self.show(container, "/Labels", &serving));
        for container in &mut containers {
            self.mask.listed(container);
        }
        Ok(containers)
    }

    async fn inspect(&self, ask: &ViewRequest, name: &str) -> Reply {
        let mut container = self.engine(ask, &format!("/containers/{name}/json"), &[]).await?;
        let (serving, _) = self.statuses.serving();
        if !self.show(&mut container, "/Config/Labels", &serving) {
            return Err((404, format!("No such container: {name}")));
        }
        self.mask.inspected(&mut container);
        Ok(container)
    }

    /// Whether a container is shown; if it is, as healthy as it is known to be.
    fn show(&self, container: &mut Value, labels: &str, serving: &BTreeMap<ContainerId, ServiceName>) -> bool {
        let labels = container.pointer(labels);
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let id = ContainerId::new(container.get("Id").and_then(Value::as_str).unwrap_or_default());
        // What Docker Compose made is shown as it is until the loop answers for it.
        if self.docker.owner(label).is_none() && !self.statuses.follows(&id) {
            return true;
        }
        let shown = serving.contains_key(&id);
        if shown {
            mask::healthy(container);
        }
        shown
    }

    fn mask_network(&self, network: &mut Value) {
        let (serving, _) = self.statuses.serving();
        let own = self.feed.own();
        self.mask.network(network, |id| own.has(id) && !serving.contains_key(id));
    }

    /// Asks the engine. What else a client's query says is not passed on: `size` has the engine walk through its disks.
    async fn engine(&self, ask: &ViewRequest, path: &str, query: &[(&str, String)]) -> Reply {
        let pairs: Vec<(&str, &str)> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", encoded(&pairs)) };
        // Never closed.
        let _turn = self.reads.acquire().await;
        let body = self.docker.get(&format!("{}{path}{query}", ask.prefix)).await.map_err(refused)?;
        Ok(parsed(&body))
    }
}

/// A status code and words for a refusal of the engine.
pub(super) fn refused(refusal: RawError) -> (u16, String) {
    match refusal {
        RawError::Status(status, words) => (status, words),
        RawError::Unavailable(why) => (503, format!("composed: the engine does not answer: {why}")),
    }
}
