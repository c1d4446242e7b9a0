//! Files that are watched, in real time: what is cut short is believed only if it stays.

use std::fs::{File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, SystemTime};

use composed_source::files::Reading;
use composed_source::settle::CUT_SHORT;
use composed_source::watch::{DEBOUNCE, watch};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Sooner than the files are read again without a notice.
const SOON: Duration = Duration::from_secs(10);

/// What was noticed, and after how long.
async fn next(readings: &mut mpsc::Receiver<Reading>, within: Duration) -> Option<(Reading, Duration)> {
    let began = Instant::now();
    let reading = tokio::time::timeout(within, readings.recv()).await.ok()?;
    reading.map(|reading| (reading, began.elapsed()))
}

#[tokio::test]
async fn a_cut_file_waits_and_a_hidden_environment_file_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let (file, env) = (dir.path().join("web.yaml"), dir.path().join(".env"));
    let whole = "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {project: shop, name: web}\nspec:\n  image: x\n  env_file: .env\n  replicas: 3\n";
    let half = whole.strip_suffix("  replicas: 3\n").unwrap();
    std::fs::write(&file, whole).unwrap();
    std::fs::write(&env, "A=1\n").unwrap();
    let (readings, mut received) = mpsc::channel(1);
    tokio::spawn(watch(dir.path().to_owned(), readings));
    let long = Duration::from_secs(14);
    let (first, _) = next(&mut received, long).await.unwrap();

    std::fs::write(&env, "A=2\n").unwrap();
    let (second, after) = next(&mut received, long).await.unwrap();
    assert_ne!(first.env_files, second.env_files);
    assert!(after < SOON, "{after:?}");

    // A writer in place, seen in the middle.
    std::fs::write(&file, half).unwrap();
    assert!(next(&mut received, CUT_SHORT / 4).await.is_none());
    std::fs::write(&file, whole).unwrap();
    assert!(next(&mut received, CUT_SHORT + 4 * DEBOUNCE).await.is_none(), "as if nothing had been");

    std::fs::write(&file, half).unwrap();
    let (last, after) = next(&mut received, long).await.unwrap();
    assert_eq!(last.files[0].1.as_deref().unwrap(), half.as_bytes());
    assert!(after >= CUT_SHORT, "{after:?}");
}

#[tokio::test]
async fn what_a_project_is_made_of_is_watched_and_its_data_is_not() {
    let dir = tempfile::tempdir().unwrap();
    for sub in ["part", "data"] {
        std::fs::create_dir(dir.path().join(sub)).unwrap();
    }
    let part = dir.path().join("part/part.yaml");
    std::fs::write(dir.path().join("compose.yaml"), "name: shop\ninclude: [part/part.yaml]\n").unwrap();
    std::fs::write(&part, "services: {web: {image: x}}\n").unwrap();
    let (readings, mut received) = mpsc::channel(1);
    tokio::spawn(watch(dir.path().to_owned(), readings));
    let (first, _) = next(&mut received, Duration::from_secs(10)).await.unwrap();
    // It is followed from the first reading on.
    tokio::time::sleep(4 * DEBOUNCE).await;
    std::fs::write(&part, "services: {web: {image: y}}\n").unwrap();
    let (second, after) = next(&mut received, Duration::from_secs(10)).await.unwrap();
    assert_ne!(first.env_files, second.env_files);
    assert!(after < SOON, "{after:?}");
    // A document there would be found, but not at once.
    std::fs::write(dir.path().join("data/x.yaml"), "apiVersion: composed.dev/v1\n").unwrap();
    assert!(next(&mut received, 4 * DEBOUNCE).await.is_none());
}

#[tokio::test]
async fn a_compose_file_alone_is_watched_with_what_stands_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("compose.yaml");
    std::fs::write(&file, "name: shop\nservices: {web: {image: \"x:${TAG:-0}\"}}\n").unwrap();
    let (readings, mut received) = mpsc::channel(1);
    tokio::spawn(watch(file.clone(), readings));
    let long = Duration::from_secs(14);
    next(&mut received, long).await.unwrap();
    std::fs::write(dir.path().join(".env"), "TAG=1\n").unwrap();
    let (_, after) = next(&mut received, long).await.unwrap();
    assert!(after < SOON, "{after:?}");
    // As editors do: another file takes its name.
    let new = dir.path().join("compose.yaml.new");
    std::fs::write(&new, "name: shop\nservices: {web: {image: y}}\n").unwrap();
    std::fs::rename(&new, &file).unwrap();
    let (_, after) = next(&mut received, long).await.unwrap();
    assert!(after < SOON, "{after:?}");
}

