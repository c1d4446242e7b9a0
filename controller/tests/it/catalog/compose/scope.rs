//! Which services and files belong to a project.

use super::*;

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
fn what_a_project_made_under_its_earlier_name_stays() {
    let mut files = Files::new(&[("compose.yaml", TWO)]);
    let earlier = ServiceName::new("shop", "web");
    let owned = [earlier.clone(), ServiceName::new("shop", "api")].into();
    let renamed = TWO.replace("name: shop", "name: store");
    assert_ne!(renamed, TWO);
    files.write("compose.yaml", &renamed);
    files.read();
    let said = |catalog: &Catalog| match catalog.desired(&earlier, &owned, LONG_AGO) {
        Desired::Held(why) => why,
        other => panic!("{other:?}"),
    };
    let why = "compose.yaml is of project store now and was of shop: what shop made runs on beside it";
    assert!(said(&files.catalog).starts_with(why), "{}", said(&files.catalog));
    let known = files.catalog.made_of();
    // A later process remembers it, and one that was told to remove more than half removes nothing of it.
    let mut later = Files { dir: files.dir, catalog: Catalog::empty(true).knowing(known.clone()) };
    later.read();
    assert!(said(&later.catalog).starts_with(why), "{}", said(&later.catalog));
    // Nobody who was never of this file is said to have been.
    let stranger = ServiceName::new("blog", "web");
    let Desired::Held(other) = later.catalog.desired(&stranger, &owned, LONG_AGO) else { panic!("blog") };
    assert!(other.contains("described elsewhere"), "{other}");
    // One that left the file of a project that kept its name has not been renamed.
    let mut left = Files { dir: later.dir, catalog: Catalog::empty(true).knowing(known) };
    left.write("compose.yaml", "name: shop\nservices:\n  api: {image: \"api:1\"}\n");
    left.read();
    assert_eq!(left.catalog.desired(&earlier, &owned, LONG_AGO), Desired::Gone(LONG_AGO));
}

#[test]
fn services_that_ask_for_one_host_port_are_told() {
    let text = "name: shop\nservices:\n  web: {image: a, ports: [\"8080:80\"]}\n  api: {image: a, ports: [\"127.0.0.1:8080:81\"]}\n  \
                udp: {image: a, ports: [\"8080:80/udp\"]}\n  other: {image: a, ports: [\"8081:80\"]}\n";
    let files = Files::new(&[("compose.yaml", text)]);
    let notes = &files.catalog.notes;
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(
        notes[0].contains("compose.yaml:3: shop/web asks for host port 8080, and so does shop/api (compose.yaml:4)"),
        "{notes:?}"
    );
}

#[test]
fn a_project_of_which_no_service_is_active_says_which_profiles_there_are() {
    let text = "name: shop\nservices:\n  web: {image: a, profiles: [x]}\n  api: {image: a, profiles: [y]}\n";
    let files = Files::new(&[("compose.yaml", text)]);
    let catalog = &files.catalog;
    assert_eq!((catalog.names().count(), &catalog.problems), (0, &Vec::new()));
    assert!(catalog.inactive.contains("compose.yaml"));
    assert!(catalog.notes[0].contains("no service of it is active: all have profiles (x, y)"), "{:?}", catalog.notes);
    let asked = ComposeOptions { profiles: vec!["x".to_owned()], ..ComposeOptions::default() };
    let (_, catalog) = self::asked(&files, asked);
    assert_eq!((catalog.names().count(), catalog.inactive.len()), (1, 0));
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
    let (reading, _) = asked(&files, ComposeOptions { name: Some("x".into()), ..ComposeOptions::default() });
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
    let allowed = ComposeOptions { allowed: vec![files.path().join("common")], ..ComposeOptions::default() };
    let (_, catalog) = asked(&files, allowed);
    assert_eq!(catalog.problems, Vec::<String>::new());
    assert_eq!(catalog.service(&ServiceName::new("shop", "web")).unwrap().spec.image, "common:1");
    // A link is where it leads.
    std::os::unix::fs::symlink("../common", files.path().join("shop/inside")).unwrap();
    files.write("shop/compose.yaml", "services:\n  web: {extends: {file: inside/base.yaml, service: web}}\n");
    let (_, catalog) = asked(&files, ComposeOptions::default());
    assert!(catalog.problems.join("\n").contains("outside the directory of the project"), "{:?}", catalog.problems);
    for path in ["/etc/passwd", "/nowhere/at/all", "../../../nowhere"] {
        files.write("shop/compose.yaml", format!("services: {{web: {{image: x, env_file: {path}}}}}\n"));
        let (_, catalog) = asked(&files, ComposeOptions::default());
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
