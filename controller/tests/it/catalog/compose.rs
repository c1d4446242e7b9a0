//! Compose projects as desired state: alone, beside our own documents, and when something is wrong with them.

use std::path::PathBuf;

use clap::Parser;
use composed::cli::args::{Cli, Verb};
use composed::cli::places;
use composed::source::compose::Asked;
use composed::source::files::Reading;
use composed::state::StateDir;

use super::*;

const TWO: &str = "name: shop\nservices:\n  web: {image: \"web:1\"}\n  api: {image: \"api:1\"}\n";

fn asked(files: &Files, asked: Asked) -> (Reading, Catalog) {
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
fn a_service_that_left_the_file_is_removed_and_other_projects_are_left_alone() {
    let mut files = Files::new(&[("compose.yaml", TWO)]);
    files.write("compose.yaml", "name: shop\nservices:\n  web: {image: \"web:1\"}\n");
    files.read();
    let other = ServiceName::new("blog", "web");
    let owned = [ServiceName::new("shop", "web"), ServiceName::new("shop", "api"), other.clone()].into();
    assert_eq!(files.catalog.desired(&ServiceName::new("shop", "api"), &owned, LONG_AGO), Desired::Gone(LONG_AGO));
    let Desired::Held(why) = files.catalog.desired(&other, &owned, LONG_AGO) else { panic!("blog") };
    assert!(why.contains("project blog is described elsewhere"), "{why}");
    assert!(!files.catalog.minds(&other));
    let mut gone = Files { dir: files.dir, catalog: files.catalog.clone() };
    gone.remove("compose.yaml");
    gone.write("db.yaml", document("db", "db:1"));
    gone.read();
    assert!(matches!(gone.catalog.desired(&other, &owned, LONG_AGO), Desired::Held(_)), "still nobody's business");
    gone.remove("db.yaml");
    let mut files = gone;
    files.write("compose.yaml", TWO);
    files.read();
    // Many services of others do not make the own ones that are lost look few.
    files.write("compose.yaml", "name: shop\nservices:\n  new: {image: x}\n");
    files.read();
    let mut owned: BTreeSet<_> = (0..9).map(|n| ServiceName::new("blog", format!("b{n}"))).collect();
    owned.extend([ServiceName::new("shop", "web"), ServiceName::new("shop", "api")]);
    assert!(matches!(files.catalog.desired(&ServiceName::new("shop", "web"), &owned, LONG_AGO), Desired::Held(_)));
}

#[test]
fn service_files_and_compose_files_stand_in_one_directory_and_claim_a_service_once() {
    for document_first in [true, false] {
        let beside = if document_first { "a.yaml" } else { "z.yaml" };
        let mut files = Files::new(&[("compose.yaml", TWO), (beside, &document("db", "db:1"))]);
        assert_eq!(files.catalog.problems, Vec::<String>::new());
        assert_eq!(names(&files.catalog), ["shop/api", "shop/db", "shop/web"]);
        files.write(beside, document("web", "web:9"));
        files.read();
        assert_eq!(files.image("web"), "web:1", "the version before stays in force");
        let problem = files.catalog.problems.join("\n");
        assert!(
            problem.contains("shop/web is claimed by several documents") && problem.contains("compose.yaml:3"),
            "{problem}"
        );
        let fresh = Files::new(&[("compose.yaml", TWO), (beside, &document("web", "web:9"))]);
        assert!(matches!(fresh.desired("web", &[]), Desired::Held(_)), "neither, where there was none before");
        assert_eq!(fresh.image("api"), "api:1");
        // What was a document stays one, whatever becomes of its text.
        files.write(beside, document("db", "db:1"));
        files.read();
        files.write(beside, "half of");
        files.read();
        assert!(files.catalog.problems[0].contains(beside), "{:?}", files.catalog.problems);
        assert_eq!(files.image("db"), "db:1");
    }
    let twice = Files::new(&[("one/compose.yaml", TWO), ("two/compose.yaml", TWO)]);
    for name in ["web", "api"] {
        assert!(matches!(twice.desired(name, &[]), Desired::Held(_)), "two projects of one name");
    }
}

#[test]
fn each_directory_below_one_without_a_compose_file_may_have_its_own() {
    let files = Files::new(&[
        ("shop/compose.yaml", "services: {web: {image: web}}\n"),
        ("shop/part/compose.yaml", "services: {part: {image: part}}\n"),
        ("shopping/docker-compose.yml", "services: {web: {image: web}}\n"),
        ("shopping.yaml", &document("db", "db:1")),
    ]);
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    assert_eq!(names(&files.catalog), ["shop/db", "shop/web", "shopping/web"]);
    assert!(files.catalog.minds(&ServiceName::new("other", "x")), "a directory of several is all there is");
    let (reading, _) = asked(&files, Asked { name: Some("x".into()), ..Asked::default() });
    assert!(reading.broken.unwrap().contains("shop/compose.yaml, shopping/docker-compose.yml"));
}

#[test]
fn files_outside_the_project_are_read_only_if_that_is_allowed() {
    let files = Files::new(&[
        ("shop/compose.yaml", "name: shop\nservices:\n  web: {extends: {file: ../common/base.yaml, service: web}}\n"),
        ("common/base.yaml", "services: {web: {image: \"common:1\"}}\n"),
    ]);
    let problem = files.catalog.problems.join("\n");
    assert!(
        problem.contains("shop/compose.yaml:3:") && problem.contains("outside the directory of the project"),
        "{problem}"
    );
    assert!(problem.contains("common/base.yaml") && problem.contains("--allow"), "{problem}");
    let allowed = Asked { allowed: vec![files.path().join("common")], ..Asked::default() };
    let (_, catalog) = asked(&files, allowed);
    assert_eq!(catalog.problems, Vec::<String>::new());
    assert_eq!(catalog.service(&ServiceName::new("shop", "web")).unwrap().spec.image, "common:1");
    // A link is where it leads.
    std::os::unix::fs::symlink("../common", files.path().join("shop/inside")).unwrap();
    files.write("shop/compose.yaml", "services:\n  web: {extends: {file: inside/base.yaml, service: web}}\n");
    let (_, catalog) = asked(&files, Asked::default());
    assert!(catalog.problems.join("\n").contains("outside the directory of the project"), "{:?}", catalog.problems);
    for path in ["/etc/passwd", "/nowhere/at/all", "../../../nowhere"] {
        files.write("shop/compose.yaml", format!("services: {{web: {{image: x, env_file: {path}}}}}\n"));
        let (_, catalog) = asked(&files, Asked::default());
        assert!(catalog.problems.join("\n").contains("outside the directory of the project"), "{:?}", catalog.problems);
    }
}

#[test]
fn relative_paths_start_at_the_project_directory_of_the_host() {
    let text = "name: shop\nservices:\n  web: {image: x, volumes: [\"./data:/data\", \"../up:/up\"], secrets: [token]}\nsecrets: {token: {file: ./token}}\n";
    let files = Files::new(&[("sub/compose.yaml", text)]);
    let mut source = Source::from(files.path());
    let sources = |reading: &Reading| {
        let catalog = Catalog::new(reading, &Catalog::empty(false));
        let web = catalog.service(&ServiceName::new("shop", "web")).map(|web| web.spec.volumes.clone());
        web.map(|mounts| mounts.into_iter().map(|mount| mount.source.unwrap()).collect::<Vec<_>>())
            .ok_or(catalog.problems)
    };
    source.host = HostDir::At("/srv/desired".into());
    assert_eq!(
        sources(&source.read()).unwrap(),
        ["/srv/desired/sub/data", "/srv/desired/up", "/srv/desired/sub/token"]
    );
    source.host = HostDir::Unknown;
    assert!(sources(&source.read()).unwrap_err()[0].contains("--host-dir"));
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

/// The words of the command line, as `run`, `apply`, `plan` and `validate` take them.
fn source(words: &[&str]) -> Source {
    let cli = Cli::try_parse_from(["composed", "plan"].iter().chain(words)).unwrap();
    let Verb::Plan(args) = cli.verb else { panic!("plan") };
    places::documents(args.path.as_deref(), &args.compose, &cli.common)
}

#[test]
fn the_command_line_asks_as_compose_has_it() {
    let files = Files::new(&[
        ("base.yaml", "services:\n  web: {image: \"web:${TAG}-${WHO}\"}\n  debug: {image: debug, profiles: [debug]}\n"),
        ("more/over.yaml", "services: {web: {tty: true}}\n"),
        ("prod.env", "TAG=prod\nWHO=file\n"),
    ]);
    let at = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let words = [
        "-f",
        &at("base.yaml"),
        "-f",
        &at("more/over.yaml"),
        "-p",
        "blue",
        "--profile",
        "debug",
        "--env-file",
        &at("prod.env"),
        "--env",
        "WHO=me",
    ];
    let reading = source(&words).read();
    let catalog = Catalog::new(&reading, &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    assert_eq!(names(&catalog), ["blue/debug", "blue/web"]);
    let web = catalog.service(&ServiceName::new("blue", "web")).unwrap();
    assert_eq!((web.spec.image.as_str(), web.spec.tty), ("web:prod-me", true));
    assert!(catalog.notes.is_empty());
    // One file as the path, of whatever name.
    let one = source(&[&at("base.yaml"), "-p", "green"]).read();
    let catalog = Catalog::new(&one, &Catalog::empty(false));
    assert_eq!(names(&catalog), ["green/web"]);
    assert_eq!(catalog.notes.len(), 2, "{:?}", catalog.notes);
    assert!(
        catalog.notes[0].starts_with("warning: base.yaml:2:16: the variable `TAG` is not set"),
        "{:?}",
        catalog.notes
    );
    for wrong in [["plan", "--env", "A"].as_slice(), &["plan", "-p", "Blue"], &["plan", "x", "-f", "y"]] {
        assert!(Cli::try_parse_from(["composed"].iter().chain(wrong)).is_err(), "{wrong:?}");
    }
    let missing = source(&["-f", &at("none.yaml")]).read();
    assert!(Catalog::new(&missing, &Catalog::empty(false)).problems[0].contains("none.yaml"));
    assert_eq!(source(&["-f", "a.yaml"]).path, PathBuf::from("a.yaml"));
}

/// What the next process makes of the same directory.
fn restarted(files: &Files, confirmed: bool) -> Catalog {
    let state = tempfile::tempdir().unwrap();
    let dir = StateDir::open(state.path()).unwrap();
    dir.save_made_of(&files.catalog.made_of()).unwrap();
    Catalog::new(&read(files.path()), &Catalog::empty(confirmed).knowing(dir.load_made_of()))
}

#[test]
fn variables_that_are_away_after_a_restart_are_missed_as_before() {
    let text = "name: shop\nservices:\n  web: {image: \"web:${TAG:-none}\"}\n";
    let files = Files::new(&[("compose.yaml", text), (".env", "TAG=1\n")]);
    let held = |catalog: &Catalog| match catalog.desired(&ServiceName::new("shop", "web"), &BTreeSet::new(), LONG_AGO) {
        Desired::Held(why) => Some(why),
        _ => None,
    };
    assert_eq!(held(&restarted(&files, false)), None, "nothing is away");
    files.remove(".env");
    let after = restarted(&files, false);
    let why = held(&after).expect("held");
    assert!(why.contains(".env of compose.yaml had variables") && why.contains("--confirm-deletion"), "{why}");
    assert!(after.problems.contains(&why), "{:?}", after.problems);
    assert_eq!(after.made_of(), files.catalog.made_of(), "and at the restart after that");
    assert_eq!(held(&restarted(&files, true)), None, "confirmed");
    files.write("compose.yaml", format!("{text}# changed\n"));
    assert_eq!(held(&restarted(&files, false)), None, "a wish");
    files.write("compose.yaml", text);
    files.write(".env", "TAG=2\n");
    assert_eq!(held(&restarted(&files, false)), None, "it is back");
}

#[test]
fn a_compose_file_that_is_passed_by_is_named() {
    let files = Files::new(&[
        ("shop/compose.yaml", "name: shop\ninclude: [in/compose.yaml]\nservices: {web: {image: web}}\n"),
        ("shop/in/compose.yaml", "services: {in: {image: in}}\n"),
        ("shop/vendor/thing/docker-compose.yml", "services: {thing: {image: thing}}\n"),
    ]);
    let notes = &files.catalog.notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].starts_with("warning: shop/vendor/thing/docker-compose.yml is passed by"), "{notes:?}");
    assert!(notes[0].contains("shop/compose.yaml"), "{notes:?}");
}

#[test]
fn containers_that_the_file_never_asked_for_are_orphans() {
    let name = |name: &str| ServiceName::new("shop", name);
    let owned: BTreeSet<_> = ["web", "api", "own", "web-front"].map(name).into();
    let two = "name: shop\nservices:\n  web: {image: web}\n  api: {image: api}\n  new: {image: new}\n";
    let mut files = Files::new(&[("compose.yaml", two)]);
    files.write("compose.yaml", "name: shop\nservices: {web: {image: web}, new: {image: new}}\n");
    let fresh = Catalog::new(&read(files.path()), &Catalog::empty(false));
    files.read();
    for (catalog, api_came) in [(&files.catalog, true), (&restarted(&files, false), true), (&fresh, false)] {
        let desired = |service: &str| catalog.desired(&name(service), &owned, LONG_AGO);
        let Desired::Held(why) = desired("own") else { panic!("own") };
        assert!(why.contains("shop/own is an orphan") && why.contains("--remove-orphans"), "{why}");
        assert_eq!(desired("api") == Desired::Gone(LONG_AGO), api_came, "it left the file, if that is known");
        assert!(!matches!(desired("web-front"), Desired::Held(why) if why.contains("orphan")), "it is of web");
        assert!(!catalog.is_orphan(&name("web")) && catalog.is_orphan(&name("own")));
    }
    let (_, willing) = asked(&files, Asked { remove_orphans: true, ..Asked::default() });
    assert_eq!(
        willing.desired(&name("own"), &[name("web"), name("new"), name("own")].into(), LONG_AGO),
        Desired::Gone(LONG_AGO)
    );
    // What is gone is forgotten: whoever asks for it next has it.
    files.catalog.forget(&name("api"));
    assert!(files.catalog.is_orphan(&name("api")) && restarted(&files, false).is_orphan(&name("api")));
}

#[test]
fn a_profile_that_no_service_has_is_told() {
    let files =
        Files::new(&[("compose.yaml", "services: {web: {image: web}, debug: {image: x, profiles: [debug]}}\n")]);
    let notes = |profiles: &[&str]| {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        asked(&files, Asked { profiles, ..Asked::default() }).1.notes
    };
    assert_eq!(notes(&["debug", "*"]), Vec::<String>::new());
    let told = notes(&["debgu", "web"]);
    assert_eq!(told[0], "warning: --profile debgu: no service has this profile (did you mean `debug`?)");
    assert_eq!(told[1], "warning: --profile web: no service has this profile (there are: debug)");
    assert_eq!(told.len(), 2);
}

#[test]
fn this_directory_is_meant_only_with_a_compose_file() {
    let Verb::Plan(args) = Cli::try_parse_from(["composed", "plan"]).unwrap().verb else { panic!("plan") };
    // Tests run in the package's directory, which has none.
    let why = places::named(args.path.as_deref(), &args.compose).unwrap_err();
    assert!(why.contains("compose.yaml") && why.contains("-f"), "{why}");
    assert!(places::named(Some(Path::new("x")), &args.compose).is_ok());
}
