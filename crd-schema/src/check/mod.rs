//! What a well-formed document may still get wrong: keys that contradict each other, names nothing can have. Pure
//! rules over the types; each finding names the key it is about, and the tree says where that is.

mod container;
mod findings;
mod front;
mod hooks;
mod image;
mod network;
mod rollout;
mod update;

pub use image::{is_image_tag, split_registry};

use self::findings::Findings;
use crate::{
    Object, Project, Service,
    yaml::{Node, Problem},
};

/// Everything wrong with an object, at its places in the document it was read from.
pub(crate) fn check(object: &Object, node: &Node) -> Vec<Problem> {
    let mut findings = Findings::default();
    match object {
        Object::Service(service) => check_service(service, &mut findings),
        Object::Project(project) => check_project(project, &mut findings),
    }
    let mut problems: Vec<Problem> = findings
        .0
        .into_iter()
        .map(|finding| {
            let path: Vec<&str> = finding.path.iter().map(String::as_str).collect();
            Problem::new(node.locate(&path), finding.message, Some(finding.help.into()))
        })
        .collect();
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    problems
}

fn check_service(service: &Service, findings: &mut Findings) {
    project_name(&service.metadata.project, &["metadata", "project"], findings);
    let name = &service.metadata.name;
    if !is_service_name(name) {
        let help = "use letters, digits, `.`, `_` and `-`, and start with a letter or digit";
        findings.add(&["metadata", "name"], format!("`{name}` cannot be the name of a service"), help);
    }
    if service.metadata.hosts.iter().any(|host| host.is_empty() || host.contains(char::is_whitespace)) {
        let help = "write names of hosts, with `*` and `?` for what may differ";
        findings.add(&["metadata", "hosts"], "a host without a name", help);
    }
    container::check(&service.spec, findings);
    network::check(&service.spec, findings);
    rollout::check(&service.spec, findings);
    front::check(&service.spec, findings);
    hooks::check(&service.spec, findings);
    update::check(&service.spec, findings);
    for (key, _) in service.spec.shares().filter(|(_, other)| other == name) {
        let help = "remove it, or name another service";
        findings.add(&["spec", key], format!("`{name}` would join its own namespace"), help);
    }
    if service.spec.depends_on.contains_key(name) {
        let help = "remove it: a service that waits for itself never starts";
        findings.add(&["spec", "depends_on", name], format!("`{name}` depends on itself"), help);
    }
}

fn check_project(project: &Project, findings: &mut Findings) {
    project_name(&project.metadata.name, &["metadata", "name"], findings);
    let names = project.spec.networks.keys().map(|name| ("networks", name));
    for (section, name) in names.chain(project.spec.volumes.keys().map(|name| ("volumes", name))) {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !is_name(name, known, known) {
            let help = "use letters, digits, `.`, `_` and `-`";
            findings.add(&["spec", section, name], format!("`{name}` cannot be a name in {section}"), help);
        }
    }
    let external = project.spec.networks.iter().filter(|(_, network)| {
        network.external
            && (network.driver.is_some()
                || network.internal
                || network.attachable
                || network.ipam.is_some()
                || network.enable_ipv4.is_some()
                || network.enable_ipv6.is_some()
                || !network.driver_opts.is_empty()
                || !network.labels.is_empty())
    });
    let volumes = project.spec.volumes.iter().filter(|(_, volume)| {
        volume.external && (volume.driver.is_some() || !volume.driver_opts.is_empty() || !volume.labels.is_empty())
    });
    for (section, name) in
        external.map(|(name, _)| ("networks", name)).chain(volumes.map(|(name, _)| ("volumes", name)))
    {
        let help = "keep `external: true` and `name`; whoever created it decides the rest";
        let message = format!("`{name}` is external and yet described");
        findings.add(&["spec", section, name], message, help);
    }
    if let Some(rules) = &project.spec.rollout {
        rollout::check_rules(rules, findings);
    }
    if let Some(rules) = &project.spec.update {
        update::check_rules(rules, findings);
    }
}

fn project_name(name: &str, path: &[&str], findings: &mut Findings) {
    if !is_project_name(name) {
        let help = "use lowercase letters, digits, `_` and `-`, and start with a letter or digit";
        findings.add(path, format!("`{name}` cannot be the name of a project"), help);
    }
}

/// Whether a project can have this name: lowercase letters, digits, `_` and `-`, a letter or digit first, 128 bytes at
/// most. Source: Compose, `loader.NormalizeProjectName`.
pub fn is_project_name(name: &str) -> bool {
    let start = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    is_name(name, start, |c| start(c) || matches!(c, '_' | '-'))
}

/// Whether a service can have this name: letters, digits, `.`, `_` and `-`, a letter or digit first, 128 bytes at most.
pub fn is_service_name(name: &str) -> bool {
    is_name(name, |c| c.is_ascii_alphanumeric(), |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
}

fn is_name(name: &str, start: impl Fn(char) -> bool, rest: impl Fn(char) -> bool) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(start) && chars.all(rest) && name.len() <= 128
}
