//! A simulated container and how it behaves: everything about it follows from the time.

use std::sync::Arc;
use std::time::Duration;

use composed_core::model::{Health, HookEnd, HookFailure, HookKind, HookRun, Probe, Replica, RunningOperation, State};
use crd_schema::{RestartPolicy, ServiceSpec};
use jiff::Timestamp;

/// How a simulated image behaves.
#[expect(clippy::struct_excessive_bools, reason = "each is another way to behave")]
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// From start to the first moment at which it answers.
    pub ready_after: Duration,
    /// It never answers.
    pub never_ready: bool,
    /// It ends by itself so long after each start.
    pub exits_after: Option<Duration>,
    /// The code that it ends with then.
    pub exit_code: i64,
    /// It becomes unhealthy so long after each start.
    pub sickens_after: Option<Duration>,
    /// The engine cannot start it.
    pub unstartable: bool,
    /// Its post-start hooks fail.
    pub fails_post_start: bool,
    /// Its pre-stop hooks fail.
    pub fails_pre_stop: bool,
    /// A hook's container of it runs so long, and ends with this code.
    pub hook: (Duration, i64),
    /// From the stop signal to its end; longer than the grace period means SIGKILL.
    pub stop_takes: Duration,
    /// Requests in flight end so long after it has left traffic.
    pub busy_for: Duration,
    /// Requests come by a proxy that takes in so late who serves; without one nobody needs telling.
    pub lag: Option<Duration>,
    /// The proxy says so long after it was told that it has let go: sooner than it has, if it lies; much later, or never in
    /// time, if it is dead. `None`: when it has.
    pub says_left: Option<Duration>,
    /// How many requests the proxy sends.
    pub load: Load,
}

/// How many requests come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// There is always one in flight.
    #[default]
    Steady,
    /// At most moments none is in flight, though the proxy still sends.
    Rare,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            ready_after: Duration::from_millis(500),
            never_ready: false,
            exits_after: None,
            exit_code: 1,
            sickens_after: None,
            unstartable: false,
            fails_post_start: false,
            fails_pre_stop: false,
            hook: (Duration::from_secs(1), 0),
            stop_takes: Duration::from_millis(100),
            busy_for: Duration::from_millis(300),
            lag: None,
            says_left: None,
            load: Load::Steady,
        }
    }
}

/// What becomes of a hook that fails.
fn failed_hook() -> HookFailure {
    HookFailure { why: "`hook` exited with code 1".to_owned(), output: vec!["no route".to_owned()] }
}

/// A simulated container.
#[derive(Clone, Debug)]
pub struct Container {
    /// What the controller sees, but for health and probe, which follow from the time.
    pub replica: Replica,
    /// What it was made of.
    pub spec: Arc<ServiceSpec>,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// When a stop that was begun ends.
    pub stops_at: Option<Timestamp>,
    /// When pre-stop hooks that were begun end.
    pub hooks_end_at: Option<Timestamp>,
    /// When post-start hooks that were begun end.
    pub post_start_ends_at: Option<Timestamp>,
    /// It is the container of a hook.
    pub hook: Option<HookKind>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Made by this controller; others are never shown and never touched.
    pub ours: bool,
    /// Whether its proxy was told that it serves, or that it does no longer, and when.
    pub told: Option<(bool, Timestamp)>,
    pub(super) shown: Option<(State, Health, Probe)>,
}

impl Container {
    /// Whether it answers requests.
    pub fn answers(&self, now: Timestamp) -> bool {
        let Some(started) = self.replica.started_at.filter(|_| self.replica.state == State::Running) else {
            return false;
        };
        let sick = self.behaviour.sickens_after.is_some_and(|after| now >= started + after);
        !self.behaviour.never_ready && !sick && now >= started + self.behaviour.ready_after
    }

    /// Whether its proxy sends it requests: it was told so, and has taken that in.
    pub fn in_rotation(&self, now: Timestamp) -> bool {
        let taken_in = |since: Timestamp| now >= since + self.behaviour.lag.unwrap_or_default();
        self.told.is_some_and(|(serves, since)| serves == taken_in(since))
    }

    fn has_check(&self) -> bool {
        self.spec.healthcheck.as_ref().is_some_and(|check| !check.disable)
    }

    /// `start_period + retries x interval`, with the engine's defaults: from then on a silent one is unhealthy.
    fn patience(&self) -> Duration {
        let check = self.spec.healthcheck.clone().unwrap_or_default();
        let interval = check.interval.map_or(Duration::from_secs(30), crd_schema::ComposeDuration::get);
        let start_period = check.start_period.map_or(Duration::ZERO, crd_schema::ComposeDuration::get);
        start_period + interval * check.retries.unwrap_or(3)
    }

