//! Walls: a room names only what it may. What is only agreed upon leaks.

use std::path::{Path, PathBuf};

/// Where a word may stand: everywhere else it is a hole in a wall.
const WALLS: [(&str, &[&str]); 18] = [
    ("bollard", &["engine/docker/", "main.rs"]),
    ("axum", &["api/", "cli/app"]),
    // Strangers' connections need bounds: there is one place where they are accepted. The bridge has no runtime.
    ("hyper::server", &["listen/"]),
    (".accept()", &["listen/accept.rs", "traffic/bridge.rs", "source/git/mirror/tests.rs"]),
    ("axum::serve", &["cli/app.rs"]),
    ("notify::", &["source/watch.rs", "source/git/hint.rs"]),
    ("Command::new(\"git\")", &["source/git/command.rs", "source/git/mirror/tests.rs"]),
    ("semver::", &["source/git/refs.rs", "images/versions.rs"]),
    // Registries are asked by one; names and answers are known to others.
    ("images::registry", &["cli/session.rs"]),
    ("use ring::", &["api/webhook.rs", "secret.rs", "engine/docker/seal.rs", "engine/docker/ownership.rs"]),
    ("clap", &["cli/args", "main.rs"]),
    ("netlink", &["traffic/inflight"]),
    ("simple_dns", &["traffic/names.rs"]),
    ("rustls", &["traffic/probe/question.rs", "transport.rs"]),
    ("prometheus_client", &["api/metrics.rs"]),
    ("comfy_table", &["cli/table.rs"]),
    ("Timestamp::now", &["clock.rs"]),
    ("backon", &["plan/backoff.rs", "source/queue.rs", "controller/repeats.rs", "engine/docker/"]),
];

/// Rooms that decide may not do, and rooms that hold nouns may not decide.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    (
        "plan/",
        &["async ", "tokio", "crate::engine", "crate::act", "crate::source", "crate::api", "tracing", "fastrand"],
    ),
    ("model/", &["async ", "tokio", "crate::plan", "crate::engine", "crate::act", "crate::source", "tracing"]),
    ("act.rs", &["crate::source", "crate::api", "crate::cli", "crate::plan::policy", "crate::plan::cast"]),
];

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

/// The code of a file, without comments and without its tests.
fn code(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let own = text.split("#[cfg(test)]").next().unwrap_or_default();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn rooms_name_only_what_they_may() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "the sources are elsewhere");
    let mut holes = Vec::new();
    for file in &files {
        let place = file.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        let code = code(file);
        for (word, rooms) in WALLS {
            if code.contains(word) && !rooms.iter().any(|room| place.starts_with(room)) {
                holes.push(format!("{place} names {word}, which belongs to {rooms:?}"));
            }
        }
        for (room, words) in FORBIDDEN {
            if place.starts_with(room) {
                let named = words.iter().filter(|word| code.contains(**word));
                holes.extend(named.map(|word| format!("{place} names {word:?}")));
            }
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}
