//! CONNECTIONS COME IN: every listener of the program accepts its connections here, so that strangers can use up neither
//! the file descriptors nor the slots of others.
//!
//! Each listener has its own share of the descriptors ([`Listener::limits`]); together they leave at least half of them to
//! the engine, the state files, git and probes. A connection that does not complete a request head in time, or does not
//! send the next request, is closed. When a listener is full, a new connection takes the place of an old one: of the peer
//! with the most connections, the one that has waited longest for a request. Nobody is locked out that way, also behind a
//! reverse proxy, where all connections come from one address: a client that sends its request at once is never the one
//! that has waited longest. A request that is being answered is not closed for another connection.

mod accept;
mod connections;
mod descriptors;
mod hosts;
mod http;
mod peer;
mod slot;
pub mod socket;
mod stream;
mod warnings;

pub use self::accept::{Acceptor, accept};
pub use self::connections::Connections;
pub use self::descriptors::{ConnectionLimits, Listener, raise_descriptor_limit};
pub use self::hosts::Hosts;
pub use self::hosts::allowed_name;
pub use self::http::{HttpOptions, serve_http};
pub use self::peer::Peer;
pub use self::slot::{LongLivedResponse, Slot};
pub use self::stream::MonitoredStream;
pub use self::warnings::{Exposed, RateLimitedLog, warn_if_wide};
