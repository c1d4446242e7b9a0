//! What is wanted, from readings of real directories: nothing that cannot be read or believed stops anything.

mod compose;
mod env_files;
mod fronts;
mod hosts;
mod projects;
mod removal;
mod shared;

use std::collections::BTreeSet;
use std::path::Path;

use composed_core::model::{Desired, ServiceName};
use composed_source::catalog::Catalog;
use composed_source::files::{HostDir, Source, read};
use jiff::Timestamp;

const LONG_AGO: Timestamp = Timestamp::UNIX_EPOCH;

fn document(name: &str, image: &str) -> String {
    format!(
        "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: {name}}}\nspec:\n  image: {image}\n"
    )
}

struct Files {
    dir: tempfile::TempDir,
    catalog: Catalog,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let mut all = Self { dir: tempfile::tempdir().unwrap(), catalog: Catalog::empty(false) };
        for (name, text) in files {
            all.write(name, text);
        }
        all.read();
        all
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }

    fn read(&mut self) {
        self.catalog = Catalog::new(&read(self.path()), &self.catalog);
    }

    fn desired(&self, name: &str, owned: &[&str]) -> Desired {
        let owned: BTreeSet<_> = owned.iter().map(|name| ServiceName::new("shop", *name)).collect();
        self.catalog.desired(&ServiceName::new("shop", name), &owned, LONG_AGO)
    }

    fn image(&self, name: &str) -> String {
        match self.desired(name, &[]) {
            Desired::Run(desired) => desired.spec.image.to_string(),
            other => panic!("{name}: {other:?}\n{:?}", self.catalog.problems),
        }
    }
}

/// Links to directories, as mounts of Kubernetes have them: `data -> ..1`, `..1` hidden.
#[test]
fn links_are_followed_once() {
    let mut files = Files::new(&[("deep/web.yaml", &document("web", "web:1"))]);
    let outside = Files::new(&[("api.yaml", &document("api", "api:1")), ("sub/db.yaml", &document("db", "db:1"))]);
    let link = |to: &Path, from: &str| std::os::unix::fs::symlink(to, files.path().join(from)).unwrap();
    link(outside.path(), "b-linked");
    link(outside.path(), "c-linked-again");
    link(&files.path().join("deep"), "another-way");
    link(files.path(), "deep/loop");
    link(&outside.path().join("api.yaml"), ".hidden.yaml");
    files.read();
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    assert_eq!(["web", "api", "db"].map(|name| files.image(name)), ["web:1", "api:1", "db:1"]);
    let found: Vec<_> = read(files.path()).files.into_iter().map(|(name, _)| name).collect();
    assert_eq!(found, ["b-linked/api.yaml", "b-linked/sub/db.yaml", "deep/web.yaml"]);
}

#[test]
fn relative_binds_are_paths_of_the_host() {
    let text =
        format!("{}  volumes: [\"./data:/data\", \"../common/x:/x:ro\", \"/abs:/abs\"]\n", document("web", "web:1"));
    let files = Files::new(&[("sub/web.yaml", &text)]);
    let sources = |reading: &composed_source::files::Reading| {
        let catalog = Catalog::new(reading, &Catalog::empty(false));
        match catalog.desired(&ServiceName::new("shop", "web"), &BTreeSet::new(), LONG_AGO) {
            Desired::Run(web) => Ok(web.spec.volumes.iter().map(|m| m.source.clone().unwrap()).collect::<Vec<_>>()),
            _ => Err(catalog.problems.join("\n")),
        }
    };
    let mut source = Source::from(files.path());
    let root = files.path().display();
    assert_eq!(
        sources(&source.read()).unwrap(),
        [format!("{root}/sub/data"), format!("{root}/common/x"), "/abs".to_owned()]
    );
    source.host = HostDir::At("/srv/desired".into());
    assert_eq!(sources(&source.read()).unwrap(), ["/srv/desired/sub/data", "/srv/desired/common/x", "/abs"]);
    source.host = HostDir::Unknown;
    let why = sources(&source.read()).unwrap_err();
    assert!(why.contains("sub/web.yaml:1") && why.contains("--host-dir") && why.contains("./data"), "{why}");
}

