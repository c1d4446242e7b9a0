//! A socket between adapter and engine that can be cut, or fall silent.

use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;

/// What it does with connections, old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Hands everything on.
    Pass,
    /// Hangs up.
    Refuse,
    /// Keeps them open and moves nothing, for as long as they last.
    Stall,
}

/// The proxy. Ends with the value.
pub(crate) struct Proxy {
    directory: tempfile::TempDir,
    mode: Arc<watch::Sender<Mode>>,
    serving: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// Stands before the engine at this socket.
    pub(crate) fn begin(engine: &'static str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("docker.sock")).expect("bind");
        let mode = Arc::new(watch::Sender::new(Mode::Pass));
        let accepted = Arc::clone(&mode);
        let serving = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                drop(tokio::spawn(serve(near, engine, accepted.subscribe())));
            }
        });
        Self { directory, mode, serving }
    }

    /// For `--host`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.directory.path().join("docker.sock").display())
    }

    /// From now on.
    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(mut near: UnixStream, engine: &str, mut mode: watch::Receiver<Mode>) {
    let now = *mode.borrow_and_update();
    let next = match now {
        Mode::Refuse => return,
        Mode::Stall => Mode::Stall,
        Mode::Pass => {
            let mut far = UnixStream::connect(engine).await.expect("the engine");
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => return,
                changed = mode.changed() => if changed.is_err() { return },
            }
            *mode.borrow_and_update()
        }
    };
    if next == Mode::Stall {
        std::future::pending::<()>().await;
    }
}
