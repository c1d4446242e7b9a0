//! One-shot containers around a rollout, such as the migration of a database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ImageRef;
use crate::forms::{Command, via};

use super::environment::Environment;
use super::scalar::ComposeDuration;

/// What runs around the rollout of a revision, each in a container of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hooks {
    /// Runs once for each revision, before its first replica is made; only if it ends with code 0 does the rollout begin.
    /// Else the revision has failed, and the one before goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_deploy: Option<DeployHook>,
    /// Runs once after each rollout that has succeeded. If it fails, that is told, and nothing else comes of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_deploy: Option<DeployHook>,
}

/// A container that runs once: of the revision's image, with the service's environment, networks, volumes and limits, but
/// without its name on the networks, its ports and its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployHook {
    /// The command and its arguments; a string is split as a shell would. Default: the image's own, with another `image`.
    #[serde(deserialize_with = "via::<Command, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Command")]
    pub command: Option<Vec<String>>,
    /// The entrypoint. Default: the service's; with another `image`, the image's own.
    #[serde(deserialize_with = "via::<Command, _, _>", default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Command")]
    pub entrypoint: Option<Vec<String>>,
    /// Another image. Default: that of the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// Further variables for it, over those of the service.
    #[serde(default, skip_serializing_if = "Environment::is_empty")]
    pub environment: Environment,
    /// How long it may take; then it is stopped, with its grace period, and has failed. Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<ComposeDuration>,
    /// What is done when somebody or something else has ended it, such as a crash of the host, and nobody knows how far it
    /// came. Default `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_interrupt: Option<OnInterrupt>,
}

/// What is done with a hook that was interrupted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnInterrupt {
    /// It has failed: what is half done is for people to look at.
    #[default]
    Fail,
    /// It is run again, three times in all: for commands that may be repeated.
    Rerun,
}

impl Hooks {
    /// The other images that they name.
    pub(crate) fn images(&self) -> impl Iterator<Item = &ImageRef> {
        [&self.pre_deploy, &self.post_deploy].into_iter().flatten().filter_map(|hook| hook.image.as_ref())
    }
}
