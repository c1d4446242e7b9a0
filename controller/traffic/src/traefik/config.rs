//! From `traefik.*` labels to Traefik's dynamic configuration, as its Docker provider reads them: the words of a label
//! are a path into a tree, services get the addresses of those who serve, routers their service. What Traefik would not
//! take is left out, definition by definition, since it would refuse everybody's configuration for it. Pure. Source: Traefik
//! `pkg/provider/docker/config.go` and `pkg/config/label`.

use std::collections::{BTreeMap, BTreeSet};

use composed_core::model::ServiceName;
use serde_json::{Map, Value, json};

use super::names::{Claims, Definition, join};
use super::schema;
use super::service::{Labels, Service};

/// A service with more labels for Traefik is left out.
const MAX_LABELS: usize = 1000;
/// And one whose labels for Traefik are longer than this together.
const MAX_BYTES: usize = 256 << 10;
/// What all services say together; a service for which there is no room is left out.
const MAX_SUM: usize = 16 << 20;
/// So much is told of what is wrong with one service's labels.
const MAX_TOLD: usize = 5;

/// What came of the labels of all services.
pub(super) struct Rendered {
    pub(super) config: Value,
    /// What was left out of it, and why, without any values.
    pub(super) problems: BTreeMap<ServiceName, Vec<String>>,
}

/// Whether these labels are for Traefik at all.
pub(super) fn concerns(labels: &Labels) -> bool {
    let enabled = |value: &String| !value.trim().eq_ignore_ascii_case("false");
    labels.keys().any(|key| key.to_lowercase().starts_with("traefik."))
        && label(labels, "traefik.enable").is_none_or(enabled)
}

/// What Traefik would not take of these labels; empty if it takes all.
pub(super) fn problems(labels: &Labels) -> Vec<String> {
    if concerns(labels) { read(labels).problems } else { Vec::new() }
}

/// What the labels of one container say.
#[derive(Default)]
struct Read {
    tree: Map<String, Value>,
    /// What must not be told to Traefik, or not as it is.
    bad: BTreeSet<Definition>,
    problems: Vec<String>,
    /// It says more than is read.
    is_too_much: bool,
}

fn read(labels: &Labels) -> Read {
    let mut read = Read::default();
    let own = |(key, _): &(&String, &String)| {
        let mut words = key.splitn(3, '.').map(str::to_ascii_lowercase);
        let kind = words.nth(1);
        let is_kind = |kind: &str| ["http", "tcp", "udp", "tls"].contains(&kind);
        key.get(..8).is_some_and(|first| first.eq_ignore_ascii_case("traefik."))
            && kind.is_some_and(|kind| is_kind(&kind))
    };
    let own: Vec<_> = labels.iter().filter(own).collect();
    let bytes = own.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    if own.len() > MAX_LABELS || bytes > MAX_BYTES {
        let much = format!("{} labels of {bytes} bytes", own.len());
        read.problems.push(format!("it has {much} for Traefik, more than {MAX_LABELS} of {MAX_BYTES} bytes"));
        read.is_too_much = true;
        return read;
    }
    let mut untold = 0_usize;
    for (key, value) in own {
        // The first word is `traefik`.
        let words: Vec<&str> = key.split('.').skip(1).collect();
        let Err(why) = schema::put(&mut read.tree, &words, value) else { continue };
        if let [section, part, name, ..] = words.as_slice() {
            read.bad.insert(Definition::new(section, part, name));
        }
        if read.problems.len() < MAX_TOLD {
            let key: String = key.chars().take(120).filter(|c| !c.is_control()).collect();
            read.problems.push(format!("its label `{key}` is nothing that Traefik takes: {why}"));
        } else {
            untold += 1;
        }
    }
    if untold > 0 {
        read.problems.push(format!("and {untold} more labels"));
    }
    read.tree.values_mut().for_each(schema::close_gaps);
    // What follows must know that there is one, although Traefik is not told of it.
    for Definition { section, part, name } in &read.bad {
        let parts = object(&mut read.tree, section);
        if ["routers", "services", "middlewares", "stores"].contains(&part.as_str()) {
            object(parts, part).entry(name.clone()).or_insert_with(|| json!({}));
        }
    }
    read
}

