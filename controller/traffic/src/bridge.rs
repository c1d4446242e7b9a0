//! `composed companion bridge`: in the network namespace of a front, the way to its runtime API for a controller that
//! cannot enter that namespace. It asks for a token before anything else, and ends when no client with the token has used it
//! for a while. Strangers, whatever they send and however many they are, wait in a place of their own: they take no slot of
//! a client that knows the token, cost no thread, and do not keep the bridge running.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread::JoinHandle;
use std::time::Duration;

use composed_core::front::{BRIDGE_PORT, RUNTIME_PORT};
use composed_platform::secret::Secret;
use tokio::time::Instant;

/// The environment variable with the token.
pub(super) const TOKEN: &str = "COMPOSED_BRIDGE_TOKEN";
/// A client that has not said the token by then is closed.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(2);
/// So many connections may be about to say it; for a further one the oldest is closed.
const MAX_STRANGERS: usize = 64;
/// So many are bridged: one controller's, and those of one that takes its place. Each is two threads, and the companion may
/// have 16.
const MAX_GUESTS: usize = 4;
/// The front is in the same network namespace.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// An end that reads nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Without a bridged connection for so long, it ends.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
/// How often connections are looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Runs until it is not used any more.
pub(super) fn bridge_main() -> ExitCode {
    let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) else {
        eprintln!("{TOKEN} is not set");
        return ExitCode::from(2);
    };
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, BRIDGE_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, BRIDGE_PORT)));
    let to = (Ipv4Addr::LOCALHOST, RUNTIME_PORT).into();
    let ended = listener.and_then(|listener| Bridge::new(&token, to, IDLE_TIMEOUT).run(&listener));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A bridge to `to`.
struct Bridge {
    token: Secret,
    /// How long the token is, with its line feed.
    length: usize,
    to: SocketAddr,
    idle: Duration,
    /// Those that have not said the token yet, oldest first.
    strangers: VecDeque<Stranger>,
    /// Those that have, oldest first.
    guests: VecDeque<Guest>,
}

/// A connection that has not said the token yet.
struct Stranger {
    stream: TcpStream,
    said: Vec<u8>,
    since: Instant,
}

/// A connection that is bridged, by two threads of its own.
struct Guest {
    stream: TcpStream,
    thread: JoinHandle<()>,
}

/// What is known of a stranger.
enum Heard {
    /// The token is not complete.
    Less,
    /// It is the token.
    Token,
    /// It is not, or the connection has ended.
    Other,
}

impl Bridge {
    fn new(token: &str, to: SocketAddr, idle: Duration) -> Self {
        let length = token.len() + 1;
        let token = Secret::new(format!("{token}\n").as_bytes());
        Self { token, length, to, idle, strangers: VecDeque::new(), guests: VecDeque::new() }
    }

