//! What hooks in containers say when they fail, and how long one that hangs is waited for.

use e2e::controller::{Controller, apply, verb};
use e2e::document::Service;
use e2e::program::image_with_shell;
use e2e::secs;
use e2e::stage::scenario;

/// What fails or hangs in a container is told where people look, with the last of what it wrote and no secret of it.
#[test]
fn s81_hooks_that_fail_or_hang_are_told() {
    scenario("81 hooks that fail or hang", secs(240), |world| {
        let token = "t0p-secret-value";
        let said = format!("echo connecting with {token}; echo no route to registry >&2; exit 7");
        let hook = |command: &str| format!("[{{command: [sh, -c, {command:?}]}}]");
        let web = |version: &str| {
            let web =
                Service::new("web", 1).key("image", &image_with_shell()).env("TOKEN", token).env("VERSION", version);
            web.key("drain_timeout", "2s")
        };
        world.write(&web("1").key("pre_stop", &hook(&format!("sleep 2; {said}"))));
        assert_eq!(apply(world, &world.desired(), &[]).code, 0);
        // The one that leaves fails, and goes all the same.
        world.write(&web("2"));
        let done = apply(world, &world.desired(), &[]);
        assert_eq!(done.code, 0, "{}", done.text);
        let failed = |text: &str, what: &str| {
            let line =
                text.lines().find(|line| line.contains(what) && line.contains("FAILED")).unwrap_or_default().to_owned();
            assert!(line.contains("exited with code 7") && line.contains("no route to registry"), "{what}: {text}");
            assert!(line.contains("connecting with ***") && !text.contains(token), "{what}: {text}");
        };
        failed(&done.text, "pre_stop of ");
        let waits = done.text.lines().find(|line| line.contains("waits for pre_stop of ")).unwrap_or_default();
        assert!(waits.contains("(until ") && waits.contains("at the latest)"), "{}", done.text);
        // One that comes fails its revision; so does a container that runs before it.
        world.write(&web("3").key("post_start", &hook(&said)));
        let done = apply(world, &world.desired(), &[]);
        assert_eq!(done.code, 1, "{}", done.text);
        failed(&done.text, "post_start of ");
        let pre_deploy = format!("{{pre_deploy: {{command: [sh, -c, {said:?}], entrypoint: []}}}}");
        world.write(&web("4").key("hooks", &pre_deploy));
        let done = apply(world, &world.desired(), &[]);
        assert_eq!(done.code, 1, "{}", done.text);
        let line = done.text.lines().find(|line| line.contains("pre_deploy of revision")).unwrap_or_default();
        assert!(
            line.contains("with code 7: ") && line.contains("no route") && !done.text.contains(token),
            "{}",
            done.text
        );

        // Where a controller does it, its events tell.
        world.write(&web("5").key("pre_stop", &hook(&said)));
        let controller = Controller::start(world);
        let five = controller.converged("web", "", secs(60));
        world.write(&web("6"));
        controller.converged("web", &five, secs(60));
        let told = verb(world, &["events"]);
        failed(&told.text, "pre_stop of ");
    });
}