/// The whole configuration. `claims` says whose a name is that several projects have.
pub(super) fn dynamic(services: &[Service], claims: &mut Claims) -> Rendered {
    let mut problems: BTreeMap<ServiceName, Vec<String>> = BTreeMap::new();
    let mut told: BTreeMap<Definition, Vec<(&Service, Value)>> = BTreeMap::new();
    // Those that were there before a newcomer.
    let (there, new): (Vec<_>, Vec<_>) = services.iter().partition(|service| claims.was_told(&service.name));
    let mut sum = 0;
    let mut all = BTreeSet::new();
    for service in there.into_iter().chain(new).filter(|service| concerns(&service.labels)) {
        let Read { tree: mut own, bad, problems: wrong, is_too_much } = read(&service.labels);
        if !wrong.is_empty() {
            problems.entry(service.name.clone()).or_default().extend(wrong);
        }
        if is_too_much {
            continue;
        }
        for kind in ["http", "tcp", "udp"] {
            if kind == "http" || own.contains_key(kind) {
                complete(&mut own, kind, service);
            }
        }
        let size = Value::Object(own.clone()).to_string().len();
        if sum + size > MAX_SUM {
            let why = format!("Traefik's configuration of all services would be longer than {MAX_SUM} bytes");
            problems.entry(service.name.clone()).or_default().push(why);
            continue;
        }
        sum += size;
        all.insert(service.name.clone());
        for (section, parts) in own {
            for (part, names) in parts.as_object().into_iter().flatten() {
                for (name, value) in names.as_object().into_iter().flatten() {
                    let definition = Definition::new(&section, part, name);
                    // A name stays whose it is, though nothing of it is told.
                    let value = if bad.contains(&definition) { Value::Null } else { value.clone() };
                    told.entry(definition).or_default().push((service, value));
                }
            }
        }
    }
    claims.tell(all);
    let mut root = Map::new();
    for (definition, said) in claims.settle(told, &mut problems) {
        let said: Vec<_> = said.into_iter().filter(|(_, value)| !value.is_null()).collect();
        if said.is_empty() {
            continue;
        }
        let names: Vec<_> = said.iter().map(|(service, _)| service.name.clone()).collect();
        let values = said.into_iter().map(|(_, value)| value);
        // A section without anything in it would be refused.
        if let Some(value) = join(&definition.part, values) {
            let parts = object(&mut root, &definition.section);
            object(parts, &definition.part).insert(definition.name, value);
            continue;
        }
        let who: Vec<_> = names.iter().map(|name| name.name.as_str()).collect();
        let why = format!("{definition} is defined differently by {}: Traefik takes none", who.join(", "));
        for name in names {
            problems.entry(name).or_default().push(why.clone());
        }
    }
    Rendered { config: Value::Object(root), problems }
}

/// Services with the servers of this one, and routers that know their service.
fn complete(own: &mut Map<String, Value>, kind: &str, service: &Service) {
    let default_name = format!("{}-{}", service.name.name, service.name.project);
    let section = object(own, kind);
    if kind != "http" && section.is_empty() {
        return;
    }
    let services = object(section, "services");
    if services.is_empty() {
        services.insert(default_name.clone(), json!({}));
    }
    for one in services.values_mut().filter_map(Value::as_object_mut) {
        // One that names others has no servers.
        if ["weighted", "mirroring", "failover"].iter().any(|other| one.contains_key(*other)) {
            continue;
        }
        let balancer = object(one, "loadBalancer");
        let server = balancer.remove("server").unwrap_or(Value::Null);
        balancer.insert("servers".to_owned(), Value::Array(servers(kind, service, &server)));
    }
    let only =
        Some(services).filter(|services| services.len() == 1).and_then(|services| services.keys().next().cloned());
    let routers = object(section, "routers");
    if routers.is_empty() && kind == "http" {
        routers.insert(default_name.clone(), json!({ "rule": format!("Host(`{default_name}`)") }));
    }
    for router in routers.values_mut().filter_map(Value::as_object_mut) {
        if let Some(only) = &only {
            router.entry("service").or_insert_with(|| Value::String(only.clone()));
        }
        if kind == "http" {
            router.entry("rule").or_insert_with(|| Value::String(format!("Host(`{default_name}`)")));
        }
    }
}

