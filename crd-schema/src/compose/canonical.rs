//! Short forms become long ones, and paths are seen from the project directory, before files are merged: only then can
//! `8080:80` and its long form, or `./data` here and there, be the same. What cannot be read stays as it is, and is
//! refused later at its place. Source: compose-go `transform/canonical.go`, `paths/resolve.go`.

use serde_json::Value;

use super::path::{as_bind, join};
use super::tree::{entries_mut, from_json, get_mut, map, put, take};
use crate::forms::{Shorten as _, short_ports};
use crate::types::mount::Mount;
use crate::yaml::{Kind, Node, Place, Problem};

/// Counts so many values more, at their place; an error when there are too many.
type Count<'a> = &'a mut dyn FnMut(usize, Place) -> Result<(), Problem>;

/// Rewrites a file's tree, whose relative paths start at the directory `base`. A short form may stand for many values: each
/// is counted before it is made.
///
/// # Errors
/// That of `count`.
pub(super) fn canonical(file: &mut Node, base: &str, count: Count<'_>) -> Result<(), Problem> {
    for (_, service) in get_mut(file, "services").and_then(entries_mut).into_iter().flatten() {
        of_service(service, base, count)?;
    }
    for section in ["networks", "volumes", "configs", "secrets"] {
        for (_, resource) in get_mut(file, section).and_then(entries_mut).into_iter().flatten() {
            external(resource);
            if let Some(path) = get_mut(resource, "file") {
                rebase(path, base);
            }
            if let Some(device) = get_mut(resource, "driver_opts").and_then(bound_device) {
                rebase(device, base);
            }
        }
    }
    Ok(())
}

fn of_service(service: &mut Node, base: &str, count: Count<'_>) -> Result<(), Problem> {
    if let Some(extends) = get_mut(service, "extends") {
        if extends.text().is_some() {
            let (place, tag) = (extends.place, extends.tag);
            let service = std::mem::replace(extends, Node::plain("", place));
            *extends = Node { tag, ..map(vec![("service", service)], place) };
        }
        if let Some(file) = get_mut(extends, "file") {
            rebase(file, base);
        }
    }
    if let Some(gpus) = get_mut(service, "gpus").filter(|gpus| gpus.text().is_some() && !gpus.is_nothing()) {
        let (place, tag) = (gpus.place, gpus.tag);
        let count = std::mem::replace(gpus, Node::plain("", place));
        let one = map(vec![("count", Node::new(count.kind, place))], place);
        *gpus = Node { tag, ..Node::new(Kind::List(vec![one]), place) };
    }
    for key in ["env_file", "label_file"] {
        if let Some(files) = get_mut(service, key) {
            listed(files);
            let Kind::List(items) = &mut files.kind else { continue };
            for item in items {
                match get_mut(item, "path") {
                    Some(path) => rebase(path, base),
                    None => rebase(item, base),
                }
            }
        }
    }
    if let Some(Kind::List(mounts)) = get_mut(service, "volumes").map(|mounts| &mut mounts.kind) {
        for item in mounts {
            mount(item, base);
            count(item.size(), item.place)?;
        }
    }
    if let Some(Kind::List(ports)) = get_mut(service, "ports").map(|ports| &mut ports.kind) {
        let mut all = Vec::new();
        for item in std::mem::take(ports) {
            port(item, &mut all, count)?;
        }
        *ports = all;
    }
    Ok(())
}

/// The path of the host that a volume is, where it is a bind mount in disguise.
pub(super) fn bound_device(options: &mut Node) -> Option<&mut Node> {
    let bind =
        options.get("o").and_then(|(_, words)| words.text()).is_some_and(|it| it.split(',').any(|o| o == "bind"));
    get_mut(options, "device").filter(|device| bind && device.text().is_some())
}

/// Text as a list of one.
fn listed(node: &mut Node) {
    if node.text().is_some() && !node.is_nothing() {
        let (place, tag) = (node.place, node.tag);
        let item = std::mem::replace(node, Node::plain("", place));
        *node = Node { tag, ..Node::new(Kind::List(vec![Node::new(item.kind, place)]), place) };
    }
}

fn rebase(node: &mut Node, base: &str) {
    if let Kind::Scalar { text, .. } = &mut node.kind
        && !text.is_empty()
        && !text.starts_with(['~', '/'])
    {
        *text = join(base, text);
    }
}

fn mount(item: &mut Node, base: &str) {
    if let Some(text) = item.text() {
        let Ok(mount) = Mount::short(text) else { return };
        let Ok(long) = serde_json::to_value(mount) else { return };
        *item = Node { tag: item.tag, ..from_json(long, item.place) };
    } else if let Some(bind) = get_mut(item, "bind")
        && bind.get("create_host_path").is_none()
    {
        let place = bind.place;
        if bind.is_nothing() {
            *bind = map(Vec::new(), place);
        }
        put(bind, Node::quoted("create_host_path", place), Node::plain("true", place));
    }
    if item.get("type").is_some_and(|(_, kind)| kind.text() == Some("bind"))
        && let Some(source) = get_mut(item, "source")
    {
        rebase(source, base);
        if let Kind::Scalar { text, .. } = &mut source.kind
            && !text.starts_with('~')
        {
            *text = as_bind(text);
        }
    }
    if let Some(target) = get_mut(item, "target")
        && let Kind::Scalar { text, .. } = &mut target.kind
        && text.starts_with('/')
    {
        *text = join("/", text);
    }
}

fn port(item: Node, all: &mut Vec<Node>, count: Count<'_>) -> Result<(), Problem> {
    let ports = item.text().and_then(|text| short_ports(text).ok());
    let Some(ports) = ports else {
        all.push(item);
        return Ok(());
    };
    for port in ports {
        let long = from_json(serde_json::to_value(port).unwrap_or(Value::Null), item.place);
        count(long.size(), item.place)?;
        all.push(Node { tag: item.tag, ..long });
    }
    Ok(())
}

/// `external: {name: x}`, as files wrote it before `name` was a key of its own.
fn external(resource: &mut Node) {
    let Some(external) = get_mut(resource, "external") else { return };
    if !matches!(external.kind, Kind::Map(_)) {
        return;
    }
    let name = take(external, "name");
    *external = Node::plain("true", external.place);
    if let Some((key, name)) = name {
        put(resource, key, name);
    }
}
