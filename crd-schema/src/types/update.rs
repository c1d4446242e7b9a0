//! How a service follows new images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scalar::ComposeDuration;
use crate::forms::{Refusal, Shorten};

/// How a service follows new images. Every key has a default: the project's, then composed's own. Written as `digest`,
/// `none` or a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// What counts as a new image. Default `semver` where a range is given, else `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<UpdatePolicy>,
    /// The range of versions that `semver` follows, as Cargo writes it: `~1.4` is 1.4.0 to below 1.5.0, `^1` is below 2.0.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// How often the registry is asked, give or take a tenth; services with one image are one question. Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ComposeDuration>,
    /// How long a new image is left to settle, from the moment at which it is known, before it rolls out; one that is
    /// replaced meanwhile never does. Default `0s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<ComposeDuration>,
    /// The platforms, such as `linux/amd64`, that a new image in the registry must be for; until it is for all of them the
    /// present one stays. Default: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// How many images of earlier revisions stay on the host beside the present one. Older ones are removed if composed
    /// fetched them and nothing uses them. Default 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_history: Option<u32>,
}

/// What counts as a new image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpdatePolicy {
    /// Nothing: only a changed document changes the image.
    #[default]
    None,
    /// Another image behind the same tag: on this host, at once, or in the registry, at the next question.
    Digest,
    /// A higher version among the registry's tags, within `semver`; and another image behind the tag that is followed.
    Semver,
}

impl Update {
    /// These rules, with what they leave open taken from `defaults`. A policy and its range are taken together.
    #[must_use]
    pub fn or(self, defaults: &Self) -> Self {
        let own = self.policy.is_some() || self.semver.is_some();
        let (policy, semver) =
            if own { (self.policy, self.semver) } else { (defaults.policy, defaults.semver.clone()) };
        Self {
            policy,
            semver,
            interval: self.interval.or(defaults.interval),
            cooldown: self.cooldown.or(defaults.cooldown),
            platforms: if self.platforms.is_empty() { defaults.platforms.clone() } else { self.platforms },
            image_history: self.image_history.or(defaults.image_history),
        }
    }

    /// The policy, with its default applied.
    pub fn policy(&self) -> UpdatePolicy {
        let open = if self.semver.is_some() { UpdatePolicy::Semver } else { UpdatePolicy::None };
        self.policy.unwrap_or(open)
    }

    /// The range of versions, as it is compared; else what is wrong with it, in words.
    pub fn range(&self) -> Option<Result<semver::VersionReq, String>> {
        self.semver.as_ref().map(|range| semver::VersionReq::parse(range).map_err(|error| error.to_string()))
    }
}

impl Shorten for Update {
    const EXPECTING: &'static str = "`digest`, `none` or a map with `policy`";

    fn short(policy: &str) -> Result<Self, Refusal> {
        let policy = match policy {
            "digest" => UpdatePolicy::Digest,
            "none" => UpdatePolicy::None,
            "semver" => {
                let help = "write `update: {semver: \"~1.4\"}`";
                return Err(Refusal::new("`semver` needs a range of versions", help));
            }
            _ => {
                let help = "write `digest`, `none` or `{semver: \"~1.4\"}`";
                return Err(Refusal::new(format!("`{policy}` is not a policy for new images"), help));
            }
        };
        Ok(Self { policy: Some(policy), ..Self::default() })
    }
}
