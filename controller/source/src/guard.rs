//! Many services that lose their documents at once are a wrong directory more often than a wish.

use std::collections::BTreeSet;
use std::sync::Arc;

use composed_core::model::ServiceName;
use parking_lot::Mutex;

/// The services that lost their documents together with most others. They are not removed in this process until each
/// has its document back; documents of other services change nothing about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<Mutex<BTreeSet<ServiceName>>>);

impl Guard {
    /// Takes note of the services that have containers, and of those among them that have no document. Returns how
    /// many are held.
    pub(super) fn note(&self, gone: &BTreeSet<ServiceName>, owned: usize) -> usize {
        let mut held = self.0.lock();
        held.retain(|name| gone.contains(name));
        if gone.len() * 2 > owned {
            held.extend(gone.iter().cloned());
        }
        held.len()
    }
}
