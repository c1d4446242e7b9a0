//! One form for both opinions: our objects, and the JSON of `docker compose config`. What is written down here is all
//! that is overlooked.

use std::path::Path;

use crd_schema::compose::Loaded;
use crd_schema::{ByteSize, ComposeDuration, Object};
use serde_json::{Map, Value, json};

/// Our objects: sizes as numbers of bytes, CPUs as numbers, paths in full.
pub(super) fn ours(loaded: &Loaded, dir: &Path) -> Value {
    let mut all = json!({"networks": {}, "volumes": {}, "services": {}});
    for located in &loaded.objects {
        match &located.object {
            Object::Project(project) => {
                let spec = serde_json::to_value(&project.spec).unwrap();
                all["name"] = json!(project.metadata.name);
                for section in ["networks", "volumes", "rollout"] {
                    if let Some(value) = spec.get(section) {
                        all[section] = value.clone();
                    }
                }
            }
            Object::Service(service) => {
                let mut spec = serde_json::to_value(&service.spec).unwrap();
                bytes(&mut spec);
                for mount in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
                    let source = mount["source"].as_str().unwrap_or_default().to_owned();
                    if mount["type"] == "bind" && source.starts_with('.') {
                        mount["source"] = json!(whole(dir, &source));
                    }
                }
                let map = spec.as_object_mut().unwrap();
                sort_hosts(map);
                if map.get("networks") == Some(&json!({"default": {}})) {
                    map.remove("networks");
                }
                all["services"][&service.metadata.name] = spec;
            }
        }
    }
    unused(&mut all);
    all
}

/// `config` leaves out what no service uses; our controller makes only what a service uses.
fn unused(all: &mut Value) {
    let services: Vec<Value> = all["services"].as_object().unwrap().values().cloned().collect();
    let network = |key: &str| {
        services.iter().any(|service| match service["networks"].as_object() {
            Some(networks) => networks.contains_key(key),
            None => key == "default" && service["network_mode"].is_null(),
        })
    };
    let volume = |key: &str| {
        let mounts = services.iter().filter_map(|service| service["volumes"].as_array()).flatten();
        mounts.into_iter().any(|mount| mount["type"] == "volume" && mount["source"] == key)
    };
    all["networks"].as_object_mut().unwrap().retain(|key, _| network(key));
    all["volumes"].as_object_mut().unwrap().retain(|key, _| volume(key));
}

fn whole(dir: &Path, relative: &str) -> String {
    let mut path = dir.to_owned();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => drop(path.pop()),
            part => path.push(part),
        }
    }
    path.to_str().unwrap().to_owned()
}

/// `64m` is 67108864 and `0.50` is 0.5.
fn bytes(value: &mut Value) {
    const SIZES: [&str; 7] = ["mem_limit", "mem_reservation", "memswap_limit", "shm_size", "memory", "size", "rate"];
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut().filter(|(key, _)| *key != "storage_opt") {
                match value.as_str() {
                    Some(text) if SIZES.contains(&key.as_str()) => {
                        if let Ok(ByteSize(bytes)) = text.parse() {
                            *value = json!(bytes);
                        }
                    }
                    Some(text) if key == "cpus" => *value = json!(text.parse::<f64>().unwrap()),
                    _ => bytes(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bytes),
        _ => {}
    }
}

/// Their JSON in our words.
pub(super) fn theirs(mut config: Value, dir: &Path) -> Value {
    let variables = std::fs::read_to_string(dir.join(".env")).unwrap_or_default();
    let variables: Map<String, Value> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    dollars(&mut config);
    times(&mut config);
    let mut all = json!({"name": config["name"], "networks": {}, "volumes": {}, "services": {}});
    let project = config["name"].as_str().unwrap().to_owned();
    for section in ["networks", "volumes"] {
        for (key, resource) in config[section].as_object().cloned().unwrap_or_default() {
            let mut resource = resource;
            let map = resource.as_object_mut().unwrap();
            // A name that composed would choose itself.
            if map.get("name") == Some(&json!(format!("{project}_{key}"))) {
                map.remove("name");
            }
            map.retain(|_, value| *value != json!({}));
            // A default network that nobody describes is no part of our documents.
            if key != "default" || !map.is_empty() {
                all[section][&key] = resource;
            }
        }
    }
    if let Some(rollout) = config.pointer("/x-composed/rollout") {
        all["rollout"] = rollout.clone();
    }
    // `config` names the variable only.
    for section in ["configs", "secrets"] {
        for resource in config[section].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(value) = resource["environment"].as_str().and_then(|name| variables.get(name)) {
                resource["content"] = value.clone();
            }
        }
    }
    for (name, service) in config["services"].as_object().unwrap() {
        all["services"][name] = Value::Object(self::service(service.as_object().unwrap().clone(), &config));
    }
    all
}

