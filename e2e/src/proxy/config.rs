//! The few lines of its own configuration that each of them needs.

use std::path::Path;

use super::{Proxy, Way, free_port};
use crate::haproxy::haproxy_image;

/// What Traefik's Docker provider has to be told; the rule names [`super::HOST`].
pub const LABELS: [(&str, &str); 3] = [
    ("traefik.enable", "true"),
    ("traefik.http.routers.web.rule", "Host(`shop.test`)"),
    ("traefik.http.services.web.loadbalancer.server.port", "8080"),
];

/// [`LABELS`] and more of them, as a document has them.
pub fn labels(more: &[(&str, &str)]) -> String {
    let each: Vec<_> = LABELS.iter().chain(more).map(|(name, value)| format!("{name}: \"{value}\"")).collect();
    format!("{{{}}}", each.join(", "))
}

impl Proxy {
    /// `name` is the service's, as composed answers it by DNS. `Err` says what is missing.
    pub(super) fn configure(&mut self, project: &str, name: &str) -> Result<(), String> {
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
        let by_labels = |socket: &Path, throttle: &str| {
            traefik(&[
                format!("--providers.docker.endpoint=unix://{}", socket.display()),
                "--providers.docker.exposedByDefault=false".to_owned(),
                format!("--providers.docker.network={project}_default"),
                format!("--providers.providersThrottleDuration={throttle}"),
            ])
        };
        if self.program.as_ref().is_some_and(|program| program.ends_with("traefik")) {
            self.keys.push(("labels", labels(&[])));
        }
        match self.way {
            Way::TraefikView | Way::TraefikViewAtOnce | Way::TraefikViewByApi => {
                let throttle = if self.way == Way::TraefikView { "2s" } else { "0s" };
                let view = self.dir.join("view.sock");
                self.options =
                    ["--view", &view.display().to_string(), "--traefik-throttle", throttle].map(str::to_owned).into();
                self.arguments = by_labels(&view, throttle);
                if self.way == Way::TraefikViewByApi {
                    self.options.extend(["--traefik-api".to_owned(), format!("http://127.0.0.1:{other}")]);
                    self.arguments.push("--api.insecure=true".to_owned());
                    self.arguments.push(format!("--entryPoints.traefik.address=127.0.0.1:{other}"));
                }
            }
            Way::TraefikAlone | Way::StopByHand | Way::DockerRollout => {
                self.arguments = by_labels(Path::new("/var/run/docker.sock"), "2s");
            }
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
                     resolver 127.0.0.1:{other} valid=1s ipv6=off;\n  map $http_upgrade $connection_upgrade {{ default upgrade; \"\" \"\"; }}\n  server {{\n    listen 127.0.0.1:{port};\n    \
                     keepalive_requests 100000;\n    location / {{\n      set $upstream {name};\n      proxy_http_version 1.1;\n      \
                     proxy_set_header Upgrade $http_upgrade;\n      proxy_set_header Connection $connection_upgrade;\n      \
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
                     backend web\n  balance roundrobin\n  option http-server-close\n  server-template web 10 {name}:8080 resolvers composed init-addr none\n"
                );
                self.arguments = vec!["-db".to_owned(), "-f".to_owned(), file("haproxy.cfg", &text)];
                self.options = dns();
            }
            Way::Haproxy => {
                let socket = self.dir.join("admin.sock");
                let socket = socket.display();
                let text = format!(
                    "global\n  maxconn 4000\n  stats socket {socket} level admin\n  stats timeout 1h\ndefaults\n  mode http\n  \
                     timeout connect 2s\n  timeout client 1m\n  timeout server 1m\n  timeout tunnel 1h\n  retries 3\n  option redispatch 1\n\
                     frontend in\n  bind 127.0.0.1:{port}\n  default_backend web\nbackend web\n  balance leastconn\n  \
                     server theirs 127.0.0.1:9 disabled\n"
                );
                self.arguments = vec!["-db".to_owned(), "-f".to_owned(), file("haproxy.cfg", &text)];
                let told = format!("{{haproxy: {{socket: {socket}, backend: web, server_port: 8080}}}}");
                self.keys.push(("traffic", told));
            }
            Way::FrontHttp | Way::FrontTcp => {
                let mode = if self.way == Way::FrontHttp { "http" } else { "tcp" };
                self.keys.push(("ports", format!("[\"127.0.0.1:{port}:8080\"]")));
                self.keys.push(("front", format!("{{mode: {mode}, image: \"{}\"}}", haproxy_image()?)));
            }
            Way::Published => self.keys.push(("ports", format!("[\"127.0.0.1:{port}:8080\"]"))),
        }
        Ok(())
    }
}
