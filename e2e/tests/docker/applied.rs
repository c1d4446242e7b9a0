//! What was applied needs nothing more: a real `composed plan` after a real `composed apply`, of every project of the corpus
//! that can be started on this engine.

use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use e2e::controller::alone;
use e2e::program::compose;
use e2e::secs;
use e2e::stage::{say, scenario};
use e2e::world::World;

use crate::adopt::{Images, copy, corpus, turn};

/// So many at once; those that got in each other's way (host ports, names) are started again, one after the other.
const SIDE_BY_SIDE: usize = 4;

/// Projects that do not come up on this engine with the demo application for an image, and what they would need. They are tried
/// with `CORPUS=all` only: each takes until its time is up.
const NOT_STARTED: [(&str, &str); 31] = [
    ("01-basic", "a hostname beside the UTS namespace of the host"),
    ("04-interpolation", "a command that the image lacks"),
    ("06-override", "a command that the image lacks"),
    ("07-reset", "a healthcheck that fails"),
    ("08-extends", "arguments that the demo application does not take"),
    ("09-extends-file", "arguments that the demo application does not take"),
    ("11-include-long", "arguments that the demo application does not take"),
    ("17-volumes", "a newer engine"),
    ("19-healthcheck", "a newer engine"),
    ("21-depends-on", "a healthcheck that fails"),
    ("22-files", "paths that are not there"),
    ("23-external", "networks of others"),
    ("28-commands", "no command"),
    ("29-limits", "a device that there is not"),
    ("31-casts", "an anonymous volume that is read-only"),
    ("35-own", "the image of a front"),
    ("36-hooks", "hooks that the image lacks"),
    ("37-merge-forms", "paths that are not there"),
    ("38-extends-tags", "a command that the image lacks"),
    ("40-null-values", "arguments that the demo application does not take"),
    ("43-tags-and-extends", "capabilities that there are not"),
    ("47-nothing-over-something", "a healthcheck that fails"),
    ("49-scalars", "a newer engine"),
    ("52-deep-includes", "paths that are not there"),
    ("53-commands-of-a-shell", "arguments that the demo application does not take"),
    ("55-sizes-and-times", "less memory than the engine takes"),
    ("56-links", "a healthcheck that fails"),
    ("59-devices", "a driver of GPUs"),
    ("60-rare-keys", "a kernel with a real-time scheduler for groups"),
    ("61-newer-engines", "a newer engine"),
    ("62-as-people-write", "directories in the home of whoever runs the tests"),
];

#[derive(Debug)]
enum Came {
    /// It came up, and a plan is empty.
    Empty,
    /// It came up, and a plan is not.
    Full(String),
    /// It did not come up.
    Not(String),
}

#[test]
fn s42_a_plan_after_apply_is_empty() {
    let _turn = turn();
    scenario("42 the corpus applied", secs(1500), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let mut projects = corpus();
        let all = projects.len();
        if std::env::var("CORPUS").as_deref() != Ok("all") {
            projects.retain(|path| NOT_STARTED.iter().all(|(known, _)| !path.ends_with(known)));
        }
        let images = Mutex::new(Images::of(world));
        let (next, ends) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..SIDE_BY_SIDE {
                scope.spawn(|| {
                    while let Some(project) = projects.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let came = one(world, (&program, project), "a", &images);
                        ends.lock().unwrap().push((project, came));
                    }
                });
            }
        });
        let (mut empty, mut wrong, mut not) = (0, Vec::new(), Vec::new());
        let mut ends = ends.into_inner().unwrap();
        ends.sort_by_key(|(project, _)| *project);
        for (project, came) in ends {
            let name = project.file_name().unwrap().to_string_lossy().into_owned();
            let known = NOT_STARTED.iter().any(|(known, _)| *known == name);
            let came = match came {
                Came::Not(_) if !known => one(world, (&program, project), "b", &images),
                other => other,
            };
            match came {
                Came::Empty => empty += 1,
                Came::Full(plan) => wrong.push(format!("{name}: {plan}")),
                Came::Not(_) if known => {}
                Came::Not(why) => not.push(format!("{name}: {why}")),
            }
        }
        say(&format!("  {all} projects, {empty} of them applied and then with an empty plan"));
        assert!(
            wrong.is_empty() && not.is_empty() && empty >= all - NOT_STARTED.len(),
            "{}\nnot started:\n{}",
            wrong.join("\n"),
            not.join("\n")
        );
    });
}

/// Applies a project under a name of its own, plans it, and takes it away.
fn one(world: &World, (program, project): (&Path, &Path), turn: &str, images: &Mutex<Images<'_>>) -> Came {
    let name = project.file_name().unwrap().to_string_lossy().into_owned();
    let dir = world.path(&format!("applied-{turn}")).join(&name);
    copy(project, &dir);
    quicken(&dir);
    let own_name = format!("{}-{turn}{}", world.project, name.split('-').next().unwrap_or_default());
    let own = std::fs::read_to_string(dir.join("args")).unwrap_or_default();
    let own: Vec<&str> = own.split_whitespace().collect();
    let mut options = vec!["-p".to_owned(), own_name.clone()];
    options.extend(own.chunks(2).filter(|pair| pair[0] != "-p").flatten().map(|word| (*word).to_owned()));
    let config =
        Command::new(program).args(&options).args(["config", "--images"]).current_dir(&dir).env_clear().output();
    images.lock().unwrap().have(String::from_utf8_lossy(&config.unwrap().stdout).lines());
    let patience = if turn == "a" { "30s" } else { "90s" };
    let applied = alone(world, &own_name, &dir, &["apply", "--timeout", patience], &options);
    let came = if applied.code == 0 {
        let told = alone(world, &own_name, &dir, &["plan"], &options);
        let services = told.text.lines().filter(|line| line.starts_with(&format!("{own_name}/"))).count();
        let nothing = told.text.matches("nothing to do").count();
        let empty = told.code == 0 && services > 0 && services == nothing;
        if empty { Came::Empty } else { Came::Full(told.text) }
    } else {
        let last: Vec<&str> = applied.text.trim().lines().rev().take(4).collect();
        Came::Not(last.into_iter().rev().collect::<Vec<_>>().join(" | "))
    };
    let label = format!("label=com.docker.compose.project={own_name}");
    world.docker.each(&["ps", "-aq", "--filter", &label], &["rm", "-fv"]);
    world.docker.each(&["network", "ls", "-q", "--filter", &label], &["network", "rm"]);
    world.docker.each(&["volume", "ls", "-q", "--filter", &label], &["volume", "rm"]);
    world.docker.each(
        &["volume", "ls", "-q", "--filter", &format!("name=^composed-(lock|key)-{own_name}$")],
        &["volume", "rm"],
    );
    came
}

/// No replica has to prove itself for long.
fn quicken(dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let main = text.contains("services:") && !text.lines().any(|line| line.starts_with("x-composed:"));
        if main {
            std::fs::write(&path, format!("{}\nx-composed: {{rollout: {{min_ready: 500ms}}}}\n", text.trim_end()))
                .unwrap();
        }
    }
}
