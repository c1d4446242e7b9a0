//! Which services are for this host.

use composed_source::files::Reading;
use composed_source::host::HostName;

use super::*;

fn for_hosts(name: &str, hosts: &str, image: &str) -> String {
    document(name, image).replace("name: ", &format!("hosts: [{hosts}], name: "))
}

fn on(files: &Files, host: HostName) -> Catalog {
    let reading = Reading { host_name: host, ..read(files.path()) };
    Catalog::new(&reading, &files.catalog)
}

fn wanted(catalog: &Catalog, name: &str) -> Option<String> {
    catalog.service(&ServiceName::new("shop", name)).map(|service| service.spec.image.to_string())
}

#[test]
fn one_service_may_be_another_on_another_host() {
    let both = format!("{}---\n{}", for_hosts("db", "db-*", "db:1"), for_hosts("db", "test", "db:test"));
    let files = Files::new(&[("web.yaml", &document("web", "web:1")), ("db.yaml", &both)]);
    for (host, db) in [("db-1", Some("db:1")), ("TEST", Some("db:test")), ("web-1", None)] {
        let catalog = on(&files, HostName::Is(host.to_owned()));
        assert_eq!(catalog.problems, Vec::<String>::new(), "{host}");
        assert_eq!(wanted(&catalog, "db").as_deref(), db, "{host}");
        assert_eq!(wanted(&catalog, "web").as_deref(), Some("web:1"));
    }
    let catalog = on(&files, HostName::Is("web-1".to_owned()));
    let db = ServiceName::new("shop", "db");
    assert_eq!(catalog.elsewhere[&db], "is for test, and this host is web-1");
    let owned = ["db", "web"].map(|name| ServiceName::new("shop", name)).into();
    assert!(matches!(catalog.desired(&db, &owned, LONG_AGO), Desired::Gone(_)), "it goes from where it is not wanted");
}

#[test]
fn who_does_not_know_its_name_leaves_what_is_for_some_hosts_as_it_is() {
    let mut files =
        Files::new(&[("db.yaml", &for_hosts("db", "db-1", "db:1")), ("web.yaml", &document("web", "web:1"))]);
    let catalog = on(&files, HostName::Unknown);
    assert!(catalog.problems[0].contains("db.yaml:1") && catalog.problems[0].contains("--host-name"));
    assert_eq!(wanted(&catalog, "db").as_deref(), Some("db:1"), "what is in force is kept, as for any mistake");
    files.catalog = Catalog::empty(false);
    let catalog = on(&files, HostName::Unknown);
    let (db, owned) = (ServiceName::new("shop", "db"), BTreeSet::new());
    assert!(matches!(catalog.desired(&db, &owned, LONG_AGO), Desired::Held(_)));
    assert_eq!(wanted(&catalog, "web").as_deref(), Some("web:1"));
}
