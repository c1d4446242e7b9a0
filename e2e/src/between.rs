//! A proxy before the engine's socket: it notes every call, and holds those that it is told to hold.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::docker::Docker;

/// The proxy. It ends with the process.
#[derive(Debug)]
pub struct Between {
    socket: PathBuf,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What is held: calls whose words hold this.
    hold: Option<String>,
    /// How many are held now.
    held: usize,
    /// `METHOD /path?query`, without the version.
    calls: Vec<String>,
}

impl Between {
    /// Listens at `dir/engine.sock` for the default engine.
    pub fn start(dir: &Path) -> Self {
        let socket = dir.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let shared = Arc::new(Shared::default());
        let engine = Docker::default().run(&["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]);
        let engine = PathBuf::from(engine.strip_prefix("unix://").expect("the engine has a socket"));
        let of = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, engine) = (Arc::clone(&of), engine.clone());
                // A client or an engine that goes away ends its own connection.
                std::thread::spawn(move || drop(pass(client, &engine, &shared)));
            }
        });
        Self { socket, shared }
    }

    /// The address of the engine through it.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Holds the calls whose words hold `what` from now on, and no others.
    pub fn hold(&self, what: &str) {
        self.shared.lock().hold = Some(what.to_owned());
        self.shared.changed.notify_all();
    }

    /// Holds nothing any more.
    pub fn free(&self) {
        self.shared.lock().hold = None;
        self.shared.changed.notify_all();
    }

    /// How many calls are held.
    pub fn held(&self) -> usize {
        self.shared.lock().held
    }

    /// The calls since this was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().calls)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.free();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One connection: composed makes one for each call.
fn pass(mut client: UnixStream, engine: &Path, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(target);
    let call = format!("{method} {path}");
    let mut state = shared.lock();
    state.calls.push(call.clone());
    let is_held = |state: &State| state.hold.as_ref().is_some_and(|hold| call.contains(hold.as_str()));
    if is_held(&state) {
        state.held += 1;
        state = shared.changed.wait_while(state, |state| is_held(state)).unwrap_or_else(PoisonError::into_inner);
        state.held -= 1;
    }
    drop(state);
    let mut server = UnixStream::connect(engine)?;
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    drop(io::copy(&mut server, &mut client));
    drop(client.shutdown(Shutdown::Both));
    drop(up.join());
    Ok(())
}
