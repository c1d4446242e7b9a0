//! Fronts come and go with their services, and take nobody's name.

use super::*;

fn with_front(name: &str) -> String {
    format!("{}  ports: [\"8080:80\"]\n  front: http\n", document(name, "x:1"))
}

fn at(files: &Files, name: &str, owned: &[&str]) -> Desired {
    let owned: BTreeSet<_> = owned.iter().map(|name| ServiceName::new("shop", *name)).collect();
    files.catalog.desired(&ServiceName::new("shop", name), &owned, "2026-01-01T00:00:00Z".parse().unwrap())
}

#[test]
fn a_front_comes_and_goes_with_its_service() {
    let mut files = Files::new(&[("web.yaml", &with_front("web")), ("api.yaml", &document("api", "x:1"))]);
    assert_eq!(files.image("web-front"), "haproxy:3.0-alpine");
    let before = files.catalog.clone();
    files.write("web.yaml", document("web", "x:1"));
    files.read();
    let owned = ["web", "web-front", "api"];
    assert_eq!(at(&files, "web-front", &owned), Desired::Gone(Timestamp::UNIX_EPOCH), "at once");
    assert!(files.catalog.changed(&before).0.contains(&ServiceName::new("shop", "web-front")));
    files.read();
    assert_eq!(at(&files, "web-front", &owned), Desired::Gone(Timestamp::UNIX_EPOCH), "still");
    files.write("web.yaml", with_front("web"));
    files.read();
    assert_eq!(files.image("web-front"), "haproxy:3.0-alpine");

    // The two count as one: one of two services is not more than half.
    files.remove("web.yaml");
    files.read();
    for name in ["web", "web-front"] {
        let desired = at(&files, name, &owned);
        assert!(matches!(desired, Desired::Gone(since) if since > Timestamp::UNIX_EPOCH), "{name}: {desired:?}");
    }
}

#[test]
fn a_service_that_is_merely_called_so_is_missed_like_any_other() {
    let mut files = Files::new(&[
        ("web.yaml", &document("web", "x:1")),
        ("front.yaml", &document("web-front", "y:1")),
        ("api.yaml", &document("api", "x:1")),
    ]);
    files.remove("front.yaml");
    files.read();
    let desired = at(&files, "web-front", &["web", "web-front", "api"]);
    assert!(matches!(desired, Desired::Gone(since) if since > Timestamp::UNIX_EPOCH), "{desired:?}");
    files.write("other.yaml", "kind: [");
    files.read();
    let desired = at(&files, "web-front", &["web", "web-front", "api"]);
    assert!(matches!(&desired, Desired::Held(why) if why.contains("other.yaml")), "{desired:?}");
}

#[test]
fn a_name_that_is_taken_changes_nothing() {
    let mut files = Files::new(&[("web.yaml", &document("web", "x:1")), ("front.yaml", &document("web-front", "y:1"))]);
    files.write("web.yaml", with_front("web"));
    files.read();
    assert!(files.catalog.problems[0].contains("front.yaml describes"), "{:?}", files.catalog.problems);
    assert_eq!((files.image("web").as_str(), files.image("web-front").as_str()), ("x:1", "y:1"));
    let Desired::Run(web) = files.desired("web", &[]) else { panic!("it is wanted") };
    assert!(web.spec.front.is_none() && web.error.is_some());

    let mut files = Files::new(&[("web.yaml", &with_front("web"))]);
    files.write("front.yaml", document("web-front", "y:1"));
    files.read();
    assert_eq!(files.image("web-front"), "haproxy:3.0-alpine", "the front was there first");
    files.read();
    assert_eq!(files.image("web-front"), "haproxy:3.0-alpine");
    let files = Files::new(&[("web.yaml", &with_front("web")), ("front.yaml", &document("web-front", "y:1"))]);
    for name in ["web", "web-front"] {
        assert!(matches!(files.desired(name, &[]), Desired::Held(_)), "{name}: nobody knows who was first");
    }
}

#[test]
fn a_service_that_cannot_be_resolved_keeps_its_front() {
    let files = Files::new(&[("web.yaml", &format!("{}  env_file: missing.env\n", with_front("web")))]);
    let desired = at(&files, "web-front", &["web", "web-front"]);
    assert!(matches!(&desired, Desired::Held(why) if why.contains("missing.env")), "{desired:?}");
}
