//! What is written on containers, networks and volumes, and read back from them: Compose's labels, so that `docker
//! compose ps`, `logs` and `exec` see them, and our own. Labels are the controller's memory in the world.

use std::collections::{BTreeMap, HashMap};

use composed_core::engine::EngineError;
use composed_core::model::{HookKind, ServiceName};
use composed_core::plan::action::Blueprint;
use crd_schema::{DependencyCondition, ImageId, Revision};

use super::errors::rejected;

/// Whose it is: nothing without our own value of it is ever changed.
pub(super) const INSTANCE: &str = "dev.composed.instance";
/// `project/service`.
pub(super) const SERVICE: &str = "dev.composed.service";
/// The revision that a container was made from.
pub(super) const REVISION: &str = "dev.composed.revision";
/// The generation that it was made for.
pub(super) const GENERATION: &str = "dev.composed.generation";
/// Before API 1.44: the networks still to be joined after the creation, as JSON, so that a half-made container can be
/// completed by whoever finds it.
pub(super) const ENDPOINTS: &str = "dev.composed.endpoints";
/// The files that are put into a container before its first start, as JSON, so that whoever starts it can.
pub(super) const FILES: &str = "dev.composed.files";
/// How many files are put into a container before its first start that no label may hold.
pub(super) const PUT: &str = "dev.composed.put";
/// Which hook a container is of: it is no replica.
pub(super) const HOOK: &str = "dev.composed.hook";
/// The id of the container whose requests in flight a companion counts.
pub(super) const COMPANION: &str = "dev.composed.companion";
/// The id of the front that a bridge leads to.
pub(super) const BRIDGE: &str = "dev.composed.bridge";
/// Every key that composed writes on containers, but for the seal: each is set on each, if only to nothing, so that none
/// can come from an image.
const OF_CONTAINERS: [&str; 10] =
    [INSTANCE, SERVICE, REVISION, GENERATION, ENDPOINTS, FILES, PUT, HOOK, COMPANION, BRIDGE];
/// Compose's project.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// Compose's number of a container within its service.
pub(super) const NUMBER: &str = "com.docker.compose.container-number";

/// Compose's service.
pub(super) const COMPOSE_SERVICE: &str = "com.docker.compose.service";
/// Compose's mark of what `docker compose run` made.
const ONE_OFF: &str = "com.docker.compose.oneoff";
/// Compose's hash of the configuration that it made a container of.
pub(super) const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The id of the image that Compose v2 made a container of.
pub(super) const COMPOSE_IMAGE: &str = "com.docker.compose.image";
const COMPOSE: &str = "com.docker.compose.";
const OURS: &str = "dev.composed.";
const VERSION: &str = concat!("composed-", env!("CARGO_PKG_VERSION"));

/// Labels as the engine's answers have them.
pub(super) type Labels = HashMap<String, String>;

/// The labels of a new container.
pub(super) fn of_container(
    print: &Blueprint,
    instance: &str,
    image_id: Option<&ImageId>,
) -> Result<BTreeMap<String, String>, EngineError> {
    let mut labels = of_users(&print.spec.labels)?;
    let depends_on = print.spec.depends_on.iter().map(|(name, dependency)| {
        let condition = match dependency.condition {
            DependencyCondition::ServiceStarted => "service_started",
            DependencyCondition::ServiceHealthy => "service_healthy",
            DependencyCondition::ServiceCompletedSuccessfully => "service_completed_successfully",
        };
        format!("{name}:{condition}:{}", dependency.restart)
    });
    let mut put = |name: &str, value: String| labels.insert(name.to_owned(), value);
    put(PROJECT, print.service.project.clone());
    put(COMPOSE_SERVICE, print.service.name.clone());
    put(NUMBER, print.number.to_string());
    put(ONE_OFF, if print.hook.is_some() { "True" } else { "False" }.to_owned());
    put(CONFIG_HASH, print.revision.to_string());
    put("com.docker.compose.depends_on", depends_on.collect::<Vec<_>>().join(","));
    put("com.docker.compose.version", VERSION.to_owned());
    if let Some(id) = image_id {
        put(COMPOSE_IMAGE, id.to_string());
    }
    put(INSTANCE, instance.to_owned());
    put(SERVICE, print.service.to_string());
    put(REVISION, print.revision.to_string());
    put(GENERATION, print.generation.to_string());
    if let Some(hook) = print.hook {
        put(HOOK, hook.to_string());
    }
    set_all(&mut labels);
    Ok(labels)
}

