use std::sync::Arc;

use crd_schema::Object;

use super::*;

fn service(spec: &str) -> DesiredService {
    let text = format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec:\n  image: web:1\n{spec}"
    );
    match crd_schema::parse("web.yaml", &text).expect("a document").remove(0).object {
        Object::Service(service) => DesiredService::new(ServiceName::new("shop", "web"), service.spec, "web.yaml:1"),
        Object::Project(_) => panic!("a service"),
    }
}

fn golden(name: &str, now: &str) {
    let file = format!("{}/src/front/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, now).expect("written");
    }
    assert_eq!(now, std::fs::read_to_string(&file).unwrap_or_default(), "{name}: see UPDATE_GOLDEN=1");
}

fn config(front: &DesiredService) -> &str {
    &front.spec.generated.as_ref().expect("files").files[0].content
}

const PLAIN: &str = "  replicas: 3\n  ports: [\"8080:80\"]\n  front: http\n";
const FULL: &str = "  expose: [\"9000-9001\"]\n  networks: {a: {aliases: [shop], ipv4_address: 10.1.0.2}, b: {}}\n  drain_timeout: 1500ms\n  \
     front: {mode: tcp, image: 'x:1', ports: {'80': {mode: http}}, proxy_protocol: v2, accept_proxy: true, max_connections: 100, \
     timeouts: {connect: 1s, client: 2m, server: 90s, queue: 250ms, http_keep_alive: 10s}, sticky: {cookie: SRV}}\n";

#[test]
fn the_configuration_is_what_it_was() {
    let none = DesiredProject::default();
    golden("http.cfg", config(&of(&service(PLAIN), &none).expect("a front")));
    let mut project = DesiredProject::default();
    project.networks.insert("a".to_owned(), crd_schema::Network { enable_ipv6: Some(true), ..Default::default() });
    golden("full.cfg", config(&of(&service(FULL), &project).expect("a front")));
}

/// Where HAProxy is installed, it is asked itself.
#[test]
fn haproxy_takes_the_configuration() {
    if std::process::Command::new("haproxy").arg("-v").output().is_err() {
        eprintln!("SKIPPED: no haproxy on this machine");
        return;
    }
    for spec in [PLAIN, FULL] {
        let front = of(&service(spec), &DesiredProject::default()).expect("a front");
        let dir = tempfile::tempdir().expect("a directory");
        let path = |file: &GeneratedFile| dir.path().join(file.path.rsplit('/').next().expect("a name"));
        let files = &front.spec.generated.as_ref().expect("files").files;
        let lua = path(&files[1]);
        std::fs::write(&lua, &files[1].content).expect("written");
        let text = files[0].content.replace(LUA_PATH, &lua.display().to_string());
        std::fs::write(path(&files[0]), text).expect("written");
        let asked =
            std::process::Command::new("haproxy").arg("-c").arg("-f").arg(path(&files[0])).output().expect("asked");
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        assert!(
            !String::from_utf8_lossy(&asked.stderr).contains("WARNING"),
            "{}",
            String::from_utf8_lossy(&asked.stderr)
        );
    }
}

#[test]
fn a_front_has_what_the_replicas_have_not() {
    let none = DesiredProject::default();
    assert_eq!(of(&service("  ports: [\"8080:80\"]\n"), &none), None);
    let front = of(&service(PLAIN), &none).expect("a front");
    assert_eq!(front.name, ServiceName::new("shop", "web-front"));
    assert_eq!(owner(&front.name), Some(ServiceName::new("shop", "web")));
    assert_eq!(front.spec.ports[0].published, Some(8080));
    assert_eq!(front.spec.networks.as_ref().expect("networks")["default"].aliases, ["web"]);
    assert_eq!(front.replicas(), 1);
    let policy = crate::plan::policy::Policy::from_spec(&front.spec);
    assert!(policy.stop_first, "it owns a host port");
    let policy = crate::plan::policy::Policy::from_spec(&service(PLAIN).spec);
    assert!(!policy.stop_first, "{}", policy.strategy);

    let front = of(&service(FULL), &none).expect("a front");
    let a = &front.spec.networks.as_ref().expect("networks")["a"];
    assert_eq!(
        (a.aliases.as_slice(), a.ipv4_address.as_deref()),
        (&["web".to_owned(), "shop".to_owned()][..], Some("10.1.0.2"))
    );
    assert_eq!(front.spec.expose, ["80/tcp", "9000/tcp", "9001/tcp"]);
    assert_eq!(front.spec.image, "x:1");
}

#[test]
fn only_what_is_the_fronts_changes_it() {
    let none = DesiredProject::default();
    let revision = |spec: &str| of(&service(spec), &none).expect("a front").revision;
    let more = |key: &str| format!("{PLAIN}{key}");
    assert_eq!(revision(PLAIN), revision(&more("  environment: {A: b}\n")));
    assert_ne!(revision(PLAIN), revision(&more("  expose: ['81']\n")));
}

#[test]
fn what_haproxy_would_evaluate_is_in_no_configuration() {
    let plain = of(&service(PLAIN), &DesiredProject::default()).expect("a front");
    for cookie in ["%[env(SECRET)]", "a\n    stats enable", "a\" if TRUE", "${HOME}", "a b", "a\\", "a#b", "a;b", "a,b"]
    {
        let mut hostile = service(PLAIN);
        if let Some(front) = &mut Arc::make_mut(&mut hostile.spec).front {
            front.sticky = Some(crd_schema::Sticky { cookie: cookie.to_owned() });
        }
        let hostile = of(&hostile, &DesiredProject::default()).expect("a front");
        assert_eq!(config(&hostile), config(&plain), "{cookie:?}");
        // And no document may say so.
        let text = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec:\n  image: web:1\n  \
             expose: [\"80\"]\n  front: {{mode: http, sticky: {{cookie: {}}}}}\n",
            serde_json::to_string(cookie).expect("JSON")
        );
        assert!(crd_schema::parse("web.yaml", &text).is_err(), "{cookie:?}");
    }
}
