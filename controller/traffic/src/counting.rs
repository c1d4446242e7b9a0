//! The task that counts the requests in flight on one leaving replica: from this process where it can enter the
//! replica's network namespace, else through a companion container.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use composed_core::model::InFlight;
use composed_docker::Docker;
use composed_platform::clock::Clock;
use crd_schema::{ContainerId, Drain, ServiceSpec};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::{Notify, OnceCell, watch};

use super::companion::{self, CompanionImage, CompanionImages, NamespaceAccess, POLL_INTERVAL};
use super::inflight::{LEAST, Look, LookError, Requests, Talks, look_into};

/// So many failed looks in a row mean that there is no counting here.
const MAX_FAILURES: u32 = 3;
/// Between two looks at one that is still in traffic: what is heard on its connections then tells streams from others.
const IDLE_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Between two attempts to start a companion.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// A companion's word is good for so long: its pace, and the way that a line takes.
const MAX_AGE: Duration = Duration::from_millis(150);

/// What the last look found.
#[derive(Clone, Debug, Default)]
pub(super) struct CountObservation {
    /// The count, as the plan is to read it.
    pub(super) in_flight: InFlight,
    /// Whether somebody listens on a TCP port.
    pub(super) listens: bool,
    /// There are connections, and they have not been listened to for long enough to tell streams from others.
    pub(super) too_new: bool,
    /// When the look began.
    at: Option<Timestamp>,
    good_for: Duration,
    failures: u32,
}

impl CountObservation {
    /// Whether there was a look since `begin`, or there will never be one.
    pub(super) fn since(&self, begin: Timestamp) -> bool {
        self.at.is_some_and(|at| at >= begin)
    }

    /// Whether what it did not see can be acted upon at `begin`: it is recent enough, and of after all had let go, if they
    /// have.
    pub(super) fn holds(&self, begin: Timestamp, let_go: Option<Timestamp>) -> bool {
        self.at.is_some_and(|at| at + self.good_for >= begin) && let_go.is_none_or(|let_go| self.since(let_go))
    }

    fn count(at: Timestamp, since: Timestamp, good_for: Duration, look: Look, drain: Drain) -> Self {
        let count = match drain {
            Drain::Requests => look.busy,
            Drain::Connections => look.open.max(look.busy),
        };
        let too_new = look.open > 0 && at < since + LEAST;
        let (listens, in_flight) = (look.listening > 0, InFlight::Count(count));
        Self { in_flight, listens, too_new, at: Some(at), good_for, failures: 0 }
    }

    fn failed(&self, at: Timestamp) -> Self {
        let failures = self.failures.saturating_add(1);
        let in_flight = if failures >= MAX_FAILURES { InFlight::Uncountable } else { InFlight::Unknown };
        Self { in_flight, at: Some(at), failures, ..Self::default() }
    }

    fn uncountable(at: Timestamp) -> Self {
        Self { in_flight: InFlight::Uncountable, at: Some(at), failures: MAX_FAILURES, ..Self::default() }
    }
}

/// How requests follow each other on the connections of a service, as far as what is written of it tells: that it speaks
/// HTTP/2 or gRPC stands at a port, in the labels for its proxy, or in how it is asked whether it is ready.
pub(super) fn requests(spec: &ServiceSpec) -> Requests {
    let several = ["h2c", "h2", "http2", "grpc", "kubernetes.io/h2c"];
    let port = spec.ports.iter().any(|port| {
        port.app_protocol.as_ref().is_some_and(|word| several.iter().any(|known| word.eq_ignore_ascii_case(known)))
    });
    let label = spec.labels.iter().any(|(key, value)| {
        let key = key.to_lowercase();
        let names_a_scheme = key.starts_with("traefik.") && key.ends_with(".scheme")
            || key.starts_with("caddy") && key.contains("reverse_proxy");
        // With TLS both sides agree on HTTP/2 where they can.
        let mut words = value.split(|c: char| !c.is_alphanumeric());
        names_a_scheme && words.any(|word| ["h2c", "https"].iter().any(|known| word.eq_ignore_ascii_case(known)))
    });
    let asked = spec.readiness.as_ref().is_some_and(|asked| asked.grpc.is_some());
    if port || label || asked { Requests::Interleaved } else { Requests::InTurn }
}