/// The servers of one, by what its labels say of each: `server` with its port, scheme and the like.
fn servers(kind: &str, service: &Service, server: &Value) -> Vec<Value> {
    let asked = |key: &str| server.get(key).and_then(Value::as_str).map(str::to_owned);
    let port = asked("port").or_else(|| lowest_port(service));
    let network = label(&service.labels, "traefik.docker.network");
    let mut weights = service.weights.iter().flatten();
    let mut all = Vec::new();
    for (addresses, _) in &service.replicas {
        let named = network.and_then(|network| addresses.get(network.as_str())).or_else(|| addresses.values().next());
        let Some((address, port)) = named.zip(port.as_ref()) else { continue };
        let host = if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") };
        let mut one = Map::new();
        if kind == "http" {
            let scheme = asked("scheme").unwrap_or_else(|| "http".to_owned());
            one.insert("url".to_owned(), Value::String(format!("{scheme}://{host}")));
            let weight = weights.next().map(|weight| json!(weight)).or_else(|| server.get("weight").cloned());
            one.extend(weight.map(|weight| ("weight".to_owned(), weight)));
            one.extend(server.get("preservePath").map(|value| ("preservePath".to_owned(), value.clone())));
        } else {
            one.insert("address".to_owned(), Value::String(host));
            one.extend(server.get("tls").map(|value| ("tls".to_owned(), value.clone())));
        }
        all.push(Value::Object(one));
    }
    all
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

/// The map under this key; an empty one if there is none.
pub(super) fn object<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let place = map.entry(key.to_owned()).or_insert(Value::Null);
    if !place.is_object() {
        *place = json!({});
    }
    place.as_object_mut().expect("an object was put there")
}

