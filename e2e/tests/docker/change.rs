//! Changes that need no new container, changes of mind, and removals.

use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::stage::scenario;
use e2e::{let_load_go_on, millis, secs, stays, that, within};

#[test]
fn s08_scaling_and_policy_replace_nobody() {
    scenario("8 scale and policy", secs(240), |world| {
        let web = Service::new("web", 3);
        world.write(&web);
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        let three = world.ids("web");
        let scaled = |to: u32| {
            world.write(&web.clone().replicas(to));
            within(secs(60), &format!("{to} replicas"), || {
                let all = world.all_of("web");
                let well = all.iter().filter(|c| c.state == "running" && c.healthy).count();
                that(all.len() == to as usize && well == to as usize, || format!("{all:?}"))
            });
            controller.converged("web", "", secs(30));
            world.ids("web")
        };
        let five = scaled(5);
        assert!(three.is_subset(&five), "the three stay");
        let two = scaled(2);
        assert!(two.is_subset(&five), "the survivors are old ones");

        // How one leaves, moves and is probed is not what it is.
        let web = web.replicas(2);
        let others = [
            web.clone().key("drain_timeout", "7s"),
            web.clone().rollout("max_surge", "2").rollout("min_ready", "2s"),
            web.key("readiness", "{http: {path: /, port: 8080}, period: 1s}"),
        ];
        for other in others {
            let generation = controller.status("web").unwrap()["generation"].as_u64().unwrap();
            world.write(&other);
            within(secs(10), "the change is observed", || {
                let status = controller.status("web")?;
                that(status["observedGeneration"].as_u64() > Some(generation), || status.to_string())
            });
            stays(secs(3), "nobody is replaced", || {
                let (ids, all) = (world.ids("web"), world.all_of("web"));
                that(ids == two && all.len() == 2, || format!("{all:?}"))
            });
            controller.converged("web", "", secs(30));
        }
    });
}

#[test]
fn s08_a_change_of_mind_ends_at_the_newest() {
    scenario("8 change in a change", secs(240), |world| {
        let web = Service::new("web", 3).env("ON_TERM", "drain");
        world.write(&web);
        let controller = Controller::start(world);
        let first = controller.converged("web", "", secs(60));
        let traffic = e2e::traffic::Traffic::start(world, "web");
        world.write(&web.clone().version("2"));
        within(secs(30), "the first of version 2 runs", || {
            that(world.running("web").iter().any(|c| c.image == image("2")), || "not yet".to_owned())
        });
        // In the middle of the first change, and then of the second.
        let_load_go_on(millis(700));
        world.write(&web.clone().version("3"));
        let_load_go_on(millis(2500));
        world.write(&web.version("4"));
        let status = within(secs(10), "another revision is wanted", || {
            let status = controller.status("web")?;
            that(status["revision"] != first.as_str() && status["generation"] == 4, || format!("{status}"))?;
            Ok(status)
        });
        let newest = controller.converged("web", &first, secs(120));
        assert_eq!(status["revision"], newest.as_str());
        world.only("web", 3, &image("4"));
        let report = traffic.stop();
        e2e::stage::say(&format!("  {report}"));
        assert_eq!(report.failed, 0, "{:#?}", report.errors);
    });
}

#[test]
fn s08_removal_keeps_volumes_and_wants_half_to_stay() {
    scenario("8 removal", secs(240), |world| {
        let data = Service::new("data", 1).key("volumes", r#"["store:/data"]"#);
        world.write(&data);
        for name in ["a", "b", "c"] {
            world.write(&Service::new(name, 1));
        }
        let controller = Controller::start(world);
        for name in ["data", "a", "b", "c"] {
            controller.converged(name, "", secs(90));
        }
        let volume = format!("{}_store", world.project);
        world.docker.run(&["volume", "inspect", &volume]);

        // One of four: it goes, its data stays.
        std::fs::remove_file(world.file("data")).unwrap();
        within(secs(30), "data is gone", || {
            that(world.all_of("data").is_empty(), || "there".to_owned())?;
            that(controller.status("data").is_err(), || "still in the status".to_owned())
        });
        world.docker.run(&["volume", "inspect", &volume]);
        let rest: Vec<_> = ["a", "b", "c"].map(|name| world.ids(name)).into();

        // Two of three at once: somebody has made a mistake.
        std::fs::remove_file(world.file("a")).unwrap();
        std::fs::remove_file(world.file("b")).unwrap();
        within(secs(20), "the status says how to confirm", || {
            let overview = controller.overview()?.to_string();
            that(overview.contains("DeletionHeld") && overview.contains("--confirm-deletion"), || overview)
        });
        stays(secs(3), "nobody is removed", || {
            let now = ["a", "b", "c"].map(|name| world.ids(name));
            that(rest == now, || format!("{now:?}"))
        });
    });
}
