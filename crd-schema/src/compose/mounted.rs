//! Configs and secrets of a service: files of the host, mounted read-only where Compose puts them.

use super::path::{as_bind, join};
use super::tree::{get_mut, items, map, put, take};
use crate::advice;
use crate::yaml::{Kind, Node, Problem};

/// Turns `configs` and `secrets` of a service into mounts. `tree` describes them.
pub(super) fn convert(service: &mut Node, tree: &Node, shown: &str, problems: &mut Vec<Problem>) {
    let mut mounts = Vec::new();
    for (section, below) in [("configs", "/"), ("secrets", "/run/secrets")] {
        let Some((_, wanted)) = take(service, section) else { continue };
        for item in items(&wanted) {
            match mount(item, section, below, tree, shown) {
                Ok(mount) => mounts.push(mount),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if mounts.is_empty() {
        return;
    }
    match get_mut(service, "volumes").map(|volumes| &mut volumes.kind) {
        Some(Kind::List(volumes)) => volumes.extend(mounts),
        Some(_) => {} // refused where it is read
        None => {
            let place = service.first();
            let volumes = Node::new(Kind::List(mounts), place);
            put(service, Node::quoted("volumes", place), volumes);
        }
    }
}

fn mount(item: &Node, section: &str, below: &str, tree: &Node, shown: &str) -> Result<Node, Problem> {
    let place = item.first();
    let of = |key: &str| item.get(key).and_then(|(_, value)| value.text());
    let Some(name) = item.text().or_else(|| of("source")) else {
        let message = format!("{shown}.{section}: an entry names no source");
        return Err(Problem::new(place, message, Some("write `source: NAME`".into())));
    };
    let known = tree.get(section).map(|(_, known)| known);
    let Some((_, resource)) = known.and_then(|known| known.get(name)) else {
        let names = known.map(super::tree::entries).into_iter().flatten().filter_map(|(name, _)| name.text());
        let help = match advice::nearest(name, &names.collect::<Vec<_>>()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("describe it at the top of the file: `{section}: {{{name}: {{file: ./{name}}}}}`"),
        };
        let message = format!("{shown} uses `{name}`, which is not in the file's {section}");
        return Err(Problem::new(place, message, Some(help.into())));
    };
    let Some(file) = resource.get("file").and_then(|(_, file)| file.text()) else {
        let message = format!("{section}.{name} has no file");
        return Err(Problem::new(resource.first(), message, Some("write `file: PATH`".into())));
    };
    let target = join(below, of("target").unwrap_or(name));
    let bind = map(vec![("create_host_path", Node::plain("false", place))], place);
    let entries = vec![
        ("type", Node::quoted("bind", place)),
        ("source", Node::quoted(as_bind(file), place)),
        ("target", Node::quoted(target, place)),
        ("read_only", Node::plain("true", place)),
        ("bind", bind),
    ];
    Ok(map(entries, place))
}