/// Sets every key of ours that is not there yet to nothing: what an image says in its place does not count.
pub(super) fn set_all(labels: &mut BTreeMap<String, String>) {
    for name in OF_CONTAINERS {
        labels.entry(name.to_owned()).or_default();
    }
}

/// Sets what an image says of a container's identity, and these labels do not, to nothing: `docker compose build` writes
/// Compose's project and service on each image, which a seal would be broken by, and Compose would take the container for.
pub(super) fn clear_identity(labels: &mut BTreeMap<String, String>, image: Labels) {
    for name in image.into_keys().filter(|name| is_identity(name)) {
        labels.entry(name).or_default();
    }
}

/// The value of a label, unless it is empty.
pub(super) fn get<'a>(labels: &'a Labels, name: &str) -> Option<&'a String> {
    labels.get(name).filter(|value| !value.is_empty())
}

/// Whether a container is a companion or a bridge, and no replica.
pub(super) fn accompanies(labels: &Labels) -> bool {
    [COMPANION, BRIDGE].into_iter().any(|name| get(labels, name).is_some())
}

/// Whether a label says what a container is for composed or Compose: these are what a seal signs.
pub(super) fn is_identity(name: &str) -> bool {
    name.starts_with(OURS) || [PROJECT, COMPOSE_SERVICE, NUMBER, ONE_OFF, CONFIG_HASH].contains(&name)
}

/// The first label among an image's that only composed may write.
pub(super) fn of_ours(image: &Labels) -> Option<&String> {
    image.keys().filter(|name| name.starts_with(OURS)).min()
}

/// The labels of a project's network or volume; `kind` is `network` or `volume`.
pub(super) fn of_object(
    kind: &str,
    key: &str,
    project: &str,
    instance: &str,
    users: &BTreeMap<String, String>,
) -> Result<Labels, EngineError> {
    let mut labels = of_users(users)?;
    labels.insert(PROJECT.to_owned(), project.to_owned());
    labels.insert(format!("{COMPOSE}{kind}"), key.to_owned());
    labels.insert(format!("{COMPOSE}version"), VERSION.to_owned());
    labels.insert(INSTANCE.to_owned(), instance.to_owned());
    Ok(labels.into_iter().collect())
}

/// Whether these labels say that it is this controller's.
pub(super) fn are_ours(labels: Option<&Labels>, instance: &str) -> bool {
    labels.and_then(|labels| labels.get(INSTANCE)).is_some_and(|value| value == instance)
}

/// The service that they name.
pub(super) fn service(labels: &Labels) -> Option<ServiceName> {
    service_named(labels.get(SERVICE)?)
}

/// The service of a label's value.
pub(super) fn service_named(value: &str) -> Option<ServiceName> {
    let (project, name) = value.split_once('/')?;
    ServiceName::checked(project, name)
}

/// The service that Docker Compose made a container for, if nobody of ours did: neither this instance nor another.
pub(super) fn service_of_compose(labels: &Labels) -> Option<ServiceName> {
    let label = |name: &str| labels.get(name).map(String::as_str).filter(|value| !value.is_empty());
    // A `docker compose run` is no replica.
    let is_one_off = label(ONE_OFF).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let service = || ServiceName::checked(label(PROJECT)?, label(COMPOSE_SERVICE)?);
    if is_one_off || get(labels, INSTANCE).is_some() { None } else { service() }
}

/// The revision of a container that Compose made, until it is known what it stands for: after Compose's own hash of it.
pub(super) fn revision_of_compose(labels: &Labels) -> Revision {
    let hash = labels.get(CONFIG_HASH).map_or("", String::as_str);
    Revision::new(format!("compose-{}", hash.get(..10).unwrap_or("unknown")))
}

