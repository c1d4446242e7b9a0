//! What is said in the log of connections: seldom, however many there are; and what a wide address opens to whom.

use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lets something be said at most once in a while.
#[derive(Debug)]
pub struct RateLimitedLog {
    every: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl RateLimitedLog {
    /// At most once in `every`.
    pub const fn new(every: Duration) -> Self {
        Self { every, state: Mutex::new((None, 0)) }
    }

    /// Counts one occurrence. If it is time to speak: how many there were since the last time, this one included.
    pub fn count(&self) -> Option<u64> {
        let mut state = self.state.lock();
        state.1 += 1;
        let now = Instant::now();
        if state.0.is_some_and(|last| now < last + self.every) {
            return None;
        }
        let counted = std::mem::replace(&mut *state, (Some(now), 0));
        Some(counted.1)
    }
}

/// What a listener without authentication tells.
#[derive(Clone, Copy, Debug)]
pub enum Exposed {
    /// `--dns`.
    Names,
    /// `--traefik-http`.
    Routing,
    /// `--listen`.
    Status,
}

impl Exposed {
    fn words(self) -> &'static str {
        match self {
            Self::Names => "--dns: the names of all services and the addresses of their replicas",
            Self::Routing => {
                "--traefik-http: the whole routing configuration, which is all traefik.* labels of all services, with host \
                 names, middlewares and password hashes in them, and the addresses of all replicas"
            }
            Self::Status => "--listen: the status, events and metrics of all services",
        }
    }
}

/// Why an address opens a listener to more than this host; `None` for a loopback address.
fn wide(address: SocketAddr, exposed: Exposed) -> Option<String> {
    let ip = address.ip().to_canonical();
    if ip.is_loopback() {
        return None;
    }
    let reach = if ip.is_unspecified() { "any address of this host" } else { "this address" };
    let what = exposed.words();
    Some(format!("{what}: every client that can send packets to {reach} can read that without authentication"))
}

/// Warns if an address opens a listener to more than this host.
pub fn warn_if_wide(address: SocketAddr, exposed: Exposed) {
    if let Some(why) = wide(address, exposed) {
        tracing::warn!(%address, "{why}; listen on a loopback address, or let a firewall restrict it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_address_is_told_with_what_it_opens() {
        let of = |address: &str, exposed| wide(address.parse().expect("an address"), exposed);
        for narrow in ["127.0.0.1:53", "127.8.0.1:53", "[::1]:53", "[::ffff:127.0.0.1]:53"] {
            assert_eq!(of(narrow, Exposed::Names), None, "{narrow}");
        }
        for all in ["0.0.0.0:53", "[::]:53"] {
            let words = of(all, Exposed::Names).expect(all);
            assert!(
                words.contains("any address of this host") && words.contains("addresses of their replicas"),
                "{words}"
            );
        }
        let words = of("172.18.0.1:9799", Exposed::Routing).expect("a bridge is wide");
        assert!(words.contains("this address") && words.contains("password hashes"), "{words}");
        assert!(of("10.0.0.1:1", Exposed::Status).expect("wide").contains("status"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_happens_often_is_said_seldom() {
        let seldom = RateLimitedLog::new(Duration::from_mins(1));
        assert_eq!(seldom.count(), Some(1));
        assert_eq!((seldom.count(), seldom.count()), (None, None));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(seldom.count(), Some(3));
    }
}
