//! What the command line says of Compose projects.

use super::*;

/// The words of the command line, as `run`, `apply`, `plan` and `validate` take them.
fn source(words: &[&str]) -> Source {
    let cli = Cli::try_parse_from(["composed", "plan"].iter().chain(words)).unwrap();
    let CliCommand::Plan(args) = cli.verb else { panic!("plan") };
    places::documents(args.path.as_deref(), &args.compose, &cli.common)
}

#[test]
fn the_command_line_asks_as_compose_has_it() {
    let files = Files::new(&[
        (
            "base.yaml",
            "services:\n  web: {image: \"web:v${TAG}-${WHO}\"}\n  debug: {image: debug, profiles: [debug]}\n",
        ),
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
    assert_eq!((web.spec.image.as_str(), web.spec.tty), ("web:vprod-me", true));
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

#[test]
fn a_profile_that_no_service_has_is_told() {
    let files =
        Files::new(&[("compose.yaml", "services: {web: {image: web}, debug: {image: x, profiles: [debug]}}\n")]);
    let notes = |profiles: &[&str]| {
        let profiles = profiles.iter().map(|name| (*name).to_owned()).collect();
        asked(&files, ComposeOptions { profiles, ..ComposeOptions::default() }).1.notes
    };
    assert_eq!(notes(&["debug", "*"]), Vec::<String>::new());
    let told = notes(&["debgu", "web"]);
    assert_eq!(told[0], "warning: --profile debgu: no service has this profile (did you mean `debug`?)");
    assert_eq!(told[1], "warning: --profile web: no service has this profile (there are: debug)");
    assert_eq!(told.len(), 2);
}

#[test]
fn this_directory_is_meant_only_with_a_compose_file() {
    let CliCommand::Plan(args) = Cli::try_parse_from(["composed", "plan"]).unwrap().verb else { panic!("plan") };
    // Tests run in the package's directory, which has none.
    let why = places::named(args.path.as_deref(), &args.compose).unwrap_err();
    assert!(why.contains("compose.yaml") && why.contains("-f"), "{why}");
    assert!(places::named(Some(Path::new("x")), &args.compose).is_ok());
}
