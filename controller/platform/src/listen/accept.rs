//! The loop in which connections are accepted. It never ends, and never spins.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::connections::Connections;
use super::peer::Peer;
use super::slot::Slot;
use super::stream::MonitoredStream;
use super::warnings::RateLimitedLog;

/// After an error of the system a connection is accepted again after so long.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Such errors are said at most so often.
static ERRORS: RateLimitedLog = RateLimitedLog::new(Duration::from_secs(10));

/// Where connections come in.
pub trait Acceptor: Send {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one, and its other end.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Acceptor for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, from) = self.accept().await?;
        // Answers are short and whole.
        drop(stream.set_nodelay(true));
        Ok((stream, Peer::at(from.ip())))
    }
}

impl Acceptor for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.accept().await?;
        // A process in another pid namespace is 0 here.
        let process = stream.peer_cred().ok().and_then(|peer| Some((peer.pid().filter(|pid| *pid > 0)?, peer.uid())));
        Ok((stream, process.map_or(Peer::Unknown, |(pid, user)| Peer::Process { pid, user })))
    }
}

/// Accepts connections for ever, and has each served in a task of its own until it ends or has to. All of them end with
/// this future.
pub async fn accept<D, F, S>(door: D, connections: Arc<Connections>, serve: F) -> Infallible
where
    D: Acceptor,
    F: Fn(MonitoredStream<D::Stream>, Arc<Slot>) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = door.next() => accepted,
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) => {
                if let Some(place) = connections.admit(peer).await {
                    let slot = Arc::clone(&place.slot);
                    let served = serve(MonitoredStream::new(stream, Arc::clone(&slot)), Arc::clone(&slot));
                    tasks.spawn(async move {
                        tokio::select! {
                            () = served => {}
                            () = slot.over() => {}
                        }
                        drop(place);
                    });
                }
                connections.settled().await;
            }
            // The client has gone before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if let Some(times) = ERRORS.count() {
                    let listener = connections.name;
                    tracing::warn!(listener, %error, times, "a connection cannot be accepted; trying again");
                }
                connections.give_one_back();
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::Listener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::io::{AsyncReadExt as _, DuplexStream};

    /// A door at which the system first refuses, as with too many open files.
    struct Broken(AtomicUsize, tokio::sync::Mutex<tokio::sync::mpsc::Receiver<DuplexStream>>);

    impl Acceptor for Broken {
        type Stream = DuplexStream;

        async fn next(&self) -> io::Result<(DuplexStream, Peer)> {
            if self.0.fetch_add(1, Ordering::Relaxed) < 10 {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error()));
            }
            let stream = self.1.lock().await.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((stream, Peer::Unknown))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn errors_neither_end_the_loop_nor_make_it_spin() {
        let (sender, streams) = tokio::sync::mpsc::channel(1);
        let door = Broken(AtomicUsize::new(0), tokio::sync::Mutex::new(streams));
        let connections = Connections::new("test", Listener::Status.limits_of(1024));
        let began = tokio::time::Instant::now();
        let serve = async |mut stream: MonitoredStream<DuplexStream>| {
            drop(tokio::io::AsyncWriteExt::write_all(&mut stream, b"hello").await);
        };
        let server = tokio::spawn(accept(door, connections, move |stream, _| serve(stream)));
        let (mut client, stream) = tokio::io::duplex(64);
        sender.send(stream).await.expect("the loop goes on");
        let mut said = String::new();
        client.read_to_string(&mut said).await.expect("an answer");
        assert_eq!(said, "hello");
        assert_eq!(began.elapsed(), RETRY_INTERVAL * 10);
        server.abort();
    }
}
