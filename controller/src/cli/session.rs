//! What the verbs share: an engine with its senses, exit codes, printing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Once};

use serde::Serialize;

use super::args::{Common, EngineChoice, Format};
use super::places;
use super::terminal;
use crate::board::Board;
use crate::clock::Clock;
use crate::engine::docker::Docker;
use crate::engine::sim::{Behaviour, Sim, World, tick};
use crate::engine::{Engine, EngineError};
use crate::images::Images;
use crate::images::credentials::Credentials;
use crate::images::registry::Registries;
use crate::source::catalog::Catalog;
use crate::state::StateDir;
use crate::traffic::Senses;
use crate::traffic::haproxy::Haproxies;
use crate::traffic::local::{LocalSenses, Way};
use crate::traffic::paths::Path;
use crate::traffic::view::{self, View};

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
    /// Where statuses go, and where the senses read who serves.
    pub board: Arc<Board>,
    /// What registries say, as far as they were asked; whoever runs it asks them.
    pub images: Arc<Images>,
    /// What proxies see of the engine, if that was asked for.
    pub view: Option<Arc<View>>,
}

/// The ways by which requests shall find the replicas.
#[derive(Clone, Default)]
pub struct Ways {
    /// Those that serve already.
    pub paths: Vec<Arc<dyn Path>>,
    /// The endpoint view, which needs an engine.
    pub view: Option<view::Options>,
}

impl Session {
    /// The engine that the command line names; requests find its replicas by these ways, and by the status.
    pub async fn open(common: &Common, board: &Arc<Board>, ways: Ways) -> Result<Self, EngineError> {
        Self::on(common, board, state(common)?, Some(ways)).await
    }

    /// The engine that the command line names, only to be looked at: nothing is made or started for it.
    pub async fn look(common: &Common, board: &Arc<Board>) -> Result<Self, EngineError> {
        Self::on(common, board, known(common), None).await
    }

    async fn on(
        common: &Common,
        board: &Arc<Board>,
        state: StateDir,
        acting: Option<Ways>,
    ) -> Result<Self, EngineError> {
        let clock = Clock::system();
        let board = Arc::clone(board);
        let images = images(&board, clock, &state);
        match common.engine {
            EngineChoice::Docker => {
                let file = state.room(Docker::OWNERSHIP);
                let docker = Arc::new(Docker::connect_with(common.host.as_deref(), &common.instance, file).await?);
                // Who only looks starts no companions.
                let helper = acting.is_some().then(|| Arc::clone(&docker));
                let Ways { mut paths, view } = acting.unwrap_or_default();
                let view = view.map(|options| View::new(Arc::clone(&docker), Arc::clone(&board), clock, options));
                paths.extend(view.iter().map(|view| Arc::clone(view) as Arc<dyn Path>));
                if let Some(docker) = &helper {
                    paths.push(Haproxies::new(Way::Nearest, Some(Arc::clone(docker)), Arc::clone(&board)));
                }
                let senses = LocalSenses::by(Way::Nearest, helper, clock, Arc::clone(&board), paths);
                Ok(Self { engine: docker, senses, clock, state, board, images, view })
            }
            EngineChoice::Simulated => {
                let mut world = World::default();
                world.anything = Some(Behaviour::default());
                let sim = simulated(world, clock);
                let engine = Arc::clone(&sim) as Arc<dyn Engine>;
                Ok(Self { engine, senses: sim, clock, state, board, images, view: None })
            }
        }
    }
}

/// The state directory, only to be looked at: none is made.
pub fn known(common: &Common) -> StateDir {
    let dir = common.state_dir.clone().or_else(|| default_state_dir(common));
    dir.map_or_else(StateDir::default, |dir| StateDir::existing(&dir))
}

/// The state directory. One that was asked for must be there; without the default one it goes on.
fn state(common: &Common) -> Result<StateDir, EngineError> {
    static SAID: Once = Once::new();
    if let Some(dir) = &common.state_dir {
        return StateDir::open(dir).map_err(|error| EngineError::Rejected {
            message: format!("the state directory {} cannot be used: {error}", dir.display()),
            name_taken: false,
        });
    }
    if common.engine == EngineChoice::Simulated {
        return Ok(StateDir::default());
    }
    let opened = match default_state_dir(common) {
        Some(dir) => StateDir::open_writable(&dir).map_err(|error| format!("{}: {error}", dir.display())),
        None => Err("there is no home directory for it".to_owned()),
    };
    Ok(opened.unwrap_or_else(|why| {
        SAID.call_once(|| {
            tracing::warn!("nothing is remembered over restarts ({why}): give a --state-dir that can be written");
        });
        StateDir::default()
    }))
}

fn default_state_dir(common: &Common) -> Option<PathBuf> {
    (common.engine == EngineChoice::Docker).then(|| places::state_dir(common)).flatten()
}

/// What registries said before, and who would ask them: nobody does until it is run.
pub fn images(board: &Arc<Board>, clock: Clock, state: &StateDir) -> Arc<Images> {
    let registries = Arc::new(Registries::new(Credentials::from_environment(), clock));
    Images::new(registries, Arc::clone(board), clock, state.room("images.json"))
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
    let prefix = if text.starts_with("error") { "" } else { "error: " };
    print_err(&format!("{prefix}{text}"));
    ExitCode::from(code)
}

/// Says what is not wrong with the files and yet hardly meant.
pub fn say_notes(catalog: &Catalog) {
    for note in &catalog.notes {
        print_err(note);
    }
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

/// Prints lines to standard output, with what would lead a terminal written out; a reader that has gone away, such as
/// `head`, is no error.
pub fn print_out(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stdout(), "{}", terminal::text(text)));
}

/// The same, to standard error.
pub fn print_err(text: &str) {
    use std::io::Write;
    drop(writeln!(std::io::stderr(), "{}", terminal::text(text)));
}
