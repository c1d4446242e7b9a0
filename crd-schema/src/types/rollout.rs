//! How a service moves from one revision to the next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{ComposeDuration, Decimal, IntOrPercent, Rounding};

/// How a service moves from one revision to the next. Every key has a default: the project's, then composed's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Whether the new replica starts before the old one stops. Default `auto`: start-first where two replicas can
    /// live side by side, stop-first where a fixed host port, a container name or a volume forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// How many replicas above `replicas` may exist during a rollout, as a count or a percentage (rounded up).
    /// Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrPercent>,
    /// How many of `replicas` may be missing during a rollout, as a count or a percentage (rounded down). Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrPercent>,
    /// How long a replica must stay ready before it counts as available. Default `5s` with a healthcheck or readiness
    /// probe, `10s` without either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<ComposeDuration>,
    /// How long a rollout may go without progress before it has failed. Default `600s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_deadline: Option<ComposeDuration>,
    /// What to do with a failed rollout. Default `rollback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_action: Option<FailureAction>,
    /// Which share of the replicas may fail in a rollout that succeeds, as in Swarm: with `0.25`, one of four. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failure_ratio: Option<Decimal>,
    /// What is different while a failed rollout goes back, as Swarm's `rollback_config`. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// Put the first new replica on trial: it takes a share of the requests for a while before the others follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
    /// A replica with a healthcheck that has no verdict by then has failed. Asked for by a command, not by documents.
    #[serde(skip)]
    pub health_deadline: Option<ComposeDuration>,
}

/// The trial of a new revision. Where the requests come by a path that cannot weigh, its replica takes an equal share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Its share of the requests in percent, 1 to 99.
    pub weight: u8,
    /// How long it is held, from the moment at which it is available.
    pub hold: ComposeDuration,
}

/// What is different while a failed rollout goes back. What it leaves open is as in the rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// As `order` of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// As `max_surge` of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<IntOrPercent>,
    /// As `max_unavailable` of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<IntOrPercent>,
    /// As `min_ready` of the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_ready: Option<ComposeDuration>,
}

impl Rollout {
    /// Whether it says of both `max_surge` and `max_unavailable` that they are 0: nothing could ever be replaced. Kubernetes
    /// refuses that, too.
    pub fn cannot_move(&self) -> bool {
        // Of 100, so that every percentage above 0 counts.
        let zero = |value: Option<IntOrPercent>| value.is_some_and(|value| value.of(100, Rounding::Up) == 0);
        zero(self.max_surge) && zero(self.max_unavailable)
    }

    /// The rules by which it goes back.
    #[must_use]
    pub fn of_rollback(&self) -> Self {
        let back = self.rollback.unwrap_or_default();
        Self {
            order: back.order.or(self.order),
            max_surge: back.max_surge.or(self.max_surge),
            max_unavailable: back.max_unavailable.or(self.max_unavailable),
            min_ready: back.min_ready.or(self.min_ready),
            ..self.clone()
        }
    }

    /// This rollout, with what it leaves open taken from `defaults`.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        Self {
            order: self.order.or(defaults.order),
            max_surge: self.max_surge.or(defaults.max_surge),
            max_unavailable: self.max_unavailable.or(defaults.max_unavailable),
            min_ready: self.min_ready.or(defaults.min_ready),
            progress_deadline: self.progress_deadline.or(defaults.progress_deadline),
            failure_action: self.failure_action.or(defaults.failure_action),
            max_failure_ratio: self.max_failure_ratio.or_else(|| defaults.max_failure_ratio.clone()),
            rollback: self.rollback.or(defaults.rollback),
            canary: self.canary.or(defaults.canary),
            health_deadline: self.health_deadline.or(defaults.health_deadline),
        }
    }
}

/// Whether the new replica starts before the old one stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Start-first where two replicas can live side by side, else stop-first.
    #[default]
    Auto,
    /// The new replica is available before the old one is stopped.
    StartFirst,
    /// The old replica is gone before the new one starts.
    StopFirst,
    /// All old replicas are gone before the first new one starts: for what must never run in two versions.
    Recreate,
}

/// What to do with a failed rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailureAction {
    /// Go back to the revision that last became available.
    #[default]
    Rollback,
    /// Stay where it is and wait for a new spec.
    Pause,
    /// Go on with it, ever more slowly: what runs of the revision before stays until its successors are available.
    Continue,
}
