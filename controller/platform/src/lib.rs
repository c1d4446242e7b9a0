//! THE MACHINE UNDERNEATH, for every room that needs it: the clock, files that are replaced as a whole, requests that go out,
//! connections that come in. Knows nothing of services.

pub mod clock;
pub mod files;
pub mod http_client;
pub mod listen;
pub mod secret;
pub mod transport;
