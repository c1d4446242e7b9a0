//! What Traefik was given: which version of the status store, in which configuration, and when.

use std::collections::VecDeque;

use tokio::time::Instant;

/// So many takings are remembered: some thousand services may change within a throttle.
const REMEMBERED: usize = 4096;

/// When which version of the status store was handed over, as which configuration, newest last.
#[derive(Debug, Default)]
pub(super) struct HandedOver {
    pub(super) at: VecDeque<HandedVersion>,
    /// The file cannot be written, and says what it said before.
    pub(super) stale: bool,
    /// Something waits for Traefik's API.
    pub(super) asks: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct HandedVersion {
    pub(super) version: u64,
    pub(super) number: u64,
    pub(super) at: Instant,
}

impl HandedOver {
    /// It is handed over now.
    pub(super) fn add(&mut self, version: u64, number: u64) {
        // The first time counts.
        if self.at.back().is_some_and(|last| last.version == version) {
            return;
        }
        self.at.push_back(HandedVersion { version, number, at: Instant::now() });
        if self.at.len() > REMEMBERED {
            self.at.pop_front();
        }
    }

    /// When a version that holds what `version` holds was first handed over.
    pub(super) fn first_with(&self, version: u64) -> Option<HandedVersion> {
        self.at.get(self.at.partition_point(|handed| handed.version < version)).copied()
    }

    /// When the first configuration was handed over that Traefik has not loaded.
    pub(super) fn first_after(&self, number: Option<u64>) -> Option<HandedVersion> {
        let is_loaded = |handed: &HandedVersion| number.is_some_and(|number| handed.number <= number);
        self.at.get(self.at.partition_point(is_loaded)).copied()
    }
}
