//! Environment files belong to the desired state, and may be where the documents are.

use super::*;

fn variable(files: &Files) -> Option<String> {
    match files.desired("web", &[]) {
        Desired::Run(web) => web.spec.environment.0.get("A").cloned(),
        other => panic!("{other:?}\n{:?}", files.catalog.problems),
    }
}

fn with(env_file: &str) -> String {
    format!("{}  env_file: {env_file}\n", document("web", "web:1"))
}

#[test]
fn hidden_ones_and_those_above_are_part_of_the_reading() {
    for (named, path) in [(".env", "web/.env"), ("../common.env", "common.env")] {
        let mut files = Files::new(&[("web/web.yaml", &with(named)), (path, "A=1\n")]);
        assert_eq!(variable(&files).as_deref(), Some("1"));
        let before = read(files.path());
        // Nothing tells but the content.
        files.write(path, "A=2\n");
        let after = read(files.path());
        assert!(before != after, "{named}");
        files.read();
        assert_eq!(variable(&files).as_deref(), Some("2"));
    }
}

/// A document cannot read files of the host that are elsewhere, by its paths or by links.
#[test]
fn files_outside_of_the_documents_directory_are_read_where_that_is_allowed() {
    let elsewhere = tempfile::tempdir().unwrap();
    let outside = elsewhere.path().join("out.env");
    std::fs::write(&outside, "A=1\n").unwrap();
    let outside = outside.to_str().unwrap();
    for named in [outside, "link.env", "dir/out.env", "/etc/shadow", "../../../nowhere"] {
        let files = Files::new(&[("web/web.yaml", &with(named))]);
        std::os::unix::fs::symlink(outside, files.path().join("web/link.env")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), files.path().join("web/dir")).unwrap();
        let catalog = Catalog::new(&read(files.path()), &Catalog::empty(false));
        let problem = catalog.problems.join("\n");
        assert!(problem.contains("outside the directory") && problem.contains("--allow"), "{named}: {problem}");
        if named != "/etc/shadow" && !named.contains("nowhere") {
            let mut source = Source::from(files.path());
            source.compose.allowed = vec![elsewhere.path().to_owned()];
            let catalog = Catalog::new(&source.read(), &Catalog::empty(false));
            assert_eq!(catalog.problems, Vec::<String>::new(), "{named}");
        }
    }
}

#[test]
fn an_emptied_one_is_a_broken_one_until_the_document_changes() {
    let mut files = Files::new(&[("web.yaml", &with(".env")), (".env", "A=1\n")]);
    for _ in 0..2 {
        for nothing in ["", "# soon\n"] {
            files.write(".env", nothing);
            files.read();
            assert_eq!(variable(&files).as_deref(), Some("1"), "{nothing:?}");
            let problem = &files.catalog.problems[0];
            assert!(problem.contains("web.yaml:1") && problem.contains(".env of shop/web had variables"), "{problem}");
        }
        files.write(".env", "A=1\n");
        files.read();
        assert_eq!(files.catalog.problems, Vec::<String>::new());
    }
    files.write(".env", "");
    files.write("web.yaml", format!("{}  replicas: 2\n", with(".env")));
    files.read();
    assert_eq!(variable(&files), None, "a wish");
    assert_eq!(files.catalog.problems, Vec::<String>::new());
    let fresh = Files::new(&[("web.yaml", &with(".env")), (".env", "")]);
    assert_eq!(variable(&fresh), None, "it never held any");
    let optional = Files::new(&[("web.yaml", &with("[{path: none.env, required: false}]"))]);
    assert_eq!(variable(&optional), None);
}

/// A service document and a Compose project read the same lines alike, but for a name alone.
#[test]
fn the_lines_of_a_file_mean_the_same_in_a_service_document_and_in_a_compose_project() {
    let environment = "{OWN: own, BOTH: mine}";
    for (format, text, expected) in [
        ("", "A=1", "1"),
        ("", "export A=1", "1"),
        ("", "A: yaml", "yaml"),
        ("", "A = two words # note", "two words"),
        ("", "A=x#y", "x#y"),
        ("", "A=", ""),
        ("", "A=a=b", "a=b"),
        ("", "\u{feff}# note\n\n  A=1  ", "1"),
        ("", "A=\r\nB=2", ""),
        ("", "A='sin#gle $X \"q\"'", "sin#gle $X \"q\""),
        ("", "A='it\\'s'", "it's"),
        ("", "A='back\\slash'", "back\\slash"),
        ("", "A=\"a\\nb\\tc\\d\" # note", "a\nb\tc\\d"),
        ("", "A=\"over\ntwo lines\"", "over\ntwo lines"),
        ("", "A=\"\\$OWN $$OWN ${OWN}\"", "$OWN $OWN own"),
        ("", "A=$OWN/$NONE/${NONE:-d}", "own//d"),
        ("", "B=first\nA=${B}-second", "first-second"),
        ("", "BOTH=theirs\nA=$BOTH", "mine"),
        ("", "A=1\nA=2", "2"),
        ("", "A='x' B=y", "x"),
        ("raw", "A='$X' # y", "'$X' # y"),
        ("raw", "  A= two words \r\nB=1", " two words "),
        ("raw", "A=\"over\nB=two lines\"", "\"over"),
    ] {
        let format = if format.is_empty() { String::new() } else { format!(", format: {format}") };
        let keys = format!("environment: {environment}, env_file: [{{path: ./web.env{format}}}]");
        let ours = format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: web}}\nspec: {{image: x, {keys}}}\n"
        );
        let composes = format!("name: shop\nservices: {{web: {{image: x, {keys}}}}}\n");
        let [ours, composes] = [("web.yaml", ours), ("compose.yaml", composes)].map(|(name, document)| {
            let files = Files::new(&[(name, &document), ("web.env", text)]);
            assert_eq!(files.catalog.problems, Vec::<String>::new(), "{name}: {text:?}");
            let Desired::Run(web) = files.desired("web", &[]) else { panic!("{name}: {text:?}") };
            web.spec.environment.0.clone()
        });
        assert_eq!(ours, composes, "{text:?}");
        assert_eq!(ours["A"], expected, "{text:?}");
    }
    for text in ["OWN\n", "NONE\n"] {
        let files = Files::new(&[("web.yaml", &with("web.env")), ("web.env", text)]);
        let problem = files.catalog.problems.join("\n");
        assert!(problem.contains("web.env:1: expected NAME=value: composed never passes"), "{problem}");
    }
}

/// Values that use each other grow no further than those of a Compose project may.
#[test]
fn what_values_of_a_file_may_become_is_bounded() {
    let doubling: String = (1..60).map(|n| format!("A{n}=$A{0}$A{0}\n", n - 1)).collect();
    let files = Files::new(&[("web.yaml", &with("web.env")), ("web.env", &format!("A0=xx\n{doubling}"))]);
    let problem = files.catalog.problems.join("\n");
    assert!(problem.contains("bytes of text") && problem.len() < 1000, "{problem}");
}
