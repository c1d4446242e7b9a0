//! Small words for building trees.

use serde_json::Value;

use crate::yaml::{Kind, Node, Place};

/// A map of one place.
pub(super) fn map(entries: Vec<(&str, Node)>, place: Place) -> Node {
    let entries = entries.into_iter().map(|(key, value)| (Node::quoted(key, place), value));
    Node::new(Kind::Map(entries.collect()), place)
}

/// A value that one of our types was written as, at one place.
pub(super) fn from_json(value: Value, place: Place) -> Node {
    match value {
        Value::String(text) => Node::quoted(text, place),
        Value::Array(items) => {
            Node::new(Kind::List(items.into_iter().map(|item| from_json(item, place)).collect()), place)
        }
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (Node::quoted(key, place), from_json(value, place)));
            Node::new(Kind::Map(entries.collect()), place)
        }
        other => Node::plain(other.to_string(), place),
    }
}

/// The entries of a map; none of anything else.
pub(super) fn entries(node: &Node) -> &[(Node, Node)] {
    match &node.kind {
        Kind::Map(entries) => entries,
        Kind::List(_) | Kind::Scalar { .. } => &[],
    }
}

/// The items of a list; none of anything else.
pub(super) fn items(node: &Node) -> &[Node] {
    match &node.kind {
        Kind::List(items) => items,
        Kind::Map(_) | Kind::Scalar { .. } => &[],
    }
}

/// The entries of a map, to be changed.
pub(super) fn entries_mut(node: &mut Node) -> Option<&mut Vec<(Node, Node)>> {
    match &mut node.kind {
        Kind::Map(entries) => Some(entries),
        Kind::List(_) | Kind::Scalar { .. } => None,
    }
}

/// The value of a key, to be changed.
pub(super) fn get_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    entries_mut(node)?.iter_mut().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
}

/// Adds an entry to a map; nothing is added to anything else.
pub(super) fn put(node: &mut Node, key: Node, value: Node) {
    if let Some(entries) = entries_mut(node) {
        entries.push((key, value));
    }
}

/// Takes a key out of a map.
pub(super) fn take(node: &mut Node, key: &str) -> Option<(Node, Node)> {
    let entries = entries_mut(node)?;
    let at = entries.iter().position(|(name, _)| name.text() == Some(key))?;
    Some(entries.remove(at))
}

/// The texts of a single value or a list of them.
pub(super) fn texts(node: &Node) -> Vec<(&str, Place)> {
    let one = node.text().map(|text| (text, node.place));
    one.into_iter().chain(items(node).iter().filter_map(|item| Some((item.text()?, item.place)))).collect()
}
