//! What is known of projects after a restart, and what is an orphan.

use super::*;

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
    let (_, willing) = asked(&files, ComposeOptions { remove_orphans: true, ..ComposeOptions::default() });
    assert_eq!(
        willing.desired(&name("own"), &[name("web"), name("new"), name("own")].into(), LONG_AGO),
        Desired::Gone(LONG_AGO)
    );
    // What is gone is forgotten: whoever asks for it next has it.
    files.catalog.forget(&name("api"));
    assert!(files.catalog.is_orphan(&name("api")) && restarted(&files, false).is_orphan(&name("api")));
}
