//! Others who keep changing the containers.

use super::*;

/// Somebody who brings up another version of the project by hand is put right, and put right again; the third time he is left to
/// it, and everybody is told who it was.
#[test]
fn s29_others_who_keep_changing_it_are_left_to_it() {
    scenario("29 contended", secs(300), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let text = |log: &str| {
            format!(
                "name: {}\nservices:\n  web:\n    image: {}\n    environment: {{LOG: {log}}}\n    stop_grace_period: 1s\n    \
                 deploy: {{replicas: 2}}\n    x-composed: {{rollout: {{min_ready: 1s}}}}\n",
                world.project,
                image("1")
            )
        };
        replace(&world.desired().join("compose.yaml"), &text("wanted"));
        let other = world.path("other.yaml");
        replace(&other, &text("other"));
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        let logs = || -> Vec<String> {
            let format = "{{range .Config.Env}}{{println .}}{{end}}";
            // One of them may be going at this moment.
            let env = |id: &String| world.docker.output(&["inspect", "--format", format, id]).stdout;
            let log = |id: &String| {
                let env = String::from_utf8_lossy(&env(id)).into_owned();
                env.lines().find(|line| line.starts_with("LOG=")).unwrap_or_default().to_owned()
            };
            world.ids("web").iter().map(log).collect()
        };
        let by_hand = || {
            let output = Command::new(&program).arg("-f").arg(&other).args(["up", "-d"]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        for _ in 0..2 {
            by_hand();
            let done = std::time::Instant::now();
            within(secs(60), "it is put right", || that(logs() == ["LOG=wanted"; 2], || format!("{:?}", logs())));
            controller.converged("web", "", secs(60));
            // What comes within half a minute is one deed; it has come when Compose is done, which takes its time.
            std::thread::sleep(secs(32).saturating_sub(done.elapsed()));
        }
        by_hand();
        controller.meets("web", secs(30), "it says who keeps changing it", |status| {
            let contended = condition(status, "Contended");
            contended["status"] == true && contended["message"].as_str().is_some_and(|text| text.contains("other.yaml"))
        });
        let ids = world.ids("web");
        stays(secs(8), "nobody fights", || {
            let now = (world.ids("web"), logs());
            that(now.0 == ids && now.1 == ["LOG=other"; 2], || format!("{now:?}"))
        });
        let told = verb(world, &["resume", &format!("{}/web", world.project)]);
        assert_eq!(told.code, 0, "{}", told.text);
        within(secs(60), "it goes on", || {
            that(logs() == ["LOG=wanted"; 2], || {
                format!("{:?} {}", logs(), brief(&controller.status("web").unwrap_or_default()))
            })
        });
    });
}
