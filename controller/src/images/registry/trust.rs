//! How far a registry is trusted with where we connect to.

use std::net::IpAddr;

use super::super::Trouble;
use super::super::reference::Reference;
use crate::transport::reach::Reach;
use crate::transport::{Server, Silence};

/// Where the registry itself may be: people have named it. In plain HTTP nothing leaves this host.
pub(super) fn own_reach(server: &Server) -> Reach {
    if server.plain { Reach::Loopback } else { Reach::Anywhere }
}

/// Where a server may be that the registry has named from `peer`.
pub(super) fn reach(image: &Reference, server: &Server, peer: IpAddr) -> Reach {
    if server.host == image.host() { own_reach(server) } else { Reach::Beside(peer) }
}

/// Why a registry, or a server that it has named, has not answered.
pub(super) fn trouble(silence: Silence, image: &Reference, server: &Server) -> Trouble {
    match silence {
        Silence::Away(why) => Trouble::Away(why),
        Silence::TooLong => Trouble::TooLong,
        Silence::Forbidden(addresses) => Trouble::Refused(format!(
            "{} sends us to {}, which is at {addresses}: only a registry that is itself at such an address may send there",
            image.domain, server.host
        )),
    }
}
