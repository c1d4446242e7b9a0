//! What of an engine's answer a proxy may see. Bodies stay the JSON that the engine sent, unknown fields included; what
//! can hold a secret and no proxy needs is emptied: environment values, mounts, command lines, other people's labels.

use serde_json::{Map, Value, json};

/// Labels that proxies read, and those that say whose a container is.
const LABELS: [&str; 7] = [
    "traefik.",
    "caddy",
    "com.docker.compose.",
    "com.docker.swarm.",
    "com.docker.network.",
    "com.github.nginx-proxy.",
    "com.github.jrcs.letsencrypt_nginx_proxy_companion.",
];
/// The controller's own memory, which no proxy reads: files of containers are in it, and secrets may be. Never shown.
const OWN: &str = "dev.composed.";
/// Environment variables that are nginx-proxy's and its companion's labels. Sources: nginx-proxy's docs/README.md,
/// acme-companion's docs.
const ENVIRONMENT: [&str; 10] = [
    "CERT_NAME",
    "EXTERNAL_HTTPS_PORT",
    "EXTERNAL_HTTP_PORT",
    "HSTS",
    "HTTPS_METHOD",
    "HTTP_LISTEN_PORTS",
    "NETWORK_ACCESS",
    "NON_GET_REDIRECT",
    "SERVER_TOKENS",
    "SSL_POLICY",
];
const ENVIRONMENT_PREFIXES: [&str; 2] = ["VIRTUAL_", "LETSENCRYPT_"];
/// What an event says of its object, beside labels.
const ATTRIBUTES: [&str; 11] = [
    "container",
    "driver",
    "execDuration",
    "execID",
    "exitCode",
    "image",
    "name",
    "oldName",
    "scope",
    "signal",
    "type",
];

/// What is let through.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask {
    /// Prefixes of labels, beside those of the proxies known here.
    pub(super) labels: Vec<String>,
}

impl Mask {
    /// Whether a label may be seen.
    pub(super) fn shows(&self, label: &str) -> bool {
        let mut prefixes = LABELS.into_iter().chain(self.labels.iter().map(String::as_str));
        !label.starts_with(OWN) && prefixes.any(|prefix| label.starts_with(prefix))
    }

    /// Masks a container as the list has it.
    pub(super) fn listed(&self, container: &mut Value) {
        put(container, "/Command", json!(""));
        put(container, "/Mounts", json!([]));
        put(container, "/HostConfig/Annotations", json!({}));
        self.labels_at(container, "/Labels");
        endpoints(container);
    }

    /// Masks a container as an inspect has it.
    pub(super) fn inspected(&self, container: &mut Value) {
        for (place, empty) in [
            ("/Path", json!("")),
            ("/Args", json!([])),
            ("/Mounts", json!([])),
            ("/Volumes", json!({})),
            ("/VolumesRW", json!({})),
            ("/ExecIDs", Value::Null),
            ("/State/Error", json!("")),
            ("/State/Health/Log", json!([])),
            ("/Config/Cmd", Value::Null),
            ("/Config/Entrypoint", Value::Null),
            ("/Config/OnBuild", Value::Null),
            ("/Config/Shell", Value::Null),
            ("/Config/Volumes", Value::Null),
            ("/Config/Healthcheck/Test", json!([])),
            ("/HostConfig/Annotations", json!({})),
            ("/HostConfig/Binds", Value::Null),
            ("/HostConfig/Mounts", json!([])),
            ("/HostConfig/Tmpfs", json!({})),
            ("/HostConfig/VolumesFrom", Value::Null),
            ("/HostConfig/LogConfig/Config", json!({})),
            ("/HostConfig/SecurityOpt", Value::Null),
            ("/HostConfig/StorageOpt", json!({})),
            ("/HostConfig/Sysctls", json!({})),
        ] {
            put(container, place, empty);
        }
        for variable in container.pointer_mut("/Config/Env").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(masked) = variable.as_str().and_then(mask_variable) {
                *variable = Value::String(masked);
            }
        }
        self.labels_at(container, "/Config/Labels");
        self.labels_at(container, "/ImageManifestDescriptor/annotations");
        endpoints(container);
    }

    /// Masks a network, listed or inspected; `hidden` tells of a container's id whether it must not appear.
    pub(super) fn network(&self, network: &mut Value, hidden: impl Fn(&str) -> bool) {
        self.labels_at(network, "/Labels");
        if let Some(containers) = network.pointer_mut("/Containers").and_then(Value::as_object_mut) {
            containers.retain(|id, _| !hidden(id));
        }
    }

    /// The attributes of an event that may be seen.
    pub(super) fn attributes(&self, attributes: &mut Map<String, Value>) {
        attributes.retain(|name, _| self.tells(name));
    }

    /// Whether an attribute of an event may be seen.
    pub(super) fn tells(&self, attribute: &str) -> bool {
        ATTRIBUTES.contains(&attribute) || self.shows(attribute)
    }

    /// Masks what the engine says of itself.
    pub(super) fn info(info: &mut Value) {
        for place in ["/HttpProxy", "/HttpsProxy", "/NoProxy"] {
            put(info, place, json!(""));
        }
        for place in ["/Labels", "/RegistryConfig"] {
            put(info, place, Value::Null);
        }
    }

    fn labels_at(&self, value: &mut Value, place: &str) {
        if let Some(labels) = value.pointer_mut(place).and_then(Value::as_object_mut) {
            labels.retain(|name, _| self.shows(name));
        }
    }
}

