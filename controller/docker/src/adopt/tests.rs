//! Every key that reaches a container is compared, and what the engine adds by itself is no difference.

use composed_core::engine::ActionContext;
use crd_schema::{ContainerId, ImageId, Network, NetworkName, Volume, VolumeName};
use serde_json::{Value, json};

use super::*;

/// The newest API that is known: every key can be asked for.
const MINOR: usize = 53;

/// Every key, and what it says.
fn every_key() -> Value {
    serde_json::from_str(include_str!("../golden/spec.json")).expect("JSON")
}

fn asked(spec: Value) -> DesiredContainer {
    let network = |key: &str| (key.to_owned(), (NetworkName::new(format!("shop_{key}")), Network::default()));
    let context = ActionContext {
        project: "shop".to_owned(),
        networks: ["back", "front"].map(network).into(),
        volumes: [("data".to_owned(), (VolumeName::new("shop_data"), Volume::default()))].into(),
        ..ActionContext::default()
    };
    DesiredContainer { spec: serde_json::from_value(spec).expect("a specification"), context }
}

fn web() -> ServiceName {
    ServiceName::new("shop", "web")
}

/// As an engine shows what was made of a specification: what it was asked for, and what it adds.
fn made(spec: Value) -> ContainerInspectResponse {
    let Creation { body, later, .. } = expected(MINOR, &web(), &asked(spec), &[]).expect("a creation");
    let mut config = serde_json::to_value(&body).expect("JSON");
    let all = config.as_object_mut().expect("an object");
    let mut host = all.remove("HostConfig").expect("a host configuration");
    all.remove("NetworkingConfig");
    let endpoints = body.networking_config.and_then(|config| config.endpoints_config).unwrap_or_default();
    let mut networks = serde_json::to_value(endpoints).expect("JSON");
    networks
        .as_object_mut()
        .expect("an object")
        .extend(serde_json::to_value(later).expect("JSON").as_object().expect("an object").clone());
    for endpoint in networks.as_object_mut().expect("an object").values_mut() {
        let mut aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
        aliases.push(json!("aaaaaaaaaaaa"));
        aliases.extend(config["Hostname"].as_str().map(Value::from));
        endpoint["Aliases"] = aliases.into();
        endpoint["IPAddress"] = json!("172.18.0.2");
    }
    let mut mounts = Vec::new();
    for line in host["Binds"].as_array().into_iter().flatten() {
        let parts: Vec<&str> = line.as_str().expect("text").split(':').collect();
        let writes = !parts.get(2).is_some_and(|options| options.contains("ro"));
        mounts.push(json!({"Type": "bind", "Source": parts[0], "Destination": parts[1], "RW": writes}));
    }
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        let (source, writes) = (&mount["Source"], mount["ReadOnly"] != true);
        let name = source.as_str().map_or_else(|| "0a".repeat(32), str::to_owned);
        let target = &mount["Target"];
        mounts.push(match mount["Type"].as_str() {
            Some("volume") => {
                json!({"Type": "volume", "Name": name, "Source": "/var/lib", "Destination": target, "RW": writes})
            }
            kind => json!({"Type": kind, "Source": source, "Destination": target, "RW": writes}),
        });
    }
    let fill = |host: &mut Value, key: &str, value: Value| {
        if host[key].is_null() {
            host[key] = value;
        }
    };
    if host["LogConfig"]["Config"].is_object() {
        host["LogConfig"]["Config"]["max-file"] = json!("3");
    }
    fill(&mut host, "ShmSize", json!(67_108_864));
    fill(&mut host, "Runtime", json!("runc"));
    fill(&mut host, "IpcMode", json!("private"));
    fill(&mut host, "CgroupnsMode", json!("host"));
    fill(&mut host, "LogConfig", json!({"Type": "json-file", "Config": {"max-size": "10m"}}));
    fill(&mut host, "RestartPolicy", json!({"Name": "no", "MaximumRetryCount": 0}));
    fill(&mut host, "Ulimits", json!([{"Name": "nproc", "Soft": 1, "Hard": 1}]));
    fill(&mut host, "MemorySwappiness", json!(-1));
    let memory = host["Memory"].as_i64().unwrap_or(0);
    fill(&mut host, "MemorySwap", json!(memory * 2));
    if config["Hostname"].is_null() {
        config["Hostname"] = json!("aaaaaaaaaaaa");
    }
    config["Labels"]["com.docker.compose.project.working_dir"] = json!("/srv/shop");
    let inspect = json!({
        "Id": "a".repeat(64), "Name": "/shop-web-1", "Image": "sha256:00", "Config": config, "HostConfig": host,
        "Mounts": mounts, "NetworkSettings": {"Networks": networks},
    });
    serde_json::from_value(inspect).expect("an inspect")
}

