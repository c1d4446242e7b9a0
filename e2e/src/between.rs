//! A proxy before the engine's socket: it notes every call, and holds those that it is told to hold.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::docker::Docker;

/// So much of an answer is looked at for the id of a container.
const HEAD: usize = 4096;

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
    /// What is held, each as words; a call that has all words of one of them is.
    hold: Vec<String>,
    /// The calls that are held now.
    held: Vec<String>,
    calls: Vec<Call>,
    /// The names of containers that were made through here, by id.
    names: HashMap<String, String>,
}

/// A call of the engine.
#[derive(Clone, Debug)]
pub struct Call {
    /// When it came.
    pub at: Instant,
    /// `METHOD /path?query`, without the version; then what is known of it beside that: the name of the container that it is
    /// about if that was made through here, and the name of the network or volume that is to be made.
    pub words: String,
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

    /// Holds the calls that have all of these words from now on, beside those that are held already.
    pub fn hold(&self, words: &str) {
        self.shared.lock().hold.push(words.to_owned());
        self.shared.changed.notify_all();
    }

    /// Holds nothing any more.
    pub fn free(&self) {
        self.shared.lock().hold.clear();
        self.shared.changed.notify_all();
    }

    /// How many calls are held.
    pub fn held(&self) -> usize {
        self.shared.lock().held.len()
    }

    /// Whether a call that has all of these words is held.
    pub fn holds(&self, words: &str) -> bool {
        self.shared.lock().held.iter().any(|call| has(call, words))
    }

    /// When the first call with all of these words came that came after `since`.
    pub fn first(&self, since: Instant, words: &str) -> Option<Instant> {
        let state = self.shared.lock();
        state.calls.iter().find(|call| call.at >= since && has(&call.words, words)).map(|call| call.at)
    }

    /// The calls since this was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.lock().calls).into_iter().map(|call| call.words).collect()
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

fn has(call: &str, words: &str) -> bool {
    words.split(' ').all(|word| call.contains(word))
}

/// One connection: composed makes one for each call.
fn pass(mut client: UnixStream, engine: &Path, shared: &Shared) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; HEAD];
    let body = loop {
        if let Some(end) = head.windows(4).position(|end| end == b"\r\n\r\n") {
            break end + 4;
        }
        match client.read(&mut piece)? {
            0 => return Ok(()),
            read => head.extend_from_slice(&piece[..read]),
        }
    };
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.strip_prefix("/v1.").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(target);
    let mut call = format!("{method} {path}");
    if method == "POST" && (path.starts_with("/volumes/create") || path.starts_with("/networks/create")) {
        while after(&head[body..], "\"Name\":\"").is_none() {
            match client.read(&mut piece)? {
                0 => break,
                read => head.extend_from_slice(&piece[..read]),
            }
        }
        call += &format!(" {}", after(&head[body..], "\"Name\":\"").unwrap_or_default());
    }
    let mut state = shared.lock();
    let name = state.names.iter().find(|(id, _)| path.contains(id.as_str())).map(|(_, name)| name.clone());
    call += &name.map(|name| format!(" {name}")).unwrap_or_default();
    state.calls.push(Call { at: Instant::now(), words: call.clone() });
    let is_held = |state: &State| state.hold.iter().any(|hold| has(&call, hold));
    if is_held(&state) {
        state.held.push(call.clone());
        state = shared.changed.wait_while(state, |state| is_held(state)).unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = state.held.iter().position(|held| *held == call) {
            state.held.swap_remove(at);
        }
        if is_gone(&client) && !call.contains("/networks/create") {
            // It has given up: the engine has not begun, and does not. Networks are made all the same, as by an engine that
            // has read the call: it makes several of one name.
            return Ok(());
        }
    }
    drop(state);
    let mut server = UnixStream::connect(engine)?;
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    let up = std::thread::spawn(move || {
        drop(io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Write));
    });
    if let Some((_, name)) = path.split_once("/containers/create?name=") {
        let name = name.split('&').next().unwrap_or_default();
        drop(made(&mut server, &mut client, name, shared));
    }
    drop(io::copy(&mut server, &mut client));
    drop(client.shutdown(Shutdown::Both));
    drop(up.join());
    Ok(())
}

/// Whether the other end of a connection has closed it.
fn is_gone(client: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(recv(client, &mut [0; 1], flags), Ok((0, _)) | Err(Errno::CONNRESET))
}

/// Passes the answer to a creation on, and notes the name of the container before whoever made it can use its id.
fn made(server: &mut UnixStream, client: &mut UnixStream, name: &str, shared: &Shared) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut piece = [0; HEAD];
    while answer.len() < HEAD {
        let read = server.read(&mut piece)?;
        answer.extend_from_slice(&piece[..read]);
        if let Some(id) = after(&answer, "\"Id\":\"") {
            shared.lock().names.insert(id, name.to_owned());
        } else if read > 0 {
            continue;
        }
        break;
    }
    client.write_all(&answer)
}

/// What stands between a word and the next quotation mark.
fn after(bytes: &[u8], word: &str) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let (_, rest) = text.split_once(word)?;
    rest.split_once('"').map(|(found, _)| found.to_owned())
}
