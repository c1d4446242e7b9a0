//! What Traefik knows of one replica.

use crd_schema::{ContainerId, Revision};
use std::time::Duration;

use composed_core::model::{Replica, ServiceName, ServiceRecord};
use composed_platform::listen::Hosts;
use composed_status::store::EndpointState;
use crd_schema::ServiceSpec;
use crd_schema::status::{Proof, TrafficPath};
use tokio::time::Instant;

use super::super::paths::{PropagationState, TrafficProvider};
use super::loaded::{ApiAnswer, ApiMonitor};
use super::{MARGIN, MAX_POLL_INTERVAL, Traefik, config};

/// What was not handed over is looked at again after so long.
const RECHECK_INTERVAL: Duration = MARGIN;
/// What is waited for where the file cannot be written.
const STALE: &str = "Traefik's file to be written (the log says why it cannot be)";
/// A configuration that is not loaded for so much longer than Traefik may take is told as not loaded.
const LATE_MARGIN: Duration = Duration::from_secs(3);

impl Traefik {
    /// What is waited for, and since when Traefik has not loaded what it was given, if that takes too long.
    fn late(&self, said: &ApiAnswer) -> Option<String> {
        let api = self.loaded.as_ref().map(ApiMonitor::authority).unwrap_or_default();
        let time = |at| self.clock.timestamp(at).strftime("%T").to_string();
        if let Some((since, why)) = &said.silent {
            let since = time(*since);
            return Some(format!(
                "its API at {api} does not answer since {since} ({why}): what it has loaded is not known"
            ));
        }
        let poll = if self.options.by_file { Duration::ZERO } else { MAX_POLL_INTERVAL };
        let first = self.lock().first_after(said.number)?;
        let is_late = said.asked? > first.at + self.bound() + poll + LATE_MARGIN;
        is_late.then(|| {
            let path = if self.options.by_file { "its file" } else { "its HTTP provider's configuration" };
            let since = time(first.at);
            format!("Traefik has not loaded {path} since {since}: its log says why (asked at {api})")
        })
    }

    /// By the word of its API.
    fn seen(
        &self,
        loaded: &ApiMonitor,
        service: &ServiceName,
        id: &ContainerId,
        shown: (bool, Option<EndpointState>),
    ) -> PropagationState {
        let (serves, shown) = shown;
        // What was in traffic before this process stays: an API that is away holds rollouts, and takes nothing from anybody.
        if serves && self.before().get(service).is_some_and(|ids| ids.contains(id)) {
            return PropagationState::Settled;
        }
        let said = loaded.said();
        let wait = |what: String| {
            self.lock().asks = true;
            PropagationState::Pending { what, until: Instant::now() + RECHECK_INTERVAL }
        };
        let what = || match (self.late(&said), serves) {
            (Some(late), _) => format!("Traefik ({late})"),
            (None, true) => "Traefik to load its configuration with it".to_owned(),
            (None, false) => "Traefik to load its configuration without it".to_owned(),
        };
        let Some(shown) = shown else {
            // What is loaded of this process has never named it.
            return if !serves && said.highest.is_some() { PropagationState::Unused } else { wait(what()) };
        };
        let handed = self.lock().first_with(shown.version).filter(|_| shown.serving == serves);
        let is_loaded =
            handed.is_some_and(|handed| said.number >= Some(handed.number) && said.asked >= Some(handed.at));
        if is_loaded { PropagationState::Settled } else { wait(what()) }
    }

    /// Why Traefik would not take what the replica's own revision says, while another one serves of which it takes all: it
    /// is that one's labels that are in force.
    fn held(&self, service: &ServiceName, replica: &Replica) -> Option<String> {
        let labels = self.statuses.labels();
        let revisions = labels.get(service)?;
        let wrong = config::problems(revisions.get(&replica.revision)?);
        let first = wrong.first()?;
        let status = self.statuses.status(service)?;
        let mut others = status.instances.iter().filter(|other| other.serves());
        let is_good = |revision: &Revision| {
            revisions.get(revision).is_some_and(|own| config::concerns(own) && config::problems(own).is_empty())
        };
        others.any(|other| is_good(&other.revision)).then(|| format!("Traefik to take its labels: {first}"))
    }
}