fn compared(container: &ContainerInspectResponse, image: &ImageConfig, wanted: Value) -> Vec<String> {
    let asked = asked(wanted);
    let expected = expected(MINOR, &web(), &asked, &[]).expect("a creation");
    differences(&web(), container, image, Some(&ImageId::new("sha256:11")), &expected, &asked)
}

fn without_image(container: &ContainerInspectResponse, wanted: Value) -> Vec<String> {
    compared(container, &ImageConfig::default(), wanted)
}

#[test]
fn what_was_made_of_a_document_is_what_it_asks_for() {
    let nothing = Vec::<String>::new();
    let mut all = every_key();
    all["container_name"] = json!("shop-web-1");
    assert_eq!(without_image(&made(all.clone()), all), nothing);
    let named = |name: &str| {
        let container = ContainerInspectResponse { name: Some(name.to_owned()), ..made(json!({"image": "a:1"})) };
        without_image(&container, json!({"image": "a:1"}))
    };
    assert_eq!(named("/shop_web_12"), nothing, "docker-compose v1");
    assert_eq!(named("/the-web"), ["container_name"], "it has lost its container_name");
    let least = json!({"image": "a:1"});
    assert_eq!(without_image(&made(least.clone()), least), nothing);
}

/// The controller's own keys; those of which the engine does not tell; those whose absence leaves the engine's own default,
/// which is not known here; and those that `deploy` in the same document overrules.
const UNSEEN: [&str; 22] = [
    // Of what the image does not set, there is nothing to take away.
    "unset_environment",
    "depends_on",
    "drain_timeout",
    "env_file",
    "pre_stop",
    "pull_policy",
    "readiness",
    "replicas",
    "rollout",
    "generated",
    "platform",
    "cgroup",
    "ipc",
    "logging",
    "mac_address",
    "runtime",
    "shm_size",
    "ulimits",
    "cpus",
    "mem_limit",
    "mem_reservation",
    "pids_limit",
];

#[test]
fn every_other_key_is_compared() {
    let all = every_key();
    let container = ContainerInspectResponse { name: Some("/the-web".to_owned()), ..made(all.clone()) };
    let mut missed = Vec::new();
    for key in all.as_object().expect("an object").keys().filter(|key| !UNSEEN.contains(&key.as_str())) {
        let mut wanted = all.clone();
        wanted.as_object_mut().expect("an object").remove(key);
        if key == "image" {
            wanted["image"] = json!("another:1");
        }
        if without_image(&container, wanted).is_empty() {
            missed.push(key.clone());
        }
    }
    assert_eq!(missed, Vec::<String>::new(), "a container that differs in these would be adopted");
}

/// The specification of what was made of `spec`, while another image is asked for.
fn told(spec: &Value, image: &ImageConfig, change: impl FnOnce(&mut ContainerInspectResponse)) -> Option<ServiceSpec> {
    let mut container = made(spec.clone());
    change(&mut container);
    let asked = asked(json!({"image": "another:1"}));
    let made = Made { service: &web(), container: &container, image, owners: &[] };
    specified(MINOR, made, &asked)
}

/// Those of which an engine's answer does not tell what was asked for: then all old replicas stay until all new ones are there.
const UNTOLD: [&str; 4] = ["blkio_config", "gpus", "deploy", "files"];

