//! The rollout policy of a specification with every default applied: Kubernetes' numbers, Compose's words.

mod exclusive;

use std::time::Duration;

use crd_schema::{Decimal, FailureAction, Healthcheck, IntOrPercent, Order, Rounding, ServiceSpec};

use crate::model::Replica;

pub use exclusive::is_named_as_file;
pub(super) use exclusive::unknown_volumes;

/// Time from leaving traffic to the stop signal, at most (kamal-proxy, Argo).
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Kubernetes, Argo, Flagger and Nomad agree on it.
const PROGRESS_DEADLINE: Duration = Duration::from_mins(10);
/// Swarm's monitor, uncloud.
const MIN_READY: Duration = Duration::from_secs(5);
/// docker-rollout's wait where nothing tells whether the application is ready.
const MIN_READY_WITHOUT_CHECK: Duration = Duration::from_secs(10);
/// No healthcheck is given up earlier than this (docker-rollout's timeout).
const HEALTH_DEADLINE_FLOOR: Duration = Duration::from_mins(1);
/// The engine's own healthcheck defaults (moby daemon/health.go).
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
const HEALTH_RETRIES: u32 = 3;

/// The words for a rollout that may not add a replica, though two could run side by side.
const WITHOUT_SURGE: &str = "one leaves traffic before the next starts: max_surge is 0";

/// The words for one that never runs in two revisions.
const RECREATE: &str = "recreate: asked for: all of the old ones are gone before the first new one starts";

/// How a service moves from one revision to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Replicas wanted.
    pub replicas: u32,
    /// So many more than that may be live at once.
    pub surge: u32,
    /// So many fewer than that may be available.
    pub unavailable: u32,
    /// Two copies may not run at once: the old one is stopped first.
    pub stop_first: bool,
    /// All of another revision have to be gone before one of the wanted revision starts.
    pub recreate: bool,
    /// The order and its reason, for people.
    pub strategy: String,
    /// Ready without a break for so long makes a replica available.
    pub min_ready: Duration,
    /// A replica with a healthcheck that has no verdict by then has failed.
    pub health_deadline: Option<Duration>,
    /// A rollout that comes no nearer to its end for so long has failed.
    pub progress_deadline: Duration,
    /// The trial of a new revision.
    pub canary: Option<CanaryPolicy>,
    /// So many failures of replicas are tolerated in a rollout that succeeds.
    pub tolerated: u32,
    /// What a failed rollout does.
    pub failure_action: FailureAction,
    /// From leaving traffic to the stop signal, at most.
    pub drain_timeout: Duration,
}

/// How a new revision is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanaryPolicy {
    /// Its share of the requests in percent.
    pub weight: u8,
    /// How long it is held.
    pub hold: Duration,
}

impl Policy {
    /// The policy that `spec` asks for.
    pub fn from_spec(spec: &ServiceSpec) -> Self {
        Self::with(spec, &[])
    }

    /// The policy that `spec` asks for, where there are these replicas: what they have written must not be left behind.
    pub fn with(spec: &ServiceSpec, there: &[Replica]) -> Self {
        let rollout = spec.rollout.clone().unwrap_or_default();
        let replicas = spec.replicas.unwrap_or(1);
        let exclusive = exclusive::reason(&spec.of_replicas()).or_else(|| exclusive::owns_data(spec, there));
        let (stop_first, strategy) = match (rollout.order.unwrap_or_default(), exclusive) {
            (Order::Recreate, _) => (true, RECREATE.to_owned()),
            (Order::StopFirst, _) => (true, "stop-first: asked for".to_owned()),
            (Order::StartFirst, _) => (false, "start-first: asked for".to_owned()),
            (Order::Auto, Some(reason)) => (true, format!("stop-first: {reason}")),
            (Order::Auto, None) => (false, "start-first".to_owned()),
        };
        let surge = rollout.max_surge.unwrap_or(IntOrPercent::Int(1)).of(replicas, Rounding::Up);
        let strategy = if stop_first || surge > 0 { strategy } else { WITHOUT_SURGE.to_owned() };
        let strategy = strategy + &describe_strategy(spec);
        let unavailable = rollout.max_unavailable.unwrap_or(IntOrPercent::Int(0)).of(replicas, Rounding::Down);
        let surge = if stop_first { 0 } else { surge };
        let recreate = rollout.order == Some(Order::Recreate);
        let unavailable = if recreate { replicas } else { unavailable };
        // Kubernetes: with both at zero nothing could ever move, so one may be unavailable.
        let unavailable = if surge == 0 { unavailable.max(1) } else { unavailable };
        let seen = has_healthcheck(spec) || spec.readiness.is_some();
        Self {
            replicas,
            surge,
            unavailable,
            stop_first,
            recreate,
            strategy,
            min_ready: match rollout.min_ready {
                Some(asked) => asked.get(),
                None if seen => MIN_READY,
                None => MIN_READY_WITHOUT_CHECK,
            },
            health_deadline: match rollout.health_deadline {
                Some(asked) => Some(asked.get()),
                None => spec.healthcheck.as_ref().filter(|check| has_own_test(check)).map(health_deadline),
            },
            progress_deadline: rollout.progress_deadline.map_or(PROGRESS_DEADLINE, crd_schema::ComposeDuration::get),
            canary: rollout.canary.map(|canary| CanaryPolicy { weight: canary.weight, hold: canary.hold.get() }),
            tolerated: rollout.max_failure_ratio.map_or(0, |ratio| tolerated(&ratio, replicas)),
            failure_action: rollout.failure_action.unwrap_or_default(),
            drain_timeout: drain_timeout(spec),
        }
    }

