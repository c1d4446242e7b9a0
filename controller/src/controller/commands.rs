//! What people ask of the loop: decided once, written down, then answered. The next pass of the service does it, and writes
//! down in the service's memory that it has: a crash in between neither loses a command nor repeats it.

use std::sync::Arc;

use composed_core::front;
use composed_core::model::{Desired, Key, Replica, RolloutOptions, ServiceName, ServiceRecord, UndoDecision};
use composed_status::commands::{Pause, PendingCommand, RollOut, Undo};
use jiff::Timestamp;

use super::command_queue::{AcceptedCommand, CommandKind};
use super::shared::Shared;

/// Answers what people ask for, one after the other: what is decided of one is known to the next.
pub(super) async fn take_orders(shared: Arc<Shared>) {
    // Before the files were read nothing is known that could be answered.
    shared.has_begun().await;
    loop {
        let (order, of) = (shared.c.statuses.commands.next().await, Arc::clone(&shared));
        // The next one is answered whatever becomes of this one.
        if let Err(error) = tokio::spawn(async move { of.take(order).await }).await {
            tracing::error!(%error, "a command was not decided; this is a bug in composed, please report it");
        }
    }
}

impl Shared {
    /// Decides what comes of an order, answers, and wakes its service.
    pub(super) async fn take(&self, order: PendingCommand) {
        let service = order.service().clone();
        match order {
            PendingCommand::Undo(undo) => self.undo(undo).await,
            PendingCommand::Pause(pause) => self.pause(pause).await,
            PendingCommand::RollOut(order) => self.roll_out(order).await,
        }
        self.wake([Key::Service(service)]);
    }

    /// Does what people have asked for of a service, each command once.
    pub(super) fn apply_commands(
        &self,
        commands: &[AcceptedCommand],
        name: &ServiceName,
        desired: &Desired,
        replicas: &[Replica],
        memory: &mut ServiceRecord,
    ) {
        let now = self.c.clock.now();
        for command in commands.iter().filter(|command| !memory.has_applied(command.id)).cloned().collect::<Vec<_>>() {
            let done = match (command.what, desired) {
                (CommandKind::Undo { from, .. }, _)
                    if memory.revisions.history.last().is_none_or(|last| last.revision != from) =>
                {
                    Err(format!("revision {from} is not the desired one any more"))
                }
                (CommandKind::Undo { to, by, .. }, _) => memory.undo(Some(to.as_str()), by, now).map(|_| ()),
                (CommandKind::Pause(on), _) => {
                    memory.pause(on, now);
                    Ok(())
                }
                (CommandKind::RollOut(options), Desired::Run(_)) if !options.to_file && memory.roll_out_undone(now) => {
                    Ok(())
                }
                (CommandKind::RollOut(options), Desired::Run(desired)) => {
                    memory.begin_manual_rollout(desired, replicas, options, now);
                    Ok(())
                }
                (CommandKind::RollOut(_), _) => Err("it is not to run any more".to_owned()),
            };
            if let Err(why) = done {
                tracing::warn!(service = %name, why, "a command that was answered is not carried out");
            }
            memory.record_applied(command.id);
        }
    }

    /// Answers whether a service can be undone; its next pass does it.
    async fn undo(&self, undo: Undo) {
        let Undo { service, to, by, answer } = undo;
        // Whoever asked was told that it came to nothing.
        if answer.is_closed() {
            return;
        }
        let mut memory = self.store.ask(&service).await;
        let catalog = self.catalog();
        let result = match catalog.service(&service) {
            None => Err(format!("{service} is not wanted, or its document is not valid")),
            Some(desired) => decided(&service, &desired.source, &mut memory, to.as_deref(), by, self.c.clock.now()),
        };
        match result {
            Err(why) => drop(answer.send(Err(why))),
            Ok((None, said)) => drop(answer.send(Ok(said))),
            Ok((Some(what), said)) => {
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
        let is_paused = memory.control.paused.is_some() || (!on && memory.contended(now).is_some());
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
                self.commands.give(both.clone(), &CommandKind::Pause(on), said, answer);
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
        let by_hand = memory.control.paused.is_some();
        let result = match catalog.service(&service) {
            None => Err(format!("{service} is not wanted, or its document is not valid")),
            Some(desired) if desired.spec.paused => {
                Err(format!("{service} is paused by {}: remove `paused: true` there", desired.source))
            }
            Some(_) if by_hand => Err(format!("{service} is paused: `composed resume {service}` ends that")),
            Some(desired) => match memory.undone_to().filter(|_| !options.to_file) {
                Some(_) if options != RolloutOptions::default() => Err(format!(
                    "{service} was gone back with by hand: what runs is rolled out as its revision says, without options; \
                     --to-file rolls out what {} asks for",
                    desired.source
                )),
                Some(record) => Ok(format!(
                    "{service} is rolled out anew as it runs, with revision {} ({}); --to-file rolls out what {} asks for",
                    record.revision, record.spec.image, desired.source
                )),
                None => Ok(format!("{service} is rolled out anew")),
            },
        };
        match result {
            Err(why) => drop(answer.send(Err(why))),
            Ok(said) => {
                tracing::info!(%service, "rolled out by hand");
                self.commands.give([service], &CommandKind::RollOut(options), said, answer);
            }
        }
    }
}

/// What an undo comes to: the command, unless there is nothing to do, and what is said of it.
fn decided(
    service: &ServiceName,
    source: &str,
    memory: &mut ServiceRecord,
    to: Option<&str>,
    by: Option<String>,
    now: Timestamp,
) -> Result<(Option<CommandKind>, String), String> {
    let desired = memory.revisions.history.last().map(|record| record.revision.clone()).unwrap_or_default();
    match memory.undo(to, by.clone(), now)? {
        UndoDecision::Nothing(said) => Ok((None, format!("{service}: {said}"))),
        UndoDecision::Back(present, earlier) => {
            let (from, to) = (&present.revision, earlier.revision.clone());
            let asked = earlier.commit.as_ref().map(|commit| format!(", asked for by commit {commit}"));
            let image = format!("{}{}", earlier.spec.image, asked.unwrap_or_default());
            let still = if to == desired {
                format!("that is what {source} asks for")
            } else {
                format!("{source} still asks for {desired}: the next change of it rolls out again")
            };
            let said = format!("{service} goes back from revision {from} to {to} ({image}). {still}");
            Ok((Some(CommandKind::Undo { from: desired, to, by }), said))
        }
    }
}
