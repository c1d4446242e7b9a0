//! What Docker Compose made is gone back to.

use e2e::controller::apply;
use serde_json::Value;

use super::*;

/// A project with most of what a container can be asked for; `version` and `health` are what changes.
fn text(world: &World, version: &str, health: &str) -> String {
    let (check, image) = (
        "{test: [CMD, /composed, demo-app, check], interval: 500ms, timeout: 3s, retries: 3, start_period: 1s}",
        image("1"),
    );
    format!(
        "name: {project}\nservices:\n  web:\n    image: {image}\n    environment: {{VERSION: \"{version}\", HEALTH: {health}}}\n    \
         healthcheck: {check}\n    labels: {{team: shop}}\n    stop_grace_period: 3s\n    restart: unless-stopped\n    init: true\n    \
         user: \"1000:1000\"\n    cap_drop: [ALL]\n    read_only: true\n    tmpfs: [\"/tmp:size=8m\"]\n    ulimits: {{nofile: 2048}}\n    \
         logging: {{driver: json-file, options: {{max-size: 1m}}}}\n    ports: [\"127.0.0.1::8080\"]\n    expose: [\"9090\"]\n    \
         networks: {{back: {{aliases: [shop]}}, default: {{}}}}\n    volumes: [\"data:/data\", \"{dir}:/desired:ro\"]\n    \
         extra_hosts: [\"db:10.0.0.1\"]\n    deploy: {{replicas: 3, resources: {{limits: {{memory: 128M, cpus: \"0.5\", pids: 50}}}}}}\n    \
         x-composed: {{rollout: {{min_ready: 1s}}}}\nnetworks: {{back: {{}}}}\nvolumes: {{data: {{}}}}\n",
        project = world.project,
        dir = world.desired().display(),
    )
}

/// What a container was made of, without what is each one's own.
fn made_of(world: &World, id: &str) -> Value {
    let text = world.docker.run(&["inspect", id]);
    let mut all: Value = serde_json::from_str(&text).unwrap();
    let one = all[0].take();
    let mut config = one["Config"].clone();
    for key in ["Hostname", "Labels", "Image"] {
        config[key] = Value::Null;
    }
    for key in ["AttachStdout", "AttachStderr"] {
        // Compose asks to see what `up` shows.
        config[key] = Value::Null;
    }
    let mut env: Vec<String> = serde_json::from_value(config["Env"].take()).unwrap();
    env.sort();
    config["Env"] = env.into();
    let mut host = one["HostConfig"].clone();
    // Two ways to ask for the same: what came of them is below.
    for key in ["Binds", "Mounts"] {
        host[key] = Value::Null;
    }
    let mut mounts: Vec<String> = one["Mounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| format!("{} {} {} {}", one["Type"], one["Source"], one["Destination"], one["RW"]))
        .collect();
    mounts.sort();
    let networks: BTreeSet<String> = one["NetworkSettings"]["Networks"].as_object().unwrap().keys().cloned().collect();
    let team = one["Config"]["Labels"]["team"].clone();
    serde_json::json!({"image": one["Image"], "config": config, "host": host, "mounts": mounts, "networks": networks, "team": team})
}

/// Three well replicas of `docker compose up`, then a revision that never becomes healthy: they stay, untouched. Then a good
/// one, and back by hand: what is made again is like what Compose made.
#[test]
fn s77_what_compose_made_is_gone_back_to() {
    scenario("77 back to what Compose made", secs(300), |world| {
        let program = match compose() {
            Ok(program) => program,
            Err(why) => return say(&format!("  SKIPPED: Docker Compose cannot be installed: {why}")),
        };
        let file = world.desired().join("compose.yaml");
        replace(&file, &text(world, "1", "ok"));
        let output = Command::new(&program).arg("-f").arg(&file).args(["up", "--detach", "--wait"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let before = world.ids("web");
        assert_eq!(before.len(), 3);
        let original = made_of(world, before.first().unwrap());

        replace(&file, &text(world, "2", "never"));
        let failed = apply(world, &world.desired(), &[]);
        assert_eq!(failed.code, 1, "{}", failed.text);
        assert!(failed.text.contains("rolled back to revision compose-"), "{}", failed.text);
        let live: BTreeSet<_> =
            world.all_of("web").into_iter().filter(|one| one.state == "running").map(|one| one.id).collect();
        assert_eq!(live, before.iter().cloned().collect(), "{}", failed.text);

        replace(&file, &text(world, "3", "ok"));
        let controller = Controller::start(world);
        controller.converged("web", "", secs(90));
        assert!(before.is_disjoint(&world.ids("web")));
        let done = verb(world, &["undo", "web", "--wait"]);
        assert_eq!(done.code, 0, "{}", done.text);
        say(&format!("  {}", done.text.lines().next().unwrap_or_default()));
        let again = world.ids("web");
        assert_eq!(again.len(), 3);
        for id in &again {
            assert_eq!(made_of(world, id), original, "what is made again is what Compose made");
        }
        let twice = verb(world, &["undo", "web"]);
        assert!(twice.code == 0 && twice.text.contains("there is nothing to do"), "{}", twice.text);
        let told = plan(world, &world.desired());
        assert!(told.text.contains("undone by hand") && told.text.contains("still asks for"), "{}", told.text);
    });
}