#[test]
fn what_compose_made_can_be_made_again() {
    let mut all = every_key();
    for key in UNTOLD {
        all.as_object_mut().expect("an object").remove(key);
    }
    // A name and an address of the host's own, a device of a driver, what lies below a bind.
    all["networks"]["back"].as_object_mut().expect("an object").retain(|key, _| key != "mac_address");
    all["devices"]
        .as_array_mut()
        .expect("a list")
        .retain(|device| device["source"].as_str().unwrap_or("").starts_with('/'));
    all["volumes"].as_array_mut().expect("a list").retain(|mount| mount["bind"]["recursive"].is_null());
    let spec =
        told(&all, &ImageConfig::default(), |made| made.name = Some("/the-web".to_owned())).expect("told in full");
    assert_eq!(spec.container_name.as_deref(), Some("the-web"));
    assert_eq!(spec.environment["COLOUR"], "blue");
    assert_eq!(spec.labels, BTreeMap::from([("traefik.enable".to_owned(), "true".to_owned())]), "people's own alone");
    let least = told(&json!({"image": "a:1"}), &ImageConfig::default(), |_| {}).expect("told in full");
    let engines =
        ServiceSpec { logging: None, runtime: None, cgroup: None, shm_size: None, ulimits: BTreeMap::new(), ..least };
    assert_eq!(serde_json::to_value(engines).expect("JSON"), json!({"image": "a:1", "networks": {"default": {}}}));
}

#[test]
fn what_cannot_be_told_in_full_is_not_told() {
    let none = |spec: Value| told(&spec, &ImageConfig::default(), |_| {}).is_none();
    assert!(none(json!({"image": "a:1", "blkio_config": {"weight": 300}})));
    assert!(none(json!({"image": "a:1", "gpus": [{"count": -1}]})));
    let elsewhere = |made: &mut ContainerInspectResponse| {
        let networks =
            made.network_settings.as_mut().and_then(|settings| settings.networks.as_mut()).expect("networks");
        let endpoint = networks.remove("shop_default").expect("it is joined");
        networks.insert("proxy".to_owned(), endpoint);
    };
    let least = json!({"image": "a:1"});
    assert_eq!(told(&least, &ImageConfig::default(), elsewhere), None, "no file of the project has that network");
    let beside = |made: &mut ContainerInspectResponse| {
        let host = made.host_config.as_mut().expect("a host configuration");
        host.network_mode = Some(format!("container:{}", "b".repeat(64)));
    };
    assert_eq!(told(&least, &ImageConfig::default(), beside), None, "nobody knows whose network that is");
}

/// What Compose makes of `deploy.restart_policy` is no difference, though composed itself would restart a container that it makes.
#[test]
fn a_restart_policy_that_compose_left_to_the_engine_is_no_difference() {
    let nothing = Vec::<String>::new();
    let rules = json!({"delay": "5s", "window": "2m"});
    for restart in ["always", "on-failure:3", "no"] {
        let container = made(json!({"image": "a:1", "restart": restart}));
        let mut wanted = json!({"image": "a:1", "restart": restart});
        wanted["restart_policy"] = if restart == "no" { json!(null) } else { rules.clone() };
        wanted.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        assert_eq!(without_image(&container, wanted), nothing, "{restart}");
    }
    // No condition: Compose gives the engine none.
    let container = made(json!({"image": "a:1"}));
    assert_eq!(without_image(&container, json!({"image": "a:1", "restart_policy": {"max_attempts": 3}})), nothing);
}

#[test]
fn differences_are_named_and_values_that_may_be_secret_are_not_told() {
    let container = made(json!({
        "image": "shop/web:1", "environment": {"PASSWORD": "hunter2", "LOG": "a"}, "labels": {"auth": "user:hunter2"},
        "restart": "always", "ports": [{"target": 80, "published": 8080}],
    }));
    let wanted = json!({
        "image": "shop/web:2", "environment": {"PASSWORD": "hunter3", "LOG": "a"}, "networks": {"back": {}},
        "ports": [{"target": 80, "published": 8081}],
    });
    let told = without_image(&container, wanted);
    let expected = [
        "image (`shop/web:1` instead of `shop/web:2`)",
        "environment (PASSWORD)",
        "labels (auth)",
        "restart (`always` instead of `no`)",
        "ports",
        "networks (shop_back missing, shop_default too many)",
    ];
    assert_eq!(told, expected);
}