#[test]
fn documents_are_found_anywhere_under_the_directory() {
    let both = format!("{}---\n{}", document("a", "a:1"), document("b", "b:1"));
    let files = Files::new(&[
        ("x.yaml", &both),
        ("deep/er/y.yml", &document("c", "c:1")),
        ("notes.txt", "no"),
        (".hidden.yaml", "{"),
    ]);
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    assert_eq!(["a", "b", "c"].map(|name| files.image(name)), ["a:1", "b:1", "c:1"]);
}

#[test]
fn every_prefix_of_a_valid_file_leaves_the_last_valid_version_in_force_or_says_what_it_is() {
    let long = format!("{}  environment: {{A: b}}\n", document("web", "web:12"));
    let mut files = Files::new(&[("web.yaml", &document("web", "web:11")), ("api.yaml", &document("api", "api:1"))]);
    for end in 0..long.len() {
        files.write("web.yaml", &long[..end]);
        files.read();
        match files.desired("web", &["web", "api"]) {
            // A shorter valid document is a document; nobody can know better. It names an image at least.
            Desired::Run(desired) => assert!(
                "web:12".starts_with(desired.spec.image.as_str())
                    || desired.error.is_some()
                    || desired.spec.image == "web:11"
            ),
            other => panic!("after {end} bytes: {other:?}"),
        }
        assert_eq!(files.image("api"), "api:1");
    }
}

#[test]
fn an_invalid_file_keeps_its_services_as_they_were_and_removes_nothing() {
    let mut files = Files::new(&[("web.yaml", &document("web", "web:1")), ("api.yaml", &document("api", "api:1"))]);
    files.write("web.yaml", document("web", "web:2").replace("image", "imgae"));
    files.remove("api.yaml");
    files.read();
    let Desired::Run(web) = files.desired("web", &["web", "api"]) else { panic!("the last valid version") };
    assert_eq!(web.spec.image, "web:1");
    let error = web.error.unwrap();
    assert!(error.contains("web.yaml:5:3") && error.contains("did you mean `image`"), "{error}");
    let Desired::Held(why) = files.desired("api", &["web", "api"]) else { panic!("held while web.yaml is broken") };
    assert!(why.contains("web.yaml cannot be read"), "{why}");
    files.write("web.yaml", document("web", "web:3"));
    files.read();
    assert_eq!(files.image("web"), "web:3");
    assert_eq!(files.desired("api", &["web", "api"]), Desired::Gone(LONG_AGO));
}

#[test]
fn an_emptied_file_is_a_broken_one() {
    let mut files = Files::new(&[("web.yaml", &document("web", "web:1")), ("api.yaml", &document("api", "api:1"))]);
    for nothing in ["", "# later\n", "---\n"] {
        files.write("web.yaml", nothing);
        files.read();
        assert_eq!(files.image("web"), "web:1", "{nothing:?}");
        assert!(files.catalog.problems[0].contains("is empty now"), "{:?}", files.catalog.problems);
    }
}

#[test]
fn two_documents_for_one_service_are_both_refused_whatever_the_order() {
    for (first, second) in [("a.yaml", "b.yaml"), ("b.yaml", "a.yaml")] {
        let mut files = Files::new(&[(first, &document("web", "web:1"))]);
        files.write(second, document("web", "web:2"));
        files.read();
        assert_eq!(files.image("web"), "web:1", "the version before stays in force");
        assert!(files.catalog.problems[0].contains("a.yaml:1, b.yaml:1"), "{:?}", files.catalog.problems);
        let fresh = Files::new(&[(first, &document("web", "web:1")), (second, &document("web", "web:2"))]);
        assert!(matches!(fresh.desired("web", &[]), Desired::Held(_)), "neither, where there was none before");
    }
}

