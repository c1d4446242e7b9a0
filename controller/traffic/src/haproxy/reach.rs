//! The way to a runtime API: a socket that people name, or one in the network namespace of a front, entered by a thread
//! of this process where it may, else through a companion container that bridges to it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::Duration;

use composed_core::front::{BRIDGE_PORT, RUNTIME_PORT};
use composed_docker::Docker;
use crd_schema::ContainerId;
use parking_lot::Mutex;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::super::bridge;
use super::super::companion::{self, CompanionImage, CompanionImages, NamespaceAccess};
use super::super::inflight::{LookError, Namespace, namespace_of};
use super::runtime::Runtime;

/// A connection on one host takes microseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A companion listens after so long at the latest.
const BRIDGE_START: Duration = Duration::from_secs(5);
const BRIDGE_LOOK: Duration = Duration::from_millis(50);

/// Where a runtime API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RuntimeAddress {
    /// In a front.
    Front {
        /// The container.
        id: ContainerId,
        /// Its main process, as the engine's host numbers it.
        pid: u32,
        /// Its addresses.
        addresses: Vec<IpAddr>,
        /// It is on its way out: HAProxy's soft stop waits for connections to its runtime API, too.
        leaving: bool,
    },
    /// At a socket file or `host:port`.
    Socket(String),
}

impl RuntimeAddress {
    /// Whether no connection may stay open.
    pub(super) fn leaving(&self) -> bool {
        matches!(self, Self::Front { leaving: true, .. })
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct ConnectError {
    /// For people.
    pub(super) why: String,
    /// Nobody listens there.
    pub(super) nobody: bool,
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        let nobody = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
        Self { why: error.to_string(), nobody }
    }
}

impl From<String> for ConnectError {
    fn from(why: String) -> Self {
        Self { why, nobody: false }
    }
}

/// Goes there.
pub(super) struct RuntimeConnector {
    makers: CompanionImages,
    // The tokens of bridges that were started, by the front's container.
    bridges: Mutex<BTreeMap<ContainerId, String>>,
}

impl RuntimeConnector {
    pub(super) fn new(way: NamespaceAccess, docker: Option<Arc<Docker>>) -> Self {
        Self { makers: CompanionImages::new(way, docker), bridges: Mutex::default() }
    }

    /// A connection; else why there is none.
    pub(super) async fn connect(&self, place: &RuntimeAddress) -> Result<Runtime, ConnectError> {
        match place {
            RuntimeAddress::Socket(path) if path.starts_with('/') => {
                Ok(Runtime::over(within(UnixStream::connect(path)).await?).await?)
            }
            RuntimeAddress::Socket(address) => Ok(Runtime::over(within(TcpStream::connect(address)).await?).await?),
            RuntimeAddress::Front { id, pid, addresses, .. } => {
                let mut out_of_reach = "its network namespace is out of reach".to_owned();
                if self.makers.are_second() {
                    match enter(id.clone(), *pid).await {
                        Ok(stream) => return Ok(Runtime::over(stream).await?),
                        Err(LookError::Failed(error)) => return Err(error.into()),
                        Err(LookError::OutOfReach(why)) => out_of_reach = why,
                    }
                }
                let stream = Box::pin(self.bridge(id, addresses, out_of_reach)).await?;
                Ok(Runtime::over(stream).await?)
            }
        }
    }

    /// Through a companion: the one that is there, else a new one. Where there can be none, that is so as its namespace is
    /// `out_of_reach`.
    async fn bridge(&self, id: &ContainerId, addresses: &[IpAddr], out_of_reach: String) -> Result<TcpStream, String> {
        let known = self.lock().get(id).cloned();
        if let Some(token) = known
            && let Ok(stream) = knock(addresses, &token).await
        {
            return Ok(stream);
        }
        let maker = self.makers.find().await.map_err(|error| error.to_string())?;
        let CompanionImage { docker, image, program } = maker.ok_or(out_of_reach)?;
        let mut command = vec![program.display().to_string()];
        command.extend(companion::bridge_arguments());
        let token = Box::pin(docker.start_bridge(image, &command, bridge::TOKEN, id))
            .await
            .map_err(|error| error.to_string())?;
        self.lock().insert(id.clone(), token.clone());
        let end = Instant::now() + BRIDGE_START;
        loop {
            match knock(addresses, &token).await {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() >= end => return Err(format!("its companion cannot be reached: {error}")),
                Err(_) => sleep(BRIDGE_LOOK).await,
            }
        }
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, BTreeMap<ContainerId, String>> {
        self.bridges.lock()
    }
}

async fn within<T>(connect: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(CONNECT_TIMEOUT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A connection made in the front's network namespace, by a thread that ends there; the socket stays in it.
async fn enter(id: ContainerId, pid: u32) -> Result<TcpStream, LookError> {
    let visit = move || -> Result<std::net::TcpStream, LookError> {
        let Namespace::Other(namespace) = namespace_of(&id, pid)? else {
            return Err(LookError::OutOfReach("it has no network namespace of its own".to_owned()));
        };
        let visitor = std::thread::Builder::new().name("enter".to_owned()).spawn(move || {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
                |error| match error {
                    rustix::io::Errno::PERM => {
                        LookError::OutOfReach("not permitted to enter its network namespace".to_owned())
                    }
                    other => LookError::Failed(other.into()),
                },
            )?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, RUNTIME_PORT));
            Ok(std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?)
        })?;
        visitor.join().unwrap_or_else(|_| Err(LookError::Failed(io::Error::other("the visit broke off"))))
    };
    let stream = tokio::task::spawn_blocking(visit).await.map_err(io::Error::other)??;
    stream.set_nonblocking(true)?;
    Ok(TcpStream::from_std(stream)?)
}

/// Connects to a bridge, and says the token.
async fn knock(addresses: &[IpAddr], token: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::other("it has no address");
    for address in addresses {
        match within(TcpStream::connect((*address, BRIDGE_PORT))).await {
            Ok(mut stream) => {
                stream.write_all(format!("{token}\n").as_bytes()).await?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
