//! What holds for every file: how long it may be, and that a name of a public type is one type's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{ROOMS, controller, sources};

/// A file with more lines holds several things.
const MAX_LINES: usize = 400;

/// The `.rs` files below these directories.
fn below(dirs: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in dirs.into_iter().filter(|dir| dir.is_dir()) {
        sources(&dir, &mut files);
    }
    files
}

fn crates() -> impl Iterator<Item = PathBuf> {
    let rooms = ROOMS.iter().map(|(room, _)| controller().join(room));
    rooms.chain(["crd-schema", "e2e"].map(|name| controller().join("..").join(name)))
}

fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

#[test]
fn no_file_is_too_long() {
    let own = |text: &str| text.split("#[cfg(test)]").next().unwrap_or_default().lines().count();
    let of_sources = below(crates().map(|one| one.join("src"))).into_iter().map(|file| (own(&text(&file)), file));
    let of_tests = below(crates().flat_map(|one| [one.join("tests"), one.join("benches")])).into_iter();
    let all: Vec<_> = of_sources.chain(of_tests.map(|file| (text(&file).lines().count(), file))).collect();
    assert!(all.len() > 400, "the files are elsewhere");
    let long = all.iter().filter(|(lines, _)| *lines > MAX_LINES);
    let long: Vec<_> = long.map(|(lines, file)| format!("{} has {lines} lines", file.display())).collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines, without the tests below them:\n{}", long.join("\n"));
}

/// The types that others than a crate itself can name. `e2e` knows none of the others.
#[test]
fn no_two_rooms_have_public_types_of_one_name() {
    let mut types: BTreeMap<String, BTreeMap<PathBuf, PathBuf>> = BTreeMap::new();
    for room in crates().filter(|room| !room.ends_with("e2e")) {
        for file in below([room.join("src")]) {
            for line in super::code(&text(&file)).lines() {
                let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
                let is_type = line.trim_start().starts_with("pub ")
                    && words.next() == Some("pub")
                    && words.next().is_some_and(|word| matches!(word, "struct" | "enum" | "trait" | "type" | "union"));
                if let Some(name) = words.next().filter(|_| is_type) {
                    types.entry(name.to_owned()).or_default().insert(room.clone(), file.clone());
                }
            }
        }
    }
    assert!(types.len() > 200, "the types are elsewhere");
    let twice = types.iter().filter(|(_, rooms)| rooms.len() > 1);
    let twice: Vec<_> = twice.map(|(name, rooms)| format!("{name}: {:?}", rooms.values())).collect();
    assert!(twice.is_empty(), "public types of one name:\n{}", twice.join("\n"));
}
