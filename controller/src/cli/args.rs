//! The command line: verbs, options, help.

mod compose;
mod duration;
pub mod git;
pub mod notices;
pub mod paths;
mod rollout;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use composed_core::engine::EngineError;
use composed_docker::EngineAddress;

pub use self::compose::{Compose, project_name};
use self::duration::duration;
pub use self::rollout::RolloutArgs;

/// A Kubernetes-style reconciling controller for Compose projects on Docker.
///
/// Write one desired-state file per service; composed moves the running containers to it without hurting them.
#[derive(Debug, Parser)]
#[command(name = "composed", version, max_term_width = 100, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: CliCommand,
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
    /// Docker's address, such as `unix:///run/docker.sock` or `tcp://127.0.0.1:2375`. Default: `DOCKER_HOST`, then docker's
    /// context, then the local socket. `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` mean what they mean to docker.
    #[arg(long, short = 'H', global = true, value_name = "URL", hide_env = true)]
    pub host: Option<String>,
    /// The docker context whose engine is meant (`docker context ls`). Default: `DOCKER_CONTEXT`, then the current one.
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "host")]
    pub context: Option<String>,
    /// The name under which containers, networks and volumes are owned. Two controllers with different names leave each
    /// other's alone; with the same name only one of them acts.
    #[arg(long, global = true, default_value = "default", env = "COMPOSED_INSTANCE")]
    pub instance: String,
    /// Where revisions and timers are kept over restarts. Losing it makes composed slower, never unsafe. Default:
    /// `/var/lib/composed/INSTANCE` for root, else `$XDG_STATE_HOME` or `~/.local/state`, then `composed/INSTANCE`; none
    /// with the simulated engine.
    #[arg(long, global = true, value_name = "DIR", env = "COMPOSED_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// The directory of the documents (of DIR, or the one that the file is in) as the engine's host sees it: relative bind
    /// mounts are resolved there. Default: the directory itself. Needed when composed is in a container.
    #[arg(long, global = true, value_name = "PATH", env = "COMPOSED_HOST_DIR")]
    pub host_dir: Option<PathBuf>,
    /// The name of this host: a service with `metadata.hosts` runs here only if one of them fits. Default: the system's
    /// own. Needed for such services when composed is in a container.
    #[arg(long, global = true, value_name = "NAME", env = "COMPOSED_HOST_NAME")]
    pub host_name: Option<String>,
    /// The unix socket on which a running controller serves its status.
    #[arg(long, global = true, value_name = "PATH", env = "COMPOSED_SOCKET", default_value_os_t = default_socket())]
    pub socket: PathBuf,
    /// How the log is written.
    #[arg(long, global = true, value_enum, default_value = "text", env = "COMPOSED_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// The verb, for others that find this process at work.
    #[arg(skip)]
    pub command: &'static str,
}

