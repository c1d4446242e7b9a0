//! Configs and secrets of a service: files of the host, mounted read-only where Compose puts them, or texts that are put
//! there as files.

use super::interpolate::Variables;
use super::path::{as_bind, join};
use super::tree::{get_mut, items, map, put, take};
use crate::advice;
use crate::yaml::{Kind, Node, Problem};

/// Turns `configs` and `secrets` of a service into mounts, and into files that are put into its containers. `tree`
/// describes them, `variables` are the project's.
pub(super) fn convert(
    service: &mut Node,
    tree: &Node,
    variables: &Variables,
    shown: &str,
    problems: &mut Vec<Problem>,
) {
    let (mut mounts, mut files) = (Vec::new(), Vec::new());
    for (section, below) in [("configs", "/"), ("secrets", "/run/secrets")] {
        let Some((_, wanted)) = take(service, section) else { continue };
        for item in items(&wanted) {
            match one(item, section, below, tree, variables, shown) {
                Ok(Given::Mount(mount)) => mounts.push(mount),
                Ok(Given::File(file)) => files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if let Some(place) = files.first().map(Node::first) {
        put(service, Node::quoted("files", place), Node::new(Kind::List(files), place));
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

/// How a container gets it.
enum Given {
    Mount(Node),
    File(Node),
}

fn one(
    item: &Node,
    section: &str,
    below: &str,
    tree: &Node,
    variables: &Variables,
    shown: &str,
) -> Result<Given, Problem> {
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
    let target = join(below, of("target").unwrap_or(name));
    let sources: Vec<_> = ["file", "content", "environment"].iter().filter_map(|key| resource.get(key)).collect();
    let [(kind, source)] = sources.as_slice() else {
        let message = format!("{section}.{name} is to say where it comes from, once");
        let help = "write `file: PATH`, `environment: NAME`, or for a config `content: TEXT`";
        return Err(Problem::new(resource.first(), message, Some(help.into())));
    };
    let text = source.text().unwrap_or_default();
    if kind.text() == Some("file") {
        return mount(item, text, target, &format!("{shown}.{section}")).map(Given::Mount);
    }
    let content = if kind.text() == Some("content") {
        text
    } else {
        let Some(value) = variables.get(text) else {
            let message = format!("{section}.{name}: the variable `{text}` is not set");
            let help = "set it in `.env` beside the Compose file, in an --env-file, or with --env NAME=value";
            return Err(Problem::new(source.place, message, Some(help.into())));
        };
        value
    };
    let mut entries = vec![("path", Node::quoted(target, place)), ("content", Node::quoted(content, source.place))];
    for key in ["uid", "gid"] {
        let value = item.get(key).and_then(|(_, value)| Some((value.text()?, value.place)));
        entries.extend(value.map(|(text, place)| (key, Node::plain(text, place))));
    }
    if let Some((mode, place)) = item.get("mode").and_then(|(_, mode)| Some((mode.text()?, mode.place))) {
        let octal = if mode.starts_with('0') { mode.to_owned() } else { format!("0{mode}") };
        entries.push(("mode", Node::quoted(octal, place)));
    }
    Ok(Given::File(map(entries, place)))
}

fn mount(item: &Node, file: &str, target: String, shown: &str) -> Result<Node, Problem> {
    let place = item.first();
    if let Some((key, _)) = ["uid", "gid", "mode"].iter().find_map(|key| item.get(key)) {
        let message = format!("{shown}: `{}` of a file that is mounted", key.text().unwrap_or_default());
        let help = "it is mounted as it is on the host, with its owner and mode: set those there and remove the key";
        return Err(Problem::new(key.place, message, Some(help.into())));
    }
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
