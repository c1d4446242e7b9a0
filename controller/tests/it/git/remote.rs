//! Remotes: away and back, by file:// and by HTTP.

use super::*;

/// A bare repository that `repo` pushes to.
fn bare(repo: &Repo) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    repo.git(&["clone", "--quiet", "--bare", ".", dir.path().join("shop.git").to_str().unwrap()]);
    repo.git(&["remote", "add", "origin", dir.path().join("shop.git").to_str().unwrap()]);
    dir
}

#[tokio::test]
async fn a_push_is_taken_and_a_remote_that_is_away_stops_nothing() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let remote = bare(&repo);
    let url = format!("file://{}/shop.git", remote.path().display());
    let mut followed = Followed::begin([source(&url)], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("two");
    repo.git(&["push", "--quiet", "origin", "main"]);
    assert_eq!(image(&followed.next().await, "web"), "web:2");
    let (there, away) = (remote.path().join("shop.git"), remote.path().join("away"));
    std::fs::rename(&there, &away).unwrap();
    followed.nudge();
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("shop.git") && problem.contains("stays in force"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:2");
    followed.end().await;
    // A restart while it is away goes on with what was good.
    let mut followed = Followed::begin([source(&url)], state.path());
    let mut reading = followed.next().await;
    assert_eq!((image(&reading, "web").as_str(), reading.unread.clone()), ("web:2", None));
    while reading.refused.is_empty() {
        reading = followed.next().await;
    }
    std::fs::rename(&away, &there).unwrap();
    repo.write("web.yaml", document("web", "web:3"));
    repo.commit("three");
    repo.git(&["push", "--quiet", "origin", "main"]);
    // By itself: nobody nudges.
    let reading = followed.next().await;
    assert_eq!((image(&reading, "web").as_str(), reading.refused.len()), ("web:3", 0));
}

#[tokio::test]
async fn without_state_a_remote_that_is_away_lets_nothing_be_removed() {
    use composed::model::{Desired, ServiceName};
    use composed::source::catalog::Catalog;
    if !git_is_here() {
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let mut followed = Followed::begin([source("/nowhere/shop.git")], state.path());
    let reading = followed.next().await;
    for confirmed in [false, true] {
        let catalog = Catalog::new(&reading, &Catalog::empty(confirmed));
        let web = ServiceName::new("shop", "web");
        let desired = catalog.desired(&web, &[web.clone()].into(), jiff::Timestamp::UNIX_EPOCH);
        assert!(matches!(&desired, Desired::Held(why) if why.contains("repo")), "{desired:?}");
    }
}

#[tokio::test]
async fn a_broken_copy_is_made_anew() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    followed.end().await;
    let objects = state_of(state.path()).join("mirror.git/objects");
    std::fs::remove_dir_all(&objects).unwrap();
    std::fs::create_dir(&objects).unwrap();
    std::fs::write(state_of(state.path()).join("mirror.git/shallow.lock"), "").unwrap();
    let mut followed = Followed::begin([repo.source()], state.path());
    let mut reading = followed.next().await;
    while reading.files.is_empty() {
        reading = followed.next().await;
    }
    assert_eq!(image(&reading, "web"), "web:1");
}