/// A replica on its way out, or about to be.
#[derive(Clone, Debug)]
pub(super) struct DrainingReplica {
    /// The container.
    pub(super) id: ContainerId,
    /// Its main process, as the engine's host numbers it.
    pub(super) pid: u32,
    /// The TCP ports it exposes.
    pub(super) ports: BTreeSet<u16>,
    /// What has to end.
    pub(super) drain: Drain,
    /// How requests follow each other on its connections.
    pub(super) requests: Requests,
    /// How long a companion may live.
    pub(super) limit: Duration,
}

/// How urgent the count is.
#[derive(Debug, Default)]
pub(super) struct Urgency {
    /// It has left traffic, and is to be stopped as soon as nothing is in flight.
    withdrawn: AtomicBool,
    now: Notify,
}

impl Urgency {
    /// Has the next look made at once.
    pub(super) fn hurry(&self) {
        self.withdrawn.store(true, Ordering::Relaxed);
        self.now.notify_one();
    }

    async fn pace(&self) {
        let pace = if self.withdrawn.load(Ordering::Relaxed) { POLL_INTERVAL } else { IDLE_POLL_INTERVAL };
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = self.now.notified() => {}
        }
    }
}

/// How to count.
pub(super) struct Counter {
    clock: Clock,
    makers: CompanionImages,
    swept: OnceCell<()>,
}

/// Whoever wanted to know has gone.
struct Unwanted;

/// This process cannot enter the replica's network namespace.
struct OutOfReach;

impl Counter {
    pub(super) fn new(way: NamespaceAccess, docker: Option<Arc<Docker>>, clock: Clock) -> Self {
        Self { clock, makers: CompanionImages::new(way, docker), swept: OnceCell::new() }
    }

    /// Looks again and again, at once when hurried, and tells `seen`. Ends with its receivers.
    pub(super) async fn keep_counting(
        self: Arc<Self>,
        leaving: DrainingReplica,
        seen: watch::Sender<CountObservation>,
        hurry: Arc<Urgency>,
        changed: impl Fn(),
    ) {
        let tell = |now: CountObservation| {
            let mut news = false;
            seen.send_modify(|old| {
                let over =
                    |seen: &CountObservation| matches!(seen.in_flight, InFlight::Count(0) | InFlight::Uncountable);
                let ended = |seen: &CountObservation| over(seen) && !seen.too_new;
                news = ended(&now) && !ended(old);
                *old = now;
            });
            // One that is still in traffic is only listened to.
            if news && hurry.withdrawn.load(Ordering::Relaxed) {
                changed();
            }
        };
        let counted = async {
            if self.makers.are_second() {
                let OutOfReach = self.by_visits(&leaving, &seen, &hurry, &tell).await?;
            }
            Err::<(), _>(self.by_companion(&leaving, &seen, &tell).await)
        };
        // Each of them watches for the end itself: dropping one would leave a companion behind.
        drop(counted.await);
    }

    /// Until the namespace proves to be out of reach, or nobody wants to know.
    async fn by_visits(
        &self,
        leaving: &DrainingReplica,
        seen: &watch::Sender<CountObservation>,
        hurry: &Urgency,
        tell: &impl Fn(CountObservation),
    ) -> Result<OutOfReach, Unwanted> {
        let (mut talks, since) = (Talks::default(), self.clock.now());
        loop {
            let at = self.clock.now();
            let DrainingReplica { id, pid, ports, requests, .. } = leaving.clone();
            let mut heard = std::mem::take(&mut talks);
            let look = move || (look_into(&id, pid, &ports, requests, &mut heard), heard);
            let look = tokio::task::spawn_blocking(look).await;
            let look = match look {
                Ok((look, heard)) => {
                    talks = heard;
                    look
                }
                Err(error) => Err(LookError::Failed(std::io::Error::other(error))),
            };
            match look {
                Ok(look) => tell(CountObservation::count(at, since, Duration::ZERO, look, leaving.drain)),
                Err(LookError::OutOfReach(why)) => {
                    tracing::debug!(
                        container = leaving.id.as_str(),
                        "requests in flight cannot be counted from here: {why}"
                    );
                    return Ok(OutOfReach);
                }
                Err(LookError::Failed(error)) => {
                    tracing::debug!(container = leaving.id.as_str(), "a look at requests in flight failed: {error}");
                    let failed = seen.borrow().failed(at);
                    tell(failed);
                }
            }
            tokio::select! {
                () = hurry.pace() => {}
                () = seen.closed() => return Err(Unwanted),
            }
        }
    }

