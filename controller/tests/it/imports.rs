//! `composed import`: service files that come to what the Compose project comes to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use composed::cli::args::{Cli, CliCommand};
use composed::cli::import::import;
use composed::cli::places;
use composed_source::catalog::Catalog;
use composed_source::files::Source;

/// Runs `composed import` with these words; true if it was done.
fn run(words: &[String]) -> bool {
    let words = ["composed", "import"].map(str::to_owned).into_iter().chain(words.iter().cloned());
    let cli = Cli::try_parse_from(words).unwrap();
    let CliCommand::Import(args) = cli.verb else { panic!("import") };
    import(&args, &cli.common).unwrap() == ExitCode::SUCCESS
}

fn catalog(source: &Source) -> Catalog {
    Catalog::new(&source.read(), &Catalog::empty(false))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

/// A project of the corpus in a directory of its own, and the words that ask for it.
fn project(dir: &Path, into: &Path) -> Vec<String> {
    let here = into.join(dir.file_name().unwrap());
    copy(dir, &here);
    let args = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
    let mut words: Vec<String> = Vec::new();
    let mut given = args.split_whitespace();
    while let Some(flag) = given.next() {
        let value = given.next().unwrap();
        let file = matches!(flag, "-f" | "--env-file");
        words.extend([flag.to_owned(), if file { here.join(value).display().to_string() } else { value.to_owned() }]);
    }
    if !words.iter().any(|word| word == "-f") {
        words.push(here.display().to_string());
    }
    words.extend(["--allow".to_owned(), into.display().to_string()]);
    words
}

fn asked(words: &[String]) -> Source {
    let cli = Cli::try_parse_from(["composed".to_owned(), "plan".to_owned()].into_iter().chain(words.iter().cloned()))
        .unwrap();
    let CliCommand::Plan(args) = cli.verb else { panic!("plan") };
    places::documents(args.path.as_deref(), &args.compose, &cli.common)
}

#[test]
fn the_whole_corpus_comes_to_the_same_revisions() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crd-schema/tests/compose/corpus");
    let mut dirs: Vec<PathBuf> = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.sort();
    let (mut projects, mut services, mut references) = (0, 0, 0);
    for dir in dirs.iter().filter(|dir| dir.is_dir()) {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let room = tempfile::tempdir().unwrap();
        let words = project(dir, room.path());
        let before = catalog(&asked(&words));
        assert_eq!(before.problems, Vec::<String>::new(), "{name}");
        let out = room.path().join("some/out");
        let more = ["--out".to_owned(), out.display().to_string()];
        assert!(run(&[words.as_slice(), &more].concat()), "{name}");
        // Environment files stay where they are.
        let mut source = Source::from(out.as_path());
        source.compose.allowed = vec![room.path().to_owned(), dir.clone()];
        let after = catalog(&source);
        assert_eq!(after.problems, Vec::<String>::new(), "{name}");
        let names = |catalog: &Catalog| catalog.names().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&before), names(&after), "{name}");
        for service in before.names() {
            let (before, after) = (before.service(service).unwrap(), after.service(service).unwrap());
            assert_eq!(before.revision, after.revision, "{name}: {service}");
            references += usize::from(!after.spec.env_file.is_empty());
            let mut spec = (*after.spec).clone();
            spec.env_file.clear();
            assert_eq!(before.spec, spec.into(), "{name}: {service}");
            assert_eq!(
                (before.one_shot, &before.restart_after),
                (after.one_shot, &after.restart_after),
                "{name}: {service}"
            );
            assert_eq!(*before.spec.environment, *after.spec.environment);
            services += 1;
        }
        for project in before.names().map(|name| &name.project).collect::<BTreeSet<_>>() {
            assert_eq!(before.project(project), after.project(project), "{name}");
        }
        projects += 1;
    }
    println!("{projects} projects, {services} services, {references} with references to files of variables");
    assert!(projects >= 50 && services >= 100 && references >= 5, "{projects} {services} {references}");
}

const SHOP: &str = "\
name: shop
services:
  web:
    extends: {file: base.yaml, service: web}
    env_file: web.env
    environment:
      TOKEN: ${TOKEN}
      LOG: info
    volumes: [\"./data:/data\", \"logs:/logs\"]
volumes: {logs: {}}
";

fn shop() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("compose.yaml", SHOP),
        ("base.yaml", "services:\n  web:\n    image: web:${TAG}\n    hostname: h\n"),
        (".env", "TAG=7\nTOKEN=hunter2hunter\n"),
        ("web.env", "PASSWORD=swordfish\n"),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

#[test]
fn comments_say_what_is_from_where_and_secrets_stay_in_files_of_their_own() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = shop();
    let out = dir.path().join("services");
    assert!(run(&[dir.path().display().to_string(), "--out".into(), out.display().to_string()]));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let web = read("web.yaml");
    for part in [
        "# Service web of project shop, imported from compose.yaml:3.\n",
        "# image is written in clear, made of `web:${TAG}` (base.yaml:3)\n",
        "  image: web:7  # base.yaml:3\n",
        "  hostname: h  # base.yaml:4\n",
        "    LOG: info\n",
        "    - path: ../web.env\n",
        "    - path: web.env\n",
        "      source: ../data\n",
    ] {
        assert!(web.contains(part), "{part}\n{web}");
    }
    assert!(!web.contains("hunter2") && !web.contains("swordfish") && !web.contains("TOKEN:"), "{web}");
    assert_eq!(read("web.env"), "TOKEN='hunter2hunter'\n");
    let mode = std::fs::metadata(out.join("web.env")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(
        read("project.yaml").ends_with("  volumes:  # compose.yaml:10\n    logs: {}\n"),
        "{}",
        read("project.yaml")
    );
}

#[test]
fn nothing_is_written_over() {
    let dir = shop();
    let out = dir.path().join("services");
    let words = [dir.path().display().to_string(), "--out".into(), out.display().to_string()];
    assert!(run(&words));
    std::fs::write(out.join("web.yaml"), "mine").unwrap();
    std::fs::remove_file(out.join("project.yaml")).unwrap();
    assert!(!run(&words));
    assert_eq!(std::fs::read_to_string(out.join("web.yaml")).unwrap(), "mine");
    assert!(!out.join("project.yaml").exists(), "all or nothing");
    assert!(run(&[words.as_slice(), &["--force".to_owned()]].concat()));
    assert_ne!(std::fs::read_to_string(out.join("web.yaml")).unwrap(), "mine");
    // Nor, whatever is said, what the project is made of.
    std::fs::write(dir.path().join("web.yaml"), "services: {web: {image: x, hostname: \"${TAG}\"}}").unwrap();
    let main = dir.path().join("web.yaml").display().to_string();
    assert!(!run(&["-f".into(), main, "--out".into(), dir.path().display().to_string(), "--force".into()]));
    assert!(std::fs::read_to_string(dir.path().join("web.yaml")).unwrap().starts_with("services:"));
}
