//! The settings file: which repositories documents come from, who is told, how much at once. Not a document of the language,
//! and read by the same rules.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::is_false;
use crate::{ComposeDuration, Diagnostic};

/// The settings of `composed run --config`. Paths of files are relative to the settings file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The git repositories that documents come from, such as one for each team. A service that two of them describe is
    /// left as it is. Without one, documents come from the directory or file that the command line names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceSettings>,
    /// Where webhooks of git servers arrive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks: Option<WebhooksSettings>,
    /// Who is told what became of rollouts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<NotifySettings>,
    /// How many services may roll out at once. Default: as many as have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_rollouts: Option<u32>,
}

/// Who is told what became of rollouts: once for each outcome, by a POST that is repeated for a while if it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifySettings {
    /// Its name in messages. Default: the format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub name: Option<String>,
    /// In which words. Default `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<NotifyFormat>,
    /// The address. Of Slack and Discord it is a secret: give `url_file` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The file with the address. It is read each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url_file: Option<String>,
    /// The file with the token: a bearer token, or Gotify's key of an application. It is read each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Of which projects, by name or pattern (`shop`, `team-*`). Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub projects: Vec<String>,
    /// Which outcomes. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<NotifyOn>,
}

/// The words of a notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyFormat {
    /// All that is known, as JSON.
    #[default]
    Json,
    /// An incoming webhook of Slack, or of what takes the same.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
    /// An application of Gotify: the address of the server.
    Gotify,
}

/// An outcome that somebody is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotifyOn {
    /// A rollout has succeeded.
    Deployed,
    /// A rollout has failed; what ran before goes on or is back.
    Failed,
    /// A post-deploy hook has failed.
    HookFailed,
    /// Others keep changing a service, and it is left alone for a while.
    Contended,
}

/// One git repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceSettings {
    /// Its name in statuses, messages and webhooks' addresses. Default: the last part of its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub name: Option<String>,
    /// Where it is: `https://...`, `ssh://...`, `user@host:path`, or a path on this host, where a commit is noticed at once.
    pub git: String,
    /// What is followed: a branch, `refs/tags/...` or `semver:RANGE` (the highest tag of that range). Default: the
    /// repository's own branch.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The directory in it with the documents. Default: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often it is asked for news, a bit more or less each time. Default 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<ComposeDuration>,
    /// The file with the private key for ssh, without a passphrase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// The file with the keys of hosts that ssh trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
    /// The file with the token for https. The user's name, where it matters, is the one in the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// What must be signed. Default `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<VerifySetting>,
    /// The file with the SSH keys that may sign, as ssh-keygen's ALLOWED SIGNERS has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_signers: Option<String>,
    /// The file with the PGP public keys that may sign.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<String>,
    /// Take a commit that does not come after the last one, or a lower version. Default: it is refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_rewrite: bool,
    /// The directory of the engine's host that stands for the root of the repository: relative bind mounts are resolved
    /// there. Default: they are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_dir: Option<String>,
    /// A webhook that asks for a look now; it arrives at the path `/NAME`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
    /// Versions that were followed (`update: {semver: ...}`) and proved themselves are written back as commits to the branch
    /// that is followed. Default: they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_back: Option<WriteBackSettings>,
    /// What its Compose project is read with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compose: Option<ComposeSettings>,
}

/// How new versions are written back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteBackSettings {
    /// The file with the token that may push by https. Default: the source's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// The file with the private key that may push by ssh. Default: the source's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<String>,
    /// Whose commits they are, as `Name <mail>`. Default `composed <composed@localhost>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// What a Compose project of a repository is read with, beside the `.env` that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComposeSettings {
    /// The project's name. Default: its own `name`, or the name of its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The profiles that are active.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// Files of this host with variables, in place of the project's `.env`: for what is in no repository.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_files: Vec<String>,
    /// Variables that win over those of files.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
}

/// What must be signed by a key that is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifySetting {
    /// Nothing: who may push may deploy.
    None,
    /// The newest commit.
    Head,
    /// The tag that is followed.
    Tag,
}

/// A webhook of one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// Whose words it uses: `github`, `gitlab`, `gitea` or `forgejo`.
    pub provider: WebhookProvider,
    /// The file with its secret.
    pub secret_file: String,
}

/// A git server that sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WebhookProvider {
    /// `X-Hub-Signature-256`.
    Github,
    /// `X-Gitlab-Token`.
    Gitlab,
    /// `X-Gitea-Signature`.
    Gitea,
    /// `X-Forgejo-Signature`.
    Forgejo,
}

/// Where webhooks arrive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhooksSettings {
    /// The address, such as `0.0.0.0:9798`. Plain HTTP: put a proxy with TLS before it.
    pub listen: String,
}

/// Reads a settings file; `file` is only a name for messages.
///
/// # Errors
/// Every problem found, without the lines themselves: somebody may have written a secret there.
pub fn parse_settings(file: &str, bytes: &[u8]) -> Result<Settings, Vec<Diagnostic>> {
    crate::parse::one(file, bytes)
}
