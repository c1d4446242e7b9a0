//! Walls: a room is a crate, and names only what its Cargo.toml lets it name. What that cannot hold, a word that belongs to a few
//! files of a room, is held here; so are rules for every file (`house`) and between files (`circles`).

mod circles;
mod house;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What each room may lean on: other rooms, and the crates of the outside that belong to few.
const ROOMS: [(&str, &[&str]); 10] = [
    ("core", &["crd-schema"]),
    ("platform", &["hyper", "ring", "tokio", "tokio-rustls"]),
    ("status", &["composed-core", "composed-platform", "crd-schema", "hyper", "tokio"]),
    ("api", &["composed-core", "composed-platform", "composed-status", "crd-schema", "axum", "hyper", "ring", "tokio"]),
    ("registry", &["composed-core", "composed-platform", "composed-status", "crd-schema", "hyper", "tokio"]),
    (
        "docker",
        &["composed-core", "composed-platform", "composed-registry", "crd-schema", "bollard", "hyper", "ring", "tokio"],
    ),
    ("simulator", &["composed-core", "crd-schema", "tokio"]),
    ("source", &["composed-core", "composed-platform", "composed-status", "crd-schema", "notify", "tokio"]),
    (
        "traffic",
        &[
            "composed-core",
            "composed-docker",
            "composed-platform",
            "composed-status",
            "crd-schema",
            "hyper",
            "ring",
            "tokio",
            "tokio-rustls",
        ],
    ),
    // The program puts the rooms together, and serves the demo's application.
    (
        "",
        &[
            "composed-api",
            "composed-core",
            "composed-docker",
            "composed-platform",
            "composed-registry",
            "composed-simulator",
            "composed-source",
            "composed-status",
            "composed-traffic",
            "crd-schema",
            "axum",
            "clap",
            "hyper",
            "tokio",
        ],
    ),
];

/// Crates of which it matters who has them.
const GUARDED: [&str; 9] =
    ["axum", "bollard", "clap", "crd-schema", "hyper", "notify", "ring", "tokio", "tokio-rustls"];

/// Where a word may stand: everywhere else it is a hole in a wall.
const WORDS: [(&str, &[&str]); 17] = [
    ("axum", &["api/src/", "src/cli/app"]),
    // Strangers' connections need bounds: there is one place where they are accepted. The bridge has no runtime.
    ("hyper::server", &["platform/src/listen/"]),
    (".accept()", &["platform/src/listen/accept.rs", "traffic/src/bridge.rs", "source/src/git/mirror/tests.rs"]),
    // Requests go out from one place; the gRPC probe's are HTTP/2, with trailers, which nothing else needs.
    ("hyper::client", &["platform/src/http_client.rs", "traffic/src/probe/question.rs"]),
    ("axum::serve", &["src/cli/app.rs"]),
    ("notify::", &["source/src/watch.rs", "source/src/git/hint.rs"]),
    ("Command::new(\"git\")", &["source/src/git/command.rs", "source/src/git/mirror/tests.rs"]),
    ("semver::", &["source/src/git/refs.rs", "registry/src/versions.rs"]),
    // Registries are asked by one; names and answers are known to others.
    ("composed_registry::registry", &["src/cli/session.rs"]),
    (
        "use ring::",
        &[
            "api/src/webhook.rs",
            "platform/src/secret.rs",
            "docker/src/context.rs",
            "docker/src/ownership/record.rs",
            "docker/src/seal.rs",
        ],
    ),
    ("clap", &["src/cli/args", "src/main.rs"]),
    ("netlink", &["traffic/src/inflight"]),
    ("simple_dns", &["traffic/src/names.rs"]),
    ("rustls", &["traffic/src/probe/question.rs", "platform/src/transport.rs"]),
    ("prometheus_client", &["api/src/metrics.rs"]),
    ("comfy_table", &["src/cli/table.rs"]),
    ("backon", &["core/src/backoff.rs"]),
];

/// Rooms inside the core: who holds nouns may not decide, and who decides neither waits nor says.
const INSIDE: [(&str, &[&str]); 3] = [
    ("core/src/plan/", &["async ", "crate::engine", "crate::traffic"]),
    ("core/src/model/", &["async ", "crate::plan", "crate::engine", "crate::traffic"]),
    ("src/act.rs", &["composed_source", "composed_api", "crate::cli", "plan::policy", "plan::replica_sets"]),
];

fn controller() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

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

/// The sources of all rooms, by their place below `controller/`.
fn rooms() -> BTreeMap<String, String> {
    let mut files = Vec::new();
    for (room, _) in ROOMS {
        sources(&controller().join(room).join("src"), &mut files);
    }
    let place = |file: &Path| file.strip_prefix(controller()).unwrap().to_string_lossy().into_owned();
    files.iter().map(|file| (place(file), std::fs::read_to_string(file).unwrap())).collect()
}

/// The code of a file, without comments and without its tests.
fn code(text: &str) -> String {
    let own = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let own = own.split("#[cfg(test)]\n#[allow").next().unwrap_or_default();
    own.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The crates of the section `[dependencies]`.
fn dependencies(room: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(controller().join(room).join("Cargo.toml")).unwrap();
    let section = text.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap();
    let names = section.lines().filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()));
    names.map(str::to_owned).collect()
}

#[test]
fn rooms_lean_only_on_what_they_may() {
    for (room, may) in ROOMS {
        let guarded = |name: &String| name.starts_with("composed-") || GUARDED.contains(&name.as_str());
        let has: BTreeSet<String> = dependencies(room).into_iter().filter(guarded).collect();
        let may: BTreeSet<String> = may.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(has, may, "controller/{room}/Cargo.toml");
    }
}

#[test]
fn rooms_name_only_what_they_may() {
    let files = rooms();
    assert!(files.len() > 100, "the sources are elsewhere");
    let mut holes = Vec::new();
    for (place, text) in &files {
        let code = code(text);
        for (word, places) in WORDS {
            if code.contains(word) && !places.iter().any(|allowed| place.starts_with(allowed)) {
                holes.push(format!("{place} names {word}, which belongs to {places:?}"));
            }
        }
        for (room, words) in INSIDE {
            if place.starts_with(room) {
                let named = words.iter().filter(|word| code.contains(**word));
                holes.extend(named.map(|word| format!("{place} names {word:?}")));
            }
        }
    }
    assert!(holes.is_empty(), "{}", holes.join("\n"));
}
