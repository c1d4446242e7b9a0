//! From `traefik.*` labels to Traefik's dynamic configuration, as its Docker provider reads them: the words of a label
//! are a path into a tree, services get the addresses of those who serve, routers their service. Pure. Source: Traefik
//! `pkg/provider/docker/config.go` and `pkg/config/label`.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::ServiceName;

/// The labels of a container.
pub(super) type Labels = BTreeMap<String, String>;

/// A service, as Traefik is to know it.
pub(super) struct Service {
    pub(super) name: ServiceName,
    pub(super) labels: Labels,
    /// Of each replica that serves its address on each network, and its endpoints.
    pub(super) replicas: Vec<(BTreeMap<String, String>, Vec<String>)>,
    /// While a revision is on trial, the weight of each replica.
    pub(super) weights: Option<Vec<u32>>,
}

/// Whether these labels are for Traefik at all.
pub(super) fn concerns(labels: &Labels) -> bool {
    let enabled = |value: &String| !value.trim().eq_ignore_ascii_case("false");
    labels.keys().any(|key| key.to_lowercase().starts_with("traefik."))
        && label(labels, "traefik.enable").is_none_or(enabled)
}

/// The whole configuration.
pub(super) fn dynamic(services: &[Service]) -> Value {
    let mut root = Map::new();
    for service in services.iter().filter(|service| concerns(&service.labels)) {
        let mut own = Map::new();
        for (key, value) in &service.labels {
            let words: Vec<&str> = key.split('.').collect();
            let [first, kind, rest @ ..] = words.as_slice() else { continue };
            let kind = kind.to_lowercase();
            if first.eq_ignore_ascii_case("traefik") && ["http", "tcp", "udp", "tls"].contains(&kind.as_str()) {
                put(own.entry(kind).or_insert_with(|| json!({})), rest, value);
            }
        }
        for kind in ["http", "tcp", "udp"] {
            if kind == "http" || own.contains_key(kind) {
                complete(&mut own, kind, service);
            }
        }
        merge(&mut root, own);
    }
    Value::Object(root)
}

/// `["routers", "shop", "rule"]` -> `{"routers": {"shop": {"rule": value}}}`; `domains[0]` is a place in a list.
fn put(tree: &mut Value, words: &[&str], value: &str) {
    let Some((word, rest)) = words.split_first() else {
        *tree = Value::String(value.to_owned());
        return;
    };
    let (word, index) = match word.split_once('[') {
        Some((word, index)) => (word, index.trim_end_matches(']').parse::<usize>().ok().filter(|index| *index < 100)),
        None => (*word, None),
    };
    if !tree.is_object() {
        *tree = json!({});
    }
    let Some(map) = tree.as_object_mut() else { return };
    let mut place = map.entry(word.to_owned()).or_insert(Value::Null);
    if let Some(index) = index {
        if !place.is_array() {
            *place = json!([]);
        }
        let Some(list) = place.as_array_mut() else { return };
        while list.len() <= index {
            list.push(Value::Null);
        }
        let Some(at) = list.get_mut(index) else { return };
        place = at;
    }
    put(place, rest, value);
}

/// Services with the servers of this one, and routers that know their service.
fn complete(own: &mut Map<String, Value>, kind: &str, service: &Service) {
    let default_name = format!("{}-{}", service.name.name, service.name.project);
    let Some(section) = own.entry(kind).or_insert_with(|| json!({})).as_object_mut() else { return };
    let named = ["routers", "services", "middlewares"].iter().any(|part| find(section, part).is_some());
    if kind != "http" && !named {
        return;
    }
    let services = object(section, "services");
    if services.is_empty() {
        services.insert(default_name.clone(), json!({}));
    }
    for (_, one) in services.iter_mut() {
        let Some(one) = one.as_object_mut() else { continue };
        // A weighted or mirroring service names others.
        if one.keys().any(|key| !key.eq_ignore_ascii_case("loadbalancer")) {
            continue;
        }
        let balancer = object(one, "loadBalancer");
        let server = take(balancer, "server").unwrap_or(Value::Null);
        let asked = |key: &str| server.as_object().and_then(|server| find(server, key)?.as_str().map(str::to_owned));
        let port = asked("port").or_else(|| lowest_port(service));
        let network = label(&service.labels, "traefik.docker.network");
        let hosts = service.replicas.iter().filter_map(|(addresses, _)| {
            let named = network.and_then(|network| addresses.get(network));
            let (address, port) = (named.or_else(|| addresses.values().next())?, port.as_ref()?);
            Some(if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") })
        });
        let servers: Vec<Value> = match kind {
            "http" => {
                let scheme = asked("scheme").unwrap_or_else(|| "http".to_owned());
                let mut weights = service.weights.iter().flatten();
                let server = |host: String| {
                    let url = format!("{scheme}://{host}");
                    weights
                        .next()
                        .map_or_else(|| json!({ "url": url }), |weight| json!({ "url": url, "weight": weight }))
                };
                hosts.map(server).collect()
            }
            _ => hosts.map(|host| json!({ "address": host })).collect(),
        };
        balancer.insert("servers".to_owned(), Value::Array(servers));
    }
    let only =
        Some(services).filter(|services| services.len() == 1).and_then(|services| services.keys().next().cloned());
    let routers = object(section, "routers");
    if routers.is_empty() && kind == "http" {
        routers.insert(default_name.clone(), json!({ "rule": format!("Host(`{default_name}`)") }));
    }
    for (_, router) in routers.iter_mut() {
        let Some(router) = router.as_object_mut() else { continue };
        if find(router, "service").is_none()
            && let Some(only) = &only
        {
            router.insert("service".to_owned(), Value::String(only.clone()));
        }
        if kind == "http" && find(router, "rule").is_none() {
            router.insert("rule".to_owned(), Value::String(format!("Host(`{default_name}`)")));
        }
    }
    if routers.is_empty() {
        section.remove("routers");
    }
}

/// The lowest TCP port that it listens on, as Traefik takes where no label names one.
fn lowest_port(service: &Service) -> Option<String> {
    let (addresses, endpoints) = service.replicas.first()?;
    let inside = endpoints.iter().filter_map(|endpoint| endpoint.rsplit_once(':'));
    let own = inside.filter(|(host, _)| addresses.values().any(|address| address == host));
    own.filter_map(|(_, port)| port.parse::<u16>().ok()).min().map(|port| port.to_string())
}

fn label<'a>(labels: &'a Labels, wanted: &str) -> Option<&'a String> {
    labels.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

