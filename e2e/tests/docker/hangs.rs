//! One call of the engine hangs: an unrelated service goes on as if it were alone, and the slow one is named. And what one
//! change asks of the engine.

use std::time::Instant;

use e2e::between::Between;
use e2e::controller::{Controller, condition};
use e2e::document::Service;
use e2e::stage::{say, scenario_alone};
use e2e::world::World;
use e2e::{secs, that, within};

/// More than the debounce of 0.1 s and a pass.
const PROMPT: f64 = 1.5;

fn service(name: &str, version: u32) -> Service {
    Service::new(name, 1).key("ports", "[]").rollout("min_ready", "0s").env("V", &version.to_string())
}

/// Changes `b`; how long it took until it was begun, and until it was done.
fn change_of_b(world: &World, controller: &Controller, version: u32, revision: &mut String) -> (f64, f64) {
    let before = world.ids("b");
    let start = Instant::now();
    world.write(&service("b", version));
    within(secs(60), "a new b is made", || {
        let all = world.all_of("b");
        that(all.iter().any(|c| !before.contains(&c.id)), || format!("{all:?}"))
    });
    let begun = start.elapsed().as_secs_f64();
    *revision = controller.converged("b", revision, secs(60));
    (begun, start.elapsed().as_secs_f64())
}

#[test]
fn s70_a_call_that_hangs_holds_up_nobody_else() {
    scenario_alone("70 calls that hang", secs(420), |world| {
        let between = Between::start(&world.path(""));
        let options = ["--host".to_owned(), between.host()];
        for name in ["a", "b"] {
            world.write(&service(name, 1));
        }
        let controller = Controller::start_with(world, &options);
        let mut of_a = controller.converged("a", "", secs(60));
        let mut of_b = controller.converged("b", "", secs(60));
        let (begun, alone) = change_of_b(world, &controller, 2, &mut of_b);
        say(&format!("  b alone: begun after {begun:.2} s, done after {alone:.2} s"));

        let cases = ["inspect", "create", "stop", "remove", "pull"];
        for (version, case) in (2..).zip(cases) {
            let id = world.ids("a").into_iter().next().expect("a runs");
            let changed = match case {
                "inspect" => {
                    between.hold(&format!("GET /containers/{id}/json"));
                    service("a", version)
                }
                "create" => {
                    between.hold(&format!("POST /containers/create?name={}-a-", world.project));
                    service("a", version)
                }
                "stop" => {
                    between.hold(&format!("POST /containers/{id}/stop"));
                    service("a", version)
                }
                "remove" => {
                    between.hold(&format!("DELETE /containers/{id}"));
                    service("a", version)
                }
                _ => {
                    between.hold("POST /images/create");
                    service("a", version).key("image", "127.0.0.1:9/nobody:1").key("pull_policy", "missing")
                }
            };
            world.write(&changed);
            within(secs(30), case, || that(between.held() > 0, || "it is not held".to_owned()));
            let (begun, done) = change_of_b(world, &controller, version + 1, &mut of_b);
            say(&format!("  while a's {case} hangs: b begun after {begun:.2} s, done after {done:.2} s"));
            assert!(begun < PROMPT && done < alone + 3.0, "{case}: {begun} {done}, alone {alone}");
            assert_eq!(controller.is_ready(), Ok(()), "{case}");
            let status = controller.status("a").unwrap();
            if case == "inspect" {
                within(secs(15), "it is named", || {
                    let status = controller.status("a")?;
                    let unknown = condition(&status, "Unknown");
                    let message = unknown["message"].as_str().unwrap_or_default().to_owned();
                    that(message.contains(&id[..12]) && message.contains("/a"), || status.to_string())
                });
            } else {
                let waits = !status["waiting"].as_array().unwrap().is_empty();
                assert!(waits || case == "remove", "{case}: it says that it waits: {status}");
            }
            between.free();
            if case == "pull" {
                world.write(&service("a", version));
            }
            of_a = controller.converged("a", if case == "pull" { "" } else { &of_a }, secs(90));
        }

        between.hold("GET /containers/json");
        let start = Instant::now();
        world.write(&service("b", 20));
        within(secs(10), "it is told that the engine is away", || {
            let health = controller.overview()?["health"].clone();
            let told = health["blocked"].as_str().unwrap_or_default().contains("list of containers");
            that(told && health["blockedSince"].is_string(), || health.to_string())
        });
        say(&format!("  a list that hangs is told after {:.2} s", start.elapsed().as_secs_f64()));
        between.free();
        controller.converged("b", &of_b, secs(60));
        within(secs(10), "it is gone on", || {
            let health = controller.overview()?["health"].clone();
            that(health["blocked"].is_null(), || health.to_string())
        });
    });
}

/// The calls that look, of one changed service of two replicas among so many others, and how many looks there were.
fn looks(world: &World, controller: &Controller, between: &Between, version: u32) -> (Vec<String>, usize) {
    let revision = controller.status("one").unwrap()["revision"].as_str().unwrap().to_owned();
    between.take();
    world.write(&service("one", version).replicas(2));
    controller.converged("one", &revision, secs(90));
    let calls: Vec<_> = between.take().into_iter().filter(|call| call.starts_with("GET ")).collect();
    let lists = calls.iter().filter(|call| call.starts_with("GET /containers/json")).count();
    (calls, lists)
}

#[test]
fn s71_one_change_asks_about_its_own_service() {
    scenario_alone("71 what one change asks", secs(300), |world| {
        let between = Between::start(&world.path(""));
        let options = ["--host".to_owned(), between.host()];
        world.write(&service("one", 1).replicas(2));
        let controller = Controller::start_with(world, &options);
        controller.converged("one", "", secs(60));
        let mut version = 1;
        for others in [4, 12] {
            for at in 0..others {
                world.write(&service(&format!("other{at}"), 1));
            }
            for at in 0..others {
                controller.converged(&format!("other{at}"), "", secs(120));
            }
            let ids: Vec<_> = (0..others).flat_map(|at| world.ids(&format!("other{at}"))).collect();
            // Not while everything is looked at again, once a minute: then it is tried anew.
            let tried = (0..3).find_map(|_| {
                version += 1;
                let (calls, lists) = looks(world, &controller, &between, version);
                let of_others = calls.iter().filter(|call| ids.iter().any(|id| call.contains(id.as_str()))).count();
                (of_others == 0).then_some((calls.len(), lists))
            });
            let (calls, lists) = tried.expect("a change that asks nothing about others");
            say(&format!("  among {others} others: {calls} questions in {lists} looks"));
            // While a rollout goes on there are up to three of its containers; each look asks for them, for the lists of containers,
            // networks and volumes, for the lock, and for the image.
            assert!(calls <= lists * (8 + 2 * 2), "{calls} in {lists} looks");
        }
    });
}
