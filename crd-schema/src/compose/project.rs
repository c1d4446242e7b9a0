//! What the services share, as one Project document; and whether everything that a service names is there.

use std::collections::{BTreeMap, BTreeSet};

use super::canonical::bound_device;
use super::check::{OWN, prune};
use super::path::join;
use super::sources::MAX_PROBLEMS;
use super::tree::{entries, entries_mut, get_mut, map, put, take};
use crate::parse::collect;
use crate::yaml::{Kind, Node, Place, Problem};
use crate::{MountKind, Object, Project, ProjectSpec, Service, advice, check};

/// Reads the networks and volumes of a tree, and what of its `x-composed` is for all services.
/// With them, what is written of them. `dir` is the project directory in full, where it is known.
pub(super) fn read(project: &str, tree: &Node, dir: Option<&str>) -> Result<(Project, Node), Vec<Problem>> {
    let place = tree.first();
    let mut spec = Vec::new();
    let mut problems = Vec::new();
    for (section, path) in [("networks", "network"), ("volumes", "volume")] {
        let Some((key, resources)) = tree.get(section).filter(|(_, resources)| !resources.is_nothing()) else {
            continue;
        };
        let mut resources = resources.clone();
        for (name, resource) in entries_mut(&mut resources).into_iter().flatten() {
            prune(resource, path);
            named(name, resource);
            on_the_host((section, name), resource, dir, &mut problems);
        }
        spec.push((Node::quoted(section, key.place), resources));
    }
    if let Some((key, own)) = tree.get(OWN) {
        for (rule, value) in entries(own) {
            if matches!(rule.text(), Some("rollout" | "paused" | "update")) {
                spec.push((rule.clone(), value.clone()));
            } else {
                let message = "only `rollout`, `paused` and `update` stand in the file's own x-composed".to_owned();
                let help = "move it into the `x-composed` of a service";
                problems.push(Problem::new(rule.place, message, Some(help.into())));
            }
        }
        if !matches!(own.kind, Kind::Map(_)) {
            let help = "write for example `x-composed: {rollout: {max_surge: 2}}`";
            problems.push(Problem::new(key.place, "x-composed is not a map".to_owned(), Some(help.into())));
        }
    }
    let mut spec_node = Node::new(Kind::Map(spec), place);
    let spec: ProjectSpec = match collect(&mut spec_node, "") {
        Ok(spec) => spec,
        Err(more) => {
            problems.extend(more);
            return Err(problems);
        }
    };
    let mut whole =
        map(vec![("metadata", map(vec![("name", Node::quoted(project, place))], place)), ("spec", spec_node)], place);
    let object = Object::Project(Project::new(project, spec));
    problems.extend(check::check(&object, &whole));
    match (object, take(&mut whole, "spec")) {
        (Object::Project(project), Some((_, written))) if problems.is_empty() => Ok((project, written)),
        _ => Err(problems),
    }
}

/// An external resource without a name has its key's, in Compose.
fn named(key: &Node, resource: &mut Node) {
    // An empty one is none: so a variable leaves it.
    if resource.get("name").is_some_and(|(_, name)| name.text() == Some("")) {
        take(resource, "name");
    }
    let external = resource.get("external").is_some_and(|(_, external)| external.text() == Some("true"));
    if external && resource.get("name").is_none() {
        let name = Node::quoted(key.text().unwrap_or_default(), key.place);
        put(resource, Node::quoted("name", key.place), name);
    }
}

/// A volume that is a bind mount in disguise needs a path that the engine knows.
fn on_the_host(of: (&str, &Node), resource: &mut Node, dir: Option<&str>, problems: &mut Vec<Problem>) {
    let Some(device) = get_mut(resource, "driver_opts").and_then(bound_device) else { return };
    let place = device.place;
    let Kind::Scalar { text, .. } = &mut device.kind else { return };
    match dir {
        _ if text.starts_with('/') => {}
        Some(dir) => *text = join(dir, text),
        None => {
            let (section, key) = of;
            let key = key.text().unwrap_or_default();
            let message =
                format!("{section}.{key}: the device `{text}` is a relative path, and nobody knows from where on");
            let help = "say which directory of the host the project's is (--host-dir), or write the path in full";
            problems.push(Problem::new(place, message, Some(help.into())));
        }
    }
}

