//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr};

/// The other end of a connection, as far as connections of the same end belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// An address; of IPv6 the network, since a host has as many addresses in it as it likes.
    Address(IpAddr),
    /// A process of this host, and its user's number.
    Process {
        /// Its number.
        pid: i32,
        /// Its user's.
        user: u32,
    },
    /// A process in another pid namespace.
    Unknown,
}

impl Peer {
    /// The peer at an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
            }
            address => address,
        })
    }
}
