//! Versions that were followed and proved themselves are written back, and nothing else is.

use std::sync::Arc;

use composed::cli::progress::{Convergence, convergence};
use composed::state::StateDir;
use composed_simulator::Behaviour;
use composed_source::git::WriteBack;
use crd_schema::ImageRef;
use crd_schema::status::ServiceStatus;

use super::*;
use crate::images::{asking, creations};
use crate::undo::{Running, engine};

const WEB: &str = "# Which version: see CHANGES\napiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: web}\n\
                   spec:\n  image: \"web:1.4.0\"   # or newer\n  update: {semver: ~1.4, interval: 1s}\n  rollout: {min_ready: 0s}\n";

/// A bare repository with a document in the branch `main`, and a clone to look into it.
fn repositories() -> (Repo, tempfile::TempDir, String) {
    let repo = Repo::new();
    repo.write("deploy/web.yaml", WEB);
    repo.commit("one");
    let bare = tempfile::tempdir().unwrap();
    let path = bare.path().join("shop.git").to_str().unwrap().to_owned();
    repo.git(&["clone", "--quiet", "--bare", ".", &path]);
    repo.git(&["remote", "add", "origin", &path]);
    (repo, bare, path)
}

fn writing(address: &str) -> GitSource {
    let author = Some("Robot <robot@shop.example>");
    GitSource { write_back: Some(WriteBack::new(Access::default(), author).unwrap()), ..source(address) }
}

/// A controller on the simulated engine that follows a repository.
fn running(
    sources: Vec<GitSource>,
    state: &Path,
) -> (Running, Arc<composed_simulator::Sim>, Arc<crate::images::Scripted>) {
    let (sim, clock) = engine();
    let (running, registry) = asking(&sim, clock, StateDir::default());
    *registry.tags.lock().unwrap() = vec!["1.4.0".to_owned()];
    let sources = sources.into_iter().map(|source| (source, Arc::new(Notify::new()))).collect();
    tokio::spawn(watch(sources, state.to_owned(), Arc::clone(&running.statuses), running.readings.clone()));
    (running, sim, registry)
}

