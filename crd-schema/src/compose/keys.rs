//! Every key of the Compose specification, and what composed makes of it. The one table: files are checked against it,
//! COMPOSE.md is generated from it, and a test holds it against the official JSON Schema.

mod key;
mod resources;
mod service;

use std::collections::HashMap;
use std::sync::OnceLock;

pub use self::key::{Class, ComposeKey};

/// The whole table, in the order of the sections. Keys below a key that is refused, or left to another program, are not
/// in it: they share its fate.
pub fn keys() -> impl Iterator<Item = &'static ComposeKey> {
    service::KEYS.iter().chain(service::DEPLOY).chain(resources::KEYS)
}

/// The key at a path.
pub(super) fn find(path: &str) -> Option<&'static ComposeKey> {
    static TABLE: OnceLock<HashMap<&'static str, &'static ComposeKey>> = OnceLock::new();
    TABLE.get_or_init(|| keys().map(|key| (key.path, key)).collect()).get(path).copied()
}

/// Whether the keys below a path are the specification's; elsewhere they are names, or there are none.
pub(super) fn has_children(path: &str) -> bool {
    !children(path).is_empty()
}

/// The keys that stand directly below a path.
pub(super) fn children(path: &str) -> &'static [&'static str] {
    static CHILDREN: OnceLock<HashMap<&'static str, Vec<&'static str>>> = OnceLock::new();
    let table = CHILDREN.get_or_init(|| {
        let mut table: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
        for (above, name) in keys().filter_map(|key| key.path.rsplit_once('.')) {
            table.entry(above).or_default().push(name);
        }
        // `service.networks.*` is no key, but stands between two.
        let stars = keys().filter_map(|key| key.path.rsplit_once(".*.")).map(|(above, _)| above);
        let stars: Vec<_> = stars.collect();
        for above in stars {
            let below = table.entry(above).or_default();
            if !below.contains(&"*") {
                below.push("*");
            }
        }
        table
    });
    table.get(path).map_or(&[], Vec::as_slice)
}
