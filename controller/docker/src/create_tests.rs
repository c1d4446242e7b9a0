//! The mapping of every key of a specification, from `golden/spec.json` to `golden/body.json` (`COMPOSED_GOLDEN=1`
//! writes it anew), and its refusals.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::engine::{ActionContext, EngineError};
use composed_core::model::ServiceName;
use composed_core::plan::action::{Blueprint, Target};
use crd_schema::{ContainerId, ImageId, Network, NetworkName, Revision, ServiceSpec, Volume, VolumeName};
use serde_json::{Value, json};

use super::create::{Creation, creation};
use super::target_engine::Engine;

/// Every key, and what it says.
fn every_key() -> Value {
    serde_json::from_str(include_str!("golden/spec.json")).expect("JSON")
}

fn spec(json: Value) -> ServiceSpec {
    serde_json::from_value(json).expect("a specification")
}

fn print(spec: ServiceSpec) -> Blueprint {
    let service = ServiceName::new("shop", "web");
    Blueprint {
        name: service.container(2),
        service,
        hook: None,
        number: 2,
        revision: Revision::new("5f0c"),
        generation: 12,
        spec: spec.into(),
        volumes: BTreeMap::new(),
        joins: BTreeMap::new(),
        image: None,
    }
}

fn context() -> ActionContext {
    let network = |key: &str| (key.to_owned(), (NetworkName::new(format!("shop_{key}")), Network::default()));
    ActionContext {
        project: "shop".to_owned(),
        networks: ["back", "front"].map(network).into(),
        volumes: [("data".to_owned(), (VolumeName::new("shop_data"), Volume::default()))].into(),
        ..ActionContext::default()
    }
}

fn made(spec: ServiceSpec, minor: usize) -> Result<Creation, EngineError> {
    creation(
        &print(spec),
        &context(),
        Engine { minor, instance: "default", image_id: Some(&ImageId::new("sha256:00")) },
    )
}

fn body(spec: ServiceSpec, minor: usize) -> Value {
    serde_json::to_value(made(spec, minor).expect("a creation").body).expect("JSON")
}

fn minimal(changes: Value) -> ServiceSpec {
    let mut json = json!({"image": "a:1"});
    if let (Some(all), Value::Object(changes)) = (json.as_object_mut(), changes) {
        all.extend(changes);
    }
    spec(json)
}

#[test]
fn every_key_reaches_the_engine() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/golden/body.json");
    let now = body(spec(every_key()), 53);
    if std::env::var_os("COMPOSED_GOLDEN").is_some() {
        let text = serde_json::to_string_pretty(&now).expect("JSON") + "\n";
        std::fs::write(file, text).expect("write the golden file");
    }
    let golden: Value =
        std::fs::read_to_string(file).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let advice = "if that is meant: COMPOSED_GOLDEN=1 cargo test every_key, and read the difference";
    assert_eq!(now, golden, "{advice}");
    assert_eq!(made(spec(every_key()), 53).map(|made| made.platform).ok().as_deref(), Some("linux/amd64"));
}

/// So that a key added to the schema is mapped, too: the document above must use all of them.
#[test]
fn the_document_has_every_key_of_the_schema() {
    let schema = crd_schema::schema();
    let properties = find(&schema, "ServiceSpec").and_then(|spec| spec["properties"].as_object()).expect("ServiceSpec");
    let known: BTreeSet<&String> = properties.keys().collect();
    let document = every_key();
    let mut used: BTreeSet<&String> = document.as_object().expect("an object").keys().collect();
    let network_mode = "network_mode".to_owned(); // excludes `networks`; has a test of its own
    used.insert(&network_mode);
    let front = "front".to_owned(); // takes ports and names away; has a test of its own
    used.insert(&front);
    let traffic = "traffic".to_owned(); // the controller's own
    used.insert(&traffic);
    let paused = "paused".to_owned(); // the controller's own
    used.insert(&paused);
    let post_start = "post_start".to_owned(); // run after the start; has tests of its own
    used.insert(&post_start);
    let files = "files".to_owned(); // put there after the creation; has a test of its own
    used.insert(&files);
    let hooks = "hooks".to_owned(); // containers of their own; have tests of their own
    used.insert(&hooks);
    let restart_policy = "restart_policy".to_owned(); // the controller's own
    used.insert(&restart_policy);
    let update = "update".to_owned(); // the controller's own
    used.insert(&update);
    assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&&String>::new());
}

#[test]
fn what_is_put_into_a_container_is_in_no_label() {
    let files =
        json!({"files": [{"path": "/run/secrets/token", "content": "hunter2"}, {"path": "/b", "content": "c"}]});
    let body = body(minimal(files), 44);
    assert!(!body.to_string().contains("hunter2") && !body.to_string().contains("/run/secrets"), "{body}");
    assert_eq!(body["Labels"]["dev.composed.put"], "2");
}

#[test]
fn a_front_takes_host_ports_names_and_addresses_away_and_leaves_the_rest() {
    let keys = json!({
        "ports": [{"target": 80, "published": 8080}],
        "networks": {"front": {"aliases": ["shop"], "ipv4_address": "10.0.0.2"}, "back": {}},
        "front": "http",
    });
    let body = body(minimal(keys), 44);
    assert_eq!(body["ExposedPorts"], json!({"80/tcp": {}}));
    assert_eq!(body["HostConfig"]["PortBindings"], Value::Null);
    assert_eq!(body["NetworkingConfig"]["EndpointsConfig"], json!({"shop_front": {}, "shop_back": {}}));
}

