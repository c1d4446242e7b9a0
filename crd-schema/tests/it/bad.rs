//! Bad documents and what is said about them: `tests/bad/NN-name.yaml` and `.txt`.

use std::{fs, path::Path};

use crate::golden;

#[test]
fn every_bad_file_is_refused_in_words_a_newcomer_can_act_on() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 24, "only {} bad files", files.len());
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Err(problems) = crd_schema::parse(name, &text) else { panic!("{name} was accepted") };
        let mut said = String::new();
        for problem in &problems {
            // "expected a list" says what to do by itself.
            let plain = ["YAML", "expected"].iter().any(|word| problem.message.contains(word));
            assert!(problem.help.is_some() || plain, "{name}: no help: {problem}");
            assert!(problem.line >= 1 && problem.column >= 1, "{name}: {problem:?}");
            assert_eq!(problem.file, name);
            said.push_str(&format!("{problem}\n\n"));
        }
        assert!(!said.contains("hunter"), "{name} leaks a secret:\n{said}");
        golden::check(&path.with_extension("txt"), &said);
    }
}
