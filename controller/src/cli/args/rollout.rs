//! What is asked of `composed rollout`, in docker-rollout's words.

use std::path::PathBuf;

use clap::Args;

use super::compose::Compose;
use super::duration::duration;

/// `composed rollout`.
#[derive(Debug, Args)]
pub struct RolloutArgs {
    /// The service: `name` or `project/name`. Other services are not changed.
    pub service: String,
    /// A file, or a directory. Default: this directory, if there is a Compose file in it.
    #[arg(conflicts_with = "files")]
    pub path: Option<PathBuf>,
    /// What is asked of Compose projects.
    #[command(flatten)]
    pub compose: Compose,
    /// Maximum time for a new replica with a healthcheck to become healthy, in seconds. Default: the time that its
    /// healthcheck needs, and at least 60.
    #[arg(long, short = 't', value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<u64>,
    /// Without a healthcheck, a new replica counts as ready after this time, in seconds. Default: `min_ready` of its file,
    /// else 10.
    #[arg(long, short = 'w', value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<u64>,
    /// With a healthcheck, the time between a new replica becoming healthy and the stop of an old one, in seconds. Default:
    /// `min_ready` of its file, else 5.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub wait_after_healthy: Option<u64>,
    /// A command that `sh` runs in each old replica before its stop. Default: `pre_stop` of its file, else the command in its label
    /// `docker-rollout.pre-stop-hook`.
    #[arg(long, value_name = "COMMAND", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub pre_stop_hook: Option<String>,
    /// After `composed undo`: roll out what the file asks for, and not what runs.
    #[arg(long)]
    pub to_file: bool,
    /// Print the version.
    #[arg(long, short = 'v', visible_short_alias = 'V', action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// Seconds, with or without their unit.
fn seconds(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => duration(text).map(|time| time.as_secs()),
    }
}
