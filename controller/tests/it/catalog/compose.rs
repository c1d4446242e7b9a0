//! Compose projects as desired state: alone, beside our own documents, and when something is wrong with them.

mod command_line;
mod restarts;
mod scope;

use std::path::PathBuf;

use clap::Parser;
use composed::cli::args::{Cli, CliCommand};
use composed::cli::places;
use composed::state::StateDir;
use composed_source::compose::ComposeOptions;
use composed_source::files::Reading;

use super::*;

const TWO: &str = "name: shop\nservices:\n  web: {image: \"web:1\"}\n  api: {image: \"api:1\"}\n";

fn asked(files: &Files, asked: ComposeOptions) -> (Reading, Catalog) {
    let reading = Source { compose: asked, ..Source::from(files.path()) }.read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    (reading, catalog)
}

fn names(catalog: &Catalog) -> Vec<String> {
    catalog.names().map(ToString::to_string).collect()
}

#[test]
fn a_directory_with_a_compose_file_is_its_project() {
    let files = Files::new(&[
        (
            "compose.yaml",
            "name: shop\nservices:\n  web: {image: \"web:1\", networks: [back]}\nnetworks: {back: {internal: true}}\n",
        ),
        ("compose.override.yml", "services:\n  web: {image: \"web:2\"}\n  api: {image: \"api:${TAG}\"}\n"),
        ("docker-compose.yml", "services: {old: {image: old}}\n"),
        (".env", "TAG=7\n"),
        // Settings of what runs, not documents.
        ("prometheus.yml", "scrape_configs: []\n"),
        ("config/app.yaml", "a: [\n"),
        ("vendor/thing/compose.yaml", "services: {thing: {image: thing}}\n"),
    ]);
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    assert_eq!(names(&files.catalog), ["shop/api", "shop/web"]);
    assert_eq!(["web", "api"].map(|name| files.image(name)), ["web:2", "api:7"]);
    assert!(files.catalog.project("shop").networks["back"].internal);
    let Desired::Run(api) = files.desired("api", &[]) else { panic!("api") };
    assert_eq!(api.source, "compose.override.yml:3");
}

#[test]
fn a_change_of_any_file_that_is_read_is_a_change() {
    let mut files = Files::new(&[
        (
            "compose.yaml",
            "name: shop\ninclude: [part/part.yaml]\nservices:\n  web:\n    extends: {file: base.yaml, service: web}\n    env_file: web.env\n    label_file: web.labels\n    hostname: h${V}\n",
        ),
        ("base.yaml", "services: {web: {image: \"base:1\"}}\n"),
        ("part/part.yaml", "services: {part: {image: \"part:${V:-none}\"}}\n"),
        ("web.env", "A=1\n"),
        ("web.labels", "l=1\n"),
    ]);
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    let digest = |files: &Files| match files.desired("web", &[]) {
        Desired::Run(web) => web.digest.clone(),
        other => panic!("{other:?}"),
    };
    for (name, text) in [
        ("base.yaml", "services: {web: {image: \"base:2\"}}\n"),
        ("web.env", "A=2\n"),
        ("web.labels", "l=2\n"),
        (".env", "V=2\n"),
        ("compose.override.yaml", "services: {web: {tty: true}}\n"),
    ] {
        let (before, reading) = (digest(&files), read(files.path()));
        files.write(name, text);
        assert_ne!(read(files.path()), reading, "{name}");
        files.read();
        assert_ne!(digest(&files), before, "{name}");
    }
    assert_eq!(files.image("part"), "part:2", "the outer variables win");
    files.write("part/part.yaml", "services: {part: {image: \"part:new\"}}\n");
    files.read();
    assert_eq!(files.image("part"), "part:new");
}

#[test]
fn a_wrong_compose_file_stops_nothing() {
    let mut files = Files::new(&[("compose.yaml", TWO), ("compose.override.yaml", "services: {web: {tty: true}}\n")]);
    let broken = [
        ("compose.yaml", "name: shop\nservices:\n  web: {imgae: x}\n", "compose.yaml:3:9"),
        ("compose.yaml", "", "compose.yaml"),
        ("compose.yaml", "name: shop\nservices:\n  web: {image: \"x:${TAG:?}\"}\n", "compose.yaml:3:16"),
        ("compose.override.yaml", "services: {web: [}\n", "compose.override.yaml:1:"),
        ("compose.override.yaml", "services: {web: {extends: {file: gone.yaml, service: x}}}\n", "no file gone.yaml"),
    ];
    for (name, text, place) in broken {
        let whole = std::fs::read(files.path().join(name)).unwrap();
        files.write(name, text);
        files.read();
        assert!(files.catalog.problems.join("\n").contains(place), "{text}: {:?}", files.catalog.problems);
        let Desired::Run(web) = files.desired("web", &["web", "api", "gone"]) else { panic!("{text}") };
        assert_eq!((web.spec.image.as_str(), web.spec.tty), ("web:1", true));
        assert!(web.error.is_some(), "{text}");
        assert!(matches!(files.desired("gone", &["web", "api", "gone"]), Desired::Held(_)), "{text}");
        files.write(name, whole);
        files.read();
        assert_eq!(files.catalog.problems, Vec::<String>::new());
    }
    let fresh = Files::new(&[("compose.yaml", "services: {web: [}\n")]);
    assert!(matches!(fresh.desired("web", &["web"]), Desired::Held(_)), "never understood");
}

