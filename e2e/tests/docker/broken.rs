//! Broken revisions under traffic: nobody notices, and everybody can see why.

use std::time::{Duration, Instant};

use e2e::controller::{Controller, apply, condition, reason};
use e2e::document::Service;
use e2e::secs;
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::world::World;

/// How a revision is broken, and what must be said about it.
struct Broken {
    title: &'static str,
    change: fn(Service) -> Service,
    /// One of these reasons is the condition `ReplicaFailure`'s.
    reasons: &'static [&'static str],
    /// In the words of the status and of `composed apply`.
    word: &'static str,
    /// Whether a container is made that can be kept for looking at.
    kept: bool,
}

fn broken(world: &World, case: &Broken) {
    let web = Service::new("web", 2).env("ON_TERM", "drain").rollout("progress_deadline", "15s");
    world.write(&web);
    let mut controller = Controller::start(world);
    controller.converged("web", "", secs(60));
    let before = world.ids("web");
    let traffic = Traffic::start(world, "web");
    let record = world.record();
    let began = Instant::now();
    world.write(&(case.change)(web));
    // The last failed replica stays: the service rests when it is stopped.
    let status = controller.reason("web", "RolledBack", secs(60));
    let took = began.elapsed();
    let message = condition(&status, "Progressing")["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains(case.word), "{message}");
    assert!(case.reasons.contains(&reason(&status, "ReplicaFailure").as_str()), "{status:#}");
    std::thread::sleep(secs(6));
    let created = record.seen("create");
    let kept: Vec<_> = world.all_of("web").into_iter().filter(|c| !before.contains(&c.id)).collect();
    assert!(kept.len() == usize::from(case.kept), "the last failed one is kept, no other: {kept:#?}");
    assert!(kept.iter().all(|c| c.state != "running" && c.name.ends_with("-web-failed")), "{kept:#?}");
    std::thread::sleep(secs(14));
    assert_eq!(record.seen("create"), created, "the failed revision is not made again");
    assert_eq!(world.ids("web"), before, "the old replicas are untouched");
    assert_eq!(controller.status("web").unwrap()["available"], 2);
    let report = traffic.stop();
    say(&format!("  {}: rolled back after {took:.1?}, {} made; {report}", case.title, created.len()));
    assert_eq!(report.failed, 0, "{:#?}", report.errors);
    assert!(!report.served.contains_key("2"), "{report}");

    assert!(controller.stop().success());
    let done = apply(world, &world.desired(), &[]);
    assert_eq!(done.code, 1, "{}", done.text);
    assert!(done.text.contains(case.word), "{}", done.text);
    assert_eq!(record.seen("create"), created, "nor by apply");
    assert_eq!(world.ids("web"), before, "nor does apply touch them");
}

const LIMIT: Duration = secs(180);

#[test]
fn s02_an_image_that_never_gets_healthy() {
    let change = |web: Service| web.version("2").env("HEALTH", "never");
    let case = Broken { title: "unhealthy", change, reasons: &["Unhealthy"], word: "unhealthy", kept: true };
    scenario("2 never healthy", LIMIT, |world| broken(world, &case));
}

#[test]
fn s02_an_image_that_crashes() {
    let change = |web: Service| web.version("2").env("CRASH_AFTER_MS", "200");
    let reasons = &["CrashLoop", "Exited"];
    let case = Broken { title: "crash loop", change, reasons, word: "exited with code 1", kept: true };
    scenario("2 crash loop", LIMIT, |world| broken(world, &case));
}

#[test]
fn s02_an_entrypoint_that_does_not_exist() {
    let change = |web: Service| web.version("2").key("entrypoint", r#"["/nowhere"]"#);
    let case = Broken { title: "unstartable", change, reasons: &["StartFailed"], word: "/nowhere", kept: true };
    scenario("2 unstartable", LIMIT, |world| broken(world, &case));
}

#[test]
fn s02_an_image_that_does_not_exist() {
    // A registry on this host that nobody runs: refused at once, and nobody else is asked.
    let change = |web: Service| web.key("image", "127.0.0.1:9/nothing:1");
    // The image's name is not in the message (finding F2).
    let reasons = &["PullFailed", "ProgressDeadlineExceeded"];
    let case = Broken { title: "no image", change, reasons, word: "pulled", kept: false };
    scenario("2 no such image", LIMIT, |world| broken(world, &case));
}
