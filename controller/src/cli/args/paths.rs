//! The options for the ways by which proxies learn where to send requests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser as _;

use super::duration::duration;

/// The ways by which proxies learn who serves, beside the status.
#[derive(Debug, Args)]
#[command(next_help_heading = "Proxies")]
pub struct Paths {
    /// Answer DNS for SERVICE.PROJECT on these addresses, such as 172.18.0.1:53, with the replicas that serve. All that can
    /// send packets there can read the names of all services and the addresses of their replicas.
    #[arg(long, value_name = "ADDRESS", env = "COMPOSED_DNS", value_delimiter = ',')]
    pub dns: Vec<SocketAddr>,
    /// How long proxies use a DNS answer at most (nginx: `valid`, Caddy: `refresh`).
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s", env = "COMPOSED_DNS_CACHE")]
    pub dns_cache: Duration,
    /// Keep this file (.yml) for Traefik's file provider, made of the services' own traefik.* labels.
    #[arg(long, value_name = "PATH", value_parser = yaml_file, env = "COMPOSED_TRAEFIK_FILE")]
    pub traefik_file: Option<PathBuf>,
    /// Serve the same for Traefik's HTTP provider on this address, at any path. All that can connect there can read the
    /// whole routing configuration: the traefik.* labels of all services, password hashes in them included, and the addresses
    /// of their replicas.
    #[arg(long, value_name = "ADDRESS", env = "COMPOSED_TRAEFIK_HTTP")]
    pub traefik_http: Option<SocketAddr>,
    /// How long after one configuration Traefik takes the next: its providers.providersThrottleDuration.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s", env = "COMPOSED_TRAEFIK_THROTTLE")]
    pub traefik_throttle: Duration,
    /// Serve Docker's API for proxies on this unix socket: read-only, and of composed's replicas only those that serve.
    /// A proxy mounts it in place of Docker's own socket. All that can open the socket can read the proxies' labels, networks
    /// and addresses of all containers on this engine.
    #[arg(long, value_name = "PATH", env = "COMPOSED_VIEW", value_parser = clap::builder::NonEmptyStringValueParser::new().map(PathBuf::from))]
    pub view: Option<PathBuf>,
    /// Prefixes of labels that proxies may see, beside those of Traefik, Caddy, nginx-proxy and Compose.
    #[arg(long, value_name = "PREFIX", value_delimiter = ',', env = "COMPOSED_VIEW_LABELS")]
    pub view_labels: Vec<String>,
    /// Where Traefik's API answers, such as <http://127.0.0.1:8080>: then what it has loaded is seen there, and not waited for.
    #[arg(long, value_name = "URL", value_parser = http, env = "COMPOSED_TRAEFIK_API")]
    pub traefik_api: Option<String>,
}

fn http(text: &str) -> Result<String, String> {
    let authority = text.strip_prefix("http://").unwrap_or_default().trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("it is to be http://HOST:PORT".to_owned()),
    }
}

/// Traefik reads a file by its extension, and what is written is YAML.
fn yaml_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yml" | "yaml") => Ok(path),
        _ => Err("it is to end with .yml or .yaml: Traefik reads no other as what is written".to_owned()),
    }
}
