//! `composed apply` and its exit codes.

use e2e::controller::{apply, apply_to};
use e2e::document::Service;
use e2e::program::image;
use e2e::secs;
use e2e::stage::{say, scenario};
use e2e::world::replace;

#[test]
fn s03_apply_says_with_its_exit_code_how_it_went() {
    scenario("3 apply", secs(180), |world| {
        let web = Service::new("web", 2);
        let file = world.write(&web);
        let first = apply(world, &world.desired(), &[]);
        assert_eq!(first.code, 0, "{}", first.text);
        world.only("web", 2, &image("1"));
        let before = world.ids("web");

        // Again: nothing to do, by composed's own word and by Docker's.
        let record = world.record();
        let again = apply(world, &world.desired(), &[]);
        assert_eq!(again.code, 0, "{}", again.text);
        assert_eq!(record.all(), []);
        drop(record);
        assert_eq!(world.ids("web"), before);
        say(&format!("  first apply {:.1?}, a second one {:.1?}", first.took, again.took));

        // Invalid: said with its place, nothing stopped.
        let good = std::fs::read_to_string(&file).unwrap();
        let bad = good.replace("  image:", "  imge: x\n  image:");
        let line = 1 + bad.lines().position(|line| line.contains("imge")).unwrap();
        replace(&file, &bad);
        let invalid = apply(world, &world.desired(), &[]);
        assert_eq!(invalid.code, 2, "{}", invalid.text);
        assert!(invalid.text.contains(&format!("web.yaml:{line}:3")), "{}", invalid.text);
        assert_eq!(world.ids("web"), before);
        replace(&file, &good);

        // No engine.
        let nowhere = format!("unix://{}", world.path("no-engine.sock").display());
        let none = apply_to(world, &world.desired(), &nowhere);
        assert_eq!(none.code, 3, "{}", none.text);
        assert!(none.text.contains("no-engine.sock"), "{}", none.text);
        assert!(none.took < secs(60), "{:?}", none.took);
        assert_eq!(world.ids("web"), before);

        // A change is complete when apply says so: the last old replica is not left draining.
        world.write(&web.version("2"));
        let changed = apply(world, &world.desired(), &[]);
        assert_eq!(changed.code, 0, "{}", changed.text);
        world.only("web", 2, &image("2"));
    });
}
