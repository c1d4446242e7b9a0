//! What the verbs share: an engine with its senses, exit codes, printing.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::args::{Common, EngineChoice, Format};
use crate::clock::Clock;
use crate::engine::docker::Docker;
use crate::engine::sim::{Behaviour, Sim, World, tick};
use crate::engine::{Engine, EngineError};
use crate::state::StateDir;
use crate::traffic::Senses;
use crate::traffic::local::LocalSenses;

/// All as wanted.
pub const CONVERGED: u8 = 0;
/// Something failed, or was rolled back.
pub const FAILED: u8 = 1;
/// The files are invalid; nothing was done.
pub const INVALID: u8 = 2;
/// The engine cannot be reached, or another controller acts on it.
pub const UNREACHABLE: u8 = 3;

/// An engine to act on.
#[derive(Clone)]
pub struct Session {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Its senses.
    pub senses: Arc<dyn Senses>,
    /// The clock.
    pub clock: Clock,
    /// Where memories are kept.
    pub state: StateDir,
}

impl Session {
    /// The engine that the command line names.
    pub async fn open(common: &Common) -> Result<Self, EngineError> {
        let clock = Clock::system();
        let state = match &common.state_dir {
            Some(dir) => StateDir::open(dir).map_err(|error| EngineError::Rejected {
                message: format!("the state directory {} cannot be used: {error}", dir.display()),
                name_taken: false,
            })?,
            None => StateDir::default(),
        };
        match common.engine {
            EngineChoice::Docker => {
                let docker = Arc::new(Docker::connect(common.host.as_deref(), &common.instance).await?);
                let senses = LocalSenses::new(Some(Arc::clone(&docker)), clock);
                Ok(Self { engine: docker, senses, clock, state })
            }
            EngineChoice::Simulated => {
                let mut world = World::default();
                world.anything = Some(Behaviour::default());
                let sim = simulated(world, clock);
                Ok(Self { engine: Arc::clone(&sim) as Arc<dyn Engine>, senses: sim, clock, state })
            }
        }
    }
}

/// A simulated engine whose time passes.
pub fn simulated(world: World, clock: Clock) -> Arc<Sim> {
    let sim = Arc::new(Sim::new(world, Arc::new(move || clock.now()), "this process"));
    tokio::spawn(tick(Arc::clone(&sim)));
    sim
}

/// Prints an error as the last word of a verb.
pub fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let text = error.to_string();
    if text.starts_with("error") {
        eprintln!("{text}");
    } else {
        eprintln!("error: {text}");
    }
    ExitCode::from(code)
}

/// Prints data.
pub fn print_data(value: &impl Serialize, format: Format) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value)?,
        Format::Yaml => serde_saphyr::to_string(value)?,
    };
    print_out(text.trim_end());
    Ok(())
}

/// Prints a line to standard output; a reader that has gone away, such as `head`, is no error.
pub fn print_out(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{text}"));
}
