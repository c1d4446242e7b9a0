//! From the command line to what runs: flags and the settings file say the same.

use clap::Parser as _;
use composed::cli::args::{Cli, CliCommand};
use composed::cli::repositories::{Repositories, given, repositories};
use composed::cli::run;
use crd_schema::status::RevisionOutcome;

use super::*;

fn asked(words: &[&str]) -> Result<Option<Repositories>, String> {
    let cli = Cli::try_parse_from(["composed", "run"].iter().chain(words)).map_err(|error| error.to_string())?;
    let CliCommand::Run(args) = cli.verb else { panic!("run") };
    repositories(&args.git, &given(&args.git)?, &args.compose, &cli.common)
}

fn why(words: &[&str]) -> String {
    asked(words).err().unwrap_or_else(|| panic!("{words:?} is taken"))
}

#[test]
fn flags_and_settings_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("hook"), "hunter2\n").unwrap();
    let settings = "sources:\n  - {git: \"git@git.example:team/shop.git\", ref: \"semver:~1\", path: deploy/prod/, interval: 5m, ssh_key: \
                    key, known_hosts: hosts, verify: tag, allowed_signers: signers, allow_rewrite: true, webhook: \
                    {provider: gitea, secret_file: hook}, compose: {name: shop, profiles: [web], env_files: [host.env], environment: {A: b}}}\n  - {git: /srv/a, write_back: {author: \"A <a@b>\"}}\nwebhooks: {listen: \"127.0.0.1:0\"}\n";
    std::fs::write(path("settings.yaml"), settings).unwrap();
    let from_file = asked(&["--config", &path("settings.yaml")]).unwrap().unwrap();
    let (key, hosts, signers, hook) = (path("key"), path("hosts"), path("signers"), path("hook"));
    let variables = path("host.env");
    let words = [
        ["--git", "git@git.example:team/shop.git"],
        ["--git-ref", "semver:~1"],
        ["--git-path", "deploy/prod"],
        ["--git-interval", "5m"],
        ["--git-ssh-key", &key],
        ["--git-known-hosts", &hosts],
        ["--git-verify", "tag"],
        ["--git-allowed-signers", &signers],
        ["--git-webhook", "127.0.0.1:0"],
        ["--git-webhook-provider", "gitea"],
        ["--git-webhook-secret-file", &hook],
        ["--project-name", "shop"],
        ["--profile", "web"],
        ["--env-file", &variables],
        ["--env", "A=b"],
    ];
    let from_flags = asked(&[&words.concat()[..], &["--git-allow-rewrite"]].concat()).unwrap().unwrap();
    let sources = |all: &Repositories| all.sources.iter().map(|(source, _)| source.clone()).collect::<Vec<_>>();
    assert_eq!(sources(&from_file)[..1], sources(&from_flags));
    let writing = ["--git", "/srv/a", "--git-write-back", "--git-author", "A <a@b>"];
    assert_eq!(sources(&from_file)[1..], sources(&asked(&writing).unwrap().unwrap()));
    let source = &from_file.sources[0].0;
    assert_eq!((source.name.as_str(), source.path.as_str(), source.interval.as_secs()), ("shop", "deploy/prod", 300));
    assert_eq!(from_file.webhooks.unwrap().1.len(), from_flags.webhooks.unwrap().1.len());
    assert!(asked(&["some/dir"]).unwrap().is_none());
}

