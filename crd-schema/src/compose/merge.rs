//! One Compose file over another, key by key. Source: compose-spec 13-merge; compose-go `override/merge.go`.

use std::collections::{HashMap, HashSet};

use super::path::matches;
use super::tree::items;
use crate::yaml::{Kind, MergeTag, Node, Problem};

/// How two values of a key become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Maps by key, lists one after the other, the later word.
    Plain,
    /// The later one.
    Replace,
    /// Maps and lists of `name=value` as one list.
    Pairs,
    /// A list of names is a map of names.
    Names,
    /// As names, each with the defaults of `depends_on`.
    Dependencies,
    /// As pairs, each line once.
    Lines,
    /// As plain for one driver; another driver has other options.
    Logging,
    /// The later subnets, each over the earlier one of the same subnet.
    Subnets,
}

const RULES: &[(&str, Rule)] = &[
    ("networks.*.ipam.config", Rule::Subnets),
    ("networks.*.labels", Rule::Pairs),
    ("services.*.annotations", Rule::Pairs),
    ("services.*.build", Rule::Replace),
    ("services.*.command", Rule::Replace),
    ("services.*.depends_on", Rule::Dependencies),
    ("services.*.deploy.labels", Rule::Pairs),
    ("services.*.dns", Rule::Pairs),
    ("services.*.dns_opt", Rule::Pairs),
    ("services.*.dns_search", Rule::Pairs),
    ("services.*.entrypoint", Rule::Replace),
    ("services.*.env_file", Rule::Pairs),
    ("services.*.environment", Rule::Pairs),
    ("services.*.extra_hosts", Rule::Lines),
    ("services.*.healthcheck.test", Rule::Replace),
    ("services.*.label_file", Rule::Pairs),
    ("services.*.labels", Rule::Pairs),
    ("services.*.logging", Rule::Logging),
    ("services.*.models", Rule::Names),
    ("services.*.networks", Rule::Names),
    ("services.*.sysctls", Rule::Pairs),
    ("services.*.tmpfs", Rule::Pairs),
    ("services.*.ulimits.*", Rule::Replace),
    ("volumes.*.labels", Rule::Pairs),
];

/// Puts `over` over `base`; both stand at `path`. What `over` says with a tag stays said: the result may be put over a
/// third.
///
/// # Errors
/// When the two are of different kinds.
pub(super) fn merge(base: Node, over: Node, path: &[&str]) -> Result<Node, Problem> {
    if over.tag != MergeTag::None || base.tag == MergeTag::Reset {
        return Ok(over);
    }
    let rule = RULES.iter().find(|(pattern, _)| matches(pattern, path)).map_or(Rule::Plain, |(_, rule)| *rule);
    match rule {
        Rule::Replace => Ok(over),
        _ if over.is_nothing() => Ok(base),
        Rule::Plain => plain(base, over, path),
        Rule::Pairs => {
            let (mut base, over) = (list(base), list(over));
            let name = |line: &Node| line.text().map(|text| text.split('=').next().unwrap_or_default().to_owned());
            let tagged = items(&over).iter().filter(|line| line.tag != MergeTag::None);
            let tagged: HashSet<String> = tagged.filter_map(name).collect();
            if let Kind::List(lines) = &mut base.kind
                && !tagged.is_empty()
            {
                lines.retain(|line| name(line).is_none_or(|name| !tagged.contains(&name)));
            }
            Ok(append(base, over))
        }
        Rule::Lines => {
            let base = list(base);
            let known: HashSet<String> =
                items(&base).iter().filter_map(|line| line.text().map(str::to_owned)).collect();
            let mut over = list(over);
            if let Kind::List(lines) = &mut over.kind {
                lines.retain(|line| line.text().is_none_or(|line| !known.contains(line)));
            }
            Ok(append(base, over))
        }
        Rule::Names => plain(named(base, false), named(over, false), path),
        Rule::Dependencies => plain(named(base, true), named(over, true), path),
        Rule::Logging => {
            let driver = |node: &Node| node.get("driver").and_then(|(_, driver)| driver.text().map(str::to_owned));
            match (driver(&base), driver(&over)) {
                (Some(one), Some(other)) if one != other => Ok(over),
                _ => plain(base, over, path),
            }
        }
        Rule::Subnets => subnets(&base, over, path),
    }
}