fn find<'a>(map: &'a Map<String, Value>, wanted: &str) -> Option<&'a Value> {
    map.iter().find(|(key, _)| key.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
}

fn take(map: &mut Map<String, Value>, wanted: &str) -> Option<Value> {
    let key = map.keys().find(|key| key.eq_ignore_ascii_case(wanted)).cloned()?;
    map.remove(&key)
}

/// The map under this key, whatever its case; an empty one if there is none.
fn object<'a>(map: &'a mut Map<String, Value>, wanted: &str) -> &'a mut Map<String, Value> {
    let there = take(map, wanted).filter(Value::is_object).unwrap_or_else(|| json!({}));
    let place = map.entry(wanted.to_owned()).or_insert(there);
    place.as_object_mut().expect("an object was put there")
}

/// What several services say of one thing becomes one thing; the first word counts.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(there)), Value::Object(more)) => merge(there, more),
            (Some(_), _) => {}
            (None, value) => drop(into.insert(key, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(labels: &[(&str, &str)]) -> Service {
        let replica = |number: u8| {
            let addresses = [("shop_back", format!("10.1.0.{number}")), ("shop_front", format!("10.2.0.{number}"))];
            let addresses: BTreeMap<_, _> = addresses.map(|(network, ip)| (network.to_owned(), ip)).into();
            let endpoints = addresses.values().flat_map(|ip| [format!("{ip}:9090"), format!("{ip}:8080")]).collect();
            (addresses, endpoints)
        };
        Service {
            name: ServiceName::new("shop", "web"),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            replicas: vec![replica(1), replica(2)],
            weights: None,
        }
    }

    #[test]
    fn labels_become_what_traefiks_docker_provider_makes_of_them() {
        let web = service(&[
            ("traefik.enable", "true"),
            ("traefik.docker.network", "shop_front"),
            ("traefik.http.routers.shop.rule", "Host(`shop.example`)"),
            ("traefik.http.routers.shop.entrypoints", "web,websecure"),
            ("traefik.http.routers.shop.tls.domains[0].main", "shop.example"),
            ("traefik.http.services.shop.loadbalancer.server.port", "3000"),
            ("traefik.http.services.shop.loadbalancer.sticky.cookie", "true"),
            ("traefik.http.middlewares.short.stripprefix.prefixes", "/api"),
            ("com.example.other", "1"),
        ]);
        let made = dynamic(&[web]);
        let wanted = json!({"http": {
            "routers": {"shop": {
                "rule": "Host(`shop.example`)", "entrypoints": "web,websecure", "service": "shop",
                "tls": {"domains": [{"main": "shop.example"}]},
            }},
            "services": {"shop": {"loadBalancer": {
                "sticky": {"cookie": "true"},
                "servers": [{"url": "http://10.2.0.1:3000"}, {"url": "http://10.2.0.2:3000"}],
            }}},
            "middlewares": {"short": {"stripprefix": {"prefixes": "/api"}}},
        }});
        assert_eq!(made, wanted, "{made:#}");
    }

    #[test]
    fn without_more_labels_there_are_traefiks_defaults() {
        let made = dynamic(&[service(&[("traefik.enable", "true")])]);
        let wanted = json!({"http": {
            "routers": {"web-shop": {"rule": "Host(`web-shop`)", "service": "web-shop"}},
            "services": {"web-shop": {"loadBalancer": {
                "servers": [{"url": "http://10.1.0.1:8080"}, {"url": "http://10.1.0.2:8080"}],
            }}},
        }});
        assert_eq!(made, wanted, "{made:#}");
    }

    #[test]
    fn tcp_has_addresses_and_strangers_are_left_out() {
        let tcp = service(&[
            ("traefik.tcp.routers.db.rule", "HostSNI(`*`)"),
            ("traefik.tcp.services.db.loadbalancer.server.port", "5432"),
        ]);
        let made = dynamic(&[tcp, service(&[("a", "b")]), service(&[("traefik.enable", "false")])]);
        let servers = json!([{"address": "10.1.0.1:5432"}, {"address": "10.1.0.2:5432"}]);
        assert_eq!(made["tcp"]["services"]["db"]["loadBalancer"]["servers"], servers);
        assert_eq!(made["tcp"]["routers"]["db"]["service"], "db");
        assert_eq!(dynamic(&[service(&[("traefik.enable", "False")])]), json!({}));
    }

    #[test]
    fn wild_labels_do_no_harm() {
        for key in ["traefik.", "traefik.http", "traefik.http.", "traefik.http.a[999999999].b", "traefik.http.routers"]
        {
            drop(dynamic(&[service(&[(key, "x"), ("traefik.http.services", "y")])]));
        }
    }
}