/// `config` writes `$` as `$$`.
fn dollars(value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace("$$", "$"),
        Value::Array(items) => items.iter_mut().for_each(dollars),
        Value::Object(map) => map.values_mut().for_each(dollars),
        _ => {}
    }
}

/// Go writes `1m0s`, we write `1m`; and a whole number of CPUs is a number all the same.
fn times(value: &mut Value) {
    const TIMES: [&str; 6] = ["interval", "timeout", "start_period", "start_interval", "stop_grace_period", "monitor"];
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str().map(str::parse::<ComposeDuration>) {
                    Some(Ok(time)) if TIMES.contains(&key.as_str()) => *value = json!(time.to_string()),
                    _ if key == "cpus" => *value = json!(value.as_f64().unwrap()),
                    _ => times(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(times),
        _ => {}
    }
}

fn service(mut service: Map<String, Value>, config: &Value) -> Map<String, Value> {
    service.retain(|_, value| !value.is_null());
    // What is for other programs, files that are merged already, and links, which are in `depends_on` as well.
    for key in ["attach", "develop", "label_file", "links", "profiles"] {
        service.remove(key);
    }
    if let Some(environment) = service.get_mut("environment").and_then(Value::as_object_mut) {
        // `NAME: null` is a name that the container does not get, also of its image.
        let unset: Vec<Value> =
            environment.iter().filter(|(_, value)| value.is_null()).map(|(name, _)| json!(name)).collect();
        environment.retain(|_, value| !value.is_null());
        if !unset.is_empty() {
            service.insert("unset_environment".to_owned(), json!(unset));
        }
    }
    networks(&mut service);
    ports(&mut service);
    mounts(&mut service, config);
    for dependency in service.get_mut("depends_on").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
    {
        dependency.as_object_mut().unwrap().retain(|key, value| !(key == "required" && *value == json!(true)));
    }
    for hosts in service.get_mut("extra_hosts").and_then(Value::as_array_mut).into_iter().flatten() {
        *hosts = json!(hosts.as_str().unwrap().replacen('=', ":", 1));
    }
    sort_hosts(&mut service);
    for limit in service.get_mut("ulimits").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if let Some(both) = limit.as_i64() {
            *limit = json!({"soft": both, "hard": both});
        }
    }
    for key in ["mem_limit", "mem_reservation", "memswap_limit", "shm_size", "mem_swappiness"] {
        number(service.get_mut(key));
    }
    if let Some(blkio) = service.get_mut("blkio_config").and_then(Value::as_object_mut) {
        // `config` has Go's names of these.
        for device in blkio.values_mut().filter_map(Value::as_array_mut).flatten().filter_map(Value::as_object_mut) {
            *device = std::mem::take(device).into_iter().map(|(key, value)| (key.to_lowercase(), value)).collect();
            number(device.get_mut("rate"));
        }
    }
    if let Some(scale) = service.remove("scale") {
        service.insert("replicas".into(), scale);
    }
    deploy(&mut service);
    service
}

/// `config` writes them in the order of their names.
fn sort_hosts(service: &mut Map<String, Value>) {
    if let Some(hosts) = service.get_mut("extra_hosts").and_then(Value::as_array_mut) {
        hosts.sort_by_key(|host| host.as_str().unwrap().to_owned());
    }
}

fn number(value: Option<&mut Value>) {
    if let Some(value) = value
        && let Some(number) = value.as_str().and_then(|text| text.parse::<i64>().ok())
    {
        *value = json!(number);
    }
}

fn networks(service: &mut Map<String, Value>) {
    if service.get("networks") == Some(&json!({"default": null})) {
        service.remove("networks");
    }
    for attachment in service.get_mut("networks").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if attachment.is_null() {
            *attachment = json!({});
        }
    }
}

