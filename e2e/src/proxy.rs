//! The proxies that people have, as processes of their own in front of a world: each with the few lines of its own
//! configuration that composed asks for, and the options of `composed run` that go with them.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::document::Service;
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
    /// Traefik's Docker provider on Docker's own socket, as people have it: nobody tells it anything.
    TraefikAlone,
}

/// All ways.
pub const WAYS: [Way; 8] = [
    Way::TraefikView,
    Way::TraefikViewAtOnce,
    Way::TraefikFile,
    Way::TraefikHttp,
    Way::CaddyNames,
    Way::NginxNames,
    Way::HaproxyNames,
    Way::TraefikAlone,
];

impl Way {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::TraefikView => "Traefik, labels, endpoint view",
            Self::TraefikViewAtOnce => "Traefik, labels, endpoint view, throttle 0 s",
            Self::TraefikAlone => "Traefik, labels, Docker's own socket",
            Self::TraefikFile => "Traefik, file provider",
            Self::TraefikHttp => "Traefik, HTTP provider (1 s)",
            Self::CaddyNames => "Caddy, dynamic a",
            Self::NginxNames => "nginx, resolver",
            Self::HaproxyNames => "HAProxy, resolvers",
        }
    }

    /// Whether no request may fail. Nobody tells a proxy on Docker's own socket who leaves: it is here to be compared with.
    pub fn is_promised(self) -> bool {
        self != Self::TraefikAlone
    }

    /// A short name for files and the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::TraefikView => "traefik-view",
            Self::TraefikViewAtOnce => "traefik-view-0s",
            Self::TraefikAlone => "traefik-alone",
            Self::TraefikFile => "traefik-file",
            Self::TraefikHttp => "traefik-http",
            Self::CaddyNames => "caddy",
            Self::NginxNames => "nginx",
            Self::HaproxyNames => "haproxy-names",
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
    program: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl Proxy {
    /// A proxy of this kind, not running yet. `Err` says what is missing on this machine.
    pub fn new(way: Way, world: &World) -> Result<Self, String> {
        let dir = world.path("proxy");
        std::fs::create_dir_all(&dir).expect("a directory for the proxy");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let program = match way {
            Way::TraefikView | Way::TraefikViewAtOnce | Way::TraefikAlone | Way::TraefikFile | Way::TraefikHttp => {
                tool("traefik")?
            }
            Way::CaddyNames => tool("caddy")?,
            Way::NginxNames => tool("nginx")?,
            Way::HaproxyNames => tool("haproxy")?,
        };
        let mut proxy = Self { address, options: Vec::new(), way, dir, program, arguments: Vec::new(), child: None };
        proxy.configure(&world.project, &format!("web.{}.composed", world.project));
        Ok(proxy)
    }

    /// What the service's document needs for it.
    #[must_use]
    pub fn labelled(&self, service: Service) -> Service {
        match self.way {
            Way::CaddyNames | Way::NginxNames | Way::HaproxyNames => service,
            _ => service.key(
                "labels",
                &format!(
                    "{{traefik.enable: \"true\", traefik.http.routers.web.rule: Host(`{HOST}`), \
                     traefik.http.services.web.loadbalancer.server.port: \"8080\"}}"
                ),
            ),
        }
    }

    /// Starts it; the controller, which tells it who serves, should run.
    pub fn start(&mut self) {
        let log = std::fs::File::create(self.dir.join("proxy.log")).expect("a log file");
        let mut command = Command::new(&self.program);
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

    fn configure(&mut self, project: &str, name: &str) {
        let port = self.address.port();
        let other = free_port();
        let file = |name: &str, text: &str| {
            let path = self.dir.join(name);
            std::fs::write(&path, text).expect("the proxy's configuration");
            path.display().to_string()
        };
        let traefik = |provider: &[String]| {
            let mut arguments = vec![
                format!("--entryPoints.web.address=127.0.0.1:{port}"),
                "--global.checkNewVersion=false".to_owned(),
                "--global.sendAnonymousUsage=false".to_owned(),
                "--log.level=INFO".to_owned(),
            ];
            arguments.extend(provider.iter().cloned());
            arguments
        };
        let dns = || vec!["--dns".to_owned(), format!("127.0.0.1:{other}")];
        let labels = |socket: &Path, throttle: &str| {
            traefik(&[
                format!("--providers.docker.endpoint=unix://{}", socket.display()),
                "--providers.docker.exposedByDefault=false".to_owned(),
                format!("--providers.docker.network={project}_default"),
                format!("--providers.providersThrottleDuration={throttle}"),
            ])
        };
        match self.way {
            Way::TraefikView | Way::TraefikViewAtOnce => {
                let throttle = if self.way == Way::TraefikView { "2s" } else { "0s" };
                let view = self.dir.join("view.sock");
                self.options =
                    ["--view", &view.display().to_string(), "--traefik-throttle", throttle].map(str::to_owned).into();
                self.arguments = labels(&view, throttle);
            }
            Way::TraefikAlone => self.arguments = labels(Path::new("/var/run/docker.sock"), "2s"),
            Way::TraefikFile => {
                let dynamic = self.dir.join("dynamic");
                std::fs::create_dir_all(&dynamic).expect("a directory for the dynamic configuration");
                self.options = vec!["--traefik-file".to_owned(), dynamic.join("composed.yml").display().to_string()];
                self.arguments = traefik(&[format!("--providers.file.directory={}", dynamic.display())]);
            }
            Way::TraefikHttp => {
                self.options = vec!["--traefik-http".to_owned(), format!("127.0.0.1:{other}")];
                self.arguments = traefik(&[
                    format!("--providers.http.endpoint=http://127.0.0.1:{other}/"),
                    "--providers.http.pollInterval=1s".to_owned(),
                ]);
            }
            Way::CaddyNames => {
                let text = format!(
                    "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://:{port} {{\n\tbind 127.0.0.1\n\treverse_proxy {{\n\t\t\
                     dynamic a {{\n\t\t\tname {name}\n\t\t\tport 8080\n\t\t\trefresh 1s\n\t\t\tresolvers 127.0.0.1:{other}\n\t\t}}\n\t}}\n}}\n"
                );
                let caddyfile = file("Caddyfile", &text);
                self.arguments = ["run", "--adapter", "caddyfile", "--config"].map(str::to_owned).to_vec();
                self.arguments.push(caddyfile);
                self.options = dns();
            }
            Way::NginxNames => {
                let dir = self.dir.display();
                let text = format!(
                    "daemon off;\npid {dir}/nginx.pid;\nerror_log {dir}/error.log;\nworker_processes 2;\n\
                     events {{ worker_connections 2048; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {dir}/body;\n  \
                     proxy_temp_path {dir}/proxy;\n  fastcgi_temp_path {dir}/f;\n  uwsgi_temp_path {dir}/u;\n  scgi_temp_path {dir}/s;\n  \
                     resolver 127.0.0.1:{other} valid=1s ipv6=off;\n  server {{\n    listen 127.0.0.1:{port};\n    \
                     keepalive_requests 100000;\n    location / {{\n      set $upstream {name};\n      proxy_http_version 1.1;\n      \
                     proxy_pass http://$upstream:8080;\n    }}\n  }}\n}}\n"
                );
                self.arguments = vec!["-c".to_owned(), file("nginx.conf", &text), "-p".to_owned(), dir.to_string()];
                self.options = dns();
            }
            Way::HaproxyNames => {
                let text = format!(
                    "global\n  maxconn 4000\nresolvers composed\n  nameserver one 127.0.0.1:{other}\n  hold valid 1s\n  \
                     hold nx 0s\n  hold obsolete 0s\n  timeout resolve 1s\n  timeout retry 300ms\ndefaults\n  mode http\n  timeout connect 2s\n  \
                     timeout client 30s\n  timeout server 30s\nfrontend in\n  bind 127.0.0.1:{port}\n  default_backend web\n\
                     backend web\n  balance roundrobin\n  server-template web 10 {name}:8080 resolvers composed init-addr none\n"
                );
                self.arguments = vec!["-db".to_owned(), "-f".to_owned(), file("haproxy.cfg", &text)];
                self.options = dns();
            }
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
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
