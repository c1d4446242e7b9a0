//! Compose projects in a repository: read whole from the commit, filled in with what the repository and this host say.

use composed_core::model::ServiceName;
use composed_source::catalog::Catalog;
use composed_source::compose::ComposeOptions;

use super::*;

const COMPOSE: &str = "services:\n  web:\n    image: web:${TAG:?which}\n    extends: {file: common/base.yaml, service: base}\n    \
                       env_file: web.env\n  tool: {image: tool, profiles: [tools]}\ninclude: [db/compose.yaml]\n";

/// A repository with a project in the directory `shop`, of several files.
fn shop() -> Repo {
    let repo = Repo::new();
    repo.write("shop/compose.yaml", COMPOSE);
    repo.write("shop/compose.override.yaml", "services: {web: {labels: {from: override}}}\n");
    repo.write("shop/common/base.yaml", "services: {base: {image: base, environment: {FROM: base}}}\n");
    repo.write("shop/db/compose.yaml", "services: {db: {image: \"db:${DB:-1}\"}}\n");
    repo.write("shop/.env", "TAG=1\n");
    repo.write("shop/web.env", "KEY=value\n");
    repo.write("shop/prometheus.yml", "global: {}\n");
    repo.commit("one");
    repo
}

fn catalog(reading: &Reading) -> Catalog {
    let catalog = Catalog::new(reading, &Catalog::empty(false));
    assert_eq!(catalog.problems, Vec::<String>::new());
    catalog
}

fn image_of(catalog: &Catalog, project: &str, name: &str) -> Option<String> {
    catalog.service(&ServiceName::new(project, name)).map(|service| service.spec.image.to_string())
}

#[tokio::test]
async fn a_project_of_many_files_is_read_from_the_commit() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (shop(), tempfile::tempdir().unwrap());
    let first = repo.git(&["rev-parse", "--short=7", "HEAD"]);
    let mut followed = Followed::begin([repo.source()], state.path());
    let all = catalog(&followed.next().await);
    let web = all.service(&ServiceName::new("shop", "web")).unwrap();
    assert_eq!(web.spec.image, "web:1");
    assert_eq!(web.source, format!("repo@{first} shop/compose.yaml:2"));
    let said = serde_json::to_string(&web.spec).unwrap();
    assert!(["FROM", "KEY", "override"].iter().all(|word| said.contains(word)), "{said}");
    assert_eq!(image_of(&all, "shop", "db").as_deref(), Some("db:1"));
    assert_eq!(all.names().count(), 2, "no profile is active: {:?}", all.names().collect::<Vec<_>>());

    // A commit that only changes what it is made of asks for what that changes.
    repo.write("shop/.env", "TAG=2\nDB=1\n");
    let second = repo.commit("two");
    let all = catalog(&followed.next().await);
    assert_eq!(image_of(&all, "shop", "web").as_deref(), Some("web:2"));
    let asked = |name: &str| all.service(&ServiceName::new("shop", name)).unwrap().commit.clone().unwrap().id;
    assert_eq!(asked("web"), second);
    assert!(asked("db").starts_with(&first));

    // What a work tree has is nobody's wish; a project that is wrong changes nothing, and is told by its own place.
    repo.write("shop/.env", "TAG=3\n");
    followed.nothing().await;
    repo.write("shop/.env", "OTHER=1\n");
    repo.commit("no tag");
    let (reading, problem) = followed.problem().await;
    assert_eq!(image_of(&Catalog::new(&reading, &Catalog::empty(false)), "shop", "web").as_deref(), Some("web:2"));
    assert!(problem.contains("shop/compose.yaml:3:") && problem.contains("which"), "{problem}");
}

#[tokio::test]
async fn what_is_outside_the_repository_is_not_read() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let secret = state.path().join("secret.yaml");
    std::fs::write(&secret, "services: {base: {image: hunter2}}\n").unwrap();
    for outside in [secret.to_str().unwrap(), "../../secret.yaml"] {
        repo.write("compose.yaml", format!("services:\n  web: {{extends: {{file: {outside}, service: base}}}}\n"));
        repo.commit(outside);
        let mut followed = Followed::begin([repo.source()], &state.path().join("git"));
        let (_, problem) = followed.problem().await;
        assert!(problem.contains("is not in the repository") && !problem.contains("hunter2"), "{problem}");
        followed.end().await;
    }
}

#[tokio::test]
async fn variables_of_this_host_fill_in_what_the_repository_does_not_say() {
    if !git_is_here() {
        return;
    }
    let (repo, state) = (shop(), tempfile::tempdir().unwrap());
    let file = state.path().join("host.env");
    std::fs::write(&file, "TAG=host\n").unwrap();
    let compose = ComposeOptions {
        name: Some("other".to_owned()),
        profiles: vec!["tools".to_owned()],
        env_files: vec![file.clone()],
        variables: [("DB".to_owned(), "9".to_owned())].into(),
        ..ComposeOptions::default()
    };
    let copies = state.path().join("git");
    let source = || GitSource { compose: compose.clone(), ..repo.source() };
    let mut followed = Followed::begin([source()], &copies);
    let all = catalog(&followed.next().await);
    assert_eq!(image_of(&all, "other", "web").as_deref(), Some("web:host"));
    assert_eq!(image_of(&all, "other", "db").as_deref(), Some("db:9"));
    assert_eq!(image_of(&all, "other", "tool").as_deref(), Some("tool"));

    // It is looked at whenever the repository is.
    std::fs::write(&file, "TAG=changed\n").unwrap();
    followed.nudge();
    let changed = catalog(&followed.next().await);
    assert_eq!(image_of(&changed, "other", "web").as_deref(), Some("web:changed"));

    // Cut to nothing, or away, it is no wish, over a restart too.
    std::fs::write(&file, "# nothing\n").unwrap();
    followed.nudge();
    let (reading, problem) = followed.problem().await;
    assert!(problem.contains("host.env had variables and has none now"), "{problem}");
    assert_eq!(image_of(&catalog_of_good(&reading), "other", "web").as_deref(), Some("web:changed"));
    followed.end().await;
    std::fs::remove_file(&file).unwrap();
    let mut followed = Followed::begin([source()], &copies);
    let (_, problem) = followed.problem().await;
    assert!(problem.contains("has none now"), "{problem}");
    std::fs::write(&file, "TAG=back\n").unwrap();
    followed.nudge();
    let mut reading = followed.next().await;
    while !reading.refused.is_empty() {
        reading = followed.next().await;
    }
    assert_eq!(image_of(&catalog(&reading), "other", "web").as_deref(), Some("web:back"));
}

/// What is in force of a reading that has problems, too.
fn catalog_of_good(reading: &Reading) -> Catalog {
    Catalog::new(&Reading { refused: Vec::new(), ..reading.clone() }, &Catalog::empty(false))
}