/// Says healthy of a container that serves: composed has seen it ready in this run, and a proxy must not drop it when
/// the engine counts anew, as it does after a restart with live-restore.
pub(super) fn healthy(container: &mut Value) {
    for place in ["/State/Health/Status", "/Health/Status"] {
        if container.pointer(place).and_then(Value::as_str).is_some_and(|status| !matches!(status, "" | "none")) {
            put(container, place, json!("healthy"));
        }
    }
    if let Some(status) = container.get("Status").and_then(Value::as_str) {
        let status = status.replace("(health: starting)", "(healthy)").replace("(unhealthy)", "(healthy)");
        put(container, "/Status", Value::String(status));
    }
}

/// Drivers' options may be anything.
fn endpoints(container: &mut Value) {
    let endpoints = container.pointer_mut("/NetworkSettings/Networks").and_then(Value::as_object_mut);
    for endpoint in endpoints.into_iter().flat_map(|all| all.values_mut()) {
        put(endpoint, "/DriverOpts", Value::Null);
    }
}

/// `NAME=***`, if the value of this variable is not a proxy's.
fn mask_variable(variable: &str) -> Option<String> {
    let (name, _) = variable.split_once('=')?;
    (!is_proxys(name)).then(|| format!("{name}=***"))
}

/// Whether an environment variable is a proxy's.
pub(super) fn is_proxys(name: &str) -> bool {
    ENVIRONMENT.contains(&name) || ENVIRONMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a proxy would send requests to a container with these labels and variables.
pub(super) fn is_concerned<'a>(
    mut labels: impl Iterator<Item = (&'a str, &'a str)>,
    mut variables: impl Iterator<Item = &'a str>,
) -> bool {
    let (mut some, mut off) = (false, false);
    for (name, value) in labels.by_ref() {
        some |=
            name.starts_with("traefik.") || name == "caddy" || name.starts_with("caddy.") || name.starts_with("caddy_");
        off |= name == "traefik.enable" && value.eq_ignore_ascii_case("false");
    }
    (some && !off) || variables.any(|variable| variable.starts_with("VIRTUAL_"))
}

