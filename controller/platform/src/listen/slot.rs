//! One open connection: what it waits for, and until when it may.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::descriptors::ConnectionLimits;
use super::peer::Peer;

/// One connection.
#[derive(Debug)]
pub struct Slot {
    /// Its number: no other connection of this listener has it.
    pub number: u64,
    /// Its other end.
    pub peer: Peer,
    limits: ConnectionLimits,
    state: Mutex<State>,
    /// Something has changed that may end it earlier.
    changed: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Requests whose head is complete and whose answer has not ended.
    requests: usize,
    /// Of them, long polls and event streams.
    lasting: usize,
    /// Of them, those whose sender has not proved who it is.
    unproven: usize,
    /// Without a request: bytes of the next one have come, or it is the first.
    in_head: bool,
    /// Since when it is as it is.
    since: Instant,
    /// Since when nothing of an answer could be written.
    stuck: Option<Instant>,
    pub(super) closed: bool,
}

impl State {
    /// How willingly a connection is closed for another one, and since when it has been like that; `None`: not at all.
    pub(super) fn rank(&self) -> Option<(u8, Instant)> {
        match self {
            Self { requests: 0, .. } => Some((0, self.since)),
            Self { stuck: Some(stuck), .. } => Some((1, *stuck)),
            _ if self.requests <= self.lasting + self.unproven => Some((1, self.since)),
            _ => None,
        }
    }

    fn deadline(&self, limits: &ConnectionLimits) -> Option<Instant> {
        let stuck = self.stuck.map(|since| since + limits.idle_timeout);
        let own = match self.requests {
            0 if self.in_head => Some(self.since + limits.head_timeout),
            0 => Some(self.since + limits.idle_timeout),
            requests if requests > self.lasting => Some(self.since + limits.request_timeout),
            _ => None,
        };
        [stuck, own].into_iter().flatten().min()
    }
}

impl Slot {
    pub(super) fn new(number: u64, peer: Peer, limits: ConnectionLimits) -> Self {
        let state = State {
            requests: 0,
            lasting: 0,
            unproven: 0,
            in_head: true,
            since: Instant::now(),
            stuck: None,
            closed: false,
        };
        Self { number, peer, limits, state: Mutex::new(state), changed: Notify::new() }
    }

    /// A request is complete as far as it has to be to answer it. It lasts until what is returned is dropped.
    pub fn begin(self: &Arc<Self>) -> ActiveRequest {
        let mut state = self.lock();
        if state.requests == 0 {
            state.since = Instant::now();
        }
        state.requests += 1;
        drop(state);
        self.changed.notify_one();
        ActiveRequest(Arc::clone(self))
    }

    /// The answer to a request takes as long as it takes until what is returned is dropped: a long poll, an event stream.
    /// Such a connection may be closed for a new one, after those that wait for a request.
    pub fn last(self: &Arc<Self>) -> LongLivedResponse {
        self.lock().lasting += 1;
        LongLivedResponse(Arc::clone(self))
    }

    /// The sender of a request is a stranger until what is returned is dropped: its connection may be closed for a new one.
    pub fn distrust(self: &Arc<Self>) -> UnprovenRequest {
        self.lock().unproven += 1;
        UnprovenRequest(Arc::clone(self))
    }

    /// Resolves when the connection has to end: its time is up, or another one takes its place.
    pub(super) async fn over(&self) {
        loop {
            let (closed, deadline) = {
                let state = self.lock();
                (state.closed, state.deadline(&self.limits))
            };
            match deadline {
                _ if closed => return,
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = self.changed.notified() => {}
                    () = sleep_until(at) => {}
                },
                None => self.changed.notified().await,
            }
        }
    }

    /// Bytes have come.
    pub(super) fn has_read(&self) {
        let mut state = self.lock();
        if state.requests == 0 && !state.in_head {
            (state.in_head, state.since) = (true, Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Bytes were written, or none could be.
    pub(super) fn has_written(&self, some: bool) {
        let mut state = self.lock();
        if some {
            state.stuck = None;
            // The end of an answer is still being read.
            if state.requests == 0 && !state.in_head {
                state.since = Instant::now();
            }
        } else if state.stuck.is_none() {
            state.stuck = Some(Instant::now());
            drop(state);
            self.changed.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub struct ActiveRequest(Arc<Slot>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests = state.requests.saturating_sub(1);
        if state.requests == 0 {
            (state.in_head, state.since) = (false, Instant::now());
            drop(state);
            self.0.changed.notify_one();
        }
    }
}

/// An answer that lasts.
#[derive(Debug)]
pub struct LongLivedResponse(Arc<Slot>);

impl Drop for LongLivedResponse {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.lasting = state.lasting.saturating_sub(1);
        // What follows has its time from now on.
        state.since = Instant::now();
        drop(state);
        self.0.changed.notify_one();
    }
}

/// A request of a stranger.
#[derive(Debug)]
pub struct UnprovenRequest(Arc<Slot>);

impl Drop for UnprovenRequest {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.unproven = state.unproven.saturating_sub(1);
    }
}
