//! Wrong Compose files and what is said about them: `tests/compose/bad/NN-name.yaml` and `.txt`. One file may hold
//! several: `# file: NAME` begins the next one.

use crd_schema::compose::load;

use super::{Memory, folder, request, said};
use crate::golden;

#[test]
fn every_bad_file_is_refused_in_words_a_newcomer_can_act_on() {
    let mut files: Vec<_> = std::fs::read_dir(folder("bad")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    assert!(files.len() >= 30, "only {} bad files", files.len());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let mut memory = Memory::default();
        let mut current = "compose.yaml".to_owned();
        for line in text.split_inclusive('\n') {
            match line.strip_prefix("# file: ") {
                Some(next) => next.trim().clone_into(&mut current),
                None => memory.files.entry(current.clone()).or_default().push_str(line),
            }
        }
        let mut request = request();
        if memory.files.contains_key("compose.override.yaml") {
            request.files.push("compose.override.yaml".into());
        }
        let Err(problems) = load(&request, &mut memory) else { panic!("{name} was accepted") };
        for problem in &problems {
            let plain = ["YAML", "expected"].iter().any(|word| problem.message.contains(word));
            assert!(problem.help.is_some() || plain, "{name}: no help: {problem}");
            assert!(problem.line >= 1 && problem.column >= 1 && !problem.file.is_empty(), "{name}: {problem:?}");
        }
        let said = said(&problems);
        assert!(!said.contains("hunter"), "{name} leaks a secret:\n{said}");
        golden::check(&path.with_extension("txt"), &said);
    }
}
