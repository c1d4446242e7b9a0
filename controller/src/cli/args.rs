//! The command line: verbs, options, help.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// A Kubernetes-style reconciling controller for Compose projects on Docker.
///
/// Write one desired-state file per service; composed moves the running containers to it without hurting them.
#[derive(Debug, Parser)]
#[command(name = "composed", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Options of every verb.
    #[command(flatten)]
    pub common: Common,
}

/// Options of every verb.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// The engine to act on.
    #[arg(long, global = true, value_enum, default_value = "docker", env = "COMPOSED_ENGINE")]
    pub engine: EngineChoice,
    /// Docker's address, such as `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`. Default: `DOCKER_HOST`, then the
    /// local socket. `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` mean what they mean to docker.
    #[arg(long, short = 'H', global = true, value_name = "URL", hide_env = true)]
    pub host: Option<String>,
    /// The name under which containers, networks and volumes are owned. Two controllers with different names leave each
    /// other's alone; with the same name only one of them acts.
    #[arg(long, global = true, default_value = "default", env = "COMPOSED_INSTANCE")]
    pub instance: String,
    /// Where revisions and timers are kept over restarts. Losing it makes composed slower, never unsafe.
    #[arg(long, global = true, value_name = "DIR", env = "COMPOSED_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The unix socket on which a running controller serves its status.
    #[arg(long, global = true, value_name = "PATH", env = "COMPOSED_SOCKET", default_value_os_t = default_socket())]
    pub socket: PathBuf,
    /// How the log is written.
    #[arg(long, global = true, value_enum, default_value = "text", env = "COMPOSED_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Where a container engine comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineChoice {
    /// A Docker Engine, API 1.41 or newer.
    Docker,
    /// A simulated engine inside this process: nothing real is started.
    Simulated,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the controller: watch DIR and the engine, and keep every service as its file says.
    Run(Run),
    /// Converge once and show how it goes. Exit code 0: all as wanted; 1: something failed or was rolled back; 2: the
    /// files are invalid and nothing was done; 3: the engine cannot be reached or another controller acts on it.
    Apply(Apply),
    /// Say what would be done now, and why. Changes nothing.
    Plan(Read),
    /// Show what a running controller knows of its services.
    Status(Status),
    /// Show what a running controller did last, and why.
    Events(Output),
    /// Check files without an engine. Exit code 2 if one is invalid.
    Validate(Read),
    /// Print the JSON Schema of the files, for editors.
    Schema,
    /// See it work: a service of 3 replicas under steady requests gets a new version, then a broken one.
    Demo,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Ask the controller on --socket whether it is well; for container healthchecks.
    Healthcheck,
    /// The application that the demo runs.
    #[command(hide = true)]
    DemoApp {
        /// `check` asks a running one for its health.
        check: Option<String>,
    },
    /// Count the requests in flight in this network namespace: what a companion container runs.
    #[command(hide = true)]
    Companion {
        /// So many seconds.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Write a root file system that holds this program, as a tar archive.
    #[command(hide = true)]
    OwnRootfs,
}

/// `composed run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The directory with the desired-state files (any .yaml or .yml under it).
    pub dir: PathBuf,
    /// Serve the status on this loopback address too, such as 127.0.0.1:9797.
    #[arg(long, value_name = "ADDRESS", env = "COMPOSED_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Remove services whose documents are gone even if they are more than half of all, or the directory is empty.
    #[arg(long, env = "COMPOSED_CONFIRM_DELETION")]
    pub confirm_deletion: bool,
}

/// `composed apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A file, or a directory: with a directory services without a document are removed.
    pub path: PathBuf,
    /// If a controller already runs, wait until it has converged these services instead of giving up.
    #[arg(long)]
    pub wait: bool,
    /// Give up after so long, such as 90s or 10m. What was begun is safe to leave, and goes on with the next apply.
    #[arg(long, value_parser = duration, default_value = "30m")]
    pub timeout: Duration,
    /// Remove services whose documents are gone even if they are more than half of all, or the directory is empty.
    #[arg(long)]
    pub confirm_deletion: bool,
}

/// A path, and how to print what comes of it.
#[derive(Debug, Args)]
pub struct Read {
    /// A file or a directory.
    pub path: PathBuf,
    /// Print data instead of text.
    #[arg(long, short, value_enum)]
    pub output: Option<Format>,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print data instead of text.
    #[arg(long, short, value_enum)]
    pub output: Option<Format>,
}

/// `composed status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this service: `name` or `project/name`, with its replicas and conditions.
    pub service: Option<String>,
    /// Stay, and show every change.
    #[arg(long, short)]
    pub watch: bool,
    /// Print data instead of a table.
    #[arg(long, short, value_enum)]
    pub output: Option<Format>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: Result<crd_schema::ComposeDuration, _> = text.parse();
    parsed.map(crd_schema::ComposeDuration::get).map_err(|error| error.to_string())
}

fn default_socket() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !rustix::process::geteuid().is_root() => PathBuf::from(dir).join("composed.sock"),
        _ => PathBuf::from("/run/composed/composed.sock"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
