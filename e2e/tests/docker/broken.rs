//! Broken revisions under traffic, four kinds at once: nobody notices, and everybody can see why.

use std::time::Instant;

use e2e::controller::{Controller, apply, condition, reason};
use e2e::document::Service;
use e2e::stage::{say, scenario};
use e2e::traffic::Traffic;
use e2e::{secs, stays, that, within};

/// How a revision is broken, and what must be said about it.
struct Broken {
    /// The service's name.
    name: &'static str,
    change: fn(Service) -> Service,
    /// One of these is the reason of the condition `ReplicaFailure`.
    reasons: &'static [&'static str],
    /// In the words of the status and of `composed apply`.
    word: &'static str,
    /// Whether a container is made that can be kept for looking at.
    kept: bool,
}

const CASES: [Broken; 4] = [
    Broken {
        name: "unhealthy",
        change: |service| service.version("2").env("HEALTH", "never"),
        reasons: &["Unhealthy"],
        word: "is unhealthy",
        kept: true,
    },
    Broken {
        name: "crashing",
        change: |service| service.version("2").env("CRASH_AFTER_MS", "200"),
        reasons: &["CrashLoop"],
        word: "exited with code 1",
        kept: true,
    },
    Broken {
        name: "unstartable",
        change: |service| service.version("2").key("entrypoint", r#"["/nowhere"]"#),
        reasons: &["StartFailed"],
        word: "/nowhere",
        kept: true,
    },
    Broken {
        name: "imageless",
        // A registry on this host that nobody runs: refused at once, and nobody else is asked.
        change: |service| service.key("image", "127.0.0.1:9/nothing:1"),
        reasons: &["PullFailed", "ProgressDeadlineExceeded"],
        word: "127.0.0.1:9/nothing:1",
        kept: false,
    },
];

#[test]
fn s02_broken_revisions_are_rolled_back_once() {
    scenario("2 broken revisions", secs(240), |world| {
        let good = |case: &Broken| {
            // Eight replicas are checked here: half as often as elsewhere.
            let check = r#"{test: ["CMD", "/composed", "demo-app", "check"], interval: 1s, timeout: 3s, retries: 3, start_period: 1s}"#;
            Service::new(case.name, 2)
                .env("ON_TERM", "drain")
                .key("healthcheck", check)
                .rollout("progress_deadline", "15s")
        };
        for case in &CASES {
            world.write(&good(case));
        }
        let mut controller = Controller::start(world);
        for case in &CASES {
            controller.converged(case.name, "", secs(90));
        }
        let before = CASES.each_ref().map(|case| world.ids(case.name));
        let traffic = CASES.each_ref().map(|case| Traffic::at_rate(world, case.name, 75));
        let record = world.record();
        let made = |name: &str| -> Vec<String> {
            record.seen("create").into_iter().filter(|made| made.contains(&format!("-{name}-"))).collect()
        };
        let began = Instant::now();
        for case in &CASES {
            world.write(&(case.change)(good(case)));
        }
        for case in &CASES {
            let status = controller.reason(case.name, "RolledBack", secs(60));
            say(&format!("  {}: rolled back within {:.1?}", case.name, began.elapsed()));
            let message = condition(&status, "Progressing")["message"].as_str().unwrap_or_default();
            assert!(message.contains(case.word), "{message}");
            assert!(case.reasons.contains(&reason(&status, "ReplicaFailure").as_str()), "{status:#}");
        }
        // The last failed replica stays, under a name of its own and stopped.
        for (case, before) in CASES.iter().zip(&before) {
            within(secs(10), "the last failed replica is kept, no other", || {
                let others: Vec<_> = world.all_of(case.name).into_iter().filter(|c| !before.contains(&c.id)).collect();
                let right = others.iter().all(|c| c.state != "running" && c.name.ends_with("-failed"));
                that(right && others.len() == usize::from(case.kept), || format!("{}: {others:?}", case.name))
            });
        }
        let created = CASES.each_ref().map(|case| made(case.name));
        stays(secs(20), "none is made again, and the old replicas are untouched", || {
            let now = (CASES.each_ref().map(|case| made(case.name)), CASES.each_ref().map(|case| world.ids(case.name)));
            that(now.0 == created && now.1 == before, || format!("{now:?}"))
        });
        let mut failures = Vec::new();
        for (case, traffic) in CASES.iter().zip(traffic) {
            assert_eq!(controller.status(case.name).unwrap()["available"], 2);
            let report = traffic.stop();
            say(&format!("  {}: {} made; {report}", case.name, made(case.name).len()));
            assert!(!report.served.contains_key("2"), "{report}");
            failures.extend(report.errors);
        }
        assert_eq!(failures, Vec::<String>::new());

        assert!(controller.stop().success());
        let done = apply(world, &world.desired(), &[]);
        assert_eq!(done.code, 1, "{}", done.text);
        for case in &CASES {
            assert!(done.text.contains(case.word), "{}", done.text);
        }
        assert_eq!(CASES.each_ref().map(|case| made(case.name)), created, "nor does apply make one again");
        assert_eq!(CASES.each_ref().map(|case| world.ids(case.name)), before, "nor does apply touch the old ones");
    });
}
