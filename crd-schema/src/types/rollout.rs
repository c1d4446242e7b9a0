//! How a service moves from one revision to the next.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::{ComposeDuration, IntOrPercent};

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

impl Rollout {
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
}
