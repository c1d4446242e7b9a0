//! The options for who is told what became of rollouts: one receiver by flags, or several by the settings file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Who is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Notifications")]
pub struct NotifyArgs {
    /// Send the outcome of each rollout to this address.
    #[arg(long, value_name = "URL", env = "COMPOSED_NOTIFY_URL", conflicts_with = "notify_url_file")]
    pub notify_url: Option<String>,
    /// The same, with the address in a file: those of Slack and Discord are secrets.
    #[arg(long, value_name = "FILE", env = "COMPOSED_NOTIFY_URL_FILE")]
    pub notify_url_file: Option<PathBuf>,
    /// The format of the messages. Default: json.
    #[arg(long, value_enum, value_name = "FORMAT", env = "COMPOSED_NOTIFY_FORMAT")]
    pub notify_format: Option<NotifyWords>,
    /// The file with the token.
    #[arg(long, value_name = "FILE", env = "COMPOSED_NOTIFY_TOKEN_FILE")]
    pub notify_token_file: Option<PathBuf>,
    /// Only for these projects: names or patterns.
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "COMPOSED_NOTIFY_PROJECT")]
    pub notify_project: Vec<String>,
}

/// The words of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NotifyWords {
    /// All that is known, as JSON.
    Json,
    /// An incoming webhook of Slack.
    Slack,
    /// A webhook of Discord.
    Discord,
    /// A topic of ntfy.
    Ntfy,
    /// An application of Gotify.
    Gotify,
}
