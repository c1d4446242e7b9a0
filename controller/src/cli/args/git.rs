//! The options for desired state from git: one repository by flags, or several by a settings file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::duration::duration;

/// Desired state from git.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Git")]
pub struct Git {
    /// Take the settings from this file (`composed schema --settings`): the repositories to follow in place of DIR, who is
    /// notified of rollouts, how many roll out at the same time.
    #[arg(long, value_name = "FILE", env = "COMPOSED_CONFIG", conflicts_with = "git")]
    pub config: Option<PathBuf>,
    /// Follow this repository instead of DIR: https://..., ssh://..., user@host:path, or a path on this host, where a commit
    /// takes effect at once. A commit is applied as a whole or not at all.
    #[arg(long, value_name = "URL|PATH", env = "COMPOSED_GIT", conflicts_with = "dir")]
    pub git: Option<String>,
    /// What to follow: a branch, refs/tags/... or semver:RANGE, the highest tag of that range. Default: the repository's own
    /// branch.
    #[arg(long, value_name = "REF", env = "COMPOSED_GIT_REF")]
    pub git_ref: Option<String>,
    /// The directory in the repository with the documents. Default: all of it.
    #[arg(long, value_name = "SUBDIR", env = "COMPOSED_GIT_PATH")]
    pub git_path: Option<String>,
    /// Time between two polls, varied by up to 10 %. Default: 60s.
    #[arg(long, value_name = "TIME", value_parser = duration, env = "COMPOSED_GIT_INTERVAL")]
    pub git_interval: Option<Duration>,
    /// The file with the private key for ssh, without a passphrase.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_SSH_KEY")]
    pub git_ssh_key: Option<PathBuf>,
    /// The file with the keys of the hosts that ssh trusts.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_KNOWN_HOSTS")]
    pub git_known_hosts: Option<PathBuf>,
    /// The file with the token for https.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_TOKEN_FILE")]
    pub git_token_file: Option<PathBuf>,
    /// What must be signed by a key that is listed. Default: none.
    #[arg(long, value_enum, value_name = "WHAT", env = "COMPOSED_GIT_VERIFY")]
    pub git_verify: Option<Verified>,
    /// The file with the SSH keys that may sign, as ssh-keygen's ALLOWED SIGNERS has them.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_ALLOWED_SIGNERS")]
    pub git_allowed_signers: Option<PathBuf>,
    /// The file with the PGP public keys that may sign.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_KEYRING")]
    pub git_keyring: Option<PathBuf>,
    /// Accept a commit that does not descend from the last one, or a lower version.
    #[arg(long, env = "COMPOSED_GIT_ALLOW_REWRITE")]
    pub git_allow_rewrite: bool,
    /// Write followed versions (`update: {semver: ...}`) back as commits once they are available.
    #[arg(long, env = "COMPOSED_GIT_WRITE_BACK")]
    pub git_write_back: bool,
    /// The file with the token that may push by https. Default: --git-token-file.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_PUSH_TOKEN_FILE", requires = "git_write_back")]
    pub git_push_token_file: Option<PathBuf>,
    /// The file with the private key that may push by ssh. Default: --git-ssh-key.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_PUSH_SSH_KEY", requires = "git_write_back")]
    pub git_push_ssh_key: Option<PathBuf>,
    /// Author of the commits. Default: composed <composed@localhost>.
    #[arg(long, value_name = "NAME <MAIL>", env = "COMPOSED_GIT_AUTHOR", requires = "git_write_back")]
    pub git_author: Option<String>,
    /// Receive webhooks of git servers on this address, such as 0.0.0.0:9798, at the path /NAME, where NAME is the last part of
    /// the repository's address. Plain HTTP: put a proxy with TLS before it.
    #[arg(long, value_name = "ADDRESS", env = "COMPOSED_GIT_WEBHOOK", requires_all = ["git_webhook_provider", "git_webhook_secret_file"])]
    pub git_webhook: Option<SocketAddr>,
    /// The git server that sends the webhooks.
    #[arg(long, value_enum, value_name = "SERVER", env = "COMPOSED_GIT_WEBHOOK_PROVIDER", requires = "git_webhook")]
    pub git_webhook_provider: Option<GitServer>,
    /// The file with the secret of the webhook.
    #[arg(long, value_name = "FILE", env = "COMPOSED_GIT_WEBHOOK_SECRET_FILE", requires = "git_webhook")]
    pub git_webhook_secret_file: Option<PathBuf>,
}

/// What must be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Verified {
    /// Nothing: who may push may deploy.
    None,
    /// The newest commit.
    Head,
    /// The tag that is followed.
    Tag,
}

/// A git server that sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GitServer {
    /// `X-Hub-Signature-256`.
    Github,
    /// `X-Gitlab-Token`.
    Gitlab,
    /// `X-Gitea-Signature`.
    Gitea,
    /// `X-Forgejo-Signature`.
    Forgejo,
}
