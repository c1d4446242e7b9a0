//! The examples, deployed as they are but for what a machine without a registry lacks: their images, and the programs in
//! them that their checks call.

use e2e::controller::{Controller, plan};
use e2e::haproxy::haproxy_or_skip;
use e2e::program::image;
use e2e::stage::scenario;
use e2e::{secs, stays, that, within};

/// The demo application stands in for all of them. Each replacement must still be needed.
const STAND_INS: [(&str, &str); 17] = [
    ("project: examples", "project: PROJECT"),
    ("metadata: {name: examples}", "metadata: {name: PROJECT}"),
    ("image: nginx:1.27-alpine", "image: IMAGE"),
    ("image: postgres:17-alpine", "image: IMAGE"),
    ("image: redis:7-alpine", "image: IMAGE"),
    ("image: traefik/whoami:v1.10", "image: IMAGE"),
    ("image: busybox:1.37", "image: IMAGE"),
    ("image: nginxinc/nginx-unprivileged:1.27-alpine", "image: IMAGE"),
    ("image: haproxy:3.0-alpine", "image: \"HAPROXY\""),
    ("127.0.0.1:8088:8080", "127.0.0.1::8080"),
    (r#"test: ["CMD", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/"]"#, CHECK),
    (r#"test: ["CMD", "pg_isready", "-U", "postgres"]"#, CHECK),
    (r#"test: ["CMD", "redis-cli", "ping"]"#, CHECK),
    (r#"command: ["sh", "-c", "echo no new work please"]"#, r#"command: ["/composed", "demo-app", "check"]"#),
    (r#"command: ["sh", "-c", "echo nothing to migrate yet"]"#, r#"entrypoint: ["/composed", "--version"]"#),
    ("port: 80}", "port: 8080}"),
    (
        r#"command: ["sh", "-c", "trap 'exit 0' TERM; while true; do echo working; sleep 5 & wait $!; done"]"#,
        "command: []",
    ),
];
const CHECK: &str = r#"test: ["CMD", "/composed", "demo-app", "check"]"#;

#[test]
fn s14_the_examples_converge() {
    scenario("14 examples", secs(240), |world| {
        let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/services");
        let haproxy = haproxy_or_skip("14 the example with a front");
        let mut needed = [false; STAND_INS.len()];
        for entry in std::fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            let mut text = std::fs::read_to_string(&path).unwrap();
            let front = path.ends_with("front.yaml");
            for (at, (from, to)) in STAND_INS.iter().enumerate() {
                needed[at] |= text.contains(from);
                text = text.replace(from, to);
            }
            let Some(haproxy) = haproxy.as_ref().or_else(|| (!front).then_some(&world.project)) else { continue };
            let text = text.replace("HAPROXY", haproxy);
            let text = text.replace("PROJECT", &world.project).replace("IMAGE", &image("1"));
            std::fs::write(world.desired().join(path.file_name().unwrap()), text).unwrap();
        }
        assert_eq!(needed, [true; STAND_INS.len()], "a stand-in is for nothing");
        let controller = Controller::start(world);
        let fronts = haproxy.map_or(Vec::new(), |_| vec![("site", 2), ("site-front", 1)]);
        let others =
            [("hello", 1), ("web", 3), ("worker", 2), ("database", 1), ("cache", 1), ("api", 2), ("tickets", 1)];
        let all: Vec<(&str, usize)> = others.into_iter().chain(fronts).collect();
        for (name, replicas) in all.iter().copied() {
            controller.converged(name, "", secs(120));
            assert_eq!(world.running(name).len(), replicas, "{name}");
        }
        let database = controller.status("database").unwrap();
        let strategy = database["strategy"].as_str().unwrap().to_owned();
        assert!(strategy.contains("stop-first") && strategy.contains("data"), "{strategy}");
        let started =
            |name: &str| world.docker.run(&["inspect", "--format", "{{.State.StartedAt}}", &world.running(name)[0].id]);
        assert!(started("cache") < started("api"), "the API waits for its cache");

        let told = plan(world, &world.desired());
        assert_eq!(told.text.matches("nothing to do").count(), all.len(), "the plan is empty: {}", told.text);

        // A second start finds nothing to do.
        let before = world.record();
        drop(controller);
        let controller = Controller::start(world);
        within(secs(30), "the second controller has looked", || {
            let status = controller.status("api")?;
            that(status["available"] == 2, || status.to_string())
        });
        stays(secs(6), "nothing is done", || {
            let did: Vec<_> = before.all().into_iter().filter(|(event, _)| event != "exec").collect();
            that(did.is_empty(), || format!("{did:?}"))
        });
    });
}
