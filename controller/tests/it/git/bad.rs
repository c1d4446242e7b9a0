//! Commits that are refused: they change nothing, and everybody can see why.

use super::*;

/// Follows a good commit, then one that `change` makes: what is said of it.
async fn refused(source: impl FnOnce(&Repo) -> GitSource, change: impl FnOnce(&Repo)) -> String {
    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    let good = repo.git(&["rev-parse", "HEAD"]);
    let mut followed = Followed::begin([source(&repo)], state.path());
    assert_eq!(image(&followed.next().await, "web"), "web:1");
    change(&repo);
    let bad = repo.commit("a change");
    let (reading, problem) = followed.problem().await;
    assert_eq!(image(&reading, "web"), "web:1", "{problem}");
    assert_eq!(reading.origins["repo"].commit.id, good);
    let named =
        [&bad[..7], "Ann <ann@shop.example>", "a change", &format!("commit {} by", &good[..7]), "stays in force"];
    assert!(named.iter().all(|word| problem.contains(word)), "{problem}");
    followed.nothing().await;
    // What is right again is taken, from there on.
    repo.git(&["revert", "--no-edit", "--no-gpg-sign", "HEAD"]);
    repo.write("web.yaml", document("web", "web:2"));
    repo.commit("better");
    let mut reading = followed.next().await;
    while reading.refused.is_empty() && image(&reading, "web") != "web:2" || !reading.refused.is_empty() {
        reading = followed.next().await;
    }
    problem
}

#[tokio::test]
async fn a_mistake_is_told_with_its_place() {
    if !git_is_here() {
        return;
    }
    let problem = refused(Repo::source, |repo| {
        repo.write("web.yaml", document("web", "web:2"));
        repo.write("sub/api.yaml", document("api", "api:1") + "  replicsa: 2\n");
    });
    let problem = problem.await;
    assert!(problem.contains("repo/sub/api.yaml:6:3") && problem.contains("replicsa"), "{problem}");
}

#[tokio::test]
async fn links_are_followed_inside_the_repository_only() {
    if !git_is_here() {
        return;
    }
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("api.yaml"), document("api", "api:1")).unwrap();
    let link = |to: &Path, repo: &Repo, from: &str| std::os::unix::fs::symlink(to, repo.path().join(from)).unwrap();
    let problem = refused(Repo::source, |repo| link(&outside.path().join("api.yaml"), repo, "api.yaml")).await;
    assert!(problem.contains("repo/api.yaml") && problem.contains("out of the repository"), "{problem}");
    let up = Path::new("../../../../../../../../etc/hostname");
    let problem = refused(Repo::source, |repo| link(up, repo, "api.yaml")).await;
    assert!(problem.contains("out of the repository"), "{problem}");
    let problem = refused(Repo::source, |repo| link(Path::new("api.yaml"), repo, "api.yaml")).await;
    assert!(problem.contains("too many links"), "{problem}");

    let (repo, state) = (Repo::with_web(), tempfile::tempdir().unwrap());
    repo.write("common/api.txt", document("api", "api:1"));
    repo.write("common/vars", "A=1\n");
    repo.write("db.yaml", document("db", "db:1") + "  env_file: [vars/vars, ./common/../common/vars]\n");
    link(Path::new("common/api.txt"), &repo, "api.yaml");
    link(Path::new("./common"), &repo, "vars");
    repo.commit("links inside");
    let reading = Followed::begin([repo.source()], state.path()).next().await;
    assert_eq!(reading.refused, Vec::<String>::new());
    assert_eq!(image(&reading, "api"), "api:1");
    let found: Vec<_> = reading.env_files.values().flatten().map(|content| content.as_deref().unwrap()).collect();
    assert_eq!(found, [b"A=1\n", b"A=1\n"]);
}

#[tokio::test]
async fn environment_files_are_of_the_commit_or_not_at_all() {
    if !git_is_here() {
        return;
    }
    for path in ["/etc/hostname", "../../../../../../../../etc/hostname"] {
        let text = document("web", "web:2") + &format!("  env_file: {path}\n");
        let problem = refused(Repo::source, |repo| repo.write("web.yaml", text)).await;
        assert!(problem.contains("not in the repository"), "{problem}");
    }
    let text = document("web", "web:2") + "  env_file: there.env\n";
    let problem = refused(Repo::source, |repo| repo.write("web.yaml", text)).await;
    assert!(problem.contains("there is no such file"), "{problem}");
}

#[tokio::test]
async fn a_file_that_is_emptied_is_a_mistake_and_no_wish() {
    if !git_is_here() {
        return;
    }
    let problem = refused(Repo::source, |repo| repo.write("web.yaml", "# nothing\n")).await;
    assert!(problem.contains("repo/web.yaml had documents and is empty now"), "{problem}");
}

#[tokio::test]
async fn a_huge_file_is_not_read() {
    if !git_is_here() {
        return;
    }
    let huge = vec![b'#'; crd_schema::MAX_FILE_BYTES + 1];
    let problem = refused(Repo::source, |repo| repo.write("huge.yaml", &huge)).await;
    assert!(problem.contains("repo/huge.yaml") && problem.contains("at most"), "{problem}");
    let problem = refused(Repo::source, |repo| {
        repo.write("web.yaml", document("web", "web:2") + "  env_file: huge.env\n");
        repo.write("huge.env", &huge);
    });
    let problem = problem.await;
    assert!(problem.contains("env_file huge.env of shop/web cannot be read: the file has"), "{problem}");
}

#[tokio::test]
async fn a_name_that_would_forge_a_line_of_the_log_is_refused() {
    if !git_is_here() {
        return;
    }
    let problem = refused(Repo::source, |repo| repo.write("a\nerror: forged.yaml", document("api", "api:1"))).await;
    assert!(problem.contains("cannot be shown") && !problem.contains("\nerror: forged"), "{problem}");
}

#[tokio::test]
async fn a_directory_that_goes_is_a_mistake_and_no_wish() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    repo.write("deploy/web.yaml", document("web", "web:1"));
    repo.write("broken.yaml", "{");
    repo.commit("one");
    let source = GitSource { path: "deploy".to_owned(), ..repo.source() };
    let mut followed = Followed::begin([source], state.path());
    let first = followed.next().await;
    assert_eq!(first.files.len(), 1, "only what is in the directory: {first:?}");
    repo.git(&["mv", "deploy", "moved"]);
    repo.commit("moved");
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("there is no directory deploy"), "{problem}");
    assert_eq!(reading.files, first.files);
}

#[tokio::test]
async fn a_relative_bind_needs_a_place_on_the_host() {
    if !git_is_here() {
        return;
    }
    let text = document("web", "web:2") + "  volumes: [\"./data:/data\"]\n";
    let problem = refused(Repo::source, |repo| repo.write("web.yaml", &text)).await;
    assert!(problem.contains("--host-dir") && problem.contains("./data"), "{problem}");
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    repo.write("deploy/web.yaml", text);
    repo.commit("one");
    let source = GitSource { host_root: Some("/srv/shop".into()), ..repo.source() };
    let reading = Followed::begin([source], state.path()).next().await;
    let catalog = composed_source::catalog::Catalog::new(&reading, &composed_source::catalog::Catalog::empty(false));
    let web = catalog.service(&composed_core::model::ServiceName::new("shop", "web")).unwrap();
    assert_eq!(web.spec.volumes[0].source.as_deref(), Some("/srv/shop/deploy/data"));
}
