//! What all requests to the sample application see.

use std::time::Duration;

use tokio::time::Instant;

/// How the application behaves.
#[derive(Debug)]
pub(super) struct App {
    pub(super) version: String,
    pub(super) hostname: String,
    pub(super) latency: Duration,
    pub(super) health: String,
    pub(super) started: Instant,
}