fn plain(base: Node, over: Node, path: &[&str]) -> Result<Node, Problem> {
    let (place, tag) = (over.place, base.tag);
    let kind = match (base.kind, over.kind) {
        (Kind::Map(mut entries), Kind::Map(more)) => {
            let names =
                entries.iter().enumerate().map(|(at, (name, _))| (name.text().unwrap_or_default().to_owned(), at));
            let places: HashMap<String, usize> = names.collect();
            for (key, value) in more {
                let name = key.text().unwrap_or_default();
                match places.get(name).and_then(|at| entries.get_mut(*at)) {
                    Some(entry) => {
                        let before = std::mem::replace(&mut entry.1, Node::plain("", place));
                        entry.1 = merge(before, value, &[path, &[name]].concat())?;
                        // A service is where it was first described; any other key is where it was last written.
                        if path != ["services"] {
                            entry.0 = key;
                        }
                    }
                    None => entries.push((key, value)),
                }
            }
            Kind::Map(entries)
        }
        (Kind::List(mut items), Kind::List(more)) => {
            items.extend(more);
            Kind::List(items)
        }
        (Kind::Scalar { .. }, kind) => kind,
        (base, over) => {
            let say = |kind: &Kind| match kind {
                Kind::Map(_) => "a map",
                Kind::List(_) => "a list",
                Kind::Scalar { .. } => "a single value",
            };
            let message = format!("{}: {} cannot be merged over {}", path.join("."), say(&over), say(&base));
            let help = "write both in the same form, or `!override` before this one to replace the other";
            return Err(Problem::new(place, message, Some(help.into())));
        }
    };
    Ok(Node { tag, ..Node::new(kind, place) })
}

fn append(base: Node, over: Node) -> Node {
    let (place, tag) = (over.place, base.tag);
    let (Kind::List(mut items), Kind::List(more)) = (base.kind, over.kind) else {
        return Node::new(Kind::List(Vec::new()), place);
    };
    items.extend(more);
    Node { tag, ..Node::new(Kind::List(items), place) }
}

/// A map as a list of `name=value`, in the order of the names; text as a list of one.
fn list(node: Node) -> Node {
    let Node { place, tag, .. } = node;
    let items = match node.kind {
        Kind::List(items) => items,
        Kind::Scalar { .. } if node.is_nothing() => Vec::new(),
        Kind::Scalar { .. } => vec![node],
        Kind::Map(entries) => {
            let mut lines = Vec::new();
            for (key, value) in entries {
                let name = key.text().unwrap_or_default().to_owned();
                let tag = value.tag;
                let values = match value.kind {
                    Kind::List(values) => values,
                    kind => vec![Node::new(kind, value.place)],
                };
                for value in values {
                    let line = if value.is_nothing() {
                        name.clone()
                    } else {
                        format!("{name}={}", value.text().unwrap_or_default())
                    };
                    lines.push(Node { tag, ..Node::quoted(line, key.place) });
                }
            }
            lines.sort_by(|a, b| a.text().cmp(&b.text()));
            lines
        }
    };
    Node { tag, ..Node::new(Kind::List(items), place) }
}

/// A list of names as a map; `dependencies` begin with the defaults of `depends_on`.
pub(super) fn named(node: Node, dependencies: bool) -> Node {
    let Node { place, tag, .. } = node;
    let entries = match node.kind {
        Kind::Map(entries) => entries,
        Kind::List(items) => {
            let value = |place| {
                if !dependencies {
                    return Node::plain("", place);
                }
                let entry = |key: &str, value| (Node::quoted(key, place), value);
                let condition = entry("condition", Node::quoted("service_started", place));
                Node::new(Kind::Map(vec![condition, entry("required", Node::plain("true", place))]), place)
            };
            items.into_iter().map(|item| (value(item.place), item)).map(|(value, item)| (item, value)).collect()
        }
        Kind::Scalar { .. } => return node,
    };
    Node { tag, ..Node::new(Kind::Map(entries), place) }
}

fn subnets(base: &Node, over: Node, path: &[&str]) -> Result<Node, Problem> {
    let place = over.place;
    let Kind::List(configs) = over.kind else { return Ok(over) };
    let subnet = |config: &Node| config.get("subnet").and_then(|(_, subnet)| subnet.text().map(str::to_owned));
    let mut merged = Vec::new();
    for config in configs {
        let before = items(base).iter().find(|other| subnet(other) == subnet(&config));
        merged.push(match before {
            Some(before) => plain(before.clone(), config, path)?,
            None => config,
        });
    }
    Ok(Node::new(Kind::List(merged), place))
}

/// Takes away what was reset, and the tags: what is left is said.
pub(super) fn settle(node: &mut Node) {
    node.tag = MergeTag::None;
    match &mut node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(items) => {
            items.retain(|item| item.tag != MergeTag::Reset);
            for item in items {
                settle(item);
            }
        }
        Kind::Map(entries) => {
            entries.retain(|(_, value)| value.tag != MergeTag::Reset);
            for (_, value) in entries {
                settle(value);
            }
        }
    }
}
