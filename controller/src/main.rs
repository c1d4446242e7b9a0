//! The program: parses the command line and hands over to the verb.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use composed::cli::args::{Cli, CliCommand, LogFormat};
use composed::cli::plugin::{self, Words};
use composed::cli::{app, apply, demo, import, plan, rollout, rootfs, run, session, status};
use composed_traffic::companion::companion_main;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    let mut cli = match plugin::words(std::env::args_os()) {
        Words::Metadata(told) => {
            session::print_out(&serde_json::to_string_pretty(&told)?);
            return Ok(ExitCode::SUCCESS);
        }
        Words::Refused(why) => return Ok(session::fail(session::INVALID, &why)),
        Words::Own(words) => Cli::parse_from(words),
    };
    cli.common.command = cli.verb.name();
    match &cli.verb {
        CliCommand::Schema { settings } => {
            let schema = if *settings { crd_schema::settings_schema() } else { crd_schema::schema() };
            session::print_out(&serde_json::to_string_pretty(&schema)?);
            return Ok(ExitCode::SUCCESS);
        }
        CliCommand::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "composed", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        CliCommand::OwnRootfs => {
            std::io::stdout().write_all(&rootfs::own_rootfs()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        CliCommand::DemoApp { check: Some(_) } => return Ok(app::check()),
        CliCommand::Companion { words } => return Ok(companion_main(words)),
        CliCommand::Validate(args) => return plan::validate(args, &cli.common),
        CliCommand::Import(args) => return import::import(args, &cli.common),
        _ => {}
    }
    let quiet = !matches!(cli.verb, CliCommand::Run(_));
    log_to_stderr(cli.common.log_format, quiet);
    composed_platform::listen::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match cli.verb {
            CliCommand::Run(args) => run::run(args, &cli.common).await,
            CliCommand::Apply(args) => apply::apply(args, &cli.common).await,
            CliCommand::Rollout(args) => rollout::rollout(args, &cli.common).await,
            CliCommand::Plan(args) => plan::plan(&args, &cli.common).await,
            CliCommand::Status(args) => status::status(&args, &cli.common).await,
            CliCommand::History(args) => status::history(&args, &cli.common).await,
            CliCommand::Undo(args) => status::undo(&args, &cli.common).await,
            CliCommand::Pause(args) => status::pause(&args, true, &cli.common).await,
            CliCommand::Resume(args) => status::pause(&args, false, &cli.common).await,
            CliCommand::Events(args) => status::events(&args, &cli.common).await,
            CliCommand::Healthcheck => Ok(status::healthcheck(&cli.common.socket).await),
            CliCommand::Demo => demo::demo(&cli.common).await,
            CliCommand::DemoApp { .. } => app::run().await,
            CliCommand::Schema { .. }
            | CliCommand::Completions { .. }
            | CliCommand::OwnRootfs
            | CliCommand::Companion { .. }
            | CliCommand::Import(_)
            | CliCommand::Validate(_) => Ok(ExitCode::SUCCESS),
        }
    })
}

/// The log goes to standard error; `COMPOSED_LOG` says how much of it (`debug`, `composed=trace`). The engine client
/// writes whole bodies, environment values included, at its debug level: it is held at warnings whatever is asked.
fn log_to_stderr(format: LogFormat, quiet: bool) {
    let default = if quiet { "error" } else { "info" };
    let filter = std::env::var("COMPOSED_LOG").unwrap_or_else(|_| default.to_owned());
    let filter = EnvFilter::new(format!("{filter},bollard=warn,hyper=warn"));
    // Colours are for people at a terminal who want them.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let builder = builder.with_ansi(colours);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
}
