//! The JSON Schema of a document, for editors (yaml-language-server) and for people. Generated from the types: the
//! descriptions are their doc comments.

use schemars::{
    Schema,
    generate::SchemaSettings,
    transform::{Transform, transform_subschemas},
};
use serde_json::{Value, json};

use crate::settings::Settings;
use crate::{Project, Service};

/// The JSON Schema (2020-12) of one document. The committed copy is `crd-schema/schema/composed.dev_v1.json`.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().with_transform(Strict).into_generator();
    let service = generator.subschema_for::<Service>();
    let project = generator.subschema_for::<Project>();
    let definitions = generator.take_definitions(true);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://composed.dev/schema/composed.dev_v1.json",
        "title": "composed.dev/v1",
        "description": "A document for composed: a service of a Compose project, or the project itself.",
        "oneOf": [service, project],
        "$defs": definitions,
    })
}

/// The JSON Schema (2020-12) of the settings file. The committed copy is
/// `crd-schema/schema/composed.dev_settings_v1.json`.
pub fn settings_schema() -> Value {
    let mut schema =
        SchemaSettings::draft2020_12().with_transform(Strict).into_generator().into_root_schema_for::<Settings>();
    schema.insert("$id".to_owned(), json!("https://composed.dev/schema/composed.dev_settings_v1.json"));
    schema.to_value()
}

/// What the types say and their schema does not: no value is an error, `x-` keys are allowed wherever keys are closed,
/// and a word with one meaning is a `const`.
#[derive(Clone, Debug)]
struct Strict;

impl Transform for Strict {
    fn transform(&mut self, schema: &mut Schema) {
        transform_subschemas(self, schema);
        // Derived options say "null" last; the forms where nothing means something say it first.
        if let Some(Value::Array(types)) = schema.get_mut("type")
            && types.last().is_some_and(|last| last == "null")
        {
            types.pop();
            if let [only] = types.as_slice() {
                let only = only.clone();
                schema.insert("type".to_owned(), only);
            }
        }
        if let Some(Value::Array(choices)) = schema.get_mut("anyOf")
            && choices.last().is_some_and(|last| *last == json!({ "type": "null" }))
        {
            choices.pop();
            if let [Value::Object(only)] = choices.as_slice() {
                let only = only.clone();
                schema.remove("anyOf");
                for (key, value) in only {
                    schema.insert(key, value);
                }
            }
        }
        if let Some(Value::Array(words)) = schema.get("oneOf")
            && let [Value::Object(only)] = words.as_slice()
            && let Some(word) = only.get("const").cloned()
        {
            schema.remove("oneOf");
            schema.insert("type".to_owned(), json!("string"));
            schema.insert("const".to_owned(), word);
        }
        if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
            schema.insert("patternProperties".to_owned(), json!({ "^x-": {} }));
        }
    }
}