fn ports(service: &mut Map<String, Value>) {
    for port in service.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let port = port.as_object_mut().unwrap();
        number(port.get_mut("published"));
        // Defaults, which we do not write.
        port.retain(|key, value| {
            !(key == "protocol" && *value == json!("tcp") || key == "mode" && *value == json!("ingress"))
        });
    }
}

fn mounts(service: &mut Map<String, Value>, config: &Value) {
    let mut mounts = service.remove("volumes").and_then(|mounts| mounts.as_array().cloned()).unwrap_or_default();
    for mount in &mut mounts {
        let mount = mount.as_object_mut().unwrap();
        if let Some(bind) = mount.get_mut("bind").and_then(Value::as_object_mut) {
            bind.entry("create_host_path").or_insert(json!(true));
        }
        number(mount.get_mut("tmpfs").and_then(|tmpfs| tmpfs.get_mut("size")));
        mount.retain(|_, value| *value != json!({}));
    }
    // We mount the files of configs and secrets read-only and put texts into the container, as `docker compose up` does.
    let mut files = Vec::new();
    for (section, below) in [("configs", ""), ("secrets", "/run/secrets")] {
        for item in service.remove(section).and_then(|items| items.as_array().cloned()).unwrap_or_default() {
            let source = item["source"].as_str().unwrap();
            let target = item["target"].as_str().unwrap_or(source);
            let target = if target.starts_with('/') { target.to_owned() } else { format!("{below}/{target}") };
            let resource = &config[section][source];
            if resource.get("file").is_none() {
                let mut file = json!({"path": target, "content": resource["content"]});
                for key in ["uid", "gid"] {
                    if let Some(number) = item[key].as_str() {
                        file[key] = json!(number.parse::<u32>().unwrap());
                    }
                }
                if let Some(mode) = item["mode"].as_str() {
                    file["mode"] =
                        json!(format!("{:#o}", u32::from_str_radix(mode.trim_start_matches("0o"), 8).unwrap()));
                }
                files.push(file);
                continue;
            }
            mounts.push(json!({
                "type": "bind",
                "source": config[section][source]["file"],
                "target": target,
                "read_only": true,
                "bind": {"create_host_path": false},
            }));
        }
    }
    if !files.is_empty() {
        service.insert("files".into(), Value::Array(files));
    }
    if !mounts.is_empty() {
        service.insert("volumes".into(), Value::Array(mounts));
    }
}

fn deploy(service: &mut Map<String, Value>) {
    let Some(Value::Object(mut deploy)) = service.remove("deploy") else { return };
    if let Some(replicas) = deploy.remove("replicas") {
        service.insert("replicas".into(), replicas);
    } else if deploy.get("mode") == Some(&json!("global")) {
        service.insert("replicas".into(), json!(1));
    }
    if let Some(policy) = deploy.remove("restart_policy") {
        let time = |key: &&str| {
            let written: ComposeDuration = policy.get(*key)?.as_str()?.parse().ok()?;
            Some(((*key).to_owned(), json!(written.to_string())))
        };
        let rules: Map<_, _> = ["delay", "window"].iter().filter_map(time).collect();
        if !rules.is_empty() && policy["condition"] != "none" {
            service.insert("restart_policy".into(), Value::Object(rules));
        }
        let restart = match (policy["condition"].as_str().unwrap(), policy.get("max_attempts")) {
            ("any", None) => "always".to_owned(),
            ("none", None) => "no".to_owned(),
            (condition, Some(attempts)) => format!("{condition}:{attempts}"),
            (condition, None) => condition.to_owned(),
        };
        service.insert("restart".into(), json!(restart));
    }
    if let Some(update) = deploy.remove("update_config") {
        let mut rollout = json!({"order": update["order"], "failure_action": update["failure_action"]});
        let parallel = if update["order"] == "stop-first" { "max_unavailable" } else { "max_surge" };
        rollout[parallel] = if update["parallelism"] == 0 { json!("100%") } else { update["parallelism"].clone() };
        // The longer one; in the corpus that is always `monitor`.
        rollout["min_ready"] = update["monitor"].clone();
        rollout.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        service.insert("rollout".into(), rollout);
    }
    let mut resources = deploy.remove("resources").unwrap_or_default();
    for part in ["limits", "reservations"] {
        number(resources.get_mut(part).and_then(|part| part.get_mut("memory")));
    }
    if resources.as_object().is_some_and(|resources| !resources.is_empty()) {
        service.insert("deploy".into(), json!({"resources": resources}));
    }
}