/// What services name and the tree lacks. `inactive` services are in the tree but not there.
pub(super) fn consistent(services: &[(Node, Node, Service)], tree: &Node, inactive: &BTreeSet<String>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names = |section: &str| -> Vec<&str> {
        let known = tree.get(section).map(|(_, known)| entries(known)).unwrap_or_default();
        known.iter().filter_map(|(name, _)| name.text()).collect()
    };
    let (networks, volumes, all) = (names("networks"), names("volumes"), names("services"));
    for (key, node, service) in services {
        if problems.len() >= MAX_PROBLEMS {
            return problems;
        }
        let name = key.text().unwrap_or_default();
        let mut missing = |section: &str, used: &str, known: &[&str], place: Place| {
            let help = match advice::nearest(used, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("add `{used}` to the `{section}` at the top of the file"),
            };
            let message = format!("services.{name} uses `{used}`, which is not in the file's {section}");
            problems.push(Problem::new(place, message, Some(help.into())));
        };
        for network in service.spec.networks.iter().flat_map(BTreeMap::keys) {
            if network != "default" && !networks.contains(&network.as_str()) {
                let place = node.get("networks").map_or(key.place, |(_, used)| place_of(used, network));
                missing("networks", network, &networks, place);
            }
        }
        for (at, mount) in service.spec.volumes.iter().enumerate() {
            let Some(volume) = mount.source.as_ref().filter(|_| mount.kind == MountKind::Volume) else { continue };
            if !volumes.contains(&volume.as_str()) {
                missing("volumes", volume, &volumes, node.locate(&["volumes", &at.to_string()]));
            }
        }
        for other in service.spec.depends_on.keys() {
            let place = node.get("depends_on").map_or(key.place, |(_, used)| place_of(used, other));
            if inactive.contains(other) {
                let message = format!("services.{name} depends on `{other}`, whose profiles are not active");
                let help = "activate one with --profile, or write `required: false`";
                problems.push(Problem::new(place, message, Some(help.into())));
            } else if !all.contains(&other.as_str()) {
                let help = match advice::nearest(other, &all) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "name a service of the file".to_owned(),
                };
                let message = format!("services.{name} depends on `{other}`, which is not in the file's services");
                problems.push(Problem::new(place, message, Some(help.into())));
            }
        }
    }
    problems.extend(circle(services));
    problems
}

fn place_of(used: &Node, name: &str) -> Place {
    let listed = super::tree::items(used).iter().find(|item| item.text() == Some(name));
    used.get(name).map(|(key, _)| key).or(listed).map_or_else(|| used.first(), |node| node.place)
}

/// Services that wait for each other: what is left when those that wait for nobody left are taken away again and again.
fn circle(services: &[(Node, Node, Service)]) -> Option<Problem> {
    let mut left: BTreeMap<&str, (&Node, &Service)> =
        services.iter().map(|(key, _, service)| (key.text().unwrap_or_default(), (key, service))).collect();
    let mut waits: BTreeMap<&str, usize> = BTreeMap::new();
    let mut waited_for: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, (_, service)) in &left {
        let others = service.spec.depends_on.keys().map(String::as_str).filter(|other| left.contains_key(other));
        for other in others {
            *waits.entry(name).or_default() += 1;
            waited_for.entry(other).or_default().push(name);
        }
    }
    let mut free: Vec<&str> = left.keys().filter(|name| !waits.contains_key(*name)).copied().collect();
    while let Some(name) = free.pop() {
        left.remove(name);
        for other in waited_for.remove(name).unwrap_or_default() {
            if let Some(count) = waits.get_mut(other) {
                *count -= 1;
                if *count == 0 {
                    free.push(other);
                }
            }
        }
    }
    let (first, _) = left.first_key_value()?;
    let mut chain = vec![*first];
    let (place, chain) = loop {
        let (key, service) = left.get(chain.last()?)?;
        let next = service.spec.depends_on.keys().find_map(|other| left.get_key_value(other.as_str()))?.0;
        if let Some(begin) = chain.iter().position(|name| name == next) {
            let chain: Vec<&str> = chain.get(begin..)?.iter().chain([next]).copied().collect();
            break (key.place, chain);
        }
        chain.push(next);
    };
    let names: Vec<_> = chain.iter().map(|name| format!("`{name}`")).collect();
    let message = format!("services wait for each other in a circle: {}", names.join(" depends on "));
    Some(Problem::new(place, message, Some("remove one of these dependencies".into())))
}