impl Common {
    /// The engine that is meant.
    ///
    /// # Errors
    /// When it is one of docker's contexts that leads nowhere.
    pub fn address(&self) -> Result<EngineAddress, EngineError> {
        EngineAddress::resolve(self.host.as_deref(), self.context.as_deref())
    }
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
pub enum OutputFormat {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum CliCommand {
    /// Run the controller: watch DIR and the engine, and keep every service as its file describes it.
    Run(Run),
    /// Converge once and show the progress. Exit code 0: all services are as described; 1: a service failed or was rolled
    /// back; 2: the files are invalid, or an external network, volume or file that they name does not exist: nothing was done; 3:
    /// the engine cannot be reached, or another controller manages it.
    Apply(Apply),
    /// Replace the replicas of one service by new ones, although its file has not changed: to run a newer image of the same
    /// tag, or to start afresh. Takes the options of docker-rollout. Exit codes: those of `apply`.
    #[command(disable_version_flag = true)]
    Rollout(RolloutArgs),
    /// Show what would be done now, and why. Changes nothing.
    Plan(Read),
    /// Show the services of a running controller.
    Status(Status),
    /// Show the revisions of a service: image, commit, result and duration of each. Asks a running controller.
    History(History),
    /// Go back to an earlier revision of a service, by a running controller. The service stays there until its file changes.
    Undo(UndoArgs),
    /// Pause services of a running controller: their containers keep running, and nothing is started or changed. Lasts over
    /// restarts.
    Pause(PauseArgs),
    /// Resume paused services.
    Resume(PauseArgs),
    /// Show the last actions of a running controller, and their causes.
    Events(Output),
    /// Check files without an engine. Exit code 2: a file is invalid.
    Validate(Read),
    /// Convert a Compose project to service files that produce identical containers. Comments name the origin of each value.
    Import(Import),
    /// Print the JSON Schema of the files, for editors.
    Schema {
        /// The schema of the settings file (`run --config`).
        #[arg(long)]
        settings: bool,
    },
    /// Watch a demonstration: a service of 3 replicas under steady requests gets a new version, then a broken one.
    Demo,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Ask the controller on --socket whether it is ready; for container healthchecks.
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

impl CliCommand {
    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Apply(_) => "apply",
            Self::Rollout(_) => "rollout",
            // What does not act holds no lock.
            _ => "",
        }
    }
}

/// `composed run`.
#[derive(Debug, Args)]
pub struct Run {
    /// The directory with the desired-state files (any .yaml or .yml under it, and Compose files), or one file.
    /// Default: this directory, if there is a Compose file in it.
    #[arg(conflicts_with = "files")]
    pub dir: Option<PathBuf>,
    /// What is asked of Compose projects.
    #[command(flatten)]
    pub compose: Compose,
    /// Desired state from git instead.
    #[command(flatten)]
    pub git: Box<git::Git>,
    /// Serve the status on this loopback address too, such as 127.0.0.1:9797. Every process on this host can read it there:
    /// the status, events and metrics of all services.
    #[arg(long, value_name = "ADDRESS", env = "COMPOSED_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// A host name by which --listen and --traefik-http may be asked, beside IP addresses, localhost and this machine's own
    /// name. Requests for other names are refused: a web page could read the answers by them.
    #[arg(long = "allow-host", value_name = "NAME", value_parser = composed_platform::listen::allowed_name, value_delimiter = ',', env = "COMPOSED_ALLOW_HOSTS")]
    pub allow_hosts: Vec<String>,
    /// Remove services without a document even if they are more than half of all services, or the directory is empty.
    #[arg(long, env = "COMPOSED_CONFIRM_DELETION")]
    pub confirm_deletion: bool,
    /// Maximum number of services that roll out at the same time, in the order of `depends_on`. Running rollouts,
    /// self-healing and scaling are not limited. Default: no limit.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), env = "COMPOSED_MAX_ROLLOUTS")]
    pub max_rollouts: Option<u32>,
    /// Who is told what became of rollouts.
    #[command(flatten)]
    pub notify: Box<notices::NotifyArgs>,
    /// How proxies learn who serves.
    #[command(flatten)]
    pub paths: Box<paths::Paths>,
}

/// `composed apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// A file, or a directory: with a directory services without a document are removed, and with a Compose file those
    /// that its project no longer has. Default: this directory, if there is a Compose file in it.
    #[arg(conflicts_with = "files")]
    pub path: Option<PathBuf>,
    /// What is asked of Compose projects.
    #[command(flatten)]
    pub compose: Compose,
    /// If a controller already runs, wait until it has converged these services instead of failing.
    #[arg(long)]
    pub wait: bool,
    /// Stop waiting after this time, such as 90s or 10m. An unfinished rollout is safe, and continues with the next apply.
    #[arg(long, value_parser = duration, default_value = "30m")]
    pub timeout: Duration,
    /// Remove services without a document even if they are more than half of all services, or the directory is empty.
    #[arg(long)]
    pub confirm_deletion: bool,
}

/// A path, and how to print what comes of it.
#[derive(Debug, Args)]
pub struct Read {
    /// A file or a directory. Default: this directory, if there is a Compose file in it.
    #[arg(conflicts_with = "files")]
    pub path: Option<PathBuf>,
    /// What is asked of Compose projects.
    #[command(flatten)]
    pub compose: Compose,
    /// Print data instead of text.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,
}

/// `composed import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The Compose file, or its directory. Default: this directory, if there is a Compose file in it.
    #[arg(conflicts_with = "files")]
    pub path: Option<PathBuf>,
    /// What is asked of the project.
    #[command(flatten)]
    pub compose: Compose,
    /// Where the files are written: one for each service, one for its variables if it has any, and `project.yaml` for
    /// networks, volumes and rollout defaults.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Overwrite existing files.
    #[arg(long)]
    pub force: bool,
}

/// How to print.
#[derive(Debug, Args)]
pub struct Output {
    /// Print data instead of text.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,
}

/// `composed status`.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this service: `name` or `project/name`, with its replicas and conditions.
    pub service: Option<String>,
    /// Keep running, and show every change.
    #[arg(long, short)]
    pub watch: bool,
    /// Print data instead of a table.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,
}

/// `composed history`.
#[derive(Debug, Args)]
pub struct History {
    /// The service: `name` or `project/name`.
    pub service: String,
    /// Print data instead of a table.
    #[arg(long, short, value_enum)]
    pub output: Option<OutputFormat>,
}

/// `composed pause` and `composed resume`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The services: `name` or `project/name`. Default: all of them.
    pub services: Vec<String>,
}

/// `composed undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The service: `name` or `project/name`.
    pub service: String,
    /// The revision to go back to, or the beginning of its name (`composed history`). Default: the last that was available.
    #[arg(long, value_name = "REVISION")]
    pub to: Option<String>,
    /// Follow it until the revision runs. Exit code 1: it does not come to that.
    #[arg(long)]
    pub wait: bool,
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