/// The configuration as a text that a template engine and a YAML parser leave as it is. Traefik's file provider runs a
/// file through Go's `text/template` before it reads it as YAML, with functions that read the environment: `{{` is written
/// as YAML and JSON both escape it. What YAML would take for the end of a line, or refuse, is escaped as well.
pub(super) fn text(config: &Value) -> String {
    let plain = serde_json::to_string_pretty(config).unwrap_or_default();
    let mut text = String::with_capacity(plain.len());
    let mut rest = plain.chars().peekable();
    while let Some(c) = rest.next() {
        // JSON itself has no two of these side by side outside of its strings.
        if c == '{' && rest.peek() == Some(&'{') {
            while rest.next_if_eq(&'{').is_some() {
                text.push_str("\\u007b");
            }
            text.push_str("\\u007b");
        } else if matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crd_schema::NetworkName;
    use jiff::Timestamp;

    use super::*;

    fn service(labels: &[(&str, &str)]) -> Service {
        let replica = |number: u8| {
            let addresses = [("shop_back", format!("10.1.0.{number}")), ("shop_front", format!("10.2.0.{number}"))];
            let addresses: BTreeMap<_, _> = addresses.map(|(network, ip)| (NetworkName::new(network), ip)).into();
            let endpoints = addresses.values().flat_map(|ip| [format!("{ip}:9090"), format!("{ip}:8080")]).collect();
            (addresses, endpoints)
        };
        Service {
            name: ServiceName::new("shop", "web"),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            replicas: vec![replica(1), replica(2)],
            weights: None,
            since: None,
        }
    }

    fn dynamic(services: &[Service]) -> Value {
        super::dynamic(services, &mut Claims::default()).config
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
                "rule": "Host(`shop.example`)", "entryPoints": ["web", "websecure"], "service": "shop",
                "tls": {"domains": [{"main": "shop.example"}]},
            }},
            "services": {"shop": {"loadBalancer": {
                "sticky": {"cookie": "true"},
                "servers": [{"url": "http://10.2.0.1:3000"}, {"url": "http://10.2.0.2:3000"}],
            }}},
            "middlewares": {"short": {"stripPrefix": {"prefixes": ["/api"]}}},
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

    fn of(project: &str, name: &str, labels: &[(&str, &str)], since: Option<i64>) -> Service {
        let since = since.map(|second| Timestamp::from_second(second).unwrap());
        Service { name: ServiceName::new(project, name), since, ..service(labels) }
    }

    const RULE: (&str, &str) = ("traefik.http.routers.shop.rule", "Host(`a`)");

    #[test]
    fn wild_labels_cost_their_own_definition_and_nothing_else() {
        let good = || of("good", "web", &[("traefik.http.routers.good.rule", "Host(`good`)")], None);
        let alone = dynamic(&[good()]);
        for key in ["traefik.", "traefik.http", "traefik.http.", "traefik.http.a[999999999].b", "traefik.http.routers"]
        {
            let bad =
                service(&[(key, "x"), ("traefik.http.services", "y"), ("traefik.http.routers.bad.rule", "Host(`b`)")]);
            let made = super::dynamic(&[bad, good()], &mut Claims::default());
            assert_eq!(made.config["http"]["routers"]["good"], alone["http"]["routers"]["good"], "{key}");
            assert_eq!(made.config["http"]["routers"]["bad"]["rule"], "Host(`b`)", "{key}");
            let told = &made.problems[&ServiceName::new("shop", "web")];
            assert!(told.iter().any(|why| why.contains("traefik.http.services")), "{key}: {told:?}");
        }
    }

    #[test]
    fn a_definition_that_traefik_would_not_take_is_left_out_whole() {
        // Half of a middleware that restricts access would open it; another port is another program.
        let made = super::dynamic(
            &[service(&[
                ("traefik.http.middlewares.inside.ipallowlist.sourcerange", "10.0.0.0/8"),
                ("traefik.http.middlewares.inside.ipallowlist.sourcerang", "10.0.0.0/8"),
                ("traefik.http.middlewares.other.addprefix.prefix", "/x"),
                ("traefik.http.routers.shop.middlewares", "inside"),
                ("traefik.http.services.shop.loadbalancer.server.port", "secret-value"),
            ])],
            &mut Claims::default(),
        );
        let wanted = json!({"http": {
            "routers": {"shop": {"rule": "Host(`web-shop`)", "service": "shop", "middlewares": ["inside"]}},
            "middlewares": {"other": {"addPrefix": {"prefix": "/x"}}},
        }});
        assert_eq!(made.config, wanted, "{:#}", made.config);
        let told = made.problems[&ServiceName::new("shop", "web")].join("; ");
        assert!(told.contains("no field `sourcerang`") && told.contains("needs a port"), "{told}");
        assert!(!told.contains("secret-value"), "{told}");
    }

    #[test]
    fn one_service_cannot_say_so_much_that_others_have_no_room() {
        let many: Vec<(String, String)> =
            (0..=MAX_LABELS).map(|n| (format!("traefik.http.routers.r{n}.rule"), "Host(`a`)".to_owned())).collect();
        let many: Vec<_> = many.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let long = "x".repeat(60_000);
        let large: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| format!("traefik.http.routers.{name}.rule")).to_vec();
        let large: Vec<_> = large.iter().map(|key| (key.as_str(), long.as_str())).collect();
        let all = [of("many", "web", &many, None), of("large", "web", &large, None), service(&[RULE])];
        let made = super::dynamic(&all, &mut Claims::default());
        assert_eq!(made.config["http"]["routers"].as_object().map(Map::len), Some(1));
        assert_eq!(made.problems.len(), 2, "{:?}", made.problems);
        // And all together: those that were there stay.
        let each =
            |n: usize| of(&format!("p{n:03}"), "web", &[(&format!("traefik.http.routers.r{n}.rule"), &long)], None);
        let mut claims = Claims::default();
        let last = [each(999)];
        assert!(super::dynamic(&last, &mut claims).problems.is_empty());
        let crowd: Vec<_> = (0..300).map(each).chain(last).collect();
        let made = super::dynamic(&crowd, &mut claims);
        assert!(made.config.to_string().len() < MAX_SUM + (1 << 20));
        assert!(made.config["http"]["routers"].get("r999").is_some(), "it was there first");
        let told = &made.problems[&ServiceName::new("p299", "web")];
        assert!(told[0].contains("longer than"), "{told:?}");
    }

    #[test]
    fn wide_and_deep_labels_stay_as_small_as_they_are() {
        let wide: Vec<_> =
            (0..50).map(|n| (format!("traefik.http.middlewares.m{n}.plugin.p.a[99].b[99].c[99].d[99]"), "x")).collect();
        let deep = format!("traefik.http.middlewares.m.plugin.p{}", ".a".repeat(100_000));
        let mut labels: Vec<_> = wide.iter().map(|(key, value)| (key.as_str(), *value)).collect();
        labels.push((&deep, "x"));
        assert!(dynamic(&[service(&labels)]).to_string().len() < 10_000);
    }

    #[test]
    fn services_of_one_project_share_names_as_in_traefik() {
        let web = of(
            "shop",
            "web",
            &[
                RULE,
                ("traefik.http.routers.shop.service", "s"),
                ("traefik.http.services.s.loadbalancer.server.port", "1"),
            ],
            None,
        );
        let mut api = of(
            "shop",
            "api",
            &[
                RULE,
                ("traefik.http.routers.shop.service", "s"),
                ("traefik.http.services.s.loadbalancer.server.port", "2"),
            ],
            None,
        );
        let made = super::dynamic(&[web, api], &mut Claims::default());
        assert!(made.problems.is_empty());
        let servers =
            made.config.pointer("/http/services/s/loadBalancer/servers").and_then(Value::as_array).map(Vec::len);
        assert_eq!(servers, Some(4), "servers of equally named services are joined");
        let web = of("shop", "web", &[RULE], None);
        api = of("shop", "api", &[("traefik.http.routers.shop.rule", "Host(`other`)")], None);
        let made = super::dynamic(&[web, api], &mut Claims::default());
        assert_eq!(made.config["http"].get("routers"), None, "Traefik takes none of two that differ");
        assert_eq!(made.problems.len(), 2);
    }

    #[test]
    fn no_other_project_takes_a_name_over() {
        let old = || of("old", "web", &[RULE], Some(100));
        // First by alphabet, and no newcomer to the engine either.
        let new = |since| of("a", "web", &[RULE, ("traefik.http.routers.shop.service", "mine")], since);
        let owner = |made: &Rendered| {
            let router = made.config["http"]["routers"].get("shop").cloned();
            router.map(|router| router["service"].as_str().unwrap_or_default().to_owned())
        };
        let mut claims = Claims::default();
        super::dynamic(&[old()], &mut claims);
        let made = super::dynamic(&[new(Some(1)), old()], &mut claims);
        assert_eq!(owner(&made).as_deref(), Some("web-old"));
        assert!(made.problems[&ServiceName::new("a", "web")][0].contains("belongs to project old"));
        assert!(made.problems[&ServiceName::new("old", "web")][0].contains("also asked for by project a"));
        assert!(made.config["http"]["services"].get("web-a").is_some(), "what is its own stays");
        // Not even while its owner says it wrongly.
        let wrong = of("old", "web", &[("traefik.http.routers.shop.bogus", "x")], None);
        assert_eq!(owner(&super::dynamic(&[new(Some(1)), wrong], &mut claims)), None);
        // The next process knows.
        let mut claims = Claims::known(claims.owners().clone());
        assert_eq!(owner(&super::dynamic(&[new(Some(1)), old()], &mut claims)).as_deref(), Some("web-old"));
        // With its owner gone, it is free.
        assert_eq!(owner(&super::dynamic(&[new(Some(1))], &mut claims)).as_deref(), Some("mine"));
        // Nothing is known: who has served the longest; no one where none has.
        assert_eq!(
            owner(&super::dynamic(&[new(Some(200)), old()], &mut Claims::default())).as_deref(),
            Some("web-old")
        );
        assert_eq!(owner(&super::dynamic(&[new(Some(100)), old()], &mut Claims::default())), None);
        assert_eq!(owner(&super::dynamic(&[new(None), old()], &mut Claims::default())).as_deref(), Some("web-old"));
    }

    #[test]
    fn the_text_is_what_was_meant_after_templates_and_yaml() {
        let wild = "{{ env \"X\" }} {{{ {% $x } { \u{7f}\u{85}\u{2028}\u{feff} \u{1f600} é \\{{ \t\r\n";
        let config = json!({"http": {"middlewares": {"m{{x": {"a": wild, "{{b": [{}, {"c": {}}]}}}});
        let text = text(&config);
        assert!(!text.contains("{{"), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), config);
        let left = text.chars().filter(|c| matches!(c, '\u{7f}'..='\u{9f}' | '\u{2028}' | '\u{feff}')).count();
        assert_eq!(left, 0, "{text}");
    }
}
