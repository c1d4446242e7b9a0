//! The answers that are whole bodies: what the engine says, without what is not shown, masked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::View;
use super::ask::{Ask, What};
use super::feed::{encoded, json as parsed};
use super::filter;
use super::mask::{self, Mask};
use crate::engine::docker::Refusal;
use crate::model::ServiceName;

/// An answer, or a status code and words.
pub(super) type Reply = Result<Value, (u16, String)>;

/// Docker's own words to somebody who asks a node that is none. Source: moby `daemon/cluster/errors.go`.
const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect \
                        this node to swarm and try again.";

impl View {
    /// Answers whatever is a whole body.
    pub(super) async fn read(&self, ask: &Ask) -> Reply {
        match &ask.what {
            What::Ping | What::Events => Ok(Value::Null),
            What::Swarm => Err((503, NO_SWARM.to_owned())),
            What::Version => self.engine(ask, "/version", &ask.query).await,
            What::Info => {
                let mut info = self.engine(ask, "/info", &ask.query).await?;
                Mask::info(&mut info);
                Ok(info)
            }
            What::List => self.list(ask).await,
            What::Inspect(name) => self.inspect(ask, name).await,
            What::Networks => {
                let mut networks = self.engine(ask, "/networks", &ask.query).await?;
                for network in networks.as_array_mut().into_iter().flatten() {
                    self.mask_network(network);
                }
                Ok(networks)
            }
            What::Network(name) => {
                let mut network = self.engine(ask, &format!("/networks/{name}"), &ask.query).await?;
                self.mask_network(&mut network);
                Ok(network)
            }
        }
    }

    async fn list(&self, ask: &Ask) -> Reply {
        let mut query = ask.query.clone();
        // Counted after some are left out; the engine shows the stopped ones, too, if it is asked for so many.
        let limit = query.remove("limit").and_then(|text| text.parse::<usize>().ok()).filter(|limit| *limit > 0);
        if limit.is_some() {
            query.insert("all".to_owned(), "1".to_owned());
        }
        // A filter by health is about the health that is shown.
        let wanted = filter::parse(query.get("filters").map(String::as_str), None).map_err(|why| (400, why))?;
        let healths = wanted.get("health").cloned();
        if healths.is_some() {
            let others: BTreeMap<_, _> = wanted.into_iter().filter(|(key, _)| key != "health").collect();
            query.insert("filters".to_owned(), json!(others).to_string());
        }
        let mut list = self.engine(ask, "/containers/json", &query).await?;
        let (serving, _) = self.board.serving();
        if let Some(containers) = list.as_array_mut() {
            containers.retain_mut(|container| self.show(container, "/Labels", &serving));
            containers.retain(|one| healths.as_ref().is_none_or(|all| all.is_empty() || all.contains(health(one))));
            containers.truncate(limit.unwrap_or(usize::MAX));
            for container in containers {
                self.mask.listed(container);
            }
        }
        Ok(list)
    }

    async fn inspect(&self, ask: &Ask, name: &str) -> Reply {
        let mut container = self.engine(ask, &format!("/containers/{name}/json"), &ask.query).await?;
        let (serving, _) = self.board.serving();
        if !self.show(&mut container, "/Config/Labels", &serving) {
            return Err((404, format!("No such container: {name}")));
        }
        self.mask.inspected(&mut container);
        Ok(container)
    }

    /// Whether a container is shown; if it is, as healthy as it is known to be.
    fn show(&self, container: &mut Value, labels: &str, serving: &BTreeMap<String, ServiceName>) -> bool {
        let labels = container.pointer(labels);
        let label = |name: &str| labels.and_then(|labels| labels.get(name)).and_then(Value::as_str);
        let id = container.get("Id").and_then(Value::as_str).unwrap_or_default();
        // What Docker Compose made is shown as it is until the loop answers for it.
        if self.docker.owner(label).is_none() && !self.board.follows(id) {
            return true;
        }
        let shown = serving.contains_key(id);
        if shown {
            mask::healthy(container);
        }
        shown
    }

    fn mask_network(&self, network: &mut Value) {
        let (serving, _) = self.board.serving();
        let own = self.feed.own();
        self.mask.network(network, |id| own.has(id) && !serving.contains_key(id));
    }

    async fn engine(&self, ask: &Ask, path: &str, query: &BTreeMap<String, String>) -> Reply {
        let pairs: Vec<(&str, &str)> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let query = if pairs.is_empty() { String::new() } else { format!("?{}", encoded(&pairs)) };
        let body = self.docker.get(&format!("{}{path}{query}", ask.prefix)).await.map_err(refused)?;
        Ok(parsed(&body))
    }
}

/// A status code and words for a refusal of the engine.
pub(super) fn refused(refusal: Refusal) -> (u16, String) {
    match refusal {
        Refusal::Said(status, words) => (status, words),
        Refusal::Away(why) => (503, format!("composed: the engine does not answer: {why}")),
    }
}

/// The health of a listed container. Engines before API 1.52 tell it in the status text only.
fn health(container: &Value) -> &'static str {
    let status = container.get("Status").and_then(Value::as_str).unwrap_or_default();
    let named = container.pointer("/Health/Status").and_then(Value::as_str).unwrap_or_default();
    match named {
        "healthy" => "healthy",
        "unhealthy" => "unhealthy",
        "starting" => "starting",
        _ if status.contains("(healthy)") => "healthy",
        _ if status.contains("(unhealthy)") => "unhealthy",
        _ if status.contains("(health: starting)") => "starting",
        _ => "none",
    }
}
