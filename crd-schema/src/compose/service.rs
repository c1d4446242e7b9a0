//! A service of the merged tree as one of our documents.

use super::built;
use super::check::{OWN, prune};
use super::deploy;
use super::interpolate::Variables;
use super::merge::named;
use super::mounted;
use super::tree::{entries, entries_mut, get_mut, items, map, put, take};
use super::words;
use crate::parse::collect;
use crate::yaml::{Kind, Node, Problem};
use crate::{DeviceCount, Object, Service, ServiceSpec, check};

/// Reads a service whose environment is resolved; with it, its specification as it is written. `tree` describes the networks and so on that it uses; `variables` are the project's; `is_there`
/// tells which services are active.
pub(super) fn read(
    project: &str,
    key: &Node,
    mut service: Node,
    tree: &Node,
    variables: &Variables,
    is_there: &dyn Fn(&str) -> bool,
) -> Result<(Service, Node), Vec<Problem>> {
    let name = key.text().unwrap_or_default();
    let shown = format!("services.{name}");
    if !matches!(service.kind, Kind::Map(_)) {
        let message = format!("{shown}: expected a map of keys");
        return Err(vec![Problem::new(key.place, message, Some("write at least `image: ...` in it".into()))]);
    }
    blank(&mut service);
    let built = built::take_build(&mut service, project, name);
    prune(&mut service, "service");
    let mut problems = Vec::new();
    take(&mut service, "profiles");
    mounted::convert(&mut service, tree, variables, &shown, &mut problems);
    if service.get("networks").is_some_and(|(_, networks)| {
        (entries(networks).is_empty() && items(networks).is_empty())
            && networks.text().is_none_or(|_| networks.is_nothing())
    }) {
        take(&mut service, "networks");
    }
    switched_off(&mut service);
    links(&mut service, &shown, &mut problems);
    words::commands(&mut service, &shown, &mut problems);
    let own = take(&mut service, OWN);
    let converted = deploy::convert(&mut service, &shown).unwrap_or_else(|more| {
        problems.extend(more);
        Vec::new()
    });
    let Some(spec) = entries_mut(&mut service) else { return Err(problems) };
    spec.extend(converted);
    if let Some((key, own)) = own {
        if matches!(own.kind, Kind::Map(_)) {
            deploy::own(spec, &own, &shown, &mut problems);
        } else {
            let help = "write for example `x-composed: {drain_timeout: 10s}`";
            problems.push(Problem::new(key.place, "x-composed is not a map".to_owned(), Some(help.into())));
        }
    }
    let mut spec: ServiceSpec = match collect(&mut service, &shown) {
        Ok(spec) => spec,
        Err(more) => {
            problems.extend(more);
            return Err(problems);
        }
    };
    if built {
        spec.update.get_or_insert_with(built::followed);
    }
    spec.depend_on_shared();
    all_of_them(&mut spec);
    spec.depends_on.retain(|other, dependency| dependency.required || is_there(other));
    let metadata =
        map(vec![("project", Node::quoted(project, key.place)), ("name", Node::quoted(name, key.place))], key.place);
    let mut whole = map(vec![("metadata", metadata), ("spec", service)], key.place);
    let object = Object::Service(Service::new(project, name, spec));
    problems.extend(check::check(&object, &whole).into_iter().map(in_compose));
    match (object, take(&mut whole, "spec")) {
        (Object::Service(service), Some((_, written))) if problems.is_empty() => Ok((service, written)),
        _ => Err(problems),
    }
}

/// What is written as an empty text is not written: so a variable that is not set leaves it. Source: compose-go, whose values of
/// these keys are left out when they are empty.
fn blank(service: &mut Node) {
    const WORDS: [&str; 16] = [
        "cgroup",
        "cgroup_parent",
        "cpuset",
        "dns",
        "dns_search",
        "domainname",
        "hostname",
        "ipc",
        "mac_address",
        "network_mode",
        "pid",
        "platform",
        "runtime",
        "stop_signal",
        "user",
        "working_dir",
    ];
    let is_blank = |node: &Node| match &node.kind {
        Kind::Scalar { text, .. } => text.is_empty(),
        Kind::List(items) => items.len() == 1 && items.iter().all(|item| item.text() == Some("")),
        Kind::Map(_) => false,
    };
    if let Some(entries) = entries_mut(service) {
        entries.retain(|(key, value)| !(key.text().is_some_and(|key| WORDS.contains(&key)) && is_blank(value)));
    }
}

/// A link is a dependency: services of a network know each other by name without it. Source: compose-go
/// `loader/normalize.go`.
fn links(service: &mut Node, shown: &str, problems: &mut Vec<Problem>) {
    let Some((key, links)) = take(service, "links") else { return };
    let mut depends_on = match take(service, "depends_on") {
        Some((_, depends_on)) => named(depends_on, true),
        None => map(Vec::new(), key.place),
    };
    for link in items(&links) {
        let text = link.text().unwrap_or_default();
        let (name, alias) = text.split_once(':').unwrap_or((text, text));
        if name != alias || name.is_empty() {
            let message = format!("{shown}.links: `{text}` gives a service another name");
            let help =
                "give it that name on a network they share: `networks: {default: {aliases: [NAME]}}` at that service";
            problems.push(Problem::new(link.place, message, Some(help.into())));
        } else if depends_on.get(name).is_none() {
            let restart = map(vec![("restart", Node::plain("true", link.place))], link.place);
            put(&mut depends_on, Node::quoted(name, link.place), restart);
        }
    }
    put(service, Node::quoted("depends_on", key.place), depends_on);
}

/// Where neither a number nor names are given, all devices are meant. Source: compose-go `transform/devices.go`.
fn all_of_them(spec: &mut ServiceSpec) {
    let resources = spec.deploy.as_mut().and_then(|deploy| deploy.resources.as_mut());
    let reserved = resources.and_then(|resources| resources.reservations.as_mut());
    let reserved = reserved.into_iter().flat_map(|reserved| &mut reserved.devices);
    for request in spec.gpus.iter_mut().chain(reserved).filter(|request| request.device_ids.is_empty()) {
        request.count.get_or_insert(DeviceCount::ALL);
    }
}

/// A healthcheck that is switched off has no test and no times, whatever the file says that it is merged over.
fn switched_off(service: &mut Node) {
    let Some(check) = get_mut(service, "healthcheck") else { return };
    let none = |test: &Node| items(test).first().is_some_and(|word| word.text() == Some("NONE"));
    let disabled = check.get("disable").is_some_and(|(_, flag)| flag.text() == Some("true"));
    let none = check.get("test").is_some_and(|(_, test)| none(test));
    if let Some(entries) = entries_mut(check).filter(|_| disabled || none) {
        let kept = if disabled { "disable" } else { "test" };
        entries.retain(|(key, _)| key.text() == Some(kept));
    }
}

/// What is said of our own documents, in the words of a Compose file.
fn in_compose(problem: Problem) -> Problem {
    let words = |text: &str| {
        ["http", "tcp"].iter().fold(text.to_owned(), |text, mode| {
            text.replace(&format!("`front: {mode}`"), &format!("`x-composed: {{front: {mode}}}`"))
        })
    };
    Problem { help: problem.help.map(|help| words(&help).into()), ..problem }
}
