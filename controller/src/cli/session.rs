//! What the verbs share: an engine with its senses, exit codes, printing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Once};

use composed_core::engine::{Engine, EngineError, LeaseHolder};
use composed_core::model::ServiceName;
use composed_docker::Docker;
use composed_platform::clock::Clock;
use composed_registry::RegistryImages;
use composed_registry::credentials::Credentials;
use composed_registry::registry::Registries;
use composed_simulator::{Behaviour, Sim, World, tick};
use composed_source::catalog::Catalog;
use composed_status::store::StatusStore;
use composed_traffic::TrafficMonitor;
use composed_traffic::companion::NamespaceAccess;
use composed_traffic::haproxy::Haproxies;
use composed_traffic::local::LocalMonitor;
use composed_traffic::paths::TrafficProvider;
use composed_traffic::view::{self, View};
use serde::Serialize;

use super::args::{Common, EngineChoice, OutputFormat};
use super::places;
use super::terminal;
use crate::state::StateDir;

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
    pub monitor: Arc<dyn TrafficMonitor>,
    /// The clock.
    pub clock: Clock,
    /// Where memories are kept.
    pub state: StateDir,
    /// Where statuses go, and where the senses read who serves.
    pub statuses: Arc<StatusStore>,
    /// What registries say, as far as they were asked; whoever runs it asks them.
    pub images: Arc<RegistryImages>,
    /// What proxies see of the engine, if that was asked for.
    pub view: Option<Arc<View>>,
}

/// The ways by which requests shall find the replicas.
#[derive(Clone, Default)]
pub struct TrafficPaths {
    /// Those that serve already.
    pub paths: Vec<Arc<dyn TrafficProvider>>,
    /// The endpoint view, which needs an engine.
    pub view: Option<view::ViewOptions>,
}

impl Session {
    /// The engine that the command line names; requests find its replicas by these ways, and by the status.
    pub async fn open(common: &Common, statuses: &Arc<StatusStore>, ways: TrafficPaths) -> Result<Self, EngineError> {
        Self::on(common, statuses, state(common)?, Some(ways)).await
    }

    /// The engine that the command line names, only to be looked at: nothing is made or started for it.
    pub async fn look(common: &Common, statuses: &Arc<StatusStore>) -> Result<Self, EngineError> {
        Self::on(common, statuses, known(common), None).await
    }

    async fn on(
        common: &Common,
        statuses: &Arc<StatusStore>,
        state: StateDir,
        acting: Option<TrafficPaths>,
    ) -> Result<Self, EngineError> {
        let clock = Clock::system();
        let statuses = Arc::clone(statuses);
        let images = images(&statuses, clock, &state);
        match common.engine {
            EngineChoice::Docker => {
                let file = state.room(Docker::OWNERSHIP);
                let docker =
                    Arc::new(Docker::connect_with(&common.address()?, &common.instance, common.command, file).await?);
                // Who only looks starts no companions.
                let helper = acting.is_some().then(|| Arc::clone(&docker));
                let TrafficPaths { mut paths, view } = acting.unwrap_or_default();
                let view = view.map(|options| View::new(Arc::clone(&docker), Arc::clone(&statuses), clock, options));
                paths.extend(view.iter().map(|view| Arc::clone(view) as Arc<dyn TrafficProvider>));
                if let Some(docker) = &helper {
                    paths.push(Haproxies::new(
                        NamespaceAccess::Nearest,
                        Some(Arc::clone(docker)),
                        Arc::clone(&statuses),
                    ));
                }
                let monitor = LocalMonitor::by(NamespaceAccess::Nearest, helper, clock, Arc::clone(&statuses), paths);
                Ok(Self { engine: docker, monitor, clock, state, statuses, images, view })
            }
            EngineChoice::Simulated => {
                let mut world = World::default();
                world.anything = Some(Behaviour::default());
                let sim = simulated(world, clock);
                let engine = Arc::clone(&sim) as Arc<dyn Engine>;
                Ok(Self { engine, monitor: sim, clock, state, statuses, images, view: None })
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
pub fn images(statuses: &Arc<StatusStore>, clock: Clock, state: &StateDir) -> Arc<RegistryImages> {
    let registries = Arc::new(Registries::new(Credentials::from_environment(), clock));
    RegistryImages::new(registries, Arc::clone(statuses), clock, state.room("images.json"))
}

/// A simulated engine whose time passes.
pub fn simulated(world: World, clock: Clock) -> Arc<Sim> {
    let sim = Arc::new(Sim::new(world, Arc::new(move || clock.now()), "this process"));
    tokio::spawn(tick(Arc::clone(&sim)));
    sim
}

/// Why nothing can be done while another command of this program is at work, if it is one that ends by itself.
pub fn at_work(other: &LeaseHolder, common: &Common) -> Option<String> {
    let command = other.command.as_ref().filter(|command| *command != "run")?;
    Some(format!(
        "another `composed {command}` is at work as instance {} ({}): nothing was done; try again when it has ended",
        common.instance, other.text
    ))
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

/// Says before a rollout what it will cost, if it will cost something.
pub fn say_warning(service: &ServiceName, warning: Option<String>) {
    if let Some(warning) = warning {
        print_err(&format!("warning: {service}: {warning}"));
    }
}

/// Prints data.
pub fn print_data(value: &impl Serialize, format: OutputFormat) -> anyhow::Result<()> {
    let text = match format {
        OutputFormat::Json => serde_json::to_string_pretty(value)?,
        OutputFormat::Yaml => serde_saphyr::to_string(value)?,
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
