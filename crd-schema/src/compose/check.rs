//! A file against the table of keys: what is unknown, and what is refused by name.

use super::keys::{self, Class};
use super::sources::MAX_PROBLEMS;
use super::tree::{entries, entries_mut, items};
use crate::advice;
use crate::parse::words;
use crate::yaml::{Kind, Node, Problem};

/// The keys at the top of a file.
const ROOT: &[&str] = &["name", "services", "networks", "volumes", "configs", "secrets", "include"];
/// Each section and the path of its members in the table.
pub(super) const SECTIONS: [(&str, &str); 5] = [
    ("services", "service"),
    ("networks", "network"),
    ("volumes", "volume"),
    ("configs", "config"),
    ("secrets", "secret"),
];

/// Everything that is not known or not supported in a tree. Services that `inactive` names are not looked at.
pub(super) fn check(tree: &Node, inactive: &dyn Fn(&str) -> bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in entries(tree) {
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
        let name = key.text().unwrap_or_default();
        match (name, SECTIONS.iter().find(|(section, _)| *section == name)) {
            (section, Some((_, path))) => {
                if !matches!(value.kind, Kind::Map(_)) && !value.is_nothing() {
                    let message = format!("{section}: expected a map of names, found something else");
                    problems.push(Problem::new(
                        key.place,
                        message,
                        Some(format!("write `{section}: {{NAME: ...}}`").into()),
                    ));
                }
                for (member, value) in entries(value) {
                    let name = member.text().unwrap_or_default();
                    if problems.len() >= MAX_PROBLEMS || (section == "services" && inactive(name)) {
                        continue;
                    }
                    of_keys(value, path, &format!("{section}.{name}"), &mut problems);
                }
            }
            ("models", None) => {
                let help = "composed does not run models; remove it";
                let message = "`models` is not supported".to_owned();
                problems.push(Problem::new(key.place, message, Some(help.into())));
            }
            ("name" | "version" | "include", None) => {}
            (name, None) if name.starts_with("x-") => {}
            (name, None) => problems.push(unknown(name, "the file", ROOT, key)),
        }
    }
    problems
}

fn of_keys(node: &Node, path: &str, shown: &str, problems: &mut Vec<Problem>) {
    for (at, item) in items(node).iter().enumerate() {
        if matches!(item.kind, Kind::Map(_)) {
            of_keys(item, path, &format!("{shown}[{at}]"), problems);
        }
    }
    let known = keys::children(path);
    for (key, value) in entries(node) {
        if problems.len() >= MAX_PROBLEMS {
            return;
        }
        let name = key.text().unwrap_or_default();
        if known == ["*"] {
            of_keys(value, &format!("{path}.*"), &format!("{shown}.{name}"), problems);
            continue;
        }
        if name.starts_with("x-") {
            continue;
        }
        let below = format!("{path}.{name}");
        match keys::find(&below) {
            None => problems.push(unknown(name, shown, known, key)),
            Some(found) if found.class == Class::Refused => {
                let message = format!("`{name}` is not supported in {shown}");
                problems.push(Problem::new(key.place, message, Some(found.note.into())));
            }
            Some(found) => {
                if found.class != Class::Elsewhere && keys::has_children(&below) {
                    of_keys(value, &below, &format!("{shown}.{name}"), problems);
                }
            }
        }
    }
}

fn unknown(name: &str, within: &str, known: &[&str], key: &Node) -> Problem {
    let help = match advice::nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None if known.len() <= 10 => format!("known here: {}", words(known)),
        None => "composed ignores nothing: remove it, or name it `x-...` to keep it as a note".to_owned(),
    };
    Problem::new(key.place, format!("unknown key `{name}` in {within}"), Some(help.into()))
}

/// Takes away what is left to other programs, and the notes (`x-...`) but composed's own.
pub(super) fn prune(node: &mut Node, path: &str) {
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => {
            for item in items {
                prune(item, path);
            }
        }
        Kind::Map(_) if keys::children(path) == ["*"] => {
            for (_, value) in entries_mut(node).into_iter().flatten() {
                prune(value, &format!("{path}.*"));
            }
        }
        Kind::Map(_) if !keys::has_children(path) => {}
        Kind::Map(entries) => {
            let below = |name: &str| format!("{path}.{name}");
            entries.retain(|(key, _)| {
                let name = key.text().unwrap_or_default();
                let own = path == "service" && name == OWN;
                own || (!name.starts_with("x-")
                    && keys::find(&below(name)).is_none_or(|key| key.class != Class::Elsewhere))
            });
            for (key, value) in entries {
                prune(value, &below(key.text().unwrap_or_default()));
            }
        }
    }
}

/// The key for what Compose has no word for.
pub(super) const OWN: &str = "x-composed";
