//! The second opinion: `docker compose config` of Compose v5 on every project of the corpus.

use std::path::{Path, PathBuf};
use std::process::Command;

use crd_schema::compose::load;
use serde_json::Value;

use super::{Disk, HOME, arguments, folder, normal, said};

/// Where we differ and mean to: project, path, why.
const DIFFERENCES: &[(&str, &str, &str)] = &[
    ("13-profiles", "services.soft.depends_on", "a dependency that need not be there and is not: nobody waits for it"),
    ("35-own", "services.front.front", OWN),
    ("35-own", "services.web.drain_timeout", OWN),
    ("35-own", "services.web.readiness", OWN),
    ("35-own", "services.web.rollout.max_surge", OWN),
    ("35-own", "services.web.rollout.min_ready", OWN),
    ("41-healthcheck-off", "services.api.healthcheck.interval", OFF),
    ("41-healthcheck-off", "services.web.healthcheck.interval", OFF),
    ("41-healthcheck-off", "services.web.healthcheck.retries", OFF),
    ("41-healthcheck-off", "services.web.healthcheck.test", OFF),
    (
        "62-as-people-write",
        "volumes.here.driver_opts.device",
        "`config` leaves it as it is; the engine knows no relative paths",
    ),
    ("62-as-people-write", "services.built.build", BUILT),
    ("62-as-people-write", "services.built.pull_policy", BUILT),
    ("62-as-people-write", "services.built.update", BUILT),
    ("62-as-people-write", "services.by-policy.build", BUILT),
    ("62-as-people-write", "services.by-policy.pull_policy", BUILT),
    ("62-as-people-write", "services.by-policy.update", BUILT),
    ("62-as-people-write", "services.nameless.build", BUILT),
    ("62-as-people-write", "services.nameless.image", BUILT),
    ("62-as-people-write", "services.nameless.pull_policy", BUILT),
    ("62-as-people-write", "services.nameless.update", BUILT),
];

const BUILT: &str = "composed builds no images: what is on this host is taken, followed and not pulled over";
const OFF: &str = "a healthcheck that is off has no test and no times";
const OWN: &str = "x-composed is ours: `config --format json` leaves out the extensions of services";

/// `.ci/compose-v5` puts it there.
fn compose() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/compose-v5/bin/docker-compose");
    if path.exists() {
        return Some(path);
    }
    assert!(std::env::var_os("COMPOSED_REQUIRE_DOCKER").is_none(), "no {}: run .ci/compose-v5", path.display());
    println!("skipped: no {}: run .ci/compose-v5", path.display());
    None
}

fn projects() -> Vec<PathBuf> {
    let mut dirs: Vec<_> = std::fs::read_dir(folder("corpus")).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|path| path.is_dir());
    dirs.sort();
    dirs
}

/// What `docker compose` makes of a project, with no variables but the project's.
fn theirs(compose: &Path, dir: &Path) -> Value {
    let args = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
    let output = Command::new(compose)
        .args(args.split_whitespace())
        .args(["config", "--format", "json"])
        .current_dir(dir)
        .env_clear()
        .env("HOME", HOME)
        .env("PWD", dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", dir.display(), String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ours(dir: &Path) -> Value {
    let loaded = load(&arguments(dir), &mut Disk(dir.to_owned()));
    let loaded = loaded.unwrap_or_else(|problems| panic!("{}:\n{}", dir.display(), said(&problems)));
    normal::ours(&loaded, dir)
}

/// Every path at which two values differ, and how.
fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<(String, String)>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
            for key in keys {
                let of = |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
                differences(&format!("{path}.{key}"), &of(ours), &of(theirs), found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                differences(&format!("{path}[{at}]"), ours, theirs, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push((path.trim_start_matches('.').to_owned(), format!("ours {ours}, theirs {theirs}"))),
    }
}

#[test]
fn every_project_of_the_corpus_is_what_docker_compose_makes_of_it() {
    let Some(compose) = compose() else { return };
    let projects = projects();
    assert!(projects.len() >= 40, "{}", projects.len());
    let mut unexplained = Vec::new();
    let mut met = Vec::new();
    for dir in &projects {
        let name = dir.file_name().unwrap().to_str().unwrap();
        let mut found = Vec::new();
        differences("", &ours(dir), &normal::theirs(theirs(&compose, dir), dir), &mut found);
        for (path, how) in found {
            match DIFFERENCES.iter().find(|(project, at, _)| *project == name && *at == path) {
                Some(known) => met.push(*known),
                None => unexplained.push(format!("{name}: {path}: {how}")),
            }
        }
    }
    println!("{} projects, {} differences that are meant", projects.len(), met.len());
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    let stale: Vec<_> = DIFFERENCES.iter().filter(|known| !met.contains(known)).collect();
    assert!(stale.is_empty(), "no longer different: {stale:?}");
}

/// The comparison would see it: a change of either side is found.
#[test]
fn a_change_of_one_side_is_a_difference() {
    let Some(compose) = compose() else { return };
    let dir = folder("corpus").join("06-override");
    let (ours, theirs) = (ours(&dir), normal::theirs(theirs(&compose, &dir), &dir));
    for pointer in [
        "/services/web/image",
        "/services/web/ports/0/target",
        "/services/web/environment/C",
        "/services/web/volumes/0/source",
        "/networks/front/labels/two",
        "/name",
    ] {
        for change_ours in [true, false] {
            let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
            let changed = if change_ours { &mut ours } else { &mut theirs };
            *changed.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = Value::from("changed");
            let mut found = Vec::new();
            differences("", &ours, &theirs, &mut found);
            assert!(!found.is_empty(), "{pointer} of {}", if change_ours { "ours" } else { "theirs" });
        }
    }
}