#[test]
fn files_wait_in_a_label_for_the_start() {
    let file = json!({"path": "/etc/a", "content": "b"});
    let body = body(minimal(json!({"generated": {"front_of": "web", "files": [file]}})), 41);
    let label = body["Labels"]["dev.composed.files"].as_str().expect("a label");
    assert_eq!(serde_json::from_str::<Value>(label).expect("JSON"), json!([file]));
}

fn find<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.as_object()?.iter().find_map(|(key, value)| if key == name { Some(value) } else { find(value, name) })
}

#[test]
fn nothing_said_is_nothing_sent() {
    let mut body = body(minimal(json!({})), 41);
    body["Labels"] = Value::Null;
    let endpoint = json!({"Aliases": ["web"]});
    assert_eq!(
        body,
        json!({
            "Image": "a:1",
            "Labels": null,
            "HostConfig": {"NetworkMode": "shop_default"},
            "NetworkingConfig": {"EndpointsConfig": {"shop_default": endpoint}},
        })
    );
}

#[test]
fn a_network_mode_stands_for_all_networks() {
    for mode in ["none", "host", "bridge"] {
        let body = body(minimal(json!({"network_mode": mode})), 41);
        assert_eq!(body["HostConfig"]["NetworkMode"], mode);
        assert_eq!(body["NetworkingConfig"], Value::Null);
    }
}

#[test]
fn namespaces_of_a_service_are_those_of_its_replica() {
    let spec = minimal(json!({"network_mode": "service:vpn", "ipc": "service:vpn", "pid": "service:db"}));
    let target = |id: &str| Target { id: ContainerId::new(id), name: format!("shop-{id}-1") };
    let joins = [("vpn".to_owned(), target("a1")), ("db".to_owned(), target("b2"))].into();
    let engine = Engine { minor: 41, instance: "main", image_id: None };
    let made = creation(&Blueprint { joins, ..print(spec.clone()) }, &context(), engine).expect("a creation");
    let host = serde_json::to_value(made.body).expect("JSON")["HostConfig"].take();
    let modes = [&host["NetworkMode"], &host["IpcMode"], &host["PidMode"]];
    assert_eq!(modes, ["container:a1", "container:a1", "container:b2"]);
    assert!(creation(&print(spec), &context(), engine).is_err(), "no replica is named");
}

#[test]
fn an_old_engine_joins_one_network_first_and_the_others_later() {
    let networks = json!({"networks": {"back": {}, "front": {"priority": 1}}});
    let made = made(minimal(networks), 41).expect("a creation");
    assert_eq!(made.later.keys().collect::<Vec<_>>(), ["shop_back"]);
    let body = serde_json::to_value(made.body).expect("JSON");
    assert_eq!(body["HostConfig"]["NetworkMode"], "shop_front");
    let noted = body["Labels"]["dev.composed.endpoints"].as_str().expect("the label");
    assert_eq!(noted, r#"{"shop_back":{"Aliases":["web"]}}"#);
}

#[test]
fn lists_that_clear_and_checks_that_are_off() {
    let cleared = body(minimal(json!({"entrypoint": [], "healthcheck": {"disable": true}})), 41);
    assert_eq!(cleared["Entrypoint"], json!([""]));
    assert_eq!(cleared["Healthcheck"], json!({"Test": ["NONE"]}));
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    let table = [
        (json!({"annotations": {"a": "b"}}), "annotations"),
        (json!({"healthcheck": {"test": ["CMD", "a"], "start_interval": "1s"}}), "start_interval"),
        (
            json!({"volumes": [{"type": "volume", "source": "data", "target": "/a", "volume": {"subpath": "x"}}]}),
            "subpath",
        ),
        (json!({"networks": {"back": {"mac_address": "02:00:00:00:00:02"}, "front": {"priority": 1}}}), "mac_address"),
        (json!({"networks": {"nowhere": {}}}), "nowhere"),
        (json!({"volumes": [{"type": "volume", "source": "nowhere", "target": "/a"}]}), "nowhere"),
        (
            json!({"volumes": [{"type": "bind", "source": "/a:b", "target": "/a", "bind": {"create_host_path": true}}]}),
            "colon",
        ),
        (json!({"volumes": [{"type": "bind", "source": "/a:b", "target": "/a", "bind": {"selinux": "z"}}]}), "colon"),
        (json!({"network_mode": "container:x"}), "network_mode"),
        (json!({"network_mode": "host", "mac_address": "02:00:00:00:00:02"}), "mac_address"),
        (json!({"cgroup": "x"}), "cgroup"),
        (json!({"expose": ["http"]}), "expose"),
        (json!({"labels": {"com.docker.compose.project": "x"}}), "com.docker.compose.project"),
    ];
    for (changes, word) in table {
        let text = changes.to_string();
        let refused = made(minimal(changes), 41).err();
        let named =
            matches!(&refused, Some(EngineError::Rejected { message, name_taken: false }) if message.contains(word));
        assert!(named, "{text}: {refused:?}");
    }
}
