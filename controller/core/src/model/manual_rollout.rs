//! A rollout of a document that has not changed: a mark on the name of its revision. It reaches no container, so the new
//! containers are like the old ones; and it is part of their labels, so it is found again when the memory is lost.

use std::sync::Arc;
use std::time::Duration;

use crd_schema::{Revision, SpecDigest};
use serde::{Deserialize, Serialize};

use super::{DesiredService, Health, Replica};

/// Stands between the name of a revision and the number of its rollout.
const NUMBER_SEPARATOR: char = '-';

/// Without progress for so long beyond what was asked to be waited for, a rollout has failed.
const PROGRESS_MARGIN: Duration = Duration::from_mins(2);
/// The least time without progress after which a rollout has failed.
const MIN_PROGRESS_DEADLINE: Duration = Duration::from_mins(10);

/// That the replicas of a revision were replaced by others of the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManualRollout {
    /// The revision, as its document has it.
    pub revision: Revision,
    /// How often, so far.
    pub number: u64,
    /// How; it holds for the replicas of this rollout.
    #[serde(default)]
    pub options: RolloutOptions,
}

/// How a rollout goes, where somebody wants it otherwise than the document says. All times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutOptions {
    /// A replica with a healthcheck that is not healthy by then has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// A replica without a healthcheck is available after so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<u64>,
    /// A replica with one is available so long after it has become healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_after_healthy: Option<u64>,
    /// Run by a shell in each replica that is replaced, before it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_stop_hook: Option<String>,
    /// What the document asks for, though somebody has gone back from it by hand.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub to_file: bool,
}

/// A revision without the number of its rollout, as the document alone has it.
pub fn base_revision(revision: &Revision) -> Revision {
    Revision::new(without_number(revision.as_str()))
}

/// A digest without the number of a rollout, as the document alone has it.
pub fn base_digest(digest: &SpecDigest) -> SpecDigest {
    SpecDigest::new(without_number(digest.as_str()))
}

fn without_number(name: &str) -> &str {
    name.split_once(NUMBER_SEPARATOR).map_or(name, |(name, _)| name)
}

/// What the rollout by hand with this number makes of the name of a revision, or of a digest.
pub(super) fn rolled_out(name: &str, number: u64) -> String {
    format!("{name}{NUMBER_SEPARATOR}{number}")
}

/// The number of the rollout of `revision` that `name` stands for.
pub(super) fn rollout_number(name: &Revision, revision: &Revision) -> Option<u64> {
    name.as_str().strip_prefix(revision.as_str())?.strip_prefix(NUMBER_SEPARATOR)?.parse().ok()
}

impl RolloutOptions {
    pub(super) fn apply(&self, desired: &mut DesiredService, replicas: &[Replica]) {
        let min_ready = if is_checked(desired, replicas) { self.wait_after_healthy } else { self.wait };
        if min_ready.is_none() && self.timeout.is_none() {
            return;
        }
        let rollout = Arc::make_mut(&mut desired.spec).rollout.get_or_insert_default();
        let secs = |number: u64| Duration::from_secs(number).into();
        rollout.min_ready = min_ready.map(secs).or(rollout.min_ready);
        rollout.health_deadline = self.timeout.map(secs).or(rollout.health_deadline);
        let waits =
            [rollout.min_ready, rollout.health_deadline].into_iter().flatten().map(crd_schema::ComposeDuration::get);
        let least = waits.fold(PROGRESS_MARGIN, Duration::saturating_add);
        let asked = rollout.progress_deadline.map_or(MIN_PROGRESS_DEADLINE, crd_schema::ComposeDuration::get);
        rollout.progress_deadline = Some(asked.max(least).into());
    }
}

/// Whether anything tells that a replica is well; an image's own healthcheck is seen on those that run.
fn is_checked(desired: &DesiredService, replicas: &[Replica]) -> bool {
    let none = |check: &crd_schema::Healthcheck| check.disable || check.test.first().is_some_and(|word| word == "NONE");
    let own = desired.spec.healthcheck.as_ref().is_some_and(|check| !none(check));
    own || desired.spec.readiness.is_some() || replicas.iter().any(|one| one.health != Health::None)
}
