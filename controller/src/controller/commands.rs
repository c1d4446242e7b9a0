//! What people ask of the loop: decided once, written down, then answered. The next pass of the service does it, and writes
//! down in the service's memory that it has: a crash in between neither loses a command nor repeats it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{Shared, lock};
use crate::front;
use crate::model::{Desired, Key, Memory, Replica, RolloutOptions, ServiceName};
use crate::orders::{Order, Pause, RollOut, Undo};
use crate::state::{StateDir, replace};

/// The file of what was answered and not done yet, in the state directory.
const FILE: &str = "commands.json";

/// Where an answer goes.
type Answer = oneshot::Sender<Result<String, String>>;

/// A command that was taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Command {
    /// Random: the memory of the service knows by it what was done.
    id: u64,
    what: What,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// Go back from the revision that was the desired one when this was decided.
    Undo {
        /// That revision.
        from: String,
        /// The one to go back to.
        to: String,
    },
    /// Begin and change nothing, or end that.
    Pause(bool),
    /// Replace all replicas.
    RollOut(RolloutOptions),
}

/// By `project/service`, oldest first.
type Pending = BTreeMap<String, Vec<Command>>;

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
    pub(super) fn of(&self, service: &ServiceName) -> Vec<Command> {
        lock(&self.pending).get(&service.to_string()).cloned().unwrap_or_default()
    }

    /// Whether a service is to be paused, or not any more, if one of them says so.
    fn pauses(&self, service: &ServiceName) -> Option<bool> {
        let last = |command: &Command| match command.what {
            What::Pause(on) => Some(on),
            _ => None,
        };
        self.of(service).iter().rev().find_map(last)
    }

    /// Takes a command for these services; what was said is answered when it is written down. A disk that hangs holds up
    /// nothing but the answer.
    fn give(
        self: &Arc<Self>,
        services: impl IntoIterator<Item = ServiceName>,
        what: &What,
        said: String,
        answer: Answer,
    ) {
        for service in services {
            let command = Command { id: fastrand::u64(..), what: what.clone() };
            lock(&self.pending).entry(service.to_string()).or_default().push(command);
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
    pub(super) async fn done(self: &Arc<Self>, service: &ServiceName, done: &[Command]) {
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

    fn take_out(&self, service: &ServiceName, done: &[Command]) {
        let mut pending = lock(&self.pending);
        if let Some(commands) = pending.get_mut(&service.to_string()) {
            commands.retain(|command| !done.contains(command));
        }
        pending.retain(|_, commands| !commands.is_empty());
    }

    fn write(&self) -> std::io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let writing = lock(&self.writing);
        let text = serde_json::to_vec(&*lock(&self.pending))?;
        let written = replace(file, &text, true);
        drop(writing);
        written
    }
}

/// Answers what people ask for, one after the other: what is decided of one is known to the next.
pub(super) async fn take_orders(shared: Arc<Shared>) {
    // Before the files were read nothing is known that could be answered.
    shared.has_begun().await;
    loop {
        let (order, of) = (shared.c.board.orders.next().await, Arc::clone(&shared));
        // The next one is answered whatever becomes of this one.
        if let Err(error) = tokio::spawn(async move { of.take(order).await }).await {
            tracing::error!(%error, "a command was not decided; this is a bug in composed, please report it");
        }
    }
}

impl Shared {
    /// Decides what comes of an order, answers, and wakes its service.
    pub(super) async fn take(&self, order: Order) {
        let service = order.service().clone();
        match order {
            Order::Undo(undo) => self.undo(undo).await,
            Order::Pause(pause) => self.pause(pause).await,
            Order::RollOut(order) => self.roll_out(order).await,
        }
        self.wake([Key::Service(service)]);
    }

    /// Does what people have asked for of a service, each command once.
    pub(super) fn apply_commands(
        &self,
        commands: &[Command],
        name: &ServiceName,
        desired: &Desired,
        replicas: &[Replica],
        memory: &mut Memory,
    ) {
        let now = self.c.clock.now();
        for command in commands.iter().filter(|command| !memory.has_applied(command.id)).cloned().collect::<Vec<_>>() {
            let done = match (command.what, desired) {
                (What::Undo { from, .. }, _) if memory.history.last().is_none_or(|last| last.revision != from) => {
                    Err(format!("revision {from} is not the desired one any more"))
                }
                (What::Undo { to, .. }, _) => memory.undo(Some(&to), now).map(|_| ()),
                (What::Pause(on), _) => {
                    memory.pause(on, now);
                    Ok(())
                }
                (What::RollOut(options), Desired::Run(desired)) => {
                    memory.roll_out(desired, replicas, options, now);
                    Ok(())
                }
                (What::RollOut(_), _) => Err("it is not to run any more".to_owned()),
            };
            if let Err(why) = done {
                tracing::warn!(service = %name, why, "a command that was answered is not carried out");
            }
            memory.note_applied(command.id);
        }
    }

    /// Answers whether a service can be undone; its next pass does it.
    async fn undo(&self, undo: Undo) {
        let Undo { service, to, answer } = undo;
        // Whoever asked was told that it came to nothing.
        if answer.is_closed() {
            return;
        }
        let mut memory = self.store.ask(&service).await;
        let catalog = self.catalog();
        let result = match catalog.service(&service) {
            None => Err(format!("{service} is not wanted, or its document is not valid")),
            Some(desired) => memory.undo(to.as_deref(), self.c.clock.now()).map(|(present, earlier)| {
                let (from, to, source) = (&present.revision, &earlier.revision, &desired.source);
                let asked = earlier.commit.as_ref().map(|commit| format!(", asked for by commit {commit}"));
                let said = format!(
                    "{service} goes back from revision {from} to {to} ({}{}). {source} still asks for {from}: the next \
                     change of it rolls out again",
                    earlier.spec.image,
                    asked.unwrap_or_default()
                );
                (What::Undo { from: from.clone(), to: to.clone() }, said)
            }),
        };
        match result {
            Err(why) => drop(answer.send(Err(why))),
            Ok((what, said)) => {
                tracing::info!(%service, "undone by hand");
                self.commands.give([service], &what, said, answer);
            }
        }
    }

    /// Answers whether a service can be paused, or resumed; its next pass does it, and that of its front.
    async fn pause(&self, pause: Pause) {
        let Pause { service, on, answer } = pause;
        if answer.is_closed() {
            return;
        }
        let memory = self.store.ask(&service).await;
        let catalog = self.catalog();
        let seen = self.world.seen();
        let now = self.c.clock.now();
        // What is left alone because others keep changing it goes on by the same word.
        let is_paused = memory.paused.is_some() || (!on && memory.contended(now).is_some());
        let will_be = self.commands.pauses(&service).unwrap_or(is_paused);
        let desired = catalog.service(&service);
        let result = match (on, will_be, desired.filter(|desired| desired.spec.paused)) {
            _ if !catalog.knows(&service) && !seen.owned.contains(&service) => {
                Err(format!("there is no service {service}"))
            }
            (true, true, _) => Err(format!("{service} is paused already")),
            (false, false, None) => Err(format!("{service} is not paused")),
            (false, false, Some(desired)) => {
                Err(format!("{service} is paused by {}: remove `paused: true` there", desired.source))
            }
            (true, false, _) => Ok(format!("{service} is left alone until `composed resume {service}`")),
            (false, true, Some(desired)) => {
                Ok(format!("{service} is not paused by hand any more, but by {}", desired.source))
            }
            (false, true, None) => Ok(format!("{service} goes on")),
        };
        match result {
            Err(why) => drop(answer.send(Err(why))),
            Ok(said) => {
                tracing::info!(%service, on, "paused by hand");
                let front = front::name(&service);
                let is_there = |name: &ServiceName| catalog.knows(name) || seen.owned.contains(name);
                let both: Vec<_> = [service, front].into_iter().filter(is_there).collect();
                self.commands.give(both.clone(), &What::Pause(on), said, answer);
                self.wake(both.into_iter().map(Key::Service));
            }
        }
    }

    /// Answers whether a service can be rolled out anew; its next pass begins it.
    async fn roll_out(&self, order: RollOut) {
        let RollOut { service, options, answer } = order;
        if answer.is_closed() {
            return;
        }
        let memory = self.store.ask(&service).await;
        let catalog = self.catalog();
        let by_hand = memory.paused.is_some();
        let result = match catalog.service(&service) {
            None => Err(format!("{service} is not wanted, or its document is not valid")),
            Some(desired) if desired.spec.paused => {
                Err(format!("{service} is paused by {}: remove `paused: true` there", desired.source))
            }
            Some(_) if by_hand => Err(format!("{service} is paused: `composed resume {service}` ends that")),
            Some(_) => Ok(format!("{service} is rolled out anew")),
        };
        match result {
            Err(why) => drop(answer.send(Err(why))),
            Ok(said) => {
                tracing::info!(%service, "rolled out by hand");
                self.commands.give([service], &What::RollOut(options), said, answer);
            }
        }
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
        commands.give([web.clone()], &What::Pause(true), "yes".to_owned(), answer);
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
        commands.give([ServiceName::new("shop", "web")], &What::Pause(true), "yes".to_owned(), answer);
        let said = answered.await.expect("an answer").expect("it is taken");
        assert!(said.contains("only until a restart"), "{said}");
    }
}
