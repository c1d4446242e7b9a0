//! The file descriptors of the process, and how many of them each listener may use.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More descriptors are of no use to this program, and some systems have a limit of a billion.
const MAX_DESCRIPTORS: u64 = 65_536;
/// What the listeners leave at least, below which the controller cannot heal.
const MIN_RESERVE: u64 = 128;
/// All weights together.
const WEIGHTS: u64 = 16;
/// Every listener has at least so many connections, however low the limit is.
const MIN_CONNECTIONS: u64 = 2;

/// What a listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// Of them, those of one peer: an IPv4 address, an IPv6 network of 64 bits, or a process on this host.
    pub per_peer: usize,
    /// From the beginning of a connection, or the first byte of a further request, to the complete request head.
    pub head_timeout: Duration,
    /// How long a connection may stay open between two requests, and how long a client may read nothing of an answer.
    pub idle_timeout: Duration,
    /// From the complete request head to the end of the answer. Long polls and event streams have no such limit.
    pub request_timeout: Duration,
}

/// The listeners of the program. Several DNS addresses are one listener here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The endpoint view: each proxy holds an event stream.
    View,
    /// The API socket.
    Socket,
    /// The status and the metrics on a TCP address.
    Status,
    /// DNS over TCP.
    Dns,
    /// Webhooks of git servers.
    Webhooks,
    /// Traefik's HTTP provider.
    Traefik,
}

impl Listener {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::View, Self::Socket, Self::Status, Self::Dns, Self::Webhooks, Self::Traefik];

    /// What this listener allows in this process, by its current soft limit of descriptors.
    pub fn limits(self) -> ConnectionLimits {
        self.limits_of(soft_limit())
    }

    /// What this listener allows in a process with so many descriptors.
    pub fn limits_of(self, descriptors: u64) -> ConnectionLimits {
        let connections = self.share(descriptors);
        let seconds = Duration::from_secs;
        let (head_timeout, idle_timeout, request_timeout) = match self {
            // A read waits for the controller's first look and for the engine.
            Self::View => (seconds(10), seconds(60), seconds(120)),
            Self::Socket | Self::Status | Self::Traefik => (seconds(10), seconds(60), seconds(60)),
            Self::Dns => (seconds(10), seconds(10), seconds(5)),
            // One request each, and its sender has it ready.
            Self::Webhooks => (seconds(2), seconds(2), seconds(10)),
        };
        // Behind a reverse proxy all come from one address: its part is not small.
        let per_peer = (connections - connections / 4).max(1);
        ConnectionLimits { connections, per_peer, head_timeout, idle_timeout, request_timeout }
    }

    /// How many sixteenths of what all listeners may use.
    fn weight(self) -> u64 {
        match self {
            Self::View => 8,
            Self::Socket | Self::Status | Self::Dns => 2,
            Self::Webhooks | Self::Traefik => 1,
        }
    }

    /// More connections than this are of no use.
    fn most(self) -> u64 {
        match self {
            Self::View => 4096,
            Self::Socket | Self::Dns => 1024,
            Self::Status => 512,
            Self::Webhooks | Self::Traefik => 256,
        }
    }

    fn share(self, descriptors: u64) -> usize {
        let open = descriptors.saturating_sub(reserve(descriptors));
        let share = (open * self.weight() / WEIGHTS).clamp(MIN_CONNECTIONS, self.most());
        usize::try_from(share).unwrap_or(usize::MAX)
    }
}

/// What all listeners together leave to the engine, the state, git and probes.
fn reserve(descriptors: u64) -> u64 {
    (descriptors / 2).max(MIN_RESERVE)
}

/// Raises the soft limit of descriptors to the hard one, to 65,536 at most. Returns the limit in force; one that cannot be
/// raised stays as it is.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
    if limit.current.is_some_and(|current| current < most) {
        let raised = Rlimit { current: Some(most), maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    soft_limit()
}

fn soft_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(descriptors: u64) -> u64 {
        Listener::ALL.iter().map(|one| one.limits_of(descriptors).connections as u64).sum()
    }

    #[test]
    fn the_shares_of_all_listeners_leave_a_reserve() {
        assert_eq!(Listener::ALL.iter().map(|one| one.weight()).sum::<u64>(), WEIGHTS);
        for descriptors in [256, 257, 300, 512, 1000, 1024, 4096, 20_000, 65_536] {
            let left = descriptors - sum(descriptors);
            assert!(left >= reserve(descriptors), "{descriptors}: {left} are left");
            for one in Listener::ALL {
                let ConnectionLimits { connections, per_peer, .. } = one.limits_of(descriptors);
                assert!(connections >= 8, "{descriptors}: {one:?} {connections}");
                assert!(per_peer < connections && per_peer * 2 > connections, "{descriptors}: {one:?} {per_peer}");
            }
        }
        // A limit that low leaves no room for strangers; each listener still answers.
        for descriptors in [0, 20, 64, 128] {
            assert_eq!(sum(descriptors), 12, "{descriptors}");
        }
    }

    #[test]
    fn worked_numbers() {
        let of = |descriptors| Listener::ALL.map(|one| one.limits_of(descriptors).connections);
        assert_eq!(of(256), [64, 16, 16, 16, 8, 8]);
        assert_eq!(of(1024), [256, 64, 64, 64, 32, 32]);
        assert_eq!(of(65_536), [4096, 1024, 512, 1024, 256, 256]);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(MAX_DESCRIPTORS).min(MAX_DESCRIPTORS);
        assert_eq!(raise_descriptor_limit(), hard);
    }
}
