//! The proxies that people have, as processes of their own in front of a world: each with the few lines of its own
//! configuration that composed asks for, and the options of `composed run` that go with them.

mod config;

pub use self::config::{LABELS, labels};

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::document::Service;
use crate::load::{self, Kind};
use crate::millis;
use crate::program::{janitor, target};
use crate::world::World;

/// The name that requests ask for.
pub const HOST: &str = "shop.test";

/// A way by which requests find the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Traefik's Docker provider on composed's view.
    TraefikView,
    /// The same, with Traefik's throttle at 0 s.
    TraefikViewAtOnce,
    /// The same, and composed asks Traefik's API what is in force.
    TraefikViewByApi,
    /// Traefik's file provider.
    TraefikFile,
    /// Traefik's HTTP provider.
    TraefikHttp,
    /// Caddy's `dynamic a` upstreams, answered by composed.
    CaddyNames,
    /// nginx' `resolver`, answered by composed.
    NginxNames,
    /// HAProxy's `resolvers`, answered by composed.
    HaproxyNames,
    /// A HAProxy of people's own, told by its runtime API.
    Haproxy,
    /// A front by HTTP, on a published port.
    FrontHttp,
    /// A front by TCP, on a published port.
    FrontTcp,
    /// Nothing: the published port is the replica's own, so composed stops the old one first.
    Published,
    /// Traefik's Docker provider on Docker's own socket; the new ones are started, the old ones stopped, by hand.
    StopByHand,
    /// The same as docker-rollout does it: the old ones' healthcheck is made to fail 10 s before they are stopped.
    DockerRollout,
    /// Traefik's Docker provider on Docker's own socket, as people have it: nobody tells it anything.
    TraefikAlone,
}

/// All ways.
pub const WAYS: [Way; 15] = [
    Way::FrontHttp,
    Way::FrontTcp,
    Way::Haproxy,
    Way::TraefikView,
    Way::TraefikViewAtOnce,
    Way::TraefikViewByApi,
    Way::TraefikFile,
    Way::TraefikHttp,
    Way::CaddyNames,
    Way::NginxNames,
    Way::HaproxyNames,
    Way::TraefikAlone,
    Way::StopByHand,
    Way::DockerRollout,
    Way::Published,
];

impl Way {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TraefikView => "Traefik, labels, endpoint view",
            Self::TraefikViewAtOnce => "Traefik, labels, endpoint view, throttle 0 s",
            Self::TraefikViewByApi => "Traefik, labels, endpoint view, throttle 0 s, its API",
            Self::TraefikAlone => "Traefik, labels, Docker's own socket",
            Self::TraefikFile => "Traefik, file provider",
            Self::TraefikHttp => "Traefik, HTTP provider (1 s)",
            Self::CaddyNames => "Caddy, dynamic a",
            Self::NginxNames => "nginx, resolver",
            Self::HaproxyNames => "HAProxy, resolvers",
            Self::Haproxy => "HAProxy, runtime API",
            Self::FrontHttp => "front: http",
            Self::FrontTcp => "front: tcp",
            Self::Published => "published port, no front (stop-first)",
            Self::StopByHand => "Traefik, Docker's own socket; old ones stopped by hand",
            Self::DockerRollout => "Traefik, Docker's own socket; docker-rollout's recipe, 10 s",
        }
    }

    /// Whether composed promises that no request fails; the others are here to be compared with.
    pub fn is_promised(self) -> bool {
        !matches!(self, Self::TraefikAlone | Self::StopByHand | Self::DockerRollout | Self::Published)
    }

    /// Whether rollouts are made without composed.
    pub fn is_by_hand(self) -> bool {
        matches!(self, Self::StopByHand | Self::DockerRollout)
    }

    /// A short name for files and the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::TraefikView => "traefik-view",
            Self::TraefikViewAtOnce => "traefik-view-0s",
            Self::TraefikViewByApi => "traefik-view-api",
            Self::TraefikAlone => "traefik-alone",
            Self::TraefikFile => "traefik-file",
            Self::TraefikHttp => "traefik-http",
            Self::CaddyNames => "caddy",
            Self::NginxNames => "nginx",
            Self::HaproxyNames => "haproxy-names",
            Self::Haproxy => "haproxy",
            Self::FrontHttp => "front-http",
            Self::FrontTcp => "front-tcp",
            Self::Published => "published",
            Self::StopByHand => "stop-by-hand",
            Self::DockerRollout => "docker-rollout",
        }
    }
}

