//! What a project's networks and volumes are called is never guessed: a wrong name is an empty volume.

use super::*;

const PROJECT: &str = "apiVersion: composed.dev/v1
kind: Project
metadata: {name: shop}
spec:
  volumes: {data: {name: pgdata, external: true}}
  rollout: {min_ready: 1s}
";

fn database() -> String {
    format!("{}  volumes: [\"data:/data\"]\n", document("db", "db:1"))
}

fn volume(files: &Files) -> String {
    files.catalog.project("shop").volume_name("shop", "data").to_string()
}

#[test]
fn a_broken_project_document_stays_in_force_as_it_was() {
    for broken in [PROJECT.replace("external", "extrenal"), PROJECT[..60].to_owned(), "---\n".to_owned()] {
        let mut files = Files::new(&[("shop.yaml", PROJECT), ("db.yaml", &database())]);
        let first = files.desired("db", &[]);
        files.write("shop.yaml", &broken);
        files.write("web.yaml", format!("{}  volumes: [\"data:/data\"]\n", document("web", "web:1")));
        files.read();
        assert!(!files.catalog.problems.is_empty());
        assert_eq!(volume(&files), "pgdata", "{broken}");
        assert_eq!(files.desired("db", &[]), first, "its defaults too");
        assert_eq!(files.image("web"), "web:1");
        files.remove("shop.yaml");
        files.read();
        assert_eq!(volume(&files), "shop_data", "a document that is gone is a wish");
    }
}

#[test]
fn a_project_that_was_never_understood_makes_nothing() {
    for broken in [PROJECT.replace("external", "extrenal"), PROJECT.replace("Project", "Porject"), String::new()] {
        let mut files = Files::new(&[("shop.yaml", &broken), ("db.yaml", &database())]);
        for _ in 0..2 {
            let Desired::Held(why) = files.desired("db", &[]) else { panic!("{broken}") };
            assert!(why.contains("shop.yaml") && why.contains("db.yaml:1"), "{why}");
            files.read();
        }
        files.write("shop.yaml", PROJECT);
        files.read();
        assert_eq!((files.image("db").as_str(), volume(&files).as_str()), ("db:1", "pgdata"));
    }
}

#[test]
fn what_runs_without_a_project_goes_on_while_a_new_one_is_broken() {
    let mut files = Files::new(&[("db.yaml", &database())]);
    files.write("shop.yaml", "");
    files.read();
    assert_eq!(files.catalog.problems, Vec::<String>::new(), "a file that is about to be written");
    files.write("shop.yaml", PROJECT.replace("external", "extrenal"));
    files.write("web.yaml", document("web", "web:1"));
    files.write("db.yaml", database().replace("db:1", "db:2"));
    files.read();
    assert_eq!(files.image("db"), "db:1", "as it was");
    assert!(matches!(files.desired("web", &[]), Desired::Held(_)));
    files.write("shop.yaml", "services: {web: {image: x}}");
    files.read();
    assert_eq!((files.image("db").as_str(), files.image("web").as_str()), ("db:2", "web:1"), "a Compose file is none");
}

#[test]
fn a_project_described_twice_stays_as_it_was() {
    let mut files = Files::new(&[("b.yaml", PROJECT), ("db.yaml", &database())]);
    files.write("a.yaml", PROJECT.replace("pgdata", "other"));
    files.read();
    assert_eq!(volume(&files), "pgdata");
    assert!(files.catalog.problems[0].contains("a.yaml:1, b.yaml:1"), "{:?}", files.catalog.problems);
    let fresh = Files::new(&[("a.yaml", PROJECT), ("b.yaml", PROJECT), ("db.yaml", &database())]);
    assert!(matches!(fresh.desired("db", &[]), Desired::Held(_)));
}