impl TrafficProvider for Traefik {
    fn notice(&self, service: &ServiceName, _: Option<&ServiceSpec>, memory: &ServiceRecord, _: &[Replica]) {
        let served = || memory.replicas.serving.keys().cloned().collect();
        self.before().entry(service.clone()).or_insert_with(served);
    }

    /// The one who leaves is waited for: handed over, and then as long as Traefik may take to apply it, or until its API
    /// shows that. The one who comes need not be where no API is given, as long as things can be handed over: until it is
    /// applied, requests go to those who stay.
    fn propagation(
        &self,
        service: &ServiceName,
        replica: &Replica,
        serves: bool,
        shown: Option<EndpointState>,
    ) -> PropagationState {
        // Whose labels are not known yet may be ours.
        if self.statuses.labels().get(service).is_some_and(|revisions| !revisions.values().any(config::concerns)) {
            return PropagationState::Unused;
        }
        if let Some(what) = self.held(service, replica).filter(|_| serves) {
            return PropagationState::Pending { what, until: Instant::now() + RECHECK_INTERVAL };
        }
        // What the process before this one handed over may be in force.
        let begin = self.began + MAX_POLL_INTERVAL + self.options.throttle + MARGIN;
        let before_us = || match PropagationState::before(begin, "Traefik to hear of this controller") {
            pending @ PropagationState::Pending { .. } if !serves => pending,
            _ => PropagationState::Unused,
        };
        let is_stale = self.lock().stale;
        let is_used = self.is_used();
        if let Some(loaded) = self.loaded.as_ref().filter(|_| is_used && !is_stale) {
            return self.seen(loaded, service, &replica.id, (serves, shown));
        }
        let Some(shown) = shown else { return before_us() };
        if !is_used {
            return before_us();
        }
        // Until things can be handed over: `progress_deadline` and `drain_timeout` end that.
        if serves {
            return if is_stale {
                PropagationState::before(Instant::now() + RECHECK_INTERVAL, STALE)
            } else {
                PropagationState::Settled
            };
        }
        let handed = self.lock().first_with(shown.version).filter(|_| !shown.serving);
        let until = handed.map_or_else(|| Instant::now() + RECHECK_INTERVAL, |handed| handed.at + self.bound());
        let what = match (is_stale, self.options.by_file) {
            (true, _) => STALE,
            (false, true) => "Traefik to apply its file",
            (false, false) => "Traefik to ask and apply",
        };
        PropagationState::before(until, what)
    }

    fn about(&self, service: &ServiceName) -> Option<TrafficPath> {
        let labels = self.statuses.labels();
        labels.get(service).filter(|revisions| revisions.values().any(config::concerns))?;
        let path = if self.options.by_file { "Traefik's file" } else { "Traefik's HTTP provider" };
        if !self.is_used() {
            // It may be a stranger: that holds nothing.
            let host = self.hosts.get().and_then(Hosts::refused)?;
            let detail = format!(
                "it is not served: requests for the host {host} are refused, so that a Traefik which asks by that name keeps \
                 what it has; start composed with --allow-host {host}"
            );
            return Some(TrafficPath { path: path.to_owned(), proof: Proof::NotApplied, detail });
        }
        let (proof, mut detail) = match &self.loaded {
            _ if self.lock().stale => (Proof::NotApplied, "the file cannot be written: the log says why".to_owned()),
            Some(loaded) => match self.late(&loaded.said()) {
                Some(late) => (Proof::NotApplied, late),
                None => (Proof::Proven, "Traefik's own API shows which configuration it has loaded".to_owned()),
            },
            None => {
                let bound = self.bound();
                let detail = format!(
                    "Traefik applies what it was given within {bound:?}, if it takes it; --traefik-api proves that it has"
                );
                (Proof::Bounded, detail)
            }
        };
        // By the labels that are in force, and by those that are not for what is wrong with them.
        let status = self.statuses.status(service);
        let newest = status.and_then(|status| labels.get(service)?.get(&status.revision).map(config::problems));
        let mut wrong = self.made().problems.get(service).cloned().unwrap_or_default();
        for one in newest.unwrap_or_default() {
            if !wrong.contains(&one) {
                wrong.push(one);
            }
        }
        if !wrong.is_empty() {
            detail = format!("{detail}; left out: {}", wrong.join("; "));
        }
        Some(TrafficPath { path: path.to_owned(), proof, detail })
    }
}