#[test]
fn services_vanish_a_few_at_a_time_or_not_at_all() {
    let names = ["a", "b", "c", "d"];
    let all: Vec<_> = names.iter().map(|name| (format!("{name}.yaml"), document(name, "x:1"))).collect();
    let all: Vec<_> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut files = Files::new(&all);
    files.remove("a.yaml");
    files.remove("b.yaml");
    files.read();
    assert_eq!(files.desired("a", &names), Desired::Gone(LONG_AGO), "half of them is not more than half");
    files.remove("c.yaml");
    files.read();
    let Desired::Held(why) = files.desired("a", &names) else { panic!("three of four") };
    assert!(why.contains("3 of 4") && why.contains("--confirm-deletion") && why.contains("replicas: 0"), "{why}");
    files.remove("d.yaml");
    files.read();
    assert!(matches!(files.desired("d", &["d"]), Desired::Held(_)), "an empty directory");
    std::fs::rename(files.path(), files.path().with_extension("away")).unwrap();
    files.read();
    assert!(matches!(files.desired("d", &["d"]), Desired::Held(_)), "no directory");
    let confirmed = Catalog::new(&composed_source::files::Reading::default(), &Catalog::empty(true));
    let owned = [ServiceName::new("shop", "d")].into();
    assert_eq!(confirmed.desired(&ServiceName::new("shop", "d"), &owned, LONG_AGO), Desired::Gone(LONG_AGO));
    std::fs::rename(files.path().with_extension("away"), files.path()).unwrap();
}

#[test]
fn one_file_says_nothing_of_other_services() {
    let files = Files::new(&[("web.yaml", &document("web", "web:1")), ("api.yaml", &document("api", "api:1"))]);
    let one = Catalog::new(&read(&files.path().join("web.yaml")), &Catalog::empty(false));
    let owned = ["web", "api", "db"].map(|name| ServiceName::new("shop", name)).into();
    assert!(matches!(one.desired(&ServiceName::new("shop", "db"), &owned, LONG_AGO), Desired::Held(_)));
}

#[test]
fn environment_files_are_read_below_the_environment_and_their_secrets_stay_inside() {
    let text = format!("{}  env_file: [secret.env]\n  environment: {{A: mine}}\n", document("web", "web:1"));
    let mut files = Files::new(&[("sub/web.yaml", &text), ("sub/secret.env", "A=theirs\nB=hunter2\n")]);
    let Desired::Run(first) = files.desired("web", &[]) else { panic!("{:?}", files.catalog.problems) };
    let environment = &first.spec.environment.0;
    assert_eq!((environment["A"].as_str(), environment["B"].as_str()), ("mine", "hunter2"));
    assert!(!format!("{first:?}").contains("hunter2"));
    let reading = read(files.path());
    files.write("sub/secret.env", "B=hunter3longer\n");
    assert_ne!(read(files.path()), reading, "a changed environment file is a change");
    files.read();
    let Desired::Run(second) = files.desired("web", &[]) else { panic!("{:?}", files.catalog.problems) };
    assert_ne!(first.revision, second.revision);
    files.write("sub/secret.env", "B='hunter4\n");
    files.read();
    assert!(files.catalog.problems[0].contains("secret.env:1"), "{:?}", files.catalog.problems);
    assert!(!files.catalog.problems[0].contains("hunter4"));
    files.remove("sub/secret.env");
    files.read();
    assert!(
        files.catalog.problems[0].contains("secret.env of shop/web cannot be read"),
        "{:?}",
        files.catalog.problems
    );
}