    /// The policy by which a rollout of `spec` that has failed goes back, if that is another one.
    pub fn of_rollback(spec: &ServiceSpec, there: &[Replica]) -> Option<Self> {
        let rollout = spec.rollout.as_ref().filter(|rollout| rollout.rollback.is_some())?;
        Some(Self::with(&ServiceSpec { rollout: Some(rollout.of_rollback()), ..spec.clone() }, there))
    }

    /// The same, where two copies may not run at once.
    #[must_use]
    pub fn stopping_first(self) -> Self {
        Self { stop_first: true, surge: 0, unavailable: self.unavailable.max(1), ..self }
    }

    /// At least so many are available at every moment of a rollout.
    pub fn floor(&self) -> usize {
        self.replicas.saturating_sub(self.unavailable) as usize
    }

    /// At most so many run at every moment of a rollout.
    pub fn ceiling(&self) -> usize {
        self.replicas.saturating_add(self.surge) as usize
    }
}

/// Of 4 replicas with a ratio of 0.3, one: as in Swarm, a rollout fails when a larger share of them has failed.
fn tolerated(ratio: &Decimal, replicas: u32) -> u32 {
    let tolerated = u128::from(ratio.nano()) * u128::from(replicas) / 1_000_000_000;
    u32::try_from(tolerated).unwrap_or(u32::MAX).min(replicas)
}

/// Which way requests come, where composed brings it who serves, or whose network they come to.
fn describe_strategy(spec: &ServiceSpec) -> String {
    if let Some((_, other)) = spec.shares().find(|(key, _)| *key == "network_mode") {
        return format!("; in the network of {other}, within which the old one is stopped first");
    }
    let driver = spec.traffic.as_ref().and_then(|traffic| traffic.haproxy.as_ref());
    match (&spec.front, driver) {
        (Some(_), _) => "; requests come by its front".to_owned(),
        (None, Some(driver)) => format!("; requests come by HAProxy at {}, backend {}", driver.socket, driver.backend),
        (None, None) => String::new(),
    }
}

/// From leaving traffic to the stop signal, at most.
pub fn drain_timeout(spec: &ServiceSpec) -> Duration {
    spec.drain_timeout.map_or(DRAIN_TIMEOUT, crd_schema::ComposeDuration::get)
}

/// Whether its numbers are all known: those of the image's own healthcheck are not.
fn has_own_test(check: &Healthcheck) -> bool {
    !check.disable && check.test.first().is_some_and(|word| word != "NONE")
}

fn has_healthcheck(spec: &ServiceSpec) -> bool {
    let none = |check: &Healthcheck| check.disable || check.test.first().is_some_and(|word| word == "NONE");
    spec.healthcheck.as_ref().is_some_and(|check| !none(check))
}

/// The latest moment at which the engine can still say `healthy` for the first time, with one more round as margin.
/// `start_period` 10 s, interval 5 s, timeout 3 s, retries 3: 10 + (3 + 1) x (5 + 3) = 42 s, so the floor of 60 s counts.
fn health_deadline(check: &Healthcheck) -> Duration {
    let interval = check.interval.map_or(HEALTH_INTERVAL, crd_schema::ComposeDuration::get);
    let timeout = check.timeout.map_or(HEALTH_TIMEOUT, crd_schema::ComposeDuration::get);
    let rounds = check.retries.filter(|retries| *retries > 0).unwrap_or(HEALTH_RETRIES) + 1;
    let start_period = check.start_period.map_or(Duration::ZERO, crd_schema::ComposeDuration::get);
    (start_period + (interval + timeout) * rounds).max(HEALTH_DEADLINE_FLOOR)
}
