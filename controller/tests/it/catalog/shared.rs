//! Services that join the namespaces of others: known to each other, and not tied.

use std::collections::BTreeMap;

use composed_core::model::DesiredService;
use composed_source::files::Reading;

use super::*;

fn name(name: &str) -> ServiceName {
    ServiceName::new("shop", name)
}

fn project(vpn: &str) -> String {
    format!(
        "name: shop\nservices:\n  vpn: {{image: \"vpn:{vpn}\"}}\n  app: {{image: \"app:1\", network_mode: \"service:vpn\"}}\n  \
         own: {{image: \"own:1\", depends_on: {{vpn: {{condition: service_started, restart: true}}}}}}\n"
    )
}

fn wanted(files: &Files, name: &str) -> Box<DesiredService> {
    match files.desired(name, &[]) {
        Desired::Run(desired) => desired,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn who_joins_a_namespace_is_no_other_revision_with_its_owner() {
    let mut files = Files::new(&[("compose.yaml", &project("1"))]);
    let before = ["vpn", "app", "own"].map(|name| wanted(&files, name).revision);
    assert_eq!(wanted(&files, "app").namespace_revisions, BTreeMap::from([("vpn".to_owned(), before[0].clone())]));
    files.write("compose.yaml", project("2"));
    files.read();
    let after = ["vpn", "app", "own"].map(|name| wanted(&files, name).revision);
    let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
    assert_eq!(changed, [true, false, true], "it moves with the replicas, others are tied to the document");
    assert_eq!(wanted(&files, "app").namespace_revisions["vpn"], after[0]);
}

#[test]
fn who_joins_a_namespace_depends_on_its_owner_and_is_rolled_out_with_it() {
    let files = Files::new(&[("compose.yaml", &project("1"))]);
    let (vpn, app, own) = (name("vpn"), name("app"), name("own"));
    assert_eq!(files.catalog.guests(&vpn).collect::<Vec<_>>(), [&app]);
    assert_eq!(files.catalog.hosts(&app).collect::<Vec<_>>(), std::slice::from_ref(&vpn));
    assert!(wanted(&files, "app").spec.depends_on.contains_key("vpn"));
    let reading = Reading { only: Some(vpn.clone()), ..read(files.path()) };
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    assert_eq!([&vpn, &app, &own].map(|name| catalog.spares(name)), [false, false, true]);
}
