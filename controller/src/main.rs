//! The program: parses the command line and hands over to the verb.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use composed::cli::args::{Cli, LogFormat, Verb};
use composed::cli::plugin::{self, Words};
use composed::cli::{app, apply, demo, import, plan, rollout, rootfs, run, session, status};
use composed::traffic::companion::companion_main;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<ExitCode> {
    let cli = match plugin::words(std::env::args_os()) {
        Words::Metadata(told) => {
            session::print_out(&serde_json::to_string_pretty(&told)?);
            return Ok(ExitCode::SUCCESS);
        }
        Words::Refused(why) => return Ok(session::fail(session::INVALID, &why)),
        Words::Own(words) => Cli::parse_from(words),
    };
    match &cli.verb {
        Verb::Schema { settings } => {
            let schema = if *settings { crd_schema::settings_schema() } else { crd_schema::schema() };
            session::print_out(&serde_json::to_string_pretty(&schema)?);
            return Ok(ExitCode::SUCCESS);
        }
        Verb::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "composed", &mut std::io::stdout());
            return Ok(ExitCode::SUCCESS);
        }
        Verb::OwnRootfs => {
            std::io::stdout().write_all(&rootfs::own_rootfs()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Verb::DemoApp { check: Some(_) } => return Ok(app::check()),
        Verb::Companion { words } => return Ok(companion_main(words)),
        Verb::Validate(args) => return plan::validate(args, &cli.common),
        Verb::Import(args) => return import::import(args, &cli.common),
        _ => {}
    }
    let quiet = !matches!(cli.verb, Verb::Run(_));
    log_to_stderr(cli.common.log_format, quiet);
    composed::listen::raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        match cli.verb {
            Verb::Run(args) => run::run(args, &cli.common).await,
            Verb::Apply(args) => apply::apply(args, &cli.common).await,
            Verb::Rollout(args) => rollout::rollout(args, &cli.common).await,
            Verb::Plan(args) => plan::plan(&args, &cli.common).await,
            Verb::Status(args) => status::status(&args, &cli.common).await,
            Verb::History(args) => status::history(&args, &cli.common).await,
            Verb::Undo(args) => status::undo(&args, &cli.common).await,
            Verb::Pause(args) => status::pause(&args, true, &cli.common).await,
            Verb::Resume(args) => status::pause(&args, false, &cli.common).await,
            Verb::Events(args) => status::events(&args, &cli.common).await,
            Verb::Healthcheck => Ok(status::healthcheck(&cli.common.socket).await),
            Verb::Demo => demo::demo(&cli.common).await,
            Verb::DemoApp { .. } => app::run().await,
            Verb::Schema { .. }
            | Verb::Completions { .. }
            | Verb::OwnRootfs
            | Verb::Companion { .. }
            | Verb::Import(_)
            | Verb::Validate(_) => Ok(ExitCode::SUCCESS),
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
