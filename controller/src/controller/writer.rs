//! Writes to the state directory: for each service one after the other, in the order they were asked for, a few services at
//! once, off the runtime's workers. A write that takes long goes on by itself: who asked for it does not wait for a disk that
//! hangs.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::state::StateDir;

/// A write is waited for so long: a disk writes within milliseconds.
const WAIT: Duration = Duration::from_millis(800);
/// While the disk is known to hang, a write is waited for so long.
const WAIT_WHILE_SLOW: Duration = Duration::from_millis(50);
/// So many files are written at once: enough that many syncs share a disk, and few enough that a disk that hangs takes only a
/// part of the threads for what blocks.
const AT_ONCE: usize = 32;

type Act = Box<dyn FnOnce(&StateDir) -> io::Result<()> + Send>;

/// What is written of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// What is remembered of it.
    Record,
    /// What is shown of it.
    Status,
    /// Nothing any more: its files are removed.
    Nothing,
}

/// How a write ends, or that it goes on.
pub(super) enum Written {
    /// It has ended.
    Done(io::Result<()>),
    /// It takes long. Its end comes later.
    Later(oneshot::Receiver<io::Result<()>>),
}

struct Job {
    part: Part,
    act: Act,
    told: Vec<oneshot::Sender<io::Result<()>>>,
}

/// The writes of one controller.
pub(super) struct Writer {
    state: StateDir,
    /// Those that wait, by service. A service that is here has a task that writes for it.
    waiting: Mutex<BTreeMap<String, VecDeque<Job>>>,
    places: Semaphore,
}

impl Writer {
    pub(super) fn new(state: StateDir) -> Arc<Self> {
        Arc::new(Self { state, waiting: Mutex::default(), places: Semaphore::new(AT_ONCE) })
    }

    /// Writes a part of a service, and waits for it, but not for long. One of the same part that waits is written as this one:
    /// it is the newer. `is_slow`: the disk is known to hang.
    pub(super) async fn write(
        self: &Arc<Self>,
        service: &str,
        part: Part,
        is_slow: bool,
        act: impl FnOnce(&StateDir) -> io::Result<()> + Send + 'static,
    ) -> Written {
        let mut told = match self.queue(service, part, act) {
            Ok(told) => told,
            Err(done) => return Written::Done(done),
        };
        let wait = if is_slow { WAIT_WHILE_SLOW } else { WAIT };
        match tokio::time::timeout(wait, &mut told).await {
            Ok(done) => Written::Done(done.unwrap_or_else(|_| Err(io::Error::other("the writer has ended")))),
            Err(_) => Written::Later(told),
        }
    }

    /// Writes a part of a service some time soon. Without a state directory it has happened already: `Err` is how.
    pub(super) fn queue(
        self: &Arc<Self>,
        service: &str,
        part: Part,
        act: impl FnOnce(&StateDir) -> io::Result<()> + Send + 'static,
    ) -> Result<oneshot::Receiver<io::Result<()>>, io::Result<()>> {
        if !self.state.is_kept() {
            return Err(act(&self.state));
        }
        let (tell, told) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        let is_new = !waiting.contains_key(service);
        let jobs = waiting.entry(service.to_owned()).or_default();
        // Not before a removal: what comes after it is of a service that is back.
        let after = jobs.iter().rposition(|job| job.part == Part::Nothing).map_or(0, |at| at + 1);
        let same = jobs.iter().skip(after).position(|job| job.part == part).map(|at| at + after);
        match same.and_then(|at| jobs.get_mut(at)) {
            Some(job) => {
                job.act = Box::new(act);
                job.told.push(tell);
            }
            None => jobs.push_back(Job { part, act: Box::new(act), told: vec![tell] }),
        }
        drop(waiting);
        if is_new {
            let (writer, service) = (Arc::clone(self), service.to_owned());
            tokio::spawn(async move { writer.run(service).await });
        }
        Ok(told)
    }

    async fn run(self: Arc<Self>, service: String) {
        loop {
            let Ok(place) = self.places.acquire().await else { return };
            let job = {
                let mut waiting = self.waiting.lock();
                let job = waiting.get_mut(&service).and_then(VecDeque::pop_front);
                if job.is_none() {
                    waiting.remove(&service);
                }
                job
            };
            let Some(Job { part: _, act, told }) = job else { return };
            let state = self.state.clone();
            let done = tokio::task::spawn_blocking(move || act(&state)).await;
            drop(place);
            let done = done.unwrap_or_else(|error| Err(io::Error::other(error)));
            for tell in told {
                // The one that asked may wait no more.
                let end = match &done {
                    Ok(()) => Ok(()),
                    Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
                };
                tell.send(end).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::store::tests::on_a_disk_that_hangs;
    use super::*;

    #[test]
    fn what_waits_is_written_as_the_newest_and_in_order() {
        let dir = tempfile::tempdir().expect("a directory");
        let writer = Writer::new(StateDir::open(dir.path()).expect("a state directory"));
        let log = Arc::new(Mutex::new(Vec::new()));
        let note = |what: &'static str| {
            let log = Arc::clone(&log);
            move |_: &StateDir| {
                log.lock().push(what);
                Ok(())
            }
        };
        on_a_disk_that_hangs(async |go| {
            let first = writer.queue("a", Part::Record, note("first")).expect("queued");
            // It is on its way when the others come.
            tokio::task::yield_now().await;
            let mut all = vec![first];
            for (part, what) in [
                (Part::Record, "second"),
                (Part::Status, "shown"),
                (Part::Record, "third"),
                (Part::Nothing, "gone"),
                (Part::Status, "shown again"),
            ] {
                all.push(writer.queue("a", part, note(what)).expect("queued"));
            }
            go.send(()).expect("the disk");
            for told in all {
                assert!(told.await.expect("an end").is_ok());
            }
        });
        assert_eq!(*log.lock(), ["first", "third", "shown", "gone", "shown again"]);
        assert!(writer.waiting.lock().is_empty());
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let writer = Writer::new(StateDir::open(dir.path()).expect("a state directory"));
        on_a_disk_that_hangs(async |go| {
            let Written::Later(told) = writer.write("a", Part::Record, false, |_| Ok(())).await else {
                panic!("it hangs")
            };
            go.send(()).expect("the disk");
            assert!(told.await.expect("an end").is_ok());
        });
    }
}
