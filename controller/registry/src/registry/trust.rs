//! How far a registry is trusted with where we connect to.

use std::net::IpAddr;

use composed_core::reference::Reference;
use composed_platform::transport::reach::AllowedAddresses;
use composed_platform::transport::{RequestError, Server};

use super::super::RegistryError;

/// Where the registry itself may be: people have named it. In plain HTTP nothing leaves this host.
pub(super) fn own_reach(server: &Server) -> AllowedAddresses {
    if server.plain { AllowedAddresses::Loopback } else { AllowedAddresses::Anywhere }
}

/// Where a server may be that the registry has named from `peer`.
pub(super) fn reach(image: &Reference, server: &Server, peer: IpAddr) -> AllowedAddresses {
    if server.host == image.host() { own_reach(server) } else { AllowedAddresses::Beside(peer) }
}

/// Why a registry, or a server that it has named, has not answered.
pub(super) fn trouble(silence: RequestError, image: &Reference, server: &Server) -> RegistryError {
    match silence {
        RequestError::Unavailable(why) => RegistryError::Away(why),
        RequestError::TooLong => RegistryError::TooLong,
        RequestError::Forbidden(addresses) => RegistryError::Refused(format!(
            "{} sends us to {}, which is at {addresses}: only a registry that is itself at such an address may send there",
            image.domain, server.host
        )),
    }
}
