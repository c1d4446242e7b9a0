//! An open loop: what is sent at a steady rate, whether or not earlier answers have come, until it is stopped or dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use crate::{millis, secs};

/// What is under way, on threads of its own.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    runtime: Option<Runtime>,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    ended: AtomicBool,
    under_way: AtomicU64,
}

impl OpenLoop {
    /// Threads that send nothing yet.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self { runtime: Some(runtime.expect("a runtime for the requests")), gate: Arc::default() }
    }

    /// Has something else run on its threads for as long as it lives.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(task);
        }
    }

    /// Begins to send: `one` is given the number of the turn, from 1, and makes what is sent.
    pub(crate) fn send<F>(&self, rate: u32, mut one: impl FnMut(usize) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let gate = Arc::clone(&self.gate);
        self.spawn(async move {
            let mut ticks = interval(secs(1) / rate);
            // What was missed is made up for.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for turn in 1.. {
                ticks.tick().await;
                if gate.ended.load(Ordering::SeqCst) {
                    return;
                }
                gate.under_way.fetch_add(1, Ordering::SeqCst);
                let (gate, request) = (Arc::clone(&gate), one(turn));
                tokio::spawn(async move {
                    request.await;
                    gate.under_way.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }

    /// Ends; what is under way is waited for, as long as one may take and a second more.
    pub(crate) fn stop(&mut self, patience: Duration) {
        let Some(runtime) = self.runtime.take() else { return };
        self.gate.ended.store(true, Ordering::SeqCst);
        let end = Instant::now() + patience + secs(1);
        // Who was just let in counts among those under way by then.
        std::thread::sleep(millis(50));
        while Instant::now() < end && self.gate.under_way.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(millis(20)); // The pace of looking.
        }
        runtime.shutdown_timeout(secs(1));
    }
}

impl Drop for OpenLoop {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
