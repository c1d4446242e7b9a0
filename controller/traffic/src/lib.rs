//! WHO GETS REQUESTS. What the controller senses of a replica itself: whether it is ready, and how many requests are in
//! flight on it while it leaves. A proxy, later, is one more file here.

mod bridge;
pub mod companion;
mod counting;
pub mod haproxy;
pub mod inflight;
pub mod local;
pub mod names;
pub mod paths;
pub mod probe;
mod share;
pub mod traefik;
mod traefik_api;
pub mod view;

pub use composed_core::traffic::TrafficMonitor;
