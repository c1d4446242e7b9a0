//! Files that are half written, invalid, gone for a while: nothing is ever stopped.

use std::time::Duration;

use e2e::check::Recorder;
use e2e::controller::Controller;
use e2e::document::Service;
use e2e::program::image;
use e2e::stage::{say, scenario};
use e2e::world::replace;
use e2e::{millis, secs, stays, that, within};
use serde_json::Value;

/// Everything the controller says about its files and services.
fn everything(controller: &Controller) -> Result<String, String> {
    let overview: Value = controller.overview()?;
    Ok(overview.to_string())
}

/// `Ok` if nothing has happened to any container.
fn nothing(record: &Recorder) -> Result<(), String> {
    let all = record.all();
    that(all.is_empty(), || format!("{all:?}"))
}

#[test]
fn s07_files_that_cannot_be_read_stop_nothing() {
    scenario("7 half-written and invalid files", secs(240), |world| {
        let (web, api) = (Service::new("web", 2), Service::new("api", 1));
        let file = world.write(&web);
        world.write(&api);
        let controller = Controller::start(world);
        let first = controller.converged("web", "", secs(60));
        controller.converged("api", "", secs(60));
        let (webs, apis) = (world.ids("web"), world.ids("api"));
        let untouched = |when: &str| {
            assert_eq!((world.ids("web"), world.ids("api")), (webs.clone(), apis.clone()), "{when}");
            assert_eq!(world.containers().len(), 3, "{when}");
        };
        let still = |time: Duration, when: &str| {
            stays(time, when, || {
                untouched(when);
                Ok(())
            });
        };

        // In pieces, slowly: each cut is the file as it was, shortened. Whole lines may be a valid document that says
        // less (here, other defaults), so the cuts are within the first, needed lines or within a word.
        let text = std::fs::read_to_string(&file).unwrap();
        let image_at = text.find("  image:").unwrap();
        let cuts = [9, 27, 45, text.find("spec:").unwrap() + 5, image_at + 4, image_at + 9];
        for cut in cuts {
            std::fs::write(&file, &text[..cut]).unwrap();
            std::thread::sleep(millis(200)); // A slow writer.
        }
        // Each of them is the beginning of what was there, so it is believed only after 2 s.
        within(secs(10), "it is told", || {
            untouched("while it is half written");
            let said = everything(&controller)?;
            that(said.contains("web.yaml:"), || said)
        });
        std::fs::write(&file, &text).unwrap();
        controller.converged("web", "", secs(30));
        untouched("after it is whole again");

        // An unknown key: said with its file, line and column.
        let bad = text.replace("  image:", "  healtcheck: {}\n  image:");
        let line = 1 + bad.lines().position(|line| line.contains("healtcheck")).unwrap();
        replace(&file, &bad);
        let place = format!("web.yaml:{line}:3");
        within(secs(10), "the status names the place", || {
            let said = everything(&controller)?;
            that(said.contains(&place) && said.contains("healthcheck"), || said)?;
            let status = controller.status("web")?;
            that(status["error"].as_str().is_some_and(|e| e.contains(&place)), || format!("{status}"))
        });
        still(secs(2), "with an unknown key");

        // No documents at all.
        std::fs::remove_file(&file).unwrap();
        std::fs::remove_file(world.file("api")).unwrap();
        still(secs(3), "with an empty directory");
        within(secs(10), "it is told how to confirm", || {
            let said = everything(&controller)?;
            that(said.contains("--confirm-deletion"), || said)
        });
        world.write(&web);
        world.write(&api);
        controller.converged("web", "", secs(30));

        // The directory itself goes away, and comes back.
        let away = world.path("away");
        std::fs::rename(world.desired(), &away).unwrap();
        still(secs(3), "while the directory is away");
        std::fs::rename(&away, world.desired()).unwrap();
        still(secs(2), "when it is back");

        // And it goes on.
        world.write(&web.clone().version("2"));
        let began = std::time::Instant::now();
        controller.converged("web", &first, secs(90));
        say(&format!("  after all that a change took {:.1?}", began.elapsed()));
        world.only("web", 2, &image("2"));
        assert_eq!(world.ids("api"), apis);
    });
}

#[test]
fn s07_an_emptied_file_stops_nothing() {
    scenario("7 emptied file", secs(120), |world| {
        let (web, api) = (Service::new("web", 2), Service::new("api", 1));
        let file = world.write(&web);
        world.write(&api);
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        controller.converged("api", "", secs(60));
        let (webs, apis) = (world.ids("web"), world.ids("api"));
        let record = world.record();
        // What an editor that writes in place does first; this one is slow.
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, "").unwrap();
        std::thread::sleep(millis(1500)); // A slow writer.
        std::fs::write(&file, &text).unwrap();
        controller.converged("web", "", secs(30));
        stays(secs(2), "nothing happens", || nothing(&record));
        assert_eq!((world.ids("web"), world.ids("api")), (webs, apis));
    });
}

#[test]
fn s07_a_file_cut_between_its_documents_stops_nothing() {
    scenario("7 file cut between documents", secs(120), |world| {
        let file = world.file("all");
        let [web, api] = [Service::new("web", 1), Service::new("api", 1)].map(|service| service.yaml(&world.project));
        let text = format!("{web}---\n{api}");
        replace(&file, &text);
        let controller = Controller::start(world);
        controller.converged("web", "", secs(60));
        controller.converged("api", "", secs(60));
        let before = (world.ids("web"), world.ids("api"));
        let record = world.record();
        // Valid, and one service short; a git checkout in two steps looks the same. Long enough to be believed, and not
        // long enough to be missed.
        std::fs::write(&file, &web).unwrap();
        std::thread::sleep(millis(4000)); // A slow writer.
        std::fs::write(&file, &text).unwrap();
        stays(secs(8), "nothing happens", || nothing(&record));
        controller.converged("api", "", secs(30));
        assert_eq!((world.ids("web"), world.ids("api")), before);
    });
}