#[test]
fn what_does_not_fit_is_told_before_anything_begins() {
    let dir = tempfile::tempdir().unwrap();
    let settings = |text: &str| {
        let path = dir.path().join("settings.yaml");
        std::fs::write(&path, text).unwrap();
        why(&["--config", path.to_str().unwrap()])
    };
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    for (text, word) in [
        ("sources: []", "no repository"),
        ("sources: [{git: /a/shop}, {git: /b/shop.git}]", "two repositories are called shop"),
        ("sources: [{git: \"https://u:hunter2@git.example/x\"}]", "password"),
        ("sources: [{git: \"ssh://git@git.example/x\"}]", "known_hosts"),
        ("sources: [{git: /a, path: ../b}]", "directory in the repository"),
        ("sources: [{git: /a, name: ../b}]", "its name"),
        ("sources: [{git: /a, compose: {name: A/b}}]", "lowercase"),
        ("sources: [{git: /a, write_back: {author: me}}]", "Name <mail>"),
        ("sources: [{git: /a, ref: \"semver:^1\", write_back: {}}]", "needs a branch"),
        ("sources: [{git: /a, verify: head, allowed_signers: /k, write_back: {}}]", "signs nothing"),
        ("sources: [{git: /a, write_back: {token_file: x}}]", "no https address"),
        ("sources: [{git: /a, verify: head}]", "no keys"),
        ("sources: [{git: /a, ref: \"a b\"}]", "cannot be the name"),
        ("sources: [{git: /a, webhook: {provider: github, secret_file: empty}}]", "one line"),
        ("sources: [{git: /a}]\nwebhooks: {listen: \"127.0.0.1:1\"}", "no repository has a `webhook`"),
        ("sources: [{git: /a}]\nwebhooks: {listen: here}", "ADDRESS:PORT"),
        ("sources: [{git: /a, token: hunter2}]", "settings.yaml:1:"),
    ] {
        let why = settings(text);
        assert!(why.contains(word) && !why.contains("hunter2"), "{text}: {why}");
    }
    let shop = |more: &[&str]| why(&[&["--git", "/srv/shop"], more].concat());
    assert!(asked(&[]).unwrap().is_none(), "this directory is meant");
    assert!(shop(&["some/dir"]).contains("cannot be used with"));
    assert!(shop(&["--config", "x"]).contains("cannot be used with"));
    assert!(shop(&["--git-webhook", "127.0.0.1:1"]).contains("--git-webhook-secret-file"));
    assert!(shop(&["--git-token-file", "x"]).contains("no https address"));
    assert!(why(&["some/dir", "--git-ref", "main"]).contains("no --git"));
    assert!(why(&["--config", "x", "--git-ref", "main"]).contains("no --git"));
    let file = dir.path().join("settings.yaml");
    std::fs::write(&file, "sources: [{git: /a}]").unwrap();
    assert!(why(&["--config", file.to_str().unwrap(), "--host-dir", "/x"]).contains("host_dir"));
    assert!(why(&["--config", file.to_str().unwrap(), "--profile", "x"]).contains("write `compose` into"));
    assert!(shop(&["--allow", "/x"]).contains("for files of this host"));
}

#[test]
fn settings_may_be_about_other_things_than_repositories() {
    use composed::cli::receivers::receivers;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("settings.yaml");
    let text = "max_rollouts: 2\nnotify:\n  - {name: team, url: \"https://ntfy.example/x\", format: ntfy}\n  - {url_file: hook, format: slack, \
                projects: [shop], on: [failed]}\n";
    std::fs::write(&file, text).unwrap();
    std::fs::write(dir.path().join("hook"), "https://hooks.example/hunter2\n").unwrap();
    let parsed = |words: &[&str]| {
        let cli = Cli::try_parse_from(["composed", "run"].iter().chain(words)).unwrap();
        let CliCommand::Run(args) = cli.verb else { panic!("run") };
        (args, cli.common)
    };
    let (args, common) =
        parsed(&["--config", file.to_str().unwrap(), "some/dir", "--notify-url", "http://127.0.0.1:1/"]);
    let all = given(&args.git).unwrap();
    assert!(repositories(&args.git, &all, &args.compose, &common).unwrap().is_none(), "the directory is meant");
    assert_eq!(all.settings.max_rollouts, Some(2));
    let targets = receivers(&args.notify, &all).unwrap();
    assert_eq!(targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>(), ["json", "team", "slack"]);
    let (args, _) = parsed(&["some/dir", "--notify-format", "ntfy"]);
    assert!(receivers(&args.notify, &given(&args.git).unwrap()).unwrap_err().contains("neither --notify-url"));
    std::fs::write(&file, "notify: [{url: \"http://a.example\"}, {url: \"http://b.example\"}]\n").unwrap();
    let (args, _) = parsed(&["--config", file.to_str().unwrap()]);
    assert!(receivers(&args.notify, &given(&args.git).unwrap()).unwrap_err().contains("two receivers"));
}