    pub(super) fn health(&self, now: Timestamp) -> Health {
        if !self.has_check() {
            return Health::None;
        }
        // The engine says unhealthy of whatever does not run.
        let Some(started) = self.replica.started_at.filter(|_| self.replica.state == State::Running) else {
            return Health::Unhealthy;
        };
        let sick = self.behaviour.sickens_after.is_some_and(|after| now >= started + after);
        if self.answers(now) {
            Health::Healthy
        } else if sick || now >= started + self.patience() {
            Health::Unhealthy
        } else {
            Health::Starting
        }
    }

    pub(super) fn probe(&self, now: Timestamp) -> Probe {
        match &self.spec.readiness {
            None => Probe::None,
            Some(_) if self.answers(now) => Probe::Passing,
            Some(_) => Probe::Failing("connection refused".to_owned()),
        }
    }

    pub(super) fn busy_with(&self) -> Option<RunningOperation> {
        let stop = self.stops_at.map(|_| RunningOperation::Stop);
        let greets = self.post_start_ends_at.map(|_| RunningOperation::PostStart);
        stop.or(self.hooks_end_at.map(|_| RunningOperation::PreStop)).or(greets)
    }

    /// When it changes by itself, after `now`.
    pub(super) fn changes_after(&self, now: Timestamp) -> Option<Timestamp> {
        let started = self.replica.started_at.filter(|_| self.replica.state == State::Running);
        let after = |span: Option<Duration>| started.zip(span).map(|(at, span)| at + span);
        [
            self.stops_at,
            self.hooks_end_at,
            self.post_start_ends_at,
            after(Some(self.behaviour.ready_after)),
            after(self.ends_after()),
            after(self.behaviour.sickens_after),
            after(Some(self.patience())),
        ]
        .into_iter()
        .flatten()
        .filter(|at| *at > now)
        .min()
    }
}

impl Container {
    /// So long after its start it ends by itself.
    fn ends_after(&self) -> Option<Duration> {
        if self.hook.is_some() { Some(self.behaviour.hook.0) } else { self.behaviour.exits_after }
    }

    /// What is seen of a hook's container.
    pub(super) fn run(&self) -> Option<HookRun> {
        let ended = !self.replica.state.is_live() && self.ended_at.is_some();
        Some(HookRun {
            id: self.replica.id.clone(),
            name: self.replica.name.clone(),
            kind: self.hook?,
            revision: self.replica.revision.clone(),
            generation: self.replica.generation,
            attempt: self.replica.number,
            state: self.replica.state,
            started_at: self.replica.started_at,
            ended_at: self.ended_at,
            out_of_memory: false,
            stopping: self.stops_at.is_some(),
            stopped_externally: self.replica.stopped_externally,
            output: if ended { vec![format!("{} is done", self.spec.image)] } else { Vec::new() },
        })
    }

    pub(super) fn advance(&mut self, now: Timestamp) {
        if self.hooks_end_at.is_some_and(|end| now >= end) {
            self.hooks_end_at = None;
            self.replica.pre_stop_done = true;
            self.replica.pre_stop_failure = self.behaviour.fails_pre_stop.then(failed_hook);
        }
        if self.post_start_ends_at.is_some_and(|end| now >= end) {
            self.post_start_ends_at = None;
            let failed = self.behaviour.fails_post_start.then(failed_hook);
            self.replica.post_start = Some(failed.map_or(HookEnd::Done, HookEnd::Failed));
        }
        if self.stops_at.is_some_and(|end| now >= end) {
            self.exit(if self.hook.is_some() { 143 } else { 0 }, now);
        }
        let started = self.replica.started_at.filter(|_| self.replica.state == State::Running);
        let ends = started.zip(self.ends_after()).map(|(at, after)| at + after);
        if ends.is_some_and(|end| now >= end) {
            if self.hook.is_some() {
                self.exit(self.behaviour.hook.1, now);
            } else if self.restarts_after(self.behaviour.exit_code) {
                self.replica.restart_count += 1;
                self.replica.started_at = Some(now);
            } else {
                self.exit(self.behaviour.exit_code, now);
            }
        }
    }

    /// As the engine's restart manager decides it: `on-failure` counts its restarts.
    fn restarts_after(&self, code: i64) -> bool {
        self.replica.restarts
            && match self.spec.restart {
                Some(RestartPolicy::OnFailure(times)) => {
                    let left = times.filter(|times| *times > 0).is_none_or(|times| self.replica.restart_count < times);
                    code != 0 && left
                }
                _ => true,
            }
    }

    pub(super) fn stop(&mut self, now: Timestamp) {
        if self.replica.state.is_live() {
            let grace = self.spec.stop_grace_period.map_or(Duration::from_secs(10), crd_schema::ComposeDuration::get);
            self.stops_at.get_or_insert(now + self.behaviour.stop_takes.min(grace));
        }
    }

    pub(super) fn exit(&mut self, code: i64, now: Timestamp) {
        self.replica.state = State::Exited(code);
        self.ended_at = Some(now);
        self.stops_at = None;
        self.hooks_end_at = None;
        self.post_start_ends_at = None;
    }
}
