//! What the parts of a create call share: the engine that it is for, and how what is not given is left out.

use crd_schema::ImageId;
use std::collections::HashMap;

use composed_core::engine::EngineError;

use super::errors::rejected;

/// What the mapping needs to know of the engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Engine<'a> {
    /// The API's minor version.
    pub(super) minor: usize,
    /// Our instance.
    pub(super) instance: &'a str,
    /// The image's id, if known.
    pub(super) image_id: Option<&'a ImageId>,
}

impl Engine<'_> {
    /// An error for a key that this engine is too old for.
    pub(super) fn since(&self, minor: usize, key: &str) -> Result<(), EngineError> {
        if self.minor >= minor {
            return Ok(());
        }
        Err(rejected(format!("`{key}` needs a newer engine: API 1.{minor}, and this one has 1.{}", self.minor)))
    }
}

/// Nothing said is not sent.
pub(super) fn list<T>(items: Vec<T>) -> Option<Vec<T>> {
    (!items.is_empty()).then_some(items)
}

/// Nothing said is not sent.
pub(super) fn map<V>(pairs: impl IntoIterator<Item = (String, V)>) -> Option<HashMap<String, V>> {
    let map: HashMap<String, V> = pairs.into_iter().collect();
    (!map.is_empty()).then_some(map)
}