#[tokio::test]
async fn the_controller_says_which_commit_asked() {
    use composed_api::{Overview, client};
    if !git_is_here() {
        return;
    }
    let (repo, state) = (Repo::new(), tempfile::tempdir().unwrap());
    let web = |image: &str| document("web", image) + "  rollout: {min_ready: 0s}\n";
    repo.write("web.yaml", web("web:1"));
    repo.commit("one");
    let socket = state.path().join("s.sock");
    let words = ["composed", "run", "--engine", "simulated", "--git", repo.path().to_str().unwrap(), "--state-dir"];
    let more = [state.path().to_str().unwrap(), "--socket", socket.to_str().unwrap()];
    let cli = Cli::try_parse_from(words.iter().chain(&more)).unwrap();
    let CliCommand::Run(args) = cli.verb else { panic!("run") };
    let running = tokio::spawn(async move { run::run(args, &cli.common).await.map(drop) });
    let until = async |done: &dyn Fn(&Overview) -> bool| {
        let wait = tokio::time::timeout(LONG, async {
            loop {
                if let Ok((_, body)) = client::get(&socket, "/v1/services").await {
                    let overview: Overview = serde_json::from_slice(&body).unwrap();
                    if done(&overview) {
                        return overview;
                    }
                }
                tokio::time::sleep(Duration::from_millis(20)).await; // The pace of looking.
            }
        });
        wait.await.expect("the status")
    };
    let first = until(&|overview| !overview.services.is_empty()).await.services.remove(0);
    let head = repo.git(&["rev-parse", "HEAD"]);
    let name = repo.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
    assert_eq!(first.source.as_deref(), Some(&*format!("{name}@{} web.yaml:1", &head[..7])));
    let commit = first.commit.clone().unwrap();
    assert_eq!(
        (commit.id, commit.subject, commit.author),
        (head.clone(), "one".into(), "Ann <ann@shop.example>".into())
    );
    assert!(composed::cli::table::one(&first).contains(&format!("asked for by commit {} by Ann", &head[..7])));

    repo.write("web.yaml", web("web:2") + "  replicsa: 2\n");
    let bad = repo.commit("bad");
    let overview = until(&|overview| !overview.health.problems.is_empty()).await;
    let problems = overview.health.problems.join("\n");
    let named = [&bad[..7], "Ann <ann@shop.example>", "web.yaml:7:3", &head[..7]];
    assert!(named.iter().all(|word| problems.contains(word)), "{problems}");
    assert_eq!(overview.services[0].commit, first.commit);

    let available = |overview: &Overview, image: &str| {
        let newest = overview.services[0].history.first().filter(|record| record.image == image);
        newest.is_some_and(|record| record.outcome == RevisionOutcome::Available)
    };
    until(&|overview| available(overview, "web:1")).await;
    repo.write("web.yaml", web("web:2"));
    let good = repo.commit("good");
    let status = until(&|overview| available(overview, "web:2")).await.services.remove(0);
    let asked: Vec<_> = status.history.iter().map(|record| record.commit.as_ref().unwrap().id.clone()).collect();
    assert_eq!(asked, [good.clone(), head]);
    let (newest, first) = (&status.history[0], &status.history[1]);
    assert_eq!((first.outcome, first.image.as_str()), (RevisionOutcome::Available, "web:1"));
    assert!(newest.ended.unwrap() >= newest.since && newest.image_id.is_some(), "{newest:?}");
    let table = composed::cli::table::history(&status);
    assert!(table.contains(&format!("{} by Ann", &good[..7])) && table.contains("web:2 ("), "{table}");
    let (code, said) = client::post(&socket, "/v1/services/shop/web/undo").await.unwrap();
    let said = String::from_utf8(said).unwrap();
    assert!(
        code.is_success() && said.contains(&format!("asked for by commit {}", &first.commit.as_ref().unwrap().id[..7])),
        "{said}"
    );
    let (code, _) = client::post(&socket, "/v1/services/shop/web/undo?to=zzz").await.unwrap();
    assert_eq!(code.as_u16(), 409);
    running.abort();
}
