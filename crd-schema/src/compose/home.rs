//! `~` at the beginning of a path is the home directory of whoever asks, as in Compose. It is known only where somebody says so:
//! `HOME` among the project's variables.

use super::tree::{entries_mut, get_mut};
use crate::yaml::{Kind, Node};

/// Writes the home directory in the place of `~` in the paths of a file. Where it is not known they stay, and are refused at
/// their place.
pub(super) fn expand(file: &mut Node, home: Option<&str>) {
    let Some(home) = home.filter(|home| home.starts_with('/')) else { return };
    for (_, service) in get_mut(file, "services").and_then(entries_mut).into_iter().flatten() {
        for key in ["volumes", "env_file", "label_file"] {
            let Some(node) = get_mut(service, key) else { continue };
            match &mut node.kind {
                Kind::List(items) => {
                    for item in items {
                        for key in ["source", "path"] {
                            if let Some(path) = get_mut(item, key) {
                                at_home(path, home);
                            }
                        }
                        at_home(item, home);
                    }
                }
                _ => at_home(node, home),
            }
        }
    }
    for section in ["configs", "secrets"] {
        for (_, resource) in get_mut(file, section).and_then(entries_mut).into_iter().flatten() {
            if let Some(path) = get_mut(resource, "file") {
                at_home(path, home);
            }
        }
    }
}

fn at_home(node: &mut Node, home: &str) {
    if let Kind::Scalar { text, .. } = &mut node.kind
        && let Some(rest) = text.strip_prefix('~')
        && (rest.is_empty() || rest.starts_with(['/', ':']))
    {
        *text = format!("{}{rest}", home.trim_end_matches('/'));
    }
}
