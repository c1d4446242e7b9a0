//! The JSON Schema: committed, current, and as strict as the reader.

use std::path::Path;

use crate::golden;

#[test]
fn the_committed_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/composed.dev_v1.json");
    let text = serde_json::to_string_pretty(&crd_schema::schema()).unwrap() + "\n";
    golden::check(&path, &text);
}

#[test]
fn every_key_is_described_and_every_map_is_closed() {
    let schema = crd_schema::schema();
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let Some(properties) = definition["properties"].as_object() else { continue };
        assert_eq!(definition["additionalProperties"], false, "{name}");
        assert!(definition["patternProperties"]["^x-"].is_object(), "{name}");
        for (key, property) in properties {
            assert!(property["description"].is_string(), "{name}.{key} has no description");
        }
    }
}
