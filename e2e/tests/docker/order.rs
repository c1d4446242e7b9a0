//! What must come first: dependencies before dependants, the old database's end before the new one's start.

use e2e::check::Watcher;
use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::stage::{say, scenario};
use e2e::world::World;
use e2e::{secs, stays, that, within};

/// A time in the container's state, as Docker has it: RFC 3339 in UTC, so its text orders as time does.
fn time(world: &World, id: &str, field: &str) -> String {
    world.docker.run(&["inspect", "--format", &format!("{{{{.State.{field}}}}}"), id])
}

/// When the container was first healthy.
fn healthy_at(world: &World, id: &str) -> String {
    let ends = world.docker.run(&[
        "inspect",
        "--format",
        "{{range .State.Health.Log}}{{if eq .ExitCode 0}}{{json .End}}\n{{end}}{{end}}",
        id,
    ]);
    let first = ends.lines().next().unwrap_or_default().trim_matches('"').to_owned();
    assert!(!first.is_empty(), "{id} was never healthy");
    first
}

/// Seconds since 1970 of a time that Docker tells, whatever its offset.
fn seconds(time: &str) -> f64 {
    let output = std::process::Command::new("date").args(["-d", time, "+%s.%N"]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

#[test]
fn s12_a_dependant_starts_after_its_dependencies() {
    scenario("12 depends_on", secs(180), |world| {
        let job = Service::new("job", 1)
            .key("entrypoint", r#"["/composed"]"#)
            .key("command", r#"["--version"]"#)
            .key("healthcheck", "{disable: true}")
            .key("expose", "[]");
        // Docker remembers the last five checks: with one every 3 s the first good one is still among them.
        let check = r#"{test: ["CMD", "/composed", "demo-app", "check"], interval: 3s, timeout: 3s, retries: 5}"#;
        let db = Service::new("db", 1).env("START_DELAY_MS", "2000").key("healthcheck", check);
        let web = Service::new("web", 1)
            .key("depends_on", "{db: {condition: service_healthy}, job: {condition: service_completed_successfully}}");
        // The dependant first: order comes from the documents, not from the file system.
        for service in [&web, &job, &db] {
            world.write(service);
        }
        let controller = Controller::start(world);
        within(secs(60), "web is available", || {
            let status = controller.status("web")?;
            that(status["available"] == 1, || e2e::controller::brief(&status))
        });
        let one = |service: &str| world.all_of(service).into_iter().next().unwrap();
        let (web, db, job) = (one("web"), one("db"), one("job"));
        let started = seconds(&time(world, &web.id, "StartedAt"));
        let healthy = seconds(&healthy_at(world, &db.id));
        let finished = seconds(&time(world, &job.id, "FinishedAt"));
        say(&format!(
            "  web started {:.1} s after db was healthy, {:.1} s after job had ended",
            started - healthy,
            started - finished
        ));
        assert!(started > healthy && started > finished);
        assert_eq!(job.state, "exited");
        stays(secs(3), "it is not run again", || {
            let all = world.all_of("job");
            that(all.len() == 1 && all[0].id == job.id, || format!("{all:?}"))
        });
    });
}

#[test]
fn s13_two_databases_never_run_at_once() {
    scenario("13 stop-first database", secs(240), |world| {
        let db = Service::new("db", 1)
            .key("volumes", r#"["data:/data"]"#)
            .env("ON_TERM", "drain")
            .rollout("progress_deadline", "30s");
        world.write(&db);
        let controller = Controller::start(world);
        let first = controller.converged("db", "", secs(60));
        let status = controller.status("db").unwrap();
        assert!(status["strategy"].as_str().unwrap().starts_with("stop-first"), "{status}");
        let watcher = Watcher::start(world, "db");
        let old = world.ids("db").pop_first().unwrap();
        world.write(&db.clone().version("2"));
        let second = controller.converged("db", &first, secs(60));
        world.only("db", 1, &image("2"));
        let new = world.running("db").remove(0);
        assert_ne!(old, new.id);
        let mounts = world.docker.run(&["inspect", "--format", "{{range .Mounts}}{{.Name}}{{end}}", &new.id]);
        assert_eq!(mounts, format!("{}_data", world.project), "the same data");

        // A broken one brings the old one back.
        world.write(&db.version("3").env("HEALTH", "never"));
        let status = controller.reason("db", "RolledBack", secs(60));
        within(secs(60), "version 2 runs again", || {
            let running = world.running("db");
            let back = running.len() == 1 && running[0].healthy && running[0].image == image("2");
            that(back, || format!("{running:?}"))?;
            that(controller.status("db")?["available"] == 1, || "not yet available".to_owned())
        });
        assert_ne!(status["revision"], second.as_str(), "what is wanted is still the broken one");
        // By the engine's own record: each start is after the end of the one before.
        let sights = watcher.stop();
        assert!(sights.most_running <= 1, "{}", sights.notes["most"]);
        say(&format!("  {} looks, never more than {} running", sights.looks, sights.most_running));
    });
}
