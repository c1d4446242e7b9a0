//! The JSON Schema of a document, for editors and for people.

/// The JSON Schema (2020-12) of one document.
pub fn schema() -> serde_json::Value {
    serde_json::Value::Null
}
