//! The table of keys, beside the official JSON Schema, and the page that is made of it.

use std::collections::BTreeSet;
use std::path::Path;

use crd_schema::compose::keys::{Class, ComposeKey, keys};
use serde_json::Value;

use super::{folder, one, said};
use crate::golden;

/// Every key below the definitions of a section, by path. Free maps (labels) have none; what people name is `*`.
fn schema_keys() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(folder("compose-spec.json")).unwrap()).unwrap();
    let mut found = BTreeSet::new();
    for section in ["service", "network", "volume", "config", "secret"] {
        walk(&schema, &schema["$defs"][section], section, &mut found);
    }
    found
}

fn walk(schema: &Value, node: &Value, path: &str, found: &mut BTreeSet<String>) {
    if let Some(reference) = node["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap();
        return walk(schema, &schema["$defs"][name], path, found);
    }
    for (name, below) in node["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        walk(schema, below, &path, found);
        found.insert(path);
    }
    for (pattern, below) in node["patternProperties"].as_object().into_iter().flatten() {
        if pattern != "^x-" {
            walk(schema, below, &format!("{path}.*"), found);
        }
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        for below in node[choice].as_array().into_iter().flatten() {
            walk(schema, below, path, found);
        }
    }
    walk_if(schema, &node["items"], path, found);
    walk_if(schema, &node["additionalProperties"], &format!("{path}.*"), found);
}

fn walk_if(schema: &Value, node: &Value, path: &str, found: &mut BTreeSet<String>) {
    if node.is_object() {
        walk(schema, node, path, found);
    }
}

/// The key that decides about a path: its own, or one above it that is refused or left to another program.
fn decides(path: &str) -> Option<&'static ComposeKey> {
    let mut above = Some(path);
    while let Some(path_above) = above {
        let key = keys().find(|key| key.path == path_above);
        if let Some(key) =
            key.filter(|key| path_above == path || matches!(key.class, Class::Refused | Class::Elsewhere))
        {
            return Some(key);
        }
        above = path_above.rsplit_once('.').map(|(above, _)| above);
    }
    None
}

#[test]
fn every_key_of_the_schema_is_classified_and_no_other() {
    let schema = schema_keys();
    assert!(schema.len() > 290, "{}", schema.len());
    let lacking: Vec<_> = schema.iter().filter(|path| decides(path).is_none()).collect();
    assert!(lacking.is_empty(), "the table lacks {lacking:?}");
    let unknown: Vec<_> = keys().map(|key| key.path).filter(|path| !schema.contains(*path)).collect();
    assert!(unknown.is_empty(), "the schema has no {unknown:?}");
    let mut seen = BTreeSet::new();
    let twice: Vec<_> = keys().map(|key| key.path).filter(|path| !seen.insert(*path)).collect();
    assert!(twice.is_empty(), "there twice: {twice:?}");
    println!("{} keys of the schema, {} rows", schema.len(), seen.len());
}

/// A key of a service for a test: something that reads as YAML.
fn file(path: &str) -> Option<String> {
    let (section, rest) = path.split_once('.')?;
    let parts: Vec<_> = rest.split('.').map(|part| if part == "*" { "name" } else { part }).collect();
    let listed = ["ports", "volumes", "configs", "secrets", "devices", "post_start", "pre_stop"];
    let mut value = "x".to_owned();
    for (at, part) in parts.iter().enumerate().rev() {
        value = format!("{{{part}: {value}}}");
        if section == "service" && at == 1 && listed.contains(&parts[0]) {
            value = format!("[{value}]");
        }
    }
    Some(match section {
        "service" => format!("services:\n  web: {}", value.replacen('{', "{image: x, ", 1)),
        section => format!("services: {{web: {{image: x}}}}\n{section}s:\n  one: {value}"),
    })
}

#[test]
fn every_refused_key_is_refused_by_name_and_with_its_reason() {
    let mut refused = 0;
    for key in keys().filter(|key| key.class == Class::Refused) {
        let text = file(key.path).unwrap();
        let name = key.path.rsplit('.').next().unwrap();
        let Err(problems) = one(&text) else { panic!("{} was accepted:\n{text}", key.path) };
        let found = problems.iter().find(|problem| problem.message.contains(&format!("`{name}` is not supported")));
        let found = found.unwrap_or_else(|| panic!("{}:\n{text}\n{}", key.path, said(&problems)));
        assert_eq!(found.help.as_deref(), Some(key.note), "{}", key.path);
        assert_eq!(found.line, if key.path.starts_with("service.") { 2 } else { 3 }, "{}", key.path);
        refused += 1;
    }
    assert!(refused > 15, "{refused}");
}

#[test]
fn compose_md_is_made_of_the_table() {
    let mut page = String::from(
        "# Compose keys\n\n\
         What composed makes of each key of the Compose specification, generated from the table that files are checked\n\
         against (`crd-schema/src/compose/keys/`). Keys below a refused key, or below one that is left to another program,\n\
         are not listed: they share its fate.\n\n\
         | class | meaning |\n|---|---|\n\
         | supported | means what it means to `docker compose` |\n\
         | rollout | becomes a rule of the rollout |\n\
         | elsewhere | accepted and left to another program: `docker compose up` does nothing with it on one engine either |\n\
         | refused | a file that has it is refused, by name and with the reason |\n",
    );
    let word = |class: Class| match class {
        Class::Supported => "supported",
        Class::Rollout => "rollout",
        Class::Elsewhere => "elsewhere",
        Class::Refused => "**refused**",
    };
    for section in ["service", "network", "volume", "config", "secret"] {
        page.push_str(&format!("\n## {section}\n| key | class | note |\n|---|---|---|\n"));
        for key in keys() {
            let Some(path) = key.path.strip_prefix(section).and_then(|path| path.strip_prefix('.')) else { continue };
            page.push_str(&format!("| `{path}` | {} | {} |\n", word(key.class), key.note.replace('|', "\\|")));
        }
    }
    let (all, refused) = (keys().count(), keys().filter(|key| key.class == Class::Refused).count());
    page.push_str(&format!("\n{all} keys, {refused} of them refused. What Compose has no word for stands under `x-composed:`\nof a service: `drain_timeout`, `front`, `hooks`, `paused`, `pre_stop`, `readiness`, `rollout`, `traffic`, `update`, as in our own documents.\n"));
    golden::check(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../COMPOSE.md"), &page);
}
