//! What people ask the loop for, beside what files and commits say.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::model::ServiceName;

/// Orders that wait for the loop.
#[derive(Debug, Default)]
pub struct Orders {
    waiting: Mutex<VecDeque<Undo>>,
    news: Notify,
}

/// Go back to an earlier revision until the document changes.
#[derive(Debug)]
pub struct Undo {
    /// Of this service.
    pub service: ServiceName,
    /// To this revision, or the beginning of its name; else to the last that was available.
    pub to: Option<String>,
    /// What will be done, or why nothing is.
    pub answer: oneshot::Sender<Result<String, String>>,
}

impl Orders {
    /// Gives an order.
    pub fn give(&self, undo: Undo) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(undo);
        self.news.notify_one();
    }

    /// The next order. Nothing is lost when the wait is given up.
    pub async fn next(&self) -> Undo {
        loop {
            let undo = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            if let Some(undo) = undo {
                return undo;
            }
            self.news.notified().await;
        }
    }
}
