//! The part of a container's configuration that is its own: what it runs, and what it is called. What a document leaves out
//! is the image's.

use std::collections::BTreeMap;

use bollard::models::{ContainerCreateBody, ContainerInspectResponse, HealthConfig, ImageConfig};
use composed_core::model::ServiceName;
use crd_schema::{ImageId, ServiceSpec};

use super::super::labels;
use super::differences::{Differences, sorted, unlike};

pub(super) fn compare(
    all: &mut Differences,
    container: &ContainerInspectResponse,
    image: &ImageConfig,
    wanted_image: Option<&ImageId>,
    ought: &ContainerCreateBody,
    (service, spec): (&ServiceName, &ServiceSpec),
) {
    let is = container.config.clone().unwrap_or_default();
    let name = container.name.as_deref().unwrap_or_default().trim_start_matches('/');
    match &spec.container_name {
        Some(wanted) => all.word("container_name", name, wanted),
        None => all.unless(is_usual(name, service), "container_name"),
    }
    let (named, wanted) = (is.image.as_deref().unwrap_or_default(), ought.image.as_deref().unwrap_or_default());
    let same_image = container.image.as_deref().is_some_and(|id| wanted_image.is_some_and(|wanted| *wanted == *id));
    if !same_image && whole(named) != whole(wanted) {
        all.word("image", named, wanted);
    }
    runs(all, container, image, ought, spec);
    all.named(
        "environment",
        unlike(&variables(&[is.env.as_deref()]), &variables(&[image.env.as_deref(), ought.env.as_deref()])),
    );
    all.named("labels", labelled(is.labels.as_ref(), image.labels.as_ref(), ought.labels.as_ref()));
    let exposed = |first: Option<&Vec<String>>, second: Option<&Vec<String>>| {
        sorted(Some(&[first.cloned().unwrap_or_default(), second.cloned().unwrap_or_default()].concat()))
    };
    let wanted = exposed(image.exposed_ports.as_ref(), ought.exposed_ports.as_ref());
    all.unless(exposed(is.exposed_ports.as_ref(), None) == wanted, "expose");
    let check = health(is.healthcheck.as_ref(), None);
    all.unless(check == health(ought.healthcheck.as_ref(), image.healthcheck.as_ref()), "healthcheck");
    let given = |own: Option<&String>, other: Option<&String>| {
        own.filter(|text| !text.is_empty()).or(other).cloned().unwrap_or_default()
    };
    all.word("user", &given(is.user.as_ref(), None), &given(ought.user.as_ref(), image.user.as_ref()));
    let directory = |text: String| if text.is_empty() { "/".to_owned() } else { text };
    let wanted = directory(given(ought.working_dir.as_ref(), image.working_dir.as_ref()));
    all.word("working_dir", &directory(given(is.working_dir.as_ref(), None)), &wanted);
    let signal = |text: String| if text.is_empty() { "SIGTERM".to_owned() } else { text };
    let wanted = signal(given(ought.stop_signal.as_ref(), image.stop_signal.as_ref()));
    all.word("stop_signal", &signal(given(is.stop_signal.as_ref(), None)), &wanted);
    all.unless(is.stop_timeout == ought.stop_timeout, "stop_grace_period");
    all.flag("tty", is.tty, ought.tty);
    all.flag("stdin_open", is.open_stdin, ought.open_stdin);
    let hostname = is.hostname.as_deref().unwrap_or_default();
    if let Some(wanted) = ought.hostname.as_deref().filter(|name| !name.is_empty()) {
        all.word("hostname", hostname, wanted);
    } else {
        // The engine's own: the short id, or the host's where it has the host's network.
        let short = container.id.as_deref().and_then(|id| id.get(..12));
        let mode = container.host_config.as_ref().and_then(|host| host.network_mode.as_deref()).unwrap_or_default();
        let of_another = mode == "host" || mode.starts_with("container:");
        all.unless(of_another || hostname.is_empty() || short == Some(hostname), "hostname");
    }
    all.word(
        "domainname",
        is.domainname.as_deref().unwrap_or_default(),
        ought.domainname.as_deref().unwrap_or_default(),
    );
}

