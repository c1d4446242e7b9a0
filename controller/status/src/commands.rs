//! What people ask the loop for, beside what files and commits say.

use std::collections::VecDeque;

use composed_core::model::{RolloutOptions, ServiceName};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Orders that wait for the loop.
#[derive(Debug, Default)]
pub struct CommandQueue {
    waiting: Mutex<VecDeque<PendingCommand>>,
    news: Notify,
}

/// What somebody asks for.
#[derive(Debug)]
pub enum PendingCommand {
    /// Go back to an earlier revision.
    Undo(Undo),
    /// Leave it alone, or do not any more.
    Pause(Pause),
    /// Replace its replicas, though nothing has changed.
    RollOut(RollOut),
}

/// Go back to an earlier revision until the document changes.
#[derive(Debug)]
pub struct Undo {
    /// Of this service.
    pub service: ServiceName,
    /// To this revision, or the beginning of its name; else to the last that was available.
    pub to: Option<String>,
    /// Who asks for it, for people, where that is known.
    pub by: Option<String>,
    /// What will be done, or why nothing is.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Begin and change nothing, until that is ended.
#[derive(Debug)]
pub struct Pause {
    /// Of this service.
    pub service: ServiceName,
    /// It begins, or it ends.
    pub on: bool,
    /// What will be done, or why nothing is.
    pub answer: oneshot::Sender<Result<String, String>>,
}

/// Replace all replicas by new ones, though the document has not changed.
#[derive(Debug)]
pub struct RollOut {
    /// Of this service.
    pub service: ServiceName,
    /// How, where that is not as its document says.
    pub options: RolloutOptions,
    /// What will be done, or why nothing is.
    pub answer: oneshot::Sender<Result<String, String>>,
}

impl From<RollOut> for PendingCommand {
    fn from(order: RollOut) -> Self {
        Self::RollOut(order)
    }
}

impl From<Undo> for PendingCommand {
    fn from(undo: Undo) -> Self {
        Self::Undo(undo)
    }
}

impl From<Pause> for PendingCommand {
    fn from(pause: Pause) -> Self {
        Self::Pause(pause)
    }
}

impl PendingCommand {
    /// The service that it is about.
    pub fn service(&self) -> &ServiceName {
        match self {
            Self::Undo(undo) => &undo.service,
            Self::Pause(pause) => &pause.service,
            Self::RollOut(order) => &order.service,
        }
    }
}

impl CommandQueue {
    /// Gives an order.
    pub fn submit(&self, order: impl Into<PendingCommand>) {
        self.waiting.lock().push_back(order.into());
        self.news.notify_one();
    }

    /// The next order, if one waits.
    pub fn take(&self) -> Option<PendingCommand> {
        self.waiting.lock().pop_front()
    }

    /// The next order. Nothing is lost when the wait is given up.
    pub async fn next(&self) -> PendingCommand {
        loop {
            if let Some(order) = self.take() {
                return order;
            }
            self.news.notified().await;
        }
    }
}