    /// Until nobody wants to know.
    async fn by_companion(
        &self,
        leaving: &DrainingReplica,
        seen: &watch::Sender<CountObservation>,
        tell: &impl Fn(CountObservation),
    ) -> Unwanted {
        while !seen.is_closed() {
            match self.makers.find().await {
                Ok(Some(CompanionImage { docker, image, program })) => {
                    self.swept.get_or_init(|| docker.sweep_companions()).await;
                    let mut command = vec![program.display().to_string()];
                    command.extend(companion::arguments(leaving.limit, leaving.requests));
                    match docker.start_companion(image, &command, &leaving.id).await {
                        Ok(companion) => {
                            self.listen(docker, &companion, leaving.drain, seen, tell).await;
                            docker.remove_companion(&companion).await;
                        }
                        Err(error) => tracing::warn!(container = leaving.id.as_str(), "no companion: {error}"),
                    }
                }
                Ok(None) => {
                    tell(CountObservation::uncountable(self.clock.now()));
                    seen.closed().await;
                    return Unwanted;
                }
                Err(error) => tracing::warn!(container = leaving.id.as_str(), "no companion yet: {error}"),
            }
            let failed = seen.borrow().failed(self.clock.now());
            tell(failed);
            tokio::select! {
                () = tokio::time::sleep(RETRY_INTERVAL) => {}
                () = seen.closed() => {}
            }
        }
        Unwanted
    }

    async fn listen(
        &self,
        docker: &Docker,
        id: &ContainerId,
        drain: Drain,
        seen: &watch::Sender<CountObservation>,
        tell: &impl Fn(CountObservation),
    ) {
        let (mut lines, since) = (docker.companion_lines(id), self.clock.now());
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                () = seen.closed() => return,
            };
            let Some(line) = line else { return };
            let at = self.clock.now();
            match companion::read(&line) {
                Ok(look) => tell(CountObservation::count(at, since, MAX_AGE, look, drain)),
                Err(why) => {
                    tracing::debug!("a companion says: {why}");
                    let failed = seen.borrow().failed(at);
                    tell(failed);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_companions_word_of_before_all_had_let_go_is_none() {
        let ms = |ms| Timestamp::UNIX_EPOCH + Duration::from_millis(ms);
        let none = Look { busy: 0, open: 0, listening: 1 };
        let seen = CountObservation::count(ms(1000), ms(0), MAX_AGE, none, Drain::Requests);
        assert!(seen.holds(ms(1100), None) && !seen.holds(ms(1200), None));
        assert!(seen.holds(ms(1100), Some(ms(900))), "they had let go by then");
        assert!(!seen.holds(ms(1100), Some(ms(1050))), "a request may have come in between");
    }

    #[test]
    fn what_is_written_tells_whether_requests_come_in_turn() {
        let labels = |key: &str, value: &str| json!({ "labels": { (key): value } });
        let scheme = "traefik.http.services.web.loadbalancer.server.scheme";
        let several = [
            json!({ "ports": [{ "target": 50051, "app_protocol": "grpc" }] }),
            json!({ "ports": [{ "target": 80, "app_protocol": "kubernetes.io/h2c" }] }),
            labels(scheme, "h2c"),
            labels(&scheme.replace("traefik", "Traefik"), "HTTPS"),
            labels("caddy.reverse_proxy", "{{upstreams h2c 8080}}"),
            labels("caddy_0.reverse_proxy.transport.versions", "h2c 2"),
            json!({ "readiness": { "grpc": { "port": 50051 } } }),
        ];
        let in_turn = [
            json!({ "ports": [{ "target": 80, "app_protocol": "http" }] }),
            labels(scheme, "http"),
            labels("traefik.http.routers.web.rule", "Host(`https.example.com`)"),
            labels("caddy", "https://example.com"),
            json!({ "readiness": { "http": { "path": "/", "port": 80 } } }),
        ];
        let of = |spec: &serde_json::Value| {
            let mut spec = spec.clone();
            spec["image"] = json!("web");
            requests(&serde_json::from_value(spec).expect("a spec"))
        };
        for spec in several {
            assert_eq!(of(&spec), Requests::Interleaved, "{spec}");
        }
        for spec in in_turn {
            assert_eq!(of(&spec), Requests::InTurn, "{spec}");
        }
    }
}