/// A Compose project below the directory: its data is not watched, the service files below it are.
#[tokio::test]
async fn only_what_is_read_is_watched() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for sub in ["shop/data", "shop/own", "plain"] {
        std::fs::create_dir_all(at(sub)).unwrap();
    }
    let document = |image: &str| {
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: shop, name: own}}\nspec: {{image: {image}}}\n"
        )
    };
    std::fs::write(at("shop/compose.yaml"), "name: shop\nservices: {web: {image: x}}\n").unwrap();
    std::fs::write(at("shop/own/own.yaml"), document("own:1")).unwrap();
    let (readings, mut received) = mpsc::channel(1);
    tokio::spawn(watch(dir.path().to_owned(), readings));
    let long = Duration::from_secs(14);
    next(&mut received, long).await.unwrap();
    tokio::time::sleep(4 * DEBOUNCE).await; // The reading that the last change asked for is over.
    std::fs::write(at("shop/data/x.yaml"), "a: 1\n").unwrap();
    assert!(next(&mut received, 4 * DEBOUNCE).await.is_none(), "data");
    std::fs::write(at("shop/own/own.yaml"), document("own:22")).unwrap();
    let (_, after) = next(&mut received, long).await.unwrap();
    assert!(after < SOON, "a service file below a Compose file: {after:?}");
    // A directory that comes later, and what is in it.
    std::fs::create_dir_all(at("plain/new/deep")).unwrap();
    tokio::time::sleep(4 * DEBOUNCE).await; // It is watched by then.
    std::fs::write(at("plain/new/deep/api.yaml"), document("x").replace("own", "api")).unwrap();
    let (_, after) = next(&mut received, long).await.unwrap();
    assert!(after < SOON, "{after:?}");
}

/// Files that have been at rest for so long that their stats are believed: however one changes, it is noticed at once.
#[tokio::test]
async fn a_file_at_rest_that_changes_is_noticed_at_once() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    let document = |name: &str, image: &str| {
        format!(
            "apiVersion: composed.dev/v1\nkind: Service\nmetadata: {{project: p, name: {name}}}\nspec: {{image: {image}, env_file: vars/{name}}}\n"
        )
    };
    let old = SystemTime::UNIX_EPOCH + Duration::from_hours(1000);
    let write_old = |path: &Path, text: &str| {
        std::fs::write(path, text).unwrap();
        File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(old)).unwrap();
    };
    for sub in ["vars", "shop"] {
        std::fs::create_dir(at(sub)).unwrap();
    }
    for name in ["place", "moved", "link"] {
        write_old(&at("vars").join(name), "A=1\n");
        write_old(&at(&format!("{name}.yaml")), &document(name, "x:1"));
    }
    let [one, two] = ["one", "two"].map(|name| elsewhere.path().join(name));
    write_old(&one, &document("link", "x:1"));
    write_old(&two, &document("link", "x:2"));
    std::fs::remove_file(at("link.yaml")).unwrap();
    symlink(&one, at("link.yaml")).unwrap();
    write_old(&at("shop/compose.yaml"), "services: {web: {image: x:1}}\n");
    let (readings, mut received) = mpsc::channel(1);
    tokio::spawn(watch(dir.path().to_owned(), readings));
    next(&mut received, SOON).await.unwrap();
    // By then they are at rest; a notice of something else has them read once more.
    assert!(next(&mut received, Duration::from_millis(3200)).await.is_none());
    std::fs::write(at(".swap"), "").unwrap();
    assert!(next(&mut received, 4 * DEBOUNCE).await.is_none());

    let took_name = |from: &str, to: &str, text: &str| {
        write_old(&at(from), text);
        std::fs::rename(at(from), at(to)).unwrap();
    };
    let changes: [(&str, &dyn Fn()); 6] = [
        ("in its place, as long and as old as before", &|| write_old(&at("place.yaml"), &document("place", "x:2"))),
        ("another file took its name", &|| took_name(".new", "moved.yaml", &document("moved", "x:2"))),
        ("a link leads elsewhere", &|| {
            symlink(&two, at(".link")).unwrap();
            std::fs::rename(at(".link"), at("link.yaml")).unwrap();
        }),
        ("variables", &|| write_old(&at("vars/place"), "A=2\n")),
        ("other variables took their name", &|| took_name("vars/new", "vars/moved", "A=2\n")),
        ("a Compose file", &|| write_old(&at("shop/compose.yaml"), "services: {web: {image: x:2}}\n")),
    ];
    for (what, change) in changes {
        change();
        let (_, after) = next(&mut received, SOON).await.unwrap_or_else(|| panic!("{what}"));
        assert!(after < Duration::from_secs(3), "{what}: {after:?}");
    }
    std::fs::remove_file(at("moved.yaml")).unwrap();
    let (last, _) = next(&mut received, SOON).await.unwrap();
    assert!(last.files.iter().all(|(file, _)| file != "moved.yaml"));
}
