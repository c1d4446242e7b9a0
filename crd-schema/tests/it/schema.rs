//! The JSON Schema: committed, current, and as strict as the reader.

use std::path::Path;

use crate::golden;

#[test]
fn the_committed_schema_is_current() {
    let schemas =
        [("composed.dev_v1", crd_schema::schema()), ("composed.dev_settings_v1", crd_schema::settings_schema())];
    for (name, schema) in schemas {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("schema/{name}.json"));
        golden::check(&path, &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
    }
}

#[test]
fn every_key_is_described_and_every_map_is_closed() {
    let (schema, settings) = (crd_schema::schema(), crd_schema::settings_schema());
    let all = schema["$defs"].as_object().unwrap().iter().chain(settings["$defs"].as_object().unwrap());
    for (name, definition) in all.chain([(&"settings".to_owned(), &settings)]) {
        let Some(properties) = definition["properties"].as_object() else { continue };
        assert_eq!(definition["additionalProperties"], false, "{name}");
        assert!(definition["patternProperties"]["^x-"].is_object(), "{name}");
        for (key, property) in properties {
            assert!(property["description"].is_string(), "{name}.{key} has no description");
        }
    }
}
