//! Every value that an earlier version has written is read.

use super::*;

#[test]
fn every_value_of_an_earlier_version_is_read_and_saved_again() {
    for case in cases() {
        let dir = tempfile::tempdir().unwrap();
        copy(&case.join("state"), dir.path(), &|_, text| text);
        let state = StateDir::open(dir.path()).unwrap();
        for file in files(dir.path()) {
            let (path, what) = (dir.path().join(&file), format!("{}/{file}", case.display()));
            if let Some(service) = service_of(&file, "services/") {
                let (old, memory) = (json(&path), state.load(&service));
                assert_ne!(memory, ServiceRecord::default(), "{what}");
                std::fs::remove_file(&path).unwrap();
                state.save(&service, &memory.persistent_part()).unwrap();
                assert_kept(&old, &json(&path), &what);
                assert_eq!(state.load(&service), memory.persistent_part(), "{what}");
                // What a revision is called follows from its specification: were that to change, a later version could tell.
                for record in &memory.revisions.history {
                    let names = [Some(base_revision(&record.revision)), record.document.clone()];
                    assert!(names.contains(&Some(record.spec.revision())), "{what}: {record:#?}");
                }
            } else if let Some(service) = service_of(&file, "status/") {
                let (old, status) = (json(&path), state.load_status(&service).expect(&what));
                std::fs::remove_file(&path).unwrap();
                state.save_status(&service, &status).unwrap();
                assert_kept(&old, &json(&path), &what);
            } else if file == "compose.json" {
                let (old, made_of) = (json(&path), state.load_made_of());
                std::fs::remove_file(&path).unwrap();
                state.save_made_of(&made_of).unwrap();
                assert_kept(&old, &json(&path), &what);
            } else {
                let known = WITH_READERS.contains(&file.as_str()) || file.starts_with("git/");
                assert!(known, "{what}: nothing here reads it");
            }
        }
        assert_silent(&state, dir.path());
    }
}

/// The parts of a memory that no state of an earlier version has, and why; else these tests would say less than they seem to.
#[test]
fn the_states_have_all_that_a_memory_can_hold() {
    const MISSING: [(&str, &str); 1] = [("applied", "it is younger")];
    let mut empty: BTreeSet<String> = BTreeSet::new();
    let nothing = serde_json::to_value(ServiceRecord::default()).unwrap();
    empty.extend(nothing.as_object().unwrap().keys().cloned());
    let mut hooks = BTreeSet::new();
    for case in cases() {
        for file in files(&case.join("state")) {
            if service_of(&file, "services/").is_some() {
                let memory = json(&case.join("state").join(&file));
                empty.retain(|key| memory.get(key).is_none_or(|value| Some(value) == nothing.get(key)));
                let memory: ServiceRecord = serde_json::from_value(memory).unwrap();
                let records =
                    memory.revisions.history.iter().flat_map(|record| [&record.pre_deploy, &record.post_deploy]);
                hooks.extend(records.flatten().map(|hook| format!("{:?}", hook.state)));
            }
        }
    }
    let missing: BTreeSet<_> = MISSING.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(empty, missing);
    assert!(hooks.contains("Done") && hooks.contains("Failed"), "{hooks:?}");
}