/// Whether a name is one that Compose gives by itself: `shop-web-1`, or `shop_web_1` as of old.
pub(super) fn is_usual(name: &str, service: &ServiceName) -> bool {
    let (base, number) = name.rsplit_once(['-', '_']).unwrap_or_default();
    let named = |between: &str| base.ends_with(&format!("{}{between}{}", service.project, service.name));
    number.parse::<u32>().is_ok() && (named("-") || named("_"))
}

/// Command and entrypoint. Source: moby `daemon/commit.go`, `merge`: an entrypoint of one's own clears the image's command.
fn runs(
    all: &mut Differences,
    container: &ContainerInspectResponse,
    image: &ImageConfig,
    ought: &ContainerCreateBody,
    spec: &ServiceSpec,
) {
    let words = |list: Option<&Vec<String>>| {
        let list = list.cloned().unwrap_or_default();
        if list == [""] { Vec::new() } else { list }
    };
    let own_entrypoint = ought.entrypoint.as_ref().filter(|list| !list.is_empty());
    let own_command = ought.cmd.as_ref().filter(|list| !list.is_empty());
    let entrypoint = words(own_entrypoint.or(image.entrypoint.as_ref()));
    // An empty list clears the image's.
    let cleared = own_entrypoint.is_some() || spec.command.as_ref().is_some_and(Vec::is_empty);
    let command = words(own_command.or(image.cmd.as_ref().filter(|_| !cleared)));
    let config = container.config.as_ref();
    all.unless(words(config.and_then(|config| config.entrypoint.as_ref())) == entrypoint, "entrypoint");
    all.unless(words(config.and_then(|config| config.cmd.as_ref())) == command, "command");
}

/// Variables as a map; the later list wins.
fn variables(lists: &[Option<&[String]>]) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for entry in lists.iter().flat_map(|list| list.unwrap_or_default()) {
        match entry.split_once('=') {
            Some((name, value)) => drop(variables.insert(name.to_owned(), value.to_owned())),
            // A name alone takes away what the image sets.
            None => drop(variables.remove(entry)),
        }
    }
    variables
}

/// The labels that differ, but for Compose's and our own. The image's are there, too.
fn labelled(
    is: Option<&labels::Labels>,
    image: Option<&labels::Labels>,
    ought: Option<&labels::Labels>,
) -> Vec<String> {
    let peoples = |labels: Option<&labels::Labels>| -> BTreeMap<String, String> {
        let all = labels.into_iter().flatten().filter(|(name, _)| !labels::is_reserved(name));
        all.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut wanted = peoples(image);
    wanted.extend(peoples(ought));
    unlike(&peoples(is), &wanted)
}

/// A healthcheck as the engine merges it: what is not given is the image's, and zero is not given.
fn health(own: Option<&HealthConfig>, image: Option<&HealthConfig>) -> (Vec<String>, [i64; 5]) {
    let pick = |of: fn(&HealthConfig) -> Option<i64>| {
        let given = |config: Option<&HealthConfig>| config.and_then(of).filter(|number| *number != 0);
        given(own).or(given(image)).unwrap_or(0)
    };
    let test =
        |config: Option<&HealthConfig>| config.and_then(|config| config.test.clone()).filter(|test| !test.is_empty());
    let test = test(own).or(test(image)).unwrap_or_default();
    // Without a test the numbers mean nothing; with NONE, too.
    if test.is_empty() || test.first().is_some_and(|word| word == "NONE") {
        return (Vec::new(), [0; 5]);
    }
    let numbers = [
        pick(|config| config.interval),
        pick(|config| config.timeout),
        pick(|config| config.retries),
        pick(|config| config.start_period),
        pick(|config| config.start_interval),
    ];
    (test, numbers)
}

/// A reference in full: `nginx` is `docker.io/library/nginx:latest`.
fn whole(reference: &str) -> String {
    if reference.starts_with("sha256:") {
        return reference.to_owned();
    }
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let named = match reference.split_once('/') {
        Some((first, rest)) if is_host(first) => {
            let host = if first == "index.docker.io" { "docker.io" } else { first };
            format!("{host}/{rest}")
        }
        Some(_) => format!("docker.io/{reference}"),
        None => format!("docker.io/library/{reference}"),
    };
    let last = named.rsplit('/').next().unwrap_or_default();
    if last.contains([':', '@']) { named } else { format!("{named}:latest") }
}
