//! `composed companion bridge`: in the network namespace of a front, the way to its runtime API for a controller that
//! cannot enter that namespace. It asks for a token before anything else, and ends when nobody has used it for a while.

use std::io::{self, Read, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::front::{BRIDGE_PORT, RUNTIME_PORT};

/// The environment variable with the token.
pub(super) const TOKEN: &str = "COMPOSED_BRIDGE_TOKEN";
/// Who does not say it by then is a stranger.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many at a time: one controller, and one that takes its place.
const MOST: u32 = 4;
/// Without a connection for so long, it ends.
const IDLE: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(20);

/// Runs until it is not used any more.
pub(super) fn bridge_main() -> ExitCode {
    let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) else {
        eprintln!("{TOKEN} is not set");
        return ExitCode::from(2);
    };
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, BRIDGE_PORT))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, BRIDGE_PORT)));
    match listener.and_then(|listener| bridge(&listener, &token, (Ipv4Addr::LOCALHOST, RUNTIME_PORT).into(), IDLE)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Takes connections to `to`, for those who know the token, until there has been none for `idle`.
fn bridge(listener: &TcpListener, token: &str, to: SocketAddr, idle: Duration) -> io::Result<()> {
    static OPEN: AtomicU32 = AtomicU32::new(0);
    let clock = Clock::system();
    listener.set_nonblocking(true)?;
    let mut used = clock.now();
    while OPEN.load(Ordering::SeqCst) > 0 || clock.now() < used + idle {
        match listener.accept() {
            Ok((stream, _)) => {
                if OPEN.fetch_add(1, Ordering::SeqCst) < MOST {
                    let token = token.to_owned();
                    let guest = move || {
                        // One that breaks off concerns nobody else.
                        drop(serve(&stream, &token, to));
                        OPEN.fetch_sub(1, Ordering::SeqCst);
                    };
                    drop(std::thread::Builder::new().spawn(guest)?);
                } else {
                    OPEN.fetch_sub(1, Ordering::SeqCst);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
            // A connection that ended before it was accepted, or too many of them at once.
            Err(_) => std::thread::sleep(LOOK),
        }
        if OPEN.load(Ordering::SeqCst) > 0 {
            used = clock.now();
        }
    }
    Ok(())
}

fn serve(mut stream: &TcpStream, token: &str, to: SocketAddr) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut said = vec![0; token.len() + 1];
    stream.read_exact(&mut said)?;
    // The same time for every wrong one.
    let expected = token.bytes().chain([b'\n']);
    let differing = said.iter().zip(expected).fold(0, |differing, (a, b)| differing | (a ^ b));
    if differing != 0 {
        return Ok(());
    }
    stream.set_read_timeout(None)?;
    let front = TcpStream::connect(to)?;
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

    #[test]
    fn only_who_knows_the_token_gets_through() -> io::Result<()> {
        let front = TcpListener::bind("127.0.0.1:0")?;
        let (to, door) = (front.local_addr()?, TcpListener::bind("127.0.0.1:0")?);
        let at = door.local_addr()?;
        let bridge = std::thread::spawn(move || bridge(&door, "secret", to, Duration::from_millis(200)));

        let mut stranger = TcpStream::connect(at)?;
        stranger.write_all(b"sesame\nshow info\n")?;
        // It may be closed with what was said unread.
        let heard = stranger.read(&mut [0; 10]).unwrap_or(0);
        assert_eq!(heard, 0, "nothing is said to a stranger");
        front.set_nonblocking(true)?;
        assert!(front.accept().is_err(), "nobody came through");
        front.set_nonblocking(false)?;

        let mut friend = TcpStream::connect(at)?;
        friend.write_all(b"secret\nshow info\n")?;
        let (mut inside, _) = front.accept()?;
        let mut said = [0; 10];
        inside.read_exact(&mut said)?;
        assert_eq!(&said, b"show info\n");
        inside.write_all(b"fine\n")?;
        let mut answer = [0; 5];
        friend.read_exact(&mut answer)?;
        assert_eq!(&answer, b"fine\n");
        drop(friend);
        bridge.join().expect("it ends")
    }
}