fn raised(status: &ServiceStatus) -> Option<&str> {
    status.update.as_ref()?.raised_from.as_ref().map(ImageRef::as_str)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_proved_itself_becomes_a_commit_and_nothing_is_rolled_out_for_it() {
    if !git_is_here() {
        return;
    }
    let ((repo, _bare, path), state) = (repositories(), tempfile::tempdir().unwrap());
    let (running, sim, registry) = running(vec![writing(&path)], state.path());
    running.converged("web:1.4.0").await;
    *registry.tags.lock().unwrap() = vec!["1.4.0".to_owned(), "1.4.2".to_owned()];
    running.until(|status| raised(status).is_some()).await;
    // Written back, and read again.
    let status = running.until(|status| raised(status).is_none() && status.history[0].image == "web:1.4.2").await;
    let made = creations(&sim);
    repo.git(&["fetch", "--quiet", "origin"]);
    let show = |what: &str| repo.git(&["show", "--no-patch", &format!("--format={what}"), "origin/main"]);
    assert_eq!(repo.git(&["show", "origin/main:deploy/web.yaml"]), WEB.replace("web:1.4.0", "web:1.4.2").trim());
    assert_eq!(show("%an <%ae>, %cn"), "Robot <robot@shop.example>, Robot");
    assert_eq!(show("%s"), "shop/web: web:1.4.0 to web:1.4.2");
    assert_eq!(repo.git(&["diff", "--name-only", "HEAD", "origin/main"]), "deploy/web.yaml");
    assert_eq!(status.commit.as_ref().unwrap().subject, "shop/web: web:1.4.0 to web:1.4.2");
    tokio::time::sleep(Duration::from_secs(2)).await; // Nothing may come meanwhile.
    assert_eq!(convergence(&running.statuses.status(&crate::undo::web()).unwrap()), Convergence::Converged);
    assert_eq!(creations(&sim), made, "what the commit asks for runs already");
    assert_eq!(repo.git(&["rev-list", "--count", "origin/main"]), "2");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_cannot_be_pushed_is_not_written_back() {
    if !git_is_here() {
        return;
    }
    let ((repo, _bare, path), state) = (repositories(), tempfile::tempdir().unwrap());
    let (running, sim, registry) = running(vec![writing(&path)], state.path());
    running.converged("web:1.4.0").await;
    let head = || repo.git(&["ls-remote", "origin", "refs/heads/main"]);
    let before = head();
    let broken = Behaviour { unstartable: true, ..Behaviour::default() };
    sim.with(|world, _| world.images.insert(ImageRef::new("web:1.4.1"), broken));
    *registry.tags.lock().unwrap() = vec!["1.4.1".to_owned()];
    running.until(|status| convergence(status) == Convergence::Failed).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // Nothing may come meanwhile.
    assert_eq!(head(), before, "a version that failed");

    // Somebody has pushed what is refused: nothing comes after it, and nobody is overwritten.
    repo.write("deploy/web.yaml", "apiVersion: composed.dev/v1\nkind: Service\n");
    repo.commit("wrong");
    repo.git(&["push", "--quiet", "origin", "main"]);
    let wrong = head();
    *registry.tags.lock().unwrap() = vec!["1.4.2".to_owned()];
    running
        .until(|status| status.history[0].image == "web:1.4.2" && convergence(status) == Convergence::Converged)
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await; // Nothing may come meanwhile.
    assert_eq!(head(), wrong, "what people have pushed stays");
    running.end().await;
}

/// A push to a repository on this host runs what its owner has written: his hooks decide, and only for himself.
#[tokio::test(flavor = "multi_thread")]
async fn a_repository_s_own_hooks_decide_and_another_user_s_are_not_run() {
    use std::os::unix::fs::PermissionsExt as _;
    if !git_is_here() {
        return;
    }
    let ((repo, _bare, path), state) = (repositories(), tempfile::tempdir().unwrap());
    let ran = state.path().join("ran");
    let hook = Path::new(&path).join("hooks/pre-receive");
    std::fs::create_dir_all(hook.parent().unwrap()).unwrap();
    std::fs::write(&hook, format!("#!/bin/sh\ntouch {}\nexit 1\n", ran.display())).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let begin_on = running;
    let (running, _, registry) = begin_on(vec![writing(&path)], &state.path().join("git"));
    running.converged("web:1.4.0").await;
    let head = || repo.git(&["ls-remote", "origin", "refs/heads/main"]);
    let before = head();
    *registry.tags.lock().unwrap() = vec!["1.4.2".to_owned()];
    let proved = |status: &ServiceStatus| raised(status).is_some() && convergence(status) == Convergence::Converged;
    running.until(proved).await;
    let begin = tokio::time::Instant::now();
    while !ran.exists() {
        assert!(begin.elapsed() < LONG, "its hook was asked");
        tokio::time::sleep(Duration::from_millis(50)).await; // The pace of looking.
    }
    tokio::time::sleep(Duration::from_millis(500)).await; // Nothing may come meanwhile.
    assert_eq!(head(), before, "its hook has said no");
    running.end().await;

    std::fs::remove_file(&ran).unwrap();
    let theirs = Command::new("chown").args(["-R", "65534:65534", &path]).output();
    if !theirs.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: only root gives files away");
        return;
    }
    let (running, _, registry) = begin_on(vec![writing(&path)], &state.path().join("other"));
    running.converged("web:1.4.0").await;
    *registry.tags.lock().unwrap() = vec!["1.4.2".to_owned()];
    running.until(proved).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // Nothing may come meanwhile.
    assert!(!ran.exists(), "another user's hook was run");
    running.end().await;
}
