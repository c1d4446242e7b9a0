//! By which names a listener on TCP may be asked. A page in a browser can have its own name resolve to an address of this
//! host (DNS rebinding) and would then read what is served there: its requests still carry its own name.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::header::HOST;
use parking_lot::Mutex;
use tokio::time::Instant;

/// What Docker and Podman call their own host within containers, where a Traefik or Prometheus asks from. The top-level name
/// `internal` is reserved: no page can have such a name.
const OF_ENGINES: [&str; 3] = ["host.docker.internal", "gateway.docker.internal", "host.containers.internal"];
/// A name that is told back is no longer than this.
const MAX_SHOWN: usize = 100;
/// A refusal is told of for so long.
const RECENT: Duration = Duration::from_mins(1);

/// The names by which a listener may be asked, beside addresses and `localhost`.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    names: Vec<String>,
    /// The last name that was refused, and when.
    refused: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Hosts {
    /// These names, and the machine's own, also those that engines give it.
    pub fn new(allowed: &[String]) -> Self {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let names = allowed.iter().chain([&own]).map(String::as_str).chain(OF_ENGINES);
        Self { names: names.map(normal).filter(|name| !name.is_empty()).collect(), ..Self::default() }
    }

    /// The name by which somebody was refused within the last minute.
    pub fn refused(&self) -> Option<String> {
        let last = self.refused.lock();
        last.as_ref().filter(|(at, _)| at.elapsed() < RECENT).map(|(_, name)| name.clone())
    }

    /// Whether a request may be answered; if not, what to tell its sender. All names in it count: the `Host` header, which
    /// has to be there once, and that of a target in absolute form.
    pub fn check<B>(&self, request: &Request<B>) -> Result<(), String> {
        let mut headers = request.headers().get_all(HOST).iter();
        let header = match (headers.next(), headers.next()) {
            (Some(header), None) => Some(header.to_str().unwrap_or("?")),
            (None, _) => None,
            (Some(_), Some(_)) => return Err("composed: the request has several Host headers\n".to_owned()),
        };
        let target = request.uri().authority().map(hyper::http::uri::Authority::as_str);
        match [header, target].into_iter().flatten().find(|name| !self.allows(name)) {
            Some(name) => {
                let shown = shown(name);
                let why = refusal(&shown);
                *self.refused.lock() = Some((Instant::now(), shown));
                Err(why)
            }
            None if header.is_none() => Err("composed: the request has no Host header\n".to_owned()),
            None => Ok(()),
        }
    }

    fn allows(&self, authority: &str) -> bool {
        let Some(host) = host_of(authority) else { return false };
        if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return matches!(address.parse(), Ok(IpAddr::V6(_)));
        }
        let name = normal(host);
        name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok() || self.names.contains(&name)
    }
}

/// The host of `host` or `host:port`.
fn host_of(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rsplit_once(':') {
        // An IPv6 address without a port ends with its bracket.
        Some((_, rest)) if rest.ends_with(']') => (authority, None),
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (!host.is_empty() && port.is_none_or(is_port)).then_some(host)
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// A name as it is told back.
fn shown(name: &str) -> String {
    let host = host_of(name).unwrap_or(name);
    host.chars().filter(char::is_ascii_graphic).take(MAX_SHOWN).collect()
}

fn refusal(shown: &str) -> String {
    format!(
        "composed: this request is for the host {shown}, which is none of this server's names. Ask by an IP address or \
         localhost, or start composed with --allow-host NAME\n"
    )
}

/// A name for `--allow-host`.
///
/// # Errors
/// It is no host name: with a scheme, a port, a path or a wildcard it would never fit.
pub fn allowed_name(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let name = normal(text);
    if name.split('.').all(label) {
        return Ok(name);
    }
    if text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok() {
        return Err("addresses are always allowed: give a host name".to_owned());
    }
    Err("it is to be a host name, such as composed.example.org, without scheme, port, path or `*`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(hosts: &Hosts, target: &str, headers: &[&str]) -> Result<(), String> {
        let mut request = Request::builder().uri(target);
        for host in headers {
            request = request.header(HOST, *host);
        }
        hosts.check(&request.body(()).expect("a request"))
    }

    #[test]
    fn addresses_and_own_names_are_allowed_and_no_others() {
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let hosts = Hosts::new(&["Composed.example.org".to_owned()]);
        for good in [
            "127.0.0.1",
            "127.0.0.1:9797",
            "[::1]:9797",
            "[::1]",
            "10.1.2.3:1",
            "localhost:9797",
            "LOCALHOST",
            "localhost.",
            "composed.example.org:443",
            "host.docker.internal:9797",
            "host.containers.internal",
            &own,
            &format!("{own}:9797"),
        ] {
            assert_eq!(check(&hosts, "/v1/services", &[good]), Ok(()), "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:9797",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil.example#localhost",
            "localhost@evil.example",
            "[::1].evil.example",
            "[evil]",
            "x.composed.example.org",
            "host.docker.internal.evil.example",
            "localhost:",
            ":9797",
            "",
            "0x7f.1",
            "127.0.0.1:x",
        ] {
            assert!(check(&hosts, "/v1/services", &[bad]).is_err(), "{bad}");
        }
        assert!(check(&hosts, "/", &[]).expect_err("none").contains("no Host"));
        assert!(check(&hosts, "/", &["localhost", "localhost"]).is_err());
        // HTTP/1's absolute form, and what HTTP/2 calls the authority.
        assert_eq!(check(&hosts, "http://localhost/", &["localhost"]), Ok(()));
        assert!(check(&hosts, "http://evil.example/", &["localhost"]).is_err());
        assert!(check(&hosts, "http://localhost/", &["evil.example"]).is_err());
    }

    #[test]
    fn a_refusal_says_what_to_do_and_repeats_little() {
        let long = "x".repeat(5000);
        for name in ["evil.example:80", long.as_str()] {
            let words = check(&Hosts::default(), "/", &[name]).expect_err("refused");
            assert!(words.contains("--allow-host NAME") && words.len() < 400, "{words}");
        }
    }

    #[test]
    fn what_could_never_fit_is_refused_on_the_command_line() {
        assert_eq!(allowed_name("Composed.example.org."), Ok("composed.example.org".to_owned()));
        assert_eq!(allowed_name("composed"), Ok("composed".to_owned()));
        for bad in ["", "*", "*.example.org", "http://x", "x:80", "x/y", "a b", "[::1]"] {
            assert!(allowed_name(bad).is_err(), "{bad}");
        }
    }
}