#[test]
fn variables_that_are_gone_are_missed_until_the_compose_file_changes() {
    let text =
        "name: shop\nservices:\n  web: {image: \"web:${TAG:-none}\", env_file: [{path: web.env, required: false}]}\n";
    let mut files = Files::new(&[("compose.yaml", text), (".env", "TAG=1\n"), ("web.env", "A=1\n")]);
    for name in [".env", "web.env"] {
        let whole = std::fs::read(files.path().join(name)).unwrap();
        for _ in 0..2 {
            for nothing in ["", "# soon\n"] {
                files.write(name, nothing);
                files.read();
                assert_eq!(files.image("web"), "web:1", "{name} {nothing:?}");
                let problem = files.catalog.problems.join("\n");
                assert!(problem.contains(&format!("{name} of compose.yaml had variables")), "{problem}");
            }
            files.remove(name);
            files.read();
            assert_eq!(files.image("web"), "web:1", "{name} is gone");
        }
        files.write(name, whole);
        files.read();
        assert_eq!(files.catalog.problems, Vec::<String>::new());
    }
    files.remove(".env");
    files.write("compose.yaml", format!("{text}    \n# changed\n"));
    files.read();
    assert_eq!(files.image("web"), "web:none", "a wish");
    assert_eq!(files.catalog.problems, Vec::<String>::new());
}

/// `.env` may also say which Compose files there are.
#[test]
fn variables_that_name_the_compose_files_are_missed_as_well() {
    let base = "name: shop\nservices:\n  web: {image: \"web:${TAG:-none}\"}\n";
    let mut files = Files::new(&[
        ("compose.yaml", base),
        ("prod.yaml", "services: {api: {image: \"api:1\"}}\n"),
        (".env", "TAG=1\nCOMPOSE_FILE=compose.yaml:prod.yaml\n"),
    ]);
    assert_eq!(names(&files.catalog), ["shop/api", "shop/web"]);
    files.remove(".env");
    files.read();
    assert_eq!(
        (names(&files.catalog), files.image("web")),
        (vec!["shop/api".into(), "shop/web".into()], "web:1".into())
    );
    assert!(files.catalog.problems.join("\n").contains(".env of compose.yaml had variables"));
}

/// Beside a Compose file, too, a document that cannot be read, is cut short or is empty removes nothing.
#[test]
fn what_may_have_been_a_document_beside_a_compose_file_removes_nothing() {
    let own = "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: own}\nspec: {image: x}\n";
    let begin = || Files::new(&[("compose.yaml", TWO), ("sub/own.yaml", own)]);
    let held = |files: &Files| matches!(files.desired("own", &["own", "web", "api"]), Desired::Held(_));
    for (name, text) in [("sub/own.yml", ""), ("sub/own.yml", "apiVersion: compo"), ("sub/own.yml", "apiV")] {
        let mut files = begin();
        files.remove("sub/own.yaml");
        files.write(name, text);
        files.read();
        assert!(held(&files), "{text:?}");
        // The same for a process that has not known it.
        files.catalog = Catalog::empty(false);
        files.read();
        assert!(held(&files), "{text:?}, after a restart");
    }
    let mut files = begin();
    files.remove("sub/own.yaml");
    files.write("sub/other.yaml", "apiVersion: apps/v1\nkind: Deployment\n");
    files.read();
    assert!(!held(&files), "somebody else's file says nothing");
    // A directory that may not be looked into: as the walk tells it, since nothing is locked for root.
    let mut files = begin();
    let mut reading = read(files.path());
    reading.files.retain(|(file, _)| file != "sub/own.yaml");
    reading.passed_by = vec!["sub".to_owned()];
    files.catalog = Catalog::new(&reading, &files.catalog);
    assert!(matches!(files.desired("own", &["own"]), Desired::Run(_)), "{:?}", files.catalog.problems);
}

#[test]
fn data_that_only_its_container_may_read_is_passed_by() {
    use std::os::unix::fs::PermissionsExt as _;
    let files = Files::new(&[("compose.yaml", TWO), ("data/x/pg.yaml", "no: matter\n")]);
    let data = files.path().join("data");
    let lock = |mode| std::fs::set_permissions(&data, std::fs::Permissions::from_mode(mode)).unwrap();
    lock(0o000);
    // For root nothing is locked: then this says nothing.
    let reading = read(files.path());
    lock(0o755);
    assert_eq!(reading.broken, None);
    assert_eq!(names(&Catalog::new(&reading, &Catalog::empty(false))), ["shop/api", "shop/web"]);
}
