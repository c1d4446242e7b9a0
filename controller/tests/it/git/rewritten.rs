//! History that was rewritten, branches that vanish, tags that move.

use super::*;

/// Makes the branch a commit that does not come after the one that was followed.
fn rewrite(repo: &Repo) -> String {
    repo.git(&["checkout", "--quiet", "--orphan", "other"]);
    repo.write("web.yaml", document("web", "web:old"));
    repo.commit("replayed");
    repo.git(&["branch", "--quiet", "--force", "main", "other"]);
    repo.git(&["rev-parse", "main"])
}

#[tokio::test]
async fn rewritten_history_is_refused_also_after_a_restart_unless_it_is_allowed() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    let bad = rewrite(&repo);
    let (reading, problem) = followed.problem().await;
    assert_eq!(image(&reading, "web"), "web:1");
    assert!(problem.contains(&bad[..7]) && problem.contains("--git-allow-rewrite"), "{problem}");
    followed.end().await;
    // The same again, with the copy lost: what is known of the last commit is enough.
    std::fs::remove_dir_all(state_of(state.path()).join("mirror.git")).unwrap();
    let mut followed = Followed::begin([repo.source()], state.path());
    let (reading, problem) = followed.problem().await;
    assert!(reading.files.is_empty() && reading.unread.is_some());
    assert!(problem.contains("history was rewritten") && problem.contains("nothing of it is in force"), "{problem}");
    followed.end().await;
    let allowed = GitSource { allow_rewrite: true, ..repo.source() };
    let mut followed = Followed::begin([allowed], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:old");
}

#[tokio::test]
async fn an_older_commit_is_no_way_forward() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let mut followed = Followed::begin([repo.source()], state.path());
    followed.next().await;
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("two");
    followed.next().await;
    repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    let (reading, problem) = followed.problem().await;
    assert_eq!(image(&reading, "web"), "web:2", "{problem}");
    // Forward again: nothing is wrong any more.
    repo.git(&["reset", "--quiet", "--hard", "ORIG_HEAD"]);
    let reading = followed.next().await;
    assert_eq!((image(&reading, "web").as_str(), reading.refused.len()), ("web:2", 0));
}

#[tokio::test]
async fn a_branch_that_vanishes_leaves_everything_as_it_is() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    repo.git(&["branch", "deploy"]);
    let source = GitSource { follow: Follow::parse("deploy").unwrap(), ..repo.source() };
    let mut followed = Followed::begin([source], state.path());
    let first = followed.next().await;
    repo.git(&["branch", "--quiet", "-D", "deploy"]);
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("branch deploy is not there"), "{problem}");
    assert_eq!(reading.files, first.files);
    repo.git(&["branch", "deploy"]);
    assert_eq!(followed.next().await.refused, Vec::<String>::new());
}

#[tokio::test]
async fn the_highest_version_is_followed_and_never_a_lower_one() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    repo.git(&["tag", "v1.0.0"]);
    let source = GitSource { follow: Follow::parse("semver:~1").unwrap(), ..repo.source() };
    let mut followed = Followed::begin([source], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("two");
    repo.git(&["tag", "-a", "-m", "next", "v1.10.0"]);
    assert_eq!(image(&followed.next().await, "web"), "web:2");
    repo.git(&["tag", "v2.0.0"]);
    followed.nothing().await;
    repo.git(&["tag", "-d", "v1.10.0"]);
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("version 1.0.0") && problem.contains("1.10.0 is in force"), "{problem}");
    assert_eq!(image(&reading, "web"), "web:2");
}
