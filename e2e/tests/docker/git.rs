//! A Compose project in a git repository, under traffic: what is right is rolled out, what is wrong or away changes nothing.

use e2e::controller::Controller;
use e2e::git::git;
use e2e::program::image;
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::world::World;
use e2e::{let_load_go_on, millis, secs, stays, that, within};
use serde_json::Value;

fn compose(world: &World) -> String {
    format!(
        "name: {}\nservices:\n  web:\n    image: ${{IMAGE:?which}}\n    scale: 2\n    ports: [\"127.0.0.1::8080\"]\n    healthcheck: {{test: \
         [\"CMD\", \"/composed\", \"demo-app\", \"check\"], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}}\n    x-composed: \
         {{drain_timeout: 20s, rollout: {{min_ready: 1s}}}}\n",
        world.project
    )
}

#[test]
fn s64_a_compose_project_in_git_is_followed_and_what_is_wrong_changes_nothing() {
    scenario("64 Compose in git", secs(300), |world| {
        let (bare, work) = (world.path("deploy.git"), world.path("work"));
        git(&world.path(""), &["init", "--bare", "--quiet", "deploy.git"]);
        git(&world.path(""), &["clone", "--quiet", "deploy.git", "work"]);
        let commit = |subject: &str| {
            git(&work, &["add", "--all"]);
            git(&work, &["commit", "--quiet", "-m", subject]);
            git(&work, &["rev-parse", "--short=7", "HEAD"])
        };
        let push = |more: &[&str]| git(&work, &[&["push", "--quiet"], more, &["origin", "HEAD:main"]].concat());
        let wants = |version: &str| std::fs::write(work.join(".env"), format!("IMAGE={}\n", image(version))).unwrap();
        std::fs::write(work.join("compose.yaml"), compose(world)).unwrap();
        wants("1");
        commit("version 1");
        push(&[]);
        let controller = Controller::start_on_git(world, &bare);
        let first = controller.converged("web", "", secs(90));
        let traffic = Traffic::start(world, "web");
        let_load_go_on(secs(1));

        wants("2");
        let good = commit("version 2");
        push(&[]);
        controller.converged("web", &first, secs(90));
        world.only("web", 2, &image("2"));
        let of = |status: &Value| (status["commit"]["subject"].clone(), status["source"].clone());
        let (subject, source) = of(&controller.status("web").unwrap());
        assert_eq!(subject, "version 2");
        assert!(source.as_str().unwrap().ends_with("compose.yaml:3"), "{source}");

        let before = world.ids("web");
        let refused = |words: &[&str]| {
            within(secs(20), &format!("{words:?} is told"), || {
                let problems = controller.overview()?["health"]["problems"].to_string();
                that(words.iter().all(|word| problems.contains(word)), || problems)
            });
            stays(millis(1500), &format!("{words:?} changes nothing"), || {
                that(world.ids("web") == before, || controller.events())
            });
        };
        std::fs::write(work.join("compose.yaml"), compose(world).replace("scale: 2", "scalee: 2")).unwrap();
        let bad = commit("a slip of the pen");
        push(&[]);
        refused(&[&bad, "e2e <e2e@shop.example>", "compose.yaml:5:5", &format!("commit {good}"), "stays in force"]);

        git(&work, &["reset", "--quiet", "--hard", "HEAD~2"]);
        wants("3");
        let rewritten = commit("another history");
        push(&["--force"]);
        refused(&[&rewritten, "history was rewritten"]);

        let away = world.path("away.git");
        std::fs::rename(&bare, &away).unwrap();
        within(secs(90), "it is told that the repository is away", || {
            let problems = controller.overview()?["health"]["problems"].to_string();
            that(!problems.contains("rewritten") && problems.contains("deploy.git"), || problems)
        });
        std::fs::rename(&away, &bare).unwrap();
        git(&work, &["reset", "--quiet", "--hard", &good]);
        wants("3");
        commit("version 3");
        push(&["--force"]);
        within(secs(120), "it goes on by itself", || {
            let (subject, _) = of(&controller.status("web")?);
            that(subject == "version 3", || subject.to_string())
        });
        controller.converged("web", "", secs(90));
        world.only("web", 2, &image("3"));
        let report = traffic.stop();
        say(&format!("  {report}"));
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
        assert!(["1", "2", "3"].iter().all(|version| report.served.contains_key(*version)), "{report}");
    });
}