/// Which Compose made a container, and of what, for people.
pub(super) fn maker(labels: &Labels) -> String {
    let label = |name: &str| labels.get(name).filter(|value| !value.is_empty());
    let version = label("com.docker.compose.version").map_or_else(String::new, |version| format!(" {version}"));
    let files =
        label("com.docker.compose.project.config_files").map_or_else(String::new, |files| format!(" of {files}"));
    format!("docker compose{version}{files}")
}

/// The hook whose container it is, if it is one's.
pub(super) fn hook(labels: &Labels) -> Option<HookKind> {
    let named = get(labels, HOOK)?;
    [HookKind::PreDeploy, HookKind::PostDeploy].into_iter().find(|kind| kind.to_string() == *named)
}

/// The number that they give, 0 if none can be read.
pub(super) fn number(labels: &Labels) -> u32 {
    labels.get(NUMBER).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether a label is Compose's or our own to write.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(COMPOSE) || name.starts_with(OURS)
}

/// People's own labels, which may not speak for Compose or for us.
fn of_users(users: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, EngineError> {
    match users.keys().find(|name| is_reserved(name)) {
        Some(name) => Err(rejected(format!("the label `{name}` is composed's own to write; remove it"))),
        None => Ok(users.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_ours_says_so_with_our_own_instance() {
        assert!(are_ours(Some(&labels(&[(INSTANCE, "a")])), "a"));
        assert!(!are_ours(Some(&labels(&[(INSTANCE, "b")])), "a"));
        assert!(!are_ours(Some(&labels(&[(PROJECT, "a")])), "a"));
        assert!(!are_ours(None, "a"));
    }

    #[test]
    fn a_service_is_project_and_name() {
        assert_eq!(service(&labels(&[(SERVICE, "shop/web")])), Some(ServiceName::new("shop", "web")));
        assert_eq!(service(&labels(&[(SERVICE, "shop")])), None);
        assert_eq!(service(&labels(&[(SERVICE, "/web")])), None);
        for wild in
            ["../../../victim/daemon", "shop/../x", "..", "shop/.", "Shop/web", "shop/w eb", "shop/web\n", ".a/b"]
        {
            assert_eq!(service(&labels(&[(SERVICE, wild)])), None, "{wild}");
            let (project, name) = wild.split_once('/').unwrap_or((wild, wild));
            let made = labels(&[(PROJECT, project), (COMPOSE_SERVICE, name)]);
            assert_eq!(service_of_compose(&made), None, "{wild}");
        }
    }

    #[test]
    fn what_compose_made_is_known_by_its_labels() {
        let made = [(PROJECT, "shop"), (COMPOSE_SERVICE, "web"), (ONE_OFF, "False")];
        let with = |more: (&'static str, &'static str)| labels(&[made.as_slice(), &[more]].concat());
        let web = Some(ServiceName::new("shop", "web"));
        assert_eq!(service_of_compose(&labels(&made)), web);
        assert_eq!(service_of_compose(&labels(&made[..2])), web, "docker-compose v1 of old");
        assert_eq!(service_of_compose(&labels(&made[..1])), None);
        assert_eq!(service_of_compose(&with((ONE_OFF, "True"))), None);
        assert_eq!(service_of_compose(&with((INSTANCE, "another"))), None);
        assert_eq!(revision_of_compose(&with((CONFIG_HASH, "0123456789abcdef"))), "compose-0123456789");
        assert_eq!(revision_of_compose(&labels(&made)), "compose-unknown");
    }

    #[test]
    fn people_may_not_speak_for_us() {
        let users = |name: &str| BTreeMap::from([(name.to_owned(), String::new())]);
        for name in ["dev.composed.instance", "com.docker.compose.project"] {
            assert!(of_users(&users(name)).is_err_and(|error| error.to_string().contains(name)));
        }
        assert!(of_users(&users("traefik.enable")).is_ok());
    }
}