/// A proxy in front of a world's service `web`, and what composed has to be told. Ended when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where its clients connect.
    pub address: SocketAddr,
    /// Options of `composed run`.
    pub options: Vec<String>,
    way: Way,
    dir: PathBuf,
    /// Not of fronts and published ports: those are composed's and Docker's.
    program: Option<PathBuf>,
    arguments: Vec<String>,
    keys: Vec<(&'static str, String)>,
    child: Option<Child>,
}

impl Proxy {
    /// A proxy of this kind, not running yet. `Err` says what is missing on this machine.
    pub fn new(way: Way, world: &World) -> Result<Self, String> {
        let dir = world.path("proxy");
        std::fs::create_dir_all(&dir).expect("a directory for the proxy");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let program = match way {
            Way::TraefikView
            | Way::TraefikViewAtOnce
            | Way::TraefikViewByApi
            | Way::TraefikAlone
            | Way::TraefikFile
            | Way::TraefikHttp
            | Way::StopByHand
            | Way::DockerRollout => Some(tool("traefik")?),
            Way::CaddyNames => Some(tool("caddy")?),
            Way::NginxNames => Some(tool("nginx")?),
            Way::HaproxyNames | Way::Haproxy => Some(tool("haproxy")?),
            Way::FrontHttp | Way::FrontTcp | Way::Published => None,
        };
        let (options, arguments, keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut proxy = Self { address, options, way, dir, program, arguments, keys, child: None };
        proxy.configure(&world.project, &format!("web.{}.composed", world.project))?;
        Ok(proxy)
    }

    /// What the service's document needs for it.
    #[must_use]
    pub fn labelled(&self, service: Service) -> Service {
        self.keys.iter().fold(service, |service, (key, value)| service.key(key, value))
    }

    /// The kinds of requests that are sent through it. By TCP a connection belongs to a replica and ends with it, so there a client
    /// has to make new ones.
    pub fn mix(&self) -> &'static [Kind] {
        if self.way == Way::FrontTcp { load::FRESH } else { load::ALL }
    }

    /// Starts it; the controller, which tells it who serves, should run.
    pub fn start(&mut self) {
        let Some(program) = &self.program else { return };
        let log = std::fs::File::create(self.dir.join("proxy.log")).expect("a log file");
        let mut command = Command::new(program);
        command.args(&self.arguments).current_dir(&self.dir).stdin(Stdio::null());
        command.env("HOME", &self.dir).env("XDG_DATA_HOME", &self.dir).env("XDG_CONFIG_HOME", &self.dir);
        let errors = log.try_clone().expect("a second handle of the log");
        let child = command.stdout(log).stderr(errors).spawn().expect("the proxy starts");
        janitor(child.id());
        self.child = Some(child);
    }

    /// The end of what it said.
    pub fn said(&self) -> String {
        let text = std::fs::read_to_string(self.dir.join("proxy.log")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // One that is killed leaves its workers behind.
            drop(Command::new("kill").args(["-TERM", &child.id().to_string()]).status());
            for _ in 0..20 {
                if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                    return;
                }
                std::thread::sleep(millis(100)); // The pace of looking.
            }
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A port of loopback that nobody has, for a moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A proxy's program: of this system, or from where `.ci/proxies` puts it.
fn tool(name: &str) -> Result<PathBuf, String> {
    let system = ["/usr/sbin", "/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join(name));
    let own = target().join("proxies/bin").join(name);
    let found = std::iter::once(own).chain(system).find(|path| path.exists());
    found.ok_or_else(|| format!("there is no {name} on this machine; .ci/proxies brings it"))
}
