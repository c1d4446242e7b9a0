//! The commands that were accepted and not carried out yet, in the state directory.

use crd_schema::Revision;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use composed_core::model::{RolloutOptions, ServiceName};
use composed_platform::files::replace;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::state::StateDir;

/// The file of what was answered and not done yet, in the state directory.
const FILE: &str = "commands.json";

/// Where an answer goes.
type Reply = oneshot::Sender<Result<String, String>>;

/// A command that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AcceptedCommand {
    /// Random: the memory of the service knows by it what was done.
    pub(super) id: u64,
    pub(super) what: CommandKind,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CommandKind {
    /// Go back from the revision that was the desired one when this was decided.
    Undo {
        /// That revision.
        from: Revision,
        /// The one to go back to.
        to: Revision,
        /// Who has asked for it.
        #[serde(default)]
        by: Option<String>,
    },
    /// Begin and change nothing, or end that.
    Pause(bool),
    /// Replace all replicas.
    RollOut(RolloutOptions),
}

/// By `project/service`, oldest first.
type Pending = BTreeMap<String, Vec<AcceptedCommand>>;

/// The commands that wait for a pass.
#[derive(Debug, Default)]
pub(super) struct Commands {
    file: Option<PathBuf>,
    pending: Mutex<Pending>,
    /// Held while the file is written: what is written last is what is true last.
    writing: Mutex<()>,
}

impl Commands {
    /// Those that a process before this one has answered and not done.
    pub(super) fn open(state: &StateDir) -> Self {
        let pending = state.load_room(FILE, "the commands that were answered and not done yet");
        Self { file: state.room(FILE), pending: Mutex::new(pending), writing: Mutex::default() }
    }

    /// Those of a service, oldest first.
    pub(super) fn of(&self, service: &ServiceName) -> Vec<AcceptedCommand> {
        self.pending.lock().get(&service.to_string()).cloned().unwrap_or_default()
    }

    /// Whether a service is to be paused, or not any more, if one of them says so.
    pub(super) fn pauses(&self, service: &ServiceName) -> Option<bool> {
        let last = |command: &AcceptedCommand| match command.what {
            CommandKind::Pause(on) => Some(on),
            _ => None,
        };
        self.of(service).iter().rev().find_map(last)
    }

    /// Takes a command for these services; what was said is answered when it is written down. A disk that hangs holds up
    /// nothing but the answer.
    pub(super) fn give(
        self: &Arc<Self>,
        services: impl IntoIterator<Item = ServiceName>,
        what: &CommandKind,
        said: String,
        answer: Reply,
    ) {
        for service in services {
            let command = AcceptedCommand { id: fastrand::u64(..), what: what.clone() };
            self.pending.lock().entry(service.to_string()).or_default().push(command);
        }
        let commands = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let said = match commands.write() {
                Ok(()) => said,
                Err(error) => format!("{said} (only until a restart of composed: it cannot be written down: {error})"),
            };
            // The one that asked may have gone away.
            answer.send(Ok(said)).ok();
        });
    }

    /// Those were done, and that is written down elsewhere.
    pub(super) async fn done(self: &Arc<Self>, service: &ServiceName, done: &[AcceptedCommand]) {
        if done.is_empty() {
            return;
        }
        self.take_out(service, done);
        let commands = Arc::clone(self);
        match tokio::task::spawn_blocking(move || commands.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the commands that were done could not be written down"),
            Err(error) => tracing::error!(%error, "the commands that were done could not be written down"),
        }
    }

    fn take_out(&self, service: &ServiceName, done: &[AcceptedCommand]) {
        let mut pending = self.pending.lock();
        if let Some(commands) = pending.get_mut(&service.to_string()) {
            commands.retain(|command| !done.contains(command));
        }
        pending.retain(|_, commands| !commands.is_empty());
    }

    fn write(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let writing = self.writing.lock();
        let text = serde_json::to_vec(&*self.pending.lock())?;
        let written = replace(file, &text, true);
        drop(writing);
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_answered_is_there_after_a_crash_until_it_is_done() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(dir.path()).expect("opened");
        let web = ServiceName::new("shop", "web");
        let commands = Arc::new(Commands::open(&state));
        let (answer, answered) = oneshot::channel();
        commands.give([web.clone()], &CommandKind::Pause(true), "yes".to_owned(), answer);
        assert_eq!(answered.await.expect("an answer"), Ok("yes".to_owned()));
        let again = Commands::open(&state);
        assert_eq!((again.of(&web), again.pauses(&web)), (commands.of(&web), Some(true)));
        Arc::new(again).done(&web, &commands.of(&web)).await;
        assert!(Commands::open(&state).of(&web).is_empty());
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_said_in_the_answer() {
        let dir = tempfile::tempdir().expect("a directory");
        let state = StateDir::open(&dir.path().join("state")).expect("opened");
        let commands = Arc::new(Commands::open(&state));
        std::fs::remove_dir(dir.path().join("state")).expect("removed");
        std::fs::write(dir.path().join("state"), "").expect("a file in the way");
        let (answer, answered) = oneshot::channel();
        commands.give([ServiceName::new("shop", "web")], &CommandKind::Pause(true), "yes".to_owned(), answer);
        let said = answered.await.expect("an answer").expect("it is taken");
        assert!(said.contains("only until a restart"), "{said}");
    }
}
