//! When services without a document are removed, and when that is not believed.

use super::*;

fn gone(files: &Files, name: &str, owned: &[&str]) -> Result<(), String> {
    match files.desired(name, owned) {
        Desired::Gone(_) => Ok(()),
        Desired::Held(why) => Err(why),
        Desired::Run(_) => panic!("{name} is wanted"),
    }
}

#[test]
fn documents_under_other_names_do_not_make_a_removal_credible() {
    let mut files = Files::new(&[("a.yaml", &document("a", "x:1")), ("b.yaml", &document("b", "x:1"))]);
    for name in ["a", "b"] {
        files.remove(&format!("{name}.yaml"));
        for new in ["1", "2", "3"] {
            files.write(&format!("{name}{new}.yaml"), document(&format!("{name}{new}"), "x:1"));
        }
    }
    files.read();
    let why = gone(&files, "a", &["a", "b"]).unwrap_err();
    assert!(why.contains("2 of 2") && why.contains("--confirm-deletion"), "{why}");
    let more = ["a", "b", "a1", "a2", "a3", "b1", "b2", "b3"];
    gone(&files, "a", &more).unwrap_err();
    files.read();
    gone(&files, "b", &more).unwrap_err();
    // One comes back, with no replicas, and then has no containers any more.
    files.write("a.yaml", format!("{}  replicas: 0\n", document("a", "x:1")));
    files.read();
    gone(&files, "b", &more).unwrap_err();
    files.write("b.yaml", document("b", "x:1"));
    files.read();
    files.catalog.take_stock(&more.map(|name| ServiceName::new("shop", name)).into());
    files.remove("b.yaml");
    files.read();
    assert_eq!(gone(&files, "b", &more), Ok(()), "one of eight, now that all were back");
}

#[test]
fn stock_is_taken_before_new_services_make_the_lost_ones_look_few() {
    let mut files = Files::new(&[("a.yaml", &document("a", "x:1"))]);
    files.remove("a.yaml");
    files.write("b.yaml", document("b", "x:1"));
    files.read();
    files.catalog.take_stock(&[ServiceName::new("shop", "a")].into());
    gone(&files, "a", &["a", "b"]).unwrap_err();
}

#[test]
fn one_of_two_is_removed() {
    let mut files = Files::new(&[("a.yaml", &document("a", "x:1")), ("b.yaml", &document("b", "x:1"))]);
    files.remove("a.yaml");
    files.read();
    assert_eq!(gone(&files, "a", &["a", "b"]), Ok(()));
}

#[test]
fn a_file_that_was_empty_from_the_start_is_a_doubt() {
    for nothing in ["", "# later\n"] {
        let mut files = Files::new(&[("a.yaml", &document("a", "x:1")), ("b.yaml", nothing)]);
        assert_eq!(files.catalog.problems, Vec::<String>::new());
        for _ in 0..2 {
            let why = gone(&files, "b", &["a", "b"]).unwrap_err();
            assert!(why.contains("b.yaml holds no documents") && why.contains("delete the file"), "{why}");
            files.read();
        }
        files.remove("b.yaml");
        files.read();
        assert_eq!(gone(&files, "b", &["a", "b"]), Ok(()));
    }
}
