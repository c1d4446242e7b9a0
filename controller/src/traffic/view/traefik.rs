//! What Traefik's own API says of the servers that it sends requests to: a proof, where one is given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::model::Replica;

/// It is asked so often while something is pending.
pub(super) const PERIOD: Duration = Duration::from_millis(200);
/// An answer later than this is none.
const PATIENCE: Duration = Duration::from_secs(2);
/// A host that it has not named for so long is forgotten.
const MEMORY: Duration = Duration::from_hours(1);
/// No page is larger.
const MAX_PAGE: usize = 16 << 20;
/// So many services a page.
const PAGE: &str = "per_page=1000";

/// The API, and what it said last.
pub(super) struct Proof {
    /// `127.0.0.1:8080`.
    authority: String,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Its last answer, if it gave one when it was asked last.
    said: Option<Said>,
    /// All hosts that it has named, and when last: what it never names at all it cannot prove gone.
    named: BTreeMap<String, Instant>,
}

struct Said {
    /// When the question was begun.
    asked: Instant,
    /// The hosts of all servers.
    hosts: BTreeSet<String>,
}

type AnyError = Box<dyn std::error::Error + Send + Sync>;

impl Proof {
    /// An API at an `http://host:port`.
    pub(super) fn new(url: &str) -> Self {
        let authority = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { authority, heard: Mutex::default() }
    }

    /// Asks. Answers whether it says something new.
    pub(super) async fn look(&self) -> bool {
        let asked = Instant::now();
        let hosts = match tokio::time::timeout(PATIENCE, self.hosts()).await {
            Ok(Ok(hosts)) => Some(hosts),
            Ok(Err(error)) => {
                tracing::debug!(api = self.authority, %error, "Traefik's API does not answer");
                None
            }
            Err(_) => None,
        };
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.named.retain(|_, last| asked < *last + MEMORY);
        heard.named.extend(hosts.iter().flatten().map(|host| (host.clone(), asked)));
        let news = heard.said.as_ref().map(|said| &said.hosts) != hosts.as_ref();
        heard.said = hosts.map(|hosts| Said { asked, hosts });
        news
    }

    /// Whether it has said since `since` that requests go to `replica`, or, after it had named it, that none do.
    pub(super) fn has(&self, replica: &Replica, serves: bool, since: Instant) -> bool {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let addresses = || replica.addresses.values();
        let named = addresses().any(|address| heard.named.contains_key(address));
        let known = heard.said.as_ref().filter(|said| named && said.asked >= since);
        known.is_some_and(|said| addresses().any(|address| said.hosts.contains(address)) == serves)
    }

    async fn hosts(&self) -> Result<BTreeSet<String>, AnyError> {
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut hosts = BTreeSet::new();
        for kind in ["http", "tcp"] {
            let mut page = "1".to_owned();
            loop {
                let request = Request::get(format!("/api/{kind}/services?{PAGE}&page={page}"));
                let request = request.header("host", &self.authority).body(Empty::<Bytes>::new())?;
                let response = sender.send_request(request).await?;
                if !response.status().is_success() {
                    return Err(format!("status {}", response.status()).into());
                }
                let next = response.headers().get("x-next-page").and_then(|next| next.to_str().ok()).map(str::to_owned);
                let body = Limited::new(response.into_body(), MAX_PAGE).collect().await?.to_bytes();
                servers(&serde_json::from_slice(&body)?, &mut hosts);
                // The last page names the first as the next.
                match next.filter(|next| {
                    next.parse::<u32>().is_ok_and(|next| page.parse().is_ok_and(|page: u32| next > page))
                }) {
                    Some(next) => page = next,
                    None => break,
                }
            }
        }
        connection.abort();
        Ok(hosts)
    }
}

/// The hosts of the servers of a page of services.
fn servers(services: &Value, hosts: &mut BTreeSet<String>) {
    let each = services.as_array().into_iter().flatten();
    let servers = each.filter_map(|service| service.pointer("/loadBalancer/servers")?.as_array()).flatten();
    for server in servers {
        let address = server.get("url").or_else(|| server.get("address")).and_then(Value::as_str).unwrap_or_default();
        let authority = address.split_once("://").map_or(address, |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        hosts.insert(host.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_all_servers_are_found() {
        let services = serde_json::json!([
            {"name": "web@docker", "loadBalancer": {"servers": [{"url": "http://172.18.0.2:8080"}, {"url": "http://[fd00::2]:80/x"}]}},
            {"name": "db@docker", "loadBalancer": {"servers": [{"address": "172.18.0.3:5432"}]}},
            {"name": "noop@internal"},
        ]);
        let mut hosts = BTreeSet::new();
        servers(&services, &mut hosts);
        assert_eq!(hosts.into_iter().collect::<Vec<_>>(), ["172.18.0.2", "172.18.0.3", "fd00::2"]);
    }
}
