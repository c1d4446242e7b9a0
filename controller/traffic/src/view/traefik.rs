//! What Traefik's own API says of the servers that it sends requests to: a proof, where one is given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use composed_core::model::Replica;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::super::traefik_api::{self, AnyError, TIMEOUT};

/// It is asked so often while something is pending.
pub(super) const PERIOD: Duration = Duration::from_millis(200);
/// A host that it has not named for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_hours(1);
/// No more is read for one question, over all pages, and of no more hosts.
const MAX_ANSWER: usize = 32 << 20;
const MAX_HOSTS: usize = 100_000;
/// So many services a page.
const PAGE: &str = "per_page=1000";

/// The API, and what it said last.
pub(super) struct Proof {
    /// `127.0.0.1:8080`.
    authority: String,
    heard: Mutex<ApiState>,
}

#[derive(Default)]
struct ApiState {
    /// Its last answer, if it gave one when it was asked last.
    said: Option<ApiServers>,
    /// All hosts that it has named, and when last: what it never names at all it cannot prove gone.
    named: BTreeMap<String, Instant>,
}

struct ApiServers {
    /// When the question was begun.
    asked: Instant,
    /// The hosts of all servers.
    hosts: BTreeSet<String>,
}

impl Proof {
    /// An API at an `http://host:port`.
    pub(super) fn new(url: &str) -> Self {
        Self { authority: traefik_api::authority(url), heard: Mutex::default() }
    }

    /// Asks. Answers whether it says something new.
    pub(super) async fn look(&self) -> bool {
        let asked = Instant::now();
        let hosts = match tokio::time::timeout(TIMEOUT, self.hosts()).await {
            Ok(Ok(hosts)) => Some(hosts),
            Ok(Err(error)) => {
                tracing::debug!(api = self.authority, %error, "Traefik's API does not answer");
                None
            }
            Err(_) => None,
        };
        let mut heard = self.heard.lock();
        heard.named.retain(|_, last| asked < *last + FORGET_AFTER);
        heard.named.extend(hosts.iter().flatten().map(|host| (host.clone(), asked)));
        // Those of its last answer are kept: others are forgotten, and proven by nothing then.
        if heard.named.len() > MAX_HOSTS {
            heard.named.retain(|_, last| *last == asked);
        }
        let news = heard.said.as_ref().map(|said| &said.hosts) != hosts.as_ref();
        heard.said = hosts.map(|hosts| ApiServers { asked, hosts });
        news
    }

    /// Whether it has said since `since` that requests go to `replica`, or, after it had named it, that none do.
    pub(super) fn has(&self, replica: &Replica, serves: bool, since: Instant) -> bool {
        let heard = self.heard.lock();
        let addresses = || replica.addresses.values();
        let named = addresses().any(|address| heard.named.contains_key(address));
        let known = heard.said.as_ref().filter(|said| named && said.asked >= since);
        known.is_some_and(|said| addresses().any(|address| said.hosts.contains(address)) == serves)
    }

    async fn hosts(&self) -> Result<BTreeSet<String>, AnyError> {
        let mut hosts = BTreeSet::new();
        let mut left = MAX_ANSWER;
        for kind in ["http", "tcp"] {
            let mut page = "1".to_owned();
            loop {
                let path = format!("/api/{kind}/services?{PAGE}&page={page}");
                let answer = traefik_api::get(&self.authority, &path, left).await?;
                if !answer.status.is_success() {
                    return Err(format!("status {}", answer.status).into());
                }
                left = left.saturating_sub(answer.body.len());
                let next = answer.headers.get("x-next-page").and_then(|next| next.to_str().ok()).map(str::to_owned);
                servers(&serde_json::from_slice(&answer.body)?, &mut hosts);
                if hosts.len() > MAX_HOSTS {
                    return Err(format!("it names more than {MAX_HOSTS} servers").into());
                }
                // The last page names the first as the next.
                match next.filter(|next| {
                    next.parse::<u32>().is_ok_and(|next| page.parse().is_ok_and(|page: u32| next > page))
                }) {
                    Some(next) => page = next,
                    None => break,
                }
            }
        }
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

    /// An API that answers each question with `head` and then with `more` without an end, and what it could send.
    async fn endless(
        head: &'static str,
        more: &'static str,
    ) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
        use std::sync::atomic::Ordering::SeqCst;
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("an address");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = std::sync::Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = std::sync::Arc::clone(&count);
                tokio::spawn(async move {
                    drop(stream.read(&mut [0; 8192]).await);
                    let block = more.repeat(4096);
                    let mut next = head;
                    // A bound of its own.
                    while count.load(SeqCst) < 512 << 20 && stream.write_all(next.as_bytes()).await.is_ok() {
                        count.fetch_add(next.len(), SeqCst);
                        next = &block;
                    }
                });
            }
        });
        (url, sent)
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_read_up_to_its_bound_and_proves_nothing() {
        for (head, more) in [
            ("HTTP/1.1 200 OK\r\n\r\n[{}", ", {\"loadBalancer\": {}}"),
            ("HTTP/1.1 200 OK\r\n\r\n", "          "),
            ("HTTP/1.1 200 OK\r\nx-a: ", "aaaaaaaaaa"),
        ] {
            let (url, sent) = endless(head, more).await;
            let proof = Proof::new(&url);
            proof.look().await;
            assert!(proof.heard.lock().said.is_none());
            // What the kernel keeps of a connection comes on top.
            let sent = sent.load(std::sync::atomic::Ordering::SeqCst);
            assert!(sent < MAX_ANSWER + (16 << 20), "{sent}");
        }
    }
}