#[test]
fn what_a_document_leaves_out_is_the_images() {
    let image: ImageConfig = serde_json::from_value(json!({
        "Env": ["PATH=/bin"], "Cmd": ["serve"], "Entrypoint": ["/init"], "User": "app", "WorkingDir": "/srv",
        "Labels": {"maker": "us"}, "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/cache": {}}, "StopSignal": "SIGQUIT",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1_000_000_000},
    }))
    .expect("an image's configuration");
    let mut container = made(json!({"image": "a:1"}));
    let config = container.config.as_mut().expect("a configuration");
    (config.env, config.cmd, config.entrypoint) = (image.env.clone(), image.cmd.clone(), image.entrypoint.clone());
    (config.user, config.working_dir) = (image.user.clone(), image.working_dir.clone());
    (config.exposed_ports, config.healthcheck) = (image.exposed_ports.clone(), image.healthcheck.clone());
    config.stop_signal.clone_from(&image.stop_signal);
    config.labels.get_or_insert_default().insert("maker".to_owned(), "us".to_owned());
    let cache = json!({"Type": "volume", "Name": "0b".repeat(32), "Destination": "/cache", "RW": true});
    container.mounts = Some(vec![serde_json::from_value(cache).expect("a mount")]);
    assert_eq!(compared(&container, &image, json!({"image": "docker.io/library/a:1"})), Vec::<String>::new());
    let wanted = json!({"image": "a:1", "environment": {"PATH": "/sbin"}, "healthcheck": {"retries": 5}, "entrypoint": ["/app"]});
    let told = compared(&container, &image, wanted);
    assert_eq!(told, ["entrypoint", "command", "environment (PATH)", "healthcheck"]);
}

#[test]
fn an_image_is_the_same_by_name_or_by_id() {
    let container = made(json!({"image": "nginx"}));
    let same = |wanted: &str, id: Option<&str>| {
        let asked = asked(json!({"image": wanted}));
        let expected = expected(MINOR, &web(), &asked, &[]).expect("a creation");
        differences(&web(), &container, &ImageConfig::default(), id.map(ImageId::new).as_ref(), &expected, &asked)
            .is_empty()
    };
    assert!(same("docker.io/library/nginx:latest", None));
    assert!(same("index.docker.io/library/nginx", None));
    assert!(!same("nginx:1.27", None));
    assert!(same("nginx:1.27", Some("sha256:00")));
    assert!(!same("localhost:5000/nginx", Some("sha256:22")));
}

#[test]
fn namespaces_of_whichever_replica_of_the_service_are_no_difference() {
    let spec = json!({"image": "shop/app:1", "network_mode": "service:vpn", "pid": "service:vpn"});
    let asked = asked(spec.clone());
    let mode = |id: &str| {
        let mut container = made(json!({"image": "shop/app:1", "network_mode": "bridge"}));
        let host = container.host_config.as_mut().expect("a host configuration");
        host.network_mode = Some(format!("container:{id}"));
        host.pid_mode = Some(format!("container:{id}"));
        container
    };
    let owner = |id: &str, service: &str| JoinedNamespace {
        id: ContainerId::new(id),
        service: service.to_owned(),
        since: None,
    };
    let found = |container: &ContainerInspectResponse, owners: &[JoinedNamespace]| {
        let expected = expected(MINOR, &web(), &asked, owners).expect("a creation");
        differences(&web(), container, &ImageConfig::default(), None, &expected, &asked).join(", ")
    };
    assert_eq!(found(&mode("a1"), &[owner("a1", "vpn")]), "");
    assert_eq!(found(&mode("a2"), &[owner("a2", "vpn")]), "");
    let other = found(&mode("a1"), &[owner("a1", "db")]);
    assert!(other.contains("network_mode") && other.contains("pid"), "{other}");
    assert!(found(&made(json!({"image": "shop/app:1"})), &[]).contains("network_mode"));
}

#[test]
fn a_name_alone_takes_away_what_the_image_sets() {
    let image = ImageConfig { env: Some(vec!["LANG=C".to_owned(), "PATH=/bin".to_owned()]), ..ImageConfig::default() };
    let spec = json!({"image": "a:1", "unset_environment": ["LANG"]});
    let mut container = made(spec.clone());
    let differs = |container: &ContainerInspectResponse| compared(container, &image, spec.clone());
    container.config.as_mut().expect("a config").env = Some(vec!["LANG".to_owned(), "PATH=/bin".to_owned()]);
    assert_eq!(differs(&container), Vec::<String>::new());
    container.config.as_mut().expect("a config").env = Some(vec!["LANG=C".to_owned(), "PATH=/bin".to_owned()]);
    assert_eq!(differs(&container), ["environment (LANG)"]);
}