fn put(value: &mut Value, place: &str, new: Value) {
    if let Some(there) = value.pointer_mut(place) {
        *there = new;
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn of_a_container_only_what_proxies_need_is_left_and_what_is_unknown_stays() {
        let mut container = json!({
            "Id": "0123", "Path": "/canary", "Args": ["canary"], "Novelty": {"of": 2030},
            "Mounts": [{"Source": "/canary"}],
            "State": {"Status": "running", "Error": "canary", "Health": {"Status": "starting", "Log": [{"Output": "canary"}]}},
            "Config": {
                "Cmd": ["--token=canary"], "Entrypoint": ["canary"], "Healthcheck": {"Test": ["CMD", "canary"], "Interval": 1},
                "Env": ["TOKEN=canary", "VIRTUAL_HOST=a.example", "CERT_NAME=b", "EMPTY", "VIRTUALTOKEN=canary"],
                "Labels": {"traefik.enable": "true", "secret": "canary", "caddy_1.reverse_proxy": "x", "own.a": "1"},
                "Volumes": {"/canary": {}},
            },
            "HostConfig": {"NetworkMode": "web", "Binds": ["/canary:/c"], "Mounts": [{"Source": "canary"}],
                "LogConfig": {"Type": "splunk", "Config": {"splunk-token": "canary"}}, "Annotations": {"a": "canary"}},
            "NetworkSettings": {"Networks": {"web": {"IPAddress": "172.18.0.2", "DriverOpts": {"a": "canary"}}}},
        });
        let mask = Mask { labels: vec!["own.".to_owned()] };
        mask.inspected(&mut container);
        healthy(&mut container);
        assert!(!container.to_string().contains("canary"), "{container:#}");
        assert_eq!(
            container["Config"]["Env"],
            json!(["TOKEN=***", "VIRTUAL_HOST=a.example", "CERT_NAME=b", "EMPTY", "VIRTUALTOKEN=***"])
        );
        let labels = json!({"traefik.enable": "true", "caddy_1.reverse_proxy": "x", "own.a": "1"});
        assert_eq!(container["Config"]["Labels"], labels);
        assert_eq!(container["Novelty"]["of"], 2030);
        assert_eq!(container["State"]["Health"]["Status"], "healthy");
        assert_eq!(container["NetworkSettings"]["Networks"]["web"]["IPAddress"], "172.18.0.2");
    }

    /// Whatever is let through: the controller's own labels are not, of containers, networks, events and images.
    #[test]
    fn own_labels_are_never_shown() {
        for labels in [vec![], vec![String::new()], vec!["dev.".to_owned()], vec!["dev.composed.".to_owned()]] {
            let mask = Mask { labels };
            let own =
                || json!({"dev.composed.files": "canary", "dev.composed.key": "canary", "traefik.enable": "true"});
            let mut values = [
                json!({"Labels": own()}),
                json!({"Config": {"Labels": own()}, "ImageManifestDescriptor": {"annotations": own()}}),
                json!({"Name": "web", "Labels": own()}),
            ];
            mask.listed(&mut values[0]);
            mask.inspected(&mut values[1]);
            mask.network(&mut values[2], |_| false);
            let mut attributes = own().as_object().unwrap().clone();
            mask.attributes(&mut attributes);
            let told = format!("{values:?} {attributes:?}");
            assert!(!told.contains("canary") && told.contains("traefik.enable"), "{told}");
        }
    }

    #[test]
    fn no_health_is_made_where_there_is_none() {
        let mut container = json!({"State": {"Status": "running"}, "Status": "Up 2 seconds"});
        healthy(&mut container);
        assert_eq!(container, json!({"State": {"Status": "running"}, "Status": "Up 2 seconds"}));
        let mut container = json!({"Status": "Up 2 seconds (health: starting)"});
        healthy(&mut container);
        assert_eq!(container["Status"], "Up 2 seconds (healthy)");
    }

    #[test]
    fn a_network_names_only_who_is_seen() {
        let mut network = json!({"Name": "web", "Labels": {"secret": "canary"}, "Containers": {"a": {}, "b": {}}});
        Mask::default().network(&mut network, |id| id == "b");
        assert_eq!(network, json!({"Name": "web", "Labels": {}, "Containers": {"a": {}}}));
    }

    #[test]
    fn who_is_concerned_carries_a_proxys_labels_or_variables() {
        let by = |labels: &[(&str, &str)], variables: &[&str]| {
            is_concerned(labels.iter().copied(), variables.iter().copied())
        };
        assert!(by(&[("traefik.enable", "true")], &[]));
        assert!(!by(&[("traefik.enable", "false"), ("traefik.http.routers.a.rule", "x")], &[]));
        assert!(by(&[("caddy", "a.example")], &[]) && by(&[("caddy_0.tls", "internal")], &[]));
        assert!(by(&[], &["VIRTUAL_HOST=a"]) && !by(&[("app", "x")], &["PATH=/bin"]));
    }
}