    /// Takes connections, for those who know the token, until there has been none for `idle`. Strangers do not count.
    fn run(&mut self, listener: &TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let mut used = Instant::now();
        while !self.guests.is_empty() || used.elapsed() < self.idle {
            // However many there are, those that are here are heard in between.
            for _ in 0..MAX_STRANGERS {
                // A connection that ended before it was accepted, or none: the others go on.
                let Ok((stream, _)) = listener.accept() else { break };
                self.take(stream);
            }
            self.hear();
            self.strangers.retain(|stranger| stranger.since.elapsed() < TOKEN_TIMEOUT);
            self.guests.retain(|guest| !guest.thread.is_finished());
            if !self.guests.is_empty() {
                used = Instant::now();
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(())
    }

    /// A new connection. When there are too many strangers, the one that has been silent for longest is closed.
    fn take(&mut self, stream: TcpStream) {
        if stream.set_nonblocking(true).is_err() {
            return;
        }
        self.strangers.push_back(Stranger { stream, said: Vec::new(), since: Instant::now() });
        if self.strangers.len() > MAX_STRANGERS {
            // It may have said the token by now.
            self.hear();
            let over = self.strangers.len().saturating_sub(MAX_STRANGERS);
            self.strangers.drain(..over);
        }
    }

    /// Reads what strangers have said, and lets through those that have said the token.
    fn hear(&mut self) {
        let mut waiting = VecDeque::new();
        for mut stranger in std::mem::take(&mut self.strangers) {
            match stranger.hear(&self.token, self.length) {
                Heard::Less => waiting.push_back(stranger),
                Heard::Token => self.let_through(stranger.stream),
                Heard::Other => {}
            }
        }
        self.strangers = waiting;
    }

    /// Bridges a connection. When there are too many, the oldest one ends: its controller may be gone without a word.
    fn let_through(&mut self, stream: TcpStream) {
        self.guests.retain(|guest| !guest.thread.is_finished());
        if self.guests.len() >= MAX_GUESTS
            && let Some(oldest) = self.guests.pop_front()
        {
            // Its threads wait for this stream, and then shut down the front's.
            drop(oldest.stream.shutdown(Shutdown::Both));
        }
        let (to, own) = (self.to, stream.try_clone());
        // One that breaks off, or finds no thread, concerns no other.
        let thread = std::thread::Builder::new().spawn(move || drop(serve(&stream, to)));
        if let (Ok(thread), Ok(stream)) = (thread, own) {
            self.guests.push_back(Guest { stream, thread });
        }
    }
}

impl Stranger {
    fn hear(&mut self, token: &Secret, length: usize) -> Heard {
        // Not a byte more: what follows the token is for the front.
        let mut more = vec![0; length - self.said.len()];
        match (&self.stream).read(&mut more) {
            Ok(0) => Heard::Other,
            Ok(read) => {
                self.said.extend(more.iter().take(read));
                match self.said.len() {
                    said if said < length => Heard::Less,
                    // The same time for every wrong one: it is compared when it is whole.
                    _ if token.is(&self.said) => Heard::Token,
                    _ => Heard::Other,
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Heard::Less,
            Err(_) => Heard::Other,
        }
    }
}

fn serve(mut stream: &TcpStream, to: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let front = TcpStream::connect_timeout(&to, CONNECT_TIMEOUT)?;
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    front.set_write_timeout(Some(WRITE_TIMEOUT))?;
    let (mut from_front, mut to_client) = (front.try_clone()?, stream.try_clone()?);
    let back = std::thread::Builder::new().spawn(move || {
        drop(io::copy(&mut from_front, &mut to_client));
        drop(to_client.shutdown(Shutdown::Both));
    })?;
    drop(io::copy(&mut stream, &mut &front));
    drop(front.shutdown(Shutdown::Both));
    drop(back.join());
    stream.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A bridge to a listener, and its address.
    fn stand(idle: Duration) -> io::Result<(TcpListener, SocketAddr, JoinHandle<io::Result<()>>)> {
        let (front, door) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (to, at) = (front.local_addr()?, door.local_addr()?);
        let bridge = std::thread::spawn(move || Bridge::new("secret", to, idle).run(&door));
        Ok((front, at, bridge))
    }

    /// Through the bridge and back.
    fn goes_through(front: &TcpListener, mut friend: &TcpStream) -> io::Result<TcpStream> {
        friend.write_all(b"secret\nshow info\n")?;
        let (mut inside, _) = front.accept()?;
        let mut said = [0; 10];
        inside.read_exact(&mut said)?;
        assert_eq!(&said, b"show info\n");
        inside.write_all(b"fine\n")?;
        let mut answer = [0; 5];
        friend.read_exact(&mut answer)?;
        assert_eq!(&answer, b"fine\n");
        Ok(inside)
    }

    #[test]
    fn only_a_client_with_the_token_gets_through() -> io::Result<()> {
        let (front, at, bridge) = stand(Duration::from_millis(500))?;
        for wrong in [&b"sesame\nshow info\n"[..], b"secreT\nshow info\n", b"\n\n\n\n\n\n\n", b"secret show info\n"] {
            let mut stranger = TcpStream::connect(at)?;
            stranger.write_all(wrong)?;
            // It may be closed with what was said unread.
            let heard = stranger.read(&mut [0; 10]).unwrap_or(0);
            assert_eq!(heard, 0, "nothing is said to a stranger");
        }
        front.set_nonblocking(true)?;
        assert!(front.accept().is_err(), "none came through");
        front.set_nonblocking(false)?;
        // The token may come in pieces.
        let mut friend = TcpStream::connect(at)?;
        friend.set_nodelay(true)?;
        friend.write_all(b"sec")?;
        std::thread::sleep(POLL_INTERVAL * 2); // It has read the first piece by then.
        friend.write_all(b"ret\nhello")?;
        let (mut inside, _) = front.accept()?;
        let mut said = [0; 5];
        inside.read_exact(&mut said)?;
        assert_eq!(&said, b"hello");
        drop(friend);
        bridge.join().expect("it ends")
    }

    /// Silent strangers, byte by byte ones and wrong ones, again and again, many more than may wait.
    #[test]
    fn strangers_hold_up_no_client_with_the_token() -> io::Result<()> {
        let (front, at, bridge) = stand(Duration::from_millis(500))?;
        let stop = Arc::new(AtomicBool::new(false));
        let more = {
            let stop = Arc::clone(&stop);
            move || {
                let mut open = VecDeque::new();
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(at) else { continue };
                    drop(stream.write_all(if open.len() % 2 == 0 { b"s" } else { b"" }));
                    open.push_back(stream);
                    if open.len() > MAX_STRANGERS * 2 {
                        open.pop_front();
                    }
                    // Some 1,000 in a second.
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        };
        let strangers: Vec<_> = (0..2).map(|_| std::thread::spawn(more.clone())).collect();
        let mut friends = Vec::new();
        for _ in 0..MAX_GUESTS {
            let friend = TcpStream::connect(at)?;
            friend.set_read_timeout(Some(Duration::from_secs(10)))?;
            friends.push((goes_through(&front, &friend)?, friend));
        }
        // One more ends the oldest.
        let friend = TcpStream::connect(at)?;
        friend.set_read_timeout(Some(Duration::from_secs(10)))?;
        drop(goes_through(&front, &friend)?);
        let (_, oldest) = friends.first_mut().expect("there are some");
        assert_eq!(oldest.read(&mut [0; 1]).unwrap_or(0), 0, "it has ended");
        let (inside, second) = friends.get_mut(1).expect("there are some");
        inside.write_all(b"!")?;
        second.read_exact(&mut [0; 1])?;
        drop((friends, friend));
        // Strangers do not keep it running.
        bridge.join().expect("it ends")?;
        stop.store(true, Ordering::Relaxed);
        for stranger in strangers {
            stranger.join().expect("it ends");
        }
        Ok(())
    }

    #[test]
    fn a_silent_stranger_has_its_time() -> io::Result<()> {
        let (_front, at, bridge) = stand(TOKEN_TIMEOUT * 2)?;
        let mut silent = TcpStream::connect(at)?;
        let began = Instant::now();
        silent.set_read_timeout(Some(TOKEN_TIMEOUT * 10))?;
        assert_eq!(silent.read(&mut [0; 1])?, 0);
        assert!(began.elapsed() >= TOKEN_TIMEOUT / 2, "{:?}", began.elapsed());
        bridge.join().expect("it ends")
    }
}