#[test]
fn a_project_gives_defaults_and_knows_its_networks() {
    let project = "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec:\n  networks: {backend: {internal: true}}\n  rollout: {max_surge: 3, min_ready: 1s}\n";
    let web = format!("{}  networks: [backend]\n  rollout: {{max_surge: 2}}\n", document("web", "web:1"));
    let api = format!("{}  networks: [backned]\n", document("api", "api:1"));
    let files = Files::new(&[("shop.yaml", project), ("web.yaml", &web), ("api.yaml", &api)]);
    let Desired::Run(web) = files.desired("web", &[]) else { panic!("{:?}", files.catalog.problems) };
    let rollout = web.spec.rollout.clone().unwrap();
    assert_eq!(rollout.max_surge, Some(crd_schema::IntOrPercent::Int(2)), "the service's own");
    assert_eq!(rollout.min_ready, Some(crd_schema::ComposeDuration::from_secs(1)), "the project's");
    assert!(files.catalog.project("shop").networks["backend"].internal);
    assert!(files.catalog.problems[0].contains("uses network backned"), "{:?}", files.catalog.problems);
}

#[test]
fn a_service_and_its_project_do_not_make_a_rollout_of_two_zeros() {
    let project =
        "apiVersion: composed.dev/v1\nkind: Project\nmetadata: {name: shop}\nspec:\n  rollout: {max_unavailable: 0}\n";
    let web = format!("{}  rollout: {{max_surge: 0}}\n", document("web", "web:1"));
    let files = Files::new(&[("project.yaml", project), ("web.yaml", &web)]);
    let told = files.catalog.problems.join("\n");
    assert!(told.contains("max_surge and max_unavailable are both 0"), "{told}");
    assert!(!matches!(files.desired("web", &[]), Desired::Run(_)), "{:?}", files.desired("web", &[]));
}

#[test]
fn who_waits_for_the_health_of_what_has_no_check_is_told() {
    let web = format!("{}  depends_on: {{db: {{condition: service_healthy}}}}\n", document("web", "web:1"));
    let check = format!("{}  healthcheck: {{test: [CMD, ok]}}\n", document("db", "db:1"));
    let probe = format!("{}  readiness: {{tcp: {{port: 1}}}}\n", document("db", "db:1"));
    for (db, told) in [(document("db", "db:1"), true), (check, false), (probe, false)] {
        let files = Files::new(&[("web.yaml", &web), ("db.yaml", &db)]);
        let notes = files.catalog.notes.join("\n");
        assert_eq!(notes.contains("web.yaml:1: web waits for db to be healthy"), told, "{notes}");
    }
}

#[test]
fn the_examples_are_valid() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/services");
    let catalog = Catalog::new(&read(&examples), &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    assert!(catalog.names().count() >= 6);
}

#[test]
fn restart_of_a_dependency_ties_its_dependant_to_it() {
    let db = |image: &str| document("db", image);
    let api = |restart: bool| {
        let dependency = format!("  depends_on: {{db: {{condition: service_started, restart: {restart}}}}}\n");
        format!("{}{dependency}", document("api", "api:1"))
    };
    let revision = |db: &str, api: &str| {
        let files = Files::new(&[("db.yaml", db), ("api.yaml", api)]);
        let Desired::Run(api) = files.desired("api", &[]) else { panic!("{:?}", files.catalog.problems) };
        (api.revision.clone(), api.digest.clone(), api.restart_after.clone())
    };
    let (one, digest, after) = revision(&db("db:1"), &api(true));
    let (two, other_digest, _) = revision(&db("db:2"), &api(true));
    assert_ne!((&one, &digest), (&two, &other_digest), "a change of the one is a change of the other");
    assert_eq!(after.keys().collect::<Vec<_>>(), ["db"]);
    assert_eq!(revision(&db("db:1"), &api(true)).0, one);
    assert_eq!(revision(&db("db:1"), &api(false)).0, revision(&db("db:2"), &api(false)).0, "untied");

    let alone = Files::new(&[("api.yaml", &api(true))]);
    assert!(matches!(alone.desired("api", &[]), Desired::Held(why) if why.contains("put both under one directory")));
    let circle = format!("{}  depends_on: {{api: {{condition: service_started, restart: true}}}}\n", db("db:1"));
    let circle = Files::new(&[("db.yaml", &circle), ("api.yaml", &api(true))]);
    assert!(matches!(circle.desired("api", &[]), Desired::Held(_)), "{:?}", circle.catalog.problems);
}
