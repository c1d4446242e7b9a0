//! Shows how a convergence goes: a line for each action, and on a terminal the services below, redrawn in place.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;

use composed_api::client;
use composed_core::model::ServiceName;
use composed_platform::clock::Clock;
use composed_status::store::StatusStore;
use crd_schema::status::{ConditionType, Event, Reason, ServiceStatus};
use jiff::Timestamp;

use super::session::print_out;
use super::table;

/// Where a service stands, from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convergence {
    /// On its way.
    Moving,
    /// As wanted, nothing left to do.
    Converged,
    /// It will not become what is wanted by waiting.
    Failed,
    /// As somebody has gone back to by hand, and not as its file asks: that is at rest.
    Undone,
}

/// Where the service of `status` stands.
pub fn convergence(status: &ServiceStatus) -> Convergence {
    let Some(progressing) = status.condition(ConditionType::Progressing) else {
        return Convergence::Moving;
    };
    let rests = status.waiting.is_empty();
    match progressing.reason {
        Reason::NewRevisionAvailable if rests && status.error.is_none() => Convergence::Converged,
        // Those that fail are tried again for ever.
        Reason::FailuresTolerated if status.error.is_none() => Convergence::Converged,
        Reason::NewRevisionAvailable | Reason::RolledBack if rests => Convergence::Failed,
        Reason::Undone if rests => Convergence::Undone,
        // Nobody creates it while this command waits.
        Reason::NetworkMissing if !progressing.status => Convergence::Failed,
        Reason::DependencyFailed
        | Reason::HostPortTaken
        | Reason::InvalidSpec
        | Reason::MountMissing
        | Reason::PreDeployFailed
        | Reason::RevisionFailed
        | Reason::ProgressDeadlineExceeded
        | Reason::RollbackImpossible
        | Reason::Paused
        | Reason::DeletionHeld => Convergence::Failed,
        _ => Convergence::Moving,
    }
}

/// What fails in a controller that is followed: its status tells where a service stands, and not what has failed on the way.
pub struct FailedEvents {
    since: Timestamp,
}

impl FailedEvents {
    /// Shows what fails from now on.
    pub fn from_now() -> Self {
        Self { since: Clock::system().now() }
    }

    /// Prints what is new of the services that it concerns. A controller that does not answer is told by whoever follows it.
    pub async fn show(&mut self, socket: &Path, concerns: &dyn Fn(&ServiceName) -> bool) {
        let Ok((_, body)) = client::get(socket, "/v1/events").await else { return };
        let events: Vec<Event> = serde_json::from_slice(&body).unwrap_or_default();
        let since = self.since;
        for event in events.into_iter().filter(|event| event.at > since) {
            self.since = event.at;
            if event.outcome.is_some() && concerns(&ServiceName::new(&event.project, &event.service)) {
                print_out(&table::event(&event));
            }
        }
    }
}

/// Shows a board.
pub struct Progress {
    terminal: bool,
    seen: u64,
    drawn: usize,
    lines: BTreeMap<String, String>,
}

impl Progress {
    /// Shows what happens on a board from the event after the first `seen` on.
    pub fn new(seen: u64) -> Self {
        Self { terminal: std::io::stdout().is_terminal(), seen, drawn: 0, lines: BTreeMap::new() }
    }

    /// Prints what is new of the services that it concerns. `extra` stands below them.
    pub fn show(&mut self, statuses: &StatusStore, extra: &str, concerns: &dyn Fn(&ServiceName) -> bool) {
        let (events, seen) = statuses.events_since(self.seen);
        self.seen = seen;
        let mut out = String::new();
        if self.terminal && self.drawn > 0 {
            // Up to the first line of the table, and clear from there on.
            out += &format!("\x1b[{}A\x1b[J", self.drawn);
        }
        for event in &events {
            out += &format!("{}\n", table::event(event));
        }
        let mut statuses = statuses.all();
        statuses.retain(|status| concerns(&ServiceName::new(&status.project, &status.name)));
        if self.terminal {
            let mut block: Vec<String> = statuses.iter().map(|status| table::line(status)).collect();
            block.extend((!extra.is_empty()).then(|| extra.to_owned()));
            self.drawn = block.len();
            out += &block.iter().map(|line| format!("{line}\n")).collect::<String>();
        } else {
            for status in &statuses {
                let line = table::line(status);
                let name = format!("{}/{}", status.project, status.name);
                if self.lines.get(&name) != Some(&line) {
                    out += &format!("{line}\n");
                    self.lines.insert(name, line);
                }
            }
        }
        // A reader that has gone away is no reason to stop converging.
        drop(std::io::stdout().write_all(out.as_bytes()));
        drop(std::io::stdout().flush());
    }

    /// Prints a line that stays, above the services.
    pub fn say(&mut self, text: &str) {
        let up = if self.terminal && self.drawn > 0 { format!("\x1b[{}A\x1b[J", self.drawn) } else { String::new() };
        self.drawn = 0;
        drop(writeln!(std::io::stdout(), "{up}{text}"));
    }
}
